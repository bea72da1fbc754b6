//! The user's ssh-agent (draft-ietf-sshm-ssh-agent): its keys and signatures.
//! Owns talking to it within bounds; decides nothing.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use russh::client;
use russh::keys::agent::client::{AgentClient, AgentStream};
use russh::keys::agent::{AgentIdentity, Constraint};
use russh::keys::{HashAlg, PrivateKey};

use super::super::Client;

/// A hardware key may wait for a touch.
const SIGN_DEADLINE: Duration = Duration::from_secs(60);
/// Listing keys needs nobody's touch.
const LIST_DEADLINE: Duration = Duration::from_secs(5);

pub(super) type Agent = AgentClient<Box<dyn AgentStream + Send + Unpin>>;

/// Connects to the agent and asks for its keys.
pub(super) async fn open(
    path: &Path,
    handle: &client::Handle<Client>,
) -> Result<(Agent, Vec<AgentIdentity>), &'static str> {
    let opening = async {
        let client = AgentClient::connect_uds(path).await.map_err(|_| "cannot be reached")?;
        let mut client = client.dynamic();
        // Lets the agent enforce destination constraints; old agents refuse the
        // extension, which costs nothing (PROTOCOL.agent, section 1).
        if let Some(binding) = handle.agent_session_binding() {
            let _ = client.bind_session(binding, false).await;
        }
        let identities = client.request_identities().await.map_err(|_| "does not list its keys")?;
        Ok((client, identities))
    };
    tokio::time::timeout(LIST_DEADLINE, opening).await.map_err(|_| "does not answer")?
}

/// How keys are given to the agent (`AddKeysToAgent` in ssh_config(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AddKeys {
    /// The user is asked before.
    pub asks: bool,
    /// The agent asks at every use.
    pub confirm: bool,
    /// The agent forgets it after so many seconds.
    pub lifetime: Option<u32>,
}

/// Adds a key; false if the agent does not take it.
pub(super) async fn add(agent: &mut Agent, key: &PrivateKey, how: AddKeys) -> bool {
    let mut constraints = Vec::new();
    constraints.extend(how.lifetime.map(|seconds| Constraint::KeyLifetime { seconds }));
    constraints.extend(how.confirm.then_some(Constraint::Confirm));
    let adding = agent.add_identity(key, &constraints);
    matches!(tokio::time::timeout(LIST_DEADLINE, adding).await, Ok(Ok(())))
}

/// An agent that cannot hold up the session for ever.
pub(super) struct Bounded<'a> {
    pub(super) agent: &'a mut Agent,
    /// Whether it is the agent that is waited for, and not the server.
    pub(super) signing: &'a AtomicBool,
    /// What the agent calls the key: it need not know of its certificate.
    pub(super) identity: &'a AgentIdentity,
}

pub(super) enum SignError {
    Agent,
    Session,
}

impl From<russh::SendError> for SignError {
    fn from(_: russh::SendError) -> Self {
        Self::Session
    }
}

impl russh::Signer for Bounded<'_> {
    type Error = SignError;

    async fn auth_sign(
        &mut self,
        _: &AgentIdentity,
        hash: Option<HashAlg>,
        data: Vec<u8>,
    ) -> Result<Vec<u8>, SignError> {
        self.signing.store(true, Ordering::Relaxed);
        let signing = self.agent.sign_request(self.identity, hash, data);
        let signed = tokio::time::timeout(SIGN_DEADLINE, signing).await;
        self.signing.store(false, Ordering::Relaxed);
        match signed {
            Ok(Ok(signed)) => Ok(signed),
            _ => Err(SignError::Agent),
        }
    }
}
