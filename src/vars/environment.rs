//! What the environment says about identities and stores, and which machine this
//! is. Owns which variables these are; opens no file of the clan.

use std::path::{Path, PathBuf};

use crate::env::Env;
use crate::host_name;
use crate::secret::Secret;

/// What the environment offers, so that tests can offer something else.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// `$AGE_KEY`: identities themselves (Clan's age store).
    pub age_key: Option<Secret<String>>,
    /// `$AGE_KEYFILE`: a file of identities (Clan's age store).
    pub age_keyfile: Option<PathBuf>,
    /// The user's home.
    pub home: Option<PathBuf>,
    /// The user's configuration, `.config` in his home where nothing else is said.
    pub config_dir: Option<PathBuf>,
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
    /// What `env` says, on the machine that we run on.
    pub fn of(env: &Env) -> Self {
        let path = |name| env.path(name).map(Path::to_owned);
        let text = |name| env.text(name).map(str::to_owned);
        Self {
            age_key: text("AGE_KEY").map(Secret::new),
            age_keyfile: path("AGE_KEYFILE"),
            home: env.home().map(Path::to_owned),
            config_dir: env.config_dir(),
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
        let config = self.config_dir.clone().or_else(|| self.in_home(".config"));
        config.map(|config| config.join(path))
    }
}
