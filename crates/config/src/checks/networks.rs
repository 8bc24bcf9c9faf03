//! `trusted_networks` and `proxy_protocol_from`: whose word is taken.

use std::net::IpAddr;

use super::Findings;
use crate::document::Place;

/// `gateways` are this host's default gateways.
pub(super) fn check(findings: &mut Findings<'_, '_>, gateways: &[IpAddr]) {
    let config = findings.config;
    for (index, network) in config.trusted_networks.iter().enumerate() {
        let place = Place::of("trusted_networks").item(index);
        if network.is_too_wide_to_trust() {
            let problem = findings
                .error(&place, format!("{network} is too wide to be trusted"))
                .label("all of them could send through this server")
                .help("list the networks of your own clients; /8 is the widest for IPv4, /32 for IPv6");
            findings.push(problem);
        } else if let Some(gateway) = gateways.iter().find(|gateway| network.contains(**gateway)) {
            let problem = findings
                .warning(&place, format!("{network} contains this host's default gateway {gateway}"))
                .label("strangers may seem to come from there")
                .help(
                    "behind a container's network or a NAT that hides sources, every client has the gateway's address: \
                     then this is an open relay. Leave the gateway out, or let the load balancer speak PROXY",
                );
            findings.push(problem);
        }
    }
    for (index, listener) in config.listener.iter().enumerate() {
        for (item, network) in listener.proxy_protocol_from.iter().enumerate() {
            if network.is_too_wide_to_trust() {
                let place = Place::of("listener").item(index).key("proxy_protocol_from").item(item);
                let problem = findings
                    .error(&place, format!("{network} is too wide for `proxy_protocol_from`"))
                    .label("all of them could claim any address")
                    .help("list the addresses of your load balancers");
                findings.push(problem);
            }
        }
    }
}
