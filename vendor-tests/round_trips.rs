//! How often somebody waits for the other side until a command's output is there,
//! beside OpenSSH's ssh: counted on a link, whatever the time that all of it takes.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use crate::harness::{THEIRS, start, wait};
use crate::openssh_personality::Place;
use crate::pipelining::Agent;

/// From one end to the other.
pub(crate) const WAY: Duration = Duration::from_millis(60);
/// The bench's: a round trip of 300 ms.
const BENCH_WAY: Duration = Duration::from_millis(150);

/// A link to a server, on which everything takes a while. It counts flights: what a
/// client says after it has heard an answer to flight N is part of flight N + 1.
pub(crate) struct FarLink {
    pub(crate) address: SocketAddr,
    /// The flight that the latest of what the client has heard answers.
    heard: Arc<AtomicU32>,
}

impl FarLink {
    pub(crate) fn to(server: SocketAddr, way: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(AtomicU32::new(0));
        let count = heard.clone();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                // The handshake of TCP takes a round trip, too.
                std::thread::sleep(way * 2);
                let Ok(server) = TcpStream::connect(server) else { continue };
                for stream in [&client, &server] {
                    stream.set_nodelay(true).unwrap();
                }
                let there = Arc::new(AtomicU32::new(0));
                count.store(0, Ordering::SeqCst);
                let (back, forth) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                carry(client, forth, way, count.clone(), there.clone(), 1);
                carry(server, back, way, there, count.clone(), 0);
            }
        });
        Self { address, heard }
    }

    /// The flight that the client has heard the answer to.
    pub(crate) fn heard(&self) -> u32 {
        self.heard.load(Ordering::SeqCst)
    }

    /// The flights until the first output is there, `hi`, and the time.
    pub(crate) fn flights(&self, mut command: Command) -> (u32, Duration) {
        let started = Instant::now();
        let mut child = start(command.stdin(Stdio::piped()), "openssh-client");
        let mut output = [0; 2];
        let read = child.stdout.take().unwrap().read_exact(&mut output);
        let (flights, elapsed) = (self.heard(), started.elapsed());
        let _ = child.kill();
        let said = String::from_utf8_lossy(&wait(child).stderr).into_owned();
        assert!(read.is_ok() && &output == b"hi", "{output:?}: {said}");
        (flights, elapsed)
    }
}

/// Carries what one end says. It is `more` flights after what that end has heard.
fn carry(
    mut from: TcpStream,
    mut to: TcpStream,
    way: Duration,
    heard_here: Arc<AtomicU32>,
    heard_there: Arc<AtomicU32>,
    more: u32,
) {
    let (under_way, arriving) = mpsc::channel::<(Instant, u32, Vec<u8>)>();
    std::thread::spawn(move || {
        for (at, flight, bytes) in arriving {
            std::thread::sleep(at.saturating_duration_since(Instant::now()));
            heard_there.fetch_max(flight, Ordering::SeqCst);
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
    std::thread::spawn(move || {
        let mut chunk = vec![0; 64 << 10];
        while let Ok(count @ 1..) = from.read(&mut chunk) {
            let flight = heard_here.load(Ordering::SeqCst) + more;
            let sent = (Instant::now() + way, flight, chunk[..count].to_vec());
            if under_way.send(sent).is_err() {
                break;
            }
        }
    });
}

/// A machine at the end of a link, which is `far` and, from there, `near`.
struct FarPlace {
    place: Place,
    link: FarLink,
}

impl FarPlace {
    fn new(config: &str, way: Duration) -> Self {
        let place = Place::shared(config);
        let link = FarLink::to(place.server.address, way);
        let path = |name: &str| place.home.path(name).display().to_string();
        // What is asked about the server's other keys is no part of it.
        let text = format!(
            "Host far\n  Port {}\nHost near\n  Port {}\nHost *\n  HostName 127.0.0.1\n  User root\n  \
             StrictHostKeyChecking accept-new\n  UpdateHostKeys no\n  UserKnownHostsFile {}\n  IdentityFile {}\n",
            link.address.port(),
            place.server.port(),
            path("home/.ssh/known_hosts"),
            path("home/.ssh/id_ed25519"),
        );
        place.home.write("home/.ssh/config", text);
        Self { place, link }
    }

    fn flights(&self, command: Command) -> (u32, Duration) {
        self.link.flights(command)
    }
}

/// Says something, and then nothing until its input ends.
pub(crate) const COMMAND: &str = "echo hi; cat > /dev/null";

/// Who says so to everybody who connects.
fn greeter() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let _ = client.write_all(b"hi\n");
            open.push(client);
        }
    });
    port
}

#[test]
fn what_a_connection_is_for_takes_three_flights() {
    let far = FarPlace::new("AllowTcpForwarding yes\n", WAY);
    let place = format!("127.0.0.1:{}", greeter());
    for (what, args) in [
        ("a command", &["far", COMMAND][..]),
        ("a command with a terminal", &["-tt", "far", COMMAND]),
        ("a command with variables", &["-oSetEnv=LC_A=hi LANG=C", "far", "echo $LC_A; cat >&2"]),
        ("a stream", &["-W", &place, "far"]),
    ] {
        let ours = far.flights(far.place.client(&far.place.ours(), args));
        let waiting = [&["-oPipelining=no"], args].concat();
        let waiting = far.flights(far.place.client(&far.place.ours(), &waiting));
        let theirs = far.flights(far.place.client(THEIRS, args));
        println!("{what}: ours {ours:?}, without pipelining {waiting:?}, OpenSSH {theirs:?}");
        assert_eq!(ours.0, 3, "{what}");
        assert!(waiting.0 > 3 && theirs.0 > waiting.0, "{what}");
    }
}

#[test]
fn a_host_behind_another_takes_three_flights_more() {
    let far = FarPlace::new("AllowTcpForwarding yes\n", WAY);
    let args = ["-J", "far", "near", COMMAND];
    let ours = far.flights(far.place.client(&far.place.ours(), &args));
    println!("-J: ours {ours:?}");
    assert_eq!(ours.0, 6);
}

#[test]
fn a_key_of_the_agent_takes_a_flight_more_and_a_refused_key_the_usual_ones() {
    let far = FarPlace::new("", WAY);
    let home = &far.place.home;
    let agent = Agent::start(home);
    let key = home.path("home/.ssh/id_ed25519");
    agent.add(&key, &[]);
    let other = home.keygen("other", "ed25519", "").display().to_string();
    let by_agent = |ssh: &str, args: &[&str]| {
        let mut command = far.place.client(ssh, args);
        command.env("SSH_AUTH_SOCK", &agent.socket);
        far.flights(command)
    };
    // Whether it is wanted is asked first: the agent may ask the user.
    let ours = by_agent(&far.place.ours(), &["far", COMMAND]);
    println!("agent: ours {ours:?}");
    assert_eq!(ours.0, 4);
    // The first is refused with everything behind it.
    let key = key.display().to_string();
    let args = ["-i", &other, "-i", &key, "-oIdentitiesOnly=yes", "far", COMMAND];
    let ours = far.flights(far.place.client(&far.place.ours(), &args));
    println!("second key: ours {ours:?}");
    assert_eq!(ours.0, 6);
}

#[test]
#[ignore = "a measurement: prints the medians at a round trip of 300 ms"]
fn the_time_of_a_command_at_300_ms() {
    let far = FarPlace::new("AllowTcpForwarding yes\n", BENCH_WAY);
    let median = |args: &[&str], ours: bool| {
        let ssh = if ours { far.place.ours() } else { THEIRS.to_owned() };
        let mut runs: Vec<_> = (0..5).map(|_| far.flights(far.place.client(&ssh, args))).collect();
        runs.sort_by_key(|(_, elapsed)| *elapsed);
        runs[2]
    };
    for (what, args) in [("exec", &["far", COMMAND][..]), ("-J", &["-J", "far", "near", COMMAND])] {
        let ours = median(args, true);
        let waiting = median(&[&["-oPipelining=no"], args].concat(), true);
        let theirs = median(args, false);
        println!("{what}: ours {ours:?}, without pipelining {waiting:?}, OpenSSH {theirs:?}");
    }
}
