//! Ports by the names of their services (services(5)). Owns that file's format.

use std::path::Path;

use crate::file;

/// Bound on the file, in bytes.
const MAX_FILE: u64 = 4 << 20;

/// A port as OpenSSH reads one (misc.c, `a2port`): a number, or the name of a service
/// over TCP. Blocks for as long as a small file takes.
pub(crate) fn port(text: &str) -> Option<u16> {
    // u16's own parser takes a leading `+`.
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok();
    }
    let file = file::read(Path::new("/etc/services"), MAX_FILE).ok()?;
    lookup(&String::from_utf8_lossy(&file), text)
}

fn lookup(services: &str, name: &str) -> Option<u16> {
    services.lines().find_map(|line| {
        let mut words = line.split('#').next()?.split_whitespace();
        let first = words.next()?;
        let (port, protocol) = words.next()?.split_once('/')?;
        let is_it = first == name || words.any(|alias| alias == name);
        (is_it && protocol == "tcp").then(|| port.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_its_port_over_tcp() {
        let file = "# x\nssh\t22/tcp\t\t# SSH\ndomain 53/tcp\ndomain 53/udp\n\
                    http 80/tcp www www-http\ntftp 69/udp\nbroken\nodd x/tcp\n";
        for (name, found) in [
            ("ssh", Some(22)),
            ("domain", Some(53)),
            ("www", Some(80)),
            ("tftp", None),
            ("SSH", None),
            ("odd", None),
            ("x", None),
            ("#", None),
        ] {
            assert_eq!(lookup(file, name), found, "{name}");
        }
        for (text, found) in [("22", Some(22)), ("0", Some(0)), ("70000", None), ("", None)] {
            assert_eq!(port(text), found, "{text}");
        }
        assert_eq!(port("+1"), None);
    }
}
