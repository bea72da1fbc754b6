//! A clan that the user only stands in, and whose repository anybody may have
//! written: it gets no secret of his into the DNS, and passes no host off for another.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::clan::{clan, seal_for_user};
use crate::harness::{Home, Run, Server, sshd, start, wait};

/// A clan in `repo`, in which the user stands, with `web01` at this host and port.
struct Place {
    home: Home,
    server: Server,
}

impl Place {
    fn new() -> Self {
        let home = Home::new();
        let key = home.default_key();
        let server = sshd(&home, "127.0.0.1", &key, "");
        home.write("repo/.clan-flake", "");
        Self { home, server }
    }

    /// The clan's word: `machines` as in a snapshot, and the host of `web01`.
    fn clan(&self, machines: serde_json::Value, host: serde_json::Value) {
        let port = self.server.address.port();
        let snapshot = json!({
            "clan_connect_snapshot": 1,
            "machines": machines,
            "exports": { "internet": { "priority": 1000, "module": "clan_lib.network.direct",
                "peers": { "web01": { "host": host, "port": port } } } },
        });
        self.home.write("repo/clan-connect.json", snapshot.to_string());
    }

    fn in_repo(&self, args: &[&str]) -> Run {
        let mut command: Command = self.home.command(args);
        Run::of(wait(start(command.current_dir(self.home.path("repo")), "")))
    }

    /// The server's own key, and one that it does not have, without their comments.
    fn keys(&self) -> (String, String) {
        let own = self.home.read(&format!("sshd-{}/host_key.pub", self.server.port()));
        let other = self.home.path("other");
        if !other.exists() {
            self.home.keygen("other", "ed25519", "");
        }
        let bare = |text: String| text.split(' ').take(2).collect::<Vec<_>>().join(" ");
        (bare(own), bare(self.home.read("other.pub")))
    }
}

#[test]
fn no_name_server_is_asked_for_a_secret_of_a_clan_that_nobody_named() {
    let place = Place::new();
    clan(&place.home);
    let file = "repo/secrets/clan-vars/per-machine/web01/db/password/password.age";
    seal_for_user(&place.home, b"localhost", file);
    let var = |machine: &str| json!({ "var": { "machine": machine, "generator": "db", "file": "password" } });
    place.clan(json!({}), var("web01"));
    let refused = place.in_repo(&["ssh", "web01", "-c", "true"]).exits(255);
    let refused = refused.says(&["db/password is a DNS name", "trust-clan"]);
    assert!(!refused.stderr.contains("localhost"), "{}", refused.stderr);
    // An onion's name is an address for Tor, and for nobody else.
    seal_for_user(&place.home, b"hidden.onion", file);
    let refused = place.in_repo(&["ssh", "web01", "-c", "true"]).exits(255);
    refused.says(&["db/password is a DNS name"]);
    seal_for_user(&place.home, b"localhost", file);
    // An address tells nobody anything, and a clan that was named may ask.
    let repo = place.home.path("repo");
    let flake = ["--flake", repo.to_str().unwrap(), "ssh", "web01", "-c", "echo", "in"];
    assert_eq!(place.in_repo(&flake).exits(0).text(), "in\n");
    seal_for_user(&place.home, b"127.0.0.1", file);
    assert_eq!(place.in_repo(&["ssh", "web01", "-c", "echo", "in"]).exits(0).text(), "in\n");
    // Another machine's var is nobody's address, whoever has named the clan.
    place.clan(json!({}), var("prod"));
    for args in [&["ssh", "web01", "-c", "true"][..], &flake] {
        place.in_repo(args).exits(255).says(&["a var of its own or a shared one, not another's"]);
    }
}

#[test]
fn no_host_is_passed_off_for_another_that_the_user_knows() {
    let place = Place::new();
    let (own, other) = place.keys();
    let port = place.server.port();
    // The clan leads to a host that is known, but not as web01.
    place.clan(json!({}), json!({ "plain": "127.0.0.1" }));
    let known = format!("web01 {other}\n[127.0.0.1]:{port} {own}\n");
    place.home.write("home/.ssh/known_hosts", &known);
    for check in ["strict", "tofu", "accept-new"] {
        let args = ["ssh", "web01", "--host-key-check", check, "-c", "echo", "in"];
        let refused = place.in_repo(&args).exits(255).says(&["host key verification failed"]);
        assert_eq!(refused.text(), "");
    }
    assert_eq!(place.home.read("home/.ssh/known_hosts"), known);
    // Whoever names it believes it.
    let repo = place.home.path("repo");
    let args = ["--flake", repo.to_str().unwrap(), "ssh", "web01", "-c", "echo", "in"];
    assert_eq!(place.in_repo(&args).exits(0).text(), "in\n");
}

#[test]
fn a_key_of_the_clan_does_not_contradict_the_user_in_any_form() {
    let place = Place::new();
    let (own, other) = place.keys();
    let port = place.server.port();
    place.clan(json!({ "web01": { "host_keys": [own] } }), json!({ "plain": "127.0.0.1" }));
    let program = place.home.script("khc", format!("#!/bin/sh\necho 'web01 {other}'\n"));
    let program = program.to_str().unwrap();
    let option = |name: &'static str, value: &str| {
        vec!["--ssh-option".to_owned(), name.to_owned(), value.to_owned()]
    };
    let cases = [
        (format!("web01 {other}\n"), Vec::new()),
        (format!("[web01]:{port} {other}\n"), Vec::new()),
        (format!("[web01]:2222 {other}\n"), Vec::new()),
        (format!("ali {other}\n"), option("HostKeyAlias", "ali")),
        (String::new(), option("KnownHostsCommand", program)),
    ];
    for (known, options) in cases {
        place.home.write("home/.ssh/known_hosts", &known);
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let args = [&["ssh", "web01"][..], &options, &["-c", "echo", "in"]].concat();
        let refused = place.in_repo(&args).exits(255).says(&["host key verification failed"]);
        assert_eq!(refused.text(), "", "{known} {options:?}");
    }
    place.home.write("home/.ssh/known_hosts", format!("web02 {other}\n"));
    assert_eq!(place.in_repo(&["ssh", "web01", "-c", "echo", "in"]).exits(0).text(), "in\n");
}

#[test]
fn a_machine_is_known_by_its_name_where_the_clan_was_never_read() {
    let place = Place::new();
    let (own, other) = place.keys();
    place.home.write("repo/flake.nix", "{ outputs = _: { }; }");
    let target = place.server.target();
    let args = ["ssh", "web01", "--target-host", &target, "-c", "echo", "in"];
    place.home.write("home/.ssh/known_hosts", format!("web01 {other}\n"));
    place.in_repo(&args).exits(255).says(&["host key verification failed"]);
    place.home.write("home/.ssh/known_hosts", format!("web01 {own}\n"));
    assert_eq!(place.in_repo(&args).exits(0).text(), "in\n");
    assert!(!Path::new(&place.home.path("home/.cache/clan-connect/exports")).exists());
}

#[test]
fn a_shared_var_is_no_machines_that_nobody_has() {
    let place = Place::new();
    fs::create_dir_all(place.home.path("repo/machines/alpha")).unwrap();
    place.home.write("repo/vars/shared/wg/address/value", "10.0.0.2\n");
    let get = |machine: &str| place.in_repo(&["vars", "get", machine, "wg/address"]);
    assert_eq!(get("alpha").exits(0).text(), "10.0.0.2\n");
    get("alpah").exits(1).says(&["unknown machine \"alpah\"", "alpha"]);
}
