//! The machine that an address means where a `clan` has started our `ssh`: Clan's own program
//! looks for an address itself and hands on no name. Owns when an address is a machine's;
//! opens no secret, and asks nix for no clan that has no such address.

use std::sync::Arc;

use super::routes::spelled;
use crate::address;
use crate::cli::invocation::Invocation;
use crate::cli::{Global, Ui};
use crate::model::{Clan, Host, VarRef};
use crate::plan::{Route, plans};
use crate::printable::Printable;
use crate::vars::Vars;

/// Has `invocation` mean the only machine of the clan that is at its address and port, as if
/// it had been named: over all its networks, each at its own port, and with its own keys. All
/// stays as it is where a proxy is said, which leads to the address, or several machines are
/// there.
pub(in crate::cli) fn mean_machine(invocation: &mut Invocation, global: &Global) {
    let resolved = &invocation.resolved;
    let is_led = resolved.proxy_command().is_some() || !resolved.jumps().is_empty();
    if !global.is_below_clan() || global.remote().is_some() || is_led || resolved.has_other_name() {
        return;
    }
    let ui = Arc::new(Ui::as_ssh(resolved, global.color));
    let place = (resolved.host_name.as_str(), resolved.port);
    let Some(machine) = machine(place, invocation.name(), global, &ui) else { return };
    ui.verbose(&format!(
        "{} port {} is the machine {} of the clan",
        Printable(place.0),
        place.1,
        Printable(&machine)
    ));
    invocation.overrides.port = None;
    invocation.resolved.rename(&machine);
}

fn machine(place: (&str, u16), typed: &str, global: &Global, ui: &Arc<Ui>) -> Option<String> {
    // Nobody waits for nix because of an address that is most likely some other host's.
    let vars = global.vars(ui).ok()?;
    at(&global.last_known()?, place, typed, &vars)?;
    // What was known may be old.
    let clan = global.clan(ui).ok()?;
    at(&clan, place, typed, &vars)
}

/// The only machine at a place, unless what was typed is a machine's name.
fn at(clan: &Clan, place: (&str, u16), typed: &str, vars: &Vars) -> Option<String> {
    if !matches!(spelled(&clan.machines(), typed), Ok(None)) {
        return None;
    }
    let mut found = plans(clan).filter(|(_, routes)| {
        let routes = routes.as_deref().unwrap_or_default();
        routes.iter().any(|route| is_at(route, place, |var| public(var, clan, vars)))
    });
    match (found.next(), found.next()) {
        // Our `ssh` takes a name with a dot for a host's.
        (Some((machine, _)), None) if !machine.contains(['.', ':', '/']) => {
            Some(machine.to_owned())
        }
        _ => None,
    }
}

fn is_at(
    route: &Route,
    (host, port): (&str, u16),
    value: impl Fn(&VarRef) -> Option<String>,
) -> bool {
    let is_it = |text: &str| address::canonical(&text.to_ascii_lowercase()) == host;
    route.port == port
        && match &route.host {
            Host::Plain(text) => is_it(text),
            Host::Var(var) => value(var).is_some_and(|text| is_it(text.trim())),
        }
}

/// The value of a var that is no secret.
fn public(var: &VarRef, clan: &Clan, vars: &Vars) -> Option<String> {
    let of_files = || {
        let (bytes, _) = vars.public_value(var).ok()??;
        String::from_utf8(bytes).ok()
    };
    of_files().or_else(|| clan.public_var(var).map(str::to_owned))
}
