//! The sessions in `tests/messages/symbols`: each is judged by `staffetta try` with all defaults but greylisting, and found to be what its
//! file says. With `UPDATE_REFERENCE=1` the files are written anew.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use support::{Daemon, Dns};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/messages/symbols")
}

/// What `staffetta try` says of a session: its symbols, and what is done in the end.
fn found(daemon: &Daemon, of: &BTreeMap<&str, &str>, letter: &str) -> (String, String) {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let now = mail::Timestamp(u64::try_from(since.as_millis()).unwrap()).rfc5322();
    daemon.write("letter", &letter.replace("@NOW@", &now.to_string()));
    let session = ["--ip", of["client"], "--helo", of["helo"], "--mail-from", of["sender"]];
    let rest = ["--rcpt", "user@example.test", "--message", "letter", "--json"];
    let output = daemon.tool(&[&["try"], &session[..], &rest].concat());
    let lines = String::from_utf8(output.stdout).unwrap();
    let steps: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let points = steps.iter().filter_map(|step| step["points"].as_array()).flatten();
    let symbols: BTreeSet<&str> = points.filter_map(|line| line["symbol"].as_str()).collect();
    let last = steps.iter().rev().find_map(|step| step["action"].as_str());
    let last = last.unwrap_or_else(|| panic!("{lines}\n{:?}", output.stderr));
    (symbols.into_iter().collect::<Vec<_>>().join(" "), last.to_owned())
}

#[test]
fn every_session_of_the_corpus_has_its_symbols() {
    let dns = Dns::start(&std::fs::read_to_string(folder().join("zone")).unwrap());
    let rest = format!("[dns]\nservers = [\"{}\"]\n[antispam.greylist]\nmode = \"off\"\n", dns.addr);
    let daemon = Daemon::prepare(crate::PROGRAM, "", &rest);
    daemon.add_account("user@example.test", "secret");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    assert!(files.len() >= 12, "{files:?}");
    let mut differ = String::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let (head, letter) = text.split_once("\n\n").unwrap();
        let of: BTreeMap<&str, &str> = head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name, value.trim()))
            .collect();
        let (symbols, action) = found(&daemon, &of, letter);
        if (of["symbols"], of["action"]) == (symbols.as_str(), action.as_str()) {
            continue;
        }
        if std::env::var_os("UPDATE_REFERENCE").is_some() {
            let head = format!(
                "client: {}\nhelo: {}\nsender: {}\nsymbols: {symbols}\naction: {action}",
                of["client"], of["helo"], of["sender"]
            );
            std::fs::write(&file, format!("{head}\n\n{letter}")).unwrap();
        } else {
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            differ +=
                &format!("{name}\nis    {symbols}: {action}\nnot   {}: {}\n\n", of["symbols"], of["action"]);
        }
    }
    assert!(differ.is_empty(), "UPDATE_REFERENCE=1 writes them anew:\n{differ}");
}
