//! `ssh -G` and `ssh -Q`: what applies, and what there is, in OpenSSH's format.
//! The lists of algorithms are our own, because they are what really applies.

use std::fmt::Write;

use super::Resolved;
use crate::error::Result;
use crate::options::{Row, Shown, TABLE};
use crate::ssh::algorithms::{Algorithms, List};

/// `ssh -G`.
///
/// # Errors
/// [`crate::Error::Usage`] naming a value that cannot be expanded.
pub fn dump(resolved: &Resolved) -> Result<String> {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let mut line = |keyword: &str, value: &str| {
        let _ = writeln!(text, "{keyword} {value}");
    };
    line("host", &resolved.original_host);
    line("user", &resolved.user);
    line("hostname", &resolved.host_name);
    line("port", &resolved.port.to_string());
    let algorithms = resolved.options.algorithms();
    for row in TABLE {
        let keyword = row.name.to_ascii_lowercase();
        if let Shown::Algorithms(list) = row.facts.shown {
            line(&keyword, &algorithms.list(list).join(","));
            continue;
        }
        for words in resolved.shown(row)? {
            line(&keyword, &words);
        }
    }
    Ok(text)
}

impl Resolved {
    /// The lines for one option, as OpenSSH has them by the time it prints them.
    fn shown(&self, row: &Row) -> Result<Vec<String>> {
        let lines = match row.facts.shown {
            Shown::Ends if self.options.clear_all_forwardings() => Vec::new(),
            _ => self.options.shown(row),
        };
        let word = |word: String| match row.facts.shown {
            Shown::Files => self.file_name(&word).map(|file| file.display().to_string()),
            Shown::Expanded => self.expanded(&word),
            // A host may be `fe80::1%eth0`.
            Shown::Ends if word.contains('/') => self.path(&word),
            _ => Ok(word),
        };
        let line = |words: Vec<String>| {
            Ok(words.into_iter().map(word).collect::<Result<Vec<_>>>()?.join(" "))
        };
        match row.facts.shown {
            Shown::Never => Ok(Vec::new()),
            _ => lines.into_iter().map(line).collect(),
        }
    }
}

/// `ssh -Q`: one name a line; `None` for kinds that nobody knows.
pub fn query(kind: &str) -> Option<String> {
    let kind = kind.to_ascii_lowercase();
    let list = match kind.as_str() {
        "kex" | "kexalgorithms" => List::Kex,
        "cipher" | "ciphers" | "cipher-auth" => List::Ciphers,
        "mac" | "macs" => List::Macs,
        "key" | "key-plain" | "key-sig" | "hostkeyalgorithms" | "pubkeyacceptedalgorithms" => {
            List::HostKeys
        }
        "key-ca-sign" | "casignaturealgorithms" => List::CaSignatures,
        "compression" => return Some("none\nzlib@openssh.com\nzlib\n".to_owned()),
        "protocol-version" => return Some("2\n".to_owned()),
        "help" => {
            return Some(
                "cipher\nkex\nmac\nkey\nkey-ca-sign\ncompression\nprotocol-version\n".to_owned(),
            );
        }
        _ => return None,
    };
    let names: Vec<String> =
        Algorithms::known(list).into_iter().map(|name| format!("{name}\n")).collect();
    Some(names.concat())
}
