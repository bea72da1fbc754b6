//! The main job with nothing else at hand: a sample clan with a secret host, a
//! machine, and the library's whole path from exports to remote output.
//!
//! Run it with: `cargo run --release --example demo`
#![allow(clippy::print_stdout, reason = "a program that tells what it does")]

use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use age::secrecy::ExposeSecret as _;
use clan_connect::connect::{HostKeySettings, Request, connect};
use clan_connect::plan::{Overrides, plan};
use clan_connect::race::{self, Event};
use clan_connect::ssh::auth::Credentials;
use clan_connect::ssh::hostkey::{HostKeyCheck, KnownHostsFiles};
use clan_connect::ssh::remote::{Remote, Streams, quote};
use clan_connect::user::User;
use clan_connect::vars::{Environment, Vars};
use clan_connect::{Secret, flake};
use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, PrivateKey};
use russh::server::{self, Server as _};
use russh::{Channel, ChannelId};

type Failure = Box<dyn std::error::Error>;

const MACHINE: &str = "my_cool_machine";

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let clan = tempfile::tempdir()?;
    println!("a clan in a temporary folder, with two networks:");
    let machine = start_machine().await?;
    let key = write_clan(clan.path(), machine)?;
    println!("  internet  priority 1000  a closed port of this computer");
    println!("  tunnel    priority   10  {MACHINE}, its host in a var encrypted with age");

    let exports = flake::read_exports(&clan.path().join("exports.json"))?;
    let routes = plan(&exports, MACHINE, &Overrides::default())?;
    println!("\nclan-connect ssh {MACHINE} -c hostname");
    let nobody = Arc::new(Nobody);
    let identity = clan.path().join("key.txt");
    let vars = Vars::new(
        Some(clan.path().to_owned()),
        vec![identity],
        Environment::default(),
        nobody.clone(),
    );
    let request = Request {
        machine: MACHINE.to_owned(),
        routes,
        last: None,
        no_route: None,
        last_resort: None,
        vars: Arc::new(vars),
        deadline: Some(Duration::from_secs(10)),
        grace: race::DEFAULT_GRACE,
        tor: Default::default(),
        origin: Default::default(),
        rekey: Default::default(),
        host_keys: HostKeySettings {
            check: HostKeyCheck::Tofu,
            files: KnownHostsFiles {
                user: vec![clan.path().join("known_hosts")],
                ..KnownHostsFiles::default()
            },
            ..HostKeySettings::default()
        },
        keepalive_interval: Duration::from_secs(15),
        keepalive_max: 3,
        show_secrets: false,
        credentials: Credentials {
            machine: MACHINE.to_owned(),
            identities: vec![key],
            ..Credentials::new(nobody)
        },
    };
    let mut tell = |event: Event<'_>| match event {
        Event::Started(route) => println!("  trying {} ({})", route.network, route.host),
        Event::Failed(attempt) => println!("  failed: {attempt}"),
        _ => {}
    };
    let connection = connect(request, &mut tell).await?;
    println!(
        "  connected over network {} as {}@{}",
        connection.route.network, connection.route.user, connection.host
    );

    let (_sizes, sizes) = tokio::sync::mpsc::unbounded_channel();
    let remote = Remote { command: Some(quote(&["hostname".to_owned()])), ..Remote::default() };
    let streams = Streams {
        input: tokio::io::empty(),
        output: tokio::io::stdout(),
        errors: tokio::io::stderr(),
        sizes,
        escapes: None,
        no_terminal: None,
    };
    println!("\nthe machine answers:");
    let ending = connection.session.start(MACHINE, &remote).await?.converse(streams).await?;
    connection.session.disconnect().await;
    println!("\nexit status {}", ending.exit_code());
    let known = std::fs::read_to_string(clan.path().join("known_hosts"))?;
    println!("remembered its host key under the name, never the host:\n  {}", known.trim_end());
    Ok(())
}

/// Writes a clan as Clan itself would: exports, an age identity, and the var
/// with the machine's host for that identity.
fn write_clan(clan: &Path, machine: SocketAddr) -> Result<std::path::PathBuf, Failure> {
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

/// Nobody answers questions in a demo.
struct Nobody;

impl User for Nobody {
    fn ask(&self, _: &str, _: bool) -> Option<Secret<String>> {
        None
    }

    fn tell(&self, text: &str) {
        println!("  {text}");
    }

    fn warn(&self, text: &str) {
        println!("  {text}");
    }
}

/// An SSH server that stands for the machine: takes any key, knows `hostname`.
async fn start_machine() -> Result<SocketAddr, Failure> {
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

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        command: &[u8],
        session: &mut server::Session,
    ) -> Result<(), Self::Error> {
        session.channel_success(channel)?;
        let known = command == b"hostname";
        if known {
            session.data(channel, format!("{MACHINE}\n").into_bytes())?;
        }
        session.exit_status_request(channel, if known { 0 } else { 127 })?;
        session.eof(channel)?;
        session.close(channel)
    }
}
