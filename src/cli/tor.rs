//! The options for Tor: from the command line, the environment and the user's
//! configuration to the dialler's settings.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{ArgAction, Args, ValueEnum};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Global;
use super::command_words::CommandWords;
use crate::dial::tor::{ClientAuth, Mode, Settings, State};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::flake::not_his_alone;
use crate::model::VarRef;
use crate::vars::Vars;

/// A key for client authorization is one line; its file is no larger, in bytes.
const MAX_KEY_FILE: u64 = 4096;

#[derive(Debug, Default, Clone, Args, Serialize, Deserialize)]
#[command(next_help_heading = "Tor")]
pub(super) struct TorOptions {
    /// Tor client to use: `embedded` (built in), `system` (a running tor), or `auto` (a
    /// running tor if one can be used, and the built-in client if it cannot or is slow)
    #[arg(long = "tor", global = true, value_name = "CLIENT", default_value = "auto")]
    client: Which,
    /// Merge FILE, in the format of arti.toml, over our defaults and over
    /// clan-connect/tor.toml in the configuration directory
    #[arg(long = "tor-config", global = true, value_name = "FILE", action = ArgAction::Append)]
    config: Vec<PathBuf>,
    /// Keep Tor's guards and its list of relays in DIR; `none` keeps nothing
    #[arg(long = "tor-state", global = true, value_name = "DIR|none")]
    state: Option<PathBuf>,
    /// Key for an onion service's client authorization: a FILE in tor's format, or a var as
    /// `var:GENERATOR/FILE`
    #[arg(long = "tor-auth", global = true, value_name = "FILE|VAR", action = ArgAction::Append)]
    auth: Vec<String>,
}

#[derive(Debug, Default, Clone, Copy, ValueEnum, Serialize, Deserialize)]
enum Which {
    #[default]
    Auto,
    Embedded,
    System,
}

impl TorOptions {
    /// Adds them to a command line.
    pub(super) fn write(&self, words: &mut CommandWords) -> Result<()> {
        match self.client {
            Which::Auto => {}
            Which::Embedded => words.option("--tor", "embedded"),
            Which::System => words.option("--tor", "system"),
        }
        for file in &self.config {
            words.file("--tor-config", file)?;
        }
        match &self.state {
            Some(dir) if dir == Path::new("none") => words.option("--tor-state", "none"),
            Some(dir) => words.file("--tor-state", dir)?,
            None => {}
        }
        self.auth.iter().try_for_each(|key| words.file_or("--tor-auth", key, VarRef::PREFIX))
    }
}

/// The settings for a connection to `machine`; keys for client authorization
/// come from `auth` as well.
pub(super) fn settings(
    global: &Global,
    auth: &[String],
    machine: &str,
    vars: &Vars,
) -> Result<Settings> {
    let (options, env) = (&global.tor, &global.env);
    let keys = options.auth.iter().chain(auth).map(|source| key(source, machine, vars));
    let own = users_file(env).filter(|path| path.exists());
    // It may name programs to be started.
    let foreign = own.as_ref().and_then(|path| not_his_alone(path, env));
    Ok(Settings {
        mode: match options.client {
            Which::Auto => Mode::Auto,
            Which::Embedded => Mode::Embedded,
            Which::System => Mode::System,
        },
        socks: socks(env)?,
        config: own.into_iter().chain(options.config.iter().cloned()).collect(),
        foreign,
        state: match &options.state {
            None => of_user(env),
            Some(dir) if dir == Path::new("none") => State::Ephemeral,
            Some(dir) => State::below(dir),
        },
        temporary: env.temporary_dir().to_owned(),
        client_auth: keys.collect::<Result<_>>()?,
    })
}

/// Where the user's own configuration of Tor is, if there is one.
pub(super) fn users_file(env: &Env) -> Option<PathBuf> {
    Some(env.config_dir()?.join("clan-connect/tor.toml"))
}

/// `$TOR_SOCKS`: an address and a port, or a port of this computer.
fn socks(env: &Env) -> Result<Option<SocketAddr>> {
    let Some(text) = env.text("TOR_SOCKS") else { return Ok(None) };
    let here = text.strip_prefix("localhost:").unwrap_or(text).parse();
    let address = here.map(|port: u16| SocketAddr::from(([127, 0, 0, 1], port)));
    let address = address.or_else(|_| text.parse());
    address.map(Some).map_err(|_| {
        Error::Usage(format!(
            "$TOR_SOCKS {text:?} is no address with a port, such as 127.0.0.1:9050"
        ))
    })
}

/// In the user's directories.
fn of_user(env: &Env) -> State {
    let below = |dir: PathBuf| dir.join("clan-connect/tor");
    match (env.state_dir(), env.cache_dir()) {
        (Some(state), Some(cache)) => State::Dirs(below(state), below(cache)),
        _ => State::Nowhere,
    }
}

fn key(source: &str, machine: &str, vars: &Vars) -> Result<ClientAuth> {
    let wrong = |why: &str| Error::Usage(format!("key for client authorization {source}: {why}"));
    if let Some(var) = source.strip_prefix(VarRef::PREFIX) {
        let var = VarRef::parse(machine, var)?;
        let value = vars.reveal(&var).map_err(|error| match error {
            // Typed by the user, who may have mistyped it.
            Error::VarMissing { .. } => vars.unknown_var(&var),
            error => error,
        })?;
        let text = value.text().ok_or_else(|| wrong("it is not UTF-8 text"))?;
        return ClientAuth::parse(text.expose()).map_err(wrong);
    }
    let failed = |error| Error::File { action: "read", path: PathBuf::from(source), source: error };
    let meta = std::fs::metadata(source).map_err(failed)?;
    if meta.len() > MAX_KEY_FILE {
        return Err(wrong("the file is too large for one"));
    }
    let text = Zeroizing::new(std::fs::read_to_string(source).map_err(failed)?);
    ClientAuth::parse(&text).map_err(wrong)
}
