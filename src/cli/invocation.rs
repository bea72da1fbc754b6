//! What is to be done, with whom and how: everything that a command line and the
//! files of ssh_config(5) say, understood once. Every front end makes one, and
//! nothing that comes after it reads a command line. Connects to nobody.

pub(super) mod passed;

use std::path::PathBuf;
use std::time::Duration;

use super::shell;
use crate::dial::{Dialer, SocketOptions};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::openssh::arguments::Arguments;
use crate::openssh::{Reading, Resolved, resolve};
use crate::options::{Options, Persist, target};
use crate::plan::Overrides;
use crate::printable::Printable;
use crate::race;
use crate::secret::Secret;
use crate::ssh::forward::ForwardTarget;
use crate::ssh::hostkey::{Advice, HostKeyCheck, Wording};

/// Everything that is asked for.
#[derive(Debug, Clone)]
pub(super) struct Invocation {
    /// Whose defaults and words count.
    pub(super) front: Front,
    /// What the name means.
    pub(super) destination: Destination,
    /// What is said against the clan.
    pub(super) overrides: Overrides,
    /// The name, with all options that apply to it.
    pub(super) resolved: Resolved,
    /// What is done there.
    pub(super) task: Task,
    /// `-F`, which jump hosts are read by, too.
    pub(super) config_file: Option<String>,
    /// Whether ProxyJump or ProxyCommand stand on the command line.
    pub(super) proxy_is_said: bool,
    /// Whether ForwardAgent stands there.
    pub(super) agent_is_said: bool,
    /// What stands there and changes nothing, in words.
    pub(super) warnings: Vec<String>,
    /// How much a host key must be known, whatever the options say; as `ssh` only that of a
    /// machine of the clan.
    pub(super) host_key_check: Option<HostKeyCheck>,
    /// Key files that have to be there.
    pub(super) identities: Vec<PathBuf>,
    /// How long connecting may take where ConnectTimeout does not say.
    pub(super) timeout: Option<Duration>,
    /// How long a better network may hold up one that has answered.
    pub(super) grace: Duration,
    /// The file that what is said goes into (`-E`).
    pub(super) log_file: Option<String>,
    /// The master that the process which stays is to be, if it is a warm one.
    pub(super) warm: Option<Warm>,
}

/// A master that stays for the commands to come, without having been asked for by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Warm {
    /// Its socket.
    pub(super) socket: PathBuf,
    /// How long it stays when nobody uses it.
    pub(super) persist: Persist,
    /// Tells the clan of its machine from others.
    pub(super) clan: String,
}

/// Who was called. The two differ in what applies where nothing is said, and in
/// their words; what is done is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Front {
    /// `clan-connect`, in the manner of Clan.
    Clan,
    /// `ssh`, in the manner of OpenSSH.
    Ssh,
}

/// What the name stands for.
#[derive(Debug, Clone)]
pub(super) enum Destination {
    /// A machine of the clan.
    Machine,
    /// A machine of the clan if it is one, and else the host of this name.
    Host,
    /// An installer, by the JSON that it shows; the name of where that was.
    Installer(String, Secret<String>),
}

/// What is done with a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Task {
    /// A shell, this command or subsystem, or nothing but forwards: SessionType
    /// says.
    Session(Option<String>),
    /// `-W`: standard input and output are a stream to this place.
    Stdio(ForwardTarget),
    /// To be a master for others (ControlPersist).
    Share,
}

impl Front {
    /// How much a host key must be known.
    pub(super) fn host_key_check(self) -> HostKeyCheck {
        match self {
            Self::Clan => HostKeyCheck::Tofu,
            Self::Ssh => HostKeyCheck::Ask,
        }
    }

    /// Whose words messages about host keys are in.
    pub(super) fn words(self) -> Wording {
        match self {
            Self::Clan => Wording::Own,
            Self::Ssh => Wording::Ssh,
        }
    }

    /// What it advises where a clan's word on a host key is in question.
    pub(super) fn advice(self) -> Advice {
        match self {
            Self::Clan => Advice {
                allow_clan: "clan-connect trust-clan, or --flake DIR",
                unchecked: "with --host-key-check none",
            },
            Self::Ssh => Advice {
                allow_clan: "clan-connect trust-clan",
                unchecked: "with -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null",
            },
        }
    }

    /// Whether the exit status tells which signal has ended a command, as shells do.
    pub(super) fn tells_signals(self) -> bool {
        self == Self::Clan
    }

    /// Whether a command has a terminal as soon as there is one here, as in Clan.
    pub(super) fn gives_commands_a_terminal(self) -> bool {
        self == Self::Clan
    }
}

impl Invocation {
    /// What a command line of OpenSSH's asks for, that of a jump host included. The
    /// files of ssh_config(5) count as much as it does, also against the clan.
    pub(super) async fn as_ssh(arguments: &Arguments, env: &Env) -> Result<Self> {
        let file = arguments.config_file.as_deref();
        let options = &arguments.options;
        let names = Dialer::new(Default::default(), SocketOptions::of(env));
        let exec = |command: &str| shell::holds(command, env);
        let reading = Reading { config_file: file, login: None, exec: &exec, names: Some(&names) };
        let mut resolved = resolve(&arguments.host, options, &reading, env).await?;
        if arguments.stdio_forward.is_some() {
            resolved.carry_stream();
        }
        let overrides = Overrides {
            user: resolved.options.user.clone(),
            port: resolved.options.port.map(std::num::NonZeroU16::get),
            ..Overrides::default()
        };
        // As in ssh.c: what comes to nothing is none, and a shell is started.
        let command = Some(arguments.command.join(" ")).filter(|command| !command.is_empty());
        Ok(Self {
            front: Front::Ssh,
            destination: Destination::Host,
            overrides,
            resolved,
            task: task(arguments.stdio_forward.as_deref(), command)?,
            config_file: arguments.config_file.clone(),
            proxy_is_said: options.proxy_jump.is_some() || options.proxy_command.is_some(),
            agent_is_said: options.forward_agent.is_some(),
            warnings: warnings(options),
            host_key_check: is_unchecked(options).then_some(HostKeyCheck::None),
            identities: Vec::new(),
            timeout: None,
            grace: race::DEFAULT_GRACE,
            log_file: arguments.log_file.clone(),
            warm: None,
        })
    }

    /// The machine or host as it was typed.
    pub(super) fn name(&self) -> &str {
        &self.resolved.original_host
    }
}

/// Whether a command line says that no key is to be checked, and none to be kept, in the words
/// of nixos-anywhere and of Clan's `--host-key-check none`. A configuration that says so for
/// all hosts does not mean a machine whose key the clan knows.
fn is_unchecked(options: &Options) -> bool {
    let files = options.user_known_hosts_file.as_ref().map(|files| files.0.as_slice());
    options.strict_host_key_checking == Some(HostKeyCheck::No)
        && matches!(files, Some([file]) if file.written() == "/dev/null")
}

/// What has to be known of options on a command line that change nothing.
pub(super) fn warnings(options: &Options) -> Vec<String> {
    let rows = options.without_effect().filter(|row| !row.facts.warning.is_empty());
    rows.map(|row| format!("{} changes nothing: {}", row.name, row.facts.warning)).collect()
}

/// What `-W` or a command ask for.
pub(super) fn task(through: Option<&str>, command: Option<String>) -> Result<Task> {
    let Some(text) = through else { return Ok(Task::Session(command)) };
    let bad = || format!("Bad stdio forwarding specification '{}'", Printable(text));
    target(text).map(Task::Stdio).ok_or_else(|| Error::Usage(bad()))
}
