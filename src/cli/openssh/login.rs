//! What the `ssh` personality logs in with: which agent, which methods, and who
//! answers questions.

use std::path::PathBuf;
use std::sync::Arc;

use super::super::Ui;
use crate::error::Result;
use crate::openssh::{Resolved, seconds};
use crate::secret::Secret;
use crate::ssh::auth::{AddKeys, Method};
use crate::user::User;

/// `IdentityAgent`, or what the environment says.
pub(super) fn agent(resolved: &Resolved, default: Option<PathBuf>) -> Result<Option<PathBuf>> {
    let Some(setting) = resolved.config.get("identityagent") else { return Ok(default) };
    match setting.value() {
        "none" => Ok(None),
        "SSH_AUTH_SOCK" => Ok(default),
        value => match value.strip_prefix('$') {
            Some(name) if !name.starts_with('{') => Ok(std::env::var_os(name).map(PathBuf::from)),
            _ => resolved.file(value).map(Some),
        },
    }
}

/// The agent that the machine may use (`ForwardAgent`).
pub(super) fn lent_agent(resolved: &Resolved) -> Result<Option<PathBuf>> {
    let Some(setting) = resolved.config.get("forwardagent") else { return Ok(None) };
    let own = std::env::var_os("SSH_AUTH_SOCK").filter(|path| !path.is_empty());
    match setting.value() {
        value if value.eq_ignore_ascii_case("no") => Ok(None),
        value if value.eq_ignore_ascii_case("yes") => Ok(own.map(PathBuf::from)),
        value => match value.strip_prefix('$') {
            Some(name) if !name.starts_with('{') => Ok(std::env::var_os(name).map(PathBuf::from)),
            _ => resolved.file(value).map(Some),
        },
    }
}

/// What may be tried, in the order of `PreferredAuthentications`.
pub(super) fn methods(resolved: &Resolved) -> Result<Vec<Method>> {
    let config = &resolved.config;
    let mut methods = match config.get("preferredauthentications") {
        None => Method::ALL.to_vec(),
        Some(setting) => setting
            .value()
            .split(',')
            .filter_map(|name| match name {
                "publickey" => Some(Method::PublicKey),
                "keyboard-interactive" => Some(Method::KeyboardInteractive),
                "password" => Some(Method::Password),
                _ => None,
            })
            .collect(),
    };
    for (keyword, method) in [
        ("pubkeyauthentication", Method::PublicKey),
        ("kbdinteractiveauthentication", Method::KeyboardInteractive),
        ("passwordauthentication", Method::Password),
    ] {
        let is_on = match config.get(keyword) {
            // `host-bound` and `unbound` are ways to be on.
            Some(setting) if keyword == "pubkeyauthentication" => setting.value() != "no",
            Some(setting) => setting.flag()?,
            None => true,
        };
        if !is_on {
            methods.retain(|known| *known != method);
        }
    }
    Ok(methods)
}

/// `BatchMode`: everything is said, and nothing asked.
pub(super) struct Batch(pub(super) Arc<Ui>);

impl User for Batch {
    fn ask(&self, _: &str, _: bool) -> Option<Secret<String>> {
        None
    }

    fn tell(&self, text: &str) {
        self.0.tell(text);
    }

    fn warn(&self, text: &str) {
        self.0.warn(text);
    }
}

/// `AddKeysToAgent`: yes, no, ask, confirm, a time, or confirm and a time.
pub(super) fn add_keys(resolved: &Resolved) -> Result<Option<AddKeys>> {
    let Some(setting) = resolved.config.get("addkeystoagent") else { return Ok(None) };
    let mut add = AddKeys::default();
    for word in &setting.args {
        match word.to_ascii_lowercase().as_str() {
            "no" | "false" => return Ok(None),
            "yes" | "true" => {}
            "ask" => add.asks = true,
            "confirm" => add.confirm = true,
            time => {
                let seconds = seconds(time).and_then(|seconds| u32::try_from(seconds).ok());
                add.lifetime = Some(seconds.ok_or_else(|| setting.wrong("not a time"))?);
            }
        }
    }
    Ok(Some(add))
}
