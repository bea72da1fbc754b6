//! What is said first on a stream: our identification, the algorithms that we take and,
//! to a server that was met before, the first packet of the key exchange that it prefers.
//! Owns the guess at that (RFC 4253, section 7), which is right if what we put first is
//! what the server does. Our own order is never another for it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use russh::keys::PublicKey;
use russh::{Firsts, client};

use super::known_hosts::{KnownHosts, Name, Verdict};
use super::{IDENTIFICATION, SessionSettings, config, order_program};

/// Who remembers servers by their host keys.
pub trait ServerMemory: fmt::Debug + Send + Sync {
    /// The key exchange method and the host key algorithm that the server with this host
    /// key has put first.
    fn firsts(&self, host_key: &[u8]) -> Option<(String, String)>;
    /// Notes what it has. Says nothing when it cannot.
    fn note(&self, host_key: &[u8], kex: &str, host_key_algorithm: &str);
    /// Expects nothing of it any longer.
    fn forget(&self, host_key: &[u8]);
}

/// What is said first on a stream, once.
#[derive(Debug, Default)]
pub struct Greeting {
    bytes: Vec<u8>,
    /// The same for who goes on with it, if there is more than the identification.
    pub(super) whole: Option<client::Greeting>,
    /// What is remembered of the server.
    pub(super) expected: Option<Expected>,
}

/// What a server that was met before put first.
#[derive(Debug)]
pub(super) struct Expected {
    servers: Arc<dyn ServerMemory>,
    host_key: Vec<u8>,
    pub(super) firsts: Firsts,
}

/// A server that was met, and what is remembered of it.
pub struct Met {
    servers: Arc<dyn ServerMemory>,
    host_key: PublicKey,
    firsts: Firsts,
    /// Whether it may be remembered.
    is_kept: bool,
    expected: Option<Expected>,
}

impl Greeting {
    /// As it is written; nothing if nobody has spoken yet.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn identification() -> Self {
        Self { bytes: IDENTIFICATION.as_bytes().to_vec(), ..Self::default() }
    }
}

impl Expected {
    /// A key exchange came to nothing: whosever fault it was, no guess is made again.
    pub(super) async fn forget(self) {
        let forgetting = move || self.servers.forget(&self.host_key);
        let _ = tokio::task::spawn_blocking(forgetting).await;
    }
}

/// What is said first on a stream, in one piece: our identification and, unless a
/// program of the user's has to be asked for their order, the algorithms that we take.
/// A server begins its own key exchange as soon as it has the first.
pub fn greeting(options: &SessionSettings) -> Greeting {
    match order_program(&options.policy) {
        Some(_) => Greeting::identification(),
        None => with(&config(options, &options.known), &options.known, options),
    }
}

/// The same where it is known which algorithms these are.
pub(super) fn with(
    config: &client::Config,
    known: &KnownHosts,
    options: &SessionSettings,
) -> Greeting {
    if !options.pipelining {
        return Greeting::identification();
    }
    let expected = expected(known, options);
    let firsts = expected.as_ref().map(|expected| &expected.firsts);
    match client::greeting(config, firsts) {
        Ok(whole) => Greeting { bytes: whole.bytes().to_vec(), whole: Some(whole), expected },
        Err(_) => Greeting::identification(),
    }
}

/// What the server puts first that has one of the keys which are known for this host.
fn expected(known: &KnownHosts, options: &SessionSettings) -> Option<Expected> {
    let servers = options.servers.as_ref()?;
    let entries = options.policy.names().flat_map(|(name, port)| known.keys(name, *port));
    let mut keys = entries.filter_map(|entry| entry.key.to_bytes().ok());
    keys.find_map(|host_key| {
        let (kex, algorithm) = servers.firsts(&host_key)?;
        let firsts = Firsts { kex, host_key: algorithm };
        Some(Expected { servers: servers.clone(), host_key, firsts })
    })
}

/// Whether servers with this identification are known to pass over a wrong guess, and to
/// take a right one.
pub fn takes_guesses(identification: &str) -> bool {
    let name = identification.strip_prefix("SSH-2.0-").unwrap_or_default();
    name.starts_with("OpenSSH_") && !name.starts_with("OpenSSH_for_Windows")
}

impl Met {
    /// The server with this key, which is vouched for. What it puts first is remembered
    /// where its key is kept as well, and leaves no trace where no host does.
    pub(super) fn new(
        options: &SessionSettings,
        known: &KnownHosts,
        found: Option<(&PublicKey, Firsts)>,
        expected: Option<Expected>,
    ) -> Option<Self> {
        let (host_key, firsts) = found?;
        let policy = &options.policy;
        let is_kept =
            || policy.files.user.first().is_some_and(|file| file != Path::new("/dev/null"));
        let is_known = |(name, port): &Name| {
            matches!(known.lookup(name, *port, host_key), Verdict::Known { .. })
        };
        Some(Self {
            servers: options.servers.clone()?,
            host_key: host_key.clone(),
            firsts,
            is_kept: is_kept() || policy.names().any(is_known),
            expected,
        })
    }

    /// Has it remembered, if the server of this identification takes guesses, so that the
    /// next key exchange with it may begin sooner.
    pub fn remember(self, identification: &str) {
        let Self { servers, host_key, firsts, is_kept, expected } = self;
        let takes = takes_guesses(identification);
        match expected {
            Some(expected) if takes && expected.firsts == firsts => return,
            // It may have been expected by another of its keys.
            Some(expected) => servers.forget(&expected.host_key),
            None => {}
        }
        if let Ok(host_key) = host_key.to_bytes()
            && takes
            && is_kept
        {
            servers.note(&host_key, &firsts.kex, &firsts.host_key);
        }
    }
}

#[cfg(test)]
impl From<&str> for Greeting {
    fn from(text: &str) -> Self {
        Self { bytes: text.into(), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_servers_that_are_known_to_take_guesses_are_met_with_one() {
        for (identification, takes) in [
            ("SSH-2.0-OpenSSH_10.0p2 Debian-7", true),
            ("SSH-2.0-OpenSSH_6.6", true),
            ("SSH-2.0-OpenSSH_for_Windows_9.5", false),
            ("SSH-2.0-OpenSSHlike", false),
            ("SSH-1.99-OpenSSH_4.3", false),
            ("SSH-2.0-dropbear_2022.83", false),
            ("SSH-2.0-", false),
            ("", false),
        ] {
            assert_eq!(takes_guesses(identification), takes, "{identification}");
        }
    }
}
