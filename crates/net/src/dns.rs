//! The resolver: what mail asks of DNS, with an answer that cannot be misread.
//!
//! Every answer is [`DnsAnswer::Found`], [`DnsAnswer::NoName`], [`DnsAnswer::NoData`] or [`DnsAnswer::Failed`]. Only
//! a true NXDOMAIN or NODATA (RFC 2308 §2) is an absence; SERVFAIL, REFUSED, a time-out, a lame referral or an
//! alias chain without an end is a failure, so that nobody bounces mail because a name server was down (I9).
//! Names are always taken as fully qualified: no search list, no hosts file, no C library. Every look-up ends within
//! [`DnsSettings::lookup_seconds_max`], and the cache is bounded.

mod figures;
mod heard;
mod lists;
mod name;
mod silence;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::rdata::MX;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{TokioResolver, system_conf};
use mail::Domain;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use figures::Kind;
pub use figures::{FIGURE_KINDS, FIGURE_RESULTS, Figures};
pub use heard::Heard;
pub use lists::{LIST_RECORDS_MAX, ListAnswer, ListFailure};
pub use name::{DnsName, Family};
use silence::Silence;

/// `[dns]`: which name servers are asked, how long they may take, and what is remembered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DnsSettings {
    /// Name servers, as `address` or `address:port` (`[2001:db8::53]:53` for IPv6). They must resolve for us
    /// (recursion). Empty, the default, takes those of /etc/resolv.conf, and 127.0.0.1 when that names none.
    pub servers: Vec<NameServer>,
    /// Seconds that one try may take. 5, as most resolvers have it.
    pub try_seconds_max: u64,
    /// Tries after the first one failed. 2: a lost datagram is no reason to defer mail.
    pub retries_max: usize,
    /// Seconds after which a look-up has failed, whatever its tries and aliases. 20: a session waits for it.
    pub lookup_seconds_max: u64,
    /// Milliseconds without an answer after which it is looked whether the name servers answer at all (at least 100). While
    /// they do not, what checks of strangers' mail want to know is unavailable at once, instead of making every session wait
    /// for its deadlines; the way of outgoing mail is looked up as ever. 2,000.
    pub silent_millis: u64,
    /// Answers kept in memory. 8,192: some megabytes at most.
    pub cache_entries_max: u64,
    /// Longest time in seconds to keep an answer, whatever its owner says. 86,400: one day.
    pub cache_seconds_max: u64,
    /// Longest time in seconds to keep "there is no such name". 900: a new domain works soon.
    pub absence_cache_seconds_max: u64,
}

impl Default for DnsSettings {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            try_seconds_max: 5,
            retries_max: 2,
            lookup_seconds_max: 20,
            silent_millis: 2_000,
            cache_entries_max: 8_192,
            cache_seconds_max: 86_400,
            absence_cache_seconds_max: 900,
        }
    }
}

/// A name server's address; the port is 53 where none is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct NameServer(pub SocketAddr);

/// Why the resolver could not be set up: the administrator's or the system's doing.
#[derive(Debug, thiserror::Error)]
pub enum ResolverError {
    /// `[dns] servers` has an entry that is no address.
    #[error(
        "`{0}` is not a name server: write an IP address, with a port if it is not 53, such as 127.0.0.1:5300"
    )]
    NameServer(String),
    /// The name resolution library refused its configuration.
    #[error("the resolver could not be set up: {0}")]
    SetUp(String),
}

/// What DNS said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DnsAnswer<T> {
    /// Records of the kind asked for; never an empty list.
    Found(T),
    /// The name does not exist (NXDOMAIN, RFC 2308 §2.1).
    NoName,
    /// The name exists, without records of this kind (NODATA, RFC 2308 §2.2).
    NoData,
    /// Nobody knows: try again later. The text is for logs and reports.
    Failed(String),
}

impl<T> DnsAnswer<T> {
    /// The records, where there are any.
    pub fn found(self) -> Option<T> {
        match self {
            Self::Found(records) => Some(records),
            _ => None,
        }
    }

    /// Whether DNS vouches for the absence: NXDOMAIN or NODATA, and nothing else.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::NoName | Self::NoData)
    }

    /// The same answer with other records; `None` from `change` turns it into [`Self::NoData`].
    pub fn filter_map<U>(self, change: impl FnOnce(T) -> Option<U>) -> DnsAnswer<U> {
        match self {
            Self::Found(records) => change(records).map_or(DnsAnswer::NoData, DnsAnswer::Found),
            Self::NoName => DnsAnswer::NoName,
            Self::NoData => DnsAnswer::NoData,
            Self::Failed(why) => DnsAnswer::Failed(why),
        }
    }
}

/// One MX record (RFC 1035 §3.3.9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mx {
    /// Lower is preferred.
    pub preference: u16,
    /// The host that takes the mail.
    pub exchange: Exchange,
}

/// What an MX record points to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exchange {
    /// A host name.
    Host(Domain),
    /// The root: alone in its set it says that the domain takes no mail (RFC 7505 §3).
    Null,
    /// Something that is no host name, verbatim. It counts as a record, so that a broken set is not taken for none.
    Unusable(String),
}

/// The resolver. Cheap to clone: clones share sockets, cache and figures.
#[derive(Clone, Debug)]
pub struct Resolver {
    inner: TokioResolver,
    /// Each server by itself, where there are several: one that cannot answer must not speak for the others.
    alone: Arc<[TokioResolver]>,
    lookup_time_max: Duration,
    figures: Arc<Figures>,
    silence: Arc<Silence>,
    /// Whether it waits for name servers that are silent.
    waits: bool,
    /// Who listens.
    heard: Option<Heard>,
}

impl Resolver {
    /// Sets the resolver up. Nothing is asked yet, and no runtime is needed.
    ///
    /// # Errors
    /// [`ResolverError`] when the library refuses the configuration.
    pub fn from_settings(settings: &DnsSettings) -> Result<Self, ResolverError> {
        let servers = if settings.servers.is_empty() {
            system_servers()
        } else {
            settings.servers.iter().map(|server| server_config(server.0)).collect()
        };
        let alone = if servers.len() > 1 {
            servers.iter().map(|server| build(vec![server.clone()], settings)).collect::<Result<_, _>>()?
        } else {
            Arc::default()
        };
        let silent = Duration::from_millis(settings.silent_millis);
        let prober = build_with(servers.clone(), prober_options(silent))?;
        let inner = build(servers, settings)?;
        let lookup_time_max = Duration::from_secs(settings.lookup_seconds_max);
        let silence = Arc::new(Silence::new(prober, silent));
        Ok(Self { inner, alone, lookup_time_max, figures: Arc::default(), silence, waits: true, heard: None })
    }

    /// The same for those who would rather not know than wait: while the name servers are silent
    /// ([`DnsSettings::silent_millis`]), every look-up that the cache cannot answer has failed at once.
    #[must_use]
    pub fn for_checks(&self) -> Self {
        Self { waits: false, ..self.clone() }
    }

    /// The same with somebody who hears every answer.
    #[must_use]
    pub fn overheard(&self) -> (Self, Heard) {
        let heard = Heard::default();
        (Self { heard: Some(heard.clone()), ..self.clone() }, heard)
    }

    /// The library's resolver, for code that brings its own look-ups.
    #[must_use]
    pub fn tokio(&self) -> &TokioResolver {
        &self.inner
    }

    /// Counts of look-ups by kind and result.
    #[must_use]
    pub fn figures(&self) -> &Figures {
        &self.figures
    }

    /// The hosts that take a domain's mail, most preferred first; equal ones stay in the order DNS gave.
    ///
    /// [`DnsAnswer::NoData`] means that the domain itself is its only, implicit MX (RFC 5321 §5.1).
    pub async fn mx(&self, domain: &Domain) -> DnsAnswer<Vec<Mx>> {
        let answer = self.records(Kind::Mx, domain, RecordType::MX, |data| match data {
            RData::MX(record) => Some(mx_record(record)),
            _ => None,
        });
        answer.await.filter_map(|mut hosts| {
            hosts.sort_by_key(|host| host.preference);
            Some(hosts)
        })
    }

    /// A host's addresses, IPv6 and IPv4 asked for at once; IPv6 first. A literal is its own address.
    ///
    /// One family's failure is forgiven when the other has addresses, and only then.
    pub async fn addresses(&self, domain: &Domain) -> DnsAnswer<Vec<IpAddr>> {
        if let Some(address) = domain.literal() {
            return DnsAnswer::Found(vec![address]);
        }
        let (v6, v4) = tokio::join!(
            self.records(Kind::Address, domain, RecordType::AAAA, ip_of),
            self.records(Kind::Address, domain, RecordType::A, ip_of)
        );
        match (v6, v4) {
            (DnsAnswer::Found(mut all), DnsAnswer::Found(rest)) => {
                all.extend(rest);
                DnsAnswer::Found(all)
            }
            (DnsAnswer::Found(some), _) | (_, DnsAnswer::Found(some)) => DnsAnswer::Found(some),
            (DnsAnswer::Failed(why), _) | (_, DnsAnswer::Failed(why)) => DnsAnswer::Failed(why),
            (DnsAnswer::NoName, DnsAnswer::NoName) => DnsAnswer::NoName,
            _ => DnsAnswer::NoData,
        }
    }

    /// The names an address claims (RFC 1035 §3.5). Unverified: see [`Self::client_name`].
    pub async fn ptr(&self, address: IpAddr) -> DnsAnswer<Vec<Domain>> {
        let name = Name::from(mail::canonical_ip(address));
        self.records_of(Kind::Ptr, name, RecordType::PTR, |data| match data {
            RData::PTR(name) => domain_of(&name.0),
            _ => None,
        })
        .await
    }

    /// A client's verified name: one that its address claims and whose addresses contain it (RFC 8601 §3, iprev).
    ///
    /// At most [`CLIENT_NAMES_MAX`] claims are looked at. [`DnsAnswer::NoData`] when none is confirmed.
    pub async fn client_name(&self, address: IpAddr) -> DnsAnswer<Domain> {
        let address = mail::canonical_ip(address);
        let names = match self.ptr(address).await {
            DnsAnswer::Found(names) => names,
            other => return other.filter_map(|_| None),
        };
        let mut failed = None;
        for name in names.into_iter().take(CLIENT_NAMES_MAX) {
            match self.addresses(&name).await {
                DnsAnswer::Found(addresses) if addresses.contains(&address) => return DnsAnswer::Found(name),
                DnsAnswer::Failed(why) => failed = Some(why),
                _ => {}
            }
        }
        failed.map_or(DnsAnswer::NoData, DnsAnswer::Failed)
    }

    /// A name's TXT records, each with its strings joined (RFC 7208 §3.3); octets that are not UTF-8 are replaced.
    pub async fn txt(&self, domain: &Domain) -> DnsAnswer<Vec<String>> {
        self.records(Kind::Txt, domain, RecordType::TXT, |data| match data {
            RData::TXT(record) => Some(String::from_utf8_lossy(&record.txt_data.concat()).into_owned()),
            _ => None,
        })
        .await
    }

    /// The hosts of [`Self::mx`] by preference, where neither they nor the domain need have names of hosts. A null MX
    /// is a host with the name of the root.
    pub async fn mx_names(&self, name: &DnsName) -> DnsAnswer<Vec<DnsName>> {
        let answer = self.records_of(Kind::Mx, name.0.clone(), RecordType::MX, |data| match data {
            RData::MX(record) => Some((record.preference, DnsName(record.exchange.clone()))),
            _ => None,
        });
        answer.await.filter_map(|mut hosts| {
            hosts.sort_by_key(|(preference, _)| *preference);
            Some(hosts.into_iter().map(|(_, host)| host).collect())
        })
    }

    /// The addresses of one family under a name that need not be a host's; the other family is not asked for.
    pub async fn addresses_in(&self, name: &DnsName, family: Family) -> DnsAnswer<Vec<IpAddr>> {
        let kind = match family {
            Family::V4 => RecordType::A,
            Family::V6 => RecordType::AAAA,
        };
        self.records_of(Kind::Address, name.0.clone(), kind, ip_of).await
    }

    /// [`Self::txt`] for a name that need not be a host's, octet for octet.
    pub async fn txt_octets(&self, name: &DnsName) -> DnsAnswer<Vec<Vec<u8>>> {
        self.records_of(Kind::Txt, name.0.clone(), RecordType::TXT, |data| match data {
            RData::TXT(record) => Some(record.txt_data.concat()),
            _ => None,
        })
        .await
    }

    async fn records<T>(
        &self,
        kind: Kind,
        domain: &Domain,
        record_type: RecordType,
        pick: impl Fn(&RData) -> Option<T>,
    ) -> DnsAnswer<Vec<T>> {
        match Name::from_ascii(domain.as_str()) {
            Ok(name) if domain.literal().is_none() => self.records_of(kind, name, record_type, pick).await,
            // A name that DNS cannot hold does not exist in it.
            _ => DnsAnswer::NoName,
        }
    }

    async fn records_of<T>(
        &self,
        kind: Kind,
        mut name: Name,
        record_type: RecordType,
        pick: impl Fn(&RData) -> Option<T>,
    ) -> DnsAnswer<Vec<T>> {
        name.set_fqdn(true);
        let asked = tokio::time::timeout(self.lookup_time_max, self.ask(&name, record_type, pick));
        let asked = if self.waits {
            Some(asked.await)
        } else {
            self.silence.unless((&name, record_type), asked).await
        };
        let failed = |why| (DnsAnswer::Failed(format!("{name} {record_type}: {why}")), String::new());
        let (answer, words) = match asked {
            Some(Ok(answer)) => answer,
            Some(Err(_)) => failed("no answer in time"),
            None => failed("the name servers are silent"),
        };
        self.figures.count(kind, &answer);
        if let Some(heard) = &self.heard {
            heard.note(&name, record_type, &answer, words);
        }
        answer
    }

    /// The records, and what somebody who listens is told of them.
    async fn ask<T>(
        &self,
        name: &Name,
        kind: RecordType,
        pick: impl Fn(&RData) -> Option<T>,
    ) -> (DnsAnswer<Vec<T>>, String) {
        let error = match self.any_server(name, kind).await {
            Ok(found) => {
                let records: Vec<T> =
                    found.answers().iter().filter_map(|record| pick(&record.data)).collect();
                let listens = self.heard.is_some();
                let words =
                    listens.then(|| heard::in_words(found.answers().iter().map(|record| &record.data)));
                let answer = if records.is_empty() { DnsAnswer::NoData } else { DnsAnswer::Found(records) };
                return (answer, words.unwrap_or_default());
            }
            Err(error) => error,
        };
        let answer = match classify(&error) {
            Absence::NoName => DnsAnswer::NoName,
            Absence::NoData => DnsAnswer::NoData,
            // RFC 2308 §2.2 type 3 has no SOA; but the library ends an alias loop the same way, so ask.
            Absence::Unproven if !self.is_alias(name).await => DnsAnswer::NoData,
            Absence::Unproven => DnsAnswer::Failed(format!("{name} {kind}: its alias leads nowhere")),
            Absence::None => DnsAnswer::Failed(format!("{name} {kind}: {}", reason(&error))),
        };
        (answer, String::new())
    }

    /// Asks the servers together and takes the first answer; where that is a refusal, asks one after the other.
    async fn any_server(&self, name: &Name, kind: RecordType) -> Result<Lookup, NetError> {
        let mut answer = self.inner.lookup(name.clone(), kind).await;
        for server in self.alone.iter() {
            if !matches!(answer, Err(NetError::Dns(DnsError::ResponseCode(_)))) {
                break;
            }
            answer = server.lookup(name.clone(), kind).await;
        }
        answer
    }

    /// Whether the name has a CNAME record; when that cannot be known, yes.
    async fn is_alias(&self, name: &Name) -> bool {
        let answer = match self.any_server(name, RecordType::CNAME).await {
            Ok(_) => DnsAnswer::Found(()),
            Err(error) => match classify(&error) {
                Absence::NoName => DnsAnswer::NoName,
                Absence::NoData | Absence::Unproven => DnsAnswer::NoData,
                Absence::None => DnsAnswer::Failed(String::new()),
            },
        };
        self.figures.count(Kind::Cname, &answer);
        !answer.is_absent()
    }
}

/// How many names of one address [`Resolver::client_name`] tries; RFC 7208 §5.5 sets 10 for the same purpose.
pub const CLIENT_NAMES_MAX: usize = 10;

/// What an error of the library says about existence.
enum Absence {
    NoName,
    NoData,
    /// No error, no records, and no SOA that vouches for it.
    Unproven,
    None,
}

fn classify(error: &NetError) -> Absence {
    let NetError::Dns(DnsError::NoRecordsFound(none)) = error else { return Absence::None };
    match none.response_code {
        ResponseCode::NXDomain => Absence::NoName,
        ResponseCode::NoError if none.soa.is_some() => Absence::NoData,
        // RFC 2308 §2.2: name servers without a SOA are a referral, not an answer: the server does not resolve for us.
        ResponseCode::NoError if none.ns.is_some() => Absence::None,
        ResponseCode::NoError => Absence::Unproven,
        _ => Absence::None,
    }
}

/// The failure in words for a log line.
fn reason(error: &NetError) -> String {
    match error {
        NetError::Dns(DnsError::ResponseCode(code)) => format!("the name server answered: {code}"),
        NetError::Dns(DnsError::NoRecordsFound(_)) => "the name server answered with a referral".to_owned(),
        other => other.to_string(),
    }
}

fn ip_of(data: &RData) -> Option<IpAddr> {
    data.ip_addr()
}

fn mx_record(record: &MX) -> Mx {
    let exchange = if record.exchange.is_root() {
        Exchange::Null
    } else {
        domain_of(&record.exchange)
            .map_or_else(|| Exchange::Unusable(record.exchange.to_string()), Exchange::Host)
    };
    Mx { preference: record.preference, exchange }
}

fn domain_of(name: &Name) -> Option<Domain> {
    Domain::parse(&name.to_ascii()).ok()
}

fn build(servers: Vec<NameServerConfig>, settings: &DnsSettings) -> Result<TokioResolver, ResolverError> {
    build_with(servers, options(settings))
}

fn build_with(servers: Vec<NameServerConfig>, options: ResolverOpts) -> Result<TokioResolver, ResolverError> {
    let config = ResolverConfig::from_name_servers(servers);
    // Only for DNS over TLS, which nobody configured: without it the library would read the system's trust store.
    let tls = crate::tls::client_config(crate::Verify::WebPki);
    TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        .with_options(options)
        .with_tls_config(tls.as_ref().clone())
        .build()
        .map_err(|error| ResolverError::SetUp(error.to_string()))
}

fn options(settings: &DnsSettings) -> ResolverOpts {
    let mut options = ResolverOpts::default();
    options.timeout = Duration::from_secs(settings.try_seconds_max);
    options.attempts = settings.retries_max;
    options.cache_size = settings.cache_entries_max;
    options.positive_max_ttl = Some(Duration::from_secs(settings.cache_seconds_max));
    options.negative_max_ttl = Some(Duration::from_secs(settings.absence_cache_seconds_max));
    options.use_hosts_file = ResolveHosts::Never;
    options.try_tcp_on_error = true;
    // Many mailings ask at once; more than this waits its turn inside the library.
    options.max_active_requests = 1_024;
    options
}

/// Two tries, both within the time; nothing is kept.
fn prober_options(time: Duration) -> ResolverOpts {
    let mut options =
        options(&DnsSettings { retries_max: 1, cache_entries_max: 0, ..DnsSettings::default() });
    options.timeout = time / 2;
    options
}

fn server_config(address: SocketAddr) -> NameServerConfig {
    let with_port = |mut connection: ConnectionConfig| {
        connection.port = address.port();
        connection
    };
    let connections = vec![with_port(ConnectionConfig::udp()), with_port(ConnectionConfig::tcp())];
    NameServerConfig::new(address.ip(), true, connections)
}

/// resolv.conf(5): its name servers, or 127.0.0.1 where there is none. Search domains and options are not ours.
fn system_servers() -> Vec<NameServerConfig> {
    match system_conf::read_system_conf() {
        Ok((config, _)) => {
            config.name_servers().iter().map(|server| server_config((server.ip, 53).into())).collect()
        }
        Err(_) => vec![server_config((Ipv4Addr::LOCALHOST, 53).into())],
    }
}

impl FromStr for NameServer {
    type Err = ResolverError;

    fn from_str(text: &str) -> Result<Self, ResolverError> {
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        let address =
            text.parse::<SocketAddr>().or_else(|_| bare.parse::<IpAddr>().map(|ip| (ip, 53).into()));
        address.map(Self).map_err(|_| ResolverError::NameServer(text.to_owned()))
    }
}

impl fmt::Display for NameServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<String> for NameServer {
    type Error = ResolverError;
    fn try_from(text: String) -> Result<Self, ResolverError> {
        text.parse()
    }
}

impl From<NameServer> for String {
    fn from(server: NameServer) -> Self {
        server.to_string()
    }
}
