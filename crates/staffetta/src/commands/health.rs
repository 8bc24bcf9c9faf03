//! `health`: asks a running server how it is, for container health checks and scripts. No other program is needed for it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::Duration;

use super::{ConfigFile, Outcome};

/// How long the server may take to answer.
const PATIENCE: Duration = Duration::from_secs(4);

/// Ask the running server whether it takes mail; exit code 0 when it does
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  staffetta health                                  of the server with /etc/staffetta/staffetta.toml
  staffetta health --config staffetta.toml          of another one")]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigFile,
}

/// Reads `/readyz` of `[observe] http`, and prints what it says.
pub(crate) fn run(args: &Args) -> Outcome {
    let Some(loaded) = args.config.load() else { return Ok(ExitCode::FAILURE) };
    let Some(address) = loaded.config.observe.http else {
        return Err(
            "[observe] http is empty: there is nobody to ask; give it an address such as 127.0.0.1:9925"
                .into(),
        );
    };
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)
        .map_err(|error| format!("the server does not answer on {address}: {error}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET /readyz HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(64 << 10).read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    super::print_all(body.as_bytes())?;
    Ok(if head.split(' ').nth(1) == Some("200") { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
