//! TLS as a server: certificates by the name that clients ask for, re-read when their files change.
//!
//! One rustls configuration lives as long as the server; only the certificates inside are exchanged, all at once, so
//! that running sessions and session tickets survive a renewal. New files that are broken, or half written, change
//! nothing: the old certificates stay until the files are good (I8). A client that asks for an unknown name, or none,
//! gets the first certificate: mail servers rarely ask for the right one.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use mail::Timestamp;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{Error as RustlsError, InconsistentKeys, ServerConfig};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{TlsError, TlsInfo, TlsSettings, provider};

/// The server's side of TLS.
#[derive(Debug)]
pub struct ServerTls {
    config: Arc<ServerConfig>,
    certificates: Arc<Certificates>,
    pairs: Vec<Pair>,
    /// What the files looked like when they were last tried, good or not.
    seen: Mutex<Vec<Look>>,
    handshake_time_max: Duration,
}

/// What [`ServerTls::reload_if_changed`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// The files are those already in use.
    Unchanged,
    /// New certificates are in use from now on.
    Changed,
}

/// When a certificate in use expires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiry {
    /// The names in the settings that it is for; none for the first one, which is for everything else.
    pub names: Vec<String>,
    /// The last second in which it is valid; the beginning of 1970 when the certificate does not tell so.
    pub at: Timestamp,
}

impl ServerTls {
    /// Reads the certificates. Relative paths are relative to `base`.
    ///
    /// # Errors
    /// [`TlsError`], which names the file.
    pub fn load(settings: &TlsSettings, base: &Path) -> Result<Arc<Self>, TlsError> {
        let pairs = pairs_of(settings, base)?;
        let seen = looks_of(&pairs);
        let certificates = Arc::new(Certificates(RwLock::new(Arc::new(read_all(&pairs)?))));
        let config = configuration(settings, Arc::clone(&certificates))?;
        let handshake_time_max = Duration::from_secs(settings.handshake_seconds_max);
        Ok(Arc::new(Self { config, certificates, pairs, seen: Mutex::new(seen), handshake_time_max }))
    }

    /// Takes new certificates into use if their files have changed since the last call. Reads files: not for a
    /// session's own task.
    ///
    /// # Errors
    /// [`TlsError`] when the new files are broken: the old certificates stay in use. Told once per change.
    pub fn reload_if_changed(&self) -> Result<Reload, TlsError> {
        let now = looks_of(&self.pairs);
        {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if *seen == now {
                return Ok(Reload::Unchanged);
            }
            *seen = now;
        }
        let fresh = Arc::new(read_all(&self.pairs)?);
        *self.certificates.0.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(Reload::Changed)
    }

    /// When the certificates in use expire, in the order of the settings.
    #[must_use]
    pub fn expiries(&self) -> Vec<Expiry> {
        self.certificates.0.read().unwrap_or_else(PoisonError::into_inner).expiries.clone()
    }

    /// The rustls configuration.
    #[must_use]
    pub fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }

    /// Makes the handshake on an accepted connection, within [`TlsSettings::handshake_seconds_max`].
    ///
    /// # Errors
    /// What rustls says, as an I/O error; `TimedOut` for a client that is too slow.
    pub async fn accept<S>(&self, stream: S) -> io::Result<(TlsStream<S>, TlsInfo)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let handshake = TlsAcceptor::from(Arc::clone(&self.config)).accept(stream);
        let stream = tokio::time::timeout(self.handshake_time_max, handshake)
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the TLS handshake took too long"))??;
        let info = TlsInfo::of_server(stream.get_ref().1);
        Ok((stream, info))
    }
}

/// A certificate, its key, and the names it is for; the first pair of all is also for everything else.
#[derive(Debug)]
struct Pair {
    names: Vec<String>,
    certificate: PathBuf,
    key: PathBuf,
}

fn pairs_of(settings: &TlsSettings, base: &Path) -> Result<Vec<Pair>, TlsError> {
    let first = Pair {
        names: Vec::new(),
        certificate: base.join(&settings.certificate),
        key: base.join(&settings.key),
    };
    let mut pairs = vec![first];
    for sni in &settings.sni {
        let names = sni.names.iter().map(|name| sni_name(name)).collect::<Result<_, _>>()?;
        pairs.push(Pair { names, certificate: base.join(&sni.certificate), key: base.join(&sni.key) });
    }
    Ok(pairs)
}

/// The canonical form of a name in the settings, its `*.` kept.
fn sni_name(name: &str) -> Result<String, TlsError> {
    let (star, rest) = match name.strip_prefix("*.") {
        Some(rest) => ("*.", rest),
        None => ("", name),
    };
    match mail::Domain::parse(rest) {
        Ok(domain) if domain.literal().is_none() => Ok(format!("{star}{domain}")),
        _ => Err(TlsError::Name(name.to_owned())),
    }
}

/// What a file looks like from outside; `None` when it is not there.
type Look = Option<(u64, u64, i64, i64)>;

fn looks_of(pairs: &[Pair]) -> Vec<Look> {
    let look = |file: &PathBuf| {
        let facts = fs::metadata(file).ok()?;
        Some((facts.ino(), facts.size(), facts.mtime(), facts.mtime_nsec()))
    };
    pairs.iter().flat_map(|pair| [look(&pair.certificate), look(&pair.key)]).collect()
}

/// Certificates as rustls asks for them: a default, and by name.
#[derive(Debug)]
struct Set {
    default: Arc<CertifiedKey>,
    by_name: HashMap<String, Arc<CertifiedKey>>,
    expiries: Vec<Expiry>,
}

#[derive(Debug)]
struct Certificates(RwLock<Arc<Set>>);

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let set = Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner));
        if set.by_name.is_empty() {
            return Some(Arc::clone(&set.default));
        }
        let name = hello.server_name().unwrap_or_default().to_ascii_lowercase();
        let wildcard = || set.by_name.get(&format!("*.{}", name.split_once('.')?.1));
        Some(Arc::clone(set.by_name.get(&name).or_else(wildcard).unwrap_or(&set.default)))
    }
}

fn read_all(pairs: &[Pair]) -> Result<Set, TlsError> {
    let mut default = None;
    let mut by_name = HashMap::new();
    let mut expiries = Vec::new();
    for pair in pairs {
        let key = Arc::new(read_pair(pair)?);
        expiries.push(Expiry { names: pair.names.clone(), at: expiry(&key) });
        default.get_or_insert_with(|| Arc::clone(&key));
        by_name.extend(pair.names.iter().map(|name| (name.clone(), Arc::clone(&key))));
    }
    let default = default.ok_or_else(|| TlsError::NoCertificate { file: PathBuf::new() })?;
    Ok(Set { default, by_name, expiries })
}

/// `notAfter` of the first certificate in the chain (RFC 5280 §4.1.2.5).
fn expiry(key: &CertifiedKey) -> Timestamp {
    let parsed = key.cert.first().and_then(|certificate| X509Certificate::from_der(certificate).ok());
    let seconds = parsed.map_or(0, |(_, certificate)| certificate.validity().not_after.timestamp());
    Timestamp::from_seconds(u64::try_from(seconds).unwrap_or(0))
}

fn read_pair(pair: &Pair) -> Result<CertifiedKey, TlsError> {
    let chain = CertificateDer::pem_slice_iter(&read(&pair.certificate)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| broken(&pair.certificate, &error))?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate { file: pair.certificate.clone() });
    }
    let key = PrivateKeyDer::from_pem_slice(&read(&pair.key)?).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsError::NoKey { file: pair.key.clone() },
        other => broken(&pair.key, &other),
    })?;
    CertifiedKey::from_der(chain, key, &provider()).map_err(|error| match error {
        RustlsError::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            TlsError::Mismatch { certificate: pair.certificate.clone(), key: pair.key.clone() }
        }
        RustlsError::InvalidCertificate(_) => broken(&pair.certificate, &error),
        other => broken(&pair.key, &other),
    })
}

fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(file).map_err(|error| TlsError::Read { file: file.to_owned(), error })
}

fn broken(file: &Path, why: &dyn std::fmt::Display) -> TlsError {
    TlsError::Broken { file: file.to_owned(), why: why.to_string() }
}

fn configuration(
    settings: &TlsSettings,
    certificates: Arc<Certificates>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let failed = |error: RustlsError| TlsError::Make(error.to_string());
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(settings.minimum.and_newer())
        .map_err(failed)?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    // Sessions are resumed from tickets, which cost us no memory; one is what a mail client can use.
    config.ticketer = Ticketer::new().map_err(failed)?;
    config.send_tls13_tickets = 1;
    config.ignore_client_order = true;
    Ok(Arc::new(config))
}
