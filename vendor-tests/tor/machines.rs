//! A machine of a clan that another one reaches by its onion when its better network is cut:
//! the name comes from the snapshot and the machine's own key, and who may not dial it never
//! learns it.

use std::time::{Duration, Instant};

use serde_json::json;

use super::network::network;
use crate::harness::{Run, free_port, sshd, start, wait};
use crate::machines::{Clan, Store};

/// A clan in which `beta` answers at this port of this computer, and at a secret onion.
fn clan(port: u16) -> Clan {
    let module = |name: &str| format!("clan_lib.network.{name}");
    let var = json!({ "machine": "beta", "generator": "tor_tor", "file": "hostname" });
    let exports = json!({
        "x/lan:lan::": { "networking": { "priority": 2000, "module": module("direct") } },
        "x/lan:lan:default:beta": { "peer": {
            "hosts": [{ "plain": "127.0.0.1" }], "port": port } },
        "x/tor:tor::": { "networking": { "priority": 10, "module": module("tor") } },
        "x/tor:tor:server:beta": { "peer": { "hosts": [{ "var": var }] } },
    });
    Clan::new(Store::Sops, &exports)
}

#[test]
fn a_machine_reaches_another_by_an_onion_that_a_third_one_never_learns() {
    let (network, _turn) = network();
    let up = clan(1);
    let key = up.home.read("home/.ssh/id_ed25519.pub");
    let server = sshd(&up.home, "127.0.0.1", &key, "");
    let host_key = up.home.read(&format!("sshd-{}/host_key.pub", server.port()));
    let (_tor, onion) = network.onion(&up.home, "onion", server.address.port(), "");
    up.home.write("arti.toml", &network.arti);
    let arti = up.home.path("arti.toml").display().to_string();
    let state = up.home.path("state").display().to_string();
    up.host_key("beta", &host_key);
    up.secret("beta", &onion);
    // With a better network, and with that one cut.
    let publish = |port: u16| {
        let exports = up.home.read("clan/exports.json");
        let mut exports: serde_json::Value = serde_json::from_str(&exports).unwrap();
        exports["x/lan:lan:default:beta"]["peer"]["port"] = json!(port);
        up.home.write("clan/exports.json", exports.to_string());
        up.snapshot(&["--for", "alpha=beta"])
    };
    let name = onion.trim_end_matches(".onion").to_owned();
    let ssh = |machine: &str, through: &[&str]| {
        let tor = ["--tor", "embedded", "--tor-config", &arti, "--tor-state", &state];
        let ssh = ["-vvv", "ssh", "beta", "--no-persist", "--timeout", "20", "-c", "echo", "in"];
        let args = [&tor[..], &ssh].concat();
        let done = wait(start(&mut up.on(machine, None, "", through, &args), "util-linux"));
        let done = Run::of(done);
        assert!(!done.stderr.contains(&name), "{}", done.stderr);
        done
    };
    let text = publish(server.address.port());
    assert!(!text.contains(&name), "{text}");
    ssh("alpha", &[]).exits(0).says(&["over network lan"]);
    publish(free_port("127.0.0.1"));
    // The onion may take a while until it is found.
    let began = Instant::now();
    while ssh("alpha", &[]).code != Some(0) {
        assert!(began.elapsed() < Duration::from_secs(120), "{}", ssh("alpha", &[]).stderr);
    }
    let log = up.home.path("strace.log").display().to_string();
    let strace = ["/usr/bin/strace", "-f", "-s", "1000000", "-o", &log];
    ssh("alpha", &strace).exits(0).says(&["over network tor", "<secret: tor_tor/hostname>"]);
    // Relays are told a key that is made of it.
    let calls = up.home.read("strace.log");
    assert!(calls.contains("execve(") && calls.contains("connect("), "strace saw nothing");
    let named: Vec<&str> = calls.lines().filter(|line| line.contains(&name)).collect();
    assert!(named.is_empty(), "{named:?}");
    ssh("gamma", &[]).exits(255).says(&[
        "the snapshot has secret hosts for alpha, but not for this computer (gamma)",
        "--for MACHINE",
    ]);
    assert!(!up.home.read("clan/clan-connect.json").contains(&name));
}
