//! What is told of a connection to those who ask on this side (`ssh -O conninfo`, `-O
//! channels`, `~I`, `~#`): lines as OpenSSH's packet.c and channels.c have them, and who
//! is logged in where. Nothing in it is secret, and all of it is printable.

use std::net::SocketAddr;

use russh::Names;
use russh::compression::Compression;

use super::{Session, lock};
use crate::host_name;
use crate::printable::Printable;

/// Bytes of channels that are listed: a master's answer is one message.
const MOST: usize = 128 << 10;

/// What is known of a connection beside its session.
#[derive(Debug, Clone, Default)]
pub struct ConnectionInfo {
    /// Who is logged in.
    pub user: String,
    /// The host, as it may be shown.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The network that leads there, if it has a name.
    pub network: Option<String>,
    /// Our own end, where the stream has one that is an address.
    pub local: Option<SocketAddr>,
    /// The server's identification.
    pub identification: String,
}

/// What the two sides have agreed on in the last key exchange.
#[derive(Debug, Clone, Default)]
pub(super) struct Agreed {
    kex: String,
    host_key: String,
    cipher: String,
    mac: String,
    compression: String,
}

impl Agreed {
    pub(super) fn new(names: &Names, has_certificate: bool) -> Self {
        let cipher = names.cipher.as_ref();
        // These have their own (PROTOCOL.chacha20poly1305, RFC 5647).
        let has_mac = !["poly1305", "gcm"].iter().any(|own| cipher.contains(own));
        let (to, from) = (names.client_mac.as_ref(), names.server_mac.as_ref());
        let (packed_to, packed_from) = (&names.client_compression, &names.server_compression);
        Self {
            kex: names.kex.as_ref().to_owned(),
            host_key: match has_certificate {
                true => names.key.to_certificate_type().to_owned(),
                false => names.key.as_str().to_owned(),
            },
            cipher: cipher.to_owned(),
            mac: if has_mac { both(from, to) } else { "<implicit>".to_owned() },
            compression: both(compression(packed_from), compression(packed_to)),
        }
    }
}

fn compression(compression: &Compression) -> &'static str {
    match compression {
        Compression::None => "none",
        Compression::Zlib => "zlib",
        Compression::ZlibOpenSSH => "zlib@openssh.com",
    }
}

/// What is the same for both directions, as a rule.
fn both(received: &str, sent: &str) -> String {
    match received == sent {
        true => received.to_owned(),
        false => format!("{received} in, {sent} out"),
    }
}

impl ConnectionInfo {
    /// What `-O conninfo` shows, with the ends of lines that a raw terminal needs.
    pub fn text(&self, session: &Session) -> String {
        let Self { user, host, port, network, local, identification } = self;
        let here = host_name::own().unwrap_or_else(|| "this host".to_owned());
        let mut lines = vec![
            format!("Connection information for {} pid {}", Printable(&here), std::process::id()),
            format!("  user {}", Printable(user)),
            format!("  host {} port {port}", Printable(host)),
        ];
        lines.extend(network.as_ref().map(|network| format!("  network {}", Printable(network))));
        if let (Some(local), Some((peer, port))) = (local, &session.policy.peer) {
            let (ip, own) = (local.ip().to_canonical(), local.port());
            lines.push(format!("  tcp {ip}:{own} -> {}:{port}", Printable(peer)));
        }
        let Agreed { kex, host_key, cipher, mac, compression } = &*lock(&session.told.agreed);
        lines.push(format!("  software {}", Printable(software(identification))));
        lines.push(format!("  kexalgorithm {kex}"));
        lines.push(format!("  hostkeyalgorithm {host_key}"));
        lines.push(format!("  cipher {cipher}"));
        lines.push(format!("  mac {mac}"));
        lines.push(format!("  compression {compression}"));
        let [received, sent] = session.traffic.counts().map(scaled);
        lines.push(format!("  traffic {received} in, {sent} out"));
        lines.into_iter().map(|line| line + "\r\n").collect()
    }
}

impl Session {
    /// What `-O channels` and `~#` show.
    pub fn channels_text(&self) -> String {
        let mut text = "The following connections are open:\r\n".to_owned();
        for (number, what) in self.leases.all() {
            if text.len() > MOST {
                text.push_str("  …\r\n");
                break;
            }
            text.push_str(&format!("  #{number} {}\r\n", Printable(&what)));
        }
        text
    }
}

/// The software of an identification (RFC 4253, section 4.2).
fn software(identification: &str) -> &str {
    let rest = identification.strip_prefix("SSH-").unwrap_or(identification);
    rest.split_once('-').map_or(rest, |(_, software)| software)
}

/// A size for people.
fn scaled(bytes: u64) -> String {
    let mut unit = "";
    let mut whole = bytes;
    let mut tenths = 0;
    for next in ["K", "M", "G", "T", "P"] {
        if whole < 1024 {
            break;
        }
        tenths = whole % 1024 * 10 / 1024;
        whole /= 1024;
        unit = next;
    }
    match unit {
        "" => format!("{whole}B"),
        unit => format!("{whole}.{tenths}{unit}B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        for (bytes, expected) in
            [(0, "0B"), (1023, "1023B"), (1024, "1.0KB"), (1536, "1.5KB"), (5 << 30, "5.0GB")]
        {
            assert_eq!(scaled(bytes), expected);
        }
        assert!(scaled(u64::MAX).ends_with("PB"));
    }

    #[test]
    fn software_is_what_follows_the_version() {
        assert_eq!(software("SSH-2.0-OpenSSH_9.2p1 Debian-2"), "OpenSSH_9.2p1 Debian-2");
        assert_eq!(software("what"), "what");
    }

    #[test]
    fn what_differs_by_direction_is_said_of_both() {
        assert_eq!(both("a", "a"), "a");
        assert_eq!(both("a", "b"), "a in, b out");
    }
}
