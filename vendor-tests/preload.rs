//! torsocks and proxychains, which lead the connections of other programs by
//! `$LD_PRELOAD`: a static program would go past them, and says so.

use std::process::Command;

use crate::harness::{BINARY, Run, Server, free_port, start, until, wait};
use crate::openssh_personality::Place;

/// A SOCKS server of OpenSSH's, through the server of the place.
struct Socks(std::process::Child, u16);

impl Socks {
    fn start(place: &Place) -> Self {
        let port = free_port("127.0.0.1");
        let forward = format!("127.0.0.1:{port}");
        let config = place.home.path("home/.ssh/config");
        let mut command = place.command("/usr/bin/ssh", &["-F", config.to_str().unwrap()]);
        command.args(["-i"]).arg(place.home.path("home/.ssh/id_ed25519"));
        command.args(["-oUserKnownHostsFile=/dev/null", "-N", "-D", &forward, "box"]);
        let child = start(&mut command, "openssh-client");
        until("the SOCKS server", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self(child, port)
    }
}

impl Drop for Socks {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How many connections have reached the server.
fn connections(server: &Server) -> usize {
    server.log().matches("Connection from").count()
}

#[test]
fn a_library_that_cannot_lead_us_stops_what_would_be_direct() {
    let place = Place::new("");
    let ran = |library: &str, program: &str, args: &[&str]| {
        let mut command = place.command(program, args);
        // sh(1) would complain of a library that is not there.
        command.env("LD_PRELOAD", library);
        Run::of(wait(start(&mut command, "")))
    };
    let ours = place.ours();
    let before = connections(&place.server);
    let target = place.server.target();
    let exports = serde_json::json!({
        "N:a::": {"networking": {"module": "clan_lib.network.direct"}},
        "N:a:peer:m": {"peer": {
            "hosts": [{"plain": "127.0.0.1"}],
            "port": place.server.address.port(),
        }},
    });
    place.home.write("exports.json", exports.to_string());
    for library in [
        "/usr/lib/x86_64-linux-gnu/torsocks/libtorsocks.so",
        "/nowhere/libproxychains.so.4",
        "libeatmydata.so:/nowhere/libtsocks.so",
        "/nowhere/libproxybound.so",
    ] {
        let name = library.rsplit('/').next().unwrap();
        let refused = ran(library, &ours, &["box", "true"]).exits(255);
        refused.says(&[name, "LD_PRELOAD", "ProxyCommand", "CLAN_CONNECT_PRELOAD=ignore"]);
        for args in [
            &["ssh", "m", "--target-host", &target, "-c", "true"][..],
            &["--exports", "exports.json", "network", "ping", "m"],
            &["--exports", "exports.json", "network", "overview"],
            &["--exports", "exports.json", "proxy", "m"],
        ] {
            let refused = ran(library, BINARY, args);
            assert!(refused.code != Some(0) || args.contains(&"overview"), "{refused:?}");
            assert!((refused.stderr.clone() + &refused.text()).contains(name), "{refused:?}");
        }
        // Not even its name is asked for.
        let asked = ran(library, &ours, &["-F", "none", "host.invalid", "true"]);
        asked.exits(255).says(&[name, "host.invalid"]);
    }
    assert_eq!(connections(&place.server), before, "{}", place.server.log());
    // Other libraries are no concern of ours, and who knows is not stopped.
    ran("/nowhere/libeatmydata.so", &ours, &["box", "true"]).exits(0);
    let mut command = place.command(&ours, &["box", "true"]);
    command.env("LD_PRELOAD", "libtorsocks.so").env("CLAN_CONNECT_PRELOAD", "ignore");
    Run::of(wait(start(&mut command, ""))).exits(0);
}

#[test]
fn proxychains_leads_the_programs_that_we_start() {
    let place = Place::new("");
    let socks = Socks::start(&place);
    let config = format!("strict_chain\n[ProxyList]\nsocks5 127.0.0.1 {}\n", socks.1);
    let config = place.home.write("proxychains.conf", config);
    let by = |ssh: &str, args: &[&str]| {
        let identity = place.home.path("home/.ssh/id_ed25519");
        let ssh_config = place.home.path("home/.ssh/config");
        let mut command = place.command("proxychains4", &["-q", "-f"]);
        command.arg(&config).arg(ssh).args(["-F"]).arg(ssh_config).arg("-i").arg(identity);
        command.args(["-oUserKnownHostsFile=/dev/null"]).args(args);
        Run::of(wait(start(&mut command, "proxychains4")))
    };
    // OpenSSH is led by it.
    by("/usr/bin/ssh", &["box", "echo led"]).exits(0);
    let before = connections(&place.server);
    by(&place.ours(), &["box", "true"]).exits(255).says(&["proxychains"]);
    assert_eq!(connections(&place.server), before);
    // The way out that is named.
    let through = by(&place.ours(), &["-oProxyCommand=nc %h %p", "box", "echo led"]);
    assert_eq!(through.exits(0).text(), "led\n");
}

#[test]
fn an_existing_master_is_asked_whatever_is_loaded() {
    let place = Place::new("");
    let socket = place.home.path("control");
    let shared = ["-S", socket.to_str().unwrap()];
    place.ssh(&[&shared[..], &["-M", "-N", "-f", "box"]].concat()).exits(0);
    let mut command: Command =
        place.command(&place.ours(), &[&shared[..], &["-O", "check", "box"]].concat());
    command.env("LD_PRELOAD", "libtorsocks.so");
    Run::of(wait(start(&mut command, ""))).exits(0).says(&["Master running"]);
    place.ssh(&[&shared[..], &["-O", "exit", "box"]].concat()).exits(0);
}

#[test]
fn nix_is_led_by_what_is_to_lead_connections() {
    let place = Place::new("");
    let noted = place.home.path("nix.env");
    let script = format!("#!/bin/sh\nenv > {}\nexit 1\n", noted.display());
    let nix = place.home.script("bin/nix", script);
    let env = |variables: &[(&str, &str)]| {
        let args = ["--flake", "https://192.0.2.1/x.tar.gz", "network", "list"];
        let mut command = place.command(BINARY, &args);
        command.env("PATH", format!("{}:/usr/bin:/bin", nix.parent().unwrap().display()));
        command.envs(variables.iter().copied());
        Run::of(wait(start(&mut command, ""))).exits(1);
        std::fs::read_to_string(&noted).unwrap()
    };
    let (torsocks, conf) = ("LD_PRELOAD=/nowhere/libtorsocks.so", "TORSOCKS_CONF_FILE=/x");
    let led = [("LD_PRELOAD", "/nowhere/libtorsocks.so"), ("TORSOCKS_CONF_FILE", "/x")];
    let all = env(&led);
    assert!(all.contains(torsocks) && all.contains(conf), "{all}");
    for other in [
        &[("LD_PRELOAD", "/nowhere/libfaketime.so"), ("TORSOCKS_CONF_FILE", "/x")][..],
        &[led[0], ("CLAN_CONNECT_PRELOAD", "ignore")],
    ] {
        let all = env(other);
        assert!(!all.contains("LD_PRELOAD") && !all.contains(conf), "{all}");
    }
}
