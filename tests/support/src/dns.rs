//! An authoritative name server on a loopback port, in the test's own process, over UDP and TCP.
//!
//! It serves a zone text (RFC 1035 §5.1): names with records are answered, names above such names are NODATA, all
//! others are NXDOMAIN with the SOA of the zone; wildcards work. Any name can be given a [`Trouble`] instead.
//! Queries are counted by name, so that a test can tell what was asked. The server has a thread of its own and works
//! with any runtime; it ends when its [`Dns`] is dropped.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use hickory_server::Server;
use hickory_server::net::runtime::Time;
use hickory_server::net::xfer::Protocol;
use hickory_server::proto::op::{Header, HeaderCounts, Metadata, ResponseCode};
use hickory_server::proto::rr::{LowerName, Name, RData, Record, RecordSet, RecordType, RrKey};
use hickory_server::proto::serialize::txt::Parser;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::oneshot;

/// What a name does instead of being answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// SERVFAIL: the server could not find out.
    ServFail,
    /// REFUSED: the server does not want to answer.
    Refused,
    /// No answer at all.
    Silent,
    /// Over UDP an empty answer with the truncation bit (RFC 1035 §4.1.1); over TCP the true one.
    Truncated,
    /// NOERROR without records and without a SOA (RFC 2308 §2.2, type 3).
    BareNoData,
    /// NOERROR without records, but with name servers: a referral (RFC 2308 §2.2).
    Referral,
}

/// A running name server.
#[derive(Debug)]
pub struct Dns {
    /// Where it answers, over UDP and TCP.
    pub addr: SocketAddr,
    shared: Arc<Shared>,
    _stop: oneshot::Sender<()>,
}

impl Dns {
    /// Starts a server with a zone text. Names in it are fully qualified or relative to the root; a line
    /// `$ORIGIN example.test.` changes that.
    ///
    /// # Panics
    /// When the text is no zone or no port is free.
    #[must_use]
    pub fn start(zone: &str) -> Self {
        let records = parse(zone);
        let shared = Arc::new(Shared { zone: Mutex::new(records), ..Shared::default() });
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = std::sync::mpsc::channel();
        let handler = Handler(Arc::clone(&shared));
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(serve(handler, tell, stopped));
        });
        let addr = told.recv().expect("the name server started");
        Self { addr, shared, _stop: stop }
    }

    /// Replaces the zone.
    ///
    /// # Panics
    /// When the text is no zone.
    pub fn set_zone(&self, zone: &str) {
        *lock(&self.shared.zone) = parse(zone);
    }

    /// Gives a name trouble, for every type of record.
    ///
    /// # Panics
    /// When the text is no name.
    pub fn trouble(&self, name: &str, trouble: Trouble) {
        lock(&self.shared.troubles).insert(lower(name), trouble);
    }

    /// Takes a name's trouble away.
    ///
    /// # Panics
    /// When the text is no name.
    pub fn recover(&self, name: &str) {
        lock(&self.shared.troubles).remove(&lower(name));
    }

    /// How often a name was asked for, by any type and transport.
    ///
    /// # Panics
    /// When the text is no name.
    #[must_use]
    pub fn asked(&self, name: &str) -> usize {
        lock(&self.shared.asked).get(&lower(name)).copied().unwrap_or_default()
    }
}

type Zone = BTreeMap<RrKey, RecordSet>;

#[derive(Debug, Default)]
struct Shared {
    zone: Mutex<Zone>,
    troubles: Mutex<HashMap<LowerName, Trouble>>,
    asked: Mutex<HashMap<LowerName, usize>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn lower(name: &str) -> LowerName {
    let mut name = Name::from_ascii(name).expect("a name");
    name.set_fqdn(true);
    LowerName::new(&name)
}

fn parse(zone: &str) -> Zone {
    let text = format!("$TTL 60\n{}\n", zone.lines().map(str::trim_start).collect::<Vec<_>>().join("\n"));
    match Parser::new(text, None, Some(Name::root())).parse() {
        Ok((_, records)) => records,
        Err(error) => panic!("not a zone: {error}\n{zone}"),
    }
}

async fn serve(handler: Handler, tell: std::sync::mpsc::Sender<SocketAddr>, stopped: oneshot::Receiver<()>) {
    let mut server = Server::new(handler);
    // A UDP port whose TCP twin is free too; the first try nearly always is.
    let (udp, tcp) = loop {
        let udp = UdpSocket::bind("127.0.0.1:0").await.expect("a free UDP port");
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().expect("an address")).await {
            break (udp, tcp);
        }
    };
    let addr = udp.local_addr().expect("an address");
    server.register_socket(udp);
    server.register_listener(tcp, Duration::from_secs(30), 64);
    tell.send(addr).expect("somebody waits for the address");
    // Ends when the sender is dropped.
    let _ = stopped.await;
}

struct Handler(Arc<Shared>);

#[async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, reply: R) -> ResponseInfo {
        let Ok(info) = request.request_info() else { return nothing(request.metadata) };
        let (name, kind) = (info.query.name().clone(), info.query.query_type());
        *lock(&self.0.asked).entry(name.clone()).or_default() += 1;
        let trouble = lock(&self.0.troubles).get(&name).copied();
        let udp = request.protocol() == Protocol::Udp;
        let mut answer = match trouble {
            Some(Trouble::Silent) => return nothing(request.metadata),
            Some(Trouble::ServFail) => Reply::code(ResponseCode::ServFail),
            Some(Trouble::Refused) => Reply::code(ResponseCode::Refused),
            Some(Trouble::BareNoData) => Reply::code(ResponseCode::NoError),
            Some(Trouble::Referral) => Reply::referral(&name),
            Some(Trouble::Truncated) if udp => {
                Reply { truncated: true, ..Reply::code(ResponseCode::NoError) }
            }
            Some(Trouble::Truncated) | None => look_up(&lock(&self.0.zone), &name, kind),
        };
        answer.truncated |= udp && answer.octets() > usize::from(request.max_payload());
        send(request, answer, reply).await
    }
}

fn nothing(metadata: Metadata) -> ResponseInfo {
    Header { metadata, counts: HeaderCounts::default() }.into()
}

#[derive(Default)]
struct Reply {
    code: Option<ResponseCode>,
    truncated: bool,
    answers: Vec<Record>,
    authorities: Vec<Record>,
    soa: Vec<Record>,
}

impl Reply {
    fn code(code: ResponseCode) -> Self {
        Self { code: Some(code), ..Self::default() }
    }

    fn referral(name: &LowerName) -> Self {
        let server = Name::from_ascii("ns.elsewhere.test.").expect("a name");
        let ns = RData::NS(hickory_server::proto::rr::rdata::NS(server));
        Self {
            authorities: vec![Record::from_rdata(name.into(), 60, ns)],
            ..Self::code(ResponseCode::NoError)
        }
    }

    /// Roughly: enough to know what a datagram cannot hold.
    fn octets(&self) -> usize {
        self.answers.iter().map(|record| record.data.to_string().len() + 24).sum()
    }
}

async fn send<R: ResponseHandler>(request: &Request, answer: Reply, mut reply: R) -> ResponseInfo {
    let mut metadata = Metadata::response_from_request(&request.metadata);
    metadata.response_code = answer.code.unwrap_or(ResponseCode::NoError);
    metadata.authoritative = answer.authorities.is_empty();
    metadata.recursion_available = true;
    metadata.truncation = answer.truncated;
    let answers = if answer.truncated { &[] } else { answer.answers.as_slice() };
    let mut response = MessageResponseBuilder::from_message_request(request);
    if let Some(edns) = &request.edns {
        response.edns(edns);
    }
    let response = response.build(metadata, answers, &answer.authorities, &answer.soa, &[]);
    reply.send_response(response).await.unwrap_or_else(|_| nothing(metadata))
}

/// RFC 1034 §4.3.2, for one zone that is the whole tree.
fn look_up(zone: &Zone, asked: &LowerName, kind: RecordType) -> Reply {
    let mut reply = Reply::default();
    let mut name = asked.clone();
    for _ in 0..16 {
        if let Some(found) = matching(zone, &name, kind) {
            reply.answers.extend(found);
            return reply;
        }
        let Some(alias) = matching(zone, &name, RecordType::CNAME) else { break };
        let target = alias.iter().find_map(|record| match &record.data {
            RData::CNAME(target) => Some(LowerName::new(&target.0)),
            _ => None,
        });
        reply.answers.extend(alias);
        match target {
            // A loop is given as far as it goes: the resolver has to cope.
            Some(target) if reply.answers.iter().all(|record| LowerName::new(&record.name) != target) => {
                name = target;
            }
            _ => return reply,
        }
    }
    if source(zone, &name).is_none() {
        reply.code = Some(ResponseCode::NXDomain);
    }
    reply.soa.push(soa(&name));
    reply
}

fn matching(zone: &Zone, name: &LowerName, kind: RecordType) -> Option<Vec<Record>> {
    let source = source(zone, name)?;
    let set = zone.get(&RrKey::new(source, kind))?;
    let mut found: Vec<Record> = set.records_without_rrsigs().cloned().collect();
    // RFC 1034 §4.3.3: a wildcard's records appear under the name that was asked for.
    found.iter_mut().for_each(|record| record.name = name.into());
    Some(found)
}

/// Whose records answer for a name: its own, or those of the wildcard below the closest name that exists
/// (RFC 4592 §3.3.1). `None`: the name does not exist.
fn source(zone: &Zone, name: &LowerName) -> Option<LowerName> {
    if exists(zone, name) {
        return Some(name.clone());
    }
    let mut encloser = name.base_name();
    while !encloser.is_root() && !exists(zone, &encloser) {
        encloser = encloser.base_name();
    }
    let wildcard = LowerName::new(&Name::from(&encloser).prepend_label("*").ok()?);
    exists(zone, &wildcard).then_some(wildcard)
}

fn exists(zone: &Zone, name: &LowerName) -> bool {
    zone.keys().any(|key| name.zone_of(&key.name))
}

fn soa(name: &LowerName) -> Record {
    let apex = Name::from(name).trim_to(2);
    let data = hickory_server::proto::rr::rdata::SOA::new(apex.clone(), apex.clone(), 1, 60, 60, 60, 60);
    Record::from_rdata(apex, 60, RData::SOA(data))
}
