//! Filters of domains and accounts, on top of the shared one: the same letter to two people, who think otherwise of such.

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use crate::judging::House;
use crate::{codes, queue_id};

const JOE: &str = "joe@example.test";
const ANN: &str = "ann@example.test";

const RULES: &str = "
[antispam]
greylist = { mode = \"off\" }
thresholds = { tag = 3.0 }
[antispam.learn]
filters = \"account\"
";

/// Words of newsletters, and of letters that people write.
const WORDS: [[&str; 8]; 2] = [
    ["offer", "discount", "subscribers", "collection", "exclusive", "newsletter", "voucher", "season"],
    ["meeting", "minutes", "patch", "review", "train", "tomorrow", "budget", "project"],
];

/// A letter of one kind; of two numbers no two are the same.
fn letter(newsletter: bool, number: usize) -> String {
    let [news, plain] = &WORDS;
    let own = if newsletter { news } else { plain };
    // A word of its own, which no other letter has.
    let one = format!("{number:b}").replace('0', "x").replace('1', "y");
    let mut words: Vec<&str> =
        (0..40).map(|place| own[(number * 7 + place * (number % 5 + 1)) % own.len()]).collect();
    words.push(&one);
    let from = if newsletter { "shop" } else { "anna" };
    format!(
        "From: {from}@far.test\r\nTo: somebody@example.test\r\nSubject: {} {}\r\n\
         Date: Sun, 22 Nov 2026 02:00:00 +0000\r\nMessage-ID: <{number}.{from}@far.test>\r\n\r\n{} {number}.\r\n",
        words[0],
        words[1],
        words.join(" ")
    )
}

/// Folders with letters of either kind.
fn samples(house: &House, count: usize) -> [String; 2] {
    ["news", "plain"].map(|kind| {
        let folder = house.daemon.folder().join(kind);
        std::fs::create_dir_all(&folder).unwrap();
        for number in 0..count {
            std::fs::write(folder.join(format!("{number}.eml")), letter(kind == "news", number)).unwrap();
        }
        folder.to_str().unwrap().to_owned()
    })
}

fn tool(house: &House, arguments: &[&str]) -> String {
    let output = house.daemon.tool(arguments);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// As an IMAP server does it: a letter on standard input.
fn piped(house: &House, arguments: &[&str], text: &str) -> (bool, String) {
    let mut child = house
        .daemon
        .command(&[&["learn"], arguments, &["-"]].concat())
        .arg("--config")
        .arg(house.daemon.configuration())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that refuses at once does not read it.
    drop(child.stdin.take().unwrap().write_all(text.as_bytes()));
    let output = child.wait_with_output().unwrap();
    let said = if output.status.success() { output.stdout } else { output.stderr };
    (output.status.success(), String::from_utf8(said).unwrap())
}

/// Waits until `staffetta bayes status --all` has this line.
fn wait_for(house: &House, line: &str) {
    let all = || tool(house, &["bayes", "status", "--all"]);
    assert!(support::wait_until(|| all().contains(line)), "{line}:\n{}{}", all(), house.daemon.log());
}

/// The text of the one message in a folder of somebody's that has these words.
fn arrived(house: &House, who: &str, folder: &str, words: &str) -> Option<String> {
    let local = who.split('@').next().unwrap();
    let folder = house.daemon.folder().join("mail/example.test").join(local).join(folder);
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    files.filter_map(|file| std::fs::read_to_string(file.path()).ok()).find(|text| text.contains(words))
}

/// Sends a letter to both and gives what arrived where: `INBOX` or `Junk`, with the text.
fn sent(house: &House, number: usize) -> [(&'static str, String); 2] {
    let mut client = house.client("192.0.2.9", "mail.far.test");
    let reply = client.mail("shop@far.test", &[JOE, ANN], &letter(true, number));
    assert_eq!(codes(&reply), "250 2.0.0");
    let words = format!("<{number}.shop@far.test>");
    [JOE, ANN].map(|who| {
        let mut found = None;
        let is_there = || {
            let inbox = arrived(house, who, "new", &words).map(|text| ("INBOX", text));
            found = inbox.or_else(|| arrived(house, who, ".Junk/new", &words).map(|text| ("Junk", text)));
            found.is_some()
        };
        assert!(support::wait_until(is_there), "{who}: {}", house.daemon.log());
        found.unwrap()
    })
}

fn house(rules: &str) -> House {
    let mut house = House::start(rules, &[]);
    house.daemon.stop();
    for who in [JOE, ANN] {
        house.daemon.add_account(who, "secret");
    }
    house.daemon.run();
    house
}

#[test]
fn one_letter_is_wanted_by_joe_and_spam_to_ann() {
    let mut house = house(RULES);
    let [news, plain] = samples(&house, 60);
    let learnt = tool(&house, &["learn", "--ham", "--for", JOE, &news]);
    assert!(learnt.starts_with("the filter of joe@example.test: 60 learnt"), "{learnt}");
    assert!(learnt.contains("the shared filter: 60 learnt"), "{learnt}");
    assert!(learnt.contains("it says nothing before there are 5 of each"), "{learnt}");
    // Nobody speaks yet.
    let [joe, ann] = sent(&house, 1000);
    assert_eq!((joe.0, ann.0), ("INBOX", "INBOX"));
    assert!(!joe.1.contains("BAYES_"), "{}", joe.1);

    tool(&house, &["learn", "--spam", "--for", JOE, &plain]);
    tool(&house, &["learn", "--spam", "--for", ANN, &news]);
    tool(&house, &["learn", "--ham", "--for", ANN, &plain]);
    let [joe, ann] = sent(&house, 1001);
    assert_eq!((joe.0, ann.0), ("INBOX", "Junk"), "{}\n{}", joe.1, ann.1);
    assert!(joe.1.contains("BAYES_ACCOUNT=0.0") && joe.1.contains("BAYES_00="), "{}", joe.1);
    assert!(ann.1.contains("BAYES_ACCOUNT=0.0") && ann.1.contains("BAYES_99="), "{}", ann.1);

    // Who asks why is told of each filter, the recipients are not told of one another's.
    let (code, text) = house.explain(&["--rcpt", ANN, "--last", "1"]);
    assert!(code == 0 && text.contains("with the filter of ann@example.test"), "{text}");
    for (_, text) in [&joe, &ann] {
        assert!(!text.contains("the filter of"), "{text}");
    }

    // Beforehand, too: each word once, and for whom it is.
    house.daemon.write("tried.eml", &letter(true, 1001));
    let file = house.daemon.folder().join("tried.eml");
    let client =
        ["try", "--ip", "192.0.2.9", "--helo", "mail.far.test", "--mail-from", "shop@far.test", "--json"];
    for (who, symbol) in [(JOE, "BAYES_00"), (ANN, "BAYES_99")] {
        let told =
            tool(&house, &[&client[..], &["--rcpt", who, "--message", file.to_str().unwrap()]].concat());
        let step: serde_json::Value = serde_json::from_str(told.lines().last().unwrap()).unwrap();
        let lines = step["points"].as_array().unwrap();
        let line = lines.iter().find(|line| line["symbol"] == symbol).unwrap_or_else(|| panic!("{told}"));
        assert_eq!(line["evidence"].as_str().unwrap().matches('%').count(), 2, "{line}");
    }

    // A restart and a reload change nothing.
    house.daemon.stop();
    house.daemon.run();
    house.daemon.signal("HUP");
    let [joe, ann] = sent(&house, 1002);
    assert_eq!((joe.0, ann.0), ("INBOX", "Junk"), "{}\n{}", joe.1, ann.1);

    // Taken back: ann has no filter of her own, and the shared one knows too little.
    let forgotten = tool(&house, &["learn", "--forget", "--for", ANN, &news]);
    assert!(forgotten.starts_with("the filter of ann@example.test: 60 forgotten"), "{forgotten}");
    let [joe, ann] = sent(&house, 1003);
    assert_eq!((joe.0, ann.0), ("INBOX", "INBOX"));
    assert!(joe.1.contains("BAYES_ACCOUNT") && !ann.1.contains("BAYES_"), "{}", ann.1);
    assert!(house.daemon.tool(&["bayes", "delete", "--for", JOE]).status.success());
    assert!(!sent(&house, 1004)[0].1.contains("BAYES_"));
}

#[test]
fn a_damaged_filter_is_silent_and_does_not_keep_mail() {
    let house = house(RULES);
    let [news, plain] = samples(&house, 40);
    for (class, folder) in [("--spam", &news), ("--ham", &plain)] {
        for who in [JOE, ANN] {
            tool(&house, &["learn", class, "--for", who, folder]);
        }
    }
    let model = house.daemon.folder().join("data/bayes/accounts/example.test/joe/model");
    assert!(Path::new(&model).exists(), "{}", model.display());
    std::fs::write(&model, "broken").unwrap();
    let [joe, ann] = sent(&house, 1000);
    assert_eq!((joe.0, ann.0), ("INBOX", "Junk"), "{}\n{}", joe.1, ann.1);
    let unfinished = "staffetta_checks_unfinished_total{check=\"own_filters\"}";
    assert_eq!(house.daemon.metric(unfinished), Some(1.0));
}

#[test]
fn what_a_user_moves_and_what_is_piped_teaches_his_own_filter() {
    let rules = format!("{RULES}junk_folders_minutes = 1\n");
    let mut house = house(&rules);
    let [(_, text), _] = sent(&house, 1000);
    assert!(text.contains("Subject: "));
    let mailbox = house.daemon.folder().join("mail/example.test/joe");
    let file = std::fs::read_dir(mailbox.join("new")).unwrap().next().unwrap().unwrap().path();
    std::fs::create_dir_all(mailbox.join(".Junk/cur")).unwrap();
    std::fs::rename(&file, mailbox.join(".Junk/cur/1:2,S")).unwrap();
    house.daemon.stop();
    house.daemon.run();
    let all = || tool(&house, &["bayes", "status", "--all"]);
    assert!(
        support::wait_until(|| all().contains("the filter of joe@example.test\t0 ham\t1 spam")),
        "{}{}",
        all(),
        house.daemon.log()
    );
    assert!(all().contains("the shared filter\t0 ham\t1 spam"), "{}", all());
    assert!(!all().contains("ann"), "{}", all());
}

#[test]
fn a_domain_has_one_opinion_and_another_domain_another() {
    const ZOE: &str = "zoe@other.test";
    let rules = RULES.replace("\"account\"", "\"domain\"")
        + "[[domain]]\nname = \"other.test\"\nrecipients = \"accounts\"\n\
           deliver = \"maildir:mail/example.test/{local}/\"\n";
    let mut house = house(&rules);
    house.daemon.stop();
    house.daemon.add_account(ZOE, "secret");
    house.daemon.run();
    let [news, plain] = samples(&house, 60);
    // An account stands for its domain.
    let learnt = tool(&house, &["learn", "--ham", "--for", JOE, &news]);
    assert!(learnt.starts_with("the filter of example.test: 60 learnt"), "{learnt}");
    tool(&house, &["learn", "--spam", "--for", "example.test", &plain]);
    tool(&house, &["learn", "--spam", "--for", "@other.test", &news]);
    tool(&house, &["learn", "--ham", "--for", ZOE, &plain]);
    let status = tool(&house, &["bayes", "status", "--all"]);
    for line in
        ["the filter of example.test\t60 ham\t60 spam\tjudges", "the filter of other.test\t60 ham\t60 spam"]
    {
        assert!(status.contains(line), "{status}");
    }
    assert!(!status.contains("joe") && !status.contains("zoe"), "{status}");

    let mut client = house.client("192.0.2.9", "mail.far.test");
    assert_eq!(codes(&client.mail("shop@far.test", &[JOE, ANN, ZOE], &letter(true, 1000))), "250 2.0.0");
    let words = "<1000.shop@far.test>";
    for (who, folder, symbol) in
        [(JOE, "new", "BAYES_00="), (ANN, "new", "BAYES_00="), (ZOE, ".Junk/new", "BAYES_99=")]
    {
        let mut text = None;
        let is_there = || {
            text = arrived(&house, who, folder, words);
            text.is_some()
        };
        assert!(support::wait_until(is_there), "{who}: {}", house.daemon.log());
        let text = text.unwrap();
        assert!(text.contains("BAYES_DOMAIN=0.0") && text.contains(symbol), "{who}: {text}");
    }
}

#[test]
fn what_is_piped_in_somebodys_name_waits_for_his_own_filter() {
    let mut house = house(RULES);
    let put = |class: &str, who: &str, number| {
        piped(&house, &[class, "--later", "--for", who], &letter(class == "--spam", number))
    };
    for (class, who, number) in [("--spam", JOE, 1), ("--spam", JOE, 2), ("--ham", JOE, 1), ("--ham", ANN, 1)]
    {
        assert_eq!(put(class, who, number), (true, "1 to be learnt\n".to_owned()));
    }
    // A slip of the pen makes no filter that nobody's mail would ask.
    for (who, why) in [
        ("joe@example.tset", "example.tset is none of the domains of this server: write joe@example.test"),
        ("joe", "joe is none of the domains of this server: write joe@example.test"),
    ] {
        let (done, words) = put("--ham", who, 1);
        assert!(!done && words.contains(why), "{words}");
    }
    let status = tool(&house, &["bayes", "status", "--for", JOE]);
    assert!(status.contains("3 more wait to be learnt"), "{status}");
    house.daemon.stop();
    house.daemon.run();
    wait_for(&house, "the filter of joe@example.test\t1 ham\t2 spam");
    wait_for(&house, "the filter of ann@example.test\t1 ham\t0 spam");
    wait_for(&house, "the shared filter\t1 ham\t2 spam");
    assert!(!tool(&house, &["bayes", "status", "--all"]).contains("tset"));
    // He has changed his mind.
    assert!(piped(&house, &["--ham", "--later", "--for", JOE], &letter(true, 2)).0);
    house.daemon.stop();
    house.daemon.run();
    wait_for(&house, "the filter of joe@example.test\t2 ham\t1 spam");
}

#[test]
fn what_an_operator_says_of_a_letter_that_was_kept_back_teaches_those_it_came_to() {
    let rules = format!(
        "{}[[antispam.access]]\nstage = \"mail\"\ntable = \"inline:{{{{shop@far.test = SCORE 10}}}}\"\n",
        RULES.replace("tag = 3.0", "quarantine = 8.0")
    );
    let house = house(&rules);
    let mut client = house.client("192.0.2.9", "mail.far.test");
    let id = queue_id(&client.mail("shop@far.test", &[JOE, ANN], &letter(true, 1)));
    let second = queue_id(&client.mail("shop@far.test", &[JOE], &letter(true, 2)));
    let said = tool(&house, &["quarantine", "learn", "--spam", &id, &second]);
    assert!(said.contains("2 filters of those they came to have learnt them"), "{said}");
    wait_for(&house, "the shared filter\t0 ham\t2 spam");
    wait_for(&house, "the filter of joe@example.test\t0 ham\t2 spam");
    wait_for(&house, "the filter of ann@example.test\t0 ham\t1 spam");
    tool(&house, &["quarantine", "release", &id, "--also-learn-ham"]);
    wait_for(&house, "the shared filter\t1 ham\t1 spam");
    wait_for(&house, "the filter of joe@example.test\t1 ham\t1 spam");
    wait_for(&house, "the filter of ann@example.test\t1 ham\t0 spam");
    // What arrives is known again when ann moves it into Junk after all.
    assert!(support::wait_until(|| arrived(&house, ANN, "new", "<1.shop@far.test>").is_some()));
    let text = arrived(&house, ANN, "new", "<1.shop@far.test>").unwrap();
    let (done, said) = piped(&house, &["--spam", "--for", ANN], &text);
    assert!(
        done && said.contains("the filter of ann@example.test: 0 learnt, 0 known before, 1 changed"),
        "{said}"
    );
}

#[test]
fn a_tag_makes_no_filter_of_its_own() {
    const TAGGED: &str = "joe+news@example.test";
    let house = house(RULES);
    let [news, _] = samples(&house, 1);
    let learnt = tool(&house, &["learn", "--ham", "--for", TAGGED, &news]);
    assert!(learnt.starts_with("the filter of joe@example.test: 1 learnt"), "{learnt}");
    let accounts = house.daemon.folder().join("data/bayes/accounts/example.test");
    let folders: Vec<_> =
        std::fs::read_dir(&accounts).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(folders, ["joe"]);
    let status = tool(&house, &["bayes", "status", "--for", TAGGED]);
    assert_eq!(status, tool(&house, &["bayes", "status", "--for", JOE]));
    let exported = house.daemon.tool(&["bayes", "export", "--for", TAGGED]).stdout;
    let file = house.daemon.folder().join("exported");
    std::fs::write(&file, exported).unwrap();
    let deleted = tool(&house, &["bayes", "delete", "--for", TAGGED]);
    assert!(deleted.contains("joe@example.test") && !deleted.contains("news"), "{deleted}");
    tool(&house, &["bayes", "import", "--for", TAGGED, file.to_str().unwrap()]);
    assert!(accounts.join("joe").exists() && !accounts.join("joe+news").exists());
}

#[test]
fn who_has_no_filter_of_his_own_is_told_so() {
    let house = house("");
    let said = |arguments: &[&str]| {
        let output = house.daemon.tool(arguments);
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let (done, words) = said(&["bayes", "status", "--for", JOE]);
    assert!(!done && words.contains("there is one filter for all here"), "{words}");
    let (done, words) = said(&["bayes", "status", "--for", "joe smith"]);
    assert!(!done && words.contains("neither an address nor a domain"), "{words}");
}
