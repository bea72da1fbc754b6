//! `exports snapshot`: all that connecting to a clan takes, in one file. Owns where it
//! comes from and that what is not in it is said; opens what is secret only for those who are
//! to have it.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use super::access::{Machines, Recipients};
use crate::cli::{Global, Ui, print};
use crate::descriptors;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::file;
use crate::flake::nix::Whole;
use crate::flake::snapshot::{self, Absent, Snapshot};
use crate::flake::{self, Document, Flake, fingerprint};
use crate::model::{Clan, Host, VarRef};
use crate::printable;

/// Most names that are listed of a kind.
const MAX_SHOWN: usize = 10;
/// What standard output is called.
const STDOUT: [&str; 4] = ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"];

#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// The file to write; `-` is standard output [default: clan-connect.json in the clan, or
    /// standard output for --exports FILE without a clan]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    asked: Recipients,
}

/// A snapshot with what had to be left out of it, for people.
struct Made {
    origin: String,
    snapshot: Snapshot,
    lacks: Vec<String>,
    /// The machines of the inventory; `None` for a snapshot that stays as it is.
    inventory: Option<BTreeSet<String>>,
}

/// Writes it to where it is asked for.
pub(super) fn run(arguments: &Arguments, global: &Global, ui: &Arc<Ui>) -> Result<()> {
    let is_stdout = |file: &Path| STDOUT.iter().any(|name| file == Path::new(name));
    let to = match (&arguments.output, &global.exports) {
        (Some(file), _) => Some(file.to_owned()).filter(|file| !is_stdout(file)),
        (None, given) => match (clan(global, ui)?, given) {
            (Some(flake), _) if flake.is_remote => {
                return Err(Error::Usage(
                    "a reference cannot be written to: name a file with --output FILE".into(),
                ));
            }
            (Some(flake), _) => Some(flake.dir.join(snapshot::NAME)),
            (None, Some(_)) => None,
            (None, None) => return global.site().map(drop),
        },
    };
    let mut made = match global.document() {
        Some(document) => converted(&*document?, global, ui)?,
        None => evaluated(global, ui)?,
    };
    let is_own = is_own(to.as_deref(), global);
    seal(&mut made, to.as_deref(), &arguments.asked, global, ui)?;
    let Made { origin, snapshot, lacks, .. } = made;
    tell_of_keys(&snapshot, to.as_deref(), global, ui);
    let clan = snapshot.clan(&origin)?;
    // For whoever reads it: what is wrong is said now, not later.
    ui.problems(&clan);
    match to {
        Some(file) => {
            write(&snapshot, &file, &global.env)?;
            let shown = printable::line(&file.to_string_lossy());
            ui.notice(&format!("wrote {shown}: {}", summary(&snapshot, &clan)));
            if is_own {
                ui.warning(
                    "the snapshot was made from itself and has nothing new; name exports with \
                     --exports FILE",
                );
            }
        }
        None => print(printable::json(&snapshot.to_json()).as_bytes())?,
    }
    lacks.iter().for_each(|lack| ui.notice(&format!("left out: {lack}")));
    Ok(())
}

/// Encrypts the secret hosts for those who are asked for, and says which are for nobody.
fn seal(
    made: &mut Made,
    to: Option<&Path>,
    asked: &Recipients,
    global: &Global,
    ui: &Arc<Ui>,
) -> Result<()> {
    let Made { snapshot, lacks, inventory, .. } = made;
    let Some(inventory) = inventory else {
        if asked.is_nobody() {
            return Ok(());
        }
        return Err(Error::Usage(
            "--for needs the clan's own files; here is only a snapshot or an exports file"
                .to_owned(),
        ));
    };
    let vars = global.vars(ui)?;
    let secret = snapshot.secret_host_vars(&vars)?;
    let access = asked.access(&Machines { inventory, snapshot }, &secret, &vars)?;
    for it in access.iter().filter(|it| it.hosts.is_empty()) {
        let whose = printable::line(&it.whose);
        ui.notice(&format!("there are no secret hosts that {whose} may dial"));
    }
    let before = before(to, global, ui).map(|it| it.secret_hosts).unwrap_or_default();
    let unfit = snapshot.seal(&access, &vars, &before)?;
    if !unfit.is_empty() {
        let clan = snapshot.clan("the exports")?;
        unfit.iter().for_each(|var| ui.warning(&no_host(var, &clan)));
    }
    let lost = before.keys().filter(|whose| !snapshot.secret_hosts.contains_key(*whose));
    let lost = lost.map(|whose| printable::line(whose)).collect();
    if let Some(lost) =
        listed("the new snapshot lacks secret hosts that the old one had, for", lost)
    {
        ui.warning(&format!("{lost}; --for MACHINE adds them"));
    }
    let nobodys = secret.iter().filter(|var| !access.iter().any(|it| it.hosts.contains(*var)));
    lacks.extend(listed("secret hosts", nobodys.map(shown).collect()));
    Ok(())
}

/// Says which host keys of the file that is written over, or else of the clan's own snapshot,
/// are not in this one. It does not matter here who can write that: nothing of it is kept.
fn tell_of_keys(snapshot: &Snapshot, to: Option<&Path>, global: &Global, ui: &Ui) {
    let Some(file) = compared(to, global) else { return };
    let Ok(old) = Document::read(&file).and_then(|document| document.snapshot()) else { return };
    let file = printable::line(&file.to_string_lossy());
    let (lost, changed) = lost_keys(&old, snapshot);
    let what = format!("host keys of {file} are not in the new snapshot, for");
    if let Some(lost) = listed(&what, lost) {
        ui.warning(&format!("{lost}; check that the clan's vars exist here"));
    }
    let what = format!("host keys of {file} differ in the new snapshot, for");
    if let Some(changed) = listed(&what, changed) {
        ui.warning(&format!(
            "{changed}; check that the machines were installed or generated again"
        ));
    }
}

/// Whose keys are not there any more, and whose are others; of machines that are there.
fn lost_keys(old: &Snapshot, new: &Snapshot) -> (Vec<String>, Vec<String>) {
    // What follows the type and the key itself is a comment.
    let key = |text: &String| {
        text.split_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>().join(" ")
    };
    let keys = |all: &[String]| all.iter().map(key).collect::<BTreeSet<_>>();
    let machines = old.machines.iter().filter_map(|(name, machine)| {
        let now = new.machines.get(name)?;
        Some((printable::line(name), keys(&machine.host_keys), keys(&now.host_keys)))
    });
    let authority =
        ("the authority of all".to_owned(), keys(&old.authorities), keys(&new.authorities));
    let (mut lost, mut changed) = (Vec::new(), Vec::new());
    for (name, old, new) in machines.chain([authority]) {
        match (old.is_subset(&new), new.is_empty()) {
            (true, _) => {}
            (false, true) => lost.push(name),
            (false, false) => changed.push(name),
        }
    }
    (lost, changed)
}

/// The file that is written over, if there is one, or else the clan's own snapshot.
fn compared(to: Option<&Path>, global: &Global) -> Option<PathBuf> {
    let of_clan = || Some(global.flake().ok()?.join(snapshot::NAME));
    to.filter(|file| file.is_file()).map(Path::to_owned).or_else(of_clan)
}

/// The snapshot that the file is now, or that of the clan, of whose secret hosts nothing is
/// encrypted anew that has not changed. Nobody can see what they are, so that they are not
/// those of a file that others can write, unless it is the clan's own: who can write that, says
/// where the machines are anyway.
fn before(to: Option<&Path>, global: &Global, ui: &Ui) -> Option<Snapshot> {
    let of_clan = compared(None, global);
    let file = compared(to, global)?;
    if Some(&file) != of_clan.as_ref()
        && let Some(why) = flake::not_his_alone(&file, &global.env)
    {
        ui.warning(&format!("{why}: its secret hosts are not kept"));
        return None;
    }
    Document::read(&file).ok()?.snapshot().ok()
}

/// That the value of a var cannot be dialled; the value is for nobody to see.
fn no_host(var: &VarRef, clan: &Clan) -> String {
    let has_it = |host: &Host| host.var() == Some(var);
    let networks = clan
        .networks
        .iter()
        .filter(|network| network.peers.iter().flat_map(|peer| &peer.hosts).any(has_it));
    let networks: Vec<String> = networks.map(|network| printable::line(&network.label)).collect();
    format!(
        "left out: the value of var {}, by which network {} reaches it, is not the address of a \
         host; generate it anew with clan vars generate {} --generator {} --regenerate",
        shown(var),
        networks.join(" and "),
        printable::line(var.machine()),
        printable::line(var.generator()),
    )
}

/// Whether the snapshot that is there is all that the one in its place can be made of.
fn is_own(to: Option<&Path>, global: &Global) -> bool {
    let site = global.site().ok().filter(Flake::stands_alone);
    let own = site.map(|flake| flake.dir.join(snapshot::NAME));
    global.document().is_none() && own.as_deref().is_some_and(|own| to == Some(own))
}

/// The clan beside which this is, if there is one.
fn clan(global: &Global, ui: &Ui) -> Result<Option<Flake>> {
    match global.site() {
        Ok(flake) => Ok(Some(flake)),
        Err(Error::FlakeNotFound { .. }) if global.exports.is_some() => Ok(None),
        // Somebody else's, which nobody has named.
        Err(error) if global.exports.is_some() && global.named().is_none() => {
            ui.verbose(&error.to_string());
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// What a file has. A snapshot stays as it is; to exports alone what the clan beside them
/// has of its machines' keys and addresses is added.
fn converted(document: &Document, global: &Global, ui: &Arc<Ui>) -> Result<Made> {
    let origin = document.origin().to_owned();
    let (mut snapshot, is_whole) = (document.snapshot()?, document.is_snapshot());
    if !is_whole {
        snapshot.forget_source();
    }
    let mut lacks = failed(&snapshot);
    let mut inventory = None;
    match clan(global, ui)?.filter(|_| !is_whole) {
        Some(_) => {
            // Exports alone name no machine of it.
            inventory = Some(BTreeSet::new());
            lacks.extend(complete(&mut snapshot, global, ui)?);
        }
        None => {
            let clan = snapshot.clan(&origin)?;
            let hosts = clan.networks.iter().flat_map(|network| &network.peers);
            let hosts = hosts.flat_map(|peer| peer.hosts.iter().filter_map(Host::var));
            let unknown = hosts.filter(|var| clan.public_var(var).is_none());
            let names = unknown.map(shown).collect();
            lacks.extend(listed("hosts whose vars are not in the file", names));
        }
    }
    Ok(Made { origin, snapshot, lacks, inventory })
}

/// What nix says of the clan, and its files.
fn evaluated(global: &Global, ui: &Arc<Ui>) -> Result<Made> {
    let flake = global.site()?;
    let (origin, Whole { mut snapshot, failed: unevaluated }) = global.whole(ui)?;
    let mut lacks = failed(&snapshot);
    if flake.stands_alone() {
        return Ok(Made { origin, snapshot, lacks, inventory: None });
    }
    snapshot.forget_source();
    match unevaluated {
        Some(machines) => lacks.extend(listed(
            "targetHost in configurations that cannot be evaluated",
            machines.iter().map(|name| printable::line(name)).collect(),
        )),
        None => lacks.extend(listed(
            "targetHost in configurations, which only nix can evaluate",
            snapshot
                .machines
                .keys()
                .filter(|name| !snapshot.configured.contains_key(*name))
                .map(|name| printable::line(name))
                .collect(),
        )),
    }
    let inventory = Some(snapshot.machines.keys().cloned().collect());
    lacks.extend(complete(&mut snapshot, global, ui)?);
    if snapshot.fingerprint.is_none() {
        snapshot.fingerprint = fingerprint(&flake.dir);
    }
    Ok(Made { origin, snapshot, lacks, inventory })
}

/// Adds what the clan's files have in the clear; returns what they do not have at all.
fn complete(snapshot: &mut Snapshot, global: &Global, ui: &Arc<Ui>) -> Result<Vec<String>> {
    let vars = global.vars(ui)?;
    snapshot.add_host_keys(&vars)?;
    let absent = snapshot.add_vars(&vars)?;
    let of = |kind: Absent, what: &str| {
        let names = absent.iter().filter(|(_, why)| *why == kind).map(|(var, _)| shown(var));
        listed(what, names.collect())
    };
    let kinds = [
        of(Absent::Ungenerated, "hosts whose vars are not generated yet"),
        of(Absent::Unfit, "hosts whose vars are not a short text"),
    ];
    Ok(kinds.into_iter().flatten().collect())
}

fn failed(snapshot: &Snapshot) -> Vec<String> {
    let names = snapshot.failed.iter().map(|name| printable::line(name)).collect();
    listed("exports entries that cannot be evaluated", names).into_iter().collect()
}

fn shown(var: &VarRef) -> String {
    printable::line(&format!("{var} of {}", var.machine()))
}

/// A line on what is not there; none where all is there.
fn listed(what: &str, mut names: Vec<String>) -> Option<String> {
    let more = names.len().saturating_sub(MAX_SHOWN);
    let count = names.len();
    names.truncate(MAX_SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    (count > 0).then(|| format!("{what} ({count}): {}{more}", names.join(", ")))
}

fn write(snapshot: &Snapshot, file: &Path, env: &Env) -> Result<()> {
    let failed = |source| Error::File { action: "write", path: file.to_owned(), source };
    let text = snapshot.to_json();
    let descriptor = descriptors::taken(file).map(|opened| opened.map(std::fs::File::from));
    if let Some(opened) = descriptor.or_else(|| file::open_stream(file)) {
        return opened.and_then(|mut stream| stream.write_all(text.as_bytes())).map_err(failed);
    }
    // What is misspelt is not to become a new directory.
    let above = file.parent().filter(|dir| !dir.as_os_str().is_empty());
    above.map_or(Ok(()), |dir| dir.metadata().map(drop)).map_err(failed)?;
    // As umask allows: it is made to be shared.
    file::write_over(&led_to(file, env)?, text.as_bytes(), 0o644, env.sudo()).map_err(failed)
}

/// The file that is written: what a link leads to, which stays one, if nobody else could have
/// made it.
fn led_to(file: &Path, env: &Env) -> Result<PathBuf> {
    if !file.is_symlink() {
        return Ok(file.to_owned());
    }
    if let Some(why) = flake::not_his_alone(file, env) {
        let file = printable::line(&file.to_string_lossy());
        return Err(Error::Usage(format!(
            "{why}: the file that the link {file} points to is not written"
        )));
    }
    let failed = |source| Error::File { action: "write", path: file.to_owned(), source };
    file.canonicalize().map_err(failed)
}

/// How much of everything is in it.
fn summary(snapshot: &Snapshot, clan: &Clan) -> String {
    let count = |number: usize, one: &str| {
        let many = if number == 1 { "" } else { "s" };
        format!("{number} {one}{many}")
    };
    let with_keys = snapshot.machines.values().filter(|it| !it.host_keys.is_empty()).count();
    let configured = snapshot.configured.values().flatten().count();
    let vars = snapshot.vars.values().map(|vars| vars.len()).sum();
    let sealed = match snapshot.secret_hosts.len() {
        0 => String::new(),
        number => format!(", secret hosts for {number}"),
    };
    format!(
        "{} in {}, host keys of {with_keys}, targetHost in the configuration of {configured}, \
         {}{sealed}",
        count(clan.machines().len(), "machine"),
        count(clan.networks.len(), "network"),
        count(vars, "public var"),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(machines: serde_json::Value, authorities: &[&str]) -> Snapshot {
        let mut snapshot = Snapshot::new(json!({}));
        snapshot.machines = serde_json::from_value(machines).unwrap();
        snapshot.authorities = authorities.iter().map(|&key| key.to_owned()).collect();
        snapshot
    }

    #[test]
    fn keys_that_are_gone_are_told_from_others_and_from_new_ones() {
        let old = json!({
            "same": { "host_keys": ["ssh-ed25519 A me@here"] },
            "more": { "host_keys": ["ssh-ed25519 A"] },
            "lost": { "host_keys": ["ssh-ed25519 A"] },
            "fewer": { "host_keys": ["ssh-ed25519 A", "ssh-rsa B"] },
            "other": { "host_keys": ["ssh-ed25519 A"] },
            "first": {},
            "removed": { "host_keys": ["ssh-ed25519 A"] },
        });
        let new = json!({
            "same": { "host_keys": ["ssh-ed25519  A me@there"] },
            "more": { "host_keys": ["ssh-ed25519 A", "ssh-rsa B"] },
            "lost": {},
            "fewer": { "host_keys": ["ssh-ed25519 A"] },
            "other": { "host_keys": ["ssh-ed25519 C"] },
            "first": { "host_keys": ["ssh-ed25519 A"] },
        });
        let old = of(old, &["ssh-ed25519 CA"]);
        let told = |authorities: &[&str]| lost_keys(&old, &of(new.clone(), authorities));
        let authority = "the authority of all";
        assert_eq!(
            told(&["ssh-ed25519 CA x"]),
            (vec!["lost".into()], vec!["fewer".into(), "other".into()])
        );
        assert_eq!(told(&[]).0, ["lost", authority]);
        assert_eq!(told(&["ssh-ed25519 CB"]).1, ["fewer", "other", authority]);
        assert_eq!(lost_keys(&old, &old), Default::default());
    }
}
