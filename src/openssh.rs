//! The `ssh` personality: OpenSSH's command line and configuration, understood.
//! Owns the grammar and the defaults; connecting is the same as for `ssh MACHINE`.

pub mod arguments;
mod canonical;
mod dump;
mod forwards;

use std::num::NonZeroU16;
use std::path::{Path, PathBuf};

use crate::address;
use crate::dial::Dialer;
use crate::encoding;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::options::{Agent, Canonicalize, LogLevel, Maybe, Options, Template};
use crate::ssh_config::{Config, MatchContext, host_name};
use crate::tokens;

pub use dump::{dump, query};
pub use forwards::Forwards;

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
    /// What we were started with.
    pub env: Env,
    /// Everything else.
    pub options: Options,
    /// The files that it is from.
    pub files: Vec<PathBuf>,
}

/// How the configuration files are read.
pub struct Reading<'a> {
    /// `-F`: `none`, or the only file.
    pub config_file: Option<&'a str>,
    /// Who logs in where nobody says; whoever runs us when `None`.
    pub login: Option<&'a str>,
    /// Runs the command of a `Match exec`.
    pub exec: &'a (dyn Fn(&str) -> Result<bool> + Sync),
    /// Who looks names up for `CanonicalizeHostname`. Nobody does for a machine of
    /// a clan, whose name is no host's.
    pub names: Option<&'a Dialer>,
}

/// Reads the configuration files for `host`, after what the command line says.
///
/// # Errors
/// [`Error::SshConfig`] naming file and line.
pub async fn resolve(
    host: &str,
    command_line: &Options,
    reading: &Reading<'_>,
    env: &Env,
) -> Result<Resolved> {
    let (local_user, home) = (local_user(env), env.home());
    let login = reading.login.unwrap_or(&local_user);
    let mut config = Config::new(command_line.clone());
    let read = |config: &mut Config, name: &str, is_final| -> Result<()> {
        let run = |options: &Options, command: &str| {
            let mut resolved = finished(host, reading.login, env, options.clone());
            // As it is written (readconf.c, `match_cfg_line`).
            resolved.host_name = host_name(options, host);
            (reading.exec)(&tokens::expand(command, &|token| resolved.token(token))?)
        };
        let (original_host, local_user) = (host, local_user.as_str());
        let file = |options: &Options, name: &str| {
            finished(host, reading.login, env, options.clone()).path(name)
        };
        let context = MatchContext {
            original_host,
            host: name,
            local_user,
            login,
            home,
            is_final,
            exec: &run,
            file: &file,
        };
        match reading.config_file {
            Some("none") => Ok(()),
            Some(file) => config.read_user(&encoding::path(file), true, &context),
            None => {
                if let Some(home) = home {
                    config.read_user(&home.join(".ssh/config"), false, &context)?;
                }
                config.read_system(Path::new("/etc/ssh/ssh_config"), &context)
            }
        }
    };
    read(&mut config, host, false)?;
    let name = host_name(&config.options, host);
    let canonical = match reading.names {
        Some(names) => canonical::find(&config.options, &name, names).await?,
        None => None,
    };
    let is_canonical =
        reading.names.is_some() && config.options.canonicalize_hostname() != Canonicalize::No;
    // Whether or not there is a full name (ssh.c, "re-parsing configuration").
    if is_canonical || config.wants_final() {
        let name = canonical.unwrap_or_else(|| in_one_spelling(&name));
        // No other name counts from here on. A percent sign would be a token again.
        config.options.host_name = Some(Template::literal(&name));
        read(&mut config, &name, true)?;
    }
    let mut resolved = finished(host, reading.login, env, config.options);
    resolved.files = config.files;
    resolved.expand_user()?;
    Ok(resolved)
}

fn finished(host: &str, login: Option<&str>, env: &Env, options: Options) -> Resolved {
    let local_user = local_user(env);
    let port = options.port.map_or(22, NonZeroU16::get);
    let user = options.user.as_deref().or(login).unwrap_or(&local_user).to_owned();
    let host_name = in_one_spelling(&host_name(&options, host));
    let (original_host, env) = (host.to_owned(), env.clone());
    let files = Vec::new();
    Resolved { original_host, host_name, port, user, local_user, env, options, files }
}

/// A name in lower case, or an address, by which its key is known.
fn in_one_spelling(name: &str) -> String {
    address::canonical(&name.to_ascii_lowercase())
}

impl Resolved {
    /// A host to which no file applies.
    #[cfg(test)]
    pub fn of(host: &str, options: Options, env: &Env) -> Self {
        finished(host, None, env, options)
    }

    /// What a token of ssh_config(5), TOKENS, stands for.
    pub fn token(&self, token: char) -> Option<String> {
        let local_name = || crate::host_name::own().unwrap_or_default();
        Some(match token {
            'h' => self.host_name.clone(),
            'n' => self.original_host.clone(),
            'p' => self.port.to_string(),
            'r' => self.user.clone(),
            'u' => self.local_user.clone(),
            'd' => encoding::of_os(self.env.home()?),
            'i' => rustix::process::getuid().as_raw().to_string(),
            'k' => self.options.host_key_alias.as_ref().unwrap_or(&self.original_host).clone(),
            'l' => local_name(),
            'L' => local_name().split('.').next().unwrap_or_default().to_owned(),
            'j' => {
                Maybe::of(&self.options.proxy_jump).map_or_else(String::new, |it| it.0.join(","))
            }
            'T' => "NONE".to_owned(),
            'C' => {
                use sha1::{Digest, Sha1};
                let text = format!("{}{}{}{}", local_name(), self.host_name, self.port, self.user);
                data_encoding::HEXLOWER.encode(&Sha1::digest(text))
            }
            _ => return None,
        })
    }

    /// Notes who is logged in at which port. The host stays the one that was asked for: where
    /// a machine is may be a secret, and a token becomes an argument.
    pub fn logged_in(&mut self, user: &str, port: u16) {
        user.clone_into(&mut self.user);
        self.port = port;
    }

    /// Whether HostName says another name than was asked for.
    pub fn has_other_name(&self) -> bool {
        self.host_name != in_one_spelling(&self.original_host)
    }

    /// All tokens with what they stand for.
    pub fn tokens(&self) -> impl Iterator<Item = (char, String)> {
        ('A'..='z').filter_map(|token| Some((token, self.token(token)?)))
    }

    /// Replaces the tokens and variables of `User`, but for those that it is part of itself
    /// (OpenSSH 10.1). In `-l` and `user@host` there are none ([`Arguments`]).
    fn expand_user(&mut self) -> Result<()> {
        let Some(user) = self.options.user.clone() else { return Ok(()) };
        let token = |token| if "rC".contains(token) { None } else { self.token(token) };
        let expanded = tokens::expand_file(&user, &self.env, &token)?;
        let is_unfit = expanded.is_empty() || tokens::unfit_user(&expanded).is_some();
        if expanded != user && is_unfit {
            let why = "remote username contains invalid characters";
            return Err(Error::OptionValue(why.to_owned()));
        }
        self.user.clone_from(&expanded);
        self.options.user = Some(expanded);
        Ok(())
    }

    /// `SetEnv`, with the tokens and variables of its values replaced.
    ///
    /// # Errors
    /// [`Error::OptionValue`].
    pub fn set_env(&self) -> Result<Vec<(String, String)>> {
        let all = self.options.set_env.as_ref().map_or(&[][..], |set| &set.0);
        all.iter().map(|(name, value)| Ok((name.clone(), self.path(value)?))).collect()
    }

    /// A file's name with `~`, tokens and variables replaced.
    ///
    /// # Errors
    /// [`Error::OptionValue`].
    pub fn file(&self, name: &Template) -> Result<PathBuf> {
        self.file_name(name.written())
    }

    /// The same, as it was written.
    ///
    /// # Errors
    /// [`Error::OptionValue`].
    pub fn file_name(&self, text: &str) -> Result<PathBuf> {
        let (home, rest) = tokens::split_home(text, &self.env)?;
        Ok(encoding::path(&(home + &self.path(rest)?)))
    }

    /// Files by their names.
    ///
    /// # Errors
    /// [`Error::OptionValue`].
    pub fn files(&self, names: &[Template]) -> Result<Vec<PathBuf>> {
        names.iter().map(|name| self.file(name)).collect()
    }

    /// The same where a `~` is none, as for the sockets of forwards.
    fn path(&self, text: &str) -> Result<String> {
        tokens::expand_file(text, &self.env, &|token| self.token(token))
    }

    /// The socket of an agent; `own` is that of the environment.
    ///
    /// # Errors
    /// [`Error::OptionValue`].
    pub fn agent(&self, agent: &Agent, own: Option<PathBuf>) -> Result<Option<PathBuf>> {
        match agent {
            Agent::None => Ok(None),
            Agent::Environment => Ok(own),
            Agent::Variable(name) => Ok(self.env.path(name).map(Path::to_owned)),
            Agent::Socket(path) => self.file(path).map(Some),
        }
    }

    /// A command or another value with its tokens replaced.
    ///
    /// # Errors
    /// [`Error::OptionValue`].
    pub fn expand(&self, text: &Template) -> Result<String> {
        self.expanded(text.written())
    }

    fn expanded(&self, text: &str) -> Result<String> {
        tokens::expand(text, &|token| self.token(token))
    }

    /// How much is told, as by so many `-v`.
    pub fn verbosity(&self) -> u8 {
        match self.options.log_level() {
            LogLevel::Debug3 => 3,
            LogLevel::Debug2 => 2,
            LogLevel::Debug1 | LogLevel::Verbose => 1,
            _ => 0,
        }
    }

    /// Whether nothing at all is said: by `-q` or `LogLevel QUIET`.
    pub fn is_silent(&self) -> bool {
        self.options.log_level() == LogLevel::Quiet
    }

    /// Whether only what is fatal is said: by `-q` or `LogLevel`.
    pub fn is_quiet(&self) -> bool {
        self.options.log_level() <= LogLevel::Error
    }

    /// With `-W` nothing else is forwarded, unless somebody says so (ssh(1)).
    pub fn carry_stream(&mut self) {
        self.options.clear_all_forwardings.get_or_insert(true);
        self.options.exit_on_forward_failure.get_or_insert(true);
    }

    /// The hosts to jump over, in their order.
    pub fn jumps(&self) -> &[String] {
        Maybe::of(&self.options.proxy_jump).map_or(&[], |hosts| &hosts.0)
    }

    /// The command that leads there, with its tokens.
    pub fn proxy_command(&self) -> Option<&Template> {
        Maybe::of(&self.options.proxy_command).map(|command| &command.0)
    }
}

fn local_user(env: &Env) -> String {
    let number = || rustix::process::getuid().as_raw().to_string();
    env.user().map_or_else(number, str::to_owned)
}
