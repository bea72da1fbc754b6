//! An invocation as one process of ours hands it to another (`ssh -f`, a master that
//! stays): every option as the table of options writes it, so that nothing is read,
//! matched, expanded or asked for a second time. Owns the format, which only the same
//! program reads.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Destination, Front, Invocation, Task, Warm};
use crate::cli::{Called, Color, ExitCodes, Global};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::flake::Asker;
use crate::openssh::Resolved;
use crate::options::{Options, Persist, Value as _};
use crate::plan::{Overrides, TargetHost};
use crate::secret::Secret;
use crate::ssh::forward::ForwardTarget;

/// What is handed over.
#[derive(Serialize, Deserialize)]
struct Passed {
    is_ssh: bool,
    is_called_clan: bool,
    is_machine: bool,
    installer: Option<(String, String)>,
    network: Option<String>,
    target_host: Option<(Option<String>, String, Option<u16>)>,
    said_user: Option<String>,
    said_port: Option<u16>,
    default_user: Option<String>,
    default_port: Option<u16>,
    name: String,
    host_name: String,
    port: u16,
    user: String,
    local_user: String,
    options: Vec<(String, Vec<String>)>,
    task: PassedTask,
    config_file: Option<String>,
    proxy_is_said: bool,
    agent_is_said: bool,
    host_key_check: Option<String>,
    identities: Vec<OsString>,
    timeout: Option<Duration>,
    grace: Duration,
    log_file: Option<String>,
    warm: Option<PassedWarm>,
    clan: PassedClan,
}

/// A warm master, and who looks on until it stands.
#[derive(Serialize, Deserialize)]
struct PassedWarm {
    socket: OsString,
    persist: Vec<String>,
    clan: String,
    color: Color,
}

#[derive(Serialize, Deserialize)]
enum PassedTask {
    Session(Option<String>),
    Tcp(String, u16),
    Unix(OsString),
    Share,
}

/// Where the clan is, and what opens its vars.
#[derive(Serialize, Deserialize)]
struct PassedClan {
    flake: Option<OsString>,
    impure: bool,
    exports: Option<OsString>,
    identity: Vec<OsString>,
    show_secrets: bool,
    exit_codes: ExitCodes,
    #[cfg(feature = "tor")]
    tor: crate::cli::tor::TorOptions,
    #[cfg(feature = "iroh")]
    iroh: crate::cli::iroh::IrohOptions,
    wireguard: crate::cli::wireguard::WireguardOptions,
    #[cfg(any(feature = "mycelium", feature = "yggdrasil"))]
    overlays: crate::cli::overlays::OverlayOptions,
    nix_options: Vec<String>,
}

impl PassedClan {
    fn of(global: &Global) -> Self {
        Self {
            flake: global.flake.clone().map(Into::into),
            impure: global.impure,
            exports: global.exports.clone().map(Into::into),
            identity: global.identity.iter().map(OsString::from).collect(),
            show_secrets: global.show_secrets,
            exit_codes: global.exit_codes,
            #[cfg(feature = "tor")]
            tor: global.tor.clone(),
            #[cfg(feature = "iroh")]
            iroh: global.iroh.clone(),
            wireguard: global.wireguard.clone(),
            #[cfg(any(feature = "mycelium", feature = "yggdrasil"))]
            overlays: global.overlays.clone(),
            nix_options: global.nix_options.clone(),
        }
    }
}

/// What is handed over of the clan and of how networks are dialled: two commands that
/// differ in any of it share no connection.
pub(in crate::cli) fn clan(global: &Global) -> Option<Vec<u8>> {
    serde_json::to_vec(&PassedClan::of(global)).ok()
}

/// Writes it down.
pub(in crate::cli) fn write(invocation: &Invocation, global: &Global) -> Result<Vec<u8>> {
    let Invocation { overrides, resolved, .. } = invocation;
    if global.exports.as_ref().is_some_and(|file| file.as_os_str() == "-") {
        let why = "what goes to the background cannot read the exports from standard input: \
                   name a file";
        return Err(Error::Usage(why.to_owned()));
    }
    let target_host = overrides.target_host.as_ref();
    let passed = Passed {
        is_ssh: invocation.front == Front::Ssh,
        is_called_clan: matches!(global.called, Called::Clan(_)),
        is_machine: matches!(invocation.destination, Destination::Machine),
        installer: match &invocation.destination {
            Destination::Installer(origin, json) => Some((origin.clone(), json.expose().clone())),
            _ => None,
        },
        network: overrides.network.clone(),
        target_host: target_host.map(|it| (it.user.clone(), it.host.clone(), it.port)),
        said_user: overrides.user.clone(),
        said_port: overrides.port,
        default_user: overrides.default_user.clone(),
        default_port: overrides.default_port,
        name: resolved.original_host.clone(),
        host_name: resolved.host_name.clone(),
        port: resolved.port,
        user: resolved.user.clone(),
        local_user: resolved.local_user.clone(),
        options: resolved.options.said(),
        task: match &invocation.task {
            Task::Session(command) => PassedTask::Session(command.clone()),
            Task::Stdio(ForwardTarget::Tcp(host, port)) => PassedTask::Tcp(host.clone(), *port),
            Task::Stdio(ForwardTarget::Unix(path)) => PassedTask::Unix(path.clone().into()),
            Task::Stdio(ForwardTarget::Dynamic) | Task::Share => PassedTask::Share,
        },
        config_file: invocation.config_file.clone(),
        proxy_is_said: invocation.proxy_is_said,
        agent_is_said: invocation.agent_is_said,
        host_key_check: invocation.host_key_check.map(|check| check.to_string()),
        identities: invocation.identities.iter().map(OsString::from).collect(),
        timeout: invocation.timeout,
        grace: invocation.grace,
        log_file: invocation.log_file.clone(),
        warm: invocation.warm.as_ref().map(|warm| PassedWarm {
            socket: warm.socket.clone().into(),
            persist: warm.persist.said(),
            clan: warm.clan.clone(),
            color: global.color,
        }),
        clan: PassedClan::of(global),
    };
    serde_json::to_vec(&passed).map_err(|_| Error::Internal)
}

/// Reads it again.
pub(in crate::cli) fn read(bytes: &[u8], env: &Env) -> Result<(Invocation, Global)> {
    let passed: Passed = serde_json::from_slice(bytes).map_err(|_| Error::Internal)?;
    let front = if passed.is_ssh { Front::Ssh } else { Front::Clan };
    let paths = |all: Vec<OsString>| all.into_iter().map(PathBuf::from).collect();
    let target_host = passed.target_host;
    let resolved = Resolved {
        original_host: passed.name,
        host_name: passed.host_name,
        port: passed.port,
        user: passed.user,
        local_user: passed.local_user,
        options: Options::of_said(&passed.options)?,
        env: env.clone(),
        // Which only who looks for a connection to share asks about.
        files: Vec::new(),
    };
    let global = Global {
        flake: passed.clan.flake.map(PathBuf::from),
        impure: passed.clan.impure,
        exports: passed.clan.exports.map(PathBuf::from),
        identity: paths(passed.clan.identity),
        verbose: resolved.verbosity(),
        quiet: resolved.is_quiet(),
        // Nobody looks on but where somebody waits for the command that begins it.
        color: passed.warm.as_ref().map_or(Color::Never, |warm| warm.color),
        show_secrets: passed.clan.show_secrets,
        exit_codes: passed.clan.exit_codes,
        // Whoever reads them has been told already.
        events: None,
        #[cfg(feature = "tor")]
        tor: passed.clan.tor,
        #[cfg(feature = "iroh")]
        iroh: passed.clan.iroh,
        wireguard: passed.clan.wireguard,
        #[cfg(any(feature = "mycelium", feature = "yggdrasil"))]
        overlays: passed.clan.overlays,
        nix_options: passed.clan.nix_options,
        called: if passed.is_called_clan { Called::Clan("ssh") } else { Called::Own },
        asker: if passed.is_ssh { Asker::Ssh } else { Asker::Command },
        found: Default::default(),
        document: Default::default(),
        env: env.clone(),
    };
    let warm = |warm: PassedWarm| -> Result<Warm> {
        let persist = Persist::parse(&warm.persist).map_err(|_| Error::Internal)?;
        Ok(Warm { socket: warm.socket.into(), persist, clan: warm.clan })
    };
    let check = passed.host_key_check.map(|check| check.parse()).transpose()?;
    let invocation = Invocation {
        front,
        destination: match (passed.installer, passed.is_machine) {
            (Some((origin, json)), _) => Destination::Installer(origin, Secret::new(json)),
            (None, true) => Destination::Machine,
            (None, false) => Destination::Host,
        },
        overrides: Overrides {
            network: passed.network,
            target_host: target_host.map(|(user, host, port)| TargetHost {
                user,
                host,
                port,
                options: Vec::new(),
            }),
            user: passed.said_user,
            port: passed.said_port,
            default_user: passed.default_user,
            default_port: passed.default_port,
        },
        resolved,
        task: match passed.task {
            PassedTask::Session(command) => Task::Session(command),
            PassedTask::Tcp(host, port) => Task::Stdio(ForwardTarget::Tcp(host, port)),
            PassedTask::Unix(path) => Task::Stdio(ForwardTarget::Unix(path.into())),
            PassedTask::Share => Task::Share,
        },
        config_file: passed.config_file,
        proxy_is_said: passed.proxy_is_said,
        agent_is_said: passed.agent_is_said,
        // They have been said.
        warnings: Vec::new(),
        host_key_check: check,
        identities: paths(passed.identities),
        timeout: passed.timeout,
        grace: passed.grace,
        log_file: passed.log_file,
        warm: passed.warm.map(warm).transpose()?,
    };
    Ok((invocation, global))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ssh::hostkey::HostKeyCheck;

    #[test]
    fn an_invocation_is_the_same_on_the_other_side() {
        let env = Env::of([("HOME", "/home/me")]);
        let mut options = Options::default();
        for line in ["ProxyCommand none", "LocalForward 1 h:2", "SetEnv A=1 B=\"2 3\"", "Port 9"] {
            options.line(line).unwrap();
        }
        let target = ForwardTarget::Unix("/run/x y".into());
        for task in [Task::Session(Some("a\nb".to_owned())), Task::Stdio(target), Task::Share] {
            let invocation = Invocation {
                front: Front::Clan,
                destination: Destination::Installer("--json".into(), Secret::new("{}".into())),
                overrides: Overrides {
                    network: Some("net".to_owned()),
                    target_host: Some(
                        TargetHost::parse("me@[fe80::1%eth0]:22", |_| false).unwrap(),
                    ),
                    user: Some("u".to_owned()),
                    port: Some(7),
                    default_user: Some("d".to_owned()),
                    default_port: Some(8),
                },
                resolved: Resolved::of("m", options.clone(), &env),
                task,
                config_file: Some("none".to_owned()),
                proxy_is_said: true,
                agent_is_said: true,
                warnings: Vec::new(),
                host_key_check: Some(HostKeyCheck::Tofu),
                identities: vec!["/a b".into()],
                timeout: Some(Duration::from_millis(1500)),
                grace: Duration::from_millis(360),
                log_file: Some("log".to_owned()),
                warm: Some(Warm {
                    socket: "/run/x".into(),
                    persist: Persist::Seconds(60),
                    clan: "c".to_owned(),
                }),
            };
            let global = Global {
                flake: Some("/clan".into()),
                impure: true,
                exports: None,
                identity: vec!["key".into()],
                verbose: 0,
                quiet: false,
                color: Color::Auto,
                show_secrets: true,
                exit_codes: ExitCodes::Detailed,
                events: None,
                #[cfg(feature = "tor")]
                tor: crate::cli::tor::TorOptions::default(),
                #[cfg(feature = "iroh")]
                iroh: crate::cli::iroh::IrohOptions::default(),
                wireguard: Default::default(),
                #[cfg(any(feature = "mycelium", feature = "yggdrasil"))]
                overlays: Default::default(),
                nix_options: Vec::new(),
                called: Called::Clan("ssh"),
                asker: Asker::Command,
                found: Default::default(),
                document: Default::default(),
                env: env.clone(),
            };
            let (read, clan) = read(&write(&invocation, &global).unwrap(), &env).unwrap();
            assert_eq!(format!("{read:?}"), format!("{invocation:?}"));
            assert_eq!((clan.flake, clan.identity), (global.flake, global.identity));
            assert_eq!(clan.called, global.called);
        }
    }
}
