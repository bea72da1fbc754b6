//! What a machine's host key is checked against: the clan's own word, else the
//! user's known hosts. Owns the name it is looked up under.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use russh::keys::Algorithm;

use super::Request;
use crate::dial::{self, Target};
use crate::error::{Error, Loss, Result};
use crate::model::HostKeys;
use crate::plan::DEFAULT_PORT;
use crate::ssh::SessionSettings;
use crate::ssh::algorithms::Algorithms;
use crate::ssh::hostkey::{
    Advice, ClanKeys, HostKeyCheck, HostKeyPolicy, KnownHostsFiles, Own, Revoked, Stakes, Wording,
};
use crate::ssh::known_hosts::{Entry, KnownHosts, Name, Program, lookup_name};
use crate::sshfp::Sshfp;

/// What is asked of host keys.
#[derive(Debug, Clone, Default)]
pub struct HostKeySettings {
    /// What to do about keys that the clan does not know.
    pub check: HostKeyCheck,
    /// Name to look the key up under instead of the host.
    pub alias: Option<String>,
    /// All names of the machine, its own first, if it is one of a clan: see
    /// [`super::identity`].
    pub identity: Vec<Name>,
    /// The name that the machine's key is remembered under, if that is not its own.
    pub kept_as: Option<Name>,
    /// What the user's own files call the host.
    pub users_names: Vec<Name>,
    /// Whose words messages are in.
    pub wording: Wording,
    /// What is advised where a clan's word is in question.
    pub advice: Advice,
    /// What a server does not get whose key nobody vouches for.
    pub stakes: Stakes,
    /// Where known host keys are.
    pub files: KnownHostsFiles,
    /// `RevokedHostKeys`.
    pub revoked: Vec<PathBuf>,
    /// `KnownHostsCommand`.
    pub program: Option<Program>,
    /// `UpdateHostKeys`: keep what the user's file says of a server up to date.
    pub update: bool,
    /// `VerifyHostKeyDNS`: believe SSHFP records that DNSSEC proves.
    pub verify_dns: bool,
    /// `NoHostAuthenticationForLocalhost`: what is reached at a loopback address
    /// is this computer, but for a machine whose key the clan knows.
    pub trusts_loopback: bool,
    /// The keys of another root of the DNS than the internet's.
    pub dnssec_anchor: Option<PathBuf>,
    /// What may be used.
    pub algorithms: Algorithms,
    /// What the clan itself says of the machine.
    pub of_clan: Option<HostKeys>,
    /// Another key than the clan's will do: the machine is one that is being installed.
    pub passes_over_clan: bool,
    /// The user named or allowed the clan: its word counts more than his files.
    pub clan_is_named: bool,
}

/// All of it, read.
pub struct Trust {
    known: Arc<KnownHosts>,
    revoked: Vec<Arc<Revoked>>,
    clan: Option<ClanKeys>,
    /// The user's own files, where the clan must not contradict them.
    own: Option<Arc<KnownHosts>>,
}

/// A line that counts for a machine.
#[derive(Debug, Clone)]
pub struct Counted {
    /// What for.
    pub kind: EntryKind,
    /// The name that it counts for.
    pub name: String,
    /// The line.
    pub entry: Entry,
}

/// What a line is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// The host's own key.
    Key,
    /// A key that signs certificates of hosts.
    Authority,
    /// A key that is never accepted.
    Revoked,
}

impl fmt::Display for EntryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Key => "key",
            Self::Authority => "authority",
            Self::Revoked => "revoked",
        })
    }
}

impl Trust {
    /// Reads what `request` names.
    ///
    /// # Errors
    /// [`Error::KnownHosts`], and [`Error::VarBroken`] for a key in the clan that
    /// nobody can use.
    pub async fn load(request: &Request) -> Result<Self> {
        Self::of(request.host_keys.clone(), request.machine.clone()).await
    }

    /// Reads what `settings` name for a machine.
    ///
    /// # Errors
    /// As for [`Trust::load`].
    pub async fn of(settings: HostKeySettings, machine: String) -> Result<Self> {
        tokio::task::spawn_blocking(move || Self::read(&settings, &machine))
            .await
            .unwrap_or(Err(Error::Internal))
    }

    fn read(settings: &HostKeySettings, machine: &str) -> Result<Self> {
        let files = settings.files.user.iter().chain(&settings.files.global);
        let mut known = KnownHosts::load(files)?;
        let revoked = settings
            .revoked
            .iter()
            .map(|path| Revoked::load(path).map(Arc::new))
            .collect::<Result<_>>()?;
        let clan =
            settings.of_clan.as_ref().map(|keys| ClanKeys::new(machine, keys)).transpose()?;
        // Its addresses may be those of a host that the user knows by another name.
        let is_of_a_clan = clan.is_some() || !settings.identity.is_empty();
        let own = (is_of_a_clan && !settings.clan_is_named).then(|| Arc::new(known.clone()));
        if let Some(clan) = &clan {
            if clan.is_complete {
                known.retain_revoked();
            }
            known.extend(clan.known.clone());
        }
        Ok(Self { known: Arc::new(known), revoked, clan, own })
    }

    /// Whether the clan's own keys of the machine count, and nothing else.
    pub fn is_of_clan(&self) -> bool {
        self.clan.as_ref().is_some_and(|clan| clan.is_complete)
    }

    /// Whether the clan has an authority for the names of the machine, and no key of it.
    pub fn is_certified(&self) -> bool {
        self.clan.as_ref().is_some_and(|clan| clan.is_certified && !clan.is_complete)
    }

    /// All that counts for `machine`, which is reached under `names`.
    pub fn counted(&self, machine: &str, names: &[(String, u16)]) -> Vec<Counted> {
        let own = [(machine.to_owned(), DEFAULT_PORT)];
        let names = if self.is_of_clan() { &own } else { names };
        let mut counted: Vec<Counted> = Vec::new();
        let mut count = |kind, name: &str, entries: Vec<Entry>| {
            for entry in entries {
                let is_there = |other: &Counted| other.entry == entry && other.kind == kind;
                if !counted.iter().any(is_there) {
                    counted.push(Counted { kind, name: name.to_owned(), entry });
                }
            }
        };
        for (name, port) in names {
            count(EntryKind::Key, name, self.known.keys(name, *port));
            count(EntryKind::Authority, name, self.known.authorities(name, *port));
        }
        for name in self.clan.iter().flat_map(|clan| &clan.names) {
            count(EntryKind::Authority, name, self.known.authorities(name, DEFAULT_PORT));
        }
        for (name, port) in names {
            count(EntryKind::Revoked, name, self.known.all_revoked(name, *port));
        }
        counted
    }

    /// Without the advice to allow a type of host keys that the clan has no key of: no other
    /// key will do.
    pub(super) fn advised(&self, loss: Loss, request: &Request) -> Loss {
        let known = match &self.clan {
            // An authority may have signed any key.
            Some(clan) if clan.is_complete && !clan.is_certified => &clan.known,
            _ => return loss,
        };
        let (Loss::NoCommon(mut missing), false) =
            (loss.clone(), request.host_keys.passes_over_clan)
        else {
            return loss;
        };
        let stated = known.known_algorithms(&request.machine, DEFAULT_PORT);
        missing.among_host_keys(&|name| stated.iter().any(|stated| is_of_type(name, stated)));
        Loss::NoCommon(missing)
    }

    /// What the DNS proves about the keys of `target`, where the user wants it and
    /// nothing nearer is known of it.
    pub(super) async fn sshfp(&self, request: &Request, target: &Target) -> Vec<Sshfp> {
        let settings = &request.host_keys;
        let is_listed = |name: &str, port| !self.known.keys(name, port).is_empty();
        let is_known = is_listed(target.host.expose(), target.port)
            || settings.identity.iter().any(|(name, port)| is_listed(name, *port));
        if !settings.verify_dns || settings.alias.is_some() || self.is_of_clan() || is_known {
            return Vec::new();
        }
        // Who relies on a library to be led has his names asked for by it as well.
        if request.socket_options.preload.is_some() {
            return Vec::new();
        }
        dial::sshfp(target, settings.dnssec_anchor.as_deref()).await
    }

    /// How a session with `target`, which is at the address `peer`, is set up. Without
    /// `allow_first_use` only keys that are known already pass.
    pub(super) fn options(
        &self,
        request: &Request,
        target: &Target,
        peer: Option<IpAddr>,
        allow_first_use: bool,
    ) -> SessionSettings {
        let settings = &request.host_keys;
        let of_clan = self.is_of_clan();
        // Who answers at a loopback address is not the machine for that.
        let is_this_computer = settings.trusts_loopback
            && !of_clan
            && !self.is_certified()
            && settings.alias.is_none()
            && peer.is_some_and(|ip| ip.is_loopback());
        let check = match settings.check {
            _ if of_clan && settings.passes_over_clan => HostKeyCheck::None,
            // The clan knows it: nobody has to be asked, and no one believed.
            check if of_clan && check != HostKeyCheck::None => HostKeyCheck::Strict,
            // It has a key that was signed, but for a machine that the clan has made no key for.
            HostKeyCheck::AcceptNew | HostKeyCheck::Tofu | HostKeyCheck::No
                if self.is_certified() && !settings.passes_over_clan =>
            {
                HostKeyCheck::Ask
            }
            check => check,
        };
        // A secret host must not be written into known_hosts: the machine's own
        // name stands for it, as HostKeyAlias does in ssh_config(5).
        let name = match &settings.alias {
            _ if of_clan => (request.machine.clone(), DEFAULT_PORT),
            Some(alias) => (alias.clone(), DEFAULT_PORT),
            None if target.secret => {
                let own = || (request.machine.clone(), DEFAULT_PORT);
                settings.kept_as.clone().unwrap_or_else(own)
            }
            None => (target.host.expose().clone(), target.port),
        };
        // With a name that the user has given, that name alone counts.
        let is_named = settings.alias.is_some() && !of_clan;
        let identity = if is_named { Vec::new() } else { settings.identity.clone() };
        let peer = (!target.secret).then(|| peer.map(|ip| ip.to_string()));
        let peer = peer.unwrap_or_else(|| Some(target.label.clone()));
        let peer = peer.map(|address| (address, target.port));
        let titles = titles(&name, identity.first(), target, peer.as_ref());
        // Whatever the user's own files may call it.
        let mut names = settings.identity.clone();
        names.extend(settings.users_names.clone());
        names.push((request.machine.clone(), DEFAULT_PORT));
        names.push((request.machine.clone(), target.port));
        names.push((target.host.expose().clone(), target.port));
        names.extend(settings.alias.clone().map(|alias| (alias, DEFAULT_PORT)));
        let certificate_names: Vec<String> =
            self.clan.iter().flat_map(|clan| clan.names.clone()).collect();
        names.extend(certificate_names.iter().map(|name| (name.clone(), DEFAULT_PORT)));
        let own =
            self.own.clone().map(|known| Own { known, names, machine: request.machine.clone() });
        let program = settings.program.clone().filter(|_| !of_clan || own.is_some());
        let policy = HostKeyPolicy {
            check,
            name,
            identity,
            kept_as: settings.kept_as.clone().filter(|_| !is_named),
            files: settings.files.clone(),
            shown: format!("{} ({})", request.machine, target.label),
            titles,
            peer,
            wording: settings.wording,
            advice: settings.advice,
            stakes: settings.stakes.clone(),
            allow_first_use,
            certificate_names,
            revoked: self.revoked.clone(),
            program,
            sshfp: Vec::new(),
            algorithms: settings.algorithms.clone(),
            of_clan,
            uncontradicted: own,
            is_certified: self.is_certified(),
            is_this_computer,
        };
        SessionSettings {
            keepalive_interval: request.keepalive_interval,
            rekey: request.rekey,
            keepalive_max: request.keepalive_max,
            deadline: request.deadline.unwrap_or(super::ANSWER_DEADLINE),
            update_host_keys: settings.update && !of_clan,
            policy,
            known: self.known.clone(),
            keystrokes: request.keystrokes,
            pipelining: request.pipelining,
            servers: request.servers.clone(),
            prompter: request.credentials.prompter.clone(),
        }
    }
}

/// Whether a host key algorithm is for a key of this type: there are three for RSA.
fn is_of_type(name: &str, key: &Algorithm) -> bool {
    match (Algorithm::new(name), key) {
        (Ok(Algorithm::Rsa { .. }), Algorithm::Rsa { .. }) => true,
        (Ok(algorithm), key) => algorithm == *key,
        (Err(_), _) => false,
    }
}

/// The host and its address as ssh(1) shows them (sshconnect.c,
/// `get_hostfile_hostname_ipaddr`); a machine by its name, and no secret address.
fn titles(
    (name, port): &Name,
    machine: Option<&Name>,
    target: &Target,
    peer: Option<&Name>,
) -> (String, String) {
    let host = machine.map_or_else(|| lookup_name(name, *port), |(machine, _)| machine.clone());
    let address = match peer {
        Some((label, _)) if target.secret => label.clone(),
        Some((address, port)) => lookup_name(address, *port),
        None => "<no hostip for proxy command>".to_owned(),
    };
    (host, address)
}
