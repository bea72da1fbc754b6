//! The whole way from routes to a session, against russh servers in process.

mod begun;
mod met;
mod word;

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use russh::keys::{Algorithm, PrivateKey, PublicKey};
use russh::server::{self, Server as _};

use super::*;
use crate::model::Technology;
use crate::prompter::Prompter;
use crate::race;
use crate::ssh::hostkey::KnownHostsFiles;
use crate::ssh::known_hosts;
use crate::vars::{Environment, Vars};

fn key() -> PrivateKey {
    PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519).unwrap()
}

/// An SSH server that takes one password.
struct Machine {
    address: SocketAddr,
    key: PublicKey,
    authenticated: Arc<AtomicUsize>,
}

#[derive(Clone)]
struct Handler {
    authenticated: Arc<AtomicUsize>,
    /// Whether it asks, in foul words, instead of taking the password.
    asks: bool,
}

impl Machine {
    async fn start() -> Self {
        Self::start_as(false).await
    }

    async fn start_as(asks: bool) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let private = key();
        let public = private.public_key().clone();
        let config = server::Config {
            keys: vec![private],
            auth_rejection_time: Duration::ZERO,
            ..server::Config::default()
        };
        let authenticated = Arc::new(AtomicUsize::new(0));
        let mut handler = Handler { authenticated: authenticated.clone(), asks };
        tokio::spawn(async move { handler.run_on_socket(Arc::new(config), &listener).await });
        Self { address, key: public, authenticated }
    }

    fn route(&self, network: &str) -> Route {
        Route {
            network: network.to_owned(),
            technology: Technology::DIRECT,
            host: Host::Plain(self.address.ip().to_string()),
            port: self.address.port(),
            user: "root".to_owned(),
            priority: 0,
        }
    }
}

impl server::Server for Handler {
    type Handler = Self;

    fn new_client(&mut self, _: Option<SocketAddr>) -> Self {
        self.clone()
    }
}

impl server::Handler for Handler {
    type Error = russh::Error;

    async fn auth_password(
        &mut self,
        _: &str,
        password: &str,
    ) -> Result<server::Auth, russh::Error> {
        if password != "right" || self.asks {
            return Ok(server::Auth::reject());
        }
        self.authenticated.fetch_add(1, Ordering::SeqCst);
        Ok(server::Auth::Accept)
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        _: &str,
        _: &str,
        response: Option<server::Response<'a>>,
    ) -> Result<server::Auth, russh::Error> {
        if !self.asks {
            return Ok(server::Auth::reject());
        }
        let Some(mut response) = response else {
            return Ok(server::Auth::Partial {
                name: "\x1b[2Jlocal passphrase".into(),
                instructions: "do\x07 it\r\x1b]0;owned\x07".into(),
                prompts: vec![("Pass\x1b[31mword\x08: ".into(), false)].into(),
            });
        };
        match response.next() {
            Some(answer) if &*answer == b"right" => {
                self.authenticated.fetch_add(1, Ordering::SeqCst);
                Ok(server::Auth::Accept)
            }
            _ => Ok(server::Auth::reject()),
        }
    }
}

/// Answers every question with the same word and keeps what it was told.
struct Script {
    answer: &'static str,
    told: Mutex<Vec<String>>,
    asked: AtomicUsize,
}

impl Prompter for Script {
    fn ask(&self, prompt: &str, _: bool) -> Option<Secret<String>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.tell(prompt);
        (!self.answer.is_empty()).then(|| Secret::new(self.answer.to_owned()))
    }

    fn tell(&self, text: &str) {
        self.told.lock().unwrap().push(text.to_owned());
    }

    fn warn(&self, text: &str) {
        self.tell(text);
    }
}

struct Case {
    dir: tempfile::TempDir,
    user: Arc<Script>,
    request: Request,
}

fn case(routes: Vec<Route>, check: HostKeyCheck, answer: &'static str) -> Case {
    let dir = tempfile::tempdir().unwrap();
    let user = Arc::new(Script { answer, told: Mutex::default(), asked: AtomicUsize::new(0) });
    let request = Request {
        exports_are_named: true,
        machine: "m".to_owned(),
        routes,
        last: None,
        no_route: None,
        last_resort: None,
        vars: Arc::new(Vars::new(None, Vec::new(), Environment::default(), user.clone())),
        deadline: Some(Duration::from_secs(5)),
        grace: race::DEFAULT_GRACE,
        settings: Default::default(),
        socket_options: Default::default(),
        rekey: Default::default(),
        keystrokes: None,
        pipelining: true,
        servers: None,
        opens: None,
        host_keys: HostKeySettings {
            check,
            files: KnownHostsFiles {
                user: vec![dir.path().join("known_hosts")],
                global: Vec::new(),
                hash_names: false,
                home: None,
            },
            ..HostKeySettings::default()
        },
        keepalive_interval: Duration::ZERO,
        keepalive_max: 3,
        show_secrets: false,
        credentials: Credentials { machine: "m".to_owned(), ..Credentials::new(user.clone()) },
    };
    Case { dir, user, request }
}

impl Case {
    fn know(&self, machine: &Machine, key: &PublicKey) {
        let path = self.dir.path().join("known_hosts");
        let ip = machine.address.ip().to_string();
        known_hosts::add(&path, &ip, machine.address.port(), key, false).unwrap();
    }

    async fn connect(&self) -> Result<Connected> {
        connect(self.request.clone(), &mut |_| {}).await
    }

    fn told(&self) -> String {
        self.user.told.lock().unwrap().join("\n")
    }
}

#[tokio::test]
async fn after_a_wrong_key_no_other_route_is_trusted_on_first_use() {
    let (intruder, machine) = (Machine::start().await, Machine::start().await);
    let routes = vec![intruder.route("high"), machine.route("low")];
    let case = case(routes, HostKeyCheck::Tofu, "right");
    case.know(&intruder, key().public_key());

    let error = case.connect().await.err().unwrap();
    let Error::Unreachable { attempts, .. } = &error else { panic!("{error}") };
    assert_eq!(attempts.len(), 2, "{error}");
    assert!(case.told().contains("IDENTIFICATION HAS CHANGED"), "{}", case.told());
    assert_eq!(machine.authenticated.load(Ordering::SeqCst), 0);

    // Once its key is known the lower route is as good as any.
    case.know(&machine, &machine.key);
    assert_eq!(case.connect().await.ok().unwrap().route.network, "low");
    assert_eq!(intruder.authenticated.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_wrong_key_on_the_only_route_is_a_host_key_error() {
    let machine = Machine::start().await;
    let case = case(vec![machine.route("only")], HostKeyCheck::AcceptNew, "right");
    case.know(&machine, key().public_key());
    let error = case.connect().await.err().unwrap();
    assert!(matches!(error, Error::HostKey { .. }), "{error}");
    assert_eq!(case.user.asked.load(Ordering::SeqCst), 0, "no password was asked for");
}

#[tokio::test]
async fn strict_refuses_an_unknown_key_and_tofu_writes_it_down() {
    let machine = Machine::start().await;
    let mut case = case(vec![machine.route("only")], HostKeyCheck::Strict, "right");
    assert!(matches!(case.connect().await, Err(Error::HostKey { .. })));
    case.request.host_keys.check = HostKeyCheck::Tofu;
    assert!(case.connect().await.is_ok());
    case.request.host_keys.check = HostKeyCheck::Strict;
    assert!(case.connect().await.is_ok());
}

#[tokio::test]
async fn a_key_is_said_to_be_stored_only_where_it_is() {
    let machine = Machine::start().await;
    let mut case = case(vec![machine.route("only")], HostKeyCheck::Tofu, "right");
    // No directory is to be had there, whoever we are.
    std::fs::write(case.dir.path().join("file"), "").unwrap();
    case.request.host_keys.files.user = vec![case.dir.path().join("file/.ssh/known_hosts")];
    assert!(case.connect().await.is_ok());
    let told = case.told();
    let fingerprint = machine.key.fingerprint(Default::default()).to_string();
    assert!(told.contains("could not be remembered") && told.contains(&fingerprint), "{told}");
    assert!(!told.contains("stored in"), "{told}");
    case.request.host_keys.files.user = vec![case.dir.path().join("known_hosts")];
    assert!(case.connect().await.is_ok());
    assert!(case.told().contains("trusted on first use and stored in"), "{}", case.told());
}

#[tokio::test]
async fn a_key_that_the_user_declines_ends_it_all() {
    let (one, two) = (Machine::start().await, Machine::start().await);
    let case = case(vec![one.route("a"), two.route("b")], HostKeyCheck::Ask, "no");
    assert!(matches!(case.connect().await, Err(Error::HostKey { .. })));
    assert_eq!(case.user.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_refused_password_stops_before_the_next_route() {
    let (one, two) = (Machine::start().await, Machine::start().await);
    let case = case(vec![one.route("a"), two.route("b")], HostKeyCheck::Tofu, "wrong");
    let error = case.connect().await.err().unwrap();
    let Error::Auth { offered, .. } = &error else { panic!("{error}") };
    assert!(offered.iter().any(|method| method == "publickey"), "{error}");
    assert_eq!(two.authenticated.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn without_checking_a_wrong_key_gets_no_password() {
    let machine = Machine::start().await;
    let case = case(vec![machine.route("only")], HostKeyCheck::None, "right");
    case.know(&machine, key().public_key());
    let error = case.connect().await.err().unwrap();
    assert!(matches!(error, Error::Auth { .. }), "{error}");
    assert_eq!(case.user.asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn without_checking_an_unknown_key_gets_no_password_either() {
    let machine = Machine::start().await;
    let mut case = case(vec![machine.route("only")], HostKeyCheck::None, "right");
    case.request.credentials.password = Some(Secret::new("right".to_owned()));
    let error = case.connect().await.err().unwrap();
    assert!(matches!(error, Error::Auth { .. }), "{error}");
    assert_eq!(case.user.asked.load(Ordering::SeqCst), 0);
    assert_eq!(machine.authenticated.load(Ordering::SeqCst), 0);
    // A known one is as good as ever.
    case.know(&machine, &machine.key);
    assert!(case.connect().await.is_ok());
}

#[tokio::test]
async fn what_a_server_asks_names_it_and_cannot_touch_the_terminal() {
    let machine = Machine::start_as(true).await;
    let case = case(vec![machine.route("only")], HostKeyCheck::Tofu, "right");
    case.connect().await.unwrap();
    let told = case.told();
    assert!(told.contains("(root@m) Pass"), "{told}");
    assert!(told.contains("local passphrase") && told.contains("do"), "{told}");
    assert!(!told.chars().any(|char| char.is_control() && char != '\n'), "{told:?}");
    assert_eq!(machine.authenticated.load(Ordering::SeqCst), 1);
}
