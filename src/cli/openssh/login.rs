//! What the options of ssh_config(5) say about authenticating. Owns their values;
//! authenticates nobody.

use std::path::PathBuf;
use std::sync::Arc;

use crate::cli::Ui;
use crate::error::Result;
use crate::openssh::{Resolved, seconds};
use crate::secret::Secret;
use crate::ssh::auth::{AddToAgent, Credentials, Method};
use crate::ssh_config::Setting;
use crate::user::User;

/// Puts all of it into `credentials`.
pub(super) fn apply(
    resolved: &Resolved,
    credentials: &mut Credentials,
    ui: &Arc<Ui>,
) -> Result<()> {
    let config = &resolved.config;
    credentials.login.clone_from(&resolved.user);
    // The name that ssh(1) shows where it asks (sshconnect2.c).
    let alias = config.get("hostkeyalias").map(|setting| setting.value());
    credentials.machine = alias.unwrap_or(&resolved.host_name).to_ascii_lowercase();
    let files = |keyword| {
        let files = config.all(keyword).filter(|setting| setting.value() != "none");
        files.map(|setting| resolved.file(setting.value())).collect::<Result<Vec<_>>>()
    };
    if config.get("identityfile").is_some() {
        credentials.default_identities = files("identityfile")?;
    }
    credentials.certificates = files("certificatefile")?;
    credentials.identities_only = config.flag("identitiesonly", false)?;
    credentials.agent = agent(resolved, credentials.agent.take())?;
    credentials.methods = methods(resolved)?;
    if let Some(setting) = config.get("addkeystoagent") {
        credentials.add_to_agent = add_to_agent(setting)?;
    }
    if let Some(setting) = config.get("kbdinteractivedevices") {
        credentials.devices = setting.value().to_owned();
    }
    if let Some(setting) = config.get("numberofpasswordprompts") {
        let number = setting.value().parse().map_err(|_| setting.wrong("not a number"))?;
        credentials.prompts = number;
    }
    if config.flag("batchmode", false)? {
        credentials.methods.retain(|method| *method == Method::PublicKey);
        credentials.user = Arc::new(Batch(ui.clone()));
    }
    Ok(())
}

/// `AddKeysToAgent`: `yes`, `no`, `ask`, `confirm` with or without a time, or a
/// time alone.
fn add_to_agent(setting: &Setting) -> Result<AddToAgent> {
    let bad = || setting.wrong("unsupported option");
    let time = |text: &str| {
        let seconds = seconds(text).and_then(|seconds| u32::try_from(seconds).ok());
        seconds.filter(|seconds| i32::try_from(*seconds).is_ok()).ok_or_else(bad)
    };
    let word = setting.value().to_ascii_lowercase();
    Ok(match (word.as_str(), setting.args.get(1)) {
        ("no" | "false", None) => AddToAgent::No,
        ("yes" | "true", None) => AddToAgent::Yes { confirm: false, seconds: 0 },
        ("ask", None) => AddToAgent::Ask,
        ("confirm", None) => AddToAgent::Yes { confirm: true, seconds: 0 },
        ("confirm", Some(text)) => AddToAgent::Yes { confirm: true, seconds: time(text)? },
        (text, None) => AddToAgent::Yes { confirm: false, seconds: time(text)? },
        (_, Some(_)) => return Err(bad()),
    })
}

/// `IdentityAgent`, or what the environment says.
fn agent(resolved: &Resolved, default: Option<PathBuf>) -> Result<Option<PathBuf>> {
    let Some(setting) = resolved.config.get("identityagent") else { return Ok(default) };
    match setting.value() {
        "none" => Ok(None),
        "SSH_AUTH_SOCK" => Ok(default),
        value => resolved.agent(value),
    }
}

/// The agent that the machine may use (`ForwardAgent`).
pub(super) fn lent_agent(resolved: &Resolved) -> Result<Option<PathBuf>> {
    let Some(setting) = resolved.config.get("forwardagent") else { return Ok(None) };
    let own = std::env::var_os("SSH_AUTH_SOCK").filter(|path| !path.is_empty());
    match setting.value() {
        value if value.eq_ignore_ascii_case("no") => Ok(None),
        value if value.eq_ignore_ascii_case("yes") => Ok(own.map(PathBuf::from)),
        value => resolved.agent(value),
    }
}

/// What may be tried, in the order of `PreferredAuthentications`.
fn methods(resolved: &Resolved) -> Result<Vec<Method>> {
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
struct Batch(Arc<Ui>);

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

    fn detail(&self, text: &str) {
        self.0.detail(text);
    }
}
