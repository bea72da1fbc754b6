//! All that connecting takes, as the options of a command say it. Owns what holds
//! where they say nothing; connects to nobody.

mod options;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{Global, Ui, tor};
use crate::connect::{HostKeySettings, LastResort, Request};
use crate::error::Result;
use crate::exports::{Clan, Technology};
use crate::flake::{self, Step, nix};
use crate::host_keys::HostKeys;
use crate::openssh::{DEFAULT_IDENTITIES, home};
use crate::plan::{Overrides, Route};
use crate::race;
use crate::secret::Secret;
use crate::ssh::auth::Credentials;
use crate::ssh::hostkey::{HostKeyCheck, KnownHostsFiles, Stake, Stakes, Words};
use crate::ssh::known_hosts::{self, Name};
pub(super) use options::{Proxy, SshOptions};

/// How a machine is to be reached.
pub(super) struct Way {
    pub(super) machine: String,
    pub(super) routes: Vec<Route>,
    /// Why there are no routes, if there are none.
    pub(super) no_route: Option<String>,
    pub(super) last_resort: Option<LastResort>,
    pub(super) of_clan: Option<HostKeys>,
    /// All names of the machine, if it is one of a clan.
    pub(super) identity: Vec<Name>,
    pub(super) password: Option<Secret<String>>,
    /// Key files that come before those of the options.
    pub(super) identities: Vec<PathBuf>,
}

/// All that connecting takes; `check` is for where the options say nothing.
pub(super) fn assemble(
    way: Way,
    options: SshOptions,
    check: HostKeyCheck,
    global: &Global,
    ui: &Arc<Ui>,
) -> Result<Request> {
    let Way { machine, routes, no_route, last_resort, of_clan, identity, password, identities } =
        way;
    let bare = bare_request(global, ui, false)?;
    let tor = match routes.iter().any(|route| route.technology == Technology::Tor) {
        true => tor::settings(&global.tor, &options.tor_auth, &machine, &bare.vars)?,
        false => bare.tor,
    };
    let ssh_dir = home().map(|home| home.join(".ssh"));
    let in_ssh = |name: &str| ssh_dir.iter().map(move |dir| dir.join(name)).collect::<Vec<_>>();
    let files = bare.host_keys.files;
    let accepted = options.algorithms.list("pubkeyacceptedalgorithms").to_vec();
    // The one that all routes share, if they do.
    let login = routes.first().map(|route| route.user.clone()).unwrap_or_default();
    Ok(Request {
        machine: machine.clone(),
        routes,
        no_route,
        last_resort,
        last: None,
        deadline: options.connect_timeout,
        tor,
        origin: bare.origin,
        rekey: bare.rekey,
        grace: bare.grace,
        host_keys: HostKeySettings {
            check: options.host_key_check.unwrap_or(check),
            update: options
                .update_host_keys
                .unwrap_or(options.user_known_hosts.is_none() && !options.verify_dns),
            files: KnownHostsFiles {
                user: options.user_known_hosts.unwrap_or(files.user),
                global: options.global_known_hosts.unwrap_or(files.global),
                hash_names: options.hash_known_hosts.unwrap_or(files.hash_names),
            },
            alias: options.host_key_alias,
            identity,
            words: Words::Own,
            stakes: Stakes {
                all: vec![Stake::Password, Stake::KeyboardInteractive],
                gives_up: false,
            },
            revoked: options.revoked_host_keys,
            program: options.known_hosts_command.map(|mut program| {
                program.tokens.entry('r').or_insert(login);
                program
            }),
            verify_dns: options.verify_dns,
            dnssec_anchor: options.dnssec_anchor,
            trusts_loopback: false,
            algorithms: options.algorithms,
            of_clan,
            clan_is_named: bare.host_keys.clan_is_named,
        },
        keepalive_interval: options.keepalive_interval.unwrap_or(bare.keepalive_interval),
        keepalive_max: options.keepalive_max.unwrap_or(bare.keepalive_max),
        credentials: Credentials {
            machine,
            password,
            identities: [identities, options.identity_files].concat(),
            default_identities: DEFAULT_IDENTITIES.iter().flat_map(|name| in_ssh(name)).collect(),
            agent: std::env::var_os("SSH_AUTH_SOCK")
                .filter(|path| !path.is_empty())
                .map(PathBuf::from),
            accepted,
            ..bare.credentials
        },
        vars: bare.vars,
        show_secrets: bare.show_secrets,
    })
}

/// Where Clan looks last: the configuration of the machine itself, if nix can be
/// asked and has not been yet.
pub(super) fn configuration(
    clan: &Clan,
    machine: &str,
    overrides: &Overrides,
    global: &Global,
    ui: &Arc<Ui>,
) -> Option<LastResort> {
    let is_open = overrides.network.is_none() && overrides.target_host.is_none();
    if !is_open || !clan.knows(machine) || clan.configured_host(machine).is_some() {
        return None;
    }
    let flake = match &global.exports {
        Some(_) => return None,
        None => global.site().ok()?,
    };
    nix::program()?;
    let (ui, machine, overrides) = (ui.clone(), machine.to_owned(), overrides.clone());
    Some(Arc::new(move || {
        let mut step = |_: Step| ui.evaluating();
        let target = flake::configured_host(&flake, &machine, &mut step)?;
        Ok(target.map(|target| Route::configured(&target, &overrides)))
    }))
}

/// What the options of every command say about connecting, to no machine yet
/// and with nothing to authenticate with.
pub(super) fn bare_request(global: &Global, ui: &Arc<Ui>, uses_tor: bool) -> Result<Request> {
    let vars = Arc::new(global.vars(ui)?);
    let tor = match uses_tor {
        true => tor::settings(&global.tor, &[], "", &vars)?,
        false => Default::default(),
    };
    Ok(Request {
        machine: String::new(),
        routes: Vec::new(),
        last: None,
        no_route: None,
        last_resort: None,
        vars,
        deadline: None,
        grace: race::DEFAULT_GRACE,
        tor,
        origin: Default::default(),
        rekey: Default::default(),
        host_keys: HostKeySettings {
            check: HostKeyCheck::Strict,
            files: KnownHostsFiles {
                user: home().as_deref().map(known_hosts::user_files).unwrap_or_default(),
                global: known_hosts::global_files(),
                hash_names: false,
            },
            clan_is_named: global.clan_is_named(),
            ..HostKeySettings::default()
        },
        keepalive_interval: Duration::from_secs(15),
        keepalive_max: 3,
        show_secrets: global.show_secrets,
        credentials: Credentials::new(ui.clone()),
    })
}

/// A positive number of seconds, whole or not, up to a day.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= 86_400.0 => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("not a number of seconds between 0 and 86400".to_owned()),
    }
}
