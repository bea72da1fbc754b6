//! The grammar of forwards: LocalForward, RemoteForward, DynamicForward, the letters
//! for them, and PermitRemoteOpen. Owns their addresses; opens nothing.

use super::slot::{Arity, Value, first};
use super::value::Template;
use crate::encoding;
use crate::services;
use crate::ssh::forward::ForwardTarget;

/// Where connections come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listener {
    /// At a Unix socket, in whose name tokens count.
    Socket(Template),
    /// At an address, if one is named, and a port; 0 lets the system choose.
    Tcp(Option<String>, u16),
}

/// Where they lead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leads {
    /// To a Unix socket, in whose name tokens count.
    Socket(Template),
    /// To a port of a host. There are no tokens: it may be `fe80::1%eth0`.
    Tcp(String, u16),
    /// Wherever the client says, by SOCKS.
    Anywhere,
}

/// `LocalForward`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalForward(pub Listener, pub Leads);

/// `RemoteForward`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteForward(pub Listener, pub Leads);

/// `DynamicForward`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DynamicForward(pub Listener);

/// What is said of all that is none.
const BAD: &str = "Bad forwarding specification.";

impl Listener {
    /// `[address:]port`, or a path, where clients come in here. There is no port to
    /// find out where nobody says which (`parse_forward` of OpenSSH's readconf.c).
    fn here(text: &[String]) -> Option<Self> {
        Self::of(text).filter(|listener| !matches!(listener, Self::Tcp(_, 0)))
    }

    /// The same on the server, who says which port it is.
    fn of(fields: &[String]) -> Option<Self> {
        let port = services::port;
        match fields {
            [path] if is_path(path) => Some(Self::Socket(Template::new(path))),
            [one] => Some(Self::Tcp(None, port(one)?)),
            [address, number] => Some(Self::Tcp(Some(bare(address).to_owned()), port(number)?)),
            _ => None,
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Socket(path) => path.written().to_owned(),
            Self::Tcp(None, port) => port.to_string(),
            Self::Tcp(Some(address), port) => format!("[{address}]:{port}"),
        }
    }
}

impl Leads {
    /// `host:port`, or a path.
    fn of(fields: &[String]) -> Option<Self> {
        match fields {
            [path] if is_path(path) => Some(Self::Socket(Template::new(path))),
            [host, port] if !host.is_empty() => {
                let port = services::port(port).filter(|port| *port > 0)?;
                Some(Self::Tcp(bare(host).to_owned(), port))
            }
            _ => None,
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Socket(path) => path.written().to_owned(),
            Self::Tcp(host, port) => format!("[{host}]:{port}"),
            Self::Anywhere => "[socks]:0".to_owned(),
        }
    }
}

impl LocalForward {
    /// `-L`.
    pub fn of_letter(text: &str) -> Option<Self> {
        let (listen, to) = split('L', text)?;
        Some(Self(Listener::here(&listen)?, Leads::of(&to?)?))
    }
}

impl RemoteForward {
    /// `-R`.
    pub fn of_letter(text: &str) -> Option<Self> {
        let (listen, to) = split('R', text)?;
        let to = to.map_or(Some(Leads::Anywhere), |to| Leads::of(&to))?;
        Some(Self(Listener::of(&listen)?, to))
    }
}

impl Value for LocalForward {
    const ARITY: Arity = Arity::Two;

    fn parse(words: &[String]) -> Result<Self, String> {
        let [listen, to] = words else { return Err("Missing target argument.".to_owned()) };
        let both = || Some(Self(Listener::here(&fields(listen)?)?, Leads::of(&fields(to)?)?));
        both().ok_or_else(|| BAD.to_owned())
    }

    fn words(&self) -> Vec<String> {
        vec![self.0.shown(), self.1.shown()]
    }
}

impl Value for RemoteForward {
    const ARITY: Arity = Arity::Two;

    fn parse(words: &[String]) -> Result<Self, String> {
        let both = || match words {
            [listen] => Some(Self(Listener::of(&fields(listen)?)?, Leads::Anywhere)),
            [listen, to] => Some(Self(Listener::of(&fields(listen)?)?, Leads::of(&fields(to)?)?)),
            _ => None,
        };
        both().ok_or_else(|| BAD.to_owned())
    }

    fn words(&self) -> Vec<String> {
        vec![self.0.shown(), self.1.shown()]
    }

    fn said(&self) -> Vec<String> {
        match &self.1 {
            Leads::Anywhere => vec![self.0.shown()],
            _ => self.words(),
        }
    }
}

impl Value for DynamicForward {
    fn parse(words: &[String]) -> Result<Self, String> {
        let listener = || Listener::here(&fields(first(words))?);
        listener().map(Self).ok_or_else(|| BAD.to_owned())
    }

    fn words(&self) -> Vec<String> {
        vec![self.0.shown()]
    }
}

/// Hosts and ports where the server's clients may go by SOCKS, of which either may
/// be any; everything when `None` (`PermitRemoteOpen`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Permitted(Option<Vec<(Option<String>, Option<u16>)>>);

impl Permitted {
    /// Whether a client may go there.
    pub fn has(&self, host: &str, port: u16) -> bool {
        let Some(all) = &self.0 else { return true };
        all.iter().any(|(known, number)| {
            known.as_deref().is_none_or(|known| known == host)
                && number.is_none_or(|number| number == port)
        })
    }
}

impl Value for Permitted {
    const ARITY: Arity = Arity::Some;

    fn parse(words: &[String]) -> Result<Self, String> {
        match words {
            [word] if word.eq_ignore_ascii_case("any") => return Ok(Self(None)),
            [word] if word.eq_ignore_ascii_case("none") => return Ok(Self(Some(Vec::new()))),
            _ => {}
        }
        let one = |text: &String| {
            // Only brackets hide the colons of IPv6 (misc.c, `hpdelim`).
            let colon = match text.starts_with('[') {
                true => text.find("]:")? + 1,
                false => text.find(':')?,
            };
            let (host, port) = (text.get(..colon)?, text.get(colon + 1..)?);
            let host = (host != "*").then(|| bare(host).to_owned());
            match (host.as_deref(), port) {
                (Some(""), _) => None,
                (_, "*") => Some((host, None)),
                (_, port) => Some((host, Some(port.parse().ok().filter(|port| *port > 0)?))),
            }
        };
        let all: Option<Vec<_>> = words.iter().map(one).collect();
        all.map(|all| Self(Some(all)))
            .ok_or_else(|| "bad port number in permitremoteopen".to_owned())
    }

    fn words(&self) -> Vec<String> {
        let one = |(host, port): &(Option<String>, Option<u16>)| {
            let port = port.map_or_else(|| "*".to_owned(), |port| port.to_string());
            match host.as_deref() {
                None => format!("*:{port}"),
                Some(host) if host.contains(':') => format!("[{host}]:{port}"),
                Some(host) => format!("{host}:{port}"),
            }
        };
        match self.0.as_deref() {
            None => vec!["any".to_owned()],
            Some([]) => vec!["none".to_owned()],
            Some(all) => all.iter().map(one).collect(),
        }
    }
}

/// `-W`: where standard input and output lead. Nothing is replaced in it.
pub fn target(text: &str) -> Option<ForwardTarget> {
    Some(match Leads::of(&fields(text)?)? {
        Leads::Socket(path) => ForwardTarget::Unix(encoding::path(path.written())),
        Leads::Tcp(host, port) => ForwardTarget::Tcp(host, port),
        Leads::Anywhere => ForwardTarget::Dynamic,
    })
}

/// Whether it is a socket and no port, as ssh(1) sees it.
fn is_path(text: &str) -> bool {
    text.contains('/')
}

/// Without the brackets of IPv6.
pub(crate) fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// `-L` and `-R` have one word for what LocalForward has two: the listener, and
/// where it leads, which `-R` may leave out.
fn split(letter: char, text: &str) -> Option<(Vec<String>, Option<Vec<String>>)> {
    let fields = fields(text)?;
    let count = match fields.as_slice() {
        [_] | [_, _] if letter == 'R' && !fields.get(1).is_some_and(|to| is_path(to)) => {
            return Some((fields, None));
        }
        // Two fields: a port or path, and a path.
        [_, to] if is_path(to) => 1,
        [listen, _, _] if is_path(listen) => 1,
        [_, _, to] if is_path(to) => 2,
        [_, _, _] => 1,
        [_, _, _, _] => 2,
        _ => return None,
    };
    let (listen, to) = fields.split_at_checked(count)?;
    Some((listen.to_vec(), Some(to.to_vec())))
}

/// Fields between colons; brackets, which stay, hide the colons of IPv6.
fn fields(text: &str) -> Option<Vec<String>> {
    let mut fields = vec![String::new()];
    let mut in_brackets = false;
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match char {
            '[' => in_brackets = true,
            ']' if in_brackets => in_brackets = false,
            '\\' => {
                fields.last_mut()?.push(chars.next()?);
                continue;
            }
            // ssh(1) takes a slash, too.
            ':' if !in_brackets => {
                fields.push(String::new());
                continue;
            }
            _ => {}
        }
        fields.last_mut()?.push(char);
    }
    (!in_brackets && !fields.iter().any(|field| field.contains('\0'))).then_some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_what_ssh_takes_for_one() {
        let tcp = |host: Option<&str>, port| Listener::Tcp(host.map(str::to_owned), port);
        let socket = |path: &str| Listener::Socket(Template::new(path));
        for (text, expected) in [
            ("22", tcp(None, 22)),
            ("localhost:22", tcp(Some("localhost"), 22)),
            (":22", tcp(Some(""), 22)),
            ("*:22", tcp(Some("*"), 22)),
            ("[::1]:22", tcp(Some("::1"), 22)),
            ("0", tcp(None, 0)),
            ("/run/x", socket("/run/x")),
            ("/run/a\\:b", socket("/run/a:b")),
            ("run/22", socket("run/22")),
        ] {
            assert_eq!(Listener::of(&fields(text).unwrap()).unwrap(), expected, "{text}");
        }
        for bad in ["", "x", "70000", "a:b", "a:1:2", "ssh://h:1"] {
            assert!(Listener::of(&fields(bad).unwrap()).is_none(), "{bad}");
        }
        for none in ["0", "a:0"] {
            assert!(Listener::here(&fields(none).unwrap()).is_none(), "{none}");
        }
        assert_eq!(target("[::1]:22").unwrap(), ForwardTarget::Tcp("::1".into(), 22));
        let scoped = ForwardTarget::Tcp("fe80::1%eth0".into(), 22);
        assert_eq!(target("[fe80::1%eth0]:22").unwrap(), scoped);
        assert_eq!(target("h:22").unwrap(), ForwardTarget::Tcp("h".into(), 22));
        assert_eq!(target("/run/x").unwrap(), ForwardTarget::Unix("/run/x".into()));
        for bad in ["h", ":22", "h:0", "h:x", "a:b:1"] {
            assert!(target(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn letters_have_in_one_word_what_lines_have_in_two() {
        let local = |text: &str| LocalForward::of_letter(text).map(|forward| forward.words());
        let remote = |text: &str| RemoteForward::of_letter(text).map(|forward| forward.words());
        for (text, expected) in [
            ("1:h:2", ["1", "[h]:2"]),
            ("[::1]:1:[::2]:3", ["[::1]:1", "[::2]:3"]),
            ("/a:/b", ["/a", "/b"]),
            ("1:/b", ["1", "/b"]),
            ("/a:h:2", ["/a", "[h]:2"]),
        ] {
            assert_eq!(local(text).unwrap(), expected, "{text}");
        }
        for (text, expected) in
            [("1", ["1", "[socks]:0"]), ("a:1", ["[a]:1", "[socks]:0"]), ("1:h:2", ["1", "[h]:2"])]
        {
            assert_eq!(remote(text).unwrap(), expected, "{text}");
        }
        for bad in ["1", "a:b", "1:2:3:4:5", "", "x:h:2", "0:h:1", "[::1]:0:h:1", "0:/x"] {
            assert!(local(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn what_may_be_opened_is_a_list_of_hosts_and_ports() {
        let of = |text: &str| {
            let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
            Permitted::parse(&words)
        };
        let some = of("a:1 *:2 [::1]:*").unwrap();
        assert!(some.has("a", 1) && some.has("b", 2) && some.has("::1", 9) && !some.has("a", 3));
        assert_eq!(some.words(), ["a:1", "*:2", "[::1]:*"]);
        assert!(of("any").unwrap().has("a", 1) && !of("none").unwrap().has("a", 1));
        for bad in ["a", "a:0", ":1", "a:x", "any a:1", "0:h:1", "ssh://u@h:22", "::1:1"] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }
}
