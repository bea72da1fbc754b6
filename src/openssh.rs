//! The `ssh` personality: OpenSSH's command line and configuration, understood.
//! Owns the grammar and the defaults; connecting is the same as for `ssh MACHINE`.

mod amounts;
pub mod arguments;
mod canonical;
mod dump;
mod forwards;

use std::path::{Path, PathBuf};

use crate::accounts::Accounts;
use crate::error::{Error, Result};
use crate::printable::Printable;
use crate::ssh_config::{About, Config, Setting};
use crate::tokens;

pub use amounts::{bytes, seconds};
pub use dump::{dump, query};
pub(crate) use forwards::bare;
pub use forwards::{Forwards, place};

/// Key files that ssh(1) tries by itself, as far as we can use them.
pub const DEFAULT_IDENTITIES: [&str; 3] = ["id_rsa", "id_ecdsa", "id_ed25519"];

/// A host with all that applies to it.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// As typed.
    pub original_host: String,
    /// Where to connect to.
    pub host_name: String,
    /// On this port.
    pub port: u16,
    /// As this user.
    pub user: String,
    /// Who runs us.
    pub local_user: String,
    /// Everything else.
    pub config: Config,
}

/// Reads the configuration files for `host`, after what the command line says.
/// `config_file` is `-F`: `none`, or the only file. `exec` runs the commands of
/// `Match exec`; `find` says whether a name has an address, and the name that it
/// is an alias of.
///
/// # Errors
/// [`Error::Usage`] naming file and line.
pub fn resolve(
    host: &str,
    command_line: &Config,
    config_file: Option<&str>,
    exec: &dyn Fn(&str) -> Result<bool>,
    find: &dyn Fn(&str) -> Option<String>,
) -> Result<Resolved> {
    let local_user = local_user();
    let mut config = command_line.clone();
    let home = home();
    let read = |config: &mut Config, name: &str, is_final| -> Result<()> {
        let run = |config: &Config, command: &str| {
            let resolved = finished(host, &local_user, config.clone())?;
            exec(&tokens::expand(command, &|token| resolved.token(token))?)
        };
        let local_user = local_user.as_str();
        let about = About { original_host: host, host: name, local_user, is_final, exec: &run };
        match config_file {
            Some("none") => Ok(()),
            Some(file) => config.read_user(Path::new(file), true, &about),
            None => {
                if let Some(home) = &home {
                    config.read_user(&home.join(".ssh/config"), false, &about)?;
                }
                config.read_system(Path::new("/etc/ssh/ssh_config"), &about)
            }
        }
    };
    read(&mut config, host, false)?;
    let canonical = canonical::find(&config, &config.host_name(host), find)?;
    if canonical.is_some() || config.wants_final() {
        let name = canonical.unwrap_or_else(|| host_name(&config, host));
        // No other name counts from here on. A percent sign would be a token again.
        config.replace("hostname", &[&name.replace('%', "%%")]);
        read(&mut config, &name, true)?;
    }
    finished(host, &local_user, config)
}

fn finished(host: &str, local_user: &str, config: Config) -> Result<Resolved> {
    let port = match config.get("port") {
        None => 22,
        Some(setting) => {
            let port = setting.value().parse().ok().filter(|port| *port > 0);
            port.ok_or_else(|| setting.wrong("Bad port"))?
        }
    };
    let user = config.get("user").map_or(local_user, |setting| setting.value()).to_owned();
    let host_name = host_name(&config, host);
    let (original_host, local_user) = (host.to_owned(), local_user.to_owned());
    Ok(Resolved { original_host, host_name, port, user, local_user, config })
}

/// Where to connect to: in lower case, but for addresses.
fn host_name(config: &Config, host: &str) -> String {
    let name = config.host_name(host);
    match name.parse::<std::net::IpAddr>() {
        Ok(_) => name,
        Err(_) => name.to_ascii_lowercase(),
    }
}

impl Resolved {
    /// What a token of ssh_config(5), TOKENS, stands for.
    pub fn token(&self, token: char) -> Option<String> {
        let local_name = || crate::host_name::own().unwrap_or_default();
        let alias = || self.config.get("hostkeyalias").map(|setting| setting.value().to_owned());
        Some(match token {
            'h' => self.host_name.clone(),
            'n' => self.original_host.clone(),
            'p' => self.port.to_string(),
            'r' => self.user.clone(),
            'u' => self.local_user.clone(),
            'd' => home()?.to_string_lossy().into_owned(),
            'i' => rustix::process::getuid().as_raw().to_string(),
            'k' => alias().unwrap_or_else(|| self.original_host.clone()),
            'l' => local_name(),
            'L' => local_name().split('.').next().unwrap_or_default().to_owned(),
            'j' => self.config.get("proxyjump").map_or("", |setting| setting.value()).to_owned(),
            'T' => "NONE".to_owned(),
            'C' => {
                use sha1::{Digest, Sha1};
                let text = format!("{}{}{}{}", local_name(), self.host_name, self.port, self.user);
                data_encoding::HEXLOWER.encode(&Sha1::digest(text))
            }
            _ => return None,
        })
    }

    /// All tokens with what they stand for.
    pub fn tokens(&self) -> impl Iterator<Item = (char, String)> {
        ('A'..='z').filter_map(|token| Some((token, self.token(token)?)))
    }

    /// A file's name with `~`, tokens and variables replaced.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub fn file(&self, text: &str) -> Result<PathBuf> {
        let Some(rest) = text.strip_prefix('~') else { return self.path(text).map(PathBuf::from) };
        let (name, rest) = rest.split_once('/').unwrap_or((rest, ""));
        let of = |name: &str| Accounts::users().home_of(name).map(PathBuf::from);
        let home = match name {
            "" => home().or_else(|| of(&self.local_user)),
            name => of(name),
        };
        let home = home.ok_or_else(|| usage(format!("No such user {}", Printable(name))))?;
        Ok(PathBuf::from(format!("{}/{}", home.display(), self.path(rest)?)))
    }

    /// The same where a `~` is none, as for the sockets of forwards.
    fn path(&self, text: &str) -> Result<String> {
        tokens::expand_file(text, &|token| self.token(token))
    }

    /// The socket of an agent: a file, or in the variable `$NAME`; `None` when that
    /// is not set.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub fn agent(&self, text: &str) -> Result<Option<PathBuf>> {
        match variable(text) {
            Some(name) => Ok(std::env::var_os(name).map(PathBuf::from)),
            None => self.file(text).map(Some),
        }
    }

    /// A command or another value with its tokens replaced.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub fn expand(&self, text: &str) -> Result<String> {
        tokens::expand(text, &|token| self.token(token))
    }

    /// How much is told, as by so many `-v`.
    pub fn verbosity(&self) -> u8 {
        let level = self.config.get("loglevel").map_or("", |setting| setting.value());
        match level.to_ascii_lowercase().as_str() {
            "verbose" | "debug" | "debug1" => 1,
            "debug2" => 2,
            "debug3" => 3,
            _ => 0,
        }
    }

    /// Whether nothing at all is said: by `-q` or `LogLevel QUIET`.
    pub fn is_silent(&self) -> bool {
        let level = self.config.get("loglevel").map_or("", |setting| setting.value());
        ["silent", "quiet"].contains(&level.to_ascii_lowercase().as_str())
    }

    /// Whether only what is fatal is said: by `-q` or `LogLevel`.
    pub fn is_quiet(&self) -> bool {
        let level = self.config.get("loglevel").map_or("", |setting| setting.value());
        ["silent", "quiet", "fatal", "error"].contains(&level.to_ascii_lowercase().as_str())
    }

    /// The hosts to jump over, in their order; none where a command leads there.
    pub fn jumps(&self) -> Vec<String> {
        let jump = self.config.get("proxyjump").filter(|setting| {
            // Whichever of the two was set first counts.
            !setting.value().eq_ignore_ascii_case("none")
                && self.config.is_before("proxyjump", "proxycommand")
        });
        jump.map_or_else(Vec::new, |setting| {
            setting.value().split(',').map(str::to_owned).collect()
        })
    }

    /// The command that leads there, with its tokens.
    pub fn proxy_command(&self) -> Option<&str> {
        let command = self.config.get("proxycommand").filter(|setting| {
            !setting.value().eq_ignore_ascii_case("none")
                && self.config.is_before("proxycommand", "proxyjump")
        });
        command.map(Setting::value)
    }
}

/// `NAME` of `$NAME`, the older way to name a variable.
fn variable(text: &str) -> Option<&str> {
    text.strip_prefix('$').filter(|name| !name.starts_with('{'))
}

/// `$USER` is not to be trusted for who runs us, but is better than nothing.
fn local_user() -> String {
    let uid = rustix::process::getuid().as_raw();
    let of_uid = Accounts::users().name_of(uid).map(str::to_owned);
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    of_uid
        .or_else(|| variable("USER"))
        .or_else(|| variable("LOGNAME"))
        .unwrap_or_else(|| uid.to_string())
}

/// `$HOME`.
pub(crate) fn home() -> Option<PathBuf> {
    std::env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from)
}

/// An [`Error::Usage`] in few words.
fn usage(text: String) -> Error {
    Error::Usage(text)
}
