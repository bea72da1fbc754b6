//! dumbpipe itself (`listen-tcp`, as Clan's p2p-ssh-iroh starts it) before a real sshd, in
//! a namespace that leads nowhere: it has no option that keeps it from public servers.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use iroh::{EndpointAddr, SecretKey};
use iroh_tickets::endpoint::EndpointTicket;

use crate::harness::{Home, PROGRAMS, Run, Terminal, noise, run, start, until, wait};
use crate::iroh::Clan;
use crate::links::{Namespace, PORT, sshd_in};

/// What ends with the test.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A machine's dumbpipe.
struct Machine {
    secret: SecretKey,
    address: SocketAddr,
}

impl Machine {
    fn new(seed: u8) -> Self {
        let secret = SecretKey::from_bytes(&[seed; 32]);
        Self { secret, address: SocketAddr::from(([127, 0, 0, 1], 40_000 + u16::from(seed))) }
    }

    fn ticket(&self) -> String {
        let address = EndpointAddr::new(self.secret.public()).with_ip_addr(self.address);
        EndpointTicket::new(address).to_string()
    }

    fn start(&self, namespace: &Namespace, home: &Home) -> Ends {
        let log = format!("dumbpipe-{}.log", self.address.port());
        let file = std::fs::File::create(home.path(&log)).unwrap();
        let [program, place] = namespace.enter();
        let dumbpipe = format!("{PROGRAMS}/bin/dumbpipe");
        let secret = data_encoding::HEXLOWER.encode(&self.secret.to_bytes());
        let mut command = Command::new(program);
        command.args([&place, &dumbpipe, "listen-tcp", "--host", &format!("127.0.0.1:{PORT}")]);
        command.args(["--ipv4-addr", &self.address.to_string()]).env("IROH_SECRET", secret);
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        let child = Ends(start(&mut command, "dumbpipe: vendor-tests/run"));
        // It waits for relays first, which are not there.
        until("dumbpipe", || home.read(&log).contains("dumbpipe connect"));
        child
    }
}

struct World {
    clan: Clan,
    namespace: Namespace,
    _sshd: Ends,
}

impl World {
    fn new() -> Self {
        println!("{}", run(&format!("{PROGRAMS}/bin/dumbpipe"), &["--version"], "dumbpipe"));
        let (clan, namespace) = (Clan::new(), Namespace::new());
        let sshd = Ends(sshd_in(&namespace, &clan.home, &clan.key, "MaxStartups 100\n"));
        Self { clan, namespace, _sshd: sshd }
    }

    fn command_with(&self, more: &[&str], args: &[&str]) -> Command {
        let [program, place] = self.namespace.enter();
        let through = [&[&*program, &*place, "/usr/bin/setsid"][..], more].concat();
        let alone = ["--iroh-relay", "none", "--iroh-discovery", "none"];
        self.clan.home.command_with(&through, &Clan::args(&alone, args))
    }

    fn run(&self, args: &[&str]) -> Run {
        Run::of(wait(start(&mut self.command_with(&[], args), "util-linux")))
    }

    fn echo(&self, machine: &str, bytes: Vec<u8>) -> Run {
        use std::io::Write;
        let mut command = self.command_with(&[], &["ssh", machine, "-c", "cat"]);
        let mut child = start(command.stdin(Stdio::piped()), "util-linux");
        let mut stdin = child.stdin.take().unwrap();
        let writer = std::thread::spawn(move || stdin.write_all(&bytes));
        let done = wait(child);
        writer.join().unwrap().unwrap();
        Run::of(done)
    }
}

#[test]
fn dumbpipe_leads_commands_terminals_and_many_bytes_to_sshd() {
    let world = World::new();
    let machine = Machine::new(1);
    let dumbpipe = machine.start(&world.namespace, &world.clan.home);
    world.clan.machine("m", &machine.ticket());
    let done = world.run(&["ssh", "m", "-c", "sh", "-c", "echo $((6 * 7)); exit 3"]).exits(3);
    assert_eq!(done.text(), "42\n");
    let sent = noise(64 << 20);
    assert!(world.echo("m", sent.clone()).exits(0).stdout == sent, "other bytes came back");
    // More than the socket holds, from somebody who is quicker than we are.
    let size = 128 << 20_u32;
    let count = format!("{size}");
    let down = world.run(&["ssh", "m", "-c", "head", "-c", &count, "/dev/zero"]).exits(0).stdout;
    assert!(down.len() == size && down.iter().all(|byte| *byte == 0), "{} bytes", down.len());
    let command = world.command_with(&["--ctty"], &["ssh", "m"]);
    let mut terminal = Terminal::of(command, 90, 30);
    terminal.send("stty size; echo do''ne\r");
    terminal.expect("30 90");
    terminal.expect("done");
    terminal.send("exit 5\r");
    assert_eq!(terminal.exit_code(), Some(5));
    // It starts anew, and is reached anew.
    drop(dumbpipe);
    let _again = machine.start(&world.namespace, &world.clan.home);
    assert_eq!(world.run(&["ssh", "m", "-c", "echo", "again"]).exits(0).text(), "again\n");
}

#[test]
fn two_machines_are_reached_at_once_and_each_is_itself() {
    let world = World::new();
    let machines = [("one", Machine::new(2)), ("two", Machine::new(3))];
    let _dumbpipes = machines.each_ref().map(|(name, machine)| {
        world.clan.machine(name, &machine.ticket());
        machine.start(&world.namespace, &world.clan.home)
    });
    let sent = noise(8 << 20);
    std::thread::scope(|scope| {
        let echoes = ["one", "two"].map(|name| {
            let (world, sent) = (&world, sent.clone());
            scope.spawn(move || world.echo(name, sent).exits(0))
        });
        for echo in echoes {
            assert!(echo.join().unwrap().stdout == sent);
        }
    });
    let overview = world.run(&["network", "overview", "--json"]).exits(0);
    let overview: serde_json::Value = serde_json::from_slice(&overview.stdout).unwrap();
    let peers = overview["networks"][0]["peers"].as_array().unwrap();
    assert!(peers.len() == 2 && peers.iter().all(|peer| peer["ok"] == true), "{overview}");
}
