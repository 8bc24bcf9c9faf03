//! `--report`: what was learnt is told to the Pyzor servers of the configuration too, once for each text.

use std::collections::BTreeSet;
use std::process::ExitCode;

use server::clock;
use server::learning::Class;
use server::learning::report::{MESSAGE_BYTES_MAX, Reporter, Text};

use crate::commands::ConfigFile;

/// Octets to read of a message, so that one that is too large shows.
pub(in crate::commands) const READ_BYTES_MAX: usize = MESSAGE_BYTES_MAX + 1;

/// What is to be told; collected while messages are read.
#[derive(Debug)]
pub(in crate::commands) struct Report {
    runtime: tokio::runtime::Runtime,
    reporter: Reporter,
    texts: BTreeSet<Text>,
    unknowable: usize,
    too_large: usize,
}

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::commands) struct Reported {
    /// Texts that every server was told of.
    pub(in crate::commands) told: usize,
    /// Texts that some server was not told of.
    pub(in crate::commands) failed: usize,
}

impl Report {
    /// To the servers of this configuration.
    pub(in crate::commands) fn prepare(config: &ConfigFile) -> Result<Self, Box<dyn std::error::Error>> {
        let loaded = config.load().ok_or("the configuration cannot be read")?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let settings = &loaded.config;
        let resolver = {
            let _within = runtime.enter();
            net::Resolver::from_settings(&settings.dns)?
        };
        let reporter = Reporter::new(&settings.antispam.scanner, &resolver).ok_or(
            "--report needs a Pyzor server: write [[antispam.scanner]] with kind = \"pyzor\" and its address",
        )?;
        Ok(Self { runtime, reporter, texts: BTreeSet::new(), unknowable: 0, too_large: 0 })
    }

    /// One more message, read up to [`READ_BYTES_MAX`].
    pub(in crate::commands) fn take(&mut self, message: &[u8]) {
        if message.len() > MESSAGE_BYTES_MAX {
            self.too_large += 1;
            return;
        }
        match Text::of(message) {
            Some(text) => drop(self.texts.insert(text)),
            None => self.unknowable += 1,
        }
    }

    /// Tells all of it. What goes wrong is printed, each thing once.
    pub(in crate::commands) fn send(self, class: Class) -> Reported {
        let (mut reported, mut said) = (Reported { told: 0, failed: 0 }, BTreeSet::new());
        for text in &self.texts {
            let failed = self.runtime.block_on(self.reporter.tell(text, class, clock::now()));
            match failed.is_empty() {
                true => reported.told += 1,
                false => reported.failed += 1,
            }
            for failure in failed.iter().map(ToString::to_string) {
                if said.insert(failure.clone()) {
                    eprintln!("staffetta: {failure}");
                }
            }
        }
        for (count, why) in [(self.unknowable, "have too little text"), (self.too_large, "are too large")] {
            if count > 0 {
                eprintln!("staffetta: {count} not reported: they {why}");
            }
        }
        reported
    }
}

impl Reported {
    pub(in crate::commands) fn text(self) -> String {
        match self.failed {
            0 => format!("{} reported\n", self.told),
            failed => format!("{} reported, {failed} could not be\n", self.told),
        }
    }

    pub(in crate::commands) fn code(self) -> ExitCode {
        if self.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
