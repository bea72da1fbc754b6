//! Three machines of a clan in network namespaces of their own, each with what Clan deploys and
//! nothing else: one reaches another by its onion when the better network is cut, and a third
//! one, which may not dial that, never learns its name. The relays of their Tor network are on
//! another host, to which each machine has a link.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::holding;
use super::network::Network;
use crate::harness::{BINARY, Run, run, start, wait};
use crate::links::PORT;
use crate::machines::{Clan, DEPLOYED, NAMES, Store, World};

/// Where all machines find the relays, over the link that is never cut.
const RELAYS: &str = "10.94.1.1";
/// An onion that nobody serves.
const NOBODYS: &str = "2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid.onion";

/// All machines in a network that is better, and behind secret onions.
fn exports() -> Value {
    let module = |name: &str| format!("clan_lib.network.{name}");
    let mut exports = json!({
        "x/lan:lan::": { "networking": { "priority": 2000, "module": module("direct") } },
        "x/tor:tor::": { "networking": { "priority": 10, "module": module("tor") } },
    });
    for (at, name) in NAMES.iter().enumerate() {
        let plain = format!("10.93.{}.2", at + 1);
        let var = json!({ "machine": name, "generator": "tor_tor", "file": "hostname" });
        exports[format!("x/lan:lan:default:{name}")] =
            json!({ "peer": { "hosts": [{ "plain": plain }], "port": PORT } });
        exports[format!("x/tor:tor:server:{name}")] =
            json!({ "peer": { "hosts": [{ "var": var }] } });
    }
    exports
}

/// The clan, and its machines.
struct Case {
    clan: Clan,
    world: World,
    /// The onion of `beta`, without its ending.
    name: String,
}

impl Case {
    /// `ssh beta` on one of the machines. Nothing that is said has the name in it.
    fn ssh(&self, from: usize, through: &[&str]) -> Run {
        let file = |name: &str| format!("{DEPLOYED}/{name}");
        let (arti, state) = (file("arti.toml"), file("state"));
        let tor = ["--tor", "embedded", "--tor-config", &arti, "--tor-state", &state];
        let ssh = ["-vvv", "ssh", "beta", "--no-persist", "--timeout", "30", "-c", "echo", "in"];
        let args = [&tor[..], &ssh].concat();
        let network = Some(&self.world.machines[from]);
        let mut command = self.clan.on(NAMES[from], network, "", through, &args);
        let done = Run::of(wait(start(&mut command, "util-linux")));
        assert!(!done.stderr.contains(&self.name), "{}", done.stderr);
        assert!(!done.stderr.contains("first use"), "{}", done.stderr);
        done
    }

    /// The same, and the kernel is told the name nowhere: in no argument, no variable, no
    /// name of a file, and nothing that is read, written or sent.
    fn traced(&self, from: usize) -> Run {
        let log = format!("{DEPLOYED}/strace.log");
        let done = self.ssh(from, &["/usr/bin/strace", "-f", "-v", "-s", "1000000", "-o", &log]);
        let calls = self.clan.home.read(&format!("machines/{}/strace.log", NAMES[from]));
        // All words and variables are there, and what is written.
        let ours = format!("execve(\"{BINARY}\", ");
        let started: Vec<&str> = calls.lines().filter(|line| line.contains(&ours)).collect();
        let [started] = started[..] else { panic!("{started:?}") };
        assert!(started.contains("\"HOME=/run/home\"") && !started.contains("/*"), "{started}");
        assert!(calls.contains("write(2, ") && calls.contains("openat("), "strace saw nothing");
        assert!(calls.contains("trying lan (10.93.2.2)"), "a host that is no secret is not seen");
        let named: Vec<&str> = calls.lines().filter(|line| line.contains(&self.name)).collect();
        assert!(named.is_empty(), "{named:?}");
        done
    }
}

#[test]
fn a_machine_reaches_another_by_an_onion_that_a_third_one_never_learns() {
    let mut world = World::new();
    let hub = world.hub.enter();
    let network = thread::spawn(move || Network::start(&hub, RELAYS));
    let clan = Clan::new(Store::Sops, &exports());
    world.serve(&clan.authorized());
    for (at, name) in NAMES.iter().enumerate() {
        clan.host_key(name, &world.host_key(at));
    }
    let network = network.join().expect("a private Tor network");
    let (_tor, onion) =
        network.onion_through(&world.machines[1].enter(), &world.homes[1], "onion", PORT, "");
    clan.secret("alpha", NOBODYS);
    clan.secret("beta", &onion);
    let snapshot = clan.snapshot(&["--for", "alpha=beta", "--for", "gamma=alpha"]);
    for name in NAMES {
        clan.home.write(&format!("machines/{name}/arti.toml"), &network.arti);
    }
    let name = onion.trim_end_matches(".onion").to_owned();
    let case = Case { clan, world, name };
    assert!(!snapshot.contains(&case.name), "{snapshot}");

    for from in [0, 2] {
        let done = case.ssh(from, &[]).exits(0).says(&["over network lan"]);
        assert_eq!(done.text(), "in\n");
    }
    case.world.cut(true);
    // The onion may take a while until it is found.
    let began = Instant::now();
    while case.ssh(0, &[]).code != Some(0) {
        assert!(began.elapsed() < Duration::from_secs(120), "{}", case.ssh(0, &[]).stderr);
    }
    println!("the onion was reached after {:?}", began.elapsed());
    let done = case.traced(0).exits(0);
    assert_eq!(done.text(), "in\n");
    done.says(&["over network tor", "<secret: tor_tor/hostname>"]);
    // By its own key, which is the only one that it has.
    let own = case.clan.home.path("login/alpha.pub").display().to_string();
    let own = run("ssh-keygen", &["-l", "-f", &own], "openssh-client");
    let own = own.split(' ').nth(1).unwrap();
    let log = case.world.homes[1].read("sshd.log");
    let by_onion = "Accepted publickey for root from 127.0.0.1 port ";
    let accepted: Vec<&str> = log.lines().filter(|line| line.contains(by_onion)).collect();
    assert!(accepted.len() >= 2 && accepted.iter().all(|line| line.ends_with(own)), "{log}");
    // Who may not dial it, cannot read it.
    case.traced(2).exits(255).says(&[
        "tor via <var: tor_tor/hostname>: it is not one of the secret hosts that the snapshot has \
         for gamma",
        "--for MACHINE",
    ]);
    let gamma = case.clan.deployed("gamma");
    let sealed: Value = serde_json::from_str(&snapshot).unwrap();
    let sealed = sealed["secret_hosts"]["alpha"]["sealed"].as_str().unwrap();
    let sealed = case.clan.home.write("alpha.age", sealed);
    let opened =
        Command::new("age").args(["-d", "-i"]).arg(gamma.join("key")).arg(&sealed).output();
    assert!(!opened.unwrap().status.success());
    // Neither has it been written to a file.
    for machine in NAMES {
        assert_eq!(holding(&case.clan.deployed(machine), &case.name), Vec::<String>::new());
    }
}
