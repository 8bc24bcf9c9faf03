//! The transport table: which next hop a foreign domain has.
//!
//! A route for the domain itself, then for the closest domain above it (`.domain`), then `*`, then the smart host, then the
//! domain's own mail exchangers. Built once; looking up never fails and never asks DNS.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use mail::Domain;

use crate::agents::{Agent, Route};
use crate::error::DeliveryError;
use crate::settings::{OutboundSettings, TlsPolicy};
use crate::smtp::Hop;
use mail::next_hop::{Endpoint, Host, NextHop, TlsStart};

/// The transport table.
#[derive(Debug)]
pub struct Routes {
    exact: HashMap<Domain, Target>,
    /// By the domain that theirs stands beneath, without its dot.
    below: HashMap<Domain, Target>,
    any: Option<Target>,
    smart_host: Option<Target>,
    tls: TlsPolicy,
}

/// A next hop made ready.
#[derive(Debug, Clone)]
enum Target {
    Fixed(Route),
    Mx(TlsPolicy),
}

impl Routes {
    /// Reads the settings; relative paths in them stand beneath `base`.
    ///
    /// # Errors
    /// [`DeliveryError`] with the key that is wrong.
    pub fn new(settings: &OutboundSettings, base: &Path) -> Result<Self, DeliveryError> {
        let mut routes = Self {
            exact: HashMap::new(),
            below: HashMap::new(),
            any: None,
            smart_host: None,
            tls: settings.tls,
        };
        if !settings.smart_host.is_empty() {
            let login = !settings.user.is_empty();
            let target = target("outbound.smart_host", &settings.smart_host, base, settings.tls, login)?;
            if matches!(&target, Target::Fixed(Route { agent: Agent::Discard, .. })) {
                let want = "smtp:[host]:port or submissions:[host]:465";
                return Err(DeliveryError::setting("outbound.smart_host", &settings.smart_host, want));
            }
            routes.smart_host = Some(target);
        }
        for route in &settings.route {
            let target =
                target("outbound.route.to", &route.to, base, route.tls.unwrap_or(settings.tls), false)?;
            let domain = |text: &str| {
                let want = "a domain, .domain for its subdomains, or *";
                Domain::parse(text)
                    .map_err(|_| DeliveryError::setting("outbound.route.match", &route.matches, want))
            };
            match route.matches.trim() {
                "*" => routes.any = Some(target),
                text => match text.strip_prefix('.') {
                    Some(parent) => drop(routes.below.insert(domain(parent)?, target)),
                    None => drop(routes.exact.insert(domain(text)?, target)),
                },
            }
        }
        Ok(routes)
    }

    /// The route of a domain that is not ours.
    #[must_use]
    pub fn find(&self, domain: &Domain) -> Route {
        let found = self.exact.get(domain).or_else(|| self.by_parent(domain));
        match found.or(self.any.as_ref()).or(self.smart_host.as_ref()) {
            Some(Target::Fixed(route)) => route.clone(),
            Some(Target::Mx(policy)) => by_mx(domain, *policy),
            None => by_mx(domain, self.tls),
        }
    }

    /// The route to a server by its name; none to what is no server.
    #[must_use]
    pub fn server(&self, hop: &NextHop) -> Option<Route> {
        matches!(hop, NextHop::Smtp(_) | NextHop::Lmtp(_)).then(|| fixed(hop, self.tls, false))
    }

    fn by_parent(&self, domain: &Domain) -> Option<&Target> {
        if self.below.is_empty() {
            return None;
        }
        let mut parent = domain.parent();
        while let Some(name) = parent {
            if let Some(target) = self.below.get(name) {
                return Some(target);
            }
            parent = name.split_once('.').map(|(_, rest)| rest);
        }
        None
    }
}

fn target(key: &str, text: &str, base: &Path, tls: TlsPolicy, login: bool) -> Result<Target, DeliveryError> {
    let wrong = |error| DeliveryError::NextHop { key: key.to_owned(), error };
    match NextHop::parse_beneath(text, base).map_err(wrong)? {
        NextHop::Mx => Ok(Target::Mx(tls)),
        NextHop::Maildir(_) => {
            let want =
                "smtp:, submission:, submissions:, lmtp:, mx or discard; Maildirs belong to a [[domain]]";
            Err(DeliveryError::setting(key, text, want))
        }
        hop => Ok(Target::Fixed(fixed(&hop, tls, login))),
    }
}

/// The route to a next hop that an operator wrote down. Maildirs are not of this kind.
pub(super) fn fixed(hop: &NextHop, tls: TlsPolicy, login: bool) -> Route {
    let key = Arc::from(format!("{hop}{}{}", policy_suffix(tls), if login { " login" } else { "" }));
    let (endpoint, lmtp, start) = match hop {
        NextHop::Lmtp(endpoint) => (endpoint.clone(), true, TlsStart::IfOffered),
        NextHop::Smtp(target) => (Endpoint::Inet(target.host.clone(), target.port), false, target.tls),
        NextHop::Maildir(_) | NextHop::Mx | NextHop::Discard => {
            return Route { agent: Agent::Discard, key, mailbox: None };
        }
    };
    // LMTP is spoken within a site, most often over a socket of the file system.
    let policy = if lmtp { TlsPolicy::Off } else { tls };
    let hop = Hop { endpoint, lmtp, tls: start, policy, login, is_configured: true };
    Route { agent: Agent::Peer(Arc::new(hop)), key, mailbox: None }
}

/// RFC 5321 §5.1: the domain's own mail exchangers.
pub(super) fn by_mx(domain: &Domain, policy: TlsPolicy) -> Route {
    let endpoint = Endpoint::Inet(Host::ByMx(domain.clone()), 25);
    let hop =
        Hop { endpoint, lmtp: false, tls: TlsStart::IfOffered, policy, login: false, is_configured: false };
    let key = Arc::from(format!("smtp:{domain}{}", policy_suffix(policy)));
    Route { agent: Agent::Peer(Arc::new(hop)), key, mailbox: None }
}

/// Connections of different policies are not mixed, and neither are their destinations.
fn policy_suffix(policy: TlsPolicy) -> &'static str {
    match policy {
        TlsPolicy::Opportunistic => "",
        TlsPolicy::Off => " tls=off",
        TlsPolicy::Required => " tls=required",
        TlsPolicy::Verified => " tls=verified",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::OutboundRoute;

    fn routes(list: &[(&str, &str)], smart_host: &str) -> Result<Routes, DeliveryError> {
        let route = |(matches, to): &(&str, &str)| OutboundRoute {
            matches: (*matches).into(),
            to: (*to).into(),
            tls: None,
        };
        let settings = OutboundSettings {
            route: list.iter().map(route).collect(),
            smart_host: smart_host.into(),
            ..OutboundSettings::default()
        };
        Routes::new(&settings, Path::new("/etc"))
    }

    fn key(routes: &Routes, domain: &str) -> String {
        routes.find(&Domain::parse(domain).unwrap()).key.to_string()
    }

    #[test]
    fn the_most_specific_route_wins() {
        let list = [
            ("a.test", "smtp:[10.0.0.1]:25"),
            (".a.test", "smtp:[10.0.0.2]:25"),
            (".sub.a.test", "lmtp:unix:/run/l"),
            ("null.test", "discard"),
            ("direct.test", "mx"),
        ];
        let routes = routes(&list, "submissions:[smart.test]:465").unwrap();
        for (domain, want) in [
            ("a.test", "smtp:[10.0.0.1]:25"),
            ("x.a.test", "smtp:[10.0.0.2]:25"),
            ("sub.a.test", "smtp:[10.0.0.2]:25"),
            ("y.sub.a.test", "lmtp:unix:/run/l"),
            ("null.test", "discard"),
            ("direct.test", "smtp:direct.test"),
            ("ba.test", "submissions:[smart.test]:465"),
        ] {
            assert_eq!(key(&routes, domain), want, "{domain}");
        }
    }

    #[test]
    fn without_routes_mail_goes_to_the_domains_own_hosts() {
        assert_eq!(key(&routes(&[], "").unwrap(), "b.test"), "smtp:b.test");
        assert_eq!(
            key(&routes(&[("*", "smtp:[::1]:26")], "smtp:[::1]:27").unwrap(), "b.test"),
            "smtp:[::1]:26"
        );
    }

    #[test]
    fn a_smart_host_with_a_login_has_connections_of_its_own() {
        let settings = OutboundSettings {
            smart_host: "smtp:[::1]:27".into(),
            user: "joe".into(),
            tls: TlsPolicy::Required,
            ..OutboundSettings::default()
        };
        let routes = Routes::new(&settings, Path::new("/")).unwrap();
        assert_eq!(key(&routes, "b.test"), "smtp:[::1]:27 tls=required login");
    }

    #[test]
    fn mistakes_name_their_key() {
        for (list, smart_host, want) in [
            (vec![("a b", "mx")], "", "outbound.route.match"),
            (vec![("a.test", "maildir:/x/{local}")], "", "outbound.route.to"),
            (vec![("a.test", "smtp:[x")], "", "outbound.route.to"),
            (vec![], "relay.test:25", "outbound.smart_host"),
            (vec![], "discard", "outbound.smart_host"),
        ] {
            let error = routes(&list, smart_host).unwrap_err().to_string();
            assert!(error.starts_with(want), "{error}");
        }
    }
}
