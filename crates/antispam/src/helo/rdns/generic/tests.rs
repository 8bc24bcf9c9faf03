//! Names of both kinds, as providers and postmasters choose them; the domains are nobody's.

use super::*;

/// Names of lines, each with its address.
const DYNAMIC_NAMES: &[(&str, &str)] = &[
    ("192-0-2-77.dyn.provider.example", "192.0.2.77"),
    ("dyn-77-2-0-192.provider.example", "192.0.2.77"),
    ("p192.0.2.77.dip.provider.example", "192.0.2.77"),
    ("192.0.2.77.dynamic.provider.example", "192.0.2.77"),
    ("dynamic-192-0-2-77.city.provider.example", "192.0.2.77"),
    ("host77-2-dynamic.0-192-r.retail.provider.example", "192.0.2.77"),
    ("adsl-198-51-100-23.dsl.town.provider.example", "198.51.100.23"),
    ("dslb-198-051-100-023.pools.provider.example", "198.51.100.23"),
    ("dsl.198.51.100.23.provider.example", "198.51.100.23"),
    ("23.100.51.198.adsl.provider.example", "198.51.100.23"),
    ("ppp-198-51-100-23.provider.example", "198.51.100.23"),
    ("pppoe23.100-51-198.provider.example", "198.51.100.23"),
    ("pool-203-0-113-200.east.provider.example", "203.0.113.200"),
    ("cable-203-0-113-200.provider.example", "203.0.113.200"),
    ("cpe-203-0-113-200.cable.provider.example", "203.0.113.200"),
    ("ip203-0-113-200.customers.provider.example", "203.0.113.200"),
    ("c-203-0-113-200.hsd1.st.provider.example", "203.0.113.200"),
    ("200.113.0.203.dhcp.provider.example", "203.0.113.200"),
    ("dhcp-203-0-113-200.provider.example", "203.0.113.200"),
    ("dialup-17.provider.example", "203.0.113.200"),
    ("dialin123.pop4.provider.example", "203.0.113.200"),
    ("host-12.adsl.provider.example", "203.0.113.200"),
    ("x1.dynamic.provider.example", "203.0.113.200"),
    ("a0b1.dhcp.campus.example", "203.0.113.200"),
    ("cb0071c8.dyn.provider.example", "203.0.113.200"),
    ("p5dcb0071c8.dip0.provider.example", "203.0.113.200"),
    ("203000113200.ftth.provider.example", "203.0.113.200"),
    ("user-203-0-113-200.mobile.provider.example", "203.0.113.200"),
    ("3405803976.wireless.provider.example", "203.0.113.200"),
    ("200-113-0-203.broadband.provider.co.example", "203.0.113.200"),
    ("2001-db8-1-2-3-4-5-6.dyn.provider.example", "2001:db8:1:2:3:4:5:6"),
    ("p20010db8000100020003000400050006.dip0.provider.example", "2001:db8:1:2:3:4:5:6"),
    (
        "6.0.0.0.5.0.0.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.pool.provider.example",
        "2001:db8:1:2:3:4:5:6",
    ),
];

/// Made by a rule, but nothing says that the line changes hands, or something says that it does not.
const GENERIC_NAMES: &[(&str, &str)] = &[
    ("192-0-2-77.provider.example", "192.0.2.77"),
    ("192.0.2.77.provider.example", "192.0.2.77"),
    ("ip-192-0-2-77.region.compute.example", "192.0.2.77"),
    ("static.77.2.0.192.clients.hoster.example", "192.0.2.77"),
    ("static-198-51-100-23.dsl.provider.example", "198.51.100.23"),
    ("host-203-0-113-200.hoster.example", "203.0.113.200"),
    ("vps-cb0071c8.vps.hoster.example", "203.0.113.200"),
    ("198-51-100-23.fixed.provider.example", "198.51.100.23"),
    ("200.113.0.203.static.provider.example", "203.0.113.200"),
    ("mail-198-51-100-23.dsl.provider.example", "198.51.100.23"),
];

/// Names that somebody has chosen.
const CHOSEN_NAMES: &[(&str, &str)] = &[
    ("mail.pool-supplies.com.example", "192.0.2.77"),
    ("mail.pool-supplies.example", "192.0.2.77"),
    ("pool-supplies.example", "192.0.2.77"),
    ("mx.cable-cars.example", "192.0.2.77"),
    ("smtp.dynamic-dance.example", "192.0.2.77"),
    ("mail.dynamics.example", "192.0.2.77"),
    ("dynamo.football.example", "192.0.2.77"),
    ("mx1.example.test", "192.0.2.77"),
    ("mail-ot1-f77.bigmail.example", "192.0.2.77"),
    ("mail-sor-f41.bigmail.example", "209.0.2.41"),
    ("a77-2.smtp-out.cloudmail.example", "192.0.2.77"),
    ("o192.outbound.newsletter.example", "192.0.2.77"),
    ("mail77.transfer.example", "192.0.2.77"),
    ("mta-77-2.sender.example", "192.0.2.77"),
    ("out5-smtp.messaging.example", "192.0.2.5"),
    ("smtp2.dsl.provider.example", "192.0.2.77"),
    ("mail.ppp.example", "192.0.2.77"),
    ("static.shop.example", "192.0.2.77"),
    ("mout.gmx.example", "192.0.2.77"),
    ("cust-mail.helpdesk.example", "192.0.2.77"),
    ("customer.support.example.test", "192.0.2.77"),
    ("mobile.bank.example.test", "192.0.2.77"),
    ("res.hotel.example.test", "192.0.2.77"),
    ("pool.ntp.example.test", "192.0.2.77"),
    ("mx-1-2-3.example.test", "203.0.113.200"),
    ("server1.2.example.test", "10.1.2.3"),
    ("postcard.studio.example.test", "192.0.2.77"),
    ("diplomat.embassy.example.test", "192.0.2.77"),
    ("dsldoctor.example.test", "192.0.2.77"),
    ("modemmuseum.example.test", "192.0.2.77"),
    ("mail.city-of-2001.example.test", "2001:db8::1"),
    ("mx6.example.test", "2001:db8:1:2:3:4:5:6"),
    ("deadbeef.example.test", "2001:db8::25"),
    ("www.adsl-experts-of-ruritania.co.uk", "192.0.2.77"),
    ("dialup-history-of-ruritania.com.au", "192.0.2.77"),
    ("localhost", "192.0.2.77"),
    ("", "192.0.2.77"),
];

fn check(table: &[(&str, &str)], expected: Look) {
    let wrong: Vec<String> = table
        .iter()
        .map(|(name, address)| (name, look(name, address.parse().unwrap())))
        .filter(|(_, look)| *look != expected)
        .map(|(name, look)| format!("{name}: {look:?}"))
        .collect();
    assert!(wrong.is_empty(), "not {expected:?}:\n{}", wrong.join("\n"));
}

#[test]
fn lines_that_change_hands_are_dynamic() {
    check(DYNAMIC_NAMES, Look::Dynamic);
}

#[test]
fn names_made_by_a_rule_are_generic() {
    check(GENERIC_NAMES, Look::Generic);
}

#[test]
fn names_that_were_chosen_are_left_alone() {
    check(CHOSEN_NAMES, Look::Chosen);
}

#[test]
fn another_address_in_the_name_is_nothing() {
    for (name, _) in GENERIC_NAMES {
        assert_eq!(look(name, "192.168.77.78".parse().unwrap()), Look::Chosen, "{name}");
    }
}
