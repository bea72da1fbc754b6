//! What a clan that was named says of its machines' keys: no option, no first use and no
//! shared connection passes over it, and what is there and cannot be read is not none.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::json;

use crate::harness::{Home, Run, Server, run, sshd};

const IP: &str = "127.0.0.1";
const FILE: &str = "clan/vars/per-machine/web01/openssh/ssh.id_ed25519.pub";

/// A server where `web01` should be, and a clan that knows the key of another.
struct Place {
    home: Home,
    server: Server,
    right: String,
}

impl Place {
    fn new() -> Self {
        let home = Home::new();
        let key = home.default_key();
        let server = sshd(&home, IP, &key, "");
        home.keygen("right", "ed25519", "");
        let right = home.read("right.pub").split(' ').take(2).collect::<Vec<_>>().join(" ");
        home.write(&format!("{FILE}/value"), &right);
        home.write("clan/.clan-flake", "");
        Self { home, server, right }
    }

    /// The key that the server has.
    fn servers_key(&self) -> String {
        self.home.read(&format!("sshd-{}/host_key.pub", self.server.port())).trim().to_owned()
    }

    /// Where the server is, in the words of an inventory.
    fn snapshot(&self, machine: serde_json::Value, more: serde_json::Value) -> String {
        let mut snapshot = json!({ "clan_connect_snapshot": 1, "exports": {},
            "machines": { "web01": machine } });
        let target = format!("root@{IP}:{}", self.server.port());
        snapshot["machines"]["web01"]["target_host"] = target.into();
        for (name, value) in more.as_object().unwrap() {
            snapshot[name] = value.clone();
        }
        snapshot.to_string()
    }

    /// `clan-connect ssh` with an address that was named, whatever the clan says of it.
    fn native(&self, query: &str, more: &[&str]) -> Run {
        let target = format!("root@{}{query}", self.server.target());
        let args = ["--flake", "clan", "ssh", "web01", "--target-host", &target];
        self.home.run(&[&args, more, &["-c", "echo", "in"]].concat())
    }

    /// The same as `ssh`, with `$CLAN_DIR`.
    fn ssh(&self, more: &[&str]) -> Run {
        let clan = self.home.path("clan").display().to_string();
        let args = [&["openssh", "-l", "root"], more, &["web01", "echo", "in"]].concat();
        self.home.run_with_env(&args, &[("CLAN_DIR", &clan)])
    }

    fn refuses(&self, done: Run) -> Run {
        let done = done.exits(255);
        assert_eq!(done.text(), "");
        assert!(!self.server.log().contains("Accepted"), "{}", self.server.log());
        assert!(!self.home.path("home/.ssh/known_hosts").exists());
        done
    }
}

#[test]
fn a_loopback_address_is_not_this_computer_where_the_clan_knows_the_key() {
    let place = Place::new();
    place.home.write("clan/clan-connect.json", place.snapshot(json!({}), json!({})));
    let option = "NoHostAuthenticationForLocalhost";
    let changed = ["HOST IDENTIFICATION HAS CHANGED"];
    let all = || {
        [
            place.native("", &["--ssh-option", option, "yes"]),
            place.native(&format!("?{option}=yes"), &[]),
            place.ssh(&["-A", "-o", &format!("{option}=yes")]),
        ]
    };
    for done in all() {
        place.refuses(done).says(&changed);
    }
    place.home.write("home/.ssh/config", format!("{option} yes\n"));
    place.refuses(place.ssh(&[])).says(&changed);
    // Of a machine whose key nobody states it holds.
    fs::remove_dir_all(place.home.path("clan/vars")).unwrap();
    for done in all() {
        assert_eq!(done.exits(0).text(), "in\n");
    }
    assert!(!place.home.path("home/.ssh/known_hosts").exists());
}

#[test]
fn a_key_that_is_there_and_leads_nowhere_is_not_none() {
    let place = Place::new();
    place.home.write("clan/clan-connect.json", place.snapshot(json!({}), json!({})));
    place.refuses(place.native("", &[])).says(&["HOST IDENTIFICATION HAS CHANGED"]);
    let nowhere = |path: &Path| symlink("gone/elsewhere", path).unwrap();
    let file = |path: &Path| fs::write(path, &place.right).unwrap();
    let fifo = |path: &Path| {
        run("mkfifo", &[path.to_str().unwrap()], "coreutils");
    };
    let machine = "clan/vars/per-machine/web01";
    let openssh = "clan/vars/per-machine/web01/openssh";
    type Put<'a> = (&'a str, &'a dyn Fn(&Path), &'a str);
    let cases: [Put<'_>; 11] = [
        (&format!("{FILE}/value"), &nowhere, "leads nowhere"),
        (FILE, &nowhere, "leads nowhere"),
        (openssh, &nowhere, "leads nowhere"),
        (machine, &nowhere, "leads nowhere"),
        ("clan/vars", &nowhere, "leads nowhere"),
        (FILE, &file, "it is no folder"),
        (FILE, &fifo, "it is no folder"),
        (openssh, &file, "it is no folder"),
        (openssh, &fifo, "it is no folder"),
        (machine, &file, "it is no folder"),
        ("clan/vars", &file, "it is no folder"),
    ];
    for (path, put, words) in cases {
        let (path, aside) = (place.home.path(path), place.home.path("aside"));
        fs::rename(&path, &aside).unwrap();
        put(&path);
        let name = path.file_name().unwrap().to_str().unwrap();
        place.refuses(place.native("", &[])).says(&[name, words, "or remove it"]);
        place.refuses(place.ssh(&["-oStrictHostKeyChecking=accept-new"]));
        fs::remove_file(&path).unwrap();
        fs::rename(&aside, &path).unwrap();
    }
}

#[test]
fn a_shared_connection_is_not_one_that_another_clan_has_made_with_the_same_exports() {
    let place = Place::new();
    let home = &place.home;
    home.write("ignorant/.clan-flake", "");
    let exports = json!({ "net": { "priority": 1, "module": "clan_lib.network.direct",
        "peers": { "web01": { "host": { "plain": IP }, "port": place.server.address.port() } } } });
    home.write("exports.json", exports.to_string());
    let path = home.path("cm-%C");
    let config = format!("ControlMaster auto\nControlPath {}\nControlPersist 30\n", path.display());
    home.write("home/.ssh/config", config);
    let ssh = |clan: &str| {
        let args = ["--exports", "exports.json", "--flake", clan, "ssh", "web01"];
        home.run(&[&args[..], &["-c", "echo", "in"]].concat())
    };
    // A first use, for nothing is known.
    assert_eq!(ssh("ignorant").exits(0).text(), "in\n");
    assert_eq!(ssh("ignorant").exits(0).text(), "in\n");
    assert_eq!(place.server.log().matches("Accepted publickey").count(), 1);
    ssh("clan").exits(255).says(&["HOST IDENTIFICATION HAS CHANGED"]);
    // A snapshot in the place of the clan knows its keys as well.
    let wrong = place.snapshot(json!({ "host_keys": [place.right] }), json!({}));
    home.write("named.json", wrong);
    ssh("named.json").exits(255).says(&["HOST IDENTIFICATION HAS CHANGED"]);
    // Exports that were written anew are others, whatever their time and size.
    let time = home.path("exports.json").metadata().unwrap().modified().unwrap();
    fs::remove_file(home.path("exports.json")).unwrap();
    home.write("exports.json", exports.to_string());
    let file = fs::File::options().write(true).open(home.path("exports.json")).unwrap();
    file.set_modified(time).unwrap();
    assert_eq!(ssh("ignorant").exits(0).text(), "in\n");
    assert_eq!(place.server.log().matches("Accepted publickey").count(), 2);
    for entry in fs::read_dir(home.dir.path()).unwrap() {
        let path = entry.unwrap().path().display().to_string();
        if path.contains("/cm-") {
            home.run(&["openssh", "-F", "none", "-S", &path, "-O", "exit", "web01"]).exits(0);
        }
    }
}

#[test]
fn a_key_without_a_certificate_is_no_silent_first_use_where_the_clan_has_an_authority() {
    let place = Place::new();
    let home = &place.home;
    home.keygen("ca", "ed25519", "");
    let authority = home.read("ca.pub");
    fs::remove_dir_all(home.path("clan/vars")).unwrap();
    let more = json!({ "domain": "clan.test", "authorities": [authority.trim()] });
    home.write("clan/clan-connect.json", place.snapshot(json!({}), more));
    let native = |more: &[&str]| {
        let args = [&["--flake", "clan", "ssh", "web01"], more, &["-c", "echo", "in"]].concat();
        home.run(&args)
    };
    for check in ["tofu", "accept-new", "ask", "strict"] {
        let done = place.refuses(native(&["--host-key-check", check]));
        done.says(&["is not known", "no authority of the clan has signed it", "network trust add"]);
    }
    place.refuses(place.ssh(&["-oStrictHostKeyChecking=accept-new"]));
    place.refuses(native(&["--ssh-option", "NoHostAuthenticationForLocalhost", "yes"]));
    // Whoever knows the key says so.
    let args = ["--flake", "clan", "network", "trust", "add", "web01", &place.servers_key()];
    home.run(&args).exits(0);
    assert_eq!(native(&[]).exits(0).text(), "in\n");
    fs::remove_file(home.path("home/.ssh/known_hosts")).unwrap();
    // The certificate of the authority will do, unasked.
    let host_key = home.path(&format!("sshd-{}/host_key.pub", place.server.port()));
    let host_key = host_key.to_str().unwrap();
    let (ca, names) = (home.path("ca"), ["-I", "web01", "-h", "-n", "web01.clan.test"]);
    let args = [&["-q", "-s", ca.to_str().unwrap()], &names[..], &[host_key]].concat();
    run("ssh-keygen", &args, "openssh-client");
    let of_host = host_key.strip_suffix(".pub").unwrap();
    let config = format!("HostKey {of_host}\nHostCertificate {of_host}-cert.pub\n");
    let certified = sshd(home, IP, &home.read("home/.ssh/id_ed25519.pub"), &config);
    let target = format!("root@{}", certified.target());
    assert_eq!(native(&["--target-host", &target]).exits(0).text(), "in\n");
    assert!(!home.path("home/.ssh/known_hosts").exists());
}

#[test]
fn a_known_hosts_command_is_told_the_name_that_was_typed_and_its_failure_has_its_own_hint() {
    let place = Place::new();
    let home = &place.home;
    fs::remove_dir_all(home.path("clan/vars")).unwrap();
    home.write("clan/clan-connect.json", place.snapshot(json!({}), json!({})));
    let (noted, key) = (home.path("noted"), place.servers_key());
    let text = format!("#!/bin/sh\necho \"$1\" >>{}\necho \"$2 {key}\"\n", noted.display());
    let command = format!("{} %n %H", home.script("known", text).display());
    let ssh = |command: &str| {
        let option = ["--host-key-check", "strict", "--ssh-option", "KnownHostsCommand", command];
        let args = [&["--flake", "clan", "ssh", "web01"], &option[..], &["-c", "echo", "in"]];
        home.run(&args.concat())
    };
    assert_eq!(ssh(&command).exits(0).text(), "in\n");
    let noted = home.read("noted");
    assert!(!noted.is_empty() && noted.lines().all(|name| name == "web01"), "{noted}");
    let failed = ssh("/bin/false").exits(255).says(&["KnownHostsCommand: it failed", "by hand"]);
    assert!(!failed.stderr.contains("UserKnownHostsFile"), "{}", failed.stderr);
}
