//! Two clans that have a machine of the same name, and hosts that have it: what one of
//! them leads to is used for no other, by whatever way the first was reached.

use std::process::Command;

use serde_json::json;

use crate::harness::{Home, Run, Server, run, sshd, start, wait};

/// The clans `a` and `b` with a `web01` of their own each.
struct Place {
    home: Home,
    a: Server,
    b: Server,
}

impl Place {
    fn new() -> Self {
        println!("{}", run("ssh", &["-V"], "openssh-client"));
        let home = Home::new();
        let key = home.default_key();
        let (a, b) = (sshd(&home, "127.0.0.1", &key, ""), sshd(&home, "127.0.0.1", &key, ""));
        Self { home, a, b }
    }

    /// Writes a clan whose `web01` is at a server, and says its key if it is to.
    fn clan(&self, name: &str, server: &Server, has_key: bool) {
        let key = self.home.read(&format!("sshd-{}/host_key.pub", server.port()));
        let keys = if has_key { vec![key.trim()] } else { Vec::new() };
        let target = format!("127.0.0.1:{}", server.port());
        let snapshot = json!({
            "clan_connect_snapshot": 1, "exports": {},
            "machines": { "web01": { "target_host": target, "host_keys": keys } },
        });
        self.home.write(&format!("{name}/.clan-flake"), "");
        self.home.write(&format!("{name}/clan-connect.json"), snapshot.to_string());
    }

    fn run(&self, dir: &str, args: &[&str]) -> Run {
        let mut command: Command = self.home.command(args);
        Run::of(wait(start(command.current_dir(self.home.path(dir)), "")))
    }

    /// As the `ssh` of a user who has named `clan`, if any.
    fn ssh(&self, clan: Option<&str>, args: &[&str]) -> Run {
        let args = [&["openssh", "-l", "root"], args].concat();
        let dir = clan.map(|clan| self.home.path(clan).display().to_string());
        let env: Vec<_> = dir.iter().map(|dir| ("CLAN_DIR", dir.as_str())).collect();
        self.home.run_with_env(&args, &env)
    }
}

/// The port of the server that a command ran on.
fn port(run: Run) -> String {
    run.exits(0).text().trim().rsplit(' ').next().unwrap().to_owned()
}

const WHERE: [&str; 2] = ["printenv", "SSH_CONNECTION"];

#[test]
fn a_shared_connection_is_that_of_its_clan_alone() {
    let place = Place::new();
    place.clan("a", &place.a, true);
    place.clan("b", &place.b, true);
    let path = place.home.path("cm-%r@%h:%p");
    let config = format!(
        "Host *\n ControlMaster auto\n ControlPath {}\n ControlPersist 20\n",
        path.display()
    );
    place.home.write("home/.ssh/config", config);
    let native = |dir: &str, more: &[&str]| {
        let args = [&["ssh", "web01"], more, &["-c"], &WHERE[..]].concat();
        place.run(dir, &args)
    };
    let (a, b) = (place.a.port(), place.b.port());
    assert_eq!(port(native("a", &[])), a);
    // A master is there now, and serves this clan.
    let masters = || {
        let all = std::fs::read_dir(place.home.dir.path()).unwrap();
        all.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("cm-"))
            .count()
    };
    assert_eq!(masters(), 1);
    assert_eq!(port(native("a", &[])), a);
    assert_eq!(masters(), 1);
    assert_eq!(port(native("b", &[])), b);
    assert_eq!(masters(), 2);
    let words = |first: &[&'static str]| [first, &WHERE[..]].concat();
    assert_eq!(port(place.ssh(Some("b"), &words(&["web01"]))), b);
    assert_eq!(port(place.ssh(Some("a"), &words(&["web01"]))), a);
    // Exports are told from others by where they are, and not by how they were named.
    for (dir, port_of) in [("a", &a), ("b", &b), ("a", &a)] {
        let args = ["--exports", "clan-connect.json", "ssh", "web01", "-c"];
        assert_eq!(port(place.run(dir, &[&args[..], &WHERE].concat())), *port_of);
    }
    assert_eq!(masters(), 4);
    // Of a pipe there is nothing to tell them by.
    let piped = |dir: &str| {
        let exports = place.home.read(&format!("{dir}/clan-connect.json"));
        let args = [&["--exports", "-", "ssh", "web01", "-c"], &WHERE[..]].concat();
        port(place.home.run_with_input(&args, exports.into_bytes()))
    };
    assert_eq!((piped("a"), piped("b")), (a.clone(), b.clone()));
    assert_eq!(masters(), 4);
    // Another address of the same machine is another connection.
    let other = format!("127.0.0.1:{b}");
    let known = format!("[127.0.0.1]:{b} {}", place.home.read(&format!("sshd-{b}/host_key.pub")));
    place.home.write("home/.ssh/known_hosts", known);
    let more = ["--target-host", &other, "--host-key-check", "none"];
    assert_eq!(port(native("a", &more)), b);
    // Nobody else finds them under the name.
    let outside = place.ssh(None, &words(&["-o", "HostName=127.0.0.1", "-p", "1", "web01"]));
    outside.exits(255).says(&["Connection refused"]);
    for clan in ["a", "b"] {
        place.ssh(Some(clan), &["-O", "exit", "web01"]).exits(0);
    }
}

#[test]
fn what_an_unnamed_clan_leads_to_is_known_nowhere_else() {
    let place = Place::new();
    place.clan("a", &place.a, false);
    assert_eq!(
        port(place.run("a", &[&["ssh", "web01", "-c"], &WHERE[..]].concat())),
        place.a.port()
    );
    // The same server, under the name as others know it.
    let port = place.a.port();
    let there = ["-o", "HostName=127.0.0.1", "-o", "HostKeyAlias=web01", "-p", &port];
    let strict = [&there[..], &["-o", "StrictHostKeyChecking=yes", "web01", "true"]].concat();
    place.ssh(None, &strict).exits(255).says(&["Host key verification failed"]);
    let known = place.home.read("home/.ssh/known_hosts");
    assert!(known.starts_with("web01@clan-") && known.lines().count() == 1, "{known}");
    // Nor by its address, which the user may have to do with without the clan.
    let strict = ["-o", "StrictHostKeyChecking=yes", "-p", &port, "127.0.0.1", "true"];
    place.ssh(None, &strict).exits(255).says(&["Host key verification failed"]);
    // In the same clan it is known, whatever address is dialled.
    let args = ["ssh", "web01", "--host-key-check", "strict", "-c", "echo", "in"];
    assert_eq!(place.run("a", &args).exits(0).text(), "in\n");
    // And another clan's machine of that name is another one.
    place.clan("b", &place.b, false);
    place.run("b", &args).exits(255).says(&["host key verification failed"]);
    let named = place.home.path("b").display().to_string();
    let args = [&["--flake", &named][..], &args].concat();
    place.run("b", &args).exits(255).says(&["host key verification failed"]);
}

#[test]
fn an_unnamed_clan_contradicts_no_name_of_the_users_files_and_gets_no_agent() {
    let place = Place::new();
    place.clan("a", &place.a, true);
    // The user's own web01 is b's server, and known by its address.
    let (port, key) =
        (place.b.port(), place.home.read(&format!("sshd-{}/host_key.pub", place.b.port())));
    let config = format!("Host web01\n HostName 127.0.0.1\n Port {port}\n ForwardAgent yes\n");
    place.home.write("home/.ssh/config", config);
    place.home.write("home/.ssh/known_hosts", format!("[127.0.0.1]:{port} {key}"));
    let args = ["ssh", "web01", "-c", "echo", "in"];
    place.run("a", &args).exits(255).says(&["host key verification failed"]);
    // Where he has said nothing else, the clan's machine is reached, without the agent.
    place.home.write("home/.ssh/config", "Host web01\n ForwardAgent yes\n");
    let agent = place.home.path("agent");
    let mut program = Command::new("ssh-agent");
    let mut child = start(program.args(["-D", "-a"]).arg(&agent), "openssh-client");
    crate::harness::until("the agent", || agent.exists());
    let ask = |more: &[&str]| {
        let args =
            [&["ssh", "web01"], more, &["-c", "sh", "-c", "echo \"$SSH_AUTH_SOCK\""]].concat();
        let mut command: Command = place.home.command(&args);
        command.env("SSH_AUTH_SOCK", &agent).current_dir(place.home.path("a"));
        Run::of(wait(start(&mut command, ""))).exits(0)
    };
    let refused = ask(&[]).says(&["the agent is not forwarded to a clan that was not named"]);
    assert_eq!(refused.text().trim(), "");
    assert!(!ask(&["-A"]).text().trim().is_empty());
    let named = place.home.path("a").display().to_string();
    let mut command: Command = place.home.command(&[
        "--flake",
        &named,
        "ssh",
        "web01",
        "-c",
        "sh",
        "-c",
        "echo \"$SSH_AUTH_SOCK\"",
    ]);
    let named = Run::of(wait(start(command.env("SSH_AUTH_SOCK", &agent), ""))).exits(0);
    assert!(!named.text().trim().is_empty());
    let _ = child.kill();
    child.wait().unwrap();
}

#[test]
fn a_second_pass_of_the_configuration_leaves_the_clan_its_machines() {
    let place = Place::new();
    place.clan("a", &place.a, true);
    for config in ["Match final all\n  Compression no\n", "Host *\n  HostName %h\n"] {
        place.home.write("home/.ssh/config", config);
        assert_eq!(port(place.ssh(Some("a"), &[&["web01"], &WHERE[..]].concat())), place.a.port());
    }
    // Another name is the user's word.
    place.home.write("home/.ssh/config", "Host web01\n  HostName 127.0.0.1\n  Port 1\n");
    place.ssh(Some("a"), &["web01", "true"]).exits(255).says(&["Connection refused"]);
}

#[test]
fn jump_hosts_of_the_users_files_are_no_machines_of_an_unnamed_clan() {
    let place = Place::new();
    place.clan("a", &place.a, true);
    let config = "Host prod\n  ProxyJump web01\n";
    place.home.write("home/.ssh/config", config);
    let target = format!("127.0.0.1:{}", place.b.port());
    let args = ["ssh", "prod", "--target-host", &target, "--host-key-check", "none", "-c", "true"];
    let refused = place.run("a", &args).exits(255);
    assert!(refused.stderr.contains("web01"), "{}", refused.stderr);
    assert!(!place.a.log().contains("Accepted"), "{}", place.a.log());
    // On the command line the name is his who stands in the clan.
    let jump = [&args[..6], &["-J", "web01"], &args[6..]].concat();
    place.run("a", &jump).exits(0);
    assert!(place.a.log().contains("Accepted"));
}

#[test]
fn machines_that_differ_in_case_alone_are_two() {
    let place = Place::new();
    let key = |server: &Server| place.home.read(&format!("sshd-{}/host_key.pub", server.port()));
    let machine = |server: &Server| {
        let target = format!("root@127.0.0.1:{}", server.port());
        json!({ "target_host": target, "host_keys": [key(server).trim()] })
    };
    let machines = json!({ "WEB01": machine(&place.a), "web01": machine(&place.b) });
    let snapshot = json!({ "clan_connect_snapshot": 1, "exports": {}, "machines": machines });
    place.home.write("clan/.clan-flake", "");
    place.home.write("clan/clan-connect.json", snapshot.to_string());
    let path = format!("ControlPath={}", place.home.path("cm-%h").display());
    let shared = ["-o", "ControlMaster=auto", "-o", &path, "-o", "ControlPersist=20"];
    let native = |name: &str| {
        let args = [&["--flake", "clan", "ssh"], &shared[..], &[name, "-c"], &WHERE].concat();
        port(place.home.run(&args))
    };
    for (name, server) in [("WEB01", &place.a), ("web01", &place.b)] {
        let args = [&["-o", "BatchMode=yes", name], &WHERE[..]].concat();
        assert_eq!(port(place.ssh(Some("clan"), &args)), server.port());
        assert_eq!(native(name), server.port());
        // Also over a connection that is there.
        assert_eq!(native(name), server.port());
    }
    let either = place.ssh(Some("clan"), &["-o", "BatchMode=yes", "Web01", "true"]);
    either.exits(255).says(&["WEB01 and web01"]);
    for name in ["WEB01", "web01"] {
        place
            .home
            .run(&[&["--flake", "clan", "ssh"], &shared[..4], &["-O", "exit", name]].concat());
    }
}

#[test]
fn another_clan_in_the_same_place_is_another() {
    let place = Place::new();
    place.clan("x", &place.a, false);
    let first = ["ssh", "--host-key-check", "accept-new", "web01", "-c"];
    assert_eq!(port(place.run("x", &[&first[..], &WHERE].concat())), place.a.port());
    let known = || place.run("x", &["network", "trust", "list", "web01"]).exits(0).text();
    assert!(known().contains("web01@clan-"), "{}", known());
    std::fs::rename(place.home.path("x"), place.home.path("old")).unwrap();
    // What is known of the address is known, and nothing of the other clan's machine.
    place.clan("x", &place.a, false);
    assert!(!known().contains("web01@clan-"), "{}", known());
    std::fs::rename(place.home.path("x"), place.home.path("new")).unwrap();
    std::fs::rename(place.home.path("old"), place.home.path("x")).unwrap();
    assert!(known().contains("web01@clan-"), "{}", known());
}
