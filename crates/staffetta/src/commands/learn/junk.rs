//! `staffetta learn --junk-folders`: one look at the Junk folders of all Maildirs, as the server makes it now and then. For who
//! may read them where the server may not, and for who does not want to wait.

use std::process::ExitCode;

use serde_json::json;
use server::learning::junk::{Looked, from, look, mailboxes};
use server::learning::{Watch, learnt_folder, school, waiting};

use crate::commands::{ConfigFile, Outcome, print_all};

pub(super) fn run(config: &ConfigFile, as_json: bool) -> Outcome {
    let loaded = config.load().ok_or("the configuration cannot be read")?;
    let folder = learnt_folder(&loaded);
    let (settings, school) = (&loaded.config, school(&loaded));
    let trash = &settings.antispam.learn.trash_folders;
    let watch = Watch { filter: &folder, junk: &settings.delivery.maildir.junk_folder, trash };
    let mut all = Looked::default();
    super::set_aside(&folder)?;
    loop {
        let mailboxes = from(mailboxes(settings, &loaded.base_dir), all.next.take());
        let looked = look(&mailboxes, (&watch, &school), usize::try_from(waiting::WAITING_MAX)?)?;
        all.next = looked.next;
        all.spam += looked.spam;
        all.ham += looked.ham;
        all.mailboxes = looked.mailboxes;
        all.troubles = looked.troubles;
        for pupil in school.waiting()? {
            super::set_aside(&pupil.folder)?;
            pupil.take_in(true)?;
        }
        // A folder that is too large stays so; else it goes on.
        if !looked.is_cut || looked.reads == 0 {
            break;
        }
    }
    for trouble in &all.troubles {
        eprintln!("staffetta: {trouble}");
    }
    let Looked { mailboxes, spam, ham, .. } = all;
    let text = if as_json {
        format!("{}\n", json!({ "mailboxes": mailboxes, "spam": spam, "ham": ham }))
    } else {
        format!("{mailboxes} mailboxes: {spam} spam, {ham} ham\n")
    };
    print_all(text.as_bytes())?;
    Ok(if all.troubles.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
