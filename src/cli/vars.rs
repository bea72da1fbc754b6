//! `vars get` and `vars list`.

use std::io::IsTerminal;
use std::sync::Arc;

use clap::Subcommand;
use clap_complete::engine::ArgValueCompleter;
use data_encoding::BASE64;
use serde_json::{Value, json};

use super::{Global, Ui, columns, complete, print, print_json, print_text};
use crate::error::{Error, Result};
use crate::flake;
use crate::model::{Clan, Host, VarRef};
use crate::printable::{self, Printable};
use crate::vars::{Kept, Listed, Vars};

/// What is shown of a public value in a list, in characters.
const MAX_SHOWN: usize = 100;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print a var's value, byte for byte
    Get {
        /// The machine that the var belongs to
        #[arg(add = ArgValueCompleter::new(complete::machines))]
        machine: String,
        /// The var
        #[arg(value_name = "GENERATOR/FILE", add = ArgValueCompleter::new(complete::vars))]
        var: String,
    },
    /// List a machine's vars: the values of public ones, and the store of secret ones
    List {
        /// The machine
        #[arg(add = ArgValueCompleter::new(complete::machines))]
        machine: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(command: Command, global: &Global, ui: &Arc<Ui>) -> Result<()> {
    match command {
        Command::Get { machine, var } => {
            let var = VarRef::parse(&machine, &var)?;
            let vars = vars(global, ui)?;
            // A shared var would be found for a machine that nobody has.
            if vars.has_clan()
                && !vars.machines()?.is_empty()
                && let Some(error) = unknown(&machine, &vars, global, ui)
            {
                return Err(error);
            }
            match vars.reveal(&var) {
                Ok(value) => print_value(value.bytes.expose()),
                Err(missing @ (Error::VarMissing { .. } | Error::NoVars { .. })) => {
                    Err(why_missing(&var, missing, &vars, global, ui))
                }
                Err(error) => Err(error),
            }
        }
        Command::List { machine, json } => {
            let vars = vars(global, ui)?;
            // Any var of it, to have its name checked.
            VarRef::new(&machine, "-", "-")?;
            if let Some(error) = unknown(&machine, &vars, global, ui) {
                return Err(error);
            }
            let listed = vars.list(&machine)?;
            if listed.is_empty() {
                ui.warning(&format!("machine {} has no vars", Printable(&machine)));
            }
            match json {
                true => print_json(&Value::from_iter(listed.iter().map(as_json))),
                false => print_text(&as_text(&listed)),
            }
        }
    }
}

/// The clan's vars, or those of a snapshot that stands for it.
pub(super) fn vars(global: &Global, ui: &Arc<Ui>) -> Result<Vars> {
    let vars = global.vars(ui)?;
    match global.document() {
        Some(document) if !vars.has_clan() && global.has_snapshot() => {
            Ok(vars.with_known(document?.clan()?.kept_vars()))
        }
        _ => Ok(vars),
    }
}

/// Byte for byte, but on a terminal as text for people: whole lines, and no byte that
/// means something to the terminal.
fn print_value(bytes: &[u8]) -> Result<()> {
    if !std::io::stdout().is_terminal() {
        return print(bytes);
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => print_text(&format!("{}\n", text.strip_suffix('\n').unwrap_or(text))),
        // Whoever wants them has them go into a file or a pipe.
        Err(_) => print_text(&format!("<{} bytes, not text>\n", bytes.len())),
    }
}

/// Why there is no value: no clan, no such machine, no such var, or one that
/// the clan speaks of and nobody has generated.
fn why_missing(var: &VarRef, missing: Error, vars: &Vars, global: &Global, ui: &Arc<Ui>) -> Error {
    if let Some(error) = unknown(var.machine(), vars, global, ui) {
        return error;
    }
    if let Some(Ok(snapshot)) = global.document().filter(|_| !vars.has_clan()) {
        let (machine, var) = (Printable(var.machine()).to_string(), var.to_string());
        let reason = format!(
            "there is no var \"{}\" of machine \"{machine}\": a snapshot has only the public \
             vars that connecting takes",
            Printable(&var)
        );
        return Error::Exports { origin: printable::line(snapshot.origin()), reason };
    }
    let clan = clan_with(var.machine(), global, ui);
    let is_host = |clan: &Clan| {
        let peers = clan.networks.iter().flat_map(|network| &network.peers);
        let mut hosts = peers.flat_map(|peer| &peer.hosts);
        hosts.any(|host| matches!(host, Host::Var(host) if host == var))
    };
    match clan.is_ok_and(|clan| is_host(&clan)) {
        true => missing,
        false => vars.unknown_var(var),
    }
}

/// What is wrong if nobody has heard of `machine`, or there is nobody to ask.
pub(super) fn unknown(machine: &str, vars: &Vars, global: &Global, ui: &Arc<Ui>) -> Option<Error> {
    let known = match vars.machines() {
        Ok(known) if known.iter().any(|known| known == machine) => return None,
        Ok(known) => known,
        // Among what cannot be seen it may be.
        Err(error) => return Some(error),
    };
    if !vars.has_clan()
        && !global.has_snapshot()
        && let Err(error) = global.flake()
    {
        return Some(error);
    }
    match clan_with(machine, global, ui) {
        Ok(clan) if clan.knows(machine) => None,
        Ok(clan) => Some(vars.unknown_machine(machine, &clan.machines())),
        // Nothing says that it has no machines.
        Err(error) if known.is_empty() => Some(error),
        Err(_) => Some(vars.unknown_machine(machine, &[])),
    }
}

/// The clan as it was known last if it names `machine`, else as it is now.
fn clan_with(machine: &str, global: &Global, ui: &Arc<Ui>) -> Result<Clan> {
    let known = match &global.exports {
        Some(_) => None,
        None => global.flake().ok().and_then(|dir| flake::last_known(&dir, &global.env)),
    };
    let known = known.and_then(|known| known.clan("").ok());
    known.filter(|clan| clan.knows(machine)).map_or_else(|| global.clan(ui), Ok)
}

fn as_text(listed: &[Listed]) -> String {
    let name = |entry: &Listed| printable::line(&entry.var.to_string());
    let width = listed.iter().map(|entry| columns::width(&name(entry))).max().unwrap_or(0);
    let row = |entry: &Listed| {
        let shared = match (entry.shared, entry.counts) {
            (true, true) => ", shared",
            (true, false) => ", shared, not used",
            (false, _) => "",
        };
        let value = match &entry.kept {
            Kept::Public(value) if entry.counts => shown(value),
            Kept::Public(value) => format!("{}  <shared, not used>", shown(value)),
            Kept::Secret { store, closed: None } => format!("<secret: {store}{shared}>"),
            Kept::Secret { store, closed: Some(reason) } => {
                format!("<secret: {store}{shared}; {}>", printable::line(reason))
            }
        };
        format!("{}  {value}\n", columns::padded(&name(entry), width))
    };
    listed.iter().map(row).collect()
}

/// The first line of a public value, shortened.
fn shown(value: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(value) else {
        return format!("<{} bytes, not text>", value.len());
    };
    let text = text.trim_end();
    let line = printable::line(text.lines().next().unwrap_or_default());
    let short: String = line.chars().take(MAX_SHOWN).collect();
    let more = if short.len() < line.len() || text.lines().nth(1).is_some() { " …" } else { "" };
    format!("{short}{more}")
}

fn as_json(entry: &Listed) -> Value {
    let mut row = json!({
        "generator": entry.var.generator(),
        "file": entry.var.file(),
        "shared": entry.shared,
        "counts": entry.counts,
    });
    let fields = match &entry.kept {
        Kept::Public(value) => match std::str::from_utf8(value) {
            Ok(text) => json!({ "secret": false, "store": "public", "value": text }),
            Err(_) => {
                json!({ "secret": false, "store": "public", "value_base64": BASE64.encode(value) })
            }
        },
        Kept::Secret { store, closed } => {
            json!({ "secret": true, "store": store, "opens": closed.is_none(), "reason": closed })
        }
    };
    if let (Value::Object(row), Value::Object(fields)) = (&mut row, fields) {
        row.extend(fields);
    }
    row
}
