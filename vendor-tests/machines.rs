//! Machines of a clan that reach each other. Each has what Clan deploys and nothing else: the
//! snapshot, which an admin has made and committed, its own key, and a var with the key that it
//! logs in with, which the others authorize. Three of them are here in namespaces, with hosts,
//! files and names of their own; OpenSSH's sshd is what answers on each.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::PathBuf;
use std::process::{Child, Command};

use serde_json::{Value, json};

use crate::clan::seal;
use crate::harness::{BINARY, Home, Run, run, start, wait};
use crate::links::{Namespace, PORT, sshd_in};
use crate::sops::encrypted;

/// Where nix is for our binary.
const WITH_NIX: (&str, &str) = ("PATH", "/usr/bin:/bin");
pub const NAMES: [&str; 3] = ["alpha", "beta", "gamma"];
/// Where a machine has the snapshot.
const FILE: &str = "/etc/clan-connect/home/clan-connect.json";
/// Where a machine has the key that it logs in with, and a user of it his own.
const LOGIN: &str = "/run/secrets/vars/ssh-login/id_ed25519";
const USERS: &str = "/run/home/id_ed25519";
/// Where the directory of a machine is on it.
pub const DEPLOYED: &str = "/run/machine";
/// Who is in no group of this computer, and a group that has nobody.
const NOBODY: &str = "54321";
const GROUP: &str = "54322";

/// Makes a process one on another machine, as which it goes on: NAME, its directory and where
/// that is on it, that of the admin, which is not there, where the machine's key lies, the
/// group that root opens secret hosts for, and our binary.
const BECOME: &str = r#"
set -e
hostname "$1"
mount --make-rprivate /
mount -t tmpfs none /run
mount -t tmpfs none /var/lib
mkdir -p /run/etc /run/home "$3" /run/secrets/vars/ssh-login
cp /etc/passwd /etc/group /run/etc
mount --bind /run/etc /etc
mount --bind "$2" "$3"
mount -t tmpfs none "$4"
mkdir -p "${5%/*}" /etc/clan-connect/home /etc/ssh
cd "$3"
install -m 600 key "$5"
install -m 444 clan-connect.json /etc/clan-connect/home/clan-connect.json
install -m 400 login /run/secrets/vars/ssh-login/id_ed25519
install -m 400 -o 54321 user /run/home/id_ed25519
install -m 444 ssh_config /etc/ssh/ssh_config
if [ -n "$6" ]; then
    install -d -m 750 -g "$6" /run/clan-connect/home
    "$7" --exports /etc/clan-connect/home/clan-connect.json \
        exports unseal /run/clan-connect/home >&2
fi
shift 7
exec "$@"
"#;

/// Which store the clan keeps its secrets in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Store {
    Age,
    Sops,
}

/// The clan of these machines, where its admin works on it.
pub struct Clan {
    pub home: Home,
    store: Store,
}

impl Clan {
    /// With keys of all machines, and these exports.
    pub fn new(store: Store, exports: &Value) -> Self {
        let clan = Self { home: Home::new(), store };
        let home = &clan.home;
        home.default_key();
        clan.keygen("home/.config/sops/age/keys.txt");
        home.write(
            "clan/flake.nix",
            "{ outputs = _: let read = file: builtins.fromJSON (builtins.readFile file); in {
                 clan.exports = read ./exports.json;
                 clanInternals.inventoryClass.inventorySerialization = read ./inventory.json;
               }; }",
        );
        home.write("clan/exports.json", exports.to_string());
        let machine =
            |name: &str| json!({ "tags": if name == "gamma" { ["far"] } else { ["near"] } });
        let machines: Value =
            NAMES.iter().map(|name| ((*name).to_owned(), machine(name))).collect();
        home.write("clan/inventory.json", json!({ "machines": machines }).to_string());
        home.keygen("login/user", "ed25519", "");
        for name in NAMES {
            home.keygen(&format!("login/{name}"), "ed25519", "");
            clan.keygen(&format!("keys/{name}"));
            let private = home.read(&format!("keys/{name}"));
            let public = clan.public(&format!("keys/{name}"));
            match store {
                Store::Age => {
                    let dir = format!("clan/secrets/age-keys/machines/{name}");
                    home.write(&format!("{dir}/pub"), public);
                    seal(home, &clan.admin(), private.as_bytes(), &format!("{dir}/key.age"));
                }
                Store::Sops => {
                    let key = json!([{ "publickey": public, "type": "age" }]);
                    home.write(&format!("clan/sops/machines/{name}/key.json"), key.to_string());
                    let sealed = encrypted(home, &clan.admin(), private.as_bytes());
                    home.write(&format!("clan/sops/secrets/{name}-age.key/secret"), sealed);
                }
            }
        }
        clan
    }

    fn keygen(&self, name: &str) {
        let path = self.home.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        run("age-keygen", &["-o", path.to_str().unwrap()], "age");
    }

    pub fn public(&self, key: &str) -> String {
        let key = self.home.path(key).display().to_string();
        run("age-keygen", &["-y", &key], "age").trim().to_owned()
    }

    fn admin(&self) -> String {
        self.public("home/.config/sops/age/keys.txt")
    }

    /// Says where a machine is, to itself and the admin alone.
    pub fn secret(&self, machine: &str, host: &str) {
        let key = self.public(&format!("keys/{machine}"));
        let host = format!("{host}\n");
        match self.store {
            Store::Age => {
                let dir = format!("clan/secrets/clan-vars/per-machine/{machine}/tor_tor/hostname");
                seal(&self.home, &key, host.as_bytes(), &format!("{dir}/hostname.age"));
            }
            Store::Sops => {
                let sealed =
                    encrypted(&self.home, &format!("{},{key}", self.admin()), host.as_bytes());
                let dir = format!("clan/vars/per-machine/{machine}/tor_tor/hostname");
                self.home.write(&format!("{dir}/secret"), sealed);
            }
        }
    }

    pub fn host_key(&self, machine: &str, key: &str) {
        let name = format!("clan/vars/per-machine/{machine}/openssh/ssh.id_ed25519.pub/value");
        self.home.write(&name, key);
    }

    /// The keys that all machines let in: each other's, and that of a user.
    pub fn authorized(&self) -> String {
        let public = |name: &str| self.home.read(&format!("login/{name}.pub"));
        NAMES.map(public).concat() + &public("user")
    }

    /// `exports snapshot` with these arguments; what is written.
    pub fn snapshot(&self, args: &[&str]) -> String {
        self.asked(args).exits(0);
        self.home.read("clan/clan-connect.json")
    }

    fn asked(&self, args: &[&str]) -> Run {
        let fixed = ["--flake", "clan", "exports", "snapshot"];
        self.home.run_with_env(&[&fixed, args].concat(), &[WITH_NIX])
    }

    /// Where this machine's key lies on it.
    fn place(&self) -> &'static str {
        match self.store {
            Store::Age => "/etc/secret-vars/key.txt",
            Store::Sops => "/var/lib/sops-nix/key.txt",
        }
    }

    /// The directory of a machine, which is there as [`DEPLOYED`], with what Clan deploys now.
    pub fn deployed(&self, machine: &str) -> PathBuf {
        let to = |name: &str| format!("machines/{machine}/{name}");
        self.home.write(&to("ssh_config"), ssh_config());
        self.home.copy(&format!("keys/{machine}"), &to("key"));
        self.home.copy(&format!("login/{machine}"), &to("login"));
        self.home.copy("login/user", &to("user"));
        self.home.copy("clan/clan-connect.json", &to("clan-connect.json"));
        self.home.path(&format!("machines/{machine}"))
    }

    /// Our binary on a machine, in a namespace of the network if it has one, started through
    /// these programs. Its home is as empty as it is short-lived.
    pub fn on(
        &self,
        machine: &str,
        network: Option<&Namespace>,
        group: &str,
        through: &[&str],
        args: &[&str],
    ) -> Command {
        let own = self.deployed(machine).display().to_string();
        let admins = self.home.dir.path().display().to_string();
        let enter = network.map(Namespace::enter);
        let enter: Vec<&str> = enter.iter().flatten().map(String::as_str).collect();
        let become_it = ["/usr/bin/unshare", "--mount", "--uts", "/bin/sh", "-c", BECOME, "sh"];
        let words = [machine, &own, DEPLOYED, &admins, self.place(), group, BINARY];
        let through = [&enter, &become_it[..], &words, through, &["/usr/bin/setsid"]].concat();
        let mut command = self.home.command_with(&through, &[&["--exports", FILE], args].concat());
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", "/run/home");
        command.current_dir("/");
        command
    }
}

/// Which key root of a machine logs in with, in the words of the documentation.
fn ssh_config() -> String {
    let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/guide.md");
    let guide = fs::read_to_string(guide).unwrap();
    let (_, config) = guide.split_once("programs.ssh.extraConfig = ''\n").unwrap();
    let (config, _) = config.split_once("''").unwrap();
    let path = "${config.clan.core.vars.generators.ssh-login.files.id_ed25519.path}";
    assert!(config.contains(path), "{config}");
    config.replace(path, LOGIN)
}

/// Programs that make a process one of nobody in particular, but in a group.
fn nobody(group: Option<&str>) -> Vec<String> {
    let fixed = ["/usr/bin/setpriv", "--reuid", NOBODY, "--regid", NOBODY];
    let mut words: Vec<String> = fixed.map(str::to_owned).into();
    words.extend(match group {
        Some(group) => ["--groups".to_owned(), group.to_owned()].to_vec(),
        None => ["--clear-groups".to_owned()].to_vec(),
    });
    words
}

/// Three machines with two links into the world each, and one between two of them.
pub struct World {
    pub homes: [Home; 3],
    pub machines: [Namespace; 3],
    pub hub: Namespace,
    servers: Vec<Child>,
}

impl Drop for World {
    fn drop(&mut self) {
        for server in &mut self.servers {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

/// Where the second link of a machine leads, which is nobody's business.
fn hidden(at: usize) -> String {
    format!("10.94.{}.2", at + 1)
}

impl World {
    pub fn new() -> Self {
        println!("{}", run("ip", &["-V"], "iproute2"));
        let homes = NAMES.map(|_| Home::new());
        let (hub, machines) = (Namespace::new(), NAMES.map(|_| Namespace::new()));
        for (at, machine) in machines.iter().enumerate() {
            let number = at + 1;
            for (name, net) in [("lan", 93), ("deep", 94)] {
                let peer = format!("netns /proc/{}/ns/net", machine.pid());
                hub.ip(&format!("link add {name}{number} type veth peer name {name} {peer}"));
                hub.ip(&format!("addr add 10.{net}.{number}.1/24 dev {name}{number}"));
                hub.ip(&format!("link set {name}{number} up"));
                machine.ip(&format!("addr add 10.{net}.{number}.2/24 dev {name}"));
                machine.ip(&format!("link set {name} up"));
                machine.ip(&format!("route add 10.{net}.0.0/16 via 10.{net}.{number}.1"));
            }
        }
        let [program, enter] = hub.enter();
        let forward = "echo 1 > /proc/sys/net/ipv4/ip_forward";
        run(&program, &[&enter, "sh", "-c", forward], "util-linux");
        let peer = format!("netns /proc/{}/ns/net", machines[1].pid());
        machines[0].ip(&format!("link add office type veth peer name office {peer}"));
        for (at, machine) in machines[..2].iter().enumerate() {
            machine.ip(&format!("addr add 10.95.0.{}/24 dev office", at + 1));
            machine.ip("link set office up");
        }
        Self { homes, machines, hub, servers: Vec::new() }
    }

    /// Lets in whoever has one of these keys.
    pub fn serve(&mut self, authorized: &str) {
        for (home, machine) in self.homes.iter().zip(&self.machines) {
            self.servers.push(sshd_in(machine, home, authorized, "MaxStartups 100\n"));
        }
    }

    pub fn host_key(&self, at: usize) -> String {
        self.homes[at].read(&format!("sshd-{PORT}/host_key.pub"))
    }

    /// The first two machines have no network but that which is nobody's business.
    pub fn cut(&self, is_cut: bool) {
        let state = if is_cut { "down" } else { "up" };
        for (at, machine) in self.machines[..2].iter().enumerate() {
            machine.ip(&format!("link set lan {state}"));
            machine.ip(&format!("link set office {state}"));
            if !is_cut {
                let number = at + 1;
                machine.ip(&format!("route add 10.93.0.0/16 via 10.93.{number}.1"));
            }
        }
    }
}

fn exports() -> Value {
    let network = |priority: u16, module: &str| {
        let module = format!("clan_lib.network.{module}");
        json!({ "networking": { "priority": priority, "module": module } })
    };
    let mut exports = json!({
        "x/office:office::": network(3000, "direct"),
        "x/lan:lan::": network(2000, "direct"),
        "x/hidden:hidden::": network(10, "direct"),
    });
    for (at, name) in NAMES.iter().enumerate() {
        let number = at + 1;
        let var = json!({ "var": { "machine": name, "generator": "tor_tor", "file": "hostname" } });
        let mut peer = |network: &str, host: Value| {
            exports[format!("x/{network}:{network}:default:{name}")] =
                json!({ "peer": { "hosts": [host], "port": PORT } });
        };
        if at < 2 {
            peer("office", json!({ "plain": format!("10.95.0.{number}") }));
        }
        peer("lan", json!({ "plain": format!("10.93.{number}.2") }));
        peer("hidden", var);
    }
    exports
}

/// A clan of the three, and who runs what there.
struct Case<'a> {
    world: &'a World,
    clan: Clan,
}

impl Case<'_> {
    fn command(&self, from: usize, group: &str, through: &[&str], args: &[&str]) -> Command {
        self.clan.on(NAMES[from], Some(&self.world.machines[from]), group, through, args)
    }

    fn ssh(&self, from: usize, to: usize) -> Run {
        self.ssh_through(from, to, "", &[], &[])
    }

    fn ssh_through(
        &self,
        from: usize,
        to: usize,
        group: &str,
        through: &[&str],
        more: &[&str],
    ) -> Run {
        let args = ["-vvv", "ssh", NAMES[to], "--no-persist"];
        let args = [&args, more, &["-c", "echo", "in"]].concat();
        let done = wait(start(&mut self.command(from, group, through, &args), "util-linux"));
        let done = Run::of(done);
        for at in 0..3 {
            assert!(!done.stderr.contains(&hidden(at)), "{}", done.stderr);
        }
        done
    }

    #[track_caller]
    fn over(&self, network: &str, done: &Run) {
        assert_eq!(done.text(), "in\n", "{}", done.stderr);
        assert!(done.stderr.contains(&format!("over network {network}")), "{}", done.stderr);
        assert!(!done.stderr.contains("first use"), "{}", done.stderr);
    }

    /// As anybody on a machine.
    fn ssh_as_nobody(&self, from: usize, to: usize, group: &str, member: Option<&str>) -> Run {
        let words = nobody(member);
        let through: Vec<&str> = words.iter().map(String::as_str).collect();
        self.ssh_through(from, to, group, &through, &["-l", "root", "-i", USERS])
    }
}

#[test]
fn whoever_is_on_a_machine_reaches_the_others_over_the_networks_that_he_may_use() {
    let mut world = World::new();
    let mut clans = [Store::Age, Store::Sops].map(|store| Clan::new(store, &exports()));
    let keys = clans.each_ref().map(Clan::authorized);
    world.serve(&keys.concat());
    for clan in &mut clans {
        println!("{:?}", clan.store);
        for (at, name) in NAMES.iter().enumerate() {
            clan.host_key(name, &world.host_key(at));
            clan.secret(name, &hidden(at));
        }
    }
    for clan in clans {
        reach_each_other(&Case { world: &world, clan });
    }
}

fn reach_each_other(case: &Case<'_>) {
    let (world, clan) = (case.world, &case.clan);
    clan.snapshot(&["--for", "tag:near", "--for", "gamma=alpha"]);
    for (from, to, network) in [
        (0, 1, "office"),
        (0, 2, "lan"),
        (1, 0, "office"),
        (1, 2, "lan"),
        (2, 0, "lan"),
        (2, 1, "lan"),
    ] {
        case.over(network, &case.ssh(from, to));
    }
    // Anybody has what is not secret.
    case.over("office", &case.ssh_as_nobody(0, 1, "", None));
    world.cut(true);
    for (from, to) in [(0, 1), (1, 0), (0, 2), (2, 0)] {
        case.over("hidden", &case.ssh(from, to));
    }
    // Who is not root cannot, unless root has opened it for a group of his.
    let key = format!("{} (Permission denied)", clan.place());
    for group in ["", GROUP] {
        let refused = case.ssh_as_nobody(0, 1, group, None).exits(255);
        let refused = refused.says(&["for this machine, alpha", &key, "as a member of the group"]);
        let opened = "/run/clan-connect/home (Permission denied)";
        assert_eq!(refused.stderr.contains(opened), !group.is_empty(), "{}", refused.stderr);
    }
    case.over("hidden", &case.ssh_as_nobody(0, 1, GROUP, Some(GROUP)));
    world.cut(false);
}

#[test]
fn a_snapshot_for_machines_changes_where_something_has_and_tells_nobody_else() {
    let clan = Clan::new(Store::Age, &exports());
    for (at, name) in NAMES.iter().enumerate() {
        clan.secret(name, &hidden(at));
    }
    let policy = ["--for", "alpha", "--for", "gamma=tag:near"];
    let done = clan.asked(&policy).exits(0);
    let done = done.says(&["wrote", "secret hosts for 2"]);
    assert!(!done.stderr.contains("left out: secret hosts"), "{}", done.stderr);
    let first = clan.home.read("clan/clan-connect.json");
    assert!(!first.contains("10.94."), "{first}");
    assert_eq!(clan.snapshot(&policy), first);
    // To another place, too, and by somebody who could not open them.
    fs::rename(clan.home.path("home/.config"), clan.home.path("away")).unwrap();
    assert_eq!(clan.asked(&[&policy[..], &["-o", "-"]].concat()).exits(0).text(), first);
    fs::rename(clan.home.path("away"), clan.home.path("home/.config")).unwrap();
    // Go's age opens them with the machine's key, and with no other.
    let value: Value = serde_json::from_str(&first).unwrap();
    let sealed = value["secret_hosts"]["gamma"]["sealed"].as_str().unwrap();
    let file = clan.home.write("gamma.age", sealed).display().to_string();
    let key = |name: &str| clan.home.path(&format!("keys/{name}")).display().to_string();
    let plain = run("age", &["-d", "-i", &key("gamma"), &file], "age");
    let host = |at: usize| json!({ "tor_tor/hostname": hidden(at) });
    let expected = json!({ "alpha": host(0), "beta": host(1) });
    assert_eq!(serde_json::from_str::<Value>(&plain).unwrap(), expected);
    let other = Command::new("age").args(["-d", "-i", &key("alpha"), &file]).output().unwrap();
    assert!(!other.status.success());
    // One host is another: those who may dial it get theirs anew.
    clan.secret("gamma", "10.94.3.3");
    let second: Value = serde_json::from_str(&clan.snapshot(&policy)).unwrap();
    let of = |value: &Value, name: &str| value["secret_hosts"][name].clone();
    assert_ne!(of(&second, "alpha"), of(&value, "alpha"));
    assert_eq!(of(&second, "gamma"), of(&value, "gamma"));
    // While they are encrypted, the kernel sees them nowhere.
    clan.secret("gamma", "10.94.3.4");
    let log = clan.home.path("strace.log").display().to_string();
    let strace = ["/usr/bin/strace", "-f", "-s", "1000000", "-o", &log, "/usr/bin/setsid"];
    let args = [&["--flake", "clan", "-vvv", "exports", "snapshot"], &policy[..]].concat();
    let mut command = clan.home.command_with(&strace, &args);
    command.env(WITH_NIX.0, WITH_NIX.1);
    let done = Run::of(wait(start(&mut command, "strace"))).exits(0);
    let calls = clan.home.read("strace.log");
    assert!(calls.contains("hostname.age") && calls.contains("rename"), "strace saw nothing");
    assert!(!calls.contains("10.94.") && !done.stderr.contains("10.94."), "{}", done.stderr);
    // Who does not ask for them leaves them out, and is told.
    let less = clan.asked(&[]).exits(0);
    less.says(&[
        "the new snapshot lacks secret hosts that the old one had, for (2): alpha, gamma",
        "left out: secret hosts (3): tor_tor/hostname of alpha",
    ]);
    // What cannot be is refused, and the file stays.
    let before = clan.home.read("clan/clan-connect.json");
    clan.asked(&["--for", "delta"]).exits(2).says(&["no machine \"delta\" in the clan"]);
    fs::remove_file(clan.home.path("clan/secrets/age-keys/machines/beta/pub")).unwrap();
    clan.asked(&["--for", "beta"]).exits(2).says(&["clan vars generate beta"]);
    fs::remove_dir_all(clan.home.path("home/.config")).unwrap();
    clan.asked(&["--for", "alpha"]).exits(1).says(&["cannot decrypt var tor_tor/hostname"]);
    assert_eq!(clan.home.read("clan/clan-connect.json"), before);
    let alone = ["--exports", "clan/clan-connect.json", "exports", "snapshot", "--for", "alpha"];
    clan.home.run(&alone).exits(2).says(&["--for needs the clan's own files"]);
}

#[test]
fn a_job_opens_what_was_encrypted_for_its_key() {
    let clan = Clan::new(Store::Age, &exports());
    let home = Home::new();
    let server = Namespace::new();
    server.ip(&format!("addr add {}/32 dev lo", hidden(1)));
    let mut sshd = sshd_in(&server, &home, &clan.home.read("home/.ssh/id_ed25519.pub"), "");
    clan.secret("beta", &hidden(1));
    clan.host_key("beta", &home.read(&format!("sshd-{PORT}/host_key.pub")));
    clan.keygen("job");
    let key = clan.public("job");
    let text = clan.snapshot(&["--for-recipient", &format!("{key}=beta")]);
    assert!(text.contains(&key) && !text.contains(&hidden(1)), "{text}");
    let private = clan.home.read("job");
    let private = private.lines().find(|line| line.starts_with("AGE-")).unwrap();
    clan.home.write("job.json", text);
    let job = |variable: &str| -> Run {
        let [program, enter] = server.enter();
        let words = nobody(None);
        let through: Vec<&str> =
            [&*program, &*enter].into_iter().chain(words.iter().map(String::as_str)).collect();
        let file = clan.home.path("job.json").display().to_string();
        let args = ["--exports", &file, "-v", "ssh", "beta", "-l", "root", "-c", "echo", "in"];
        let mut command = clan.home.command_with(&through, &args);
        command.env_remove("HOME").env(variable, private).current_dir("/");
        command.env("CLAN_CONNECT_SSH_KEY", clan.home.read("home/.ssh/id_ed25519"));
        Run::of(wait(start(&mut command, "util-linux")))
    };
    for variable in ["AGE_KEY", "SOPS_AGE_KEY"] {
        let done = job(variable).exits(0).says(&["over network hidden"]);
        assert_eq!(done.text(), "in\n");
        assert!(!done.stderr.contains(&hidden(1)), "{}", done.stderr);
    }
    job("NO_KEY").exits(255).says(&["the snapshot has secret hosts for", "--identity FILE"]);
    let _ = sshd.kill();
    let _ = sshd.wait();
}

#[test]
fn what_root_opens_for_a_group_is_that_groups_alone() {
    let clan = Clan::new(Store::Sops, &exports());
    clan.secret("beta", &hidden(1));
    clan.snapshot(&["--for", "alpha"]);
    let dir = "/run/clan-connect/home";
    let unseal = |through: &[&str], args: &[&str]| {
        let args = [&["exports", "unseal"], args].concat();
        let done = wait(start(&mut clan.on("alpha", None, "", through, &args), "util-linux"));
        Run::of(done)
    };
    let with =
        |script: &str| ["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned(), "sh".to_owned()];
    // Others could look into it, or put something into it.
    for mode in ["755", "770", "751"] {
        let script = with(&format!("mkdir -p -m {mode} {dir} && exec \"$@\""));
        let script: Vec<&str> = script.iter().map(String::as_str).collect();
        unseal(&script, &[dir]).exits(2).says(&["chmod 750"]);
    }
    unseal(&[], &[dir]).exits(1).says(&["cannot write into /run/clan-connect/home"]);
    // By a link of somebody else's.
    let script = with(&format!(
        "mkdir -p -m 750 {dir} && ln -s {dir} /run/link && chown -h {NOBODY} /run/link && exec \"$@\""
    ));
    let script: Vec<&str> = script.iter().map(String::as_str).collect();
    unseal(&script, &["/run/link"]).exits(2).says(&["/run/link belongs to"]);
    // What was there of another snapshot goes, as does what was cut short; what is somebody
    // else's stays. The group is that of the directory.
    let old = "a".repeat(64);
    let script = with(&format!(
        "install -d -m 750 -g {GROUP} {dir} && touch {dir}/{old}.json {dir}/.{old}.json.0123456789abcdef {dir}/notes && umask 077 && \
         \"$@\" && cd {dir} && stat -c '%a %u %g' *.json && ls -A"
    ));
    let script: Vec<&str> = script.iter().map(String::as_str).collect();
    let done = unseal(&script, &[dir]).exits(0).says(&["wrote /run/clan-connect/home/"]);
    assert!(done.text().starts_with(&format!("640 0 {GROUP}\n")), "{}", done.text());
    assert!(!done.text().contains(&old) && done.text().contains("notes"), "{}", done.text());
    assert_eq!(done.text().matches(".json").count(), 1, "{}", done.text());
    assert!(!done.stderr.contains(&hidden(1)), "{}", done.stderr);
    // Who has not the key is told so.
    let words = nobody(None);
    let script =
        with(&format!("mkdir -p {dir} && chown {NOBODY} {dir} && chmod 700 {dir} && exec \"$@\""));
    let through: Vec<&str> = script.iter().chain(&words).map(String::as_str).collect();
    unseal(&through, &[dir]).exits(1).says(&["for this machine, alpha", "key.txt"]);
    // A group that root cannot give it to.
    let script = with(&format!(
        "install -d -m 750 -g {GROUP} {dir} && exec setpriv --bounding-set -chown \"$@\""
    ));
    let script: Vec<&str> = script.iter().map(String::as_str).collect();
    unseal(&script, &[dir]).exits(1).says(&["cannot be given to the group", GROUP]);
    // There may be none at all, or none for this machine: what is left of old ones goes.
    let script = with(&format!(
        "install -d -m 750 {dir} && touch {dir}/{old}.json && \"$@\"; code=$?; ls -A {dir}; exit $code"
    ));
    let script: Vec<&str> = script.iter().map(String::as_str).collect();
    clan.snapshot(&[]);
    let none = unseal(&script, &[dir]).exits(2).says(&["has no secret hosts", "--for MACHINE"]);
    assert_eq!(none.text(), "");
    clan.snapshot(&["--for", "gamma"]);
    let none =
        unseal(&script, &[dir]).exits(1).says(&["for gamma, but not for this computer (alpha)"]);
    assert_eq!(none.text(), "");
}

#[test]
fn what_others_may_have_written_is_not_kept_and_what_cannot_be_dialled_is_said() {
    let clan = Clan::new(Store::Age, &exports());
    clan.secret("beta", &hidden(1));
    let first = clan.snapshot(&["--for", "alpha"]);
    clan.home.write("shared.json", &first);
    let file = clan.home.path("shared.json");
    let sealed = |text: &str| {
        let snapshot: Value = serde_json::from_str(text).unwrap();
        snapshot["secret_hosts"]["alpha"]["sealed"].as_str().unwrap().to_owned()
    };
    let asked = |mode: u32| {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let done = clan.asked(&["--for", "alpha", "-o", file.to_str().unwrap()]).exits(0);
        (done.stderr, clan.home.read("shared.json"))
    };
    assert_eq!(asked(0o644).1, first);
    let (said, text) = asked(0o666);
    assert!(said.contains("its secret hosts are not kept"), "{said}");
    assert_ne!(sealed(&text), sealed(&first));
    // What root has written is root's.
    if fs::metadata(&file).unwrap().uid() == 0 {
        chown(&file, Some(NOBODY.parse().unwrap()), None).unwrap();
        assert_ne!(sealed(&asked(0o644).1), sealed(&text));
        assert_eq!(fs::metadata(&file).unwrap().uid(), 0);
    }
    for (machine, host) in [("beta", "-oProxyCommand=hunter2"), ("gamma", "hunter2 \u{1b}[2J")] {
        clan.secret(machine, host);
        let said = clan.asked(&["--for", "alpha"]).exits(0).stderr;
        for word in [machine, "tor_tor/hostname", "network hidden", "--regenerate"] {
            assert!(said.contains(word), "{said}");
        }
        assert!(!said.contains("hunter2") && !said.contains('\u{1b}'), "{said}");
    }
}

/// Makes this host a machine called `admin`, which Clan has given the key in `$1`.
#[cfg(feature = "wireguard")]
const BECOME_ADMIN: &str = r#"
set -e
hostname admin
mount --make-rprivate /
mount -t tmpfs none /run
mkdir -p /run/home /run/secrets/vars/wireguard-keys-vpn
install -m 600 "$1" /run/secrets/vars/wireguard-keys-vpn/privatekey
shift
exec "$@"
"#;

#[cfg(feature = "wireguard")]
#[test]
fn a_machine_whose_tunnel_is_down_enters_the_network_with_the_key_that_it_was_given() {
    use crate::wireguard_member::{ADMIN, PREFIX, World as Tunnelled};
    let world = Tunnelled::new();
    let home = &world.home;
    // The snapshot is all that it has of the clan.
    let mut snapshot: Value = serde_json::from_str(&home.read("clan/clan-connect.json")).unwrap();
    let key = |key: &str| json!({ "wireguard-keys-vpn/publickey": key.trim() });
    snapshot["vars"] = json!({ "gate": key(&world.own.public), "admin": key(&world.admin.public),
                "web": key(&world.web.public) });
    for (machine, file, value) in
        [("gate", "prefix", PREFIX), ("admin", "suffix", ADMIN), ("web", "suffix", "0:0:b:2")]
    {
        snapshot["vars"][machine][format!("wireguard-network-vpn/{file}")] = json!(value);
    }
    home.write("alone/clan-connect.json", snapshot.to_string());
    let file = home.path("alone/clan-connect.json").display().to_string();
    let ssh = |key: &str| {
        let key = home.path(key).display().to_string();
        let [program, enter] = world.us.enter();
        let become_it =
            ["/usr/bin/unshare", "--mount", "--uts", "/bin/sh", "-c", BECOME_ADMIN, "sh"];
        let through = [&[&*program, &*enter], &become_it[..], &[&*key, "/usr/bin/setsid"]].concat();
        let args = ["--exports", &file, "-v", "ssh", "web", "--host-key-check", "none"];
        let args = [&args[..], &["--no-persist", "--timeout", "5", "-c", "echo", "in"]].concat();
        let mut command = home.command_with(&through, &args);
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", "/run/home");
        command.env("CLAN_CONNECT_SSH_KEY", home.read("home/.ssh/id_ed25519"));
        Run::of(wait(start(&mut command, "util-linux")))
    };
    let done = ssh("admin.key").exits(0).says(&["over network vpn"]);
    assert_eq!(done.text(), "in\n");
    assert!(!done.stderr.contains(world.admin.private.trim()), "{}", done.stderr);
    // The key of another is none of its own.
    assert_ne!(ssh("own.key").code, Some(0));
}
