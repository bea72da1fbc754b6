//! The flake of this project, evaluated by the real nix: its files, the snapshot that a
//! clan's machine is built with, and what a stock OpenSSH there is told. `fixtures/nix` stands
//! for the clan, and for nixpkgs unless its `lib` is in the folder `$CLAN_TEST_NIXPKGS_LIB`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{BINARY, Home, Run, Server, THEIRS, run, sshd, start, wait};
use crate::links::Namespace;

/// Where this project is.
const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// Where nix is for our binary.
const WITH_NIX: (&str, &str) = ("PATH", "/usr/bin:/bin");
/// Where a machine has what it knows of the clan.
const FILE: &str = "/etc/clan-connect/home/clan-connect.json";

/// The value of a file of ours, with arguments as nix takes them. No store is touched.
fn evaluated(file: &str, args: &[&str]) -> Value {
    let file = format!("{ROOT}/{file}");
    let fixed = ["--eval", "--strict", "--json", "--store", "dummy://", &file];
    let nixpkgs = std::env::var("CLAN_TEST_NIXPKGS_LIB").ok();
    let real = |dir| ["--argstr", "nixpkgs", dir];
    let nixpkgs: Vec<&str> = nixpkgs.as_deref().into_iter().flat_map(real).collect();
    let json = run("nix-instantiate", &[&fixed[..], &nixpkgs, args].concat(), "nix-bin");
    serde_json::from_str(&json).unwrap()
}

/// All files of a folder that are nix's.
fn nix_files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| match path.is_dir() {
            true => nix_files(&path),
            false => vec![path],
        })
        .filter(|path| path.extension().is_some_and(|it| it == "nix"))
        .collect()
}

/// A clan whose machine `solo` is a server here; nothing may be sent to its others.
struct Place {
    home: Home,
    server: Server,
    key: String,
}

impl Place {
    fn new() -> Self {
        println!("{}", run("nix", &["--version"], "nix-bin"));
        let home = Home::new();
        let own = home.default_key();
        let server = sshd(&home, "127.0.0.1", &own, "");
        let key = home.read(&format!("sshd-{}/host_key.pub", server.port()));
        let flake = fs::read_to_string(format!("{ROOT}/fixtures/nix/clan/flake.nix")).unwrap();
        home.write("clan/flake.nix", flake.replace("65535", &server.port()));
        let place = Self { home, server, key };
        place.var("per-machine/solo/openssh/ssh.id_ed25519.pub", &place.key);
        place.var("per-machine/web/openssh-cert/ssh.id_ed25519-cert.pub", "cert AAAA\n");
        place.var("shared/openssh-ca/id_ed25519.pub", "# Clan's\n\n ssh-ed25519 AAAA ca\n");
        place.var("per-machine/web/tor_tor/hostname", "abcdefgh.onion\n");
        place.var("per-machine/web/p2p-ssh-iroh-p2p/ticket", "endpointaaaa");
        place.var("per-machine/web/wireguard-keys-vpn/publickey", "a2V5\n");
        place.var("per-machine/web/wireguard-network-vpn/prefix", "fd00:1:2:3\n");
        place.var("per-machine/db/wireguard-network-vpn/suffix", "::1");
        fs::create_dir_all(place.home.path("package/bin")).unwrap();
        symlink(BINARY, place.home.path("package/bin/clan-connect")).unwrap();
        place
    }

    fn var(&self, id: &str, value: &str) {
        self.home.write(&format!("clan/vars/{id}/value"), value);
    }

    /// What a machine of the clan gets whose role has these settings.
    fn machine(&self, settings: &str) -> Value {
        let text = |name: &str| self.home.path(name).display().to_string();
        let (clan, package) = (text("clan"), text("package"));
        let paths = ["--argstr", "directory", &clan, "--argstr", "package", &package];
        let settings = ["--arg", "settings", settings];
        evaluated("fixtures/nix/evaluate.nix", &[&paths[..], &settings].concat())
    }

    /// OpenSSH's ssh on such a machine.
    fn theirs(&self, machine: &Value, args: &[&str]) -> Run {
        // Its /etc is this home.
        let file = self.home.write("etc/clan-connect.json", text(&machine["file"]["text"]));
        let config = text(&machine["extraConfig"]).replace(FILE, &file.display().to_string());
        let config = self.home.write("etc/ssh_config", config + "HashKnownHosts no\n");
        let known = machine["knownHosts"].as_object().unwrap().values();
        let known: String = known
            .map(|entry| {
                format!("{} {}\n", text(&entry["hostNames"][0]), text(&entry["publicKey"]))
            })
            .collect();
        let known = self.home.write("etc/ssh_known_hosts", known);
        let key = self.home.path("home/.ssh/id_ed25519").display().to_string();
        let mut command = Command::new(THEIRS);
        command.args(["-F", config.to_str().unwrap(), "-i", &key, "-o", "BatchMode=yes"]);
        command.args(["-o", &format!("GlobalKnownHostsFile={}", known.display())]);
        command.args(["-o", "UserKnownHostsFile=/dev/null", "-o", "StrictHostKeyChecking=yes"]);
        command.args(args).env_clear().env("HOME", self.home.path("home"));
        command.env("PATH", "/usr/bin:/bin");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Run::of(wait(start(&mut command, "openssh-client")))
    }
}

/// Compares a snapshot that nix has made with one of our own command. Its age is that of
/// the machine.
fn assert_same(nix: &str, ours: &str) {
    let differs = |line: &&str| !line.starts_with("  \"fingerprint\": ");
    let expected: Vec<&str> = ours.lines().filter(differs).collect();
    assert_eq!(ours.lines().count(), expected.len() + 1, "{ours}");
    for (line, expected) in nix.lines().zip(&expected) {
        assert_eq!(line, *expected, "{nix}{ours}");
    }
    assert_eq!(nix.lines().count(), expected.len());
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

#[test]
fn every_file_parses_and_the_flake_has_what_it_promises() {
    let mut files = nix_files(&Path::new(ROOT).join("nix"));
    files.extend(nix_files(&Path::new(ROOT).join("fixtures/nix")));
    files.push(Path::new(ROOT).join("flake.nix"));
    assert!(files.len() > 9, "{files:?}");
    for file in &files {
        let file = file.to_str().unwrap();
        run("nix-instantiate", &["--parse", "--store", "dummy://", file], "nix-bin");
    }
    let outputs = evaluated("fixtures/nix/outputs.nix", &[]);
    assert_eq!(outputs["systems"], json!(["aarch64-linux", "x86_64-linux"]));
    assert_eq!(outputs["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(outputs["pname"], outputs["overlay"]);
    assert_eq!(outputs["doCheck"], false);
    assert_eq!(outputs["buildInputs"], json!(["glibc-static"]));
    // What is built from is there, and each crate has a checksum or lies in vendor/.
    assert_eq!((&outputs["missing"], &outputs["unhashed"]), (&json!([]), &json!([])));
    for module in outputs["modules"].as_array().unwrap() {
        assert!(Path::new(&text(module)).is_file(), "{module}");
    }
}

#[test]
fn a_machines_snapshot_is_what_our_own_command_writes() {
    let place = Place::new();
    let args = ["--flake", "clan", "exports", "snapshot", "--output", "ours.json"];
    place.home.run_with_env(&args, &[WITH_NIX]).exits(0);
    let machine = place.machine("{ configuredHosts = true; irohTickets = true; }");
    assert_eq!(machine["_class"], "clan.service");
    assert_eq!(machine["file"]["mode"], "0444");
    let theirs = text(&machine["file"]["text"]);
    let ours = place.home.read("ours.json");
    assert_same(&theirs, &ours);
    assert!(theirs.ends_with("}\n"));
    let value: Value = serde_json::from_str(&theirs).unwrap();
    assert_eq!(value["failed"], json!(["clan-core/mycelium:mycelium:peer:db"]));
    assert_eq!(value["machines"]["web"]["tags"], json!(["all", "far", "server"]));
    assert_eq!(value["machines"]["solo"]["host_keys"], json!([place.key.trim()]));
    assert_eq!(value["configured"], json!({ "db": "root@db.clan.test", "web": null }));
    assert_eq!(value["vars"]["web"]["tor_tor/hostname"], "abcdefgh.onion");
    assert_eq!(value["vars"]["web"]["p2p-ssh-iroh-p2p/ticket"], "endpointaaaa");
    let member = &value["services"]["vpn"]["roles"]["peer"]["web"];
    assert_eq!(member, &json!({ "mtu": 1280, "controller": "web" }));
    let members = &value["services"]["ygg"]["roles"]["default"];
    assert_eq!(members["db"]["ports.tls"], 4443, "{members}");
    assert!(members["no word"].is_object() && members["no word"].get("ports.tls").is_none());
    // The configurations of all machines are evaluated on request only.
    let less: Value = serde_json::from_str(&text(&place.machine("{ }")["file"]["text"])).unwrap();
    assert!(less.get("configured").is_none() && less["machines"] == value["machines"]);
    // So are tickets, which everybody on the machine could read.
    assert!(!text(&place.machine("{ }")["file"]["text"]).contains("endpointaaaa"), "{less}");
    assert_eq!(less["vars"]["web"]["tor_tor/hostname"], "abcdefgh.onion");
    // Our own reader takes it.
    place.home.write("theirs.json", &theirs);
    let list = |file: &str| place.home.run(&["--exports", file, "network", "list"]).exits(0).text();
    assert_eq!(list("theirs.json"), list("ours.json"));
}

#[test]
fn clans_own_exports_and_vars_make_the_same_snapshot() {
    let Some(data) = crate::test_data::clan() else { return };
    let home = Home::new();
    let clan = home.path("clan").display().to_string();
    let vars = data.join("flakes/clanServices__yggdrasil__tests__vm/vars");
    run("mkdir", &[&clan], "coreutils");
    run("cp", &["-r", vars.to_str().unwrap(), &clan], "coreutils");
    home.write(
        "clan/flake.nix",
        "{ outputs = _: let read = file: builtins.fromJSON (builtins.readFile file); in {
             clan.exports = read ./exports.json;
             clanInternals.inventoryClass.inventorySerialization = read ./inventory.json;
           }; }",
    );
    let copy = |from: &str, to: &str| home.write(to, fs::read(data.join(from)).unwrap());
    copy("exports/real-inventory.json", "clan/inventory.json");
    for exports in ["exports/real.json", "exports/real-zerotier.json"] {
        copy(exports, "clan/exports.json");
        let args = ["--flake", "clan", "exports", "snapshot", "--output", "ours.json"];
        home.run_with_env(&args, &[WITH_NIX]).exits(0);
        let args = ["--argstr", "directory", &clan];
        let nix = text(&evaluated("fixtures/nix/text.nix", &args));
        assert!(nix.contains("/publickey\": "), "{nix}");
        assert_same(&nix, &home.read("ours.json"));
        home.write("nix.json", nix);
        let machines: Value = serde_json::from_str(&home.read("ours.json")).unwrap();
        for machine in machines["machines"].as_object().unwrap().keys() {
            let ways = plan(&home, "clan", machine);
            println!("{exports}, {machine}: {ways:?}");
            // The same from nix, from a snapshot, and from one that nix has made.
            assert_eq!(plan(&home, "ours.json", machine), ways);
            assert_eq!(plan(&home, "nix.json", machine), ways);
        }
    }
}

/// All ways to a machine in their order, of which none leads anywhere from where this is
/// asked: network, port, and host as it may be shown.
fn plan(home: &Home, clan: &str, machine: &str) -> Vec<(String, u64, String)> {
    let nowhere = Namespace::new();
    let [program, enter] = nowhere.enter();
    let args = ["--flake", clan, "network", "ping", machine, "--timeout", "1", "--json"];
    let mut command = home.command_with(&[&program, &enter, "/usr/bin/setsid"], &args);
    command.env(WITH_NIX.0, WITH_NIX.1);
    let done = Run::of(wait(start(&mut command, "util-linux")));
    let json: Value = serde_json::from_str(&done.text()).unwrap_or_else(|_| panic!("{done:?}"));
    let way = |it: &Value| (text(&it["network"]), it["port"].as_u64().unwrap(), text(&it["host"]));
    json["routes"].as_array().unwrap().iter().map(way).collect()
}

#[test]
fn openssh_on_a_machine_of_the_clan_reaches_the_others_by_name() {
    let place = Place::new();
    let machine = place.machine("{ }");
    assert_eq!(machine["warnings"].as_array().unwrap().len(), 1, "{}", machine["warnings"]);
    assert!(text(&machine["warnings"][0]).ends_with("meaning in ssh_config:\nno word\n"));
    assert_eq!(place.theirs(&machine, &["solo", "echo", "in"]).exits(0).text(), "in\n");
    // By whatever port ssh may ask for it.
    place.theirs(&machine, &["-p", &place.server.port(), "solo", "true"]).exits(0);
    // Whom the clan names, and nothing for other hosts.
    let said = |host: &str| place.theirs(&machine, &["-G", host]).exits(0).text();
    let db = said("db");
    assert!(db.lines().any(|line| line == "user admin") && db.contains("proxy %n %p\n"), "{db}");
    for host in ["solo.example", "no", "word", "guest"] {
        assert!(!said(host).contains("proxycommand"), "{host}");
    }
    // Another host key than the clan's is refused.
    place.home.keygen("other", "ed25519", "");
    place.var("per-machine/solo/openssh/ssh.id_ed25519.pub", &place.home.read("other.pub"));
    let machine = place.machine("{ }");
    place.theirs(&machine, &["solo", "true"]).exits(255).says(&["Host key verification failed"]);
}

#[test]
fn settings_become_arguments_and_no_word_of_them_is_more_than_one() {
    let place = Place::new();
    let machine = place.machine(
        "{ default = true; user = \"me\"; tor.client = \"embedded\"; tor.state = \"/var/lib/t t\";
           iroh.relays = [ \"https://100%.example/'\" ]; iroh.discovery = [ \"none\" ]; }",
    );
    let config = text(&machine["extraConfig"]);
    let package = place.home.path("package").display().to_string();
    let expected = format!(
        "Host db solo web\n  User me\n  ProxyCommand {package}/bin/clan-connect --exports {FILE} \
         --tor embedded --tor-state '/var/lib/t t' --iroh-relay 'https://100%%.example/'\\''' \
         --iroh-discovery none proxy %n %p\nMatch all\n"
    );
    assert_eq!(config, expected);
    assert_eq!(machine["variables"]["CLAN_DIR"], "/etc/clan-connect/home");
    assert_eq!(machine["packages"], json!([package]));
    let holds = |it: &Value| it["assertion"] == true;
    assert!(machine["assertions"].as_array().unwrap().iter().all(holds));
    // Without the glue there is the program and what it knows.
    let machine = place.machine("{ openssh = false; }");
    assert_eq!((&machine["extraConfig"], &machine["knownHosts"]), (&json!(""), &json!({})));
    assert_eq!(machine["variables"], json!({}));
    // A file that was written before is taken as it is.
    let file = place.home.path("mine.json").display().to_string();
    let snapshot = json!({ "clan_connect_snapshot": 1, "machines": {
        "m": { "target_host": "joe@192.0.2.1",
               "host_keys": ["ssh-ed25519 AAAA", "bad\nhost key", "@revoked AAAA"] },
        // Names that may be another host's.
        "github.com": { "target_host": "192.0.2.1", "host_keys": ["ssh-ed25519 AAAA"] },
        "LocalHost": { "target_host": "192.0.2.1", "host_keys": ["ssh-ed25519 AAAA"] },
        "10.0.0.1": { "target_host": "192.0.2.1", "host_keys": ["ssh-ed25519 AAAA"] },
        "0x7f": { "target_host": "192.0.2.1", "host_keys": ["ssh-ed25519 AAAA"] },
        "7": { "target_host": "192.0.2.1", "host_keys": ["ssh-ed25519 AAAA"] },
        "7up": { "target_host": "joe@192.0.2.1" },
    }, "exports": {} });
    place.home.write("mine.json", snapshot.to_string());
    let machine = place.machine(&format!("{{ snapshot = \"{file}\"; }}"));
    assert_eq!(machine["file"], json!({ "mode": "0444", "source": file }));
    assert!(text(&machine["extraConfig"]).starts_with("Host 7up m\n  User joe\n"));
    assert_eq!(text(&machine["extraConfig"]).matches("Host ").count(), 1);
    let warning = text(&machine["warnings"][0]);
    assert!(
        warning.ends_with("meaning in ssh_config:\n0x7f, 10.0.0.1, 7, LocalHost, github.com\n")
    );
    let keys: Vec<&Value> = machine["knownHosts"].as_object().unwrap().values().collect();
    assert_eq!(keys, [&json!({ "hostNames": ["m"], "publicKey": "ssh-ed25519 AAAA" })]);
}

#[test]
fn a_machine_gets_its_own_part_of_the_secret_hosts_and_root_opens_it_for_a_group() {
    let place = Place::new();
    let home = &place.home;
    // Without a committed file there is nothing of the kind.
    let without = place.machine("{ }");
    assert!(!text(&without["file"]["text"]).contains("secret_hosts"));
    assert_eq!((&without["services"], &without["groups"]), (&json!({}), &json!([])));
    run("age-keygen", &["-o", home.path("key.txt").to_str().unwrap()], "age");
    let key = run("age-keygen", &["-y", home.path("key.txt").to_str().unwrap()], "age");
    home.write("plain", r#"{"db":{"tor_tor/hostname":"abcdefgh.onion"}}"#);
    let plain = home.path("plain").display().to_string();
    let sealed = run("age", &["-a", "-r", key.trim(), &plain], "age");
    let part = json!({ "recipients": [key.trim()], "sealed": sealed, "sources": "00" });
    let parts = json!({ "web": part, "db": { "recipients": [], "sealed": "", "sources": "" } });
    let committed = json!({ "clan_connect_snapshot": 1, "exports": {}, "secret_hosts": parts });
    home.write("clan/clan-connect.json", committed.to_string());
    let machine = place.machine("{ group = \"dialers\"; }");
    let file = text(&machine["file"]["text"]);
    let value: Value = serde_json::from_str(&file).unwrap();
    assert_eq!(value["secret_hosts"], json!({ "web": part }), "{file}");
    // As our own command writes it, which takes a snapshot as it is.
    home.write("machine.json", &file);
    let own = home.run(&["--exports", "machine.json", "exports", "snapshot"]).exits(0).text();
    assert_eq!(own, file);
    // The service is called as our command is, and no other user may look.
    assert_eq!(machine["groups"], json!(["dialers"]));
    let service = &machine["services"]["clan-connect-home"];
    assert_eq!(service["wantedBy"], json!(["multi-user.target"]));
    let said = &service["serviceConfig"];
    assert_eq!(
        (&said["Group"], &said["RuntimeDirectoryMode"]),
        (&json!("dialers"), &json!("0750"))
    );
    let dir = format!("/run/{}", text(&said["RuntimeDirectory"]));
    let opened = home.path("opened").display().to_string();
    run("install", &["-d", "-m", "750", &opened], "coreutils");
    let start = text(&said["ExecStart"]).replace(FILE, "machine.json").replace(&dir, &opened);
    let words: Vec<&str> = start.split(' ').skip(1).collect();
    let identity = home.path("key.txt").display().to_string();
    home.run(&[&words[..], &["--identity", &identity]].concat()).exits(0);
    let names: Vec<_> = fs::read_dir(&opened).unwrap().map(|it| it.unwrap().path()).collect();
    assert_eq!(names.len(), 1, "{names:?}");
    assert_eq!(fs::read_to_string(&names[0]).unwrap(), home.read("plain"));
    // Another file is a reason to open it again, and a machine that has no part has none.
    let trigger =
        |machine: &Value| machine["services"]["clan-connect-home"]["restartTriggers"].clone();
    home.write("clan/clan-connect.json", committed.to_string().replace("\"00\"", "\"01\""));
    assert_ne!(trigger(&place.machine("{ group = \"dialers\"; }")), trigger(&machine));
    home.write("clan/clan-connect.json", r#"{"clan_connect_snapshot": 1, "exports": {}}"#);
    assert!(!text(&place.machine("{ }")["file"]["text"]).contains("secret_hosts"));
}
