//! `[tls]`: whether the certificates are there, can be read and belong together.

use net::{ServerTls, TlsError};

use super::{Findings, files};
use crate::document::Place;

/// The files first, each by itself; when all are there, what is in them, as the server will read it.
pub(super) fn check(findings: &mut Findings<'_, '_>) {
    let config = findings.config;
    let Some(tls) = &config.tls else { return };
    let section = Place::of("tls");
    let mut there = readable_pair(findings, &section, (&tls.certificate, &tls.key));
    for (index, further) in tls.sni.iter().enumerate() {
        let place = section.key("sni").item(index);
        there &= readable_pair(findings, &place, (&further.certificate, &further.key));
        if further.names.is_empty() {
            let problem = findings
                .error(&place.key("names"), "a [[tls.sni]] without names")
                .label("for which name is this certificate?")
                .help("add `names = [\"mail.example.test\"]`");
            findings.push(problem);
        }
    }
    if there && let Err(error) = ServerTls::load(tls, findings.base) {
        let place = place_of(findings, &error);
        findings.refused(&place, &error);
    }
}

/// Certificate and key of one pair; both are looked at, so that both are told. True when both can be read.
fn readable_pair(
    findings: &mut Findings<'_, '_>,
    section: &Place,
    (certificate, key): (&std::path::Path, &std::path::Path),
) -> bool {
    let one = files::readable(findings, &section.key("certificate"), certificate, "the certificate");
    let other = files::readable(findings, &section.key("key"), key, "the private key");
    if other {
        files::secret(findings, &section.key("key"), key, "the private key");
    }
    one && other
}

/// The setting that names the file which the error is about.
fn place_of(findings: &Findings<'_, '_>, error: &TlsError) -> Place {
    let section = Place::of("tls");
    let file = match error {
        TlsError::Read { file, .. }
        | TlsError::NoCertificate { file }
        | TlsError::NoKey { file }
        | TlsError::Broken { file, .. } => file,
        TlsError::Mismatch { key, .. } => key,
        TlsError::Name(_) | TlsError::Make(_) => return section,
    };
    let Some(tls) = &findings.config.tls else { return section };
    let further = tls
        .sni
        .iter()
        .enumerate()
        .map(|(index, further)| (section.key("sni").item(index), &further.certificate, &further.key));
    let mut pairs = std::iter::once((section.clone(), &tls.certificate, &tls.key)).chain(further);
    let found = pairs.find_map(|(place, certificate, key)| match file {
        file if *file == findings.path(certificate) => Some(place.key("certificate")),
        file if *file == findings.path(key) => Some(place.key("key")),
        _ => None,
    });
    found.unwrap_or(section)
}
