//! The options for overlays that we are leaves of: from the command line and ssh_config(5)
//! to the dialler's settings.

use std::sync::Arc;

#[cfg(feature = "mycelium")]
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgAction, Args};
use serde::{Deserialize, Serialize};

use super::Global;
use super::command_words::CommandWords;
use crate::dial;
use crate::error::{Error, Result};
use crate::model::VarRef;
use crate::options::Options;
#[cfg(feature = "yggdrasil")]
use crate::remembered::Places;
use crate::vars::Vars;

#[derive(Debug, Default, Clone, Args, Serialize, Deserialize)]
#[command(next_help_heading = "Overlays")]
pub(super) struct OverlayOptions {
    /// Key for our own Yggdrasil node, used when this computer runs no Yggdrasil: a FILE, or
    /// `var:MACHINE` for a machine that is never deployed [default: the deployed key, then
    /// the key of `network identity`, then a random key]
    #[cfg(feature = "yggdrasil")]
    #[arg(long = "yggdrasil-key", global = true, value_name = "FILE|var:MACHINE")]
    yggdrasil_key: Option<String>,
    /// Peer with this node of Yggdrasil first, and then with the clan's machines
    #[cfg(feature = "yggdrasil")]
    #[arg(long = "yggdrasil-peer", global = true, value_name = "tcp://HOST:PORT|tls://HOST:PORT",
          action = ArgAction::Append)]
    yggdrasil_peer: Vec<String>,
    /// Peer with this node of Mycelium first, and then with the clan's machines
    #[cfg(feature = "mycelium")]
    #[arg(long = "mycelium-peer", global = true, value_name = "tcp://HOST:PORT",
          action = ArgAction::Append)]
    mycelium_peer: Vec<String>,
    /// Whether to use Mycelium's public nodes when no other peer is reachable; a public node
    /// sees which addresses communicate [default: as the clan's service is set]
    #[cfg(feature = "mycelium")]
    #[arg(long = "mycelium-public-nodes", global = true, value_name = "yes|no",
          value_parser = PossibleValuesParser::new(["yes", "no"]).map(|said| said == "yes"))]
    mycelium_public: Option<bool>,
}

impl OverlayOptions {
    /// The files that are named, which may become others at the same place.
    pub(super) fn files(&self) -> impl Iterator<Item = &str> {
        #[cfg(feature = "yggdrasil")]
        let key = self.yggdrasil_key.as_deref();
        #[cfg(not(feature = "yggdrasil"))]
        let key: Option<&str> = None;
        key.into_iter().filter(|key| !key.starts_with(VarRef::PREFIX))
    }

    /// Adds them to a command line.
    pub(super) fn write(&self, words: &mut CommandWords) -> Result<()> {
        #[cfg(feature = "yggdrasil")]
        {
            refuse_password(&self.yggdrasil_peer)?;
            if let Some(key) = &self.yggdrasil_key {
                words.file_or("--yggdrasil-key", key, VarRef::PREFIX)?;
            }
            self.yggdrasil_peer.iter().for_each(|peer| words.option("--yggdrasil-peer", peer));
        }
        #[cfg(feature = "mycelium")]
        {
            self.mycelium_peer.iter().for_each(|peer| words.option("--mycelium-peer", peer));
            if let Some(will_do) = self.mycelium_public {
                words.option("--mycelium-public-nodes", if will_do { "yes" } else { "no" });
            }
        }
        Ok(())
    }
}

/// A peer may have its password in it, which is not repeated.
fn wrong(overlay: &str, why: &str) -> Error {
    Error::Usage(format!("a peer of {overlay}: {why}"))
}

#[cfg(feature = "yggdrasil")]
fn refuse_password(peers: &[String]) -> Result<()> {
    let why = "others see a password on a command line: put it into ssh_config, as YggdrasilPeer";
    match peers.iter().any(|peer| peer.contains("password=")) {
        true => Err(wrong("Yggdrasil", why)),
        false => Ok(()),
    }
}

/// Puts what is said into the settings for connections with these options of
/// ssh_config(5), which count where the command line says nothing.
#[cfg_attr(not(feature = "yggdrasil"), allow(unused, reason = "only Yggdrasil has keys"))]
pub(super) fn settings(
    settings: &mut dial::Settings,
    global: &Global,
    options: &Options,
    vars: &Arc<Vars>,
) -> Result<()> {
    let said = &global.overlays;
    #[cfg(feature = "yggdrasil")]
    {
        let key =
            said.yggdrasil_key.as_deref().or(options.yggdrasil_key.first().map(String::as_str));
        let peers = or(&said.yggdrasil_peer, &options.yggdrasil_peer);
        refuse_password(&said.yggdrasil_peer)?;
        settings.yggdrasil = dial::yggdrasil::Settings::of(key, peers, vars.clone(), &global.env)
            .map_err(|why| wrong("Yggdrasil", why))?;
        settings.yggdrasil.memory = Places::of_user(&global.env).map(|it| Arc::new(it) as _);
    }
    #[cfg(feature = "mycelium")]
    {
        let peers = or(&said.mycelium_peer, &options.mycelium_peer);
        let public = said.mycelium_public.or(options.mycelium_public_nodes);
        settings.mycelium =
            dial::mycelium::Settings::of(peers, public).map_err(|why| wrong("Mycelium", why))?;
    }
    Ok(())
}

fn or<'a>(said: &'a [String], other: &'a [String]) -> &'a [String] {
    if said.is_empty() { other } else { said }
}
