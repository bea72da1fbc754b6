//! What the options of ssh_config(5) say about authenticating. Owns their values;
//! authenticates nobody.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cli::Ui;
use crate::error::Result;
use crate::openssh::Resolved;
use crate::options::{ForwardAgent, PubkeyAuthentication, Template};
use crate::prompter::Prompter;
use crate::secret::Secret;
use crate::ssh::algorithms::List;
use crate::ssh::auth::{Credentials, Method};

/// Has a private key by value, for jobs that have no files of their own.
const KEY: &str = "CLAN_CONNECT_SSH_KEY";

/// Puts all of it into `credentials`.
pub(super) fn apply(
    resolved: &Resolved,
    credentials: &mut Credentials,
    ui: &Arc<Ui>,
) -> Result<()> {
    let options = &resolved.options;
    credentials.login.clone_from(&resolved.user);
    let is_named = |file: &&Template| file.written() != "none";
    let files = |files: &[Template]| {
        files.iter().filter(is_named).map(|file| resolved.file(file)).collect::<Result<Vec<_>>>()
    };
    if !options.identity_file.is_empty() {
        credentials.default_identities = files(&options.identity_file)?;
        credentials.names_identities = true;
    } else if !credentials.identities.is_empty() {
        credentials.default_identities.clear();
    }
    let key = resolved.env.text(KEY).filter(|key| !key.trim().is_empty());
    credentials.key = key.map(|key| (format!("${KEY}"), Secret::new(key.to_owned())));
    credentials.certificates = files(&options.certificate_file)?;
    credentials.identities_only = options.identities_only();
    if let Some(agent) = &options.identity_agent {
        credentials.agent = resolved.agent(agent, credentials.agent.take())?;
    }
    credentials.accepted = options.algorithms().list(List::UserKeys).to_vec();
    credentials.methods = methods(resolved);
    credentials.add_to_agent = options.add_keys_to_agent();
    credentials.devices = options.kbd_interactive_devices.clone().unwrap_or_default();
    let prompts = usize::try_from(options.number_of_password_prompts());
    credentials.prompts = prompts.unwrap_or(usize::MAX);
    if options.batch_mode() {
        credentials.methods.retain(|method| *method == Method::PublicKey);
        credentials.prompter = Arc::new(Batch(ui.clone()));
    }
    Ok(())
}

/// The agent that the machine may use (`ForwardAgent`).
pub(in crate::cli) fn lent_agent(resolved: &Resolved) -> Result<Option<PathBuf>> {
    match resolved.options.forward_agent() {
        ForwardAgent::No => Ok(None),
        ForwardAgent::Yes => Ok(resolved.env.agent()),
        ForwardAgent::Other(agent) => resolved.agent(&agent, resolved.env.agent()),
    }
}

/// Has no agent lent that is not there (ssh.c, `check_agent_present`).
pub(in crate::cli) fn lend_no_absent_agent(resolved: &mut Resolved) -> Result<()> {
    if lent_agent(resolved)?.is_some_and(|agent| !is_served(&agent)) {
        resolved.options.forward_agent = Some(ForwardAgent::No);
    }
    Ok(())
}

/// Whether somebody listens at this socket. Nobody is waited for.
fn is_served(path: &Path) -> bool {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
    let connect = || -> rustix::io::Result<()> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)
    };
    // With many who wait for it, it is there.
    matches!(connect(), Ok(()) | Err(rustix::io::Errno::AGAIN))
}

/// What may be tried, in the order of `PreferredAuthentications`.
fn methods(resolved: &Resolved) -> Vec<Method> {
    let options = &resolved.options;
    let preferred = options.preferred_authentications.as_ref();
    let methods = preferred.map_or_else(
        || Method::ALL.to_vec(),
        |names| {
            let known = names.0.iter().filter_map(|name| match name.as_str() {
                "publickey" => Some(Method::PublicKey),
                "keyboard-interactive" => Some(Method::KeyboardInteractive),
                "password" => Some(Method::Password),
                _ => None,
            });
            known.collect()
        },
    );
    let is_on = |method: &Method| match method {
        Method::PublicKey => options.pubkey_authentication() != PubkeyAuthentication::No,
        Method::KeyboardInteractive => options.kbd_interactive_authentication(),
        Method::Password => options.password_authentication(),
    };
    methods.into_iter().filter(is_on).collect()
}

/// `BatchMode`: everything is said, and nothing asked.
struct Batch(Arc<Ui>);

impl Prompter for Batch {
    fn ask(&self, _: &str, _: bool) -> Option<Secret<String>> {
        None
    }

    fn tell(&self, text: &str) {
        self.0.tell(text);
    }

    fn warn(&self, text: &str) {
        self.0.warn(text);
    }

    fn banner(&self, text: &str) {
        self.0.banner(text);
    }

    fn detail(&self, text: &str) {
        self.0.detail(text);
    }

    fn remark(&self, text: &str) {
        self.0.remark(text);
    }
}
