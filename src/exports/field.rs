//! The fields of one network or peer: types, ranges, lengths. Owns what a
//! value may be; knows neither keys nor other entries. `null` is as absent,
//! because Nix writes unset options so.

use serde_json::Value;

use super::shape::{Object, kind};
use crate::model::{Host, MAX_HOST, TargetHost, VarRef, check_user};
use crate::printable::{Printable, is_invisible};
use crate::tokens;

use crate::error::Error;

/// Longest name of a service, instance or machine, in bytes.
const MAX_NAME: usize = 255;

/// Most hosts of one peer.
const MAX_HOSTS: usize = 64;

/// Clan's own default (`networking.priority` in clan-core's export interface).
const DEFAULT_PRIORITY: i64 = 1000;

/// SSH's port (RFC 4253, section 4.1).
const DEFAULT_PORT: u16 = 22;

/// A field that cannot be used, and why; both fit for a terminal.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) field: String,
    pub(super) reason: String,
}

impl Fault {
    pub(super) fn new(field: &str, reason: impl Into<String>) -> Self {
        Self { field: field.to_owned(), reason: reason.into() }
    }

    fn kind(field: &str, expected: &str, found: &Value) -> Self {
        Self::new(field, format!("expected {expected}, found {}", kind(found)))
    }

    /// The same fault seen from further out.
    pub(super) fn under(mut self, prefix: &str) -> Self {
        self.field.insert_str(0, prefix);
        self
    }
}

/// A network's own fields.
#[derive(Debug)]
pub(super) struct NetworkFields {
    pub(super) priority: i64,
    pub(super) module: Option<String>,
}

/// A peer's own fields.
#[derive(Debug)]
pub(super) struct PeerFields {
    pub(super) hosts: Vec<Host>,
    /// Hosts that cannot be used; the others can.
    pub(super) faults: Vec<Fault>,
    pub(super) port: u16,
    pub(super) user: Option<String>,
    /// `SSHOptions`, if there are any, fit for a terminal.
    pub(super) options: Option<String>,
}

/// Reads `priority` and `module`.
pub(super) fn network(map: &Object) -> Result<NetworkFields, Fault> {
    let priority = match present(map, "priority") {
        None => DEFAULT_PRIORITY,
        Some(value @ Value::Number(number)) => number.as_i64().ok_or_else(|| {
            let range = format!("expected an integer of 64 bits, found {value}");
            Fault::new("priority", range)
        })?,
        Some(other) => return Err(Fault::kind("priority", "an integer", other)),
    };
    let module = match present(map, "module") {
        None => None,
        Some(Value::String(module)) => {
            check_name(module).map_err(|reason| Fault::new("module", reason))?;
            Some(module.clone())
        }
        Some(other) => return Err(Fault::kind("module", "a string", other)),
    };
    Ok(NetworkFields { priority, module })
}

/// Reads `host`, `hosts`, `port`, `user` and sees `SSHOptions`.
pub(super) fn peer(map: &Object, machine: &str) -> Result<PeerFields, Fault> {
    let (mut hosts, mut faults) = (Vec::new(), Vec::new());
    for (field, value) in host_values(map)? {
        match host(value, machine) {
            Ok(host) => hosts.push(host),
            Err(fault) => faults.push(fault.under(&field)),
        }
    }
    let port = match present(map, "port") {
        None => DEFAULT_PORT,
        Some(value @ Value::Number(number)) => number
            .as_u64()
            .and_then(|port| u16::try_from(port).ok())
            .filter(|&port| port != 0)
            .ok_or_else(|| Fault::new("port", format!("{value} is not within 1 to 65535")))?,
        Some(other) => return Err(Fault::kind("port", "a number", other)),
    };
    let user = match present(map, "user") {
        None => None,
        Some(Value::String(user)) => {
            let user = check_user(user).map_err(|reason| Fault::new("user", reason))?;
            Some(user.to_owned())
        }
        Some(other) => return Err(Fault::kind("user", "a string", other)),
    };
    let options = present(map, "SSHOptions").or_else(|| present(map, "sshoptions"));
    Ok(PeerFields { hosts, faults, port, user, options: options.and_then(shown_options) })
}

/// Checks a machine's name, which also becomes part of paths and command lines, and which
/// people compare with another.
pub(crate) fn check_machine(name: &str) -> Result<(), String> {
    check_name(name)?;
    if name.contains('/') {
        Err("the name holds '/'".into())
    } else if name == "." || name == ".." {
        Err("the name is that of a directory".into())
    } else if name.chars().any(is_invisible) {
        Err("the name holds an invisible character".into())
    } else {
        tokens::unfit_host(name).map_or(Ok(()), |why| Err(format!("the name {why}")))
    }
}

/// Checks the name of anything.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        Err("the name is empty".into())
    } else if name.len() > MAX_NAME {
        Err(format!("the name is longer than {MAX_NAME} bytes"))
    } else if name.chars().any(char::is_control) {
        Err("the name holds a control character".into())
    } else {
        Ok(())
    }
}

/// A field that is there and not null.
pub(super) fn present<'a>(map: &'a Object, field: &str) -> Option<&'a Value> {
    map.get(field).filter(|value| !value.is_null())
}

/// Both spellings, `host` of 2025 first, each with the name of its place.
fn host_values(map: &Object) -> Result<Vec<(String, &Value)>, Fault> {
    let mut values = Vec::new();
    if let Some(host) = present(map, "host") {
        values.push(("host".to_owned(), host));
    }
    match present(map, "hosts") {
        None => {}
        Some(Value::Array(hosts)) if hosts.len() > MAX_HOSTS => {
            let reason = format!("{} hosts, of which at most {MAX_HOSTS} are taken", hosts.len());
            return Err(Fault::new("hosts", reason));
        }
        Some(Value::Array(hosts)) => {
            values.extend(hosts.iter().enumerate().map(|(at, host)| (format!("hosts.{at}"), host)));
        }
        Some(other) => return Err(Fault::kind("hosts", "a list", other)),
    }
    Ok(values)
}

/// `{plain: HOST}`, `{var: {machine, generator, file}}`, or a bare string as
/// people write it by hand. The `flake` of a var is a path of the Nix store of
/// whoever evaluated, and of no use here.
fn host(value: &Value, machine: &str) -> Result<Host, Fault> {
    let map = match value {
        Value::String(host) => return plain(host).map_err(|reason| Fault::new("", reason)),
        Value::Object(map) => map,
        other => return Err(Fault::kind("", "an object with plain or var", other)),
    };
    match (present(map, "plain"), present(map, "var")) {
        (Some(Value::String(host)), _) => {
            plain(host).map_err(|reason| Fault::new(".plain", reason))
        }
        (Some(other), _) => Err(Fault::kind(".plain", "a string", other)),
        (None, Some(Value::Object(var))) => {
            Ok(Host::Var(var_ref(var, machine).map_err(|fault| fault.under(".var."))?))
        }
        (None, Some(other)) => Err(Fault::kind(".var", "an object", other)),
        (None, None) => Err(Fault::new("", "has neither plain nor var")),
    }
}

/// Mycelium's addresses end in a newline, so the ends are trimmed.
fn plain(host: &str) -> Result<Host, String> {
    if host.len() > MAX_HOST {
        return Err(format!("the host is longer than {MAX_HOST} bytes"));
    }
    let host = host.trim();
    // No option counts here, whichever it is.
    TargetHost::read(host, |_| false)?;
    Ok(Host::Plain(host.to_owned()))
}

fn var_ref(map: &Object, machine: &str) -> Result<VarRef, Fault> {
    let text = |field: &str| match present(map, field) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(other) => Err(Fault::kind(field, "a string", other)),
    };
    let needed =
        |field: &str| text(field)?.ok_or_else(|| Fault::new(field, "missing in the host's var"));
    let (own, machine) = (machine, text("machine")?.unwrap_or(machine));
    let (generator, file) = (needed("generator")?, needed("file")?);
    // Which of the three is at fault, a reader of the message wants to know.
    for (field, name) in [("machine", machine), ("generator", generator), ("file", file)] {
        VarRef::new(name, "g", "f").map_err(|error| Fault::new(field, reason(&error)))?;
    }
    // Or exports could have any secret of the user's sent to a name server.
    if machine != own {
        let why = "a machine's address is a var of its own or a shared one, not another's";
        return Err(Fault::new("machine", why));
    }
    VarRef::new(machine, generator, file).map_err(|error| Fault::new("file", reason(&error)))
}

/// The reason of a refused var name, with the name cut.
pub(super) fn reason(error: &Error) -> String {
    match error {
        Error::VarName { name, reason } => {
            format!("invalid var name \"{}\": {reason}", Printable(name))
        }
        other => Printable(&other.to_string()).to_string(),
    }
}

fn shown_options(value: &Value) -> Option<String> {
    match value {
        Value::Array(options) if options.is_empty() => None,
        Value::Array(options) => {
            let shown = options.iter().take(4).map(|option| match option {
                Value::String(text) => format!("\"{}\"", Printable(text)),
                other => kind(other).to_owned(),
            });
            Some(shown.collect::<Vec<_>>().join(", "))
        }
        other => Some(kind(other).to_owned()),
    }
}
