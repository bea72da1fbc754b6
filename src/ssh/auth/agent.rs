//! The user's ssh-agent (draft-ietf-sshm-ssh-agent): its keys and signatures.
//! Owns talking to it within bounds; decides nothing.

use std::path::Path;
use std::time::Duration;

use russh::client;
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::{AgentClient, AgentStream};
use russh::keys::ssh_encoding::Encode;
use russh::keys::{HashAlg, PrivateKey};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use zeroize::Zeroizing;

use super::super::Client;

/// A hardware key may wait for a touch.
const SIGN_DEADLINE: Duration = Duration::from_secs(60);
/// Listing keys needs nobody's touch.
const LIST_DEADLINE: Duration = Duration::from_secs(5);
/// Numbers of the protocol (draft-ietf-sshm-ssh-agent, section 5).
const ADD_IDENTITY: u8 = 17;
const ADD_ID_CONSTRAINED: u8 = 25;
const CONSTRAIN_LIFETIME: u8 = 1;
const CONSTRAIN_CONFIRM: u8 = 2;
const SUCCESS: u8 = 6;

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

/// Has the agent sign; it cannot hold up the session for ever.
pub(super) async fn sign(
    agent: &mut Agent,
    key: &AgentIdentity,
    hash: Option<HashAlg>,
    data: Vec<u8>,
) -> Result<Vec<u8>, &'static str> {
    let signed = tokio::time::timeout(SIGN_DEADLINE, agent.sign_request(key, hash, data)).await;
    signed.map_err(|_| "the agent does not answer")?.map_err(|_| "the agent refused to sign")
}

/// Gives the agent a key, for `seconds` unless that is 0, and so that it asks
/// before each use if `confirm`. russh's own message has no comment.
pub(super) async fn add(path: &Path, key: &PrivateKey, seconds: u32, confirm: bool) -> Option<()> {
    let mut message = Zeroizing::new(vec![match seconds > 0 || confirm {
        true => ADD_ID_CONSTRAINED,
        false => ADD_IDENTITY,
    }]);
    key.key_data().encode(&mut *message).ok()?;
    key.comment().encode(&mut *message).ok()?;
    if seconds > 0 {
        message.push(CONSTRAIN_LIFETIME);
        message.extend(seconds.to_be_bytes());
    }
    if confirm {
        message.push(CONSTRAIN_CONFIRM);
    }
    let adding = async {
        let mut stream = UnixStream::connect(path).await.ok()?;
        stream.write_all(&u32::try_from(message.len()).ok()?.to_be_bytes()).await.ok()?;
        stream.write_all(&message).await.ok()?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).await.ok()?;
        (answer == [0, 0, 0, 1, SUCCESS]).then_some(())
    };
    tokio::time::timeout(LIST_DEADLINE, adding).await.ok()?
}
