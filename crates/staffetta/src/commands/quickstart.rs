//! `staffetta quickstart`: from nothing to a mail server for a domain, in one folder.
//!
//! Makes what is missing and never writes over what is there, so that running it again starts the same server. The one
//! thing that is shown once only is the first mailbox's password, which is kept nowhere. Asks no network: the records
//! are for the operator to publish. What can go wrong is the file system; then what was made stays, and the next run goes on.

mod files;
mod make;
mod records;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ::config::Loaded;
use mail::{Address, Domain, LocalPart};
use net::ListenerKind;

use super::{ConfigFile, Outcome, serve};
use make::{Made, Plan};

/// Make a mail server for a domain: folder, configuration, certificate, DKIM key, mailbox
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  staffetta quickstart example.test --run              make it, and serve at once
  staffetta quickstart example.test                    make it, and tell what comes next
  staffetta quickstart example.test --dir /srv/mail --user staffetta

Everything goes into one folder, ./staffetta-DOMAIN unless --dir says otherwise. What is there is
never written over: run it again to serve, or to see the records. Ports 25, 587 and 465 are used
when they may be bound, else 2525, 5870 and 4650.")]
pub(crate) struct Args {
    /// Your domain, what comes after the @ in its addresses
    #[arg(env = "STAFFETTA_DOMAIN", hide_env_values = true)]
    domain: Domain,
    /// Serve afterwards
    #[arg(long)]
    run: bool,
    /// The folder for everything [default: ./staffetta-DOMAIN]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// The server's own name [default: mx.DOMAIN]
    #[arg(long)]
    hostname: Option<Domain>,
    /// The first mailbox, what comes before the @
    #[arg(long, default_value = "postmaster")]
    mailbox: String,
    /// The user who gets the folder, and whom the server becomes when it is started as root
    #[arg(long)]
    user: Option<String>,
    /// Ports for mx, submission and submissions [default: 25,587,465, or 2525,5870,4650]
    #[arg(long, value_delimiter = ',', num_args = 1, value_name = "MX,SUBMISSION,SUBMISSIONS")]
    ports: Option<Vec<u16>>,
}

/// The ports of the three doors, and the reason for them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ports {
    mx: u16,
    submission: u16,
    submissions: u16,
    why: String,
}

/// For mx (RFC 5321 §4.5.4.2), submission (RFC 6409 §3.1) and submissions (RFC 8314 §7.3).
const USUAL: [u16; 3] = [25, 587, 465];
/// What everybody may bind.
const HIGH: [u16; 3] = [2525, 5870, 4650];

/// Makes, tells, and serves when asked to. The configuration is loaded from the file in any case: what an operator has
/// changed in it counts, and what is wrong with it is told.
pub(crate) fn run(args: &Args) -> Outcome {
    let folder = args.dir.clone().unwrap_or_else(|| PathBuf::from(format!("staffetta-{}", args.domain)));
    let plan = plan(args, &folder)?;
    make::check_domain(&plan)?;
    let made = make::everything(&plan)?;
    let config = ConfigFile { config: plan.configuration_file() };
    let Some(loaded) = config.load() else { return Ok(ExitCode::FAILURE) };
    let mut text = told(&plan, &made, &loaded)?;
    text.push_str(&last_words(args.run, &plan));
    super::print_all(text.as_bytes())?;
    if args.run { serve::serve(loaded) } else { Ok(ExitCode::SUCCESS) }
}

/// How it goes on.
fn last_words(run: bool, plan: &Plan) -> String {
    if run {
        return "\nServing now; Ctrl-C ends it, and the same command starts it again. The log follows.\n\n"
            .to_owned();
    }
    let program = std::env::args().next().unwrap_or_else(|| "staffetta".to_owned());
    format!(
        "\nRun the server: {} serve --config {}\n",
        quoted(&program),
        quoted(&plan.configuration_file().display().to_string())
    )
}

/// What the arguments come to; everything that can be refused is refused before the first file is made.
fn plan(args: &Args, folder: &Path) -> Result<Plan, Box<dyn std::error::Error>> {
    let domain = args.domain.clone();
    if domain.literal().is_some() {
        return Err(format!("{domain} is an address; quickstart wants a domain such as example.test").into());
    }
    let hostname = match &args.hostname {
        Some(hostname) => hostname.clone(),
        None => Domain::parse(&format!("mx.{domain}"))?,
    };
    let local = LocalPart::parse(&args.mailbox.to_lowercase())
        .map_err(|error| format!("--mailbox {}: {error}", args.mailbox))?;
    let owner = args.user.as_deref().map(make::owner).transpose()?;
    Ok(Plan {
        folder: folder.to_owned(),
        mailbox: Address { local, domain: domain.clone() },
        domain,
        hostname,
        user: args.user.clone(),
        owner,
        ports: args.ports.as_deref().map(given_ports).transpose()?,
    })
}

/// `--ports`, three of them.
fn given_ports(ports: &[u16]) -> Result<Ports, String> {
    match ports {
        [mx, submission, submissions] => Ok(Ports {
            mx: *mx,
            submission: *submission,
            submissions: *submissions,
            why: "The ports that were asked for.".to_owned(),
        }),
        _ => {
            Err("--ports wants three: for mx, submission and submissions, such as 2525,5870,4650".to_owned())
        }
    }
}

/// The usual ports when all of them may be bound now, else the high ones, with the reason in words.
fn choose_ports(bind: impl Fn(u16) -> Result<(), String>) -> Ports {
    let trouble = USUAL.iter().find_map(|port| bind(*port).err());
    let ([mx, submission, submissions], why) = match trouble {
        None => (USUAL, "The usual ports: 25 for servers, 587 and 465 for mail programs.".to_owned()),
        Some(trouble) => (
            HIGH,
            format!(
                "Not the usual ports 25, 587 and 465, for when this was made: {trouble}. Other servers deliver to port 25 \
                 only: change it here, or let a firewall redirect it, before you publish the MX record."
            ),
        ),
    };
    Ports { mx, submission, submissions, why }
}

/// The port of the first listener of a kind, as it is configured now.
fn port_of(loaded: &Loaded, kind: ListenerKind) -> Option<u16> {
    let listener = loaded.config.listener.iter().find(|listener| listener.kind == kind)?;
    listener.bind.first().map(std::net::SocketAddr::port)
}

/// All that is said at the end: what was made, what to publish, how to begin.
fn told(plan: &Plan, made: &Made, loaded: &Loaded) -> Result<String, Box<dyn std::error::Error>> {
    let folder = std::path::absolute(&plan.folder)?;
    let mut text = format!("Staffetta for {}, in {}\n\n", plan.domain, folder.display());
    if made.items.is_empty() {
        text.push_str("Everything is there already; nothing was written.\n");
    }
    for (item, meaning) in &made.items {
        text.push_str(&format!("  made  {item:<32} {meaning}\n"));
    }
    text.push_str(&doors(loaded));
    text.push_str(&mailbox(plan, made.password.as_deref()));
    text.push_str("\nPublish these DNS records:\n\n");
    text.push_str(&records::zone(plan, loaded)?);
    text.push_str("\nSend the first message:\n\n");
    text.push_str(&first_message(plan, loaded, made.password.as_deref()));
    Ok(text)
}

/// Which ports are served, and what follows when they are not the usual ones.
fn doors(loaded: &Loaded) -> String {
    let port = |kind| port_of(loaded, kind).map_or("none".to_owned(), |port| port.to_string());
    let mx = port(ListenerKind::Mx);
    let mut text = format!(
        "\nPorts: {mx} (mx), {} (submission), {} (submissions)\n",
        port(ListenerKind::Submission),
        port(ListenerKind::Submissions)
    );
    if mx != "25" {
        text.push_str(&format!(
            "  These are not the usual ports 25, 587 and 465: they could not be bound when this was made, or others were\n  \
             asked for. Other servers deliver to port 25 only. Start as root or with CAP_NET_BIND_SERVICE and change\n  \
             `bind` in {}, or let a firewall redirect them.\n",
            loaded.file.display()
        ));
    }
    text
}

/// The first mailbox, with its password when it was made just now.
fn mailbox(plan: &Plan, password: Option<&str>) -> String {
    let address = &plan.mailbox;
    match password {
        Some(password) => format!(
            "\nMailbox:  {address}\nPassword: {password}\n  It is kept nowhere and not shown again; another one: \
             staffetta account passwd {address} --config {}\n",
            quoted(&plan.configuration_file().display().to_string())
        ),
        None => format!(
            "\nMailbox: {address} and whatever `staffetta account list` shows; passwords are kept nowhere.\n"
        ),
    }
}

/// A command to copy, with whichever program is there.
fn first_message(plan: &Plan, loaded: &Loaded, password: Option<&str>) -> String {
    let port = port_of(loaded, ListenerKind::Submission).unwrap_or(587);
    let address = plan.mailbox.to_string();
    let password = password.unwrap_or("PASSWORD");
    let (who, login) = (quoted(&address), quoted(&format!("{address}:{password}")));
    let command = if !is_installed("curl") && is_installed("swaks") {
        format!(
            "  swaks --server 127.0.0.1:{port} --tls --auth PLAIN --auth-user {who} --auth-password {} \\\n    \
             --from {who} --to {who} --header 'Subject: First'\n",
            quoted(password)
        )
    } else {
        format!(
            "  printf 'From: {address}\\r\\nTo: {address}\\r\\nSubject: First\\r\\n\\r\\nIt works.\\r\\n' |\n    \
             curl --ssl-reqd --insecure --url smtp://127.0.0.1:{port} --user {login} \\\n    \
             --mail-from {who} --mail-rcpt {who} --upload-file -\n"
        )
    };
    let maildir =
        loaded.base_dir.join("mail").join(plan.domain.as_str()).join(plan.mailbox.local.as_str()).join("new");
    format!("{command}\nIt arrives in {}\n", maildir.display())
}

/// Whether a program can be found as a shell would find it.
fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// For a shell: bare where that is safe, else in single quotes.
fn quoted(text: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./_-".contains(c);
    if !text.is_empty() && text.chars().all(bare) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests;
