//! Where the server is: its data folder, with the sockets and the maildrop in it.
//!
//! Everybody may send mail, and not everybody may read the configuration: it is looked into for `data_dir` alone, and
//! where that fails the data folder is the usual one. `STAFFETTA_CONFIG` names another configuration.

use std::path::{Path, PathBuf};

use server::submit::{MAILDROP_NAME, SOCKET_NAME};

use crate::commands::CONFIG_FILE;

/// Names another configuration file.
const CONFIG_VARIABLE: &str = "STAFFETTA_CONFIG";

/// The data folder when the configuration cannot be read, or does not say.
const DATA_DIR: &str = "/var/lib/staffetta";

/// Where the server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Its configuration file.
    pub(super) config: PathBuf,
    data_dir: PathBuf,
}

impl Place {
    /// Looks in `option`, which `-C` gave; then where the environment says; then in the usual place.
    pub(super) fn find(option: Option<&Path>) -> Self {
        let named =
            option.map(Path::to_owned).or_else(|| std::env::var_os(CONFIG_VARIABLE).map(PathBuf::from));
        Self::of(named.unwrap_or_else(|| PathBuf::from(CONFIG_FILE)))
    }

    fn of(config: PathBuf) -> Self {
        let written = std::fs::read_to_string(&config).ok().and_then(|text| data_dir_in(&text));
        let data_dir = written.unwrap_or_else(|| PathBuf::from(DATA_DIR));
        let base = std::path::absolute(&config).ok().and_then(|c| c.parent().map(Path::to_owned));
        Self { data_dir: base.unwrap_or_default().join(data_dir), config }
    }

    pub(super) fn submit_socket(&self) -> PathBuf {
        self.data_dir.join(SOCKET_NAME)
    }

    pub(super) fn admin_socket(&self) -> PathBuf {
        self.data_dir.join("admin.sock")
    }

    pub(super) fn maildrop(&self) -> PathBuf {
        self.data_dir.join(MAILDROP_NAME)
    }
}

fn data_dir_in(text: &str) -> Option<PathBuf> {
    let table: toml::Table = toml::from_str(text).ok()?;
    table.get("data_dir")?.as_str().map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_says_where_and_else_it_is_the_usual_folder() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("s.toml");
        std::fs::write(&file, "hostname = \"a.test\"\ndata_dir = \"data\"\n[tls]\ncertificate = \"none\"\n")
            .unwrap();
        assert_eq!(Place::find(Some(&file)).submit_socket(), folder.path().join("data/submit.sock"));
        let none = Place::find(Some(Path::new("/nonexistent/s.toml")));
        assert_eq!(none.maildrop(), Path::new("/var/lib/staffetta/maildrop"));
        std::fs::write(&file, "data_dir = \"/srv/x\"\n").unwrap();
        assert_eq!(Place::find(Some(&file)).admin_socket(), Path::new("/srv/x/admin.sock"));
    }
}
