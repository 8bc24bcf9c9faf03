//! The classic names: started as `sendmail`, `mailq`, `newaliases` or `postmap`, the program behaves as those do.
//!
//! Programs, scripts and monitoring know these commands; options, output and exit codes (sysexits.h) are those of
//! Postfix. No setuid or setgid is needed: mail goes over `submit.sock`, where the kernel tells the server who calls.
//! Looking at the queue and flushing it goes over `admin.sock`, and is for root and the server's own user.

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

mod exit;
mod local_time;
mod mailq;
mod options;
mod place;
mod postmap;
mod sendmail;

use exit::Exit;
use options::{Mode, Options};
use place::Place;

/// A face that was asked for by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Face {
    Sendmail,
    Mailq,
    Newaliases,
    Postmap,
}

/// Runs the face that the first argument names; none when it is the program's own name.
pub(crate) fn run() -> Option<ExitCode> {
    let mut arguments = std::env::args_os();
    let face = face_of(&arguments.next()?)?;
    // Bytes that are no UTF-8 cannot be part of an address.
    let rest: Vec<String> = arguments.map(|argument| argument.to_string_lossy().into_owned()).collect();
    let done = match face {
        Face::Postmap => postmap::run(&rest),
        _ => act(face, &rest).map(|()| ExitCode::SUCCESS),
    };
    Some(done.unwrap_or_else(|exit| exit.tell(name_of(face))))
}

fn face_of(argv0: &OsStr) -> Option<Face> {
    match Path::new(argv0).file_name()?.to_str()? {
        "sendmail" => Some(Face::Sendmail),
        "mailq" => Some(Face::Mailq),
        "newaliases" => Some(Face::Newaliases),
        "postmap" => Some(Face::Postmap),
        _ => None,
    }
}

fn name_of(face: Face) -> &'static str {
    match face {
        Face::Sendmail => "sendmail",
        Face::Mailq => "mailq",
        Face::Newaliases => "newaliases",
        Face::Postmap => "postmap",
    }
}

fn act(face: Face, arguments: &[String]) -> Result<(), Exit> {
    let mut options = Options::parse(arguments)?;
    match face {
        Face::Mailq => options.mode = Mode::List,
        Face::Newaliases => options.mode = Mode::Newaliases,
        Face::Sendmail | Face::Postmap => {}
    }
    let place = Place::find(options.config.as_deref());
    match &options.mode {
        Mode::Deliver => sendmail::deliver(&options, &place, &mut std::io::stdin().lock()),
        Mode::Dialogue => sendmail::dialogue(&place),
        Mode::List => mailq::print(&place),
        Mode::Flush(filter) => mailq::flush(&place, filter.clone()),
        Mode::Newaliases => newaliases(&place),
    }
}

/// The server reads the aliases again by itself when they change. This only says whether they can be read.
fn newaliases(place: &Place) -> Result<(), Exit> {
    match config::load(&place.config) {
        Ok(_) => Ok(()),
        Err(report) => Err(Exit::config(report.render(config::Style::Plain))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_alone_decides() {
        for (argv0, face) in [
            ("/usr/sbin/sendmail", Some(Face::Sendmail)),
            ("mailq", Some(Face::Mailq)),
            ("./newaliases", Some(Face::Newaliases)),
            ("/usr/sbin/postmap", Some(Face::Postmap)),
            ("/usr/bin/staffetta", None),
            ("sendmail2", None),
            ("", None),
        ] {
            assert_eq!(face_of(OsStr::new(argv0)), face, "{argv0}");
        }
    }
}
