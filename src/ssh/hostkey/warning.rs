//! The words about wrong and unknown host keys. Everything that comes from a
//! file or a server is escaped here; no decision is made here.

use std::path::Path;

use russh::keys::{HashAlg, PublicKey};

use super::{HostKeyPolicy, Wording, describe, type_name};
use crate::printable::line as printable;
use crate::ssh::known_hosts::{Entry, KnownHosts, lookup_name};

/// How many lines of known_hosts are listed.
const MAX_LISTED: usize = 8;

/// The warning about a key that is not the known one: ssh(1)'s (sshconnect.c,
/// `warn_changed_key`), then what we know more.
pub(super) fn changed(
    policy: &HostKeyPolicy,
    key: &PublicKey,
    entries: &[Entry],
    other_type: bool,
) -> Vec<String> {
    let mut lines = banner("WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!");
    lines.push("IT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!".into());
    lines
        .push("Someone could be eavesdropping on you right now (man-in-the-middle attack)!".into());
    lines.push("It is also possible that a host key has just been changed.".into());
    lines.push(format!(
        "The fingerprint for the {} key sent by the remote host is",
        type_name(&key.algorithm())
    ));
    lines.push(format!("{}.", key.fingerprint(HashAlg::Sha256)));
    lines.push("Please contact your system administrator.".into());
    if policy.wording == Wording::Ssh && !policy.of_clan {
        lines.extend(offending(policy, key, entries));
        return lines;
    }
    lines.push(host(policy));
    lines.push(format!("offered: {}", describe(key)));
    for entry in entries.iter().take(MAX_LISTED) {
        lines.push(format!(
            "known:   {} key {} ({})",
            type_name(&entry.algorithm),
            entry.fingerprint,
            place(&entry.path, entry.line)
        ));
    }
    if entries.len() > MAX_LISTED {
        lines.push(format!("         and {} more", entries.len() - MAX_LISTED));
    }
    if other_type {
        lines.push(
            "only keys of other types are known; the host may have a new one, but an attacker \
             would look just the same"
                .into(),
        );
    }
    let files = || policy.files.user.iter().chain(&policy.files.global);
    let is_users = |entry: &Entry| files().any(|file| *file == entry.path);
    if policy.of_clan && policy.uncontradicted.is_some() && entries.iter().any(is_users) {
        lines.push(
            "the clan here says that it is this one, but your own files say otherwise;".into(),
        );
        lines.push(allow(policy));
        return lines;
    }
    if policy.of_clan {
        lines.push(
            "the clan has another key for this machine. If you have just reinstalled it,".into(),
        );
        lines.push(format!("connect once {} and deploy the clan's key", policy.advice.unchecked));
        return lines;
    }
    // What the user knows of others is not to go because a clan that he has not named
    // calls them its own.
    let is_meant = |entry: &&Entry| {
        policy.kept_as.as_ref().is_none_or(|(name, port)| entry.is_for(name, *port))
    };
    let entries: Vec<Entry> = entries.iter().filter(is_meant).cloned().collect();
    if entries.is_empty() {
        lines.push("your own files know the host by a name that the clan here gives it;".into());
        lines.push(allow(policy));
        return lines;
    }
    lines
        .push("if the host's administrator confirms the offered key, remove what is known:".into());
    let is_own = |entry: &Entry| policy.files.user.contains(&entry.path);
    if let Some((name, _)) = policy.identity.first().filter(|_| entries.iter().any(is_own)) {
        let machine = name.split('@').next().unwrap_or_default();
        let machine = crate::printable::argument(machine, "MACHINE");
        lines.push(format!("    clan-connect network trust remove {machine}"));
        lines.push("or, in the files themselves:".into());
    }
    lines.extend(removal(policy, &entries));
    lines
}

fn allow(policy: &HostKeyPolicy) -> String {
    format!("if the clan is right, allow it by name: {}", policy.advice.allow_clan)
}

/// Where the other key is, in the words of ssh(1) and, for the way out, of Debian's.
fn offending(policy: &HostKeyPolicy, key: &PublicKey, entries: &[Entry]) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(file) = policy.files.user.iter().chain(&policy.files.global).next() {
        let file = printable(&file.to_string_lossy());
        lines.push(format!("Add correct host key in {file} to get rid of this message."));
    }
    let same_type = entries.iter().find(|entry| entry.algorithm == key.algorithm());
    if let Some(entry) = same_type.or_else(|| entries.first()) {
        let kind = type_name(&entry.algorithm);
        lines.push(format!("Offending {kind} key in {}", place(&entry.path, entry.line)));
        let file = printable(&entry.path.to_string_lossy());
        let name = policy.names().find(|(name, port)| entry.is_for(name, *port));
        if let Some((name, port)) = name.filter(|(name, _)| may_show(policy, name)) {
            lines.push("  remove with:".into());
            let name = printable(&lookup_name(name, *port));
            lines.push(format!("  ssh-keygen -f \"{file}\" -R \"{name}\""));
        }
    }
    lines
}

/// An unknown key, where only known ones are taken.
pub(super) fn strict(policy: &HostKeyPolicy, key: &PublicKey) -> String {
    format!(
        "No {} host key is known for {} and you have requested strict checking.",
        type_name(&key.algorithm()),
        printable(&policy.titles.0)
    )
}

/// The warning about a revoked key.
pub(super) fn revoked(policy: &HostKeyPolicy, key: &PublicKey, place: &str) -> Vec<String> {
    let mut lines = banner("WARNING: REVOKED HOST KEY DETECTED!");
    lines.push(host(policy));
    lines.push(format!("offered: {}", describe(key)));
    lines.push(format!("revoked: {place}"));
    lines.push("a stolen key may be in use to impersonate this host; it is never accepted".into());
    lines
}

/// What to ask about an unknown key: ssh(1)'s words, which programs look for,
/// without a newline at the end (sshconnect.c, `check_host_key`).
pub(super) fn question(policy: &HostKeyPolicy, known: &KnownHosts, key: &PublicKey) -> String {
    let (host, address) = (printable(&policy.titles.0), printable(&policy.titles.1));
    let mut lines = vec![
        format!("The authenticity of host '{host} ({address})' can't be established."),
        format!(
            "{} key fingerprint is {}.",
            type_name(&key.algorithm()),
            key.fingerprint(HashAlg::Sha256)
        ),
    ];
    let elsewhere = known.other_names(key);
    if elsewhere.is_empty() {
        lines.push("This key is not known by any other names.".into());
    } else {
        lines.push("This host key is known by the following other names/addresses:".into());
        for entry in elsewhere.iter().take(MAX_LISTED) {
            let home = policy.files.home.as_deref();
            let place = in_home(&place(&entry.path, entry.line), home);
            lines.push(format!("    {place}: {}", printable(&entry.names)));
        }
        if elsewhere.len() > MAX_LISTED {
            let more = elsewhere.len() - MAX_LISTED;
            lines.push(format!("    ({more} additional names omitted)"));
        }
    }
    lines.push("Are you sure you want to continue connecting (yes/no/[fingerprint])? ".into());
    lines.join("\n")
}

/// A path with `~` for the home directory, as ssh(1) shows some.
fn in_home(path: &str, home: Option<&Path>) -> String {
    let home = home.and_then(Path::to_str).unwrap_or_default().trim_end_matches('/');
    match path.strip_prefix(home) {
        Some(rest) if !home.is_empty() && rest.starts_with('/') => format!("~{rest}"),
        _ => path.to_owned(),
    }
}

/// `FILE:LINE` of the entries, for one sentence.
pub(super) fn places(entries: &[Entry]) -> String {
    let mut places: Vec<String> =
        entries.iter().take(MAX_LISTED).map(|entry| place(&entry.path, entry.line)).collect();
    if entries.len() > MAX_LISTED {
        places.push("…".into());
    }
    places.join(", ")
}

fn banner(text: &str) -> Vec<String> {
    let edge = "@".repeat(59);
    vec![edge.clone(), format!("@{text:^57}@"), edge]
}

fn host(policy: &HostKeyPolicy) -> String {
    let shown = printable(&policy.shown);
    format!("host:    {shown}")
}

/// `FILE:LINE`, printable.
pub(super) fn place(path: &Path, line: usize) -> String {
    format!("{}:{line}", printable(&path.to_string_lossy()))
}

/// Whether a name may be seen: the machine's own always, an address of it unless it
/// is secret and so has a placeholder in `shown`.
fn may_show(policy: &HostKeyPolicy, name: &str) -> bool {
    policy.shown.to_ascii_lowercase().contains(&name.to_ascii_lowercase())
        || policy.identity.iter().any(|(known, _)| known == name)
}

/// How to forget what is known, with ssh-keygen(1) and without.
fn removal(policy: &HostKeyPolicy, entries: &[Entry]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut paths: Vec<&Path> = Vec::new();
    for entry in entries {
        if !paths.contains(&entry.path.as_path()) {
            paths.push(&entry.path);
        }
    }
    for path in paths {
        let file = quoted(&path.to_string_lossy());
        let of_path = || entries.iter().filter(move |entry| entry.path == path);
        let names = policy.names().filter(|(name, port)| {
            may_show(policy, name) && of_path().any(|entry| entry.is_for(name, *port))
        });
        let names: Vec<String> =
            names.map(|(name, port)| quoted(&lookup_name(name, *port))).collect();
        lines.extend(names.iter().map(|name| format!("    ssh-keygen -f {file} -R {name}")));
        let mut numbers: Vec<String> =
            of_path().take(MAX_LISTED).map(|entry| entry.line.to_string()).collect();
        // From the end, so that the other numbers stay right.
        numbers.reverse();
        lines.push(format!(
            "    {} line {} of {file}",
            if names.is_empty() { "delete" } else { "or without ssh-keygen, delete" },
            numbers.join(", ")
        ));
    }
    lines
}

/// `text` as one word of a shell, escaped for the terminal.
fn quoted(text: &str) -> String {
    format!("'{}'", printable(&text.replace('\'', r"'\''")))
}
