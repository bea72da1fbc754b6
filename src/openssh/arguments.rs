//! OpenSSH's command line, letter by letter (ssh(1), `ssh.c`). Owns the grammar;
//! what the letters change goes into [`Options`] before any file is read, because the
//! first value counts.

use std::num::NonZeroU16;

use crate::encoding;
use crate::env::Env;
use crate::error::{Error, Result, strerror};
use crate::options::{LocalForward, Options, RemoteForward, RequestTty, SessionType, Value};
use crate::printable::{self, Printable};
use crate::tokens;

/// Letters with an argument; all others that ssh(1) knows have none.
pub(crate) const WITH_ARGUMENT: &str = "BDEFIJLOPQRSWbceilmopw";
pub(crate) const ALONE: &str = "1246ACGKMNTVXYafgknqstvxy";

/// A command line, understood.
#[derive(Debug, Clone, Default)]
pub struct Arguments {
    /// The host as typed, without user and port.
    pub host: String,
    /// The words of the command.
    pub command: Vec<String>,
    /// What the letters and `-o` have set.
    pub options: Options,
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
    /// `-E`.
    pub log_file: Option<String>,
    /// What is wrong and does not matter, a line each.
    pub warnings: Vec<String>,
}

/// Parses what follows the program's name.
///
/// # Errors
/// [`Error::Usage`] in the words of ssh(1).
pub fn parse(args: &[String], env: &Env) -> Result<Arguments> {
    let mut parsed = Arguments::default();
    let mut args = args.iter();
    let mut has_host = false;
    while let Some(word) = args.next() {
        if has_host && (word == "--" || !word.starts_with('-') || word == "-") {
            // The command; `--` before it is not part of it.
            let first = (word != "--").then_some(word);
            parsed.command = first.into_iter().chain(args).cloned().collect();
            break;
        }
        if word == "--" {
            let Some(word) = args.next() else { break };
            has_host = true;
            parsed.destination(word)?;
            parsed.command = args.cloned().collect();
            break;
        }
        let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) else {
            // What it says of user and port counts against what comes later.
            has_host = true;
            parsed.destination(word)?;
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
                match letter {
                    'i' => parsed.identity_file(value, env)?,
                    _ => parsed.with_argument(letter, value)?,
                }
                break;
            }
            if !ALONE.contains(letter) {
                return Err(Error::Usage(format!(
                    "unknown option -- {}",
                    Printable(&letter.to_string())
                )));
            }
            parsed.alone(letter)?;
        }
    }
    if !has_host && !parsed.version && parsed.query.is_none() {
        return Err(Error::Usage(USAGE.to_owned()));
    }
    parsed.check()?;
    Ok(parsed)
}

/// What is said of a key file that is not there, which is left out then (ssh.c). Its
/// name is as it was typed but for its `~`.
fn missing(file: &str, env: &Env) -> Result<Option<String>> {
    let (home, rest) = tokens::split_home(file, env)?;
    let file = home + rest;
    let warning = |error: std::io::Error| {
        let (file, why) = (printable::line(&file), strerror(&error));
        format!("Identity file {file} not accessible: {why}.")
    };
    Ok(std::fs::metadata(encoding::path(&file)).err().map(warning))
}

/// A login name in which nothing is a token.
fn as_typed(user: &str) -> String {
    user.replace('%', "%%")
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
    /// Takes a letter without an argument.
    ///
    /// # Errors
    /// [`Error::Usage`] in the words of ssh(1).
    pub fn alone(&mut self, letter: char) -> Result<()> {
        match letter {
            'G' => self.dump = true,
            'V' => self.version = true,
            // Neither yields to the other, nor to SessionType (ssh.c).
            'N' if self.options.session_type.is_some_and(|it| it != SessionType::None) => {
                let why = "Cannot specify -N with -s/SessionType";
                return Err(Error::Usage(why.to_owned()));
            }
            's' if self.options.session_type.is_some_and(|it| it != SessionType::Subsystem) => {
                let why = "Cannot specify -s with -N/SessionType";
                return Err(Error::Usage(why.to_owned()));
            }
            // Also protocol 1 and its time, and the system's log: nothing to do.
            _ => self.options.letter(letter, "")?,
        }
        Ok(())
    }

    /// Takes a letter with its argument.
    ///
    /// # Errors
    /// [`Error::Usage`] in the words of ssh(1).
    pub fn with_argument(&mut self, letter: char, value: String) -> Result<()> {
        let options = &mut self.options;
        let bad = |what: &str| {
            Error::Usage(format!("Bad {what} forwarding specification '{}'", Printable(&value)))
        };
        match letter {
            'o' => options.line(&value)?,
            'F' => self.config_file = Some(value),
            'L' => {
                let forward = LocalForward::of_letter(&value).ok_or_else(|| bad("local"))?;
                add(&mut options.local_forward, forward);
            }
            'R' => {
                let forward = RemoteForward::of_letter(&value).ok_or_else(|| bad("remote"))?;
                add(&mut options.remote_forward, forward);
            }
            'W' if self.stdio_forward.is_some() => {
                return Err(Error::Usage("stdio forward already specified".to_owned()));
            }
            'W' => {
                // Whatever was said before (ssh.c).
                options.session_type = Some(SessionType::None);
                options.request_tty = Some(RequestTty::No);
                self.stdio_forward = Some(value);
            }
            'O' => self.control = Some(value),
            'Q' => self.query = Some(value),
            'E' => self.log_file = Some(value),
            'l' => options.letter(letter, &as_typed(&value))?,
            _ => options.letter(letter, &value)?,
        }
        Ok(())
    }

    /// Takes `-i`, but for a file that is not there.
    ///
    /// # Errors
    /// [`Error::Usage`] in the words of ssh(1).
    pub fn identity_file(&mut self, file: String, env: &Env) -> Result<()> {
        match missing(&file, env)? {
            Some(warning) => {
                self.warnings.push(warning);
                Ok(())
            }
            None => self.with_argument('i', file),
        }
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
        self.host = host.to_owned();
        let port = port.map(|port| NonZeroU16::parse(&[port.to_owned()])).transpose();
        let port = port.map_err(|_| bad())?;
        self.options.user = self.options.user.take().or_else(|| user.map(as_typed));
        self.options.port = self.options.port.or(port);
        Ok(())
    }

    /// Refuses what could mean something to a shell, and a subsystem that nobody names.
    fn check(&self) -> Result<()> {
        let user = self.options.user.as_deref();
        let is_subsystem = self.options.session_type == Some(SessionType::Subsystem);
        let jumps = self.options.proxy_jump.as_ref().and_then(|jumps| jumps.0.as_ref());
        let why = if tokens::unfit_host(&self.host).is_some() {
            "hostname contains invalid characters"
        } else if user.is_some_and(|name| tokens::unfit_user(name).is_some()) {
            "remote username contains invalid characters"
        } else if jumps.is_some_and(|jumps| !jumps.are_fit()) {
            "ProxyJump contains invalid characters"
        } else if is_subsystem && self.command.is_empty() && !self.host.is_empty() {
            return Err(Error::Usage(format!("You must specify a subsystem to invoke.\n{USAGE}")));
        } else {
            return Ok(());
        };
        Err(Error::Usage(why.to_owned()))
    }
}

/// What is said twice is meant once.
fn add<T: PartialEq>(all: &mut Vec<T>, one: T) {
    if !all.contains(&one) {
        all.push(one);
    }
}

/// `None` for what is no escape.
fn percent_decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        bytes.push(u8::from_str_radix(digits, 16).ok().filter(|byte| is_hex && *byte != 0)?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    Some(encoding::text(&bytes))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Result<Arguments> {
        let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        parse(&words, &Env::default())
    }

    fn get(line: &str, keyword: &str) -> String {
        let options = words(line).unwrap().options;
        options.shown(crate::options::find(keyword).unwrap()).concat().join(" ")
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
            ("-t h", "requesttty", "true"),
            ("-T -t h", "requesttty", "true"),
            ("-t -T h", "requesttty", "false"),
            ("-MM h", "controlmaster", "ask"),
            ("-v h", "loglevel", "DEBUG"),
            ("-vvvv h", "loglevel", "DEBUG3"),
            ("-v -q h", "loglevel", "SILENT"),
            ("-b 1 -b 2 h", "bindaddress", "1"),
            ("-4 -6 h", "addressfamily", "inet6"),
            ("-aA h", "forwardagent", "yes"),
            ("-J a,b h", "proxyjump", "a,b"),
            ("-Y h", "forwardx11trusted", "yes"),
            ("-N h", "sessiontype", "none"),
            ("-N h", "requesttty", "false"),
            ("-oSessionType=default -W h:2 x", "sessiontype", "none"),
            ("-t -W h:2 x", "requesttty", "false"),
            ("you@h -l me", "user", "you"),
            ("ssh://h:7 -p 1", "port", "7"),
            ("-oSendEnv=GIT_PROTOCOL h", "sendenv", "GIT_PROTOCOL"),
            ("-L 1:h:2 x", "localforward", "1 [h]:2"),
            ("-L [::1]:1:[::2]:3 x", "localforward", "[::1]:1 [::2]:3"),
            ("-L /a:/b x", "localforward", "/a /b"),
            ("-L 1:/b x", "localforward", "1 /b"),
            ("-L /a:h:2 x", "localforward", "/a [h]:2"),
            ("-R 1 x", "remoteforward", "1 [socks]:0"),
            ("-R a:1 x", "remoteforward", "[a]:1 [socks]:0"),
            ("-R 1:h:2 x", "remoteforward", "1 [h]:2"),
            ("-W h:2 x", "sessiontype", "none"),
        ] {
            assert_eq!(get(line, keyword), value, "{line}");
        }
        let many = parse(&["-o".into(), "User me".into(), "h".into()], &Env::default()).unwrap();
        assert_eq!(many.options.user.as_deref(), Some("me"));
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
            "-p x h",
            "-p 0 h",
            "ssh://h:x",
            "-e xx h",
            "-c nonsense h",
            "-W a:1 -W b:1 h",
            "-N -s h x",
            "-s -N h x",
            "-s h",
            "-L 0:h:1 h",
            "-D 0 h",
            "-J a:b h",
        ] {
            assert!(words(line).is_err(), "{line}");
        }
        assert!(words("-V").unwrap().version);
        assert_eq!(words("-Q key").unwrap().query.as_deref(), Some("key"));
    }
}
