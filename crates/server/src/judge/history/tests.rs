//! The history on a store in memory.

use mail::Address;
use policy::judge::{AtRcpt, Client, Greylist, Greylisting, at_rcpt};
use policy::{
    About, Definitions, Dossier, Evidence, Finding, Mode, Rules, Score, ScoreBook, Stage, StageReport,
    SymbolDef, Thresholds,
};
use store::MemoryState;

use super::*;
use crate::testing::FaultyState;

const NOON: Timestamp = Timestamp(1_795_309_323_456);

const SESSION_MAX: Duration = Duration::from_secs(7200);

fn after(seconds: u64) -> Timestamp {
    Timestamp(NOON.0 + seconds * 1000)
}

/// A record about these recipients, with a symbol whose evidence is `evidence`.
fn record(id: &str, seconds: u64, sender: &str, recipients: &[&str], evidence: &str) -> VerdictRecord {
    let book = ScoreBook::new(Definitions {
        symbols: vec![SymbolDef::new("SEEN", Score::points(1), "x")],
        ..Definitions::default()
    })
    .unwrap();
    let rules = Rules::new("antispam", Mode::Enforce, &Thresholds::default());
    let finding = Finding::new("SEEN").evidence(evidence);
    let decision = at_rcpt(&AtRcpt {
        book: &book,
        evidence: &Evidence { findings: vec![&finding], ..Evidence::default() },
        rules: &rules,
        first: None,
        client: Client::default(),
        greylisting: Greylisting::Off,
        greylist: Greylist::NotAsked,
    });
    let mut dossier = Dossier::default();
    dossier.add(StageReport::new(Stage::Rcpt));
    let addresses: Vec<Address> = recipients.iter().map(|text| text.parse().unwrap()).collect();
    let copies: Vec<_> = addresses.iter().map(|address| (address, &decision, &rules)).collect();
    let about = About {
        id: id.to_owned(),
        session: "SESSION".to_owned(),
        at: after(seconds),
        stage: Stage::Rcpt,
        client: "192.0.2.9".parse().unwrap(),
        client_name: None,
        helo: Some("h.test".to_owned()),
        account: None,
        sender: Some(sender.to_owned()),
    };
    VerdictRecord::new(about, &dossier, decision.action, decision.decided.clone(), &copies)
}

async fn history(records: impl IntoIterator<Item = VerdictRecord>) -> History {
    let history = History::start(Arc::new(MemoryState::default()));
    // The writer has the clock of the day: what it writes must not have expired.
    records.into_iter().for_each(|record| history.keep(record, 30));
    history.flush().await;
    history
}

async fn ids(history: &History, wanted: Wanted, limit: usize) -> (Vec<String>, bool) {
    let found = history.find(&wanted, limit, (clock::now(), SESSION_MAX)).await.unwrap();
    (found.records.into_iter().map(|record| record.about.id).collect(), found.more)
}

fn recipient(pattern: &str, since: u64) -> Wanted {
    Wanted::Recipient(pattern.to_owned(), after(since))
}

#[tokio::test]
async fn records_are_found_by_id_by_recipient_and_by_time_newest_first() {
    let history = history([
        record("A", 0, "s@far.test", &["joe@a.test", "joe@b.test"], ""),
        record("B", 10, "s@far.test", &["Joe@a.test"], ""),
        record("C", 20, "", &["joerg@a.test"], ""),
    ])
    .await;
    let own = |ids: &[&str]| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
    for (wanted, limit, want, more) in [
        (Wanted::Id("B".into()), 9, own(&["B"]), false),
        (Wanted::Id("SESSION".into()), 9, own(&["C", "B", "A"]), false),
        (Wanted::Id("SESS".into()), 9, own(&[]), false),
        (Wanted::Since(after(0)), 2, own(&["C", "B"]), true),
        (Wanted::Since(after(10)), 9, own(&["C", "B"]), false),
        (recipient("joe@", 0), 9, own(&["B", "A"]), false),
        (recipient("JOE@A.test", 0), 9, own(&["B", "A"]), false),
        (recipient("joe@a.test", 5), 9, own(&["B"]), false),
        (recipient("joe@b.test", 0), 9, own(&["A"]), false),
        (recipient("joe", 0), 1, own(&["B"]), true),
        (recipient("@b.test", 0), 9, own(&["A"]), false),
        (recipient("nobody@a.test", 0), 9, own(&[]), false),
    ] {
        assert_eq!(ids(&history, wanted.clone(), limit).await, (want, more), "{wanted:?}");
    }
}

#[tokio::test]
async fn many_pages_are_walked_and_the_answer_is_bounded() {
    let history = history([]).await;
    let many = u64::try_from(FOUND_MAX).unwrap() + 7;
    for number in 0..many {
        history.keep(record(&number.to_string(), number, "s@far.test", &["joe@a.test"], ""), 30);
        if number % 100 == 0 {
            history.flush().await;
        }
    }
    history.flush().await;
    assert_eq!(history.lost(), 0);
    let (all, more) = ids(&history, recipient("joe@a.test", 0), usize::MAX).await;
    assert_eq!((all.len(), more), (FOUND_MAX, true));
    assert_eq!(all.first(), Some(&(many - 1).to_string()));
}

#[tokio::test]
async fn an_id_is_looked_for_at_its_time_and_then_everywhere() {
    let state = Arc::new(FaultyState::default());
    let history = History::start(Arc::clone(&state) as _);
    let hour = 3600;
    let id = |hours: u64| QueueId::from_parts(after(hours * hour).0, 7);
    // A message an hour, each in a pack of its own: ten days.
    for hours in 0..240 {
        let of_session = hours == 100 || hours == 101;
        let mut one = record(&id(hours).to_string(), hours * hour + 60, "s@far.test", &["joe@a.test"], "");
        one.about.session = if of_session { id(100) } else { id(hours) }.to_string();
        history.keep(one, 30);
        history.flush().await;
    }
    // Of a time when the clock was wrong, and one whose name tells nothing.
    let (wrong, nameless) = (id(50_000), "NAMELESS");
    history.keep(record(&wrong.to_string(), 30 * hour, "s@far.test", &["joe@a.test"], ""), 30);
    history.keep(record(nameless, 3 * hour, "s@far.test", &["joe@a.test"], ""), 30);
    history.flush().await;
    let all_pages = 1 + 242 / PAGE;
    for (wanted, count, pages_max) in [
        (id(0).to_string(), 1, 1),
        (id(239).to_string(), 1, 1),
        // Both of its messages.
        (id(100).to_string(), 2, 1),
        (wrong.to_string(), 1, 1 + all_pages),
        (nameless.to_owned(), 1, all_pages),
        (QueueId(id(5).0 + 1).to_string(), 0, 1 + all_pages),
    ] {
        let before = state.scans.load(Ordering::Relaxed);
        let (found, more) = ids(&history, Wanted::Id(wanted.clone()), 9).await;
        let pages = state.scans.load(Ordering::Relaxed) - before;
        assert_eq!((found.len(), more), (count, false), "{wanted}");
        assert!(pages <= pages_max, "{wanted}: {pages} pages");
    }
}

#[tokio::test]
async fn an_address_is_forgotten_wherever_it_stands() {
    let history = history([
        record("A", 0, "s@far.test", &["joe@a.test", "ann@a.test"], ""),
        record("B", 1, "Joe@a.test", &["ann@a.test"], ""),
        record("C", 2, "s@far.test", &["ann@a.test"], "From: <JOE@A.TEST>."),
        record("D", 3, "s@far.test", &["moejoe@a.test"], "joe@a.test.example"),
        record("E", 4, "s@far.test", &["joe@b.test"], ""),
    ])
    .await;
    assert_eq!(history.erase("<joe@a.test>", clock::now()).await.unwrap(), 3);
    let everything = Wanted::Since(Timestamp(0));
    assert_eq!(ids(&history, everything, 9).await.0, ["E", "D"]);
    assert_eq!(ids(&history, recipient("ann@", 0), 9).await.0, [""; 0]);
    let left = history.state.scan(StateKey::new(NAMESPACE, ""), None, PAGE, clock::now()).await.unwrap();
    assert_eq!(left.entries.len(), 1, "all were in one pack");
    assert_eq!(history.erase("joe@a.test", clock::now()).await.unwrap(), 0);
    assert_eq!(history.erase("s@far.test", clock::now()).await.unwrap(), 2);
    let left = history.state.scan(StateKey::new(NAMESPACE, ""), None, PAGE, clock::now()).await.unwrap();
    assert!(left.entries.is_empty(), "an empty pack is not kept");
}

#[tokio::test]
async fn what_cannot_be_read_is_passed_over_and_goes_with_an_erasure() {
    let history = history([record("A", 0, "s@far.test", &["joe@a.test"], "")]).await;
    let foreign = StateKey::new(NAMESPACE, b"t\0\0\0\0\0\0\0\0foreign!");
    let put = Write::put(foreign.clone(), vec![1, 2, 3], 600);
    history.state.write(vec![put], clock::now()).await.unwrap();
    assert_eq!(ids(&history, Wanted::Since(Timestamp(0)), 9).await, (vec!["A".to_owned()], false));
    assert_eq!(history.erase("nobody@a.test", clock::now()).await.unwrap(), 0);
    let gone = history.state.get(vec![foreign], clock::now()).await.unwrap();
    assert_eq!(gone, [Ok(None)]);
    assert_eq!(ids(&history, Wanted::Since(Timestamp(0)), 9).await.0, ["A"]);
}

#[tokio::test]
async fn each_record_lives_as_long_as_it_was_given() {
    let history = history([]).await;
    history.keep(record("A", 0, "s@far.test", &["joe@a.test"], ""), 1);
    history.keep(record("B", 1, "s@far.test", &["joe@a.test"], ""), 30);
    history.flush().await;
    let later = Timestamp(clock::now().0 + 2 * DAY_SECONDS * 1000);
    let found = history.find(&Wanted::Since(Timestamp(0)), 9, (later, SESSION_MAX)).await.unwrap();
    assert_eq!(found.records.iter().map(|record| record.about.id.as_str()).collect::<Vec<_>>(), ["B"]);
}

#[tokio::test]
async fn nothing_is_kept_for_no_days_and_a_full_queue_drops() {
    let history = History::start(Arc::new(MemoryState::default()));
    history.keep(record("A", 0, "s@far.test", &["joe@a.test"], ""), 0);
    // On this one thread the writer does not run before the next await.
    for number in 0..WAITING_MAX + 3 {
        history.keep(record(&number.to_string(), 1, "s@far.test", &["joe@a.test"], ""), 30);
    }
    assert_eq!(history.lost(), 3);
    history.flush().await;
    let (kept, more) = ids(&history, Wanted::Since(Timestamp(0)), FOUND_MAX).await;
    assert_eq!((kept.len(), more), (WAITING_MAX, false));
}

#[tokio::test]
async fn a_store_that_fails_costs_the_record_and_is_never_taken_for_an_absence() {
    let state = Arc::new(MemoryState::default());
    let history = History::start(Arc::clone(&state) as Arc<dyn StateStore>);
    state.close().await.unwrap();
    history.keep(record("A", 0, "s@far.test", &["joe@a.test"], ""), 30);
    history.flush().await;
    assert_eq!(history.lost(), 1);
    assert!(history.find(&Wanted::Id("A".into()), 1, (clock::now(), SESSION_MAX)).await.is_err());
    assert!(history.erase("joe@a.test", clock::now()).await.is_err());
}

#[tokio::test]
async fn a_copy_that_is_kept_back_leads_to_its_verdict() {
    let (judged_as, copy) = (QueueId(7), QueueId(8));
    let history = history([record(&judged_as.to_string(), 0, "s@far.test", &["joe@a.test"], "")]).await;
    history.alias(copy, judged_as, 30);
    history.alias(QueueId(9), judged_as, 0);
    history.flush().await;
    for (id, count) in [(judged_as, 1), (copy, 1), (QueueId(9), 0)] {
        assert_eq!(ids(&history, Wanted::Id(id.to_string()), 9).await.0.len(), count, "{id}");
    }
}
