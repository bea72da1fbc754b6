//! Warm sessions: the connection of one command stays for a while, for the next ones to
//! the same machine. Owns when that is, and which commands may share one: those of which
//! everything is the same that decides who the other side is, as whom and over what we
//! have logged in, and what may be done there.

use std::ffi::OsStr;
use std::fmt::Debug;
use std::io::IsTerminal;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::mux::Control;
use crate::cli::clan::short_hash;
use crate::cli::invocation::{Destination, Front, Invocation, Task, Warm, passed};
#[cfg(feature = "tor")]
use crate::cli::tor;
use crate::cli::{Global, Ui, warmth};
use crate::dial::wireguard;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::file;
use crate::flake::{self, Whose};
use crate::mux::warm;
use crate::openssh::{DEFAULT_IDENTITIES, Forwards};
use crate::options::{ControlMaster, Maybe, Options, Persist, SessionType, Value as _};
use crate::parts::Parts;
use crate::printable::Printable;
use crate::ssh::remote::Remote;
use crate::term;

/// How long a warm session stays where nobody says: as Clan has it (ControlPersist=1m).
const PERSIST: Persist = Persist::Seconds(60);

/// Says how long, where the command line and the files do not: for programs, which have
/// none else.
const VARIABLE: &str = "CLAN_CONNECT_PERSIST";

/// Options of which each command has its own over a shared connection, or that are about
/// nothing but connecting.
const OWN: [&str; 17] = [
    "RequestTTY",
    "RemoteCommand",
    "SessionType",
    "StdinNull",
    "EscapeChar",
    "SendEnv",
    "SetEnv",
    "LogLevel",
    "ConnectTimeout",
    "ConnectionAttempts",
    "ControlMaster",
    "ControlPersist",
    "LocalForward",
    "RemoteForward",
    "DynamicForward",
    "ClearAllForwardings",
    "ExitOnForwardFailure",
];

/// Options that name files or run programs: they mean something else elsewhere.
const FILES: [&str; 15] = [
    "IdentityFile",
    "CertificateFile",
    "UserKnownHostsFile",
    "GlobalKnownHostsFile",
    "RevokedHostKeys",
    "IdentityAgent",
    "ForwardAgent",
    "DnssecAnchor",
    "TorAuth",
    "WireguardKey",
    "YggdrasilKey",
    "ProxyCommand",
    "KnownHostsCommand",
    "PKCS11Provider",
    "SecurityKeyProvider",
];

/// Options that name what we log in with, which may become another at the same place.
const IDENTITIES: [&str; 7] = [
    "WireguardKey",
    "YggdrasilKey",
    "IdentityFile",
    "CertificateFile",
    "RevokedHostKeys",
    "IdentityAgent",
    "ForwardAgent",
];

/// Options by which a program of the user's runs, which sees all variables.
const PROGRAMS: [&str; 3] = ["ProxyCommand", "KnownHostsCommand", "ProxyJump"];

/// Variables that differ from window to window, and that nothing of ours depends on. All
/// others count: what an identity, an agent, a proxy or a place is found by.
const IDLE_VARIABLES: [&str; 40] = [
    "_",
    "CLAN_CONNECT_PERSIST",
    "COLORTERM",
    "COLUMNS",
    "DESKTOP_STARTUP_ID",
    "GITHUB_ACTION",
    "GITHUB_ENV",
    "GITHUB_OUTPUT",
    "GITHUB_PATH",
    "GITHUB_STATE",
    "GITHUB_STEP_SUMMARY",
    "GPG_TTY",
    "HISTFILE",
    "INVOCATION_ID",
    "LANG",
    "LANGUAGE",
    "LESS",
    "LESSOPEN",
    "LINES",
    "LS_COLORS",
    "NO_COLOR",
    "OLDPWD",
    "PAGER",
    "PS1",
    "PWD",
    "SHLVL",
    "SSH_CLIENT",
    "SSH_CONNECTION",
    "SSH_TTY",
    "STY",
    "TERM",
    "TERM_PROGRAM",
    "TERM_PROGRAM_VERSION",
    "TERM_SESSION_ID",
    "TMUX",
    "TMUX_PANE",
    "VTE_VERSION",
    "WINDOWID",
    "XDG_ACTIVATION_TOKEN",
    "XDG_SESSION_ID",
];
const IDLE_BEGINNINGS: [&str; 7] =
    ["LC_", "ALACRITTY_", "GHOSTTY_", "ITERM_", "KITTY_", "KONSOLE_", "WEZTERM_"];

/// The warm master for what is asked for, which need not be there yet.
pub(in crate::cli) fn control(
    invocation: &Invocation,
    remote: Option<&Remote>,
    forwards: &Forwards,
    global: &Global,
    ui: &Ui,
) -> Result<Option<Control>> {
    if !may_share(invocation, remote) {
        return Ok(None);
    }
    let Some(persist) = persist(&invocation.resolved.options, global)? else { return Ok(None) };
    let is_piped = global.exports.as_ref().is_some_and(|file| file.as_os_str() == "-");
    let Some(source) = global.source().filter(|_| !is_piped) else { return Ok(None) };
    let Some(digest) = digest(invocation, global, &source) else {
        ui.verbose("no connection is kept warm: the clan has too many files to check for changes");
        return Ok(None);
    };
    let socket = match warm::socket(&digest, &global.env) {
        Ok(socket) => socket,
        Err(why) => {
            let text = format!("no connection is kept warm: {why}");
            match invocation.resolved.options.control_persist.is_some() {
                true => ui.warning(&text),
                false => ui.verbose(&text),
            }
            return Ok(None);
        }
    };
    // A forward is for as long as who has asked for it; it may go over a connection that
    // is warm, but is none to begin one with.
    let may_begin = remote.is_some() && forwards.all.is_empty();
    let warm = Warm { socket, persist, clan: short_hash(&global.place()) };
    Ok(Some(Control::of_warm(warm, may_begin)))
}

/// How long, if at all. Where nobody says, somebody at a terminal gets it: what stays
/// behind a script, a service or a job surprises.
fn persist(options: &Options, global: &Global) -> Result<Option<Persist>> {
    let said = match (options.control_persist, global.env.text(VARIABLE)) {
        (Some(said), _) => Some(said),
        (None, Some(text)) => {
            let refused = |why| {
                let text = Printable(text);
                Error::Usage(format!("invalid value '{text}' of {VARIABLE}: {why}"))
            };
            Some(warmth::parse(text).map_err(refused)?)
        }
        (None, None) => std::io::stderr().is_terminal().then_some(PERSIST),
    };
    Ok(said.filter(|persist| *persist != Persist::No))
}

/// Whether it is something that a connection may be shared for, or shares nothing with
/// others by the user's own word.
fn may_share(invocation: &Invocation, remote: Option<&Remote>) -> bool {
    let options = &invocation.resolved.options;
    let is_ours = invocation.front == Front::Clan
        && matches!(invocation.destination, Destination::Machine)
        && invocation.task != Task::Share;
    let said_otherwise = options.control_path.is_some()
        || !matches!(options.control_master, None | Some(ControlMaster::Auto | ControlMaster::Yes));
    // What runs here for each connection, and what is for that connection alone.
    let runs_here = options.permit_local_command() && options.local_command.is_some();
    let is_alone = options.fork_after_authentication()
        || !invocation.is_stream()
            && options.session_type() == SessionType::None
            && options.local_forward.is_empty()
            && options.remote_forward.is_empty()
            && options.dynamic_forward.is_empty();
    // Whom we log in as is known to the master alone.
    let has_tokens = Maybe::of(&options.remote_command)
        .is_some_and(|command| command.words().concat().contains('%'));
    // A master reads on when the shell has stopped us and wants its terminal back.
    let reads_shell = remote.is_some_and(|remote| remote.pty.is_none())
        && !options.stdin_null()
        && term::is_interactive();
    // What a shell lends us by a number, another process has not.
    let is_lent = std::env::args_os().any(|word| {
        let word = word.to_string_lossy();
        ["/dev/fd/", "/proc/self/fd/", "/dev/stdin"].iter().any(|place| word.contains(place))
    });
    is_ours && !is_lent && !said_otherwise && !runs_here && !is_alone && !has_tokens && !reads_shell
}

/// What all that matters comes to; `None` where it cannot be seen whether it has changed.
fn digest(invocation: &Invocation, global: &Global, source: &str) -> Option<Vec<u8>> {
    let mut hash = Hash::new();
    hash.process();
    hash.invocation(invocation, source);
    let (env, resolved) = (&global.env, &invocation.resolved);
    let said: Vec<(String, Vec<String>)> = invocation.resolved.options.said();
    let is_shared = |name: &str| !OWN.iter().any(|own| own.eq_ignore_ascii_case(name));
    let shared = || said.iter().filter(|(name, _)| is_shared(name));
    shared().for_each(|line| hash.debug(line));
    let has = |names: &[&str]| shared().any(|(name, _)| names.contains(&name.as_str()));
    // A jump host may be a machine of the clan as well.
    let whose = if has(&PROGRAMS) { Whose::All } else { Whose::Machine(invocation.name()) };
    hash.clan(global, whose)?;
    let expands = || shared().any(|(_, words)| words.iter().any(|word| word.contains('$')));
    let all_variables = has(&PROGRAMS) || expands();
    for (name, value) in env.variables() {
        if all_variables || !is_idle(name) {
            hash.put(name.as_bytes());
            hash.put(value.as_bytes());
        }
    }
    let files = shared().filter(|(name, _)| FILES.contains(&name.as_str()));
    let is_fixed = |word: &String| word.starts_with(['/', '~']);
    let is_relative = files.flat_map(|(_, words)| words).any(|word| !is_fixed(word))
        || invocation.config_file.as_ref().is_some_and(|file| !is_fixed(file))
        || invocation.identities.iter().chain(&global.identity).any(|path| path.is_relative())
        || global.wireguard.files().chain(overlay_files(global)).any(|file| !file.starts_with('/'))
        || names_files_of_tor(global);
    hash.debug(is_relative.then(|| env.dir()));
    // What they say of jump hosts is read again on the way.
    invocation.resolved.files.iter().for_each(|file| hash.file(file));
    let named = shared().filter(|(name, _)| IDENTITIES.contains(&name.as_str()));
    let named = named.flat_map(|(_, words)| words).filter_map(|word| resolved.file_name(word).ok());
    let by_default = env
        .home()
        .into_iter()
        .flat_map(|home| DEFAULT_IDENTITIES.into_iter().map(|name| home.join(".ssh").join(name)));
    let given = invocation.identities.iter().chain(&global.identity).cloned();
    let members = global.wireguard.files().chain(overlay_files(global)).map(PathBuf::from);
    let members = members.chain(wireguard::default_key(env)).chain(kept_key(env));
    named.chain(by_default).chain(given).chain(members).for_each(|file| hash.file(&file));
    Some(hash.0.digest())
}

/// Whether something is said of Tor, which may be a relative name.
fn names_files_of_tor(_global: &Global) -> bool {
    #[cfg(feature = "tor")]
    return format!("{:?}", _global.tor) != format!("{:?}", tor::TorOptions::default());
    #[cfg(not(feature = "tor"))]
    false
}

/// Keys for overlays.
fn overlay_files(global: &Global) -> impl Iterator<Item = &str> {
    #[cfg(any(feature = "mycelium", feature = "yggdrasil"))]
    let files = global.overlays.files();
    #[cfg(not(any(feature = "mycelium", feature = "yggdrasil")))]
    let files = {
        let _ = global;
        std::iter::empty()
    };
    files
}

/// The key that is kept for Yggdrasil.
#[cfg(feature = "yggdrasil")]
fn kept_key(env: &Env) -> Option<PathBuf> {
    crate::dial::yggdrasil::kept_key(env)
}

#[cfg(not(feature = "yggdrasil"))]
fn kept_key(_: &Env) -> Option<PathBuf> {
    None
}

fn is_idle(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    IDLE_VARIABLES.contains(&name) || IDLE_BEGINNINGS.iter().any(|start| name.starts_with(start))
}

struct Hash(Parts);

impl Hash {
    fn new() -> Self {
        let mut hash = Self(Parts::default());
        hash.put(b"clan-connect warm 1");
        hash
    }

    fn put(&mut self, part: &[u8]) {
        self.0.put(part);
    }

    fn debug(&mut self, part: impl Debug) {
        self.put(format!("{part:?}").as_bytes());
    }

    /// Which program this is, whose it is, and which networks and files it sees.
    fn process(&mut self) {
        self.put(env!("CARGO_PKG_VERSION").as_bytes());
        self.file(Path::new("/proc/self/exe"));
        self.debug((rustix::process::geteuid(), rustix::process::getegid()));
        for space in ["net", "mnt", "user"] {
            self.debug(std::fs::read_link(Path::new("/proc/self/ns").join(space)).ok());
        }
    }

    /// Which file this is, as it is now.
    fn file(&mut self, path: &Path) {
        self.debug(path.metadata().ok().as_ref().map(file::version));
    }

    /// Where it goes, by which way, as whom, and how much is believed.
    fn invocation(&mut self, invocation: &Invocation, source: &str) {
        let Invocation { overrides, resolved, .. } = invocation;
        self.put(source.as_bytes());
        self.put(invocation.name().as_bytes());
        self.debug(overrides);
        self.debug((&resolved.host_name, resolved.port, &resolved.user, &resolved.local_user));
        self.debug((&invocation.config_file, &invocation.identities, invocation.grace));
        self.debug((invocation.proxy_is_said, invocation.agent_is_said));
        self.debug(invocation.host_key_check);
    }

    /// Which clan is asked, what it may say of the machines, how much it is trusted, what
    /// opens its vars, and how networks are dialled.
    fn clan(&mut self, global: &Global, whose: Whose<'_>) -> Option<()> {
        if let Ok(flake) = global.site() {
            self.put(flake::stamp(&flake.dir, whose)?.as_bytes());
            // A reference to a directory here: git leaves some of it out.
            if flake.vars != flake.dir {
                self.put(flake::stamp(&flake.vars, whose)?.as_bytes());
            }
        }
        global.exports.iter().chain(&global.lone()).for_each(|file| self.file(file));
        self.put(&passed::clan(global)?);
        self.debug((global.asker, global.clan_is_named(), global.exports_are_named()));
        #[cfg(feature = "tor")]
        if let Some(file) = tor::users_file(&global.env) {
            self.file(&file);
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_variable_counts_as_idle_that_something_is_found_by() {
        for name in [
            "HOME",
            "PATH",
            "SSH_AUTH_SOCK",
            "SSH_ASKPASS",
            "AGE_KEY",
            "SOPS_AGE_KEY_FILE",
            "CLAN_DIR",
            "XDG_CONFIG_HOME",
            "TOR_SOCKS",
            "LD_PRELOAD",
            "ALL_PROXY",
        ] {
            assert!(!is_idle(OsStr::new(name)), "{name}");
        }
        assert!(is_idle(OsStr::new("TERM")) && is_idle(OsStr::new("LC_ALL")));
        assert!(!is_idle(OsStr::from_bytes(b"LC_\xff")));
    }

    #[test]
    fn the_names_of_options_are_those_of_the_table() {
        let table: Vec<&str> = crate::options::TABLE.iter().map(|row| row.name).collect();
        for name in OWN.iter().chain(&FILES).chain(&PROGRAMS).chain(&IDENTITIES) {
            assert!(table.contains(name), "{name}");
        }
    }
}
