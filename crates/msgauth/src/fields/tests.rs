//! The fields letter by letter, with what strangers put in; and forged ones.

use super::*;

fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

fn spf_of(result: AuthResult, identity: spf::Identity, domain: &str) -> spf::Outcome {
    let mechanism = Some("-all".to_owned());
    spf::Outcome { result, identity, domain: domain.to_owned(), mechanism, explanation: None, problem: None }
}

fn signature() -> dkim::Outcome {
    dkim::Outcome {
        result: AuthResult::Pass,
        domain: Some(domain("example.test")),
        selector: "s1".to_owned(),
        agent: Some("@example.test".to_owned()),
        algorithm: Some("rsa-sha256"),
        key_bits: Some(2048),
        testing: false,
        prefix: "Ab/+0123".to_owned(),
        reason: None,
    }
}

fn text(field: Vec<u8>) -> String {
    String::from_utf8(field).unwrap()
}

#[test]
fn all_that_is_known_is_told_in_the_words_of_the_rfc() {
    let name = iprev::Outcome {
        result: AuthResult::Pass,
        name: Some(domain("mail.example.test")),
        names: Vec::new(),
        reason: None,
    };
    let helo = spf_of(AuthResult::None, spf::Identity::Helo, "mail.example.test");
    let from = spf_of(AuthResult::SoftFail, spf::Identity::MailFrom, "example.test");
    let weak = dkim::Outcome {
        result: AuthResult::Policy,
        reason: Some("the key has 512 bits".to_owned()),
        agent: None,
        ..signature()
    };
    let chain = arc::Outcome {
        result: AuthResult::Pass,
        sealers: vec![domain("one.test"), domain("two.test")],
        dmarc_before: None,
        reason: None,
    };
    let author = dmarc::Outcome {
        result: AuthResult::Fail,
        domain: Some(domain("example.test")),
        policy: dmarc::Policy::Reject,
        record_domain: Some(domain("example.test")),
        spf_aligned: false,
        dkim_aligned: false,
        void_lookups: 0,
        problem: None,
    };
    let results = Results {
        iprev: Some(("2001:db8::1".parse().unwrap(), &name)),
        spf_helo: Some(&helo),
        spf: Some(&from),
        dkim: Some(&[signature(), weak]),
        arc: Some(&chain),
        dmarc: Some(&author),
    };
    let field = text(authentication_results(&domain("mx.example.test"), &results));
    assert_eq!(
        field.replace("\r\n\t", " "),
        "Authentication-Results: mx.example.test; iprev=pass (mail.example.test) policy.iprev=\"2001:db8::1\"; \
         spf=none smtp.helo=mail.example.test; spf=softfail smtp.mailfrom=example.test; \
         dkim=pass (2048 bits, rsa-sha256) header.d=example.test header.i=@example.test header.s=s1 header.b=\"Ab/+0123\"; \
         dkim=policy (2048 bits, rsa-sha256) reason=\"the key has 512 bits\" header.d=example.test header.s=s1 header.b=\"Ab/+0123\"; \
         arc=pass (i=2 two.test); dmarc=fail (p=reject) header.from=example.test\r\n"
    );
    assert!(field.lines().all(|line| line.len() <= 100), "{field}");
    let nothing = authentication_results(&domain("mx.example.test"), &Results::default());
    assert_eq!(text(nothing), "Authentication-Results: mx.example.test; none\r\n");
    let unsigned = Results { dkim: Some(&[]), ..Results::default() };
    let field = text(authentication_results(&domain("mx.example.test"), &unsigned));
    assert_eq!(field, "Authentication-Results: mx.example.test; dkim=none\r\n");
}

#[test]
fn a_stranger_s_words_cannot_leave_their_place() {
    let evil = "a\";\r\nX-Forged: yes\r\n dkim=pass header.d=bank.test;\\";
    let from = spf_of(AuthResult::None, spf::Identity::MailFrom, evil);
    let agent = dkim::Outcome {
        agent: Some(evil.to_owned()),
        selector: evil.to_owned(),
        prefix: evil.to_owned(),
        reason: Some(evil.to_owned()),
        ..signature()
    };
    let results = Results { spf: Some(&from), dkim: Some(&[agent]), ..Results::default() };
    let field = authentication_results(&domain("mx.example.test"), &results);
    let request = spf::Request {
        client: "192.0.2.1".parse().unwrap(),
        helo: evil,
        mail_from: evil,
        receiver: evil,
        now_seconds: 0,
    };
    for field in [field, received_spf(&request, &from)] {
        assert_eq!(fields(&field).count(), 1);
        assert!(mail::header::find(&field, "X-Forged").is_none());
        // His quotation marks and brackets end nothing: outside of quoted strings and comments nothing of his is left.
        let (mut outside, mut inside, mut escaped, mut comment) = (String::new(), false, false, false);
        for c in text(field).chars() {
            match c {
                _ if escaped => escaped = false,
                '\\' if inside => escaped = true,
                '"' if !comment => inside = !inside,
                '(' | ')' if !inside => comment = c == '(',
                c if !inside && !comment => outside.push(c),
                _ => {}
            }
        }
        assert!(!inside && !comment && !outside.contains("bank.test"), "{outside}");
        let ours = usize::from(outside.contains("Authentication-Results"));
        assert_eq!(outside.matches("dkim=pass").count(), ours, "{outside}");
    }
}

#[test]
fn received_spf_tells_what_was_asked_and_why() {
    let request = spf::Request {
        client: "::ffff:192.0.2.9".parse().unwrap(),
        helo: "mail.example.test",
        mail_from: "joe@example.test",
        receiver: "mx.example.net",
        now_seconds: 0,
    };
    let outcome = spf_of(AuthResult::Fail, spf::Identity::MailFrom, "example.test");
    let field = text(received_spf(&request, &outcome)).replace("\r\n\t", " ");
    assert_eq!(
        field,
        "Received-SPF: fail (mx.example.net: example.test does not designate 192.0.2.9) receiver=mx.example.net; \
         client-ip=192.0.2.9; identity=mailfrom; envelope-from=\"joe@example.test\"; helo=mail.example.test; \
         mechanism=-all\r\n"
    );
}

#[test]
fn fields_that_claim_to_be_ours_are_found_however_they_are_written() {
    let forged = |value: &str| {
        let header = format!("Received: x\r\nAuthentication-Results: {value}\r\nSubject: y\r\n");
        let ranges = forged_results(header.as_bytes(), &domain("mx.b\u{fc}cher.test"));
        assert!(ranges.iter().all(|range| header[range.clone()].starts_with("Authentication-Results:")));
        !ranges.is_empty()
    };
    for ours in [
        "mx.xn--bcher-kva.test; spf=pass",
        "MX.XN--BCHER-KVA.TEST ; spf=pass",
        "mx.b\u{fc}cher.test 1; dkim=pass",
        "\r\n\t(a comment (with another \\) one)) mx.xn--bcher-kva.test; none",
        "\"mx.xn--bcher-kva.test\"; none",
        "\"mx.xn--bcher\\-kva.test\"; none",
        "mx.xn--bcher-kva.test.; none",
        "mx.xn--bcher-kva.test",
        "mx.xn--bcher-kva.test(x); none",
        // Not to be read, and with our name.
        "(never ends mx.xn--bcher-kva.test; none",
        "; mx.xn--bcher-kva.test spf=pass",
        "spf=pass; mx.xn--bcher-kva.test",
    ] {
        assert!(forged(ours), "{ours}");
    }
    for theirs in [
        "other.test; spf=pass smtp.mailfrom=mx.xn--bcher-kva.test",
        "notmx.xn--bcher-kva.test; none",
        "",
        "spf=pass",
    ] {
        assert!(!forged(theirs), "{theirs}");
    }
    let arc = b"ARC-Authentication-Results: i=1; mx.example.test; none\r\n";
    assert!(forged_results(arc, &domain("mx.example.test")).is_empty());
}
