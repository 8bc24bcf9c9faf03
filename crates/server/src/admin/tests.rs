//! The admin socket from both ends, over a real Unix socket and the memory engine.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use antispam::connect::rates::Rates;
use antispam::correspondents::letters::Letters;
use antispam::correspondents::{self, Correspondents};
use antispam::hashes::Hashes;
use antispam::reputation::{Memory, Reputation, ReputationSettings, Subject};
use mail::{Address, QueueId, Reply, ReversePath, Timestamp};
use store::{
    Change, Hold, LastAttempt, MemoryState, MemoryStore, MessageRecord, MessageState, NewBody, NewMessage,
    Origin, OriginKind, QueueEntry, QueueStore, RecipientRecord, RecipientState, RecipientStatus, Settlement,
    StateStore,
};

use crate::judge::Wanted;
use policy::VerdictRecord;

use super::protocol::State;
use super::*;

/// A queue in memory, whose orders can be looked at.
struct Queue {
    store: MemoryStore,
    state: MemoryState,
    orders: Mutex<Vec<(Order, QueueId)>>,
    rates: Rates,
    reputation: Reputation,
    correspondents: Correspondents,
}

impl Default for Queue {
    fn default() -> Self {
        let rates = Rates::new(Arc::new(MemoryState::default()));
        let memory = Memory::new(Arc::new(MemoryState::default()));
        let reputation = Reputation::new(ReputationSettings::default(), memory);
        let far = ["joe@far.test", "far.test"].map(|name| Subject::named(name).unwrap());
        reputation.count(&far, Score::points(6), NOW);
        reputation.count(&far[1..], Score::points(6), NOW);
        let memory: Arc<dyn StateStore> = Arc::new(MemoryState::default());
        let hashes = Hashes::new(correspondents::NAMESPACE, Arc::clone(&memory));
        let correspondents = Correspondents::new(30, memory, Letters { hashes, keys: Arc::default() });
        Self {
            store: Default::default(),
            state: Default::default(),
            orders: Mutex::default(),
            rates,
            reputation,
            correspondents,
        }
    }
}

const NOW: Timestamp = Timestamp(1_795_312_088_000);

fn entry(n: u64, sender: &str, recipients: &[&str], attempts: u32) -> QueueEntry {
    let last = LastAttempt {
        at: NOW,
        peer: Some("mx.b.test[192.0.2.7]:25".into()),
        reply: Reply::new(451, (4, 7, 1), "Greylisted"),
    };
    let status = RecipientStatus { state: RecipientState::Pending, last: (attempts > 0).then_some(last) };
    let recipient = |address: &&str| RecipientRecord::new(address.parse().unwrap());
    let sender = sender.parse().map_or(ReversePath::Null, ReversePath::Mailbox);
    let all = recipients.iter().map(recipient).collect();
    let record = MessageRecord {
        origin: Origin::new(OriginKind::Submission),
        trace: b"Received: by us\r\n".to_vec(),
        size: 100 * n,
        ..MessageRecord::new(QueueId(n), Timestamp(NOW.0 - n * 1000), sender, all)
    };
    let state = MessageState {
        attempts,
        recipients: vec![status; recipients.len()],
        ..QueueEntry::new(record.clone(), NOW).state
    };
    QueueEntry { record, state }
}

impl QueueControl for Queue {
    fn store(&self) -> &dyn QueueStore {
        &self.store
    }
    fn now(&self) -> Timestamp {
        NOW
    }
    fn is_active(&self, id: QueueId) -> bool {
        id == QueueId(2)
    }
    fn steer(&self, order: Order, ids: Vec<QueueId>) -> Control<'_, Vec<Result<(), ControlError>>> {
        self.orders.lock().unwrap().extend(ids.iter().map(|id| (order, *id)));
        Box::pin(async move {
            let mut results = Vec::new();
            for id in ids {
                results.push(self.store.get(id).await.map(drop).map_err(Into::into));
            }
            Ok(results)
        })
    }
    fn release_to(&self, id: QueueId, recipient: Address) -> Control<'_, ()> {
        let is_kept_for = recipient.to_string() == "c@c.test";
        self.orders.lock().unwrap().push((Order::Release, id));
        let refused = || ControlError::Refused("not kept back for that one".into());
        Box::pin(async move { if is_kept_for { Ok(()) } else { Err(refused()) } })
    }
    fn fsck(&self) -> Control<'_, FsckReport> {
        Box::pin(async {
            Ok(FsckReport { checked: 3, damaged: vec![(QueueId(3), "torn".into())], ..Default::default() })
        })
    }
    fn status(&self) -> Status {
        Status { pid: 7, ..Status::default() }
    }
    fn reload(&self) -> Control<'_, Vec<String>> {
        Box::pin(async { Err(ControlError::Configuration("line 3".into())) })
    }
    fn verdicts(&self, wanted: Wanted, limit: usize) -> Control<'_, (Vec<(VerdictRecord, String)>, bool)> {
        Box::pin(async move { Ok((vec![(record(), format!("{wanted:?} {limit}"))], true)) })
    }
    fn erase_verdicts(&self, address: String) -> Control<'_, u64> {
        Box::pin(async move {
            if address == "joe@a.test" { Ok(3) } else { Err(ControlError::Store("away".into())) }
        })
    }
    fn rates(&self) -> &Rates {
        &self.rates
    }
    fn state(&self) -> &dyn StateStore {
        &self.state
    }
    fn reputation(&self) -> Reputation {
        self.reputation.clone()
    }
    fn correspondents(&self) -> Correspondents {
        self.correspondents.clone()
    }
    fn dnsbl(&self) -> Vec<ListStatus> {
        vec![list("ipv4"), list("ipv6")]
    }
    fn quarantine(&self) -> antispam::quarantine::QuarantineSettings {
        antispam::quarantine::QuarantineSettings::default()
    }
    fn digest(&self) -> Control<'_, u64> {
        Box::pin(async { Ok(2) })
    }
    fn backscatter(&self) -> Control<'_, BackscatterStatus> {
        Box::pin(async { Ok(BACKSCATTER) })
    }
}

const BACKSCATTER: BackscatterStatus = BackscatterStatus {
    mode: BackscatterMode::Observe,
    antispam_mode: Mode::Enforce,
    proof_days: 12,
    counted_days: 30,
    proven: 97,
    forged: 2,
    scored: 1,
    unknown: 0,
    refused_thousandths: 20,
};

fn list(family: &str) -> ListStatus {
    ListStatus {
        list: "zen.dnsbl.test".into(),
        family: family.into(),
        state: "suspended".into(),
        since: Some(NOW),
        why: Some("it lists everybody".into()),
        why_label: Some("lists_all".into()),
        probe_at: NOW,
        figures: ListFigures::default(),
        kept: 0,
    }
}

fn record() -> VerdictRecord {
    VerdictRecord {
        about: policy::About {
            id: "A".into(),
            session: "S".into(),
            at: NOW,
            stage: policy::Stage::Rcpt,
            client: "192.0.2.9".parse().unwrap(),
            client_name: None,
            helo: None,
            account: None,
            sender: None,
        },
        action: policy::Action::Reject,
        decided: policy::DecidedBy::Nothing,
        reply: None,
        recipients: Vec::new(),
        points: policy::record::Points { total: Score::tenths(-25), ..Default::default() },
        dns: Vec::new(),
        times: Vec::new(),
        left_out: 0,
    }
}

/// Stores an entry in the state that it is in.
async fn put(store: &MemoryStore, entry: QueueEntry) {
    let id = entry.record.id;
    let chunks = [vec![b'a'; 100_000], b"\0\xff\r\n".to_vec()];
    let body = NewBody::Memory(chunks.into_iter().map(Into::into).collect());
    let next_attempt = entry.state.next_attempt;
    store
        .enqueue(NewMessage { record: entry.record, body, next_attempt, hold: entry.state.hold })
        .await
        .unwrap();
    let mut changes = vec![Change::Retry { next_attempt, attempts: entry.state.attempts }];
    for (index, status) in entry.state.recipients.into_iter().enumerate() {
        changes.push(Change::Recipient { index: u32::try_from(index).unwrap(), status });
    }
    store.settle(vec![Settlement { id, changes }]).await.unwrap();
}

/// A server on a real socket, which ends with the value.
struct Server {
    queue: Arc<Queue>,
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Server {
    async fn start(entries: impl IntoIterator<Item = QueueEntry>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let queue = Arc::new(Queue::default());
        for entry in entries {
            put(&queue.store, entry).await;
        }
        let listener = socket::bind(&path, 0o600).unwrap();
        tokio::spawn(serve(listener, Arc::<Queue>::clone(&queue)));
        Self { queue, path, _folder: folder }
    }

    async fn ask(&self, request: Request) -> Result<(Vec<Response>, u64, bool), String> {
        let path = self.path.clone();
        tokio::task::spawn_blocking(move || {
            let mut items = Vec::new();
            let mut client = Client::connect(&path).map_err(|e| e.to_string())?;
            let each = |item| {
                items.push(item);
                Ok::<(), ClientError>(())
            };
            let (count, more) = client.ask(&request, each).map_err(|e| e.to_string())?;
            Ok((items, count, more))
        })
        .await
        .unwrap()
    }
}

fn three() -> Vec<QueueEntry> {
    let mut held = entry(3, "", &["c@c.test"], 2);
    held.state.hold = Some(Hold::Quarantine);
    vec![entry(1, "a@a.test", &["b@b.test", "x@b.test"], 1), entry(2, "a@a.test", &["c@c.test"], 1), held]
}

fn ids(items: &[Response]) -> Vec<u64> {
    items.iter().filter_map(|i| if let Response::Message(m) = i { Some(m.id.0) } else { None }).collect()
}

#[tokio::test]
async fn messages_are_listed_as_they_stand() {
    let server = Server::start(three()).await;
    let (items, count, more) =
        server.ask(Request::List { filter: Filter::default(), limit: 0 }).await.unwrap();
    assert_eq!((ids(&items), count, more), (vec![1, 2, 3], 3, false));
    let Response::Message(first) = &items[0] else { panic!() };
    assert_eq!(first.state, State::Deferred);
    assert_eq!(first.age_seconds, 1);
    assert_eq!(first.reason().as_deref(), Some("mx.b.test[192.0.2.7]:25: 451 4.7.1 Greylisted"));
    let states: Vec<State> = items
        .iter()
        .filter_map(|i| if let Response::Message(m) = i { Some(m.state) } else { None })
        .collect();
    assert_eq!(states, [State::Deferred, State::Active, State::Quarantine]);
}

#[tokio::test]
async fn lists_are_filtered_and_cut() {
    let server = Server::start((1..=1000).map(|n| entry(n, "a@a.test", &["b@b.test"], 1))).await;
    let list = |filter, limit| server.ask(Request::List { filter, limit });
    let (items, count, more) = list(Filter::default(), 700).await.unwrap();
    assert_eq!((items.len(), count, more), (700, 700, true));
    let old = Filter { older_than_seconds: Some(998), ..Filter::default() };
    assert_eq!(ids(&list(old, 10).await.unwrap().0), [998, 999, 1000]);
    let (_, count, more) = list(Filter::default(), 1000).await.unwrap();
    assert_eq!((count, more), (1000, false));
}

#[tokio::test]
async fn one_message_is_shown_and_its_bytes_are_given() {
    use base64::Engine as _;
    let server = Server::start(three()).await;
    let (items, ..) = server.ask(Request::Show { id: QueueId(2) }).await.unwrap();
    assert_eq!(ids(&items), [2]);
    assert_eq!(server.ask(Request::Show { id: QueueId(9) }).await, Err("no such message".into()));
    let (items, ..) = server.ask(Request::Cat { id: QueueId(2) }).await.unwrap();
    let bytes: Vec<u8> = items
        .iter()
        .flat_map(|i| {
            let Response::Bytes(text) = i else { panic!("{i:?}") };
            base64::engine::general_purpose::STANDARD.decode(text).unwrap()
        })
        .collect();
    assert!(bytes.starts_with(b"Received: by us\r\naaa") && bytes.ends_with(b"a\0\xff\r\n"));
    assert_eq!(bytes.len(), 17 + 100_000 + 4);
}

#[tokio::test]
async fn orders_reach_the_named_and_the_filtered() {
    let server = Server::start(three()).await;
    let select = Select::Ids(vec![QueueId(1), QueueId(9)]);
    let (items, count, _) =
        server.ask(Request::Steer { order: Order::Hold, select, only: None }).await.unwrap();
    assert_eq!(count, 1);
    assert_eq!(items, [Response::Refused { id: QueueId(9), why: "no such message".into() }]);
    let filter = Filter { domain: Some("c.test".into()), ..Filter::default() };
    let request = Request::Steer { order: Order::Delete, select: Select::Filter(filter), only: None };
    assert_eq!(server.ask(request).await.unwrap().1, 2);
    let orders = server.queue.orders.lock().unwrap().clone();
    assert_eq!(orders[2..], [(Order::Delete, QueueId(2)), (Order::Delete, QueueId(3))]);
}

#[tokio::test]
async fn what_is_kept_back_is_shown_and_steered_alone() {
    let mut kept = three().remove(2);
    kept.record.recipients[0].header_lines =
        b"X-Spam-Status: No, score=9.5 required=5.0 tests=[A=6.0, B=3.5]\r\n".to_vec();
    let server = Server::start(three().into_iter().take(2).chain([kept])).await;
    let list = Request::QuarantineList { filter: Filter::default(), limit: 0 };
    let (items, count, more) = server.ask(list).await.unwrap();
    assert_eq!((count, more), (1, false));
    let Response::Kept(view) = &items[0] else { panic!("{items:?}") };
    assert_eq!((view.message.id, view.score), (QueueId(3), Some(Score::tenths(95))));
    assert_eq!(view.symbols[1], ("B".to_owned(), Score::tenths(35)));
    let day = 86_400;
    assert_eq!(view.kept_until.as_ref().unwrap().seconds, view.message.arrived.seconds + 30 * day);
    let (items, ..) = server.ask(Request::QuarantineShow { id: QueueId(3) }).await.unwrap();
    assert!(matches!(&items[1], Response::Verdict { text, .. } if text.starts_with("Id(")), "{items:?}");
    let error = server.ask(Request::QuarantineShow { id: QueueId(1) }).await.unwrap_err();
    assert!(error.contains("not in quarantine"), "{error}");

    let only = Some(State::Quarantine);
    let select = Select::Ids((1..=4).map(QueueId).collect());
    let (items, count, _) = server.ask(Request::Steer { order: Order::Release, select, only }).await.unwrap();
    assert_eq!((items.len(), count), (3, 1), "{items:?}");
    let select = Select::Filter(Filter { state: Some(State::Active), ..Filter::default() });
    assert_eq!(server.ask(Request::Steer { order: Order::Delete, select, only }).await.unwrap().1, 1);
    let orders = server.queue.orders.lock().unwrap().clone();
    assert_eq!(orders, [(Order::Release, QueueId(3)), (Order::Delete, QueueId(3))]);
    let of = |recipient: &str| {
        let ids = vec![QueueId(1), QueueId(3)];
        Request::QuarantineRelease { ids, recipient: recipient.parse().unwrap() }
    };
    let (items, count, _) = server.ask(of("c@c.test")).await.unwrap();
    assert!(matches!(&items[..], [Response::Refused { id: QueueId(1), .. }]) && count == 1, "{items:?}");
    let (items, count, _) = server.ask(of("d@c.test")).await.unwrap();
    assert!(matches!(&items[1..], [Response::Refused { id: QueueId(3), .. }]) && count == 0, "{items:?}");
    assert_eq!(server.queue.orders.lock().unwrap()[2..], [(Order::Release, QueueId(3)); 2]);
    assert_eq!(server.ask(Request::QuarantineDigest).await.unwrap().1, 2);
}

#[tokio::test]
async fn the_server_tells_how_it_is() {
    let server = Server::start([]).await;
    let (items, ..) = server.ask(Request::Fsck).await.unwrap();
    assert!(matches!(&items[0], Response::Fsck(report) if report.damaged.len() == 1));
    let (items, ..) = server.ask(Request::Status).await.unwrap();
    assert!(matches!(&items[0], Response::Status(status) if status.pid == 7));
    let error = server.ask(Request::Reload).await.unwrap_err();
    assert!(error.contains("the old one stays in force: line 3"), "{error}");
}

#[tokio::test]
async fn nonsense_is_answered_and_the_connection_goes_on() {
    use std::io::{BufRead as _, BufReader, Write as _};
    let server = Server::start(three()).await;
    let path = server.path.clone();
    let answers = tokio::task::spawn_blocking(move || {
        let mut stream = UnixStream::connect(path).unwrap();
        stream
            .write_all(b"GET / HTTP/1.1\n{\"do\":\"burn\"}\n{\"do\":\"show\",\"id\":\"0000000000001\"}\n")
            .unwrap();
        BufReader::new(stream).lines().take(4).map(Result::unwrap).collect::<Vec<String>>()
    });
    let answers = answers.await.unwrap();
    assert!(answers[0].contains("not understood") && answers[1].contains("unknown variant"), "{answers:?}");
    assert!(answers[2].starts_with("{\"message\"") && answers[3].starts_with("{\"done\""), "{answers:?}");
}

#[test]
fn a_server_that_does_not_run_is_told_plainly() {
    let folder = tempfile::tempdir().unwrap();
    let error = Client::connect(&folder.path().join("admin.sock")).unwrap_err();
    assert!(error.to_string().contains("does not run"), "{error}");
}

#[tokio::test]
async fn verdicts_are_told_by_id_by_recipient_and_by_age_and_are_forgotten() {
    let server = Server::start([]).await;
    let explain = |id, recipient: Option<&str>, younger_than_seconds| Request::Explain {
        id,
        recipient: recipient.map(ToOwned::to_owned),
        younger_than_seconds,
        limit: 5,
    };
    for (request, want) in [
        (explain(Some(QueueId(7)), None, None), r#"Id("0000000000007") 5"#.to_owned()),
        (
            explain(None, Some("joe@"), Some(2)),
            format!(r#"Recipient("joe@", Timestamp({})) 5"#, NOW.0 - 2_000),
        ),
        (explain(None, None, Some(u64::MAX)), "Since(Timestamp(0)) 5".to_owned()),
    ] {
        let (items, count, more) = server.ask(request).await.unwrap();
        assert_eq!(items, [Response::Verdict { record: Box::new(record()), text: want }]);
        assert_eq!((count, more), (1, true));
    }
    let erase = |address: &str| Request::Erase { address: address.to_owned() };
    assert_eq!(server.ask(erase("joe@a.test")).await, Ok((Vec::new(), 3, false)));
    assert_eq!(server.ask(erase("ann@a.test")).await, Err("away".to_owned()));
}

fn greylisted(items: &[Response]) -> Vec<String> {
    items
        .iter()
        .map(|item| match item {
            Response::Greylisted(line) => format!("{} {:?}", line.origin, line.state),
            Response::Origin(origin) => origin.clone(),
            other => panic!("{other:?}"),
        })
        .collect()
}

#[tokio::test]
async fn operators_tell_greylisting_whom_never_to_ask_and_take_it_back() {
    let server = Server::start([]).await;
    let allow = |names: &[&str]| {
        server.ask(Request::GreylistAllow { names: names.iter().map(ToString::to_string).collect() })
    };
    let (items, count, _) = allow(&["friend.test", "192.0.2.77"]).await.unwrap();
    let origins = ["spf:friend.test", "name:friend.test", "net:192.0.2.0/24"];
    assert_eq!((greylisted(&items), count), (origins.map(ToOwned::to_owned).to_vec(), 3));
    let error = allow(&["other.test", "10.0.0.0/8"]).await.unwrap_err();
    assert!(error.starts_with("10.0.0.0/8: ") && error.contains("/24"), "{error}");

    let (items, count, more) = server.ask(Request::GreylistList { limit: 0 }).await.unwrap();
    let all = ["name:friend.test Allowed", "net:192.0.2.0/24 Allowed", "spf:friend.test Allowed"]
        .map(ToOwned::to_owned);
    assert_eq!((greylisted(&items), count, more), (all.to_vec(), 3, false), "nothing of what was refused");
    let (_, count, more) = server.ask(Request::GreylistList { limit: 2 }).await.unwrap();
    assert_eq!((count, more), (2, true));
    let (_, count, more) = server.ask(Request::GreylistList { limit: 3 }).await.unwrap();
    assert_eq!((count, more), (3, false));

    let delete = |name: &str| server.ask(Request::GreylistDelete { names: vec![name.to_owned()] });
    assert_eq!(delete("spf:friend.test").await.unwrap().1, 1);
    assert_eq!(delete("friend.test").await.unwrap().1, 1);
    assert_eq!(delete("friend.test").await.unwrap().1, 0);

    server.queue.state.close().await.unwrap();
    let error = server.ask(Request::GreylistList { limit: 0 }).await.unwrap_err();
    assert!(error.contains("closed"), "what cannot be read is not absent: {error}");
}

#[tokio::test]
async fn a_long_memory_of_greylisting_is_listed_whole() {
    let server = Server::start([]).await;
    let names: Vec<String> = (0..600).map(|n| format!("net:10.{}.{}.0", n / 256, n % 256)).collect();
    assert_eq!(server.ask(Request::GreylistAllow { names }).await.unwrap().1, 600);
    let (items, count, more) = server.ask(Request::GreylistList { limit: 0 }).await.unwrap();
    assert_eq!((items.len(), count, more), (600, 600, false));
}

#[tokio::test]
async fn lists_and_mail_without_a_sender_are_told_of() {
    let server = Server::start([]).await;
    let (items, count, _) = server.ask(Request::Dnsbl).await.unwrap();
    let both = ["ipv4", "ipv6"].map(|family| Response::Dnsbl(Box::new(list(family))));
    assert_eq!((items, count), (both.to_vec(), 2));
    let (items, ..) = server.ask(Request::Backscatter).await.unwrap();
    assert_eq!(items, [Response::Backscatter(BACKSCATTER)]);
}

#[tokio::test]
async fn reputations_are_told_the_worst_first_and_forgotten() {
    let server = Server::start([]).await;
    let told = |items: Vec<Response>| -> Vec<String> {
        let subject = |item: &Response| match item {
            Response::Reputation(line) => line.subject.clone(),
            other => panic!("{other:?}"),
        };
        items.iter().map(subject).collect()
    };
    let all = || Request::Reputation { names: Vec::new(), limit: 1 };
    let (items, count, more) = server.ask(all()).await.unwrap();
    assert_eq!((told(items), count, more), (vec!["domain:far.test".to_owned()], 1, true));
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let some = Request::Reputation { names: names(&["joe+x@far.test", "192.0.2.1"]), limit: 0 };
    assert_eq!(told(server.ask(some).await.unwrap().0), ["address:joe@far.test"]);
    let delete = |some: &[&str]| Request::ReputationDelete { names: names(some) };
    assert!(server.ask(delete(&["far.test", "what is this"])).await.is_err());
    assert_eq!(server.ask(delete(&["far.test", "other.test"])).await.unwrap().1, 1);
    assert_eq!(told(server.ask(all()).await.unwrap().0), ["address:joe@far.test"]);
}

#[tokio::test]
async fn whom_our_users_know_is_told_of_a_letter() {
    let server = Server::start([]).await;
    let claims: Claims = serde_json::from_str(
        r#"{"theirs":["ann@far.test","joe@far.test"],"ours":["example.test"],"answers":[]}"#,
    )
    .unwrap();
    let told = |claims: &Claims| server.ask(Request::Acquaintance(claims.clone()));
    assert_eq!(told(&claims).await.unwrap().1, 0);
    let ann = Acquaintance {
        ours: claims.ours[0].clone(),
        written_to: vec![claims.theirs[0].clone()],
        letters: Vec::new(),
    };
    server.queue.correspondents.learn(std::slice::from_ref(&ann), NOW).await.unwrap();
    assert_eq!(told(&claims).await.unwrap().0, [Response::Acquaintance(ann)]);
}

#[test]
fn requests_about_judging_have_the_names_that_programs_use() {
    for (line, want) in [
        (r#"{"do":"dnsbl"}"#, Request::Dnsbl),
        (r#"{"do":"greylist_list"}"#, Request::GreylistList { limit: 0 }),
        (
            r#"{"do":"greylist_allow","names":["a.test"]}"#,
            Request::GreylistAllow { names: vec!["a.test".into()] },
        ),
        (r#"{"do":"greylist_delete","names":[]}"#, Request::GreylistDelete { names: Vec::new() }),
        (r#"{"do":"backscatter"}"#, Request::Backscatter),
        (r#"{"do":"reputation"}"#, Request::Reputation { names: Vec::new(), limit: 0 }),
        (r#"{"do":"reputation_delete","names":[]}"#, Request::ReputationDelete { names: Vec::new() }),
    ] {
        assert_eq!(serde_json::from_str::<Request>(line).unwrap(), want);
    }
}
