//! `vars get` and `vars list`.

use std::sync::Arc;

use clap::Subcommand;
use clap_complete::engine::ArgValueCompleter;
use data_encoding::BASE64;
use serde_json::{Value, json};

use super::{Global, Ui, complete, print, print_json, print_text};
use crate::error::Result;
use crate::exports::VarRef;
use crate::printable;
use crate::vars::{Kept, Listed};

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
        #[arg(value_name = "GENERATOR/FILE")]
        var: String,
    },
    /// List a machine's vars: public values, and who keeps the secret ones
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
            let value = global.vars(ui)?.reveal(&var)?;
            print(value.bytes.expose())
        }
        Command::List { machine, json } => {
            let listed = global.vars(ui)?.list(&machine)?;
            match json {
                true => print_json(&Value::from_iter(listed.iter().map(as_json))),
                false => print_text(&as_text(&listed)),
            }
        }
    }
}

fn as_text(listed: &[Listed]) -> String {
    let name = |entry: &Listed| printable::line(&entry.var.to_string());
    let width = listed.iter().map(|entry| name(entry).chars().count()).max().unwrap_or(0);
    let row = |entry: &Listed| {
        let shared = if entry.shared { ", shared" } else { "" };
        let value = match &entry.kept {
            Kept::Public(value) => shown(value),
            Kept::Secret { store, closed: None } => format!("<secret: {store}{shared}>"),
            Kept::Secret { store, closed: Some(reason) } => {
                format!("<secret: {store}{shared}; {}>", printable::line(reason))
            }
        };
        format!("{:<width$}  {value}\n", name(entry))
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
