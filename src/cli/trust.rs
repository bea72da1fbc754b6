//! `network trust`: which host keys count for a machine and where they come
//! from, and the user's own word on it.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use clap::{Args, Subcommand};
use clap_complete::engine::ArgValueCompleter;
use russh::keys::{HashAlg, PublicKey};
use serde_json::json;

use super::machine::{MachineRequest, SshOptions};
use super::request::host_keys;
use super::request::routes::Found;
use super::{Global, Ui, complete, print_json, print_text, task};
use crate::connect::{Counted, EntryKind, Trust};
use crate::error::{Error, Result};
use crate::options::LogLevel;
use crate::plan::{DEFAULT_PORT, unknown_machine};
use crate::printable::{self, Printable};
use crate::ssh::known_hosts::{self, Name};

/// Bound on a file with a public key, in bytes.
const MAX_KEY: u64 = 64 << 10;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show the host keys that are trusted for a machine
    List {
        #[command(flatten)]
        machine: Machine,
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Print the keys that the clan has for the machine as lines of known_hosts for NAME,
        /// as a KnownHostsCommand of ssh does
        #[arg(long, value_name = "NAME", conflicts_with = "json")]
        known_hosts: Option<String>,
    },
    /// Trust a host key, given as text or in a file
    Add {
        #[command(flatten)]
        machine: Machine,
        /// The key as in ssh_host_ed25519_key.pub, or that file; `-` is standard input
        #[arg(value_name = "KEY|FILE")]
        key: String,
    },
    /// Forget the host keys that known_hosts has for a machine
    Remove {
        #[command(flatten)]
        machine: Machine,
        /// Only the key with this fingerprint (SHA256:…)
        fingerprint: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(super) struct Machine {
    /// The machine
    #[arg(value_name = "MACHINE", add = ArgValueCompleter::new(complete::machines))]
    name: String,
    #[command(flatten)]
    options: SshOptions,
}

pub(super) fn run(command: &Command, global: &Global, ui: &Arc<Ui>) -> Result<u8> {
    task::drive(async {
        match command {
            Command::List { machine, known_hosts: Some(name), .. } => {
                // The way there is another process, which says what there is to say.
                ui.set_level(LogLevel::Error);
                let known = known(machine, global, ui).await?;
                lines(&machine.name, name, &known, global.clan_is_named())
            }
            Command::List { machine, json, .. } => {
                list(&machine.name, *json, known(machine, global, ui).await?, ui)
            }
            Command::Add { machine, key } => {
                let key = read_key(key)?;
                add(&machine.name, &key, known(machine, global, ui).await?)
            }
            Command::Remove { machine, fingerprint } => {
                let known = known(machine, global, ui).await?;
                remove(&machine.name, fingerprint.as_deref(), known, ui)
            }
        }
    })
}

/// What is known of a machine's keys, and the names they are looked up under.
struct Known {
    trust: Trust,
    names: Vec<Name>,
    /// Those of them that are the machine's alone: what a clan that the user has not
    /// named calls its own may be others'.
    own: Vec<Name>,
    files: Vec<std::path::PathBuf>,
}

/// As a session would know it, with the same options.
async fn known(machine: &Machine, global: &Global, ui: &Arc<Ui>) -> Result<Known> {
    let invocation =
        MachineRequest::of(&machine.name, &machine.options)?.invocation(global).await?;
    let machine = invocation.name();
    // A clan's own keys are known even where its exports are not.
    let clan = global.clan(ui);
    let of_clan = global.host_keys(machine, clan.as_ref().ok(), ui)?;
    let settings = host_keys(&invocation, &Found { of_clan, ..Found::default() }, global)?;
    let files = settings.files.user.clone();
    let alias = settings.alias.clone();
    let trust = Trust::of(settings, machine.to_owned()).await?;
    let mut names = Vec::new();
    if !trust.is_of_clan() {
        let clan = clan?;
        // It has its keys wherever it is, and even if nobody knows where.
        if !clan.knows(machine) {
            return Err(unknown_machine(&clan, machine));
        }
        names = match alias {
            Some(alias) => vec![(alias, DEFAULT_PORT)],
            None => global.identity(machine, &clan, ui)?,
        };
    }
    let kept_as = global.kept_as(machine).filter(|kept| names.contains(kept));
    let own = kept_as.map_or_else(|| names.clone(), |kept| vec![kept]);
    Ok(Known { trust, names, own, files })
}

fn list(machine: &str, as_json: bool, known: Known, ui: &Ui) -> Result<u8> {
    let Known { trust, names, .. } = known;
    let counted = trust.counted(machine, &names);
    if as_json {
        let keys: Vec<_> = counted.iter().map(as_value).collect();
        let source = if trust.is_of_clan() { "clan" } else { "known_hosts" };
        let json = json!({ "machine": machine, "source": source, "keys": keys });
        print_json(&json)?;
        return Ok(0);
    }
    if counted.is_empty() {
        let machine = Printable(machine);
        ui.warning(&format!("no host key of {machine} is known, the first one will be trusted"));
    }
    let line = |Counted { kind, name, entry }: &Counted| {
        format!(
            "{kind:<9}  {}  for {}  in {}:{}\n",
            entry.fingerprint,
            Printable(name),
            printable::line(&entry.path.to_string_lossy()),
            entry.line
        )
    };
    print_text(&counted.iter().map(line).collect::<String>())?;
    Ok(0)
}

/// Nothing where the clan knows none: then the user's own files have the word.
fn lines(machine: &str, name: &str, known: &Known, is_named: bool) -> Result<u8> {
    let is_pattern = |c: char| c.is_control() || c.is_whitespace() || "*?!,|#@".contains(c);
    if name.is_empty() || name.contains(is_pattern) {
        return Err(Error::Usage("a name of known_hosts is one word without patterns".to_owned()));
    }
    // A clan that the user merely stands in has no say beside his own files.
    if !is_named || !known.trust.is_of_clan() {
        return Ok(0);
    }
    let counted = known.trust.counted(machine, &[]);
    let keys = counted.iter().filter(|counted| counted.kind == EntryKind::Key);
    let lines = keys.filter_map(|counted| counted.entry.key.to_openssh().ok());
    print_text(&lines.map(|key| format!("{name} {key}\n")).collect::<String>())?;
    Ok(0)
}

fn as_value(Counted { kind, name, entry }: &Counted) -> serde_json::Value {
    json!({
        "kind": kind.to_string(),
        "type": entry.algorithm.as_str(),
        "fingerprint": entry.fingerprint.to_string(),
        "key": entry.key.to_openssh().unwrap_or_default(),
        "name": name,
        "file": entry.path.to_string_lossy(),
        "line": entry.line,
    })
}

fn add(machine: &str, key: &PublicKey, known: Known) -> Result<u8> {
    let Known { trust, own: names, files, .. } = known;
    refuse_clan(machine, &trust)?;
    let Some(file) = files.first() else {
        return Err(Error::Usage("there is no home directory for a known_hosts file".to_owned()));
    };
    for (name, port) in &names {
        known_hosts::add(file, name, *port, key, false)?;
    }
    let names: Vec<String> = names.iter().map(|(name, port)| shown(name, *port)).collect();
    let fingerprint = key.fingerprint(HashAlg::Sha256);
    let file = printable::line(&file.to_string_lossy());
    print_text(&format!("stored in {file} for {}: {fingerprint}\n", names.join(", ")))?;
    Ok(0)
}

fn remove(machine: &str, fingerprint: Option<&str>, known: Known, ui: &Ui) -> Result<u8> {
    let Known { trust, own: names, files, .. } = known;
    refuse_clan(machine, &trust)?;
    let is_meant = |key: &PublicKey| {
        fingerprint.is_none_or(|wanted| key.fingerprint(HashAlg::Sha256).to_string() == wanted)
    };
    let mut count = 0;
    for file in &files {
        for (name, port) in &names {
            let lines = known_hosts::remove(file, name, *port, &is_meant)?;
            count += lines.len();
            for line in lines {
                let file = printable::line(&file.to_string_lossy());
                let text = format!("removed from {file}:{line}: {}\n", shown(name, *port));
                print_text(&text)?;
            }
        }
    }
    if count == 0 {
        let such = if fingerprint.is_some() { "such key" } else { "key that can be removed" };
        ui.warning(&format!(
            "known_hosts has no {such} for {}; see: clan-connect network trust list {}",
            Printable(machine),
            printable::argument(machine, "MACHINE")
        ));
    }
    Ok(u8::from(count == 0))
}

fn shown(name: &str, port: u16) -> String {
    Printable(&known_hosts::lookup_name(name, port)).to_string()
}

/// The clan's own word is changed where it is written.
fn refuse_clan(machine: &str, trust: &Trust) -> Result<()> {
    match trust.is_of_clan() {
        true => Err(Error::Usage(format!(
            "the clan has a host key for {}, so that known_hosts is not used: change the \
             machine's var openssh/ssh.id_ed25519.pub",
            Printable(machine)
        ))),
        false => Ok(()),
    }
}

fn read_key(text: &str) -> Result<PublicKey> {
    let is_key = text.split_whitespace().count() >= 2 && !Path::new(text).exists();
    let text = match (is_key, text) {
        (true, text) => text.to_owned(),
        (false, "-") => read(&mut std::io::stdin().lock(), Path::new("standard input"))?,
        (false, file) => {
            let path = Path::new(file);
            let failed = |source| Error::File { action: "read", path: path.to_owned(), source };
            read(&mut std::fs::File::open(path).map_err(failed)?, path)?
        }
    };
    let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    let key = line.and_then(|line| PublicKey::from_openssh(line).ok());
    key.ok_or_else(|| Error::Usage("expected a public key, as in a .pub file".to_owned()))
}

fn read(from: &mut dyn Read, path: &Path) -> Result<String> {
    let mut text = String::new();
    let failed = |source| Error::File { action: "read", path: path.to_owned(), source };
    from.take(MAX_KEY).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}
