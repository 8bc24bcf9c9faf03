//! The whole configuration as types, with errors that teach.
//!
//! [`load`] reads one TOML file and gives a [`Loaded`] configuration, or a [`Report`] of everything that is wrong with
//! it: file, line, the offending text underlined, and what to write instead. What is doubtful but works is in
//! [`Loaded::warnings`]. The types are put together from the settings of the crates below; the reference documentation
//! is made from their doc comments ([`reference::markdown`]). Nothing here binds a socket, drops a privilege or writes a
//! file; secrets are never in the configuration, only the names of files that hold them.

mod checks;
mod document;
mod finding;
mod gateway;
mod passwd;
pub mod reference;
mod report;
mod settings;
mod shape;
mod suggest;
mod syntax;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use document::Document;
pub use finding::{Finding, Setting};
pub use report::{Problem, Report, Severity, Style};
pub use settings::{
    AccountsSettings, Config, DomainSettings, LogFormat, ObserveSettings, Principal, PrincipalError,
    ServerSettings, SubmissionSettings,
};

/// The largest configuration file that is read, in bytes. Real ones have a hundredth of it.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// A configuration that the server can start with.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The settings; relative paths are as written.
    pub config: Config,
    /// The file they came from.
    pub file: PathBuf,
    /// The folder of that file, absolute: relative paths in the settings start here.
    pub base_dir: PathBuf,
    /// What works and should still be known.
    pub warnings: Report,
}

impl Loaded {
    /// A path of the settings as an absolute one.
    #[must_use]
    pub fn path(&self, written: &Path) -> PathBuf {
        self.base_dir.join(written)
    }

    /// The absolute path of the data folder.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.path(&self.config.data_dir)
    }
}

/// Reads and checks a configuration file, and the files it names.
///
/// # Errors
/// A [`Report`] with at least one error: the file cannot be read, is no TOML, has an unknown key or a value of the wrong
/// type, or says something that cannot work.
pub fn load(file: &Path) -> Result<Loaded, Report> {
    let text = read(file)?;
    parse(&text, file)
}

/// Checks a configuration's text as if it stood in `file`; that itself is not read.
///
/// # Errors
/// As [`load`].
pub fn parse(text: &str, file: &Path) -> Result<Loaded, Report> {
    parse_behind(text, file, &gateway::default_gateways())
}

/// As [`parse`], on a host with these default gateways.
fn parse_behind(text: &str, file: &Path, gateways: &[IpAddr]) -> Result<Loaded, Report> {
    let shared: Arc<str> = text.into();
    let report = |problems| Report::new(file, Arc::clone(&shared), problems);
    let document = Document::parse(text).map_err(|error| report(vec![syntax::explain(text, &error)]))?;
    let misshapen = shape::check(&document, reference::schema());
    if !misshapen.is_empty() {
        return Err(report(misshapen));
    }
    let config: Config = toml::from_str(text).map_err(|error| report(vec![unreadable(&document, &error)]))?;
    let absolute = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let base_dir = absolute.parent().map(Path::to_owned).unwrap_or_default();
    let findings = report(checks::check(&config, &document, &base_dir, gateways));
    if findings.has_errors() {
        return Err(findings);
    }
    Ok(Loaded { config, file: file.to_owned(), base_dir, warnings: findings })
}

/// The file's text, or a report without a place in it: there is none to point at.
fn read(file: &Path) -> Result<String, Report> {
    let trouble = |message: String, help: &str| {
        Err(Report::new(file, Arc::from(""), vec![Problem::with_file(message).help(help)]))
    };
    let shown = file.display();
    match std::fs::metadata(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return trouble(
                format!("the configuration file {shown} does not exist"),
                "give its path with --config FILE, or make one with `staffetta quickstart DOMAIN`",
            );
        }
        Ok(facts) if facts.is_dir() => {
            return trouble(format!("{shown} is a folder"), "give the path of the file in it");
        }
        Ok(facts) if facts.len() > FILE_BYTES_MAX => {
            return trouble(
                format!("{shown} is too large for a configuration file"),
                "is it the right file?",
            );
        }
        _ => {}
    }
    let bytes = match std::fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) => {
            return trouble(
                format!("the configuration file {shown} cannot be read: {error}"),
                "let the user who starts the server read it",
            );
        }
    };
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(error) => trouble(
            format!("{shown} is not UTF-8 text: the byte at {} is none", error.utf8_error().valid_up_to()),
            "save it as UTF-8",
        ),
    }
}

/// What a type's own parsing said about a text.
fn unreadable(document: &Document<'_>, error: &toml::de::Error) -> Problem {
    let span = error.span().unwrap_or(0..0);
    let place = document.item_named(&document.place_at(&span), error.message());
    let span = document.value_span(&place).unwrap_or(span);
    let (message, help) = split_advice(error.message());
    let message = match place.last_key() {
        "" => message.to_owned(),
        key => format!("`{key}`: {message}"),
    };
    let problem = Problem::error(document, &place, message).at(Some(span));
    match shape::example(shape::find(reference::schema(), &place), &place) {
        Some(line) if help.is_empty() => problem.help(format!("write it like {line}")),
        _ => problem.help(help),
    }
}

/// Our errors say what is wrong and then, after a semicolon or with these words, what to do.
pub(crate) fn split_advice(words: &str) -> (&str, &str) {
    let colon = [": write ", ": give ", ": list "].iter().find_map(|verb| words.find(verb));
    let split = colon.map(|at| (at, at + 2)).or_else(|| words.find("; ").map(|at| (at, at + 2)));
    let parts = split.and_then(|(end, start)| Some((words.get(..end)?, words.get(start..)?)));
    parts.unwrap_or((words, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRUSTING: &str = "hostname = \"mx.example.test\"\ntrusted_networks = [\"172.17.0.0/16\"]\n\
        postmaster = \"joe@example.test\"\n";

    /// The warnings of a host with this gateway.
    fn warnings(gateway: &str) -> String {
        let loaded =
            parse_behind(TRUSTING, Path::new("staffetta.toml"), &[gateway.parse().unwrap()]).unwrap();
        loaded.warnings.to_string()
    }

    #[test]
    fn a_trusted_gateway_is_warned_of() {
        assert!(
            warnings("172.17.0.1").contains("172.17.0.0/16 contains this host's default gateway 172.17.0.1")
        );
        assert!(!warnings("192.0.2.1").contains("gateway"));
    }

    #[test]
    fn a_report_has_lines_for_logs_and_objects_for_programs() {
        let text = "hostname = \"mx.example.test\"\nlog = 3\n";
        let report = parse(text, Path::new("staffetta.toml")).unwrap_err();
        assert!(report.has_errors());
        let lines = report.lines();
        assert!(
            lines[0].starts_with("staffetta.toml:2: `log` is not a setting of the top of the file; "),
            "{lines:?}"
        );
        let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
        assert_eq!(
            (&json[0]["line"], &json[0]["column"], &json[0]["key"]),
            (&2.into(), &1.into(), &"log".into())
        );
        assert_eq!(json[0]["severity"], "error");
    }

    #[test]
    fn letters_of_several_bytes_are_underlined_in_step() {
        let text = "hostname = \"mx.example.test\"\npostmaster = \"ü@ü ü\" # ü\n";
        let told = parse(text, Path::new("staffetta.toml")).unwrap_err().to_string();
        assert!(told.contains("|              ^^^|^^^\n"), "{told}");
    }

    /// Whatever an editor leaves behind, a report comes of it: every character of a real file is dropped once, and every
    /// line is doubled and cut in the middle.
    #[test]
    fn no_text_is_too_broken_for_a_report() {
        let text = include_str!("../../../etc/staffetta.toml").replace("fullchain", "fullchaîn");
        let told = |text: &str| match parse(text, Path::new("staffetta.toml")) {
            Ok(loaded) => loaded.warnings,
            Err(report) => report,
        };
        let mut texts: Vec<String> = Vec::new();
        for (at, c) in text.char_indices().filter(|(_, c)| !c.is_alphabetic()) {
            texts.push(format!("{}{}", &text[..at], &text[at + c.len_utf8()..]));
        }
        for (number, line) in text.lines().enumerate() {
            texts.push(text.replacen(line, &format!("{line}\n{line}"), 1));
            let cut = line.chars().take(number % 11).collect::<String>();
            texts.push(text.replacen(line, &cut, 1));
        }
        for text in texts {
            let report = told(&text);
            assert!(!report.is_empty());
            assert!(report.render(Style::Plain).lines().count() > 2);
            for problem in report.problems() {
                assert!(problem.span.clone().is_none_or(|span| text.get(span).is_some()), "{problem:?}");
            }
        }
    }

    #[test]
    fn a_terminal_gets_colours_and_nothing_else_does() {
        let report = parse("", Path::new("staffetta.toml")).unwrap_err();
        assert!(report.render(Style::Terminal).contains('\u{1b}'));
        assert!(!report.render(Style::Plain).contains('\u{1b}'));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let folder = tempfile::tempdir().unwrap();
        for (file, words) in
            [(folder.path().join("none.toml"), "does not exist"), (folder.path().into(), "is a folder")]
        {
            let told = load(&file).unwrap_err().to_string();
            assert!(told.contains(words) && told.contains(&file.display().to_string()), "{told}");
        }
    }

    #[test]
    fn what_is_loaded_says_where_it_came_from() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("staffetta.toml");
        std::fs::write(&file, TRUSTING).unwrap();
        let loaded = load(&file).unwrap();
        assert_eq!(loaded.base_dir, folder.path());
        assert_eq!(loaded.path(Path::new("tls/key.pem")), folder.path().join("tls/key.pem"));
        assert_eq!(loaded.data_dir(), Path::new("/var/lib/staffetta"));
    }
}
