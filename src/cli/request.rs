//! All that connecting takes, as the options of a command say it. Owns what holds
//! where they say nothing; connects to nobody.

mod login;
mod settings;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{Global, Ui, tor};
use crate::connect::{HostKeySettings, LastResort, Request};
use crate::error::{Error, Result};
use crate::flake::{self, Step, nix};
use crate::model::HostKeys;
use crate::model::{Clan, Technology};
use crate::openssh::{DEFAULT_IDENTITIES, Resolved};
use crate::plan::{Overrides, Route};
use crate::printable::Printable;
use crate::race;
use crate::secret::Secret;
use crate::ssh::auth::Credentials;
use crate::ssh::hostkey::{HostKeyCheck, KnownHostsFiles, Stake, Stakes, Words};
use crate::ssh::known_hosts::{self, Name};
pub(super) use login::lent_agent;

/// The interval of keepalives to machines of a clan, as Clan has it.
pub(super) const KEEPALIVE: Duration = Duration::from_secs(15);

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
    /// Key files that are named, and have to be there.
    pub(super) identities: Vec<PathBuf>,
    /// What a KnownHostsCommand may be told.
    pub(super) tokens: BTreeMap<char, String>,
    /// How much the host key must be known where the options do not say.
    pub(super) check: HostKeyCheck,
    /// The interval of keepalives where the options do not say.
    pub(super) keepalive: Duration,
}

/// All that connecting takes: `way`, and what the options say for all ways.
pub(super) fn assemble(
    way: Way,
    resolved: &Resolved,
    global: &Global,
    ui: &Arc<Ui>,
) -> Result<Request> {
    let options = &resolved.options;
    if let Some(why) = &options.refuse_connection {
        return Err(Error::Usage(format!("RefuseConnection: {}", Printable(why))));
    }
    let bare = bare_request(global, ui, false)?;
    let machine = way.machine;
    let tor = match way.routes.iter().any(|route| route.technology == Technology::Tor) {
        true => tor::settings(global, &options.tor_auth, &machine, &bare.vars)?,
        false => bare.tor,
    };
    let ssh_dir = global.env.home().map(|home| home.join(".ssh"));
    let in_ssh = |name: &str| ssh_dir.iter().map(move |dir| dir.join(name)).collect::<Vec<_>>();
    let mut credentials = Credentials {
        machine: machine.clone(),
        password: way.password,
        identities: way.identities,
        default_identities: DEFAULT_IDENTITIES.iter().flat_map(|name| in_ssh(name)).collect(),
        agent: global.env.agent(),
        ..bare.credentials
    };
    login::apply(resolved, &mut credentials, ui)?;
    let bare_keys = HostKeySettings {
        identity: way.identity,
        words: Words::Own,
        stakes: Stakes { all: vec![Stake::Password, Stake::KeyboardInteractive], gives_up: false },
        of_clan: way.of_clan,
        ..bare.host_keys
    };
    let host_keys = settings::host_keys(resolved, way.check, way.tokens, bare_keys)?;
    Ok(Request {
        machine,
        routes: way.routes,
        no_route: way.no_route,
        last_resort: way.last_resort,
        last: None,
        deadline: settings::deadline(options),
        tor,
        origin: settings::origin(resolved)?,
        rekey: settings::rekey(options),
        grace: bare.grace,
        host_keys,
        keepalive_interval: settings::keepalive(options, way.keepalive),
        keepalive_max: usize::try_from(options.server_alive_count_max()).unwrap_or(usize::MAX),
        credentials,
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
    nix::program(&global.env)?;
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
        true => tor::settings(global, &[], "", &vars)?,
        false => Default::default(),
    };
    let home = global.env.home();
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
                user: home.map(known_hosts::user_files).unwrap_or_default(),
                global: known_hosts::global_files(),
                hash_names: false,
                home: home.map(Path::to_owned),
            },
            clan_is_named: global.clan_is_named(),
            ..HostKeySettings::default()
        },
        keepalive_interval: KEEPALIVE,
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
