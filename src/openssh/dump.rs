//! `ssh -G` and `ssh -Q`: what applies, and what there is, in OpenSSH's format.
//! The lists of algorithms are our own, because they are what really applies.

use std::fmt::Write;
use std::path::PathBuf;

use super::forwards::is_path;
use super::{DEFAULT_IDENTITIES, Resolved, variable};
use crate::error::Result;
use crate::ssh::algorithms::Algorithms;
use crate::ssh_config::Setting;

/// In OpenSSH's order, with what applies where nothing is said.
const DEFAULTS: [(&str, &str); 65] = [
    ("addressfamily", "any"),
    ("batchmode", "no"),
    ("canonicalizefallbacklocal", "yes"),
    ("canonicalizehostname", "false"),
    ("checkhostip", "no"),
    ("compression", "no"),
    ("controlmaster", "false"),
    ("enablesshkeysign", "no"),
    ("clearallforwardings", "no"),
    ("exitonforwardfailure", "no"),
    ("fingerprinthash", "SHA256"),
    ("forwardx11", "no"),
    ("forwardx11trusted", "no"),
    ("gatewayports", "no"),
    ("hashknownhosts", "no"),
    ("hostbasedauthentication", "no"),
    ("identitiesonly", "no"),
    ("kbdinteractiveauthentication", "yes"),
    ("nohostauthenticationforlocalhost", "no"),
    ("passwordauthentication", "yes"),
    ("permitlocalcommand", "no"),
    ("proxyusefdpass", "no"),
    ("pubkeyauthentication", "true"),
    ("requesttty", "auto"),
    ("sessiontype", "default"),
    ("stdinnull", "no"),
    ("forkafterauthentication", "no"),
    ("streamlocalbindunlink", "no"),
    ("stricthostkeychecking", "ask"),
    ("tcpkeepalive", "yes"),
    ("tunnel", "false"),
    ("verifyhostkeydns", "false"),
    ("visualhostkey", "no"),
    ("updatehostkeys", "true"),
    ("enableescapecommandline", "no"),
    ("canonicalizemaxdots", "1"),
    ("connectionattempts", "1"),
    ("forwardx11timeout", "1200"),
    ("numberofpasswordprompts", "3"),
    ("serveralivecountmax", "3"),
    ("serveraliveinterval", "0"),
    ("requiredrsasize", "2048"),
    ("bindaddress", ""),
    ("bindinterface", ""),
    ("controlpath", ""),
    ("hostkeyalias", ""),
    ("identityagent", ""),
    ("ignoreunknown", ""),
    ("kbdinteractivedevices", ""),
    ("knownhostscommand", ""),
    ("localcommand", ""),
    ("remotecommand", ""),
    ("loglevel", "INFO"),
    ("pkcs11provider", ""),
    ("preferredauthentications", ""),
    ("revokedhostkeys", ""),
    ("addkeystoagent", "false"),
    ("forwardagent", "no"),
    ("connecttimeout", "none"),
    ("tunneldevice", "any:any"),
    ("controlpersist", "no"),
    ("escapechar", "~"),
    ("rekeylimit", "0 0"),
    ("streamlocalbindmask", "0177"),
    ("syslogfacility", "USER"),
];

/// Options that print `yes` and `no` as `true` and `false`.
const MULTISTATE: [&str; 9] = [
    "addkeystoagent",
    "canonicalizehostname",
    "controlmaster",
    "pubkeyauthentication",
    "stricthostkeychecking",
    "tunnel",
    "updatehostkeys",
    "verifyhostkeydns",
    "requesttty",
];

/// `ssh -G`.
///
/// # Errors
/// [`crate::Error::Usage`] naming a value that cannot be expanded.
pub fn dump(resolved: &Resolved) -> Result<String> {
    let config = &resolved.config;
    let mut text = String::new();
    // Writing to a String cannot fail.
    let mut line = |keyword: &str, value: &str| {
        let _ = writeln!(text, "{keyword} {value}");
    };
    line("host", &resolved.original_host);
    line("user", &resolved.user);
    line("hostname", &resolved.host_name);
    line("port", &resolved.port.to_string());
    for (keyword, default) in DEFAULTS {
        // Files of the user's own are left as they are.
        let is_own = keyword == "updatehostkeys"
            && (config.get("userknownhostsfile").is_some()
                || config.flag("verifyhostkeydns", false).unwrap_or(true));
        let value = match config.get(keyword) {
            None if is_own => "false".to_owned(),
            Some(setting) => shown(keyword, &expanded(resolved, keyword, setting)?),
            None => default.to_owned(),
        };
        if !value.is_empty() {
            line(keyword, &value);
        }
    }
    let mut algorithms = Algorithms::default();
    for keyword in Algorithms::LISTS {
        if let Some(setting) = config.get(keyword) {
            let _ = algorithms.set(keyword, setting.value());
        }
        line(keyword, &algorithms.list(keyword).join(","));
    }
    let clears = config.flag("clearallforwardings", false).unwrap_or(false);
    for keyword in ["dynamicforward", "localforward", "remoteforward"] {
        for setting in config.all(keyword).filter(|_| !clears) {
            let ends = setting.args.iter().map(|end| resolved.end(end).map(bracketed));
            line(keyword, &ends.collect::<Result<Vec<_>>>()?.join(" "));
        }
    }
    if config.get("identityfile").is_none() {
        for name in DEFAULT_IDENTITIES {
            line("identityfile", &format!("~/.ssh/{name}"));
        }
    }
    for keyword in ["identityfile", "certificatefile"] {
        for setting in config.all(keyword) {
            line(keyword, setting.value());
        }
    }
    for (keyword, default) in [
        ("globalknownhostsfile", "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"),
        ("userknownhostsfile", "~/.ssh/known_hosts ~/.ssh/known_hosts2"),
    ] {
        let files = config.get(keyword).map(|setting| setting.args.clone());
        let files = files.unwrap_or_else(|| default.split(' ').map(str::to_owned).collect());
        // Those of the system are taken as they are.
        let files = files.iter().map(|file| match keyword {
            "userknownhostsfile" => resolved.file(file).map(|file| file.display().to_string()),
            _ => Ok(file.to_owned()),
        });
        line(keyword, &files.collect::<Result<Vec<_>>>()?.join(" "));
    }
    for (keyword, default) in [
        ("canonicaldomains", "none"),
        ("canonicalizepermittedcnames", "none"),
        ("permitremoteopen", "any"),
    ] {
        let value = config.get(keyword).map(|setting| setting.args.join(" "));
        line(keyword, &value.unwrap_or_else(|| default.to_owned()));
    }
    for keyword in ["sendenv", "setenv"] {
        for setting in config.all(keyword) {
            for value in &setting.args {
                line(keyword, value);
            }
        }
    }
    let jumps = resolved.jumps();
    if jumps.is_empty() {
        if let Some(setting) = config.get("proxycommand") {
            line("proxycommand", setting.value());
        }
    } else {
        line("proxyjump", &jumps.join(","));
    }
    Ok(text)
}

/// What OpenSSH has replaced by the time it prints a value.
fn expanded(resolved: &Resolved, keyword: &str, setting: &Setting) -> Result<String> {
    let value = setting.args.join(" ");
    let shown = |path: PathBuf| path.display().to_string();
    match (keyword, value.as_str()) {
        ("controlpath" | "remotecommand", "none") => Ok(String::new()),
        ("identityagent", "none" | "SSH_AUTH_SOCK") | ("forwardagent", "yes" | "no") => Ok(value),
        ("identityagent" | "forwardagent", name) if variable(name).is_some() => Ok(value),
        ("controlpath" | "identityagent" | "forwardagent", file) => resolved.file(file).map(shown),
        ("remotecommand", command) => resolved.expand(command),
        _ => Ok(value),
    }
}

fn shown(keyword: &str, value: &str) -> String {
    let lower = value.to_ascii_lowercase();
    match (lower.as_str(), MULTISTATE.contains(&keyword)) {
        ("yes" | "true", true) => "true".to_owned(),
        ("no" | "false", true) => "false".to_owned(),
        ("true", false) => "yes".to_owned(),
        ("false", false) => "no".to_owned(),
        ("auto" | "ask" | "any" | "inet" | "inet6" | "force" | "accept-new" | "none", _) => lower,
        _ => value.to_owned(),
    }
}

/// `[address]:port`, as ssh(1) prints it; a port alone stays one.
fn bracketed(end: String) -> String {
    match end.rsplit_once(':') {
        Some((address, port)) if !end.starts_with('[') && !is_path(&end) => {
            format!("[{address}]:{port}")
        }
        _ => end,
    }
}

/// `ssh -Q`: one name a line; `None` for kinds that nobody knows.
pub fn query(kind: &str) -> Option<String> {
    let kind = kind.to_ascii_lowercase();
    let keyword = match kind.as_str() {
        "kex" | "kexalgorithms" => "kexalgorithms",
        "cipher" | "ciphers" | "cipher-auth" => "ciphers",
        "mac" | "macs" => "macs",
        "key" | "key-plain" | "key-sig" | "hostkeyalgorithms" | "pubkeyacceptedalgorithms" => {
            "hostkeyalgorithms"
        }
        "key-ca-sign" | "casignaturealgorithms" => "casignaturealgorithms",
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
        Algorithms::known(keyword).into_iter().map(|name| format!("{name}\n")).collect();
    Some(names.concat())
}
