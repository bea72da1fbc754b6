//! One clan, wherever it is read: by the real nix in a checkout, from snapshots that two
//! computers have made, from a lone `clan-connect.json`, and from what nix builds for a machine.
//! What is known of the way to each machine is the same to the byte.

use std::fs;

use serde_json::Value;

use crate::clan::seal;
use crate::harness::{Home, Run, Server, run, sshd, start, wait};
use crate::links::Namespace;

/// Where nix is for our binary, which else has no programs.
const WITH_NIX: &str = "/usr/bin:/bin";
const NAME: &str = "clan-connect.json";
const MACHINES: [&str; 9] = ["bare", "ca", "db", "gone", "lost", "no word", "odd", "solo", "web"];
/// Those of them that are a server here, which is another one for each.
const DIALLED: [&str; 3] = ["solo", "ca", "bare"];

/// What the authority of the clan vouches for.
const NAMES: &str = "ca.clan.test,bare.clan.test,solo.clan.test";

/// Networks of each kind, of the same name and of the same priority; hosts in the clear, in
/// public vars, in secret ones and in none; addresses with users and ports; machines in no
/// network at all; entries and configurations that cannot be evaluated.
const FLAKE: &str = r#"{
  outputs = { self, ... }:
    let
      var = machine: generator: file: {
        var = { inherit machine generator file; flake = self.outPath; };
      };
      host = plain: { inherit plain; };
      of = user: port: hosts: {
        networking = null;
        peer = { name = "peer"; SSHOptions = [ ]; inherit user port hosts; };
      };
      peer = of null 22;
      network = priority: module: {
        networking = { inherit priority; module = "clan_lib.network.${module}"; };
        peer = null;
      };
    in
    {
      clan.exports = {
        "clan-core/internet:internet::" = network 2000 "direct";
        "clan-core/internet:internet:default:solo" = of "root" 65535 [ (host "127.0.0.1") ];
        "clan-core/internet:internet:default:ca" = of null 65535 [ (host "127.0.0.1") ];
        "clan-core/internet:internet:default:web" =
          of "deploy" 2200 [ (host "web.example") (host "joe@192.0.2.7:2201") (host "web.example") ];
        "clan-core/internet:internet:default:odd" =
          peer [ (host "-oProxyCommand=x") (host "abcdefgh.onion") ];
        "clan-core/internet:lan::" = network 2000 "direct";
        "clan-core/internet:lan:default:web" = peer [ (var "web" "lan" "address") ];
        "clan-core/internet:lan:default:lost" = peer [ (var "lost" "lan" "address") ];
        "else/internet:internet::" = network 2000 "direct";
        "else/internet:internet:default:web" = peer [ (host "2001:db8::7") ];
        "clan-core/tor:tor::" = network 10 "tor";
        "clan-core/tor:tor:server:web" = peer [ (var "web" "tor_tor" "hostname") ];
        "clan-core/tor:tor:server:db" = of null 222 [ (var "db" "tor_tor" "hostname") ];
        "clan-core/p2p-ssh-iroh:p2p::" = network 3000 "p2p_ssh_iroh";
        "clan-core/p2p-ssh-iroh:p2p:server:web" = peer [ ];
        "clan-core/wireguard:vpn::" = network 1000 "direct";
        "clan-core/wireguard:vpn:controller:web" = peer [ (host "web.vpn") ];
        "clan-core/wireguard:vpn:peer:db" = peer [ (host "db.vpn") ];
        "clan-core/mycelium:mycelium::" = network 800 "direct";
        "clan-core/mycelium:mycelium:peer:web" =
          peer [ (host "42a:b024:1775:8724:78af:8b16:c99b:857b\n") ];
        "clan-core/mycelium:mycelium:peer:db" = throw "vars of mycelium are not generated";
        "clan-core/yggdrasil:ygg::" = network 900 "direct";
        "clan-core/yggdrasil:ygg:default:web" =
          peer [ (host "202:80d:5952:e9f0:c92c:d726:5333:53c7") ];
        "clan-core/yggdrasil:ygg:default:db" =
          peer [ (host "200:b247:5c89:e18f:9386:ecb1:cd73:10fe") ];
        "clan-core/zerotier:zt::" = network 900 "zerotier";
        "clan-core/zerotier:zt:peer:db" = peer [ (host "fd12:3456::1") ];
      };
      clanInternals.inventoryClass.inventorySerialization = {
        meta = { name = "same"; domain = "clan.test"; };
        machines = {
          web = { deploy.targetHost = null; tags = [ "server" "Ümlaut" ]; };
          db = { deploy.targetHost = "admin@db.example:2222"; tags = [ "server" "all" ]; };
          odd.deploy.targetHost = "-oProxyCommand=x";
          "no word" = { deploy.targetHost = "word.example"; tags = [ ]; };
          solo = { };
          bare.deploy = { targetHost = null; buildHost = "root@build.example"; };
          ca = { };
          gone = { };
          lost = { };
        };
        tags = { all = [ "db" "no word" "web" ]; far = [ "web" ]; };
        instances = {
          vpn = {
            module = { name = "wireguard"; input = null; };
            roles = {
              controller.machines.web.settings.imports =
                [ { _file = "clan.nix"; imports = [ { endpoint = "web.example"; port = 51900; } ]; } ];
              peer = { settings.mtu = 1300; machines.db.settings.controller = "web"; };
            };
          };
          ygg = {
            module.name = "yggdrasil";
            roles.default.tags.all.settings.extraPeers = [ "tcp://y.example:1" ];
          };
        };
      };
      clanInternals.machines.none = builtins.mapAttrs
        (_: targetHost: { config.clan.core.networking = { inherit targetHost; }; })
        {
          web = "root@web.clan.test:2203";
          db = null;
          solo = throw "its configuration is broken";
          bare = "root@127.0.0.1:65535";
          "no word" = "joe@word.clan.test?ForwardAgent=yes";
          odd = null;
          ca = null;
          gone = null;
          lost = null;
        };
    };
}
"#;

/// The clan in a repository, its server, and a place from where no machine can be reached.
struct Place {
    home: Home,
    server: Server,
    nowhere: Namespace,
}

/// Somebody who works with the clan.
struct Computer {
    /// Where everything of it is.
    name: &'static str,
    umask: &'static str,
    env: Vec<(&'static str, String)>,
}

/// Where the clan is read.
struct Source {
    what: &'static str,
    args: Vec<String>,
    env: Vec<(&'static str, String)>,
    dir: String,
    has_nix: bool,
    /// Whether it is given on standard input.
    is_piped: bool,
    /// What messages call it.
    called: String,
}

impl Place {
    fn new() -> Self {
        println!("{}", run("nix", &["--version"], "nix-bin"));
        println!("{}", run("git", &["--version"], "git"));
        let home = Home::new();
        let own = home.default_key();
        let text = |name: &str| home.path(name).display().to_string();
        home.keygen("ca", "ed25519", "");
        home.keygen("host", "ed25519", "");
        let sign = ["-q", "-s", &text("ca"), "-I", "x", "-h", "-n", NAMES];
        run("ssh-keygen", &[&sign[..], &[&text("host.pub")]].concat(), "openssh-client");
        let config = format!("HostKey {0}\nHostCertificate {0}-cert.pub\n", text("host"));
        let server = sshd(&home, "127.0.0.1", &own, &config);
        home.write("origin/flake.nix", FLAKE.replace("65535", &server.port()));
        let place = Self { home, server, nowhere: Namespace::new() };
        place.add_vars();
        place.git("origin", &["init", "-q", "-b", "main"]);
        place.commit("origin");
        place
    }

    fn add_vars(&self) {
        let home = &self.home;
        let var = |id: &str, value: &str| {
            home.write(&format!("origin/vars/{id}/value"), value);
        };
        var("per-machine/web/lan/address", "192.0.2.9\n");
        var("per-machine/web/tor_tor/hostname", "abcdefgh.onion\n");
        var("per-machine/web/p2p-ssh-iroh-p2p/ticket", "endpointaaaa");
        var("per-machine/web/wireguard-network-vpn/prefix", "fd11:2:3:400\n");
        var("per-machine/db/wireguard-network-vpn/suffix", "0:0:b:2");
        for machine in ["web", "db"] {
            let private = run("wg", &["genkey"], "wireguard-tools");
            let file = home.secret(&format!("{machine}.key"), private).display().to_string();
            let public = run("sh", &["-c", &format!("wg pubkey < {file}")], "wireguard-tools");
            var(&format!("per-machine/{machine}/wireguard-keys-vpn/publickey"), &public);
        }
        for machine in ["solo", "web"] {
            var(
                &format!("per-machine/{machine}/openssh/ssh.id_ed25519.pub"),
                &home.read("host.pub"),
            );
        }
        var("per-machine/ca/openssh-cert/ssh.id_ed25519-cert.pub", &home.read("host-cert.pub"));
        var("shared/openssh-ca/id_ed25519.pub", &format!("# Clan's\n\n{}", home.read("ca.pub")));
        run("age-keygen", &["-o", &home.path("age.txt").display().to_string()], "age");
        let secret = "origin/secrets/clan-vars/per-machine/db/tor_tor/hostname/hostname.age";
        seal(home, &self.recipient(), b"ponmlkji.onion\n", secret);
    }

    /// Who may open the secret host.
    fn recipient(&self) -> String {
        let identity = self.home.path("age.txt").display().to_string();
        run("age-keygen", &["-y", &identity], "age").trim().to_owned()
    }

    fn git(&self, at: &str, args: &[&str]) -> String {
        let at = self.home.path(at).display().to_string();
        let author = ["-c", "user.name=a", "-c", "user.email=a@b"];
        run("git", &[&["-C", &at], &author[..], args].concat(), "git")
    }

    fn commit(&self, at: &str) {
        self.git(at, &["add", "."]);
        self.git(at, &["commit", "-q", "-m", "x"]);
    }

    /// A home with nothing in it but the user's key.
    fn user(&self, name: &str) -> String {
        self.home.copy("home/.ssh/id_ed25519", &format!("{name}/.ssh/id_ed25519"));
        self.home.path(name).display().to_string()
    }

    /// Runs our binary on a computer, in this directory of it.
    fn on(&self, computer: &Computer, dir: &str, args: &[&str]) -> Run {
        let script = format!("umask {}; exec /usr/bin/setsid \"$@\"", computer.umask);
        let mut command = self.home.command_with(&["/bin/sh", "-c", &script, "sh"], args);
        command.current_dir(self.home.path(computer.name).join(dir)).env("PATH", WITH_NIX);
        command.env("HOME", self.home.path(computer.name)).envs(computer.env.iter().cloned());
        Run::of(wait(start(&mut command, "util-linux")))
    }

    /// Runs our binary, of whom nobody knows anything but `user`, with a source.
    fn with(&self, source: &Source, user: &str, through: &[&str], args: &[&str]) -> Run {
        self.as_said(source, user, through, &[&source.said(), args].concat())
    }

    /// The same, but in these words alone.
    fn as_said(&self, source: &Source, user: &str, through: &[&str], args: &[&str]) -> Run {
        let mut command = self.home.command_with(through, args);
        command.current_dir(self.home.path(&source.dir)).env("HOME", user);
        command.envs(source.env.iter().cloned());
        if source.has_nix {
            command.env("PATH", WITH_NIX);
        }
        if source.is_piped {
            command.stdin(fs::File::open(self.home.path(&format!("lone/{NAME}"))).unwrap());
        }
        let done = Run::of(wait(start(&mut command, "util-linux")));
        assert!(!done.stderr.contains("has changed since"), "{}: {}", source.what, done.stderr);
        done
    }

    /// All that is known there of the ways to these machines, apart from where it is known from.
    fn plan(&self, source: &Source, machines: &[&str], dialled: &[&str], more: &[&str]) -> String {
        let user = self.user(&format!("users/{}", source.what.replace(' ', "-")));
        let here = ["/usr/bin/setsid"];
        let done = |args: &[&str]| self.with(source, &user, &here, &[more, args].concat());
        let shown = done(&["exports", "show", "--json"]).exits(0);
        let mut plan = format!("{}{}", shown.text(), shown.stderr);
        plan.push_str(&done(&["exports", "show"]).exits(0).text());
        plan.push_str(&done(&["network", "identity", "vpn", "--json"]).text());
        for machine in machines {
            let trusted = done(&["network", "trust", "list", machine, "--json"]);
            let keys: Value = serde_json::from_slice(&trusted.stdout).unwrap_or_default();
            plan.push_str(&format!("{machine} {:?} {}\n", trusted.code, without_places(keys)));
        }
        let pinged = std::thread::scope(|scope| {
            let ping = |machine| self.ping(source, &user, machine, more);
            let all = machines.iter().map(|&machine| scope.spawn(move || ping(machine)));
            let all: Vec<_> = all.collect();
            all.into_iter().map(|it| it.join().unwrap()).collect::<String>()
        });
        plan.push_str(&pinged);
        for machine in dialled {
            let events = format!("{user}/events-{machine}");
            done(&["--events", &events, "ssh", machine, "-c", "true"]).exits(0);
            let events = fs::read_to_string(events).unwrap();
            let connected = events.lines().find(|line| line.contains("\"connected\"")).unwrap();
            let mut event: Value = serde_json::from_str(connected).unwrap();
            event.as_object_mut().unwrap().remove("seconds");
            // By what, and not where that is.
            let by = text(&event["host_key_by"]);
            let kind = by.split(" in ").next().and_then(|it| it.split(" of ").next());
            event["host_key_by"] = kind.into();
            plan.push_str(&format!("{event}\n"));
        }
        plan.replace(&source.called, "SOURCE")
    }

    /// The ways to a machine in their order, of which none leads anywhere. How long that took,
    /// and how it was said, is another matter.
    fn ping(&self, source: &Source, user: &str, machine: &str, more: &[&str]) -> String {
        let [program, enter] = self.nowhere.enter();
        let through = [&*program, &enter, "/usr/bin/setsid"];
        let args = ["network", "ping", machine, "--timeout", "1", "--json"];
        let done = self.with(source, user, &through, &[more, &args].concat());
        let mut json: Value = serde_json::from_slice(&done.stdout).unwrap_or_default();
        let routes = json["routes"].as_array_mut().map(std::mem::take).unwrap_or_default();
        let mut ways = format!("{machine} {:?} {}\n", done.code, json["reachable"]);
        for mut route in routes {
            let fields = route.as_object_mut().unwrap();
            for field in ["seconds", "stage", "reason", "hint", "phases"] {
                fields.remove(field).unwrap();
            }
            ways.push_str(&format!("  {route}\n"));
        }
        ways
    }

    fn source(&self, what: &'static str, args: &[&str], dir: &str, called: &str) -> Source {
        let full = |name: &str| self.home.path(name).display().to_string();
        let args = args.iter().map(|arg| match arg.starts_with("--") || *arg == "-" {
            true => (*arg).to_owned(),
            false => full(arg),
        });
        let (args, dir) = (args.collect(), dir.to_owned());
        let called = if called == "standard input" { called.to_owned() } else { full(called) };
        Source { what, args, env: Vec::new(), dir, has_nix: false, is_piped: false, called }
    }

    /// What nix puts into a machine of the clan.
    fn built(&self, clan: &str) -> String {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/nix/evaluate.nix");
        let clan = self.home.path(clan).display().to_string();
        let settings = "{ configuredHosts = true; irohTickets = true; openssh = false; }";
        let args = ["--eval", "--strict", "--json", "--store", "dummy://", file];
        let args = [&args[..], &["--argstr", "directory", &clan, "--argstr", "package", "/none"]];
        let args = [&args.concat()[..], &["--arg", "settings", settings]].concat();
        let machine: Value =
            serde_json::from_str(&run("nix-instantiate", &args, "nix-bin")).unwrap();
        text(&machine["file"]["text"])
    }
}

impl Source {
    fn said(&self) -> Vec<&str> {
        self.args.iter().map(String::as_str).collect()
    }
}

/// Host keys without the files that they are in, which differ.
fn without_places(mut keys: Value) -> Value {
    for key in keys["keys"].as_array_mut().into_iter().flatten() {
        let fields = key.as_object_mut().unwrap();
        fields.remove("file").unwrap();
        fields.remove("line").unwrap();
    }
    keys
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// Fails at the first line that differs.
#[track_caller]
fn assert_same(what: &str, said: &str, expected: &str) {
    for (line, expected) in said.lines().zip(expected.lines()) {
        assert_eq!(line, expected, "{what}: {said}");
    }
    assert_eq!(said.lines().count(), expected.lines().count(), "{what}: {said}{expected}");
}

/// Two computers that have nothing in common but the clan.
fn computers(place: &Place) -> [Computer; 2] {
    let one = |name: &str| place.home.path(&format!("one/{name}")).display().to_string();
    place.user("one");
    place.user("two");
    // Whoever sits here has his own ideas of machines, and keys.
    place.home.write("one/.ssh/config", "Host web db\n  User me\n  Port 99\n  HostName other\n");
    place.home.secret("one/config/clan-connect/wireguard-key", place.home.read("db.key"));
    let env = [
        ("XDG_CONFIG_HOME", one("config")),
        ("XDG_CACHE_HOME", one("Zwischen Speicher")),
        ("XDG_STATE_HOME", one("state")),
        ("TMPDIR", one("tmp")),
        ("TZ", "Asia/Kathmandu".to_owned()),
        ("LANG", "tr_TR.UTF-8".to_owned()),
        ("LC_ALL", "tr_TR.UTF-8".to_owned()),
        ("TERM", "xterm-256color".to_owned()),
        ("COLUMNS", "40".to_owned()),
    ];
    fs::create_dir_all(place.home.path("one/tmp")).unwrap();
    let two = vec![("TZ", "UTC".to_owned()), ("LC_ALL", "C".to_owned())];
    [
        Computer { name: "one", umask: "077", env: env.to_vec() },
        Computer { name: "two", umask: "022", env: two },
    ]
}

/// Clones the clan as its user would.
fn cloned(place: &Place, computer: &Computer, to: &str) {
    let to = place.home.path(computer.name).join(to);
    let origin = place.home.path("origin");
    let script = format!("umask {}; exec git clone -q \"$@\"", computer.umask);
    let (origin, to) = (origin.display().to_string(), to.display().to_string());
    run("sh", &["-c", &script, "sh", &origin, &to], "git");
}

/// The checkouts on both.
const CHECKOUTS: [&str; 2] = ["clans/at_home", "c"];

/// What snapshots the two computers make, which are the same, and what is said meanwhile.
fn snapshots(place: &Place, computers: &[Computer; 2]) -> [String; 2] {
    let made = [0, 1].map(|at| {
        let (computer, dir) = (&computers[at], CHECKOUTS[at]);
        let done = place.on(computer, dir, &["exports", "snapshot"]).exits(0);
        let called = place.home.path(computer.name).join(dir).display().to_string();
        let file = format!("{}/{dir}/{NAME}", computer.name);
        (place.home.read(&file), done.stderr.replace(&called, "CLAN"))
    });
    let [(one, said), (two, also)] = made;
    assert_same("what is said", &said, &also);
    assert_same("the second computer's", &two, &one);
    assert_eq!(one, two);
    [one, said]
}

#[test]
fn two_computers_make_the_same_snapshot_and_each_source_gives_the_same_plan() {
    let place = Place::new();
    let home = &place.home;
    let computers = computers(&place);
    for (computer, to) in computers.iter().zip(CHECKOUTS) {
        cloned(&place, computer, to);
    }
    // Much is remembered on the first one.
    for machine in ["solo", "bare"] {
        let done = place.on(&computers[0], CHECKOUTS[0], &["ssh", machine, "-c", "true"]);
        done.exits(0);
    }
    let port = place.server.port();
    let by_itself = ["openssh", "-o", "StrictHostKeyChecking=accept-new", "-p", &port];
    place
        .on(&computers[0], "tmp", &[&by_itself[..], &["root@127.0.0.1", "true"]].concat())
        .exits(0);
    let cache = "one/Zwischen Speicher/clan-connect";
    home.write(&format!("{cache}/places.json"), r#"{"00": "00"}"#);
    assert!(home.read("one/.ssh/known_hosts").contains("ssh-ed25519"));
    assert!(fs::read_dir(home.path(&format!("{cache}/exports"))).unwrap().count() > 0);
    assert!(!home.path("two/.cache").exists());
    let [first, said] = snapshots(&place, &computers);
    println!("{said}");
    // With the snapshot in the repository it is another commit, of the same clan.
    place.commit(&format!("one/{}", CHECKOUTS[0]));
    place.git(
        "origin",
        &["pull", "-q", &home.path(&format!("one/{}", CHECKOUTS[0])).display().to_string(), "main"],
    );
    fs::remove_file(home.path(&format!("two/{}/{NAME}", CHECKOUTS[1]))).unwrap();
    place.git(&format!("two/{}", CHECKOUTS[1]), &["pull", "-q"]);
    assert_eq!(snapshots(&place, &computers), [first.clone(), said]);
    for (computer, dir) in computers.iter().zip(CHECKOUTS) {
        let changed = place.git(&format!("{}/{dir}", computer.name), &["status", "--porcelain"]);
        assert_eq!(changed, "");
    }
    assert!(!first.contains("/nix/store") && !first.contains("ponmlkji"), "{first}");
    home.write(&format!("lone/{NAME}"), &first);
    let built = place.built("origin");
    home.write("built.json", &built);
    // Nobody has a snapshot here.
    place.git("origin", &["rm", "-q", NAME]);
    place.git("origin", &["commit", "-q", "-m", "without"]);

    let key = home.path("db.key").display().to_string();
    let more = ["--wireguard-key", &*key];
    let plan = |source: &Source| place.plan(source, &MACHINES, &DIALLED, &more);
    let by_nix = place.source("by nix", &["--flake", "origin"], ".", "origin");
    let by_nix = Source { has_nix: true, ..by_nix };
    let expected = plan(&by_nix);
    println!("{expected}");
    for word in [
        "\"way\": \"wireguard\"",
        "<var: tor_tor/hostname>",
        "<secret: p2p-ssh-iroh-p2p/ticket>",
        "\"abcdefgh.onion\"",
        "\"network\":\"configuration\"",
        "2201",
        "for ca.clan.test",
        "\"network\":\"inventory\"",
    ] {
        assert!(expected.contains(word), "{word}: {expected}");
    }
    assert!(!expected.contains("ponmlkji") && !expected.contains("endpointaaaa"), "{expected}");

    let file = format!("lone/{NAME}");
    let committed = format!("two/{}", CHECKOUTS[1]);
    let lone = home.path(&file).display().to_string();
    let sources = [
        Source { has_nix: true, ..place.source("standing in it", &[], "origin", "origin") },
        place.source("a committed snapshot", &["--flake", &committed], ".", &committed),
        place.source("standing beside the file", &[], "lone", "lone"),
        place.source("the directory of the file", &["--flake", "lone"], ".", "lone"),
        place.source("the file as the clan", &["--flake", &file], ".", &file),
        place.source("the file as exports", &["--exports", &file], ".", &file),
        Source {
            env: vec![("CLAN_DIR", lone)],
            ..place.source("the file by a variable", &[], ".", &file)
        },
        Source {
            is_piped: true,
            ..place.source("a pipe", &["--exports", "-"], ".", "standard input")
        },
        place.source("what nix has built", &["--exports", "built.json"], ".", "built.json"),
    ];
    for source in &sources {
        assert_same(source.what, &plan(source), &expected);
    }
    // Called as Clan's own program, which has no option for exports.
    let as_clan = ["/bin/bash", "-c", "exec -a clan \"$@\"", "clan"];
    let user = place.user("users/x");
    for source in sources.iter().filter(|it| !it.args.contains(&"--exports".to_owned())) {
        let args = [&["machines", "list", "--tags", "server"], &source.said()[..]].concat();
        let listed = place.as_said(source, &user, &as_clan, &args).exits(0);
        assert_eq!(listed.text(), "db\nweb\n", "{}", source.what);
    }
    // What is a snapshot already is converted to itself.
    for source in &sources[2..8] {
        let convert = ["exports", "snapshot", "--output", "-"];
        let done = place.with(source, &user, &["/usr/bin/setsid"], &convert);
        assert_eq!(done.exits(0).text(), first, "{}", source.what);
    }
    // What nix builds is as old as the machine, and nothing else of it differs.
    let ours = first.lines().filter(|line| !line.starts_with("  \"fingerprint\": "));
    assert_same("what nix has built", &built, &ours.collect::<Vec<_>>().join("\n"));
}

#[test]
fn a_secret_host_is_the_same_one_where_it_is_open_to_see() {
    let place = Place::new();
    let home = &place.home;
    let computers = computers(&place);
    cloned(&place, &computers[0], CHECKOUTS[0]);
    cloned(&place, &computers[1], CHECKOUTS[1]);
    let recipient = place.recipient();
    let identity = home.path("age.txt").display().to_string();
    let to = |computer: &Computer| format!("{}/{NAME}", home.path(computer.name).display());
    let make = |at: usize| {
        let (computer, dir, to) = (&computers[at], CHECKOUTS[at], to(&computers[at]));
        let args = ["--identity", &identity, "exports", "snapshot", "--output", &to];
        let args = [&args[..], &["--for-recipient", &recipient]].concat();
        place.on(computer, dir, &args).exits(0);
        fs::read_to_string(to).unwrap()
    };
    // What is encrypted anew is another text; what has not changed stays.
    let first = make(0);
    home.write(&format!("two/{NAME}"), &first);
    assert_eq!(make(1), first);
    home.write(&format!("lone/{NAME}"), &first);
    let by_nix = place.source("by nix", &["--flake", "origin"], ".", "origin");
    let file = format!("lone/{NAME}");
    let sources = [
        Source { has_nix: true, ..by_nix },
        place.source("standing beside the file", &[], "lone", "lone"),
        place.source("the file as the clan", &["--flake", &file], ".", &file),
        place.source("the file as exports", &["--exports", &file], ".", &file),
    ];
    for shown in [false, true] {
        let more: &[&str] = match shown {
            true => &["--identity", &identity, "--show-secrets"],
            false => &["--identity", &identity],
        };
        let plans = sources.each_ref().map(|it| place.plan(it, &["db", "web"], &[], more));
        println!("{}", plans[0]);
        assert!(plans[0].contains("<secret: tor_tor/hostname>") != shown, "{}", plans[0]);
        assert!(plans[0].contains("\"host\":\"ponmlkji.onion\"") == shown, "{}", plans[0]);
        for (source, plan) in sources.iter().zip(&plans) {
            assert_same(source.what, plan, &plans[0]);
        }
    }
}

#[test]
fn exports_alone_have_the_same_networks_with_the_clan_that_they_are_of() {
    let place = Place::new();
    let nix = |args: &[&str]| {
        let source = place.source("by nix", &["--flake", "origin"], ".", "origin");
        let source = Source { has_nix: true, ..source };
        place.with(&source, &place.user("users/x"), &["/usr/bin/setsid"], args).exits(0).text()
    };
    let exports = nix(&["select", "clan.exports"]);
    assert!(exports.contains("\"flake\": \"/nix/store/"), "{exports}");
    let file = place.home.write("exports.json", exports).display().to_string();
    let made = nix(&["--exports", &file, "exports", "snapshot", "--output", "-"]);
    place.home.write("made.json", &made);
    let networks = |args: &[&str]| {
        let shown = nix(&[args, &["exports", "show", "--json"]].concat());
        let mut shown: Value = serde_json::from_str(&shown).unwrap();
        shown["networks"].take()
    };
    let expected = networks(&[]);
    assert_eq!(expected.as_array().unwrap().len(), 9);
    let made = place.home.path("made.json").display().to_string();
    assert_eq!(networks(&["--exports", &file]), expected);
    assert_eq!(networks(&["--exports", &made]), expected);
}

#[test]
fn clans_own_exports_and_vars_give_the_same_plan_from_each_source() {
    let Some(data) = crate::test_data::named() else { return };
    let place = Place::new();
    let home = &place.home;
    fs::remove_dir_all(home.path("origin")).unwrap();
    for flake in ["clanServices__yggdrasil__tests__vm", "clanServices__sshd__tests__vm"] {
        let vars = data.join("flakes").join(flake).join("vars");
        let to = home.path("origin").display().to_string();
        run("mkdir", &["-p", &to], "coreutils");
        run("cp", &["-r", "--no-preserve=mode", vars.to_str().unwrap(), &to], "coreutils");
    }
    let copy = |from: &str, to: &str| home.write(to, fs::read(data.join(from)).unwrap());
    copy("exports/real.json", "origin/exports.json");
    copy("exports/real-inventory.json", "origin/inventory.json");
    // The machine whose keys Clan's test of sshd has.
    let flake = "{
      outputs = _: let read = file: builtins.fromJSON (builtins.readFile file); in rec {
        clan.exports = read ./exports.json;
        clanInternals.inventoryClass.inventorySerialization =
          let it = read ./inventory.json; in it // {
            meta = it.meta or { } // { domain = \"example.com\"; };
            machines = it.machines // { server.deploy.targetHost = \"192.0.2.1\"; };
          };
        clanInternals.machines.none = { };
      };
    }";
    home.write("origin/flake.nix", flake);
    place.git("origin", &["init", "-q", "-b", "main"]);
    place.commit("origin");
    let computers = computers(&place);
    for (computer, to) in computers.iter().zip(CHECKOUTS) {
        cloned(&place, computer, to);
    }
    let [first, said] = snapshots(&place, &computers);
    println!("{said}");
    home.write(&format!("lone/{NAME}"), &first);
    home.write("built.json", place.built("origin"));
    let file = format!("lone/{NAME}");
    let by_nix = place.source("by nix", &["--flake", "origin"], ".", "origin");
    let machines = ["outsider", "peer1", "peer2", "server"];
    let plan = |source: &Source| place.plan(source, &machines, &[], &[]);
    let expected = plan(&Source { has_nix: true, ..by_nix });
    println!("{expected}");
    assert!(expected.contains("\"kind\":\"authority\""), "{expected}");
    for source in [
        place.source("the directory of the file", &["--flake", "lone"], ".", "lone"),
        place.source("the file as the clan", &["--flake", &file], ".", &file),
        place.source("the file as exports", &["--exports", &file], ".", &file),
        place.source("what nix has built", &["--exports", "built.json"], ".", "built.json"),
    ] {
        assert_same(source.what, &plan(&source), &expected);
    }
}
