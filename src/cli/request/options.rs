//! The options of ssh_config(5) that mean the same for every command. Owns their
//! values; reads no configuration.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::seconds;
use crate::error::{Error, Result};
use crate::ssh::algorithms::Algorithms;
use crate::ssh::hostkey::HostKeyCheck;
use crate::ssh::known_hosts::Program;

/// What direct connections go through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) enum Proxy {
    /// `ProxyJump`: hosts between commas.
    Jump(String),
    /// `ProxyCommand`, with its tokens.
    Command(String),
}

/// The options of ssh_config(5) that `--ssh-option` takes.
#[derive(Debug, Default)]
pub(in crate::cli) struct SshOptions {
    pub(in crate::cli) user: Option<String>,
    pub(in crate::cli) port: Option<u16>,
    pub(super) host_key_alias: Option<String>,
    pub(super) host_key_check: Option<HostKeyCheck>,
    pub(super) user_known_hosts: Option<Vec<PathBuf>>,
    pub(super) identity_files: Vec<PathBuf>,
    pub(super) connect_timeout: Option<Duration>,
    pub(super) keepalive_interval: Option<Duration>,
    pub(super) keepalive_max: Option<usize>,
    /// Ours, for where no other option can be given.
    pub(super) tor_auth: Vec<String>,
    pub(super) global_known_hosts: Option<Vec<PathBuf>>,
    pub(super) hash_known_hosts: Option<bool>,
    pub(super) update_host_keys: Option<bool>,
    pub(super) revoked_host_keys: Vec<PathBuf>,
    pub(in crate::cli) known_hosts_command: Option<Program>,
    pub(super) verify_dns: bool,
    /// Ours, for a DNS with a root of its own.
    pub(super) dnssec_anchor: Option<PathBuf>,
    pub(super) algorithms: Algorithms,
    pub(in crate::cli) proxy: Option<Proxy>,
}

impl SshOptions {
    /// The pairs of `--ssh-option`.
    pub(in crate::cli) fn parse(pairs: &[String]) -> Result<Self> {
        let mut options = Self::default();
        for pair in pairs.chunks_exact(2) {
            let [name, value] = pair else { continue };
            let files = match value.eq_ignore_ascii_case("none") {
                true => Vec::new(),
                false => value.split_whitespace().map(expand_home).collect(),
            };
            options.set(name, value, files).map_err(|error| error.at("--ssh-option "))?;
        }
        Ok(options)
    }

    /// Sets one option; `files` is what the value names, if that is files.
    pub(in crate::cli) fn set(
        &mut self,
        name: &str,
        value: &str,
        files: Vec<PathBuf>,
    ) -> Result<()> {
        let bad = |why: &str| Error::Usage(format!("{name} {value:?}: {why}"));
        let yes = || match value.to_ascii_lowercase().as_str() {
            "yes" | "true" => Ok(true),
            "no" | "false" => Ok(false),
            _ => Err(bad("neither yes nor no")),
        };
        if self.algorithms.set(name, value)? {
            return Ok(());
        }
        let number = || value.parse::<u64>().map_err(|_| bad("not a number"));
        match name.to_ascii_lowercase().as_str() {
            "user" => self.user = Some(value.to_owned()),
            "port" => {
                let port = u16::try_from(number()?).ok().filter(|port| *port > 0);
                self.port = Some(port.ok_or_else(|| bad("not a port"))?);
            }
            "hostkeyalias" => self.host_key_alias = Some(value.to_owned()),
            "stricthostkeychecking" => {
                let check = value.parse().map_err(|_| bad("not a way to check host keys"))?;
                self.host_key_check = Some(check);
            }
            "userknownhostsfile" => {
                self.user_known_hosts = Some(files);
            }
            "globalknownhostsfile" => self.global_known_hosts = Some(files),
            "hashknownhosts" => self.hash_known_hosts = Some(yes()?),
            // Nobody is asked about keys that the server proves to have.
            "updatehostkeys" => self.update_host_keys = Some(yes()?),
            "revokedhostkeys" => self.revoked_host_keys = files,
            "verifyhostkeydns" => self.verify_dns = yes()?,
            "dnssecanchor" => {
                let file = expand_home(value);
                let failed = |source| Error::File { action: "read", path: file.clone(), source };
                // Without it nothing would be proved, and nothing said.
                std::fs::File::open(&file).map_err(failed)?;
                self.dnssec_anchor = Some(file);
            }
            "knownhostscommand" => self.known_hosts_command = Program::parse(value)?,
            "identityfile" => self.identity_files.push(expand_home(value)),
            "connecttimeout" => {
                let whole = crate::openssh::seconds(value).filter(|time| *time > 0);
                let time = whole.map(Duration::from_secs).map_or_else(|| seconds(value), Ok);
                self.connect_timeout = Some(time.map_err(|why| bad(&why))?);
            }
            "serveraliveinterval" => {
                let time = crate::openssh::seconds(value).ok_or_else(|| bad("not a time"))?;
                self.keepalive_interval = Some(Duration::from_secs(time));
            }
            "serveralivecountmax" => {
                self.keepalive_max =
                    Some(usize::try_from(number()?).map_err(|_| bad("too large"))?);
            }
            "proxyjump" | "proxycommand" if value.eq_ignore_ascii_case("none") => self.proxy = None,
            "proxyjump" => self.proxy = Some(Proxy::Jump(value.to_owned())),
            "proxycommand" => self.proxy = Some(Proxy::Command(value.to_owned())),
            "torauth" => self.tor_auth.push(value.to_owned()),
            _ => {
                return Err(bad(
                    "not supported here, only CASignatureAlgorithms, Ciphers, Compression, ConnectTimeout, \
                     DnssecAnchor, GlobalKnownHostsFile, HashKnownHosts, HostKeyAlgorithms, HostKeyAlias, \
                     IdentityFile, KexAlgorithms, KnownHostsCommand, MACs, Port, \
                     ProxyCommand, ProxyJump, RequiredRSASize, RevokedHostKeys, ServerAliveCountMax, \
                     ServerAliveInterval, StrictHostKeyChecking, TorAuth, UpdateHostKeys, \
                     User, UserKnownHostsFile, VerifyHostKeyDNS",
                ));
            }
        }
        Ok(())
    }
}

fn expand_home(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => Path::new(&home).join(rest),
        _ => PathBuf::from(path),
    }
}
