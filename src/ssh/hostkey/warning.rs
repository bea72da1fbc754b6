//! The words about wrong and unknown host keys. Everything that comes from a
//! file or a server is escaped here; no decision is made here.

use std::path::Path;

use russh::keys::PublicKey;

use super::{HostKeyPolicy, describe, type_name};
use crate::printable::line as printable;
use crate::ssh::known_hosts::{Entry, KnownHosts, lookup_name};

/// How many lines of known_hosts are listed.
const MAX_LISTED: usize = 8;

/// The warning about a key that is not the known one.
pub(super) fn changed(
    policy: &HostKeyPolicy,
    key: &PublicKey,
    entries: &[Entry],
    other_type: bool,
) -> Vec<String> {
    let mut lines = banner("WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!");
    lines.push("IT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!".into());
    lines.push(
        "somebody may be between you and the host and read along; or its key was really changed"
            .into(),
    );
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
    if policy.uncontradicted.is_some() {
        lines.push(
            "the clan here says that it is this one, but your own files say otherwise;".into(),
        );
        lines.push(
            "if the clan is right, allow it by name: clan-connect trust-clan, or --flake".into(),
        );
        lines.push("DIR; or remove what is known:".into());
        lines.extend(removal(policy, entries));
        return lines;
    }
    if policy.of_clan {
        lines.push(
            "the clan itself says which key this machine has; if it was just installed".into(),
        );
        lines.push("anew, deploy its own key to it: once with --host-key-check none".into());
        return lines;
    }
    lines
        .push("if the host's administrator confirms the offered key, remove what is known:".into());
    lines.extend(removal(policy, entries));
    lines
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

/// What to ask about an unknown key, without a newline at the end.
pub(super) fn question(policy: &HostKeyPolicy, known: &KnownHosts, key: &PublicKey) -> String {
    let shown = printable(&policy.shown);
    let mut lines = vec![
        format!("the host key of {shown} is not known, so it may be another host"),
        format!("offered: {}", describe(key)),
    ];
    let elsewhere = known.other_names(key);
    if elsewhere.is_empty() {
        lines.push("this key is not known by any other name".into());
    } else {
        lines.push("this key is known by other names:".into());
        for entry in elsewhere.iter().take(MAX_LISTED) {
            lines.push(format!(
                "    {} ({})",
                printable(&entry.names),
                place(&entry.path, entry.line)
            ));
        }
        if elsewhere.len() > MAX_LISTED {
            lines.push(format!("    and {} more", elsewhere.len() - MAX_LISTED));
        }
    }
    lines.push("trust it and go on (yes/no/[fingerprint])? ".into());
    lines.join("\n")
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

/// How to forget what is known, with ssh-keygen(1) and without.
fn removal(policy: &HostKeyPolicy, entries: &[Entry]) -> Vec<String> {
    // A secret host has a placeholder in `shown`, and is not to be seen here.
    let may_show_name =
        policy.shown.to_ascii_lowercase().contains(&policy.name.to_ascii_lowercase());
    let mut lines = Vec::new();
    let mut paths: Vec<&Path> = Vec::new();
    for entry in entries {
        if !paths.contains(&entry.path.as_path()) {
            paths.push(&entry.path);
        }
    }
    for path in paths {
        let file = quoted(&path.to_string_lossy());
        if may_show_name {
            lines.push(format!(
                "    ssh-keygen -f {file} -R {}",
                quoted(&lookup_name(&policy.name, policy.port))
            ));
        }
        let mut numbers: Vec<String> = entries
            .iter()
            .filter(|entry| entry.path == path)
            .take(MAX_LISTED)
            .map(|entry| entry.line.to_string())
            .collect();
        // From the end, so that the other numbers stay right.
        numbers.reverse();
        lines.push(format!(
            "    {} line {} of {file}",
            if may_show_name { "or without ssh-keygen, delete" } else { "delete" },
            numbers.join(", ")
        ));
    }
    lines
}

/// `text` as one word of a shell, escaped for the terminal.
fn quoted(text: &str) -> String {
    format!("'{}'", printable(&text.replace('\'', r"'\''")))
}
