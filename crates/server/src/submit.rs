//! Mail from programs on this machine: `submit.sock` and the `maildrop` folder.
//!
//! Both end in the same place, an SMTP dialogue with the session driver ([`LocalSession`]), so that there is one set of
//! rules. Who speaks is what the kernel says: the peer credentials of the socket, or the owner of the dropped file;
//! nothing that the program writes can change it. The socket has mode 0666 and offers nothing but submission. Only
//! root and the trusted users may send under another address than their own ([`Senders`]).

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use mail::{Address, Domain};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixListener;
use tokio::sync::Semaphore;

use crate::privileges::Users;

pub mod addresses;
pub mod client;
pub mod compose;
pub mod maildrop;
pub mod pickup;

/// Name of the socket in the data folder.
pub const SOCKET_NAME: &str = "submit.sock";
/// Name of the folder in the data folder.
pub const MAILDROP_NAME: &str = "maildrop";

/// A program on this machine, as the kernel knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The user it runs as.
    pub uid: u32,
    /// That user's name, or its number in digits where it has none.
    pub user: String,
}

impl Caller {
    /// The caller with this user id.
    #[must_use]
    pub fn of(uid: u32, users: &Users) -> Self {
        Self { uid, user: users.name_of(uid).map_or_else(|| uid.to_string(), ToOwned::to_owned) }
    }

    /// Its address: user name at `host`.
    ///
    /// # Errors
    /// When the user name cannot be a local part.
    pub fn address(&self, host: &Domain) -> Result<Address, mail::AddressError> {
        Address::new(&self.user, host.clone())
    }
}

/// Which addresses local callers may send from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Senders {
    /// `user@` these domains is the user: the host's own name, and what the operator adds.
    pub own_domains: Vec<Domain>,
    /// Users who may send from any address, besides root: numbers.
    pub trusted: BTreeSet<u32>,
}

impl Senders {
    /// True when the caller may send from any address.
    #[must_use]
    pub fn is_trusted(&self, caller: &Caller) -> bool {
        caller.uid == 0 || self.trusted.contains(&caller.uid)
    }

    /// True when the caller may send from this address: as MAIL FROM, and in every From and Sender.
    #[must_use]
    pub fn may_send_as(&self, caller: &Caller, address: &Address) -> bool {
        let own = || {
            let (local, _) = address.local.as_str().split_once('+').unwrap_or((address.local.as_str(), ""));
            local.eq_ignore_ascii_case(&caller.user) && self.own_domains.contains(&address.domain)
        };
        self.is_trusted(caller) || own()
    }
}

/// What a dialogue runs over.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// The session driver, as far as local callers need it: an SMTP dialogue in the role of a local submission.
pub trait LocalSession: Send + Sync {
    /// Speaks with the caller until the dialogue ends. Never fails: what goes wrong is said in the dialogue.
    fn talk(&self, stream: Box<dyn Stream>, caller: Caller) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// Serves `submit.sock` until the future is dropped: at most `sessions_max` callers at once, further ones wait.
pub async fn serve(listener: UnixListener, sessions: Arc<dyn LocalSession>, sessions_max: usize) {
    let places = Arc::new(Semaphore::new(sessions_max.max(1)));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors: wait for some to come back rather than spin.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        // Without credentials nobody is there to be held to the rules.
        let Ok(credentials) = stream.peer_cred() else { continue };
        let caller = Caller::of(credentials.uid(), &Users::of_the_system());
        let sessions = Arc::clone(&sessions);
        tokio::spawn(async move {
            sessions.talk(Box::new(stream), caller).await;
            drop(place);
        });
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
