//! One machine in four networks: directly, behind a WireGuard controller, with a ticket and
//! behind an onion. Each in turn is cut, and the next one takes over; what is worse than
//! the one that answers is not begun.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::network::network;
use crate::harness::{Run, free_port, run, sshd, start, wait};
use crate::iroh_peer::{Manner, Peer};
use crate::wireguard_member::World;

/// What `-v` says when a network is begun with.
const BEGUN: [(&str, &[&str]); 4] = [
    ("net", &["net: connecting"]),
    ("vpn", &["vpn: waiting for WireGuard"]),
    ("p2p", &["p2p: looking up", "p2p: trying to connect"]),
    ("tor", &["tor: starting", "tor: waiting"]),
];

struct Place {
    world: World,
    onion: String,
    arti: String,
}

impl Place {
    /// Says that `net` is at this port.
    fn clan(&self, port: u16) {
        let text = self.world.home.read("clan/clan-connect.json");
        let mut snapshot: Value = serde_json::from_str(&text).unwrap();
        let networks = [
            ("clan-core/internet:net", "direct", 4000, json!([{ "plain": "127.0.0.1" }]), port),
            ("clan-core/p2p-ssh-iroh:p2p", "p2p_ssh_iroh", 500, json!([]), 22),
            ("clan-core/tor:tor", "tor", 10, json!([{ "plain": self.onion }]), 22),
        ];
        for (name, module, priority, hosts, port) in networks {
            let module = format!("clan_lib.network.{module}");
            snapshot["exports"][format!("{name}::")] =
                json!({ "networking": { "module": module, "priority": priority } });
            snapshot["exports"][format!("{name}:server:web")] =
                json!({ "peer": { "hosts": hosts, "port": port, "user": "root" } });
        }
        self.world.home.write("clan/clan-connect.json", snapshot.to_string());
    }

    fn ssh(&self) -> (Run, Duration) {
        self.world.home.write("arti.toml", &self.arti);
        let clan = ["--flake", "clan", "--wireguard-key", "admin.key", "--iroh-relay", "none"];
        let tor = ["--iroh-discovery", "none", "--tor", "embedded", "--tor-config", "arti.toml"];
        let ssh = ["--tor-state", "state", "-v", "ssh", "web", "--host-key-check", "none"];
        let args = [&clan[..], &tor, &ssh, &["-c", "echo", "in"]].concat();
        let began = Instant::now();
        let done = Run::of(wait(start(&mut self.world.home.command(&args), "util-linux")));
        (done, began.elapsed())
    }

    /// Is let in by the network `wins`, while those behind it are not begun with.
    fn over(&self, wins: &str) {
        let (done, took) = self.ssh();
        assert_eq!(done.text(), "in\n", "{}", done.stderr);
        println!("over {wins}: {took:?}");
        assert!(done.stderr.contains(&format!("over network {wins}")), "{}", done.stderr);
        let behind = BEGUN.iter().skip_while(|(name, _)| *name != wins).skip(1);
        for (name, words) in behind {
            let is_begun = words.iter().any(|words| done.stderr.contains(words));
            assert!(!is_begun, "{name} was begun with: {}", done.stderr);
        }
        assert!(took < Duration::from_secs(30), "{took:?}");
    }
}

#[test]
fn of_four_networks_the_best_that_answers_is_used_and_no_worse_one_begun() {
    let (network, _turn) = network();
    let world = World::new();
    let key = world.home.read("home/.ssh/id_ed25519.pub");
    let server = sshd(&world.home, "127.0.0.1", &key, "");
    // The controller has a line to this computer, which is gone with its namespace.
    let us = std::process::id();
    let name = format!("cc{us}");
    world.controller.ip(&format!("link add u3 type veth peer name {name} netns /proc/{us}/ns/net"));
    world.controller.ip("addr add 10.92.3.1/24 dev u3");
    world.controller.ip("link set u3 up");
    run("ip", &["addr", "add", "10.92.3.2/24", "dev", &name], "iproute2");
    run("ip", &["link", "set", &name, "up"], "iproute2");
    let (_tor, onion) = network.onion(&world.home, "onion", server.address.port(), "");
    let place = Place { world, onion, arti: network.arti.clone() };
    let text = place.world.home.read("clan/clan-connect.json");
    place.world.home.write("clan/clan-connect.json", text.replace("10.92.1.1", "10.92.3.1"));
    let peer = Peer::new(Manner::Leads(server.address), None);
    let ticket = "clan/vars/per-machine/web/p2p-ssh-iroh-p2p/ticket/value";
    place.world.home.write(ticket, peer.ticket());
    place.clan(server.address.port());
    place.over("net");
    // Its port is closed.
    place.clan(free_port("127.0.0.1"));
    place.over("vpn");
    // The controller knows us no more.
    let [program, enter] = place.world.controller.enter();
    let device = format!("wgc{}", place.world.us.pid());
    let args = [&*enter, "wg", "set", &device, "peer", &place.world.admin.public, "remove"];
    run(&program, &args, "wireguard-tools");
    place.over("p2p");
    // The machine's own end of iroh is gone; its onion may need a while until it is found.
    drop(peer);
    let began = Instant::now();
    while place.ssh().0.code != Some(0) {
        assert!(began.elapsed() < Duration::from_secs(120), "{}", place.ssh().0.stderr);
    }
    place.over("tor");
}
