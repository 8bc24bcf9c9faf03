//! Rules as they are written, at work, and what is said of mistakes; and those of SpamAssassin's, taken over.

use super::*;
use crate::testing::{message, run, symbols};

fn compiled(text: &str) -> Rules {
    let rules = file::read(&[("rules.toml".to_owned(), text.to_owned())]).unwrap();
    Rules::new(rules).unwrap()
}

fn problems(text: &str) -> Vec<String> {
    let errors = file::read(&[("a.toml".to_owned(), text.to_owned())]).err().unwrap();
    errors.0.iter().map(ToString::to_string).collect()
}

async fn seen(rules: &Rules, letter: &str) -> Vec<String> {
    let found = run(rules, &message("joe@far.test", letter)).await;
    let mut all: Vec<_> = symbols(&found).into_iter().map(ToOwned::to_owned).collect();
    all.sort_unstable();
    all
}

const ALL_KINDS: &str = r#"
[[rule]]
name = "A_SUBJECT"
score = 1
header = "Subject"
matches = 'Grüße'

[[rule]]
name = "A_RAW"
score = 1
header = "Subject:raw"
matches = '=\?utf-8\?'

[[rule]]
name = "A_NAME"
score = 1
header = "From:name"
matches = '^Joe$'

[[rule]]
name = "A_ADDRESS"
score = 1
header = "From:addr"
matches = '^joe@far\.test$'

[[rule]]
name = "A_THERE"
score = 1
header = "X-Odd"

[[rule]]
name = "A_NOT_THERE"
score = 1
header = "X-Other"
not = true

[[rule]]
name = "A_TEXT"
score = 1
body = '(?i)^two words on one line'

[[rule]]
name = "A_TAG"
score = 1
rawbody = '<b>bold'

[[rule]]
name = "A_LINK"
score = 1
uri = '^https?://a\.example\.com/'

[[rule]]
name = "A_PART"
score = 1
mime = "Content-Type"
matches = 'text/html'

[[rule]]
name = "A_SENDER"
score = 1
header = "EnvelopeFrom"
matches = '@far\.test$'

[[rule]]
name = "A_META"
score = 2
meta = "PART_OF_IT & !A_NEVER"

[[rule]]
name = "PART_OF_IT"
at_least = 2
of = ["A_TEXT", "A_TAG", "A_NEVER"]

[[rule]]
name = "A_NEVER"
score = 1
body = 'never there'
"#;

#[tokio::test]
async fn rules_of_all_kinds_hold_where_they_should() {
    let rules = compiled(ALL_KINDS);
    let letter = "From: Joe <joe@far.test>\nSubject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=\nX-Odd: 1\n\
                  Content-Type: multipart/mixed; boundary=b\n\n--b\n\nTwo   words\non one line.\n\nnext\n--b\n\
                  Content-Type: text/html\n\n<p><b>bold</b> <a href='http://a.example.com/x'>x</a>\n--b--\n";
    let want = [
        "A_ADDRESS",
        "A_LINK",
        "A_META",
        "A_NAME",
        "A_NOT_THERE",
        "A_PART",
        "A_RAW",
        "A_SENDER",
        "A_SUBJECT",
        "A_TAG",
        "A_TEXT",
        "A_THERE",
    ];
    assert_eq!(seen(&rules, letter).await, want);
    assert_eq!(seen(&rules, "Subject: x\n\nhello\n").await, ["A_NOT_THERE", "A_SENDER"]);
}

#[test]
fn mistakes_are_told_with_their_place() {
    for (text, want) in [
        ("[[rule]\n", "a.toml:1: "),
        ("\n[[rule]]\nname = \"a\"\nbody = 'x'\n", "a.toml:3: name: `a` is no name"),
        ("[[rule]]\nname = \"A\"\nbody = '('\n", "a.toml:3: A.body: no pattern"),
        ("[[rule]]\nname = \"A\"\n", "a.toml:2: A.name: write exactly one of"),
        ("[[rule]]\nname = \"A\"\nbody = 'x'\nuri = 'y'\n", "a.toml:2: A.name: write exactly one of"),
        ("[[rule]]\nname = \"A\"\nheader = \"From:x\"\n", "a.toml:3: A.header: `:x` is no part"),
        ("[[rule]]\nname = \"A\"\nmeta = \"B &\"\n", "a.toml:3: A.meta: the expression ends"),
        ("[[rule]]\nname = \"A\"\nmeta = \"B\"\n", "a.toml:2: A.meta: there is no rule B"),
        ("[[rule]]\nname = \"A\"\nmeta = \"!A\"\n", "a.toml:2: A.meta: it depends on itself"),
        (
            "[[rule]]\nname = \"A\"\nbody = '(?:a{1000}){1000}'\n",
            "a.toml:3: A.body: the pattern is too large",
        ),
        ("[[rule]]\nname = \"A\"\nbody = 'x'\nscroe = 1\n", "a.toml:4: unknown field"),
        (
            "[[rule]]\nname = \"A\"\nbody = 'x'\n[[rule]]\nname = \"A\"\nbody = 'y'\n",
            "a.toml:5: A: there are two rules",
        ),
    ] {
        let told = problems(text);
        assert!(told.len() == 1 && told[0].starts_with(want), "{text}: {told:?}");
    }
    assert_eq!(problems("[[rule]]\nname = \"A\"\n[[rule]]\nname = \"B\"\nbody = '['\n").len(), 2);
}

#[tokio::test]
async fn our_own_rules_know_the_old_stories_and_no_ordinary_letter() {
    let rules = compiled(file::OWN);
    assert!(rules.symbols().len() > 20);
    let fee = "Subject: URGENT BUSINESS PROPOSAL!!\n\nDear friend, I am the widow of the late president. US$ 20 million lie in a \
               security company. In strictest secrecy 20% of it will be yours for your assistance.\n";
    let seen_fee = seen(&rules, fee).await;
    assert!(
        seen_fee.iter().any(|name| name == "ADVANCE_FEE")
            && seen_fee.iter().any(|name| name == "DEAR_NOBODY")
    );
    let threat = "Subject: x\n\nI recorded you with your webcam. Send 900 $ in Bitcoin to my wallet.\n";
    assert!(seen(&rules, threat).await.contains(&"EXTORTION".to_owned()));
    let spaced = "Subject: V i a g r a now\n\nhello there\n";
    assert!(seen(&rules, spaced).await.contains(&"SUBJECT_SPACED".to_owned()));
    for letter in [
        "Subject: Lunch on Friday?\n\nHi Mara,\n\nshall we meet at noon? The invoice over 2,300 EUR is attached.\n\nJoe\n",
        "Subject: Re: [dev] release plan\nReferences: <a@far.test>\n\n> I think so.\n\nYes, see https://far.test/plan for it.\n",
        "Subject: Ihre Bestellung 4711\n\nGuten Tag, Ihre Sendung ist unterwegs.\n",
    ] {
        assert!(seen(&rules, letter).await.is_empty(), "{letter}: {:?}", seen(&rules, letter).await);
    }
}

/// Each by a letter that has it, and one that is nearly the same and has it not.
#[tokio::test]
async fn our_own_rules_about_mail_of_today_tell_it_from_what_is_nearly_the_same() {
    let rules = Rules::open(&[], true, Path::new("")).unwrap();
    for (name, with, without) in [
        ("FROM_SEVERAL", "From: Shop, _ <a@b.test>\n\nx", "From: Shop, _ <a@b.test>\nSender: a@b.test\n\nx"),
        (
            "FROM_BRAND_ELSEWHERE",
            "From: PayPal <a@b.test>\n\nx",
            "From: PayPal <service@intl.paypal.com>\n\nx",
        ),
        ("FROM_DOMAIN_RANDOM", "From: <a@tlj31i0qw8.com>\n\nx", "From: <a@web2print.com>\n\nx"),
        ("TO_RECIPIENTS", "To: Recipients <a@b.test>\n\nx", "To: Ann <recipients@b.test>\n\nx"),
        (
            "REPLY_TO_FREEMAIL",
            "From: a@b.test\nReply-To: c@gmail.com\n\nx",
            "From: a@gmx.de\nReply-To: c@gmail.com\n\nx",
        ),
        ("MIXED_SCRIPTS_NAMES", "Subject: P\u{435}nding order\n\nx", "Subject: заказ pending\n\nx"),
        ("MIXED_SCRIPTS_TEXT", "Subject: a\n\na Fr\u{435}e gift", "Subject: a\n\nстанция free"),
        (
            "ZERO_WIDTH_WORDS",
            "Subject: a\n\np\u{200b}q r\u{200b}s t\u{200b}u",
            "Subject: a\n\nUm\u{ad}satz\u{ad}steuer\u{ad}satz",
        ),
        ("TEMPLATE_UNFILLED", "Subject: a\n\nHello {first_name}!", "Subject: a\n\nfn first_name() {}"),
        ("DEAR_ADDRESS", "Subject: a\n\nDear joe@far.test,", "Subject: a\n\nDear Joe, ask ann@far.test"),
        ("SUBJECT_URGENT", "Subject: Final notice\n\nx", "Subject: Notice of the meeting\n\nx"),
        ("SUBJECT_DISCOUNT", "Subject: 80% off today\n\nx", "Subject: 20% of the budget\n\nx"),
        (
            "REWARD_CLAIM",
            "Subject: a\n\nCongratulations! Claim your reward",
            "Subject: a\n\nCongratulations to both of you",
        ),
        ("REPLICAS", "Subject: a\n\nreplica watches", "Subject: a\n\nwatch the replica of the database"),
        ("COINS_OFFERED", "Subject: a\n\nclaim the airdrop", "Subject: a\n\nthe price of bitcoin"),
        (
            "HTML_ATTACHED",
            "Content-Disposition: attachment; filename=\"login.html\"\n\nx",
            "Content-Disposition: attachment; filename=\"html.txt\"\n\nx",
        ),
        ("LINK_SHORTENED", "Subject: a\n\nhttps://bit.ly/abc", "Subject: a\n\nhttps://rabbit.lyon.test/abc"),
        ("LINK_FREE_HOST", "Subject: a\n\nhttps://x.pages.dev/", "Subject: a\n\nhttps://pages.dev.test/"),
    ] {
        let found = seen(&rules, with).await;
        assert!(found.iter().any(|one| one == name), "{name} is not in {found:?}: {with}");
        let found = seen(&rules, without).await;
        assert!(!found.iter().any(|one| one == name), "{name} is in {found:?}: {without}");
    }
    let breaks = |count: usize| format!("Content-Type: text/html\n\n<p>a{}b</p>", "<br>\n".repeat(count));
    for (count, is_there) in [(30, true), (10, false)] {
        let found = seen(&rules, &breaks(count)).await;
        assert_eq!(found.iter().any(|one| one == "HTML_MANY_BREAKS"), is_there, "{count}");
    }
}

#[tokio::test]
async fn long_texts_are_searched_to_their_bound() {
    let rules = compiled("[[rule]]\nname = \"A\"\nscore = 1\nbody = 'needle'\n");
    let early = format!("Subject: x\n\nneedle {}\n", "hay ".repeat(TEXT_BYTES_MAX));
    assert_eq!(seen(&rules, &early).await, ["A"]);
    let late = format!("Subject: x\n\n{} needle\n", "hay ".repeat(TEXT_BYTES_MAX));
    assert!(seen(&rules, &late).await.is_empty());
}

const THEIRS: &str = r"
# a comment
header   SUBJ_ALL   Subject =~ /^free\/now/i
header   __HAS_X    exists:X-Thing
header   EVALED     eval:check_it('x')
describe SUBJ_ALL   It's free
score    SUBJ_ALL   0.1 0.2 0.3 2.5
body     __B1       /first/
body     __B2       m{second}i
rawbody  RAW        /<b>/
uri      LINKED     m,^https?://[^/]+/x$,i
body     AHEAD      /a(?!b)/
meta     BOTH       __B1 && !__B2 || SUBJ_ALL
meta     SOME       (__B1 + __B2 + RAW >= 2)
meta     LOST       AHEAD && __B1
meta     COUNTS     __B1 * 2 > 1
score    BOTH       -1
full     WHOLE      /x/
ifplugin Mail::SpamAssassin::Plugin::DKIM
body     INSIDE     /x/
endif
mimeheader A_TYPE   Content-Type =~ /octet/
";

#[tokio::test]
async fn rules_of_spamassassin_are_taken_over_and_the_rest_is_told() {
    let imported = import::spamassassin(THEIRS);
    let told: Vec<_> = imported.left.iter().map(|left| (left.line, left.what.as_str())).collect();
    let want = [
        (5, "header EVALED"),
        (12, "body AHEAD"),
        (15, "meta LOST"),
        (16, "meta COUNTS"),
        (18, "full WHOLE"),
        (19, "ifplugin Mail::SpamAssassin::Plugin::DKIM"),
    ];
    assert_eq!(told, want);
    assert_eq!(imported.rules, 9);
    let rules = compiled(&imported.toml);
    let def = rules.symbols().into_iter().find(|def| def.symbol == "SUBJ_ALL").unwrap();
    assert_eq!((def.score, def.meaning.as_ref()), (policy::Score::tenths(25), "It's free"));
    assert_eq!(seen(&rules, "Subject: FREE/now\n\nSecond and first\n").await, ["BOTH", "SOME", "SUBJ_ALL"]);
    assert_eq!(seen(&rules, "Subject: x\n\nfirst http://a.example.com/x\n").await, ["BOTH", "LINKED"]);
}

#[test]
fn of_conditions_that_part_is_read_which_holds_here() {
    let text = "\
ifplugin Mail::SpamAssassin::Plugin::MIMEHeader
mimeheader A Content-Type =~ /octet/
else
body A /never/
endif
if (version >= 3.004)
  if !plugin(Mail::SpamAssassin::Plugin::DKIM)
  body B /without/
  else
  body B /with/
  endif
  body C /new/
else
body C /old/
endif
if can(Mail::SpamAssassin::Conf::perl_min_version_5010000)
body D /can/
endif
if plugin(X) && (version < 4)
body E /both/
endif
score B 2.5
score GONE 3
required_score 4
";
    let imported = import::spamassassin(text);
    for words in ["mime = 'Content-Type'", "body = 'without'", "body = 'new'", "body = 'can'", "score = 2.5"]
    {
        assert!(imported.toml.contains(words), "{words}: {}", imported.toml);
    }
    assert_eq!(imported.rules, 4, "{}", imported.toml);
    let told: Vec<_> = imported.left.iter().map(|left| (left.line, left.what.as_str())).collect();
    assert_eq!(told, [(19, "if plugin(X) && (version < 4)"), (23, "score GONE"), (24, "required_score 4")]);
    assert!(imported.left[1].why.contains("GONE = 3.0") && imported.left[2].why.contains("thresholds.tag"));
}

#[test]
fn a_mistake_names_its_place_and_what_to_write() {
    let problem = |files: &[(&str, &str)]| {
        let files: Vec<_> =
            files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        file::read(&files).unwrap_err().to_string()
    };
    assert_eq!(
        problem(&[("a.toml", "[rule]\nname = 'A'\n")]),
        "a.toml:1: write [[rule]], in two brackets, above each rule"
    );
    let rule = "[[rule]]\nname = 'PILLS'\nbody = 'x'\n";
    assert_eq!(problem(&[("a", rule), ("b", rule)]), "b:2: PILLS: there are two rules of this name: see a:2");
    let own = problem(&[(OWN_NAME, rule), ("b", rule)]);
    assert!(own.starts_with("b:2: PILLS: one of the rules that come with the program"), "{own}");
    let absent = Rules::open(&["absent.toml".into()], false, Path::new("/nowhere")).unwrap_err();
    assert!(absent.to_string().starts_with("/nowhere/absent.toml: antispam.rules: "), "{absent}");
    // One mistake, and not one more for each rule that builds upon what was not read.
    let many: String =
        (0..=file::RULES_MAX).map(|n| format!("[[rule]]\nname = 'R{n}'\nbody = 'x'\n")).collect();
    let many = format!("[[rule]]\nname = 'FIRST'\nmeta = 'R{}'\n{many}", file::RULES_MAX);
    assert_eq!(problem(&[("a", &many)]).lines().count(), 1);
}

/// Names that differ in underscores alone are one name here.
#[test]
fn rules_that_build_upon_themselves_are_not_taken_over() {
    let imported = import::spamassassin("meta _C C\nmeta A B\nmeta B !A\nbody D /x/\nmeta E D\n");
    let told: Vec<_> = imported.left.iter().map(|left| (left.line, left.what.as_str())).collect();
    assert_eq!((imported.rules, told), (2, vec![(1, "meta C"), (2, "meta A"), (3, "meta B")]));
}

proptest::proptest! {
    #[test]
    fn whatever_is_imported_can_be_read(text in "((header|body|uri|meta|score|describe) __?[A-C]{1,2} (/[a-z(|)*\\[\\]'\\\\]{0,8}/i?|[ABC_&|!() +>0-9]{0,12})\n){0,8}") {
        let imported = import::spamassassin(&text);
        let read = file::read(&[("x".to_owned(), imported.toml.clone())]);
        proptest::prop_assert!(read.is_ok(), "{}\n{}\n{:?}", text, imported.toml, read.err());
    }
}
