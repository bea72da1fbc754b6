//! What the process's environment says about identities, variables and the
//! home directory, and which machine this is. Owns the reading of them; opens
//! no file of the clan.

use std::path::{Path, PathBuf};

use crate::host_name;
use crate::secret::Secret;

/// What the environment offers, so that tests can offer something else.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// `$AGE_KEY`: identities themselves (Clan's age store).
    pub age_key: Option<Secret<String>>,
    /// `$AGE_KEYFILE`: a file of identities (Clan's age store).
    pub age_keyfile: Option<PathBuf>,
    /// `$HOME`.
    pub home: Option<PathBuf>,
    /// `$XDG_CONFIG_HOME`.
    pub config_home: Option<PathBuf>,
    /// `$SOPS_AGE_KEY`: identities themselves.
    pub sops_age_key: Option<Secret<String>>,
    /// `$SOPS_AGE_KEY_FILE`: a file of identities.
    pub sops_age_key_file: Option<PathBuf>,
    /// `$SOPS_AGE_KEY_CMD`: a command that prints identities.
    pub sops_age_key_cmd: Option<String>,
    /// `$SOPS_AGE_SSH_PRIVATE_KEY_FILE`: an ssh private key.
    pub sops_age_ssh_private_key_file: Option<PathBuf>,
    /// `$SOPS_AGE_SSH_PRIVATE_KEY_CMD`: a command that prints an ssh private key.
    pub sops_age_ssh_private_key_cmd: Option<String>,
    /// `$PASSAGE_DIR`: the store of passage(1).
    pub passage_dir: Option<PathBuf>,
    /// `$PASSAGE_IDENTITIES_FILE`: a file of identities.
    pub passage_identities_file: Option<PathBuf>,
    /// `$PASSWORD_STORE_DIR`: the store of pass(1).
    pub password_store_dir: Option<PathBuf>,
    /// The machine that we run on, which the secrets below `/run` belong to; the
    /// host's name up to the first dot.
    pub host_name: Option<String>,
    /// Where a machine of the clan keeps its own key and secrets; `/` unless set.
    pub root: Option<PathBuf>,
}

impl Environment {
    /// Reads this process's environment. Empty variables count as unset.
    pub fn from_process() -> Self {
        let raw = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let path = |name| raw(name).map(PathBuf::from);
        let text = |name| raw(name).and_then(|value| value.into_string().ok());
        Self {
            age_key: text("AGE_KEY").map(Secret::new),
            age_keyfile: path("AGE_KEYFILE"),
            home: path("HOME"),
            // "All paths set in these environment variables must be absolute"
            // (XDG Base Directory Specification); relative ones are ignored.
            config_home: path("XDG_CONFIG_HOME").filter(|path| path.is_absolute()),
            sops_age_key: text("SOPS_AGE_KEY").map(Secret::new),
            sops_age_key_file: path("SOPS_AGE_KEY_FILE"),
            sops_age_key_cmd: text("SOPS_AGE_KEY_CMD"),
            sops_age_ssh_private_key_file: path("SOPS_AGE_SSH_PRIVATE_KEY_FILE"),
            sops_age_ssh_private_key_cmd: text("SOPS_AGE_SSH_PRIVATE_KEY_CMD"),
            passage_dir: path("PASSAGE_DIR"),
            passage_identities_file: path("PASSAGE_IDENTITIES_FILE"),
            password_store_dir: path("PASSWORD_STORE_DIR"),
            host_name: host_name::short(),
            root: None,
        }
    }

    pub(super) fn in_home(&self, path: &str) -> Option<PathBuf> {
        self.home.as_deref().map(|home| home.join(path))
    }

    pub(super) fn in_root(&self, path: &str) -> PathBuf {
        self.root.as_deref().unwrap_or(Path::new("/")).join(path)
    }

    pub(super) fn in_config(&self, path: &str) -> Option<PathBuf> {
        let config = self.config_home.as_deref().map(Path::to_path_buf);
        config.or_else(|| self.in_home(".config")).map(|config| config.join(path))
    }
}
