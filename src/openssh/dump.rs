//! `ssh -G` and `ssh -Q`: what applies, and what there is, in OpenSSH's format.
//! The lists of algorithms are our own, because they are what really applies.

use std::fmt::Write;

use super::Resolved;
use crate::encoding;
use crate::error::Result;
use crate::options::{Row, Shown, TABLE};
use crate::ssh::algorithms::{Algorithms, List, key_types, signatures};

/// Key exchanges that we have and OpenSSH does not. Scripts hand what `-Q` prints to
/// sshd, which refuses what it does not know.
const NOT_OPENSSHS: [&str; 2] = ["diffie-hellman-group15-sha512", "diffie-hellman-group17-sha512"];

/// `ssh -G`.
///
/// # Errors
/// [`crate::Error::OptionValue`] naming a value that cannot be expanded.
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
    let algorithms = resolved.options.algorithms_as_ssh();
    for row in TABLE {
        let keyword = row.name.to_ascii_lowercase();
        if let Shown::Algorithms(list) = row.facts.shown {
            line(&keyword, &algorithms.list(list).join(","));
            continue;
        }
        if let Shown::Hostbased = row.facts.shown {
            line(&keyword, &resolved.options.hostbased_algorithms());
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
            Shown::Files => self.file_name(&word).map(encoding::of_os),
            Shown::Expanded => self.expanded(&word),
            Shown::LowerCase => Ok(word.to_ascii_lowercase()),
            Shown::Environment => match word.split_once('=') {
                Some((name, value)) => Ok(format!("{name}={}", self.path(value)?)),
                None => Ok(word),
            },
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

/// `ssh -Q`: one name a line; `None` for kinds that nobody knows. Names of options are
/// taken for what they list (ssh.c).
pub fn query(kind: &str) -> Option<String> {
    let of_keys = |wanted: &dyn Fn(&str) -> bool, with_signatures: bool| {
        let more: &[&str] = if with_signatures { signatures() } else { &[] };
        let names = key_types().iter().chain(more).copied();
        names.filter(|name| wanted(name)).collect::<Vec<_>>()
    };
    let (any, is_certificate) = (|_: &str| true, |name: &str| name.contains("-cert-"));
    let is_plain = |name: &str| !is_certificate(name);
    let names = match kind.to_ascii_lowercase().as_str() {
        "kex" | "kexalgorithms" => {
            let all = Algorithms::known(List::Kex).into_iter();
            all.filter(|name| !NOT_OPENSSHS.contains(name)).collect()
        }
        "cipher" | "ciphers" => Algorithms::known(List::Ciphers),
        "cipher-auth" => {
            let all = Algorithms::known(List::Ciphers).into_iter();
            all.filter(|name| name.contains("-gcm@") || name.contains("-poly1305@")).collect()
        }
        "mac" | "macs" => Algorithms::known(List::Macs),
        "key" => of_keys(&any, false),
        "key-cert" => of_keys(&is_certificate, false),
        "key-plain" => of_keys(&is_plain, false),
        "key-ca-sign" | "casignaturealgorithms" => Algorithms::known(List::CaSignatures),
        "key-sig"
        | "hostkeyalgorithms"
        | "pubkeyacceptedalgorithms"
        | "pubkeyacceptedkeytypes"
        | "hostbasedacceptedalgorithms"
        | "hostbasedkeytypes" => of_keys(&any, true),
        "sig" => of_keys(&is_plain, true),
        "compression" => vec!["none", "zlib@openssh.com", "zlib"],
        "protocol-version" => vec!["2"],
        "help" => vec![
            "cipher",
            "cipher-auth",
            "compression",
            "kex",
            "key",
            "key-ca-sign",
            "key-cert",
            "key-plain",
            "key-sig",
            "mac",
            "protocol-version",
            "sig",
        ],
        _ => return None,
    };
    Some(names.into_iter().map(|name| format!("{name}\n")).collect())
}
