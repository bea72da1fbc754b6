//! Whose a socket of this computer is. Owns the reading of the kernel's tables
//! (proc(5), `/proc/net/tcp`) and whom the name of an onion service may be told:
//! root, who can read our memory anyway, tor's own account, and the user himself.
//! Anybody can listen on tor's port while tor does not run, and say what tor says.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::TcpStream;

use crate::accounts::Accounts;
use crate::printable::Printable;

/// The accounts of tor: Debian's, NixOS' and Arch's, the BSDs' and openSUSE's,
/// Fedora's.
const TOR_ACCOUNTS: [&str; 4] = ["debian-tor", "tor", "_tor", "toranon"];
/// Accounts below are the system's, and nobody's login (login.defs(5), `UID_MIN`):
/// Tor is also a name for people.
const FIRST_PERSON: u32 = 1000;
/// A table has some 150 bytes a socket; this is enough for 400,000.
const MAX_TABLE: u64 = 64 << 20;
/// The kernel's `TCP_LISTEN` (include/net/tcp_states.h).
const LISTEN: u8 = 10;

/// Whose a socket is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Owner {
    /// One who may be told an onion's name.
    Trusted,
    /// Somebody else, as he is called here, printable.
    Stranger(String),
    /// There is no such socket.
    Nobody,
    /// The system does not tell: there is no `/proc`.
    Unknown,
}

/// Whose the sockets are that take connections to `address`.
pub(super) async fn of_listener(address: SocketAddr) -> Owner {
    ask(move |socket| socket.listens(address)).await
}

/// Whose the other end of `stream` is. Right only once it has said something:
/// until somebody accepts a connection, it is nobody's.
pub(super) async fn of_peer(stream: &TcpStream) -> Owner {
    let (Ok(there), Ok(here)) = (stream.peer_addr(), stream.local_addr()) else {
        return Owner::Nobody;
    };
    ask(move |socket| socket.connects(there, here)).await
}

/// The kernel's tables may be long, and are read where waiting is allowed.
async fn ask(is_meant: impl Fn(&Socket) -> bool + Send + 'static) -> Owner {
    let asking = tokio::task::spawn_blocking(move || {
        let tables = ["tcp", "tcp6"].map(|name| File::open(format!("/proc/self/net/{name}")).ok());
        if tables.iter().all(Option::is_none) {
            return Owner::Unknown;
        }
        let tables = tables.into_iter().flatten();
        let lines = tables
            .flat_map(|table| BufReader::new(table.take(MAX_TABLE)).lines().map_while(Result::ok));
        owner(lines, is_meant, rustix::process::getuid().as_raw(), Accounts::users())
    });
    asking.await.unwrap_or(Owner::Unknown)
}

/// Whose those sockets of `lines` are that are meant: a stranger's if one is.
fn owner(
    lines: impl Iterator<Item = String>,
    is_meant: impl Fn(&Socket) -> bool,
    user: u32,
    users: &Accounts,
) -> Owner {
    let mut found = Owner::Nobody;
    for socket in lines.filter_map(|line| Socket::parse(&line)).filter(is_meant) {
        // One that nobody has accepted has no owner, which is shown as root.
        if socket.inode == 0 {
            continue;
        }
        if !is_trusted(socket.uid, user, users) {
            return Owner::Stranger(name_of(socket.uid, users));
        }
        found = Owner::Trusted;
    }
    found
}

fn is_trusted(uid: u32, user: u32, users: &Accounts) -> bool {
    let is_tor = |(name, of): (&str, u32)| of == uid && TOR_ACCOUNTS.contains(&name);
    uid == 0 || uid == user || (uid < FIRST_PERSON && users.numbered().any(is_tor))
}

fn name_of(uid: u32, users: &Accounts) -> String {
    match users.name_of(uid) {
        Some(name) => format!("user {}", Printable(name)),
        None => format!("user {uid}"),
    }
}

/// A line of the kernel's tables.
#[derive(Debug)]
struct Socket {
    local: SocketAddr,
    remote: SocketAddr,
    state: u8,
    uid: u32,
    inode: u64,
}

impl Socket {
    /// `sl local rem st tx:rx tr:when retrnsmt uid timeout inode …`; none for the
    /// headings.
    fn parse(line: &str) -> Option<Self> {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let &[_, local, remote, state, _, _, _, uid, _, inode, ..] = fields.as_slice() else {
            return None;
        };
        Some(Self {
            local: address(local)?,
            remote: address(remote)?,
            state: u8::from_str_radix(state, 16).ok()?,
            uid: uid.parse().ok()?,
            inode: inode.parse().ok()?,
        })
    }

    fn listens(&self, address: SocketAddr) -> bool {
        let (here, there) = (self.local.ip(), address.ip().to_canonical());
        // `::` usually takes IPv4 as well (ipv6(7), `IPV6_V6ONLY`).
        let takes_all = here.is_unspecified() && (here.is_ipv6() || there.is_ipv4());
        self.state == LISTEN && self.local.port() == address.port() && (takes_all || here == there)
    }

    fn connects(&self, local: SocketAddr, remote: SocketAddr) -> bool {
        let canonical = |address: SocketAddr| (address.ip().to_canonical(), address.port());
        self.state != LISTEN
            && canonical(self.local) == canonical(local)
            && canonical(self.remote) == canonical(remote)
    }
}

/// `0100007F:235A`: 32 bits of the address at a time, as a number of this
/// computer's byte order.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut octets = Vec::with_capacity(16);
    for word in ip.as_bytes().chunks(8) {
        let word = u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?;
        octets.extend(word.to_ne_bytes());
    }
    let ip = match <[u8; 4]>::try_from(octets.as_slice()) {
        Ok(four) => IpAddr::V4(Ipv4Addr::from(four)),
        Err(_) => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(octets).ok()?)),
    };
    Some(SocketAddr::new(ip.to_canonical(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n\
        debian-tor:x:102:105::/var/lib/tor:/bin/false\nalice:x:1000:1000::/home/alice:/bin/sh\n\
        tor:x:1007:1007:Tor Hansen:/home/tor:/bin/sh\nbroken\n";
    const ALICE: u32 = 1000;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// A line as the kernel prints it.
    fn line(local: &str, remote: &str, state: u8, uid: u32, inode: u64) -> String {
        let hex = |text: &str| {
            let address = at(text);
            let octets = match address.ip() {
                IpAddr::V4(ip) => ip.octets().to_vec(),
                IpAddr::V6(ip) => ip.octets().to_vec(),
            };
            let word = |word: &[u8]| u32::from_ne_bytes(word.try_into().unwrap());
            let words = octets.chunks(4).map(|four| format!("{:08X}", word(four)));
            format!("{}:{:04X}", words.collect::<String>(), address.port())
        };
        let (local, remote) = (hex(local), hex(remote));
        format!(
            "   0: {local} {remote} {state:02X} 00000000:00000000 00:00000000 00000000 \
             {uid:5}        0 {inode} 1 0000000000000000 100 0 0 10 0"
        )
    }

    fn listener(table: &[String], address: &str) -> Owner {
        let address = at(address);
        owner(
            table.iter().cloned(),
            |socket| socket.listens(address),
            ALICE,
            &Accounts::parse(PASSWD),
        )
    }

    fn stranger(name: &str) -> Owner {
        Owner::Stranger(format!("user {name}"))
    }

    #[test]
    fn a_listener_is_trusted_by_its_owner() {
        for (uid, expected) in [
            (0, Owner::Trusted),
            (102, Owner::Trusted),
            (ALICE, Owner::Trusted),
            (65534, stranger("nobody")),
            (1001, stranger("1001")),
            // A person of that name.
            (1007, stranger("tor")),
        ] {
            let table = [line("127.0.0.1:9050", "0.0.0.0:0", 10, uid, 5)];
            assert_eq!(listener(&table, "127.0.0.1:9050"), expected, "{uid}");
            assert_eq!(listener(&table, "127.0.0.1:9051"), Owner::Nobody);
            assert_eq!(listener(&table, "127.0.0.2:9050"), Owner::Nobody);
        }
    }

    #[test]
    fn every_socket_that_takes_the_connection_counts() {
        for (local, to, counts) in [
            ("0.0.0.0:9050", "127.0.0.1:9050", true),
            ("[::]:9050", "127.0.0.1:9050", true),
            ("[::ffff:127.0.0.1]:9050", "127.0.0.1:9050", true),
            ("[::1]:9050", "[::1]:9050", true),
            ("0.0.0.0:9050", "[::1]:9050", false),
            ("[::1]:9050", "127.0.0.1:9050", false),
        ] {
            let foreign = line(local, "0.0.0.0:0", 10, 65534, 6);
            let expected = if counts { stranger("nobody") } else { Owner::Nobody };
            assert_eq!(listener(std::slice::from_ref(&foreign), to), expected, "{local} {to}");
            let both = [line(to, "0.0.0.0:0", 10, 0, 5), foreign];
            let expected = if counts { stranger("nobody") } else { Owner::Trusted };
            assert_eq!(listener(&both, to), expected, "{local} {to}");
        }
    }

    #[test]
    fn the_other_end_of_a_connection_counts_once_somebody_has_accepted_it() {
        let (there, here) = ("127.0.0.1:9050", "127.0.0.1:40000");
        let of = |lines: &[String]| {
            let is_meant = |socket: &Socket| socket.connects(at(there), at(here));
            owner(lines.iter().cloned(), is_meant, ALICE, &Accounts::parse(PASSWD))
        };
        // Our own end is no proof, nor is another connection or the listener.
        let ours = line(here, there, 1, ALICE, 7);
        let other = line(there, "127.0.0.1:40001", 1, 0, 8);
        let listens = line(there, "0.0.0.0:0", 10, 0, 9);
        let rest = [ours, other, listens];
        assert_eq!(of(&rest), Owner::Nobody);
        let with = |line| of(&[&rest[..], &[line]].concat());
        assert_eq!(with(line(there, here, 1, 0, 0)), Owner::Nobody, "not accepted yet");
        assert_eq!(with(line(there, here, 1, 102, 10)), Owner::Trusted);
        assert_eq!(with(line(there, here, 1, 65534, 10)), stranger("nobody"));
    }

    #[test]
    fn rubbish_is_nobodys() {
        let lines =
            ["", "  sl  local_address rem_address   st", "a b c d e f g h i j", "0: 0:0 0:0"];
        let all =
            owner(lines.into_iter().map(str::to_owned), |_| true, ALICE, &Accounts::parse(PASSWD));
        assert_eq!(all, Owner::Nobody);
    }

    #[tokio::test]
    async fn our_own_sockets_are_ours() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = tokio::net::TcpListener::bind(address).await else { continue };
            let address = listener.local_addr().unwrap();
            assert_eq!(of_listener(address).await, Owner::Trusted);
            let stream = TcpStream::connect(address).await.unwrap();
            assert_eq!(of_peer(&stream).await, Owner::Nobody, "not accepted yet");
            let _accepted = listener.accept().await.unwrap();
            assert_eq!(of_peer(&stream).await, Owner::Trusted);
            drop(listener);
            assert_eq!(of_listener(address).await, Owner::Nobody);
        }
    }
}
