//! The crate's own face against OpenSSH's sshd: what a program sees that connects
//! to a machine by it.

use std::os::unix::net::UnixListener;

use clan_connect::{Clan, Connection, Error, Event, HostKeys};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{Home, Server, run, sshd};

/// A clan with a machine `m` in a dead network and in a good one.
struct Place {
    home: Home,
    server: Server,
}

impl Place {
    fn new(config: &str) -> Self {
        let home = Home::new();
        let key = home.default_key();
        let server = sshd(&home, "127.0.0.1", &key, config);
        let peer = |port: u16| json!({ "m": { "host": { "plain": "127.0.0.1" }, "port": port } });
        let exports = json!({
            "dead": { "priority": 2, "peers": peer(1) },
            "good": { "priority": 1, "peers": peer(server.address.port()) },
        });
        home.write("exports.json", exports.to_string());
        Self { home, server }
    }

    async fn connect(&self) -> Result<Connection, Error> {
        let clan = Clan::read(self.home.path("exports.json")).await?;
        let machine = clan.machine("m")?.identity_file(self.home.path("home/.ssh/id_ed25519"));
        let machine = machine.known_hosts(self.home.path("known_hosts"));
        machine.host_keys(HostKeys::AcceptNew).connect().await
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().unwrap().block_on(future)
}

#[test]
fn commands_get_their_words_and_give_output_errors_and_status() {
    let place = Place::new("");
    block_on(async {
        let machine = place.connect().await.unwrap();
        assert_eq!((machine.network(), machine.user()), ("good", "root"));
        let words = ["printf", "%s|", "a b", "", "it's", "$HOME", "*", "\n", "\\"];
        let output = machine.command(words).output().await.unwrap();
        assert_eq!(output.stdout, b"a b||it's|$HOME|*|\n|\\|");
        assert!(output.status.success() && output.stderr.is_empty());
        let output = machine.shell("echo out; echo err >&2; exit 7").output().await.unwrap();
        assert_eq!((&output.stdout[..], &output.stderr[..]), (&b"out\n"[..], &b"err\n"[..]));
        assert_eq!((output.status.code(), output.status.signal()), (Some(7), None));
        let status = machine.shell("kill -TERM $$").status().await.unwrap();
        assert_eq!((status.code(), status.signal()), (None, Some("TERM")));
        machine.close().await;
    });
}

#[test]
fn a_command_that_runs_is_written_to_and_read_from_while_others_do() {
    let place = Place::new("");
    block_on(async {
        let machine = place.connect().await.unwrap();
        let mut child = machine.command(["cat"]).spawn();
        let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let sent = vec![b'x'; 3 << 20];
        let writing = async {
            input.write_all(&sent).await.unwrap();
            drop(input);
        };
        let mut received = Vec::new();
        let (_, read, other) = tokio::join!(
            writing,
            output.read_to_end(&mut received),
            machine.command(["echo", "meanwhile"]).output()
        );
        assert_eq!(read.unwrap(), sent.len());
        assert!(received == sent);
        assert_eq!(other.unwrap().stdout, b"meanwhile\n");
        assert!(child.wait().await.unwrap().success());
        // One that nobody reads any more ends.
        let child = machine.command(["yes"]).spawn();
        assert!(matches!(child.wait().await, Err(Error::Output(_))));
    });
}

#[test]
fn streams_lead_to_ports_and_sockets_of_the_machine() {
    let place = Place::new("");
    let socket = place.home.path("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        std::io::Write::write_all(&mut stream, b"from the socket").unwrap();
    });
    block_on(async {
        let machine = place.connect().await.unwrap();
        let mut banner = [0; 8];
        let port = place.server.address.port();
        let mut stream = machine.open_tcp("127.0.0.1", port).await.unwrap();
        stream.read_exact(&mut banner).await.unwrap();
        assert_eq!(&banner, b"SSH-2.0-");
        let mut text = String::new();
        let mut stream = machine.open_unix(&socket).await.unwrap();
        stream.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "from the socket");
        let refused = machine.open_tcp("127.0.0.1", 1).await.err().unwrap();
        assert!(matches!(&refused, Error::NotForwarded(why) if why == "connect failed"));
    });
}

#[test]
fn errors_say_what_was_tried_and_a_wrong_key_is_refused() {
    let place = Place::new("");
    block_on(async {
        let clan = Clan::read(place.home.path("exports.json")).await.unwrap();
        assert_eq!(clan.machines(), ["m"]);
        assert_eq!(clan.networks(), ["dead", "good"]);
        let unknown = clan.machine("n").err().unwrap();
        assert!(matches!(unknown, Error::UnknownMachine { .. }), "{unknown}");
        let (sender, events) = std::sync::mpsc::channel();
        let machine = clan.machine("m").unwrap().network("dead").on_event(move |event| {
            let text = match event {
                Event::Trying { network, host } => format!("trying {network} {host}"),
                Event::Failed(attempt) => format!("failed {}", attempt.network),
                // How often it waits is a matter of time.
                _ => return,
            };
            sender.send(text).unwrap();
        });
        let error = machine.connect().await.err().unwrap();
        assert!(matches!(&error, Error::Unreachable { attempts, .. } if attempts.len() == 1));
        assert_eq!(events.iter().collect::<Vec<_>>(), ["trying dead 127.0.0.1", "failed dead"]);
        // A key that is another than the known one.
        place.connect().await.unwrap().close().await;
        let known = place.home.read("known_hosts");
        let other = place.home.keygen("other", "ed25519", "");
        let other = std::fs::read_to_string(other.with_extension("pub")).unwrap();
        let name = known.split(' ').next().unwrap();
        place.home.write("known_hosts", format!("{name} {other}"));
        let error = place.connect().await.err().unwrap();
        let Error::Unreachable { attempts, .. } = &error else { panic!("{error}") };
        assert!(attempts[1].to_string().contains("host key verification failed"), "{error}");
    });
}

#[test]
fn the_keys_in_a_snapshot_count_beside_exports_and_for_any_address() {
    let place = Place::new("");
    let other = place.home.keygen("other", "ed25519", "").with_extension("pub");
    let other = std::fs::read_to_string(other).unwrap();
    let snapshot = json!({ "clan_connect_snapshot": 1,
        "machines": { "m": { "host_keys": [other.trim()] } }, "exports": {} });
    place.home.write("lone/clan-connect.json", snapshot.to_string());
    block_on(async {
        let lone = place.home.path("lone");
        let beside = Clan::read(place.home.path("exports.json")).await.unwrap().vars_in(&lone);
        for clan in [beside, Clan::open(&lone).await.unwrap()] {
            let machine = clan.machine("m").unwrap().target_host(&place.server.target()).unwrap();
            let machine = machine.identity_file(place.home.path("home/.ssh/id_ed25519"));
            let machine = machine.known_hosts(place.home.path("known_hosts"));
            let error = machine.host_keys(HostKeys::AcceptNew).connect().await.err().unwrap();
            assert!(error.to_string().contains("is not the one known from"), "{error}");
        }
    });
    assert_eq!(place.home.read("known_hosts"), "");
}

#[test]
fn a_file_of_sops_is_opened_in_the_format_of_its_name() {
    let home = Home::new();
    let key = home.path("key.txt");
    let file = home.write("plain.yaml", "password: hunter2\n");
    let public = run("age-keygen", &["-o", key.to_str().unwrap()], "age");
    let public = match public.trim().rsplit_once(' ') {
        Some((_, key)) => key.to_owned(),
        None => run("age-keygen", &["-y", key.to_str().unwrap()], "age").trim().to_owned(),
    };
    let sealed = run("sops", &["encrypt", "--age", &public, file.to_str().unwrap()], "sops");
    let sealed = home.write("sealed.yaml", sealed);
    home.write("exports.json", "{}");
    block_on(async {
        let clan = Clan::read(home.path("exports.json")).await.unwrap();
        let locked = clan.open_sops(&sealed).await.err().unwrap();
        assert!(matches!(locked, Error::Undecryptable { .. }), "{locked}");
        let plain = clan.age_identity(&key).open_sops(&sealed).await.unwrap();
        assert_eq!(plain.expose(), br#"{"password":"hunter2"}"#);
    });
}
