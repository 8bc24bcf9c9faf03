//! `sendmail`: a message from standard input to the server, or to the maildrop folder while it does not run.
//!
//! Unlike a mail server that first takes everything and then writes reports, this tells at once who was refused: the
//! others get the message, the refusals are on standard error, and the exit code says so. What is refused for now goes
//! to the maildrop, from where the server tries again.

use std::io::{BufRead, ErrorKind, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use mail::Reply;
use server::privileges::Users;
use server::submit::client::{Dialogue, DialogueError, Envelope, Sent};
use server::submit::{compose, maildrop};

use super::exit::Exit;
use super::options::Options;
use super::place::Place;

/// What was read, and who sends it.
struct Letter {
    envelope: Envelope,
    message: Vec<u8>,
    full_name: Option<String>,
    user: String,
}

/// Sends the message on `input`.
pub(super) fn deliver(options: &Options, place: &Place, input: &mut dyn BufRead) -> Result<(), Exit> {
    let letter = read(options, input)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.map_err(|e| Exit::io(&e))?.block_on(speak(&letter, place)) {
        Ok(Ok(sent)) => conclude(&letter, place, &sent),
        // Not greeted: too busy, or stopping.
        Ok(Err(reply)) if reply.is_transient() => {
            drop_off(&letter, &letter.envelope, place, &reply.to_string())
        }
        Ok(Err(reply)) => Err(Exit::refused(&reply, reply.to_string())),
        Err(error) => drop_off(&letter, &letter.envelope, place, &error.to_string()),
    }
}

fn read(options: &Options, input: &mut dyn BufRead) -> Result<Letter, Exit> {
    let mut envelope = options.envelope.clone();
    if envelope.recipients.is_empty() && !options.recipients_in_header {
        return Err(Exit::usage("no recipients: name them on the command line, or in the header with -t"));
    }
    let message = compose::read(input, options.dot_ends).map_err(|e| match e.kind() {
        ErrorKind::FileTooLarge => Exit::data("the message is too long"),
        _ => Exit::io(&e),
    })?;
    if options.recipients_in_header {
        match compose::recipients(&message) {
            Ok(found) => envelope.recipients.extend(found),
            Err(error) if envelope.recipients.is_empty() => return Err(Exit::data(error.to_string())),
            Err(_) => {}
        }
    }
    let uid = nix::unistd::getuid().as_raw();
    let users = Users::of_the_system();
    let from_environment = std::env::var("NAME").ok().filter(|name| !name.is_empty());
    let full_name = options.full_name.clone().or(from_environment).or_else(|| users.real_name_of(uid));
    let user = users.name_of(uid).map_or_else(|| uid.to_string(), ToOwned::to_owned);
    Ok(Letter { envelope, message, full_name, user })
}

/// The whole dialogue. `Ok(Err)`: the server did not greet us.
async fn speak(letter: &Letter, place: &Place) -> Result<Result<Sent, Reply>, DialogueError> {
    let stream = tokio::net::UnixStream::connect(place.submit_socket()).await?;
    let mut dialogue = match Dialogue::begin(stream, &letter.user).await? {
        Ok(dialogue) => dialogue,
        Err(reply) => return Ok(Err(reply)),
    };
    let sender = dialogue.sender(&letter.envelope);
    let author =
        compose::Author { address: &sender, full_name: letter.full_name.as_deref(), host: dialogue.host() };
    let message = compose::finish(&letter.message, &author);
    let sent = dialogue.send(&letter.envelope, &message).await?;
    dialogue.quit().await;
    Ok(Ok(sent))
}

fn conclude(letter: &Letter, place: &Place, sent: &Sent) -> Result<(), Exit> {
    if let Some(reply) = &sent.refusal {
        return if reply.is_transient() {
            drop_off(letter, &letter.envelope, place, &reply.to_string())
        } else {
            Err(Exit::refused(reply, reply.to_string()))
        };
    }
    let (later, never): (Vec<_>, Vec<_>) = sent.refused.iter().partition(|(_, reply)| reply.is_transient());
    if let Some((_, reply)) = later.first() {
        let recipients = later.iter().map(|(recipient, _)| recipient.clone()).collect();
        let envelope = Envelope { recipients, ..letter.envelope.clone() };
        drop_off(letter, &envelope, place, &reply.to_string())?;
    }
    match never.first() {
        None => Ok(()),
        Some((_, first)) => {
            let lines: Vec<String> =
                never.iter().map(|(recipient, reply)| format!("{recipient}: {reply}")).collect();
            Err(Exit::refused(first, lines.join("\n")))
        }
    }
}

/// Leaves the message in the maildrop folder.
fn drop_off(letter: &Letter, envelope: &Envelope, place: &Place, why: &str) -> Result<(), Exit> {
    maildrop::put(&place.maildrop(), envelope, letter.full_name.as_deref(), &letter.message)
        .map_err(|e| Exit::temporary(format!("{why}; and {}: {e}", place.maildrop().display())))
}

/// `-bs`: standard input and output are connected with the server.
pub(super) fn dialogue(place: &Place) -> Result<(), Exit> {
    let connect = UnixStream::connect(place.submit_socket());
    let stream = match connect {
        Ok(stream) => stream,
        Err(error) => {
            // RFC 5321 §3.8: 421 is what a client understands.
            println!("421 4.3.2 The mail server does not run\r");
            return Err(Exit::temporary(format!("{}: {error}", place.submit_socket().display())));
        }
    };
    let mut to_server = stream.try_clone().map_err(|e| Exit::io(&e))?;
    // Ends with the process: standard input may never end.
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut to_server);
        let _ = to_server.shutdown(Shutdown::Write);
    });
    let mut out = std::io::stdout().lock();
    std::io::copy(&mut &stream, &mut out).map_err(|e| Exit::io(&e))?;
    out.flush().map_err(|e| Exit::io(&e))
}

#[cfg(test)]
mod tests;
