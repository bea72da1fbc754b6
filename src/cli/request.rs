//! All that connecting takes, as an invocation says it. Owns what holds where it
//! says nothing; connects to nobody.

mod login;
pub(super) mod routes;
mod settings;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::invocation::{Front, Invocation, Task};
use super::role::Role;
use super::{Global, Ui};
use crate::connect::{HostKeySettings, Request};
use crate::dial::{Lasting, OfClan, Settings};
use crate::error::{Error, Result};
use crate::model::Technology;
use crate::openssh::{Forwards, Resolved};
use crate::options::{Options, Tunnel};
use crate::plan::Route;
use crate::printable::Printable;
use crate::remembered::Servers;
use crate::ssh::auth::{Credentials, Method};
use crate::ssh::hostkey::{HostKeyCheck, KnownHostsFiles, Stake, Stakes};
use crate::ssh::known_hosts::Name;
use crate::vars::Vars;
pub(super) use login::{lend_no_absent_agent, lent_agent};
use routes::Found;

/// What connecting to `found` takes. `is_way`: only something else goes through it.
pub(super) fn request(
    invocation: &Invocation,
    found: Found,
    is_way: bool,
    global: &Global,
    ui: &Arc<Ui>,
) -> Result<Request> {
    let resolved = &invocation.resolved;
    let options = &resolved.options;
    if let Some(why) = &options.refuse_connection {
        return Err(Error::Usage(format!("RefuseConnection: {}", Printable(why))));
    }
    // Not even a var of the clan is read for a host that is no machine of it.
    let nobody;
    let global = match found.is_machine {
        true => global,
        false => {
            nobody = global.without_clan();
            &nobody
        }
    };
    let machine = invocation.name().to_owned();
    let vars = Arc::new(global.vars(ui)?.with_known(found.known.clone()));
    let bare = Request::new(&machine, vars, ui.clone(), &global.env);
    let mut credentials = Credentials {
        machine: shown(invocation),
        password: found.password.clone(),
        identities: invocation.identities.clone(),
        ..bare.credentials
    };
    login::apply(resolved, &mut credentials, ui)?;
    let mut host_keys = host_keys(invocation, &found, global)?;
    host_keys.stakes = stakes(resolved, &credentials, host_keys.update, is_way)?;
    let keepalive = match found.is_machine {
        true => bare.keepalive_interval,
        // As ssh(1) has it.
        false => Duration::ZERO,
    };
    let Found { routes, no_route, last_resort, .. } = found;
    Ok(Request {
        routes,
        no_route,
        last_resort,
        deadline: deadline(invocation),
        socket_options: settings::origin(resolved)?,
        rekey: settings::rekey(options),
        keystrokes: options.obscure_keystroke_timing().0,
        pipelining: options.pipelining(),
        servers: Servers::of_user(&global.env).map(|servers| Arc::new(servers) as _),
        grace: invocation.grace,
        exports_are_named: global.exports_are_named(),
        host_keys,
        keepalive_interval: settings::keepalive(options, keepalive),
        keepalive_max: usize::try_from(options.server_alive_count_max()).unwrap_or(usize::MAX),
        credentials,
        show_secrets: global.show_secrets,
        ..bare
    })
}

/// What the user says of the technologies that these routes need, and of no other: the
/// keys for onion services may be vars that somebody has to open. `clan` is what the clan
/// says that leads there.
#[allow(unused, reason = "a build without networks has nothing to set")]
pub(super) fn technologies<'a>(
    routes: impl Iterator<Item = &'a Route>,
    clan: &OfClan,
    global: &Global,
    options: &Options,
    machine: &str,
    vars: &Arc<Vars>,
) -> Result<Settings> {
    let used: HashSet<&Technology> = routes.map(|route| &route.technology).collect();
    let lasting = match Role::of_this() {
        Some(Role::Master) => Lasting::Guests,
        _ => Lasting::Work,
    };
    let mut settings = Settings { lasting, ..Settings::default() };
    #[cfg(feature = "iroh")]
    if used.contains(&Technology::IROH) {
        settings.iroh = super::iroh::settings(&global.iroh, options)?;
    }
    if used.iter().any(|technology| technology.is_direct()) {
        settings.wireguard = super::wireguard::settings(global, options, clan, vars);
        settings.underlay.clone_from(&clan.underlay);
        #[cfg(any(feature = "mycelium", feature = "yggdrasil"))]
        super::overlays::settings(&mut settings, global, options, vars)?;
    }
    #[cfg(feature = "tor")]
    if used.contains(&Technology::TOR) || settings.needs_tor() {
        settings.tor = super::tor::settings(global, &options.tor_auth, machine, vars)?;
    }
    Ok(settings)
}

/// How long connecting may take, if anybody says.
pub(super) fn deadline(invocation: &Invocation) -> Option<Duration> {
    invocation.timeout.or(settings::deadline(&invocation.resolved.options))
}

/// The name that questions are asked about.
fn shown(invocation: &Invocation) -> String {
    let Resolved { options, host_name, .. } = &invocation.resolved;
    match invocation.front {
        Front::Clan => invocation.name().to_owned(),
        // sshconnect2.c.
        Front::Ssh => options.host_key_alias.as_ref().unwrap_or(host_name).to_ascii_lowercase(),
    }
}

/// What is asked of the host's key.
pub(super) fn host_keys(
    invocation: &Invocation,
    found: &Found,
    global: &Global,
) -> Result<HostKeySettings> {
    let bare = HostKeySettings {
        files: KnownHostsFiles::of(global.env.home()),
        clan_is_named: global.clan_is_named(),
        identity: found.identity.clone(),
        kept_as: found.kept_as.clone(),
        users_names: users_names(&invocation.resolved),
        wording: invocation.front.words(),
        advice: invocation.front.advice(),
        of_clan: found.of_clan.clone(),
        passes_over_clan: invocation.host_key_check == Some(HostKeyCheck::None),
        ..HostKeySettings::default()
    };
    let said = match invocation.front {
        Front::Clan => invocation.host_key_check,
        Front::Ssh => None,
    };
    let said = said.or(invocation.resolved.options.strict_host_key_checking);
    let check = match said.unwrap_or(invocation.front.host_key_check()) {
        // Its key may be known to the clan: nobody else is believed in silence.
        HostKeyCheck::AcceptNew | HostKeyCheck::Tofu if found.may_be_machine => HostKeyCheck::Ask,
        check => check,
    };
    let tokens: BTreeMap<char, String> = match (invocation.front, found.is_machine) {
        // Where a machine is differs from route to route.
        (Front::Clan, _) | (_, true) => {
            let is_fixed = |(token, _): &(char, String)| !"hkp".contains(*token);
            invocation.resolved.tokens().filter(is_fixed).collect()
        }
        (Front::Ssh, false) => invocation.resolved.tokens().collect(),
    };
    let mut settings = settings::host_keys(&invocation.resolved, check, tokens, bare)?;
    // It would say what is known here already (`ssh-config`), of an address.
    if found.is_machine {
        settings.program = settings.program.filter(|program| !program.is_own_list());
    }
    Ok(settings)
}

/// The name that the files of ssh_config(5) have for a host, if they say one.
fn users_names(resolved: &Resolved) -> Vec<Name> {
    let name = resolved.has_other_name().then(|| (resolved.host_name.clone(), resolved.port));
    name.into_iter().collect()
}

/// What the host would get, but not with a key that nobody vouches for.
fn stakes(
    resolved: &Resolved,
    credentials: &Credentials,
    updates: bool,
    is_way: bool,
) -> Result<Stakes> {
    let options = &resolved.options;
    let forwards = Forwards::of(resolved)?;
    let methods = &credentials.methods;
    let all = [
        (methods.contains(&Method::Password), Stake::Password),
        (methods.contains(&Method::KeyboardInteractive), Stake::KeyboardInteractive),
        (lent_agent(resolved)?.is_some(), Stake::Agent),
        (options.forward_x11(), Stake::X11),
        (!forwards.all.is_empty(), Stake::Ports),
        (options.tunnel() != Tunnel::No, Stake::Tunnel),
        (updates, Stake::UpdateHostKeys),
    ];
    let all: Vec<Stake> =
        all.into_iter().filter(|(is_wanted, _)| *is_wanted).map(|(_, stake)| stake).collect();
    let is_refused = all.iter().any(|stake| *stake != Stake::UpdateHostKeys);
    // As ssh(1): a stream of ours through it is what it is for.
    Ok(Stakes { gives_up: is_way || (forwards.exit_on_failure && is_refused), all })
}

impl Invocation {
    /// Whether nothing but a stream goes through the connection.
    pub(super) fn is_stream(&self) -> bool {
        matches!(self.task, Task::Stdio(_))
    }
}

/// A positive number of seconds, whole or not, up to a day.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= 86_400.0 => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("not a number of seconds that is more than 0, at most 86400".to_owned()),
    }
}
