//! Files beside the clan that lead us: the cache, the user's configuration, the way to
//! what he has named. Those of another user lead nowhere. Needs root, to make files that
//! belong to somebody else.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::harness::{Home, Run, Server, sshd, start, wait};

const IP: &str = "127.0.0.1";
/// `nobody` of Debian.
const NOBODY: u32 = 65534;
const ONION: &str = "2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid.onion";

fn run_with(home: &Home, dir: &str, env: &[(&str, &Path)], args: &[&str]) -> Run {
    let mut command = home.command(args);
    command.current_dir(home.path(dir)).envs(env.iter().copied());
    Run::of(wait(start(&mut command, "util-linux")))
}

fn own(path: &Path, uid: u32) {
    std::os::unix::fs::lchown(path, Some(uid), Some(uid)).unwrap();
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A home that others can look into, and a server.
fn place() -> (Home, Server) {
    let home = Home::new();
    mode(home.dir.path(), 0o755);
    let key = home.default_key();
    let server = sshd(&home, IP, &key, "");
    (home, server)
}

/// A snapshot in which `m` is at the server, with its key.
fn snapshot(home: &Home, server: &Server, fingerprint: Option<&str>) -> String {
    let key = home.read(&format!("sshd-{}/host_key.pub", server.port()));
    let target = format!("root@{IP}:{}", server.port());
    let machine = json!({ "target_host": target, "host_keys": [key.trim()] });
    let mut snapshot = json!({
        "clan_connect_snapshot": 1, "exports": {}, "services": {},
        "machines": { "m": machine },
    });
    if let Some(fingerprint) = fingerprint {
        snapshot["fingerprint"] = fingerprint.into();
    }
    snapshot.to_string()
}

const RUN: [&str; 6] = ["--host-key-check", "strict", "m", "-c", "echo", "in"];

#[test]
fn a_cache_that_somebody_else_could_have_written_is_none() {
    let (home, server) = place();
    // The clan itself leads nowhere.
    home.write("clan/flake.nix", "{ outputs = _: { clan.exports = { }; }; }");
    let clan = home.path("clan").canonicalize().unwrap();
    let fingerprint = clan_connect::internals::fingerprint(&clan).unwrap();
    let digest = Sha256::digest(clan.as_os_str().as_encoded_bytes());
    let name = data_encoding::HEXLOWER.encode(&digest[..16]);
    let cache = home.path("shared");
    let file = format!("shared/clan-connect/exports/{name}.json");
    home.write(&file, snapshot(&home, &server, Some(&fingerprint)));
    let ssh = || {
        let args = [&["--flake", "clan", "ssh"], &RUN[..]].concat();
        run_with(&home, ".", &[("XDG_CACHE_HOME", &cache)], &args)
    };
    // One of our own is believed.
    assert_eq!(ssh().exits(0).text(), "in\n");
    let logins = || server.log().matches("Accepted publickey").count();
    assert_eq!(logins(), 1);
    for (foreign, uid, bits) in [
        (file.as_str(), NOBODY, 0o644),
        (&file, 0, 0o666),
        ("shared/clan-connect/exports", NOBODY, 0o755),
        ("shared/clan-connect", 0, 0o777),
        ("shared", NOBODY, 0o755),
    ] {
        let path = home.path(foreign);
        let before = fs::metadata(&path).unwrap().permissions().mode();
        own(&path, uid);
        mode(&path, bits);
        ssh().exits(255).says(&["there is no nix"]);
        own(&path, 0);
        mode(&path, before);
    }
    assert_eq!(logins(), 1);
}

#[test]
fn a_link_of_somebody_elses_names_no_clan() {
    let (home, server) = place();
    home.write("store/clan/.clan-flake", "");
    home.write("store/clan/clan-connect.json", snapshot(&home, &server, None));
    fs::create_dir(home.path("team")).unwrap();
    symlink(home.path("store/clan"), home.path("team/clan")).unwrap();
    symlink(home.path("store/clan"), home.path("mine")).unwrap();
    let named = |dir: &str| {
        let args = [&["--flake", dir, "ssh"], &RUN[..]].concat();
        run_with(&home, ".", &[], &args)
    };
    let variable = |dir: &str| {
        let dir = home.path(dir);
        let args = ["openssh", "-F", "none", "-o", "StrictHostKeyChecking=yes", "m", "echo", "in"];
        run_with(&home, ".", &[("CLAN_DIR", &dir)], &args)
    };
    for own_way in ["mine", "team/clan"] {
        assert_eq!(named(own_way).exits(0).text(), "in\n");
        assert_eq!(variable(own_way).exits(0).text(), "in\n");
    }
    for foreign in ["team", "team/clan"] {
        own(&home.path(foreign), NOBODY);
        named("team/clan").exits(255).says(&["belongs to nobody"]);
        variable("team/clan").exits(255).says(&["belongs to nobody"]);
        own(&home.path(foreign), 0);
    }
    // By reference it is the same, before nix is asked.
    own(&home.path("team/clan"), NOBODY);
    let reference = format!("path:{}", home.path("team/clan").display());
    named(&reference).exits(255).says(&["belongs to nobody"]);
}

#[test]
fn exports_that_others_could_have_written_are_not_believed() {
    let (home, server) = place();
    let text = snapshot(&home, &server, None);
    let file = home.write("dir/snap.json", &text);
    home.write("dir/.clan-flake", "");
    home.write("dir/exports.json", r#"{"net": {"peers": {"m": {"host": {"plain": "h"}}}}}"#);
    let foreign = |words: &[&str]| {
        for named in ["--exports", "--flake"] {
            for path in ["dir/snap.json", file.to_str().unwrap()] {
                let done = home.run(&[&[named, path, "ssh"], &RUN[..]].concat()).exits(255);
                done.says(&["the snapshot", "is not used"]).says(words);
            }
        }
        // Nor are addresses alone, nor is it written where a stock ssh believes it.
        home.run(&["--exports", "dir/snap.json", "network", "list"]).exits(1).says(words);
        let named = ["--flake", "mine", "--exports", "dir/snap.json", "ssh-config"];
        assert_eq!(home.run(&named).exits(1).says(words).text(), "");
        // What the user opens himself is his own word.
        let piped = [&["--exports", "-", "ssh"], &RUN[..]].concat();
        assert_eq!(home.run_with_input(&piped, text.clone().into()).exits(0).text(), "in\n");
        let script = "exec \"$0\" --exports <(/bin/cat dir/snap.json) \"$@\"";
        let through = ["/bin/bash", "-c", script];
        let mut command = home.command_with(&through, &[&["ssh"], &RUN[..]].concat());
        assert_eq!(Run::of(wait(start(&mut command, "bash"))).exits(0).text(), "in\n");
    };
    home.write("mine/.clan-flake", "");
    for named in ["--exports", "--flake"] {
        let args = [&[named, "dir/snap.json", "ssh"], &RUN[..]].concat();
        assert_eq!(home.run(&args).exits(0).text(), "in\n");
    }
    own(&file, NOBODY);
    foreign(&["snap.json belongs to nobody"]);
    own(&file, 0);
    mode(&file, 0o666);
    foreign(&["snap.json can be written by everybody"]);
    mode(&file, 0o644);
    own(&home.path("dir"), NOBODY);
    foreign(&["dir belongs to nobody", "can be replaced"]);
    own(&home.path("dir/exports.json"), NOBODY);
    let list = ["--exports", "dir/exports.json", "network", "list"];
    home.run(&list).exits(1).says(&["exports.json belongs to nobody", "trust-clan"]);
    // It is in a clan that the user has looked at.
    home.run(&["trust-clan", "dir"]).exits(0).says(&["belongs to nobody"]);
    home.run(&list).exits(0);
    own(&file, NOBODY);
    for named in ["--exports", "--flake"] {
        let args = [&[named, "dir/snap.json", "ssh"], &RUN[..]].concat();
        assert_eq!(home.run(&args).exits(0).text(), "in\n");
    }
    // By whatever way of the user's own it is named.
    fs::create_dir(home.path("dir/sub")).unwrap();
    own(&home.path("dir/sub"), NOBODY);
    symlink("dir", home.path("own-link")).unwrap();
    for named in ["--exports", "--flake"] {
        for path in ["dir/sub/../snap.json", "mine/../dir/snap.json", "own-link/snap.json"] {
            let args = [&[named, path, "ssh"], &RUN[..]].concat();
            assert_eq!(home.run(&args).exits(0).text(), "in\n", "{path}");
        }
    }
    // A link that leads into it could lead elsewhere, and so could a directory beside it.
    fs::create_dir(home.path("team")).unwrap();
    own(&home.path("team"), NOBODY);
    home.run(&["--exports", "team/../dir/snap.json", "network", "list"]).exits(1);
    symlink(&file, home.path("team/snap.json")).unwrap();
    std::os::unix::fs::lchown(home.path("team/snap.json"), Some(NOBODY), None).unwrap();
    home.run(&["--exports", "team/snap.json", "network", "list"]).exits(1);
    home.run(&["trust-clan", "--revoke", "dir"]).exits(0);
    home.run(&list).exits(1).says(&["belongs to nobody"]);
}

#[test]
fn a_list_of_clans_behind_a_link_of_somebody_elses_allows_none() {
    let (home, server) = place();
    home.write("his/.clan-flake", "");
    home.write("his/clan-connect.json", snapshot(&home, &server, None));
    let config = |name: &str| home.path(name);
    run_with(&home, ".", &[("XDG_CONFIG_HOME", &config("mine"))], &["trust-clan", "his"]).exits(0);
    fs::create_dir_all(home.path("cfg/clan-connect")).unwrap();
    let list = home.path("cfg/clan-connect/trusted-clans.json");
    symlink(home.path("mine/clan-connect/trusted-clans.json"), &list).unwrap();
    let ssh = || {
        let args = ["openssh", "-F", "none", "-o", "StrictHostKeyChecking=yes", "m", "echo", "in"];
        run_with(&home, "his", &[("XDG_CONFIG_HOME", &config("cfg"))], &args)
    };
    assert_eq!(ssh().exits(0).text(), "in\n");
    for foreign in ["cfg/clan-connect/trusted-clans.json", "cfg/clan-connect", "cfg"] {
        own(&home.path(foreign), NOBODY);
        ssh().exits(255).says(&["trusted-clans.json", "is ignored", "belongs to nobody"]);
        own(&home.path(foreign), 0);
    }
}

#[test]
fn a_tor_toml_of_somebody_elses_starts_nothing() {
    let home = Home::new();
    mode(home.dir.path(), 0o755);
    home.script("transport", format!("#!/bin/sh\ntouch {}/ran\n", home.dir.path().display()));
    let transport = home.path("transport");
    let toml = format!(
        "[bridges]\nenabled = true\nbridges = [\"obfs4 127.0.0.1:1 \
         0123456789012345678901234567890123456789 cert=x\"]\n\
         [[bridges.transports]]\nprotocols = [\"obfs4\"]\npath = \"{}\"\n",
        transport.display()
    );
    let file = home.write("home/.config/clan-connect/tor.toml", toml);
    for (uid, bits, words) in [(NOBODY, 0o644, "belongs to nobody"), (0, 0o666, "by everybody")] {
        own(&file, uid);
        mode(&file, bits);
        let args = ["ssh", "m", "--target-host", ONION, "--timeout", "2", "-c", "true"];
        home.run(&args).exits(255).says(&["tor.toml", words]);
    }
    // What needs no Tor does not suffer, and a machine that has both is reached.
    let key = home.default_key();
    let server = sshd(&home, IP, &key, "");
    let network = |name: &str, priority: i32, host: &str, port: &str| {
        let peer = json!({ "host": { "plain": host }, "port": port.parse::<u16>().unwrap() });
        json!({ "module": format!("clan_lib.network.{name}"), "priority": priority,
            "peers": { "web01": peer } })
    };
    let internet = network("direct", 1, IP, &server.port());
    for exports in [
        json!({ "internet": internet }),
        json!({ "internet": internet, "tor": network("tor", 2, ONION, "22") }),
    ] {
        home.write("exports.json", exports.to_string());
        let args = ["--exports", "exports.json", "ssh", "web01", "-c", "echo", "in"];
        assert_eq!(home.run(&args).exits(0).text(), "in\n");
    }
    assert!(!home.path("ran").exists());
}

#[test]
fn what_a_checkout_calls_its_own_is_not_forgotten_or_learned() {
    let home = Home::new();
    home.keygen("bank", "ed25519", "");
    let key = home.read("bank.pub").split(' ').take(2).collect::<Vec<_>>().join(" ");
    let peer = |host: &str| json!({ "host": { "plain": host }, "port": 22 });
    let network = |host: &str| {
        json!({ "priority": 1, "module": "clan_lib.network.direct",
            "peers": { "web01": peer(host) } })
    };
    let exports = json!({ "one": network("bank.example"), "two": network("other.example") });
    let snapshot = json!({ "clan_connect_snapshot": 1, "machines": {}, "exports": exports });
    home.write("checkout/.clan-flake", "");
    home.write("checkout/clan-connect.json", snapshot.to_string());
    let known = format!("bank.example {key}\nweb01 {key}\n");
    let file = home.write("home/.ssh/known_hosts", &known);
    let trust =
        |args: &[&str]| run_with(&home, "checkout", &[], &[&["network", "trust"], args].concat());
    trust(&["remove", "web01"]).exits(1);
    assert_eq!(fs::read_to_string(&file).unwrap(), known);
    home.keygen("new", "ed25519", "");
    let new = home.read("new.pub");
    trust(&["add", "web01", new.trim()]).exits(0).says(&[]);
    let text = fs::read_to_string(&file).unwrap();
    let added: Vec<&str> = text.lines().skip(2).collect();
    assert!(text.starts_with(&known) && added.len() == 1, "{text}");
    assert!(added[0].starts_with("web01@clan-"), "{text}");
    assert!(trust(&["list", "web01"]).exits(0).text().contains("web01@clan-"));
    trust(&["remove", "web01"]).exits(0);
    assert_eq!(fs::read_to_string(&file).unwrap(), known);
    // Where it was named, all its names are the machine's.
    let named = ["--flake", "checkout", "network", "trust", "remove", "web01"];
    home.run(&named).exits(0);
    assert_eq!(fs::read_to_string(&file).unwrap(), "");
}
