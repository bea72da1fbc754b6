// A clan and a machine to try things with: the exports, a secret host that is encrypted
// with age, and an SSH server on loopback.

use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use age::secrecy::ExposeSecret as _;
use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, PrivateKey};
use russh::server::{self, Server as _};
use russh::{Channel, ChannelId};

pub type Failure = Box<dyn std::error::Error>;

pub const MACHINE: &str = "my_cool_machine";

/// Writes a clan as Clan itself would: exports, an age identity, and the var
/// with the machine's host for that identity.
pub fn write_clan(clan: &Path, machine: SocketAddr) -> Result<std::path::PathBuf, Failure> {
    let identity = age::x25519::Identity::generate();
    private_file(&clan.join("key.txt"), identity.to_string().expose_secret())?;
    std::fs::write(clan.join(".clan-flake"), "")?;

    let var = clan.join(format!("secrets/clan-vars/per-machine/{MACHINE}/tunnel/hostname"));
    std::fs::create_dir_all(&var)?;
    let host = format!("{}\n", machine.ip());
    std::fs::write(
        var.join("hostname.age"),
        age::encrypt(&identity.to_public(), host.as_bytes())?,
    )?;

    let closed = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let exports = serde_json::json!({
        "internet": { "priority": 1000, "module": "clan_lib.network.direct", "peers": { MACHINE: {
            "host": { "plain": closed.ip() }, "port": closed.port(), "name": MACHINE,
        } } },
        "tunnel": { "priority": 10, "module": "clan_lib.network.direct", "peers": { MACHINE: {
            "host": { "var": { "machine": MACHINE, "generator": "tunnel", "file": "hostname" } },
            "port": machine.port(), "name": MACHINE,
        } } },
    });
    std::fs::write(clan.join("exports.json"), exports.to_string())?;

    let key = clan.join("id_ed25519");
    let private = PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519)?;
    private_file(&key, &private.to_openssh(LineEnding::LF)?)?;
    Ok(key)
}

fn private_file(path: &Path, text: &str) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}

/// An SSH server that stands for the machine: takes any key, knows two commands, and
/// sends back what comes over a stream.
pub async fn start_machine() -> Result<SocketAddr, Failure> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let key = PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519)?;
    let config = Arc::new(server::Config { keys: vec![key], ..server::Config::default() });
    tokio::spawn(async move { Machine.run_on_socket(config, &listener).await });
    Ok(address)
}

#[derive(Clone)]
struct Machine;

impl server::Server for Machine {
    type Handler = Self;

    fn new_client(&mut self, _: Option<SocketAddr>) -> Self {
        Self
    }
}

impl server::Handler for Machine {
    type Error = russh::Error;

    async fn auth_publickey(
        &mut self,
        _: &str,
        _: server::VerifiedPublicKey<'_>,
    ) -> Result<server::Auth, Self::Error> {
        Ok(server::Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        _: Channel<server::Msg>,
        reply: server::ChannelOpenHandle,
        _: &mut server::Session,
    ) -> Result<(), Self::Error> {
        reply.accept().await;
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        _: Channel<server::Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        reply: server::ChannelOpenHandle,
        _: &mut server::Session,
    ) -> Result<(), Self::Error> {
        reply.accept().await;
        Ok(())
    }

    async fn data(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        session: &mut server::Session,
    ) -> Result<(), Self::Error> {
        session.data(channel, data.to_vec())
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        command: &[u8],
        session: &mut server::Session,
    ) -> Result<(), Self::Error> {
        session.channel_success(channel)?;
        let output = match command {
            b"hostname" => Some(format!("{MACHINE}\n")),
            b"uname -sm" => Some("Linux x86_64\n".to_owned()),
            _ => None,
        };
        let status = if output.is_some() { 0 } else { 127 };
        if let Some(output) = output {
            session.data(channel, output.into_bytes())?;
        }
        session.exit_status_request(channel, status)?;
        session.eof(channel)?;
        session.close(channel)
    }
}
