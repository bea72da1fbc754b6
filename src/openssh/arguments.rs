//! OpenSSH's command line, letter by letter (ssh(1), `ssh.c`). Owns the grammar;
//! what the letters change goes into a [`Config`] as if it had been written there
//! first, because the first value counts.

use super::forwards::is_path;
use crate::error::{Error, Result};
use crate::printable::Printable;
use crate::ssh_config::Config;
use crate::tokens;

/// Letters with an argument; all others that ssh(1) knows have none.
const WITH_ARGUMENT: &str = "BDEFIJLOPQRSWbceilmopw";
const ALONE: &str = "1246ACGKMNTVXYZafgknqstvxy";

/// A command line, understood.
#[derive(Debug, Clone, Default)]
pub struct Arguments {
    /// The host as typed, without user and port.
    pub host: String,
    /// The words of the command.
    pub command: Vec<String>,
    /// What the letters and `-o` have set.
    pub config: Config,
    /// `-F`.
    pub config_file: Option<String>,
    /// `-G`: show what applies.
    pub dump: bool,
    /// `-V`: show the version.
    pub version: bool,
    /// `-Q`: show the algorithms of a kind.
    pub query: Option<String>,
    /// `-O`: speak to a master.
    pub control: Option<String>,
    /// `-W`: join standard input and output to this address.
    pub stdio_forward: Option<String>,
    /// `-v`, how often.
    pub verbose: u8,
    /// `-E`.
    pub log_file: Option<String>,
}

/// Parses what follows the program's name.
///
/// # Errors
/// [`Error::Usage`] in the words of ssh(1).
pub fn parse(args: &[String]) -> Result<Arguments> {
    let mut parsed = Arguments::default();
    let mut args = args.iter();
    let mut host = None;
    let mut terminals = 0;
    while let Some(word) = args.next() {
        if host.is_some() && (word == "--" || !word.starts_with('-') || word == "-") {
            // The command; `--` before it is not part of it.
            let first = (word != "--").then_some(word);
            parsed.command = first.into_iter().chain(args).cloned().collect();
            break;
        }
        if word == "--" {
            let Some(word) = args.next() else { break };
            host = Some(word);
            parsed.command = args.cloned().collect();
            break;
        }
        let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) else {
            host = Some(word);
            continue;
        };
        let mut rest = letters.chars();
        while let Some(letter) = rest.next() {
            if WITH_ARGUMENT.contains(letter) {
                let attached = rest.as_str();
                let value = match attached.is_empty() {
                    true => args.next().cloned(),
                    false => Some(attached.to_owned()),
                };
                let value = value.ok_or_else(|| {
                    Error::Usage(format!("option requires an argument -- {letter}"))
                })?;
                parsed.with_argument(letter, value)?;
                break;
            }
            if !ALONE.contains(letter) {
                return Err(Error::Usage(format!(
                    "unknown option -- {}",
                    Printable(&letter.to_string())
                )));
            }
            if letter == 't' {
                terminals += 1;
                let wanted = if terminals > 1 { "force" } else { "yes" };
                parsed.config.replace("requesttty", &[wanted]);
            }
            parsed.alone(letter);
        }
    }
    match host {
        Some(host) => parsed.destination(host)?,
        None if parsed.version || parsed.query.is_some() => {}
        None => return Err(Error::Usage(USAGE.to_owned())),
    }
    Ok(parsed)
}

/// What ssh(1) says to a command line that it does not understand.
const USAGE: &str = "usage: ssh [-46AaCfGgKkMNnqsTtVvXxYy] [-B bind_interface] [-b bind_address]
           [-c cipher_spec] [-D [bind_address:]port] [-E log_file]
           [-e escape_char] [-F configfile] [-I pkcs11] [-i identity_file]
           [-J destination] [-L address] [-l login_name] [-m mac_spec]
           [-O ctl_cmd] [-o option] [-P tag] [-p port] [-Q query_option]
           [-R address] [-S ctl_path] [-W host:port] [-w local_tun[:remote_tun]]
           destination [command [argument ...]]";

impl Arguments {
    fn alone(&mut self, letter: char) {
        let config = &mut self.config;
        match letter {
            '4' => config.replace("addressfamily", &["inet"]),
            '6' => config.replace("addressfamily", &["inet6"]),
            'A' => config.replace("forwardagent", &["yes"]),
            'a' => config.replace("forwardagent", &["no"]),
            'C' => config.replace("compression", &["yes"]),
            'f' => {
                config.put("forkafterauthentication", &["yes"]);
                config.put("stdinnull", &["yes"]);
            }
            'G' => self.dump = true,
            'g' => config.put("gatewayports", &["yes"]),
            'K' => {
                config.put("gssapiauthentication", &["yes"]);
                config.put("gssapidelegatecredentials", &["yes"]);
            }
            'k' => config.put("gssapidelegatecredentials", &["no"]),
            // Twice: every use of the connection is to be confirmed.
            'M' => {
                let is_second =
                    config.get("controlmaster").is_some_and(|known| known.value() == "yes");
                config.replace("controlmaster", &[if is_second { "ask" } else { "yes" }]);
            }
            'N' => config.put("sessiontype", &["none"]),
            'n' => config.put("stdinnull", &["yes"]),
            'q' => config.replace("loglevel", &["SILENT"]),
            's' => config.put("sessiontype", &["subsystem"]),
            'T' => config.replace("requesttty", &["no"]),
            'V' => self.version = true,
            'v' => {
                self.verbose = self.verbose.saturating_add(1).min(3);
                let levels = ["DEBUG", "DEBUG2", "DEBUG3"];
                let level = levels.get(usize::from(self.verbose) - 1).unwrap_or(&"DEBUG3");
                config.replace("loglevel", &[level]);
            }
            'X' => config.replace("forwardx11", &["yes"]),
            'x' => config.replace("forwardx11", &["no"]),
            'Y' => {
                config.replace("forwardx11", &["yes"]);
                config.replace("forwardx11trusted", &["yes"]);
            }
            // Protocol 1 and its time, the system's log: nothing to do.
            _ => {}
        }
    }

    fn with_argument(&mut self, letter: char, value: String) -> Result<()> {
        let config = &mut self.config;
        match letter {
            'o' => config.line(&value)?,
            'p' => config.put("port", &[&value]),
            'l' => config.put("user", &[&value]),
            'i' => config.put("identityfile", &[&value]),
            'F' => self.config_file = Some(value),
            'J' => config.put("proxyjump", &[&value]),
            'L' | 'R' => {
                let (listen, to) = split_forward(letter, &value)?;
                let keyword = if letter == 'L' { "localforward" } else { "remoteforward" };
                match to {
                    Some(to) => config.put(keyword, &[&listen, &to]),
                    None => config.put(keyword, &[&listen]),
                }
            }
            'D' => config.put("dynamicforward", &[&value]),
            'W' => {
                for (keyword, value) in [
                    ("sessiontype", "none"),
                    ("requesttty", "no"),
                    ("clearallforwardings", "yes"),
                    ("exitonforwardfailure", "yes"),
                ] {
                    config.put(keyword, &[value]);
                }
                self.stdio_forward = Some(value);
            }
            'S' => config.put("controlpath", &[&value]),
            'O' => self.control = Some(value),
            'Q' => self.query = Some(value),
            'E' => self.log_file = Some(value),
            'b' => config.put("bindaddress", &[&value]),
            'B' => config.put("bindinterface", &[&value]),
            'c' => config.put("ciphers", &[&value]),
            'm' => config.put("macs", &[&value]),
            'e' => config.put("escapechar", &[&value]),
            'I' => config.put("pkcs11provider", &[&value]),
            'P' => config.put("tag", &[&value]),
            'w' => config.put("tunneldevice", &[&value]),
            _ => {}
        }
        Ok(())
    }

    /// `[user@]host` or `ssh://[user@]host[:port]`.
    fn destination(&mut self, text: &str) -> Result<()> {
        let bad = || Error::Usage(format!("invalid destination \"{}\"", Printable(text)));
        let (address, is_uri) = match text.strip_prefix("ssh://") {
            Some(rest) => (rest.trim_end_matches('/'), true),
            None => (text, false),
        };
        let (user, host) = match address.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, address),
        };
        let (host, port) = match is_uri {
            true => split_uri_host(host).ok_or_else(bad)?,
            false => (host, None),
        };
        // RFC 3986, section 2.1.
        let decoded = |text: &str| match is_uri {
            true => percent_decoded(text).ok_or_else(bad),
            false => Ok(text.to_owned()),
        };
        let (host, user) = (decoded(host)?, user.map(decoded).transpose()?);
        let (host, user) = (host.as_str(), user.as_deref());
        if host.is_empty() || host.starts_with('-') || user.is_some_and(str::is_empty) {
            return Err(bad());
        }
        if tokens::unfit_host(host).is_some() {
            return Err(Error::Usage("hostname contains invalid characters".to_owned()));
        }
        let name = user.or_else(|| self.config.get("user").map(|setting| setting.value()));
        if name.is_some_and(|name| tokens::unfit_user(name).is_some()) {
            return Err(Error::Usage("remote username contains invalid characters".to_owned()));
        }
        self.host = host.to_owned();
        if let Some(user) = user {
            self.config.put("user", &[user]);
        }
        if let Some(port) = port {
            self.config.put("port", &[port]);
        }
        Ok(())
    }
}

/// `None` for what is no escape, and for what is no text.
fn percent_decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        bytes.push(u8::from_str_radix(digits, 16).ok().filter(|byte| is_hex && *byte != 0)?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

fn split_uri_host(text: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']')?;
        return match after.strip_prefix(':') {
            Some(port) => Some((host, Some(port))),
            None => after.is_empty().then_some((host, None)),
        };
    }
    match text.rsplit_once(':') {
        Some((host, _)) if host.contains(':') => None,
        Some((host, port)) => Some((host, Some(port))),
        None => Some((text, None)),
    }
}

/// `-L` and `-R` have one word for what LocalForward has two: the listener, and
/// where it leads, which `-R` may leave out.
fn split_forward(letter: char, text: &str) -> Result<(String, Option<String>)> {
    let bad = || Error::Usage(format!("Bad forwarding specification '{}'", Printable(text)));
    let fields = forward_fields(text).ok_or_else(bad)?;
    let join = |fields: &[String]| fields.join(":");
    let (listen, to) = match fields.as_slice() {
        [one] if letter == 'R' => (one.clone(), None),
        // Two fields: a port or path, and a path; or for -R an address to listen at.
        [listen, to] if is_path(to) => (listen.clone(), Some(to.clone())),
        [address, port] if letter == 'R' => (join(&[address.clone(), port.clone()]), None),
        [listen, host, port] if is_path(listen) => {
            (listen.clone(), Some(join(&[host.clone(), port.clone()])))
        }
        [address, port, to] if is_path(to) => {
            (join(&[address.clone(), port.clone()]), Some(to.clone()))
        }
        [port, host, to] => (port.clone(), Some(join(&[host.clone(), to.clone()]))),
        [address, port, host, to] => {
            (join(&[address.clone(), port.clone()]), Some(join(&[host.clone(), to.clone()])))
        }
        _ => return Err(bad()),
    };
    Ok((listen, to))
}

/// Fields between colons; brackets, which stay, hide the colons of IPv6.
pub(super) fn forward_fields(text: &str) -> Option<Vec<String>> {
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

    fn words(line: &str) -> Result<Arguments> {
        parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    fn get(line: &str, keyword: &str) -> String {
        let parsed = words(line).unwrap();
        let setting = parsed.config.get(keyword);
        setting.map_or("-".to_owned(), |setting| setting.args.join(" "))
    }

    #[test]
    fn letters_are_clustered_follow_the_host_and_the_first_counts() {
        for (line, keyword, value) in [
            ("-p22 h", "port", "22"),
            ("-p 22 h", "port", "22"),
            ("-Tp22 h", "port", "22"),
            ("h -p 22", "port", "22"),
            ("-p 1 -oPort=2 h", "port", "1"),
            ("-oPort=2 -p 1 h", "port", "2"),
            ("-l me you@h", "user", "me"),
            ("you@h", "user", "you"),
            ("a@b@h", "user", "a@b"),
            ("ssh://me@h:7/", "port", "7"),
            ("ssh://m%65@h", "user", "me"),
            ("ssh://[2001:db8::1]:7", "port", "7"),
            ("-tt h", "requesttty", "force"),
            ("-t h", "requesttty", "yes"),
            ("-T -t h", "requesttty", "yes"),
            ("-t -T h", "requesttty", "no"),
            ("-N h", "sessiontype", "none"),
            ("-oSendEnv=GIT_PROTOCOL h", "sendenv", "GIT_PROTOCOL"),
            ("-L 1:h:2 x", "localforward", "1 h:2"),
            ("-L [::1]:1:[::2]:3 x", "localforward", "[::1]:1 [::2]:3"),
            ("-L /a:/b x", "localforward", "/a /b"),
            ("-L 1:/b x", "localforward", "1 /b"),
            ("-L /a:h:2 x", "localforward", "/a h:2"),
            ("-R 1 x", "remoteforward", "1"),
            ("-R a:1 x", "remoteforward", "a:1"),
            ("-R 1:h:2 x", "remoteforward", "1 h:2"),
            ("-W h:2 x", "sessiontype", "none"),
        ] {
            assert_eq!(get(line, keyword), value, "{line}");
        }
        let many = parse(&["-o".into(), "User me".into(), "h".into()]).unwrap();
        assert_eq!(many.config.get("user").unwrap().value(), "me");
        assert_eq!(words("ssh://[2001:db8::1]:7").unwrap().host, "2001:db8::1");
    }

    #[test]
    fn the_command_begins_where_ssh_has_it_begin() {
        for (line, command) in [
            ("h ls -l", "ls -l"),
            ("h -p 2 ls -p 3", "ls -p 3"),
            ("h -- ls", "ls"),
            ("-- h ls -p 3", "ls -p 3"),
            ("-x -oPermitLocalCommand=no -s -- h sftp", "sftp"),
            ("h -q", ""),
        ] {
            assert_eq!(words(line).unwrap().command.join(" "), command, "{line}");
        }
    }

    #[test]
    fn what_ssh_refuses_is_refused() {
        for line in [
            "",
            "-p",
            "-Z5 -z h",
            "-oNonsense=1 h",
            "ssh://",
            "ssh://h:1:2",
            "ssh://me%6@h",
            "ssh://m%00@h",
            "ssh://a%3bb",
            "-- -oProxyCommand=x",
            "@h",
            "me@",
            "-L 1 h",
            "-L a:b h",
            "a;b",
            "$(x)@h;",
            "h`x`",
            "-l a|b h",
            "a,b",
            "-oUser=a;b h",
        ] {
            assert!(words(line).is_err(), "{line}");
        }
        assert!(words("-V").unwrap().version);
        assert_eq!(words("-Q key").unwrap().query.as_deref(), Some("key"));
    }
}
