//! OpenSSH's own ssh beside us: with the lines that `ssh-config` prints it reaches the
//! machines of a clan over the clan's networks, and believes the clan's host keys.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::process::{Command, Stdio};

use serde_json::json;

use crate::harness::{BINARY, Home, Run, Server, run, sshd, start, wait};

struct Place {
    home: Home,
    server: Server,
}

impl Place {
    fn new() -> Self {
        let home = Home::new();
        let key = home.default_key();
        let server = sshd(&home, "127.0.0.1", &key, "");
        let place = Self { home, server };
        let own = place.home.read(&format!("sshd-{}/host_key.pub", place.server.port()));
        place.clan("a clan's \"100%\"", own.trim());
        place
    }

    /// A clan with `m` behind an address that does not answer and one that does.
    fn clan(&self, dir: &str, host_key: &str) {
        let peer = |port: u16| {
            json!({ "m": { "host": { "plain": "127.0.0.1" }, "port": port },
                    "m*": { "host": { "plain": "127.0.0.1" }, "port": port },
                    "m;touch": { "host": { "plain": "127.0.0.1" }, "port": port } })
        };
        let exports = json!({ "dead": { "priority": 20, "peers": peer(1) },
                              "net": { "priority": 10, "peers": peer(self.server.address.port()) } });
        let keys = if host_key.is_empty() { vec![] } else { vec![host_key] };
        let snapshot = json!({ "clan_connect_snapshot": 1, "exports": exports,
                               "machines": { "m": { "host_keys": keys } } });
        self.home.write(&format!("{dir}/.clan-flake"), "");
        self.home.write(&format!("{dir}/clan-connect.json"), snapshot.to_string());
    }

    fn ours(&self, dir: &str, args: &[&str]) -> Run {
        let dir = self.home.path(dir).display().to_string();
        self.home.run(&[&["--flake", &dir, "ssh-config"], args].concat())
    }

    /// OpenSSH's, whose configuration is the user's.
    fn theirs(&self, args: &[&str]) -> Run {
        let config = self.home.path("home/.ssh/config").display().to_string();
        let known = format!("UserKnownHostsFile={}", self.home.path("known").display());
        let key = self.home.path("home/.ssh/id_ed25519").display().to_string();
        let mut command = Command::new("/usr/bin/ssh");
        command.args(["-F", &config, "-i", &key, "-o", &known, "-o", "BatchMode=yes"]);
        command.args(["-o", "StrictHostKeyChecking=yes"]).args(args);
        command.env_clear().env("HOME", self.home.path("home")).env("PATH", "/usr/bin:/bin");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Run::of(wait(start(&mut command, "openssh-client")))
    }
}

const CLAN: &str = "a clan's \"100%\"";

#[test]
fn openssh_reaches_a_machine_over_the_clans_networks_and_knows_its_key() {
    let place = Place::new();
    // Names that are more than words to ssh are said to be left out.
    let printed = place.ours(CLAN, &[]).exits(0).says(&["left out: m*; no network"]);
    assert!(printed.text().contains("\nHost m\n") && !printed.text().contains("touch"));
    place.home.write("home/.ssh/config", printed.text());
    let version = place.theirs(&["-V"]);
    println!("{}", version.stderr);
    assert_eq!(place.theirs(&["m", "echo", "in"]).exits(0).text(), "in\n");
    // Nothing was written: the clan has the word.
    assert!(!place.home.path("known").exists());
    // By whatever port ssh may ask for it, and as whom it says.
    let port = place.server.port();
    assert_eq!(place.theirs(&["-p", &port, "m", "whoami"]).exits(0).text(), "root\n");
    // Our own ssh takes the same lines.
    let args = ["openssh", "-o", "BatchMode=yes", "m", "echo", "in"];
    assert_eq!(place.home.run(&args).exits(0).text(), "in\n");
    // Another key than the clan's is refused.
    place.home.keygen("other", "ed25519", "");
    place.clan(CLAN, place.home.read("other.pub").trim());
    place.theirs(&["m", "true"]).exits(255).says(&["Host key verification failed"]);
    let dir = place.home.path(CLAN).display().to_string();
    let own = ["--flake", &dir, "ssh", "m", "-c", "true"];
    place.home.run(&own).exits(255).says(&["HAS CHANGED", "/clan-connect.json:1"]);
    // Where the clan knows none, the user's own files have the word.
    place.clan(CLAN, "");
    place.theirs(&["m", "true"]).exits(255).says(&["Host key verification failed"]);
    let key = place.home.read(&format!("sshd-{port}/host_key.pub"));
    place.home.write("known", format!("m {key}"));
    place.theirs(&["m", "true"]).exits(0);
    // Two of our processes look at a clan that has changed, and one tells of it.
    place.home.write(&format!("{CLAN}/flake.nix"), "broken");
    let old = place.theirs(&["m", "true"]).exits(0);
    assert_eq!(old.stderr.matches("the clan has changed").count(), 1, "{}", old.stderr);
}

#[test]
fn options_for_networks_stand_where_machines_are_dialled() {
    let place = Place::new();
    let dir = place.home.path(CLAN).display().to_string();
    let said = [
        "--tor",
        "system",
        "--iroh-relay",
        "none",
        "--wireguard-key",
        "key of mine",
        "--yggdrasil-key",
        "var:admin",
        "--mycelium-peer",
        "tcp://peer.example:1",
        "--mycelium-public-nodes",
        "no",
    ];
    let ours =
        |said: &[&str]| place.home.run(&[&["--flake", &dir], said, &["ssh-config"]].concat());
    let printed = ours(&said).exits(0);
    assert!(!printed.stderr.contains("networks"), "{}", printed.stderr);
    let line = |begins: &str| {
        let text = printed.text();
        text.lines().find(|line| line.trim().starts_with(begins)).unwrap().to_owned()
    };
    let key = place.home.path("key of mine").display().to_string();
    let proxy = line("ProxyCommand");
    let options = format!(
        " --tor system --iroh-relay none --wireguard-key '{key}' --yggdrasil-key var:admin \
         --mycelium-peer tcp://peer.example:1 --mycelium-public-nodes no proxy %n %p"
    );
    assert!(proxy.ends_with(&options), "{proxy}");
    assert!(!line("KnownHostsCommand").contains("--tor"), "{}", line("KnownHostsCommand"));
    place.home.write("home/.ssh/config", printed.text());
    assert_eq!(place.theirs(&["m", "echo", "in"]).exits(0).text(), "in\n");
    // Others can read these lines.
    ours(&["--yggdrasil-peer", "tcp://peer.example:1?password=secret"])
        .exits(2)
        .says(&["others see a password"]);
}

#[test]
fn no_clan_that_nobody_has_named_and_no_name_of_others_gets_into_it() {
    let place = Place::new();
    let own = place.home.read(&format!("sshd-{}/host_key.pub", place.server.port()));
    // A machine called as others are stands in nobody's place.
    let snapshot = json!({ "clan_connect_snapshot": 1, "exports": {}, "machines": {
        "github.com": { "target_host": "127.0.0.1" }, "localhost": { "target_host": "127.0.0.1" },
        "10": { "target_host": "127.0.0.1" }, "m": { "target_host": "127.0.0.1" } } });
    place.home.write("others/.clan-flake", "");
    place.home.write("others/clan-connect.json", snapshot.to_string());
    let text = place.ours("others", &[]).exits(0).says(&["github.com"]).text();
    assert!(text.contains("\nHost m\n"), "{text}");
    // Who only stands in a clan has said nothing of its keys.
    let standing = |args: &[&str]| {
        let mut command = place.home.command(args);
        Run::of(wait(start(command.current_dir(place.home.path(CLAN)), "util-linux")))
    };
    standing(&["ssh-config", "--install"]).exits(2).says(&["--flake DIR"]);
    let list = ["network", "trust", "list", "--known-hosts", "m", "m"];
    assert_eq!(standing(&list).exits(0).text(), "");
    let dir = place.home.path(CLAN).display().to_string();
    let named = place.home.run(&[&["--flake", &dir], &list[..]].concat()).exits(0).text();
    assert!(own.starts_with(named.trim().trim_start_matches("m ")), "{named}");
    // Exports belong to a clan, wherever they are read.
    let exports = place.home.path(CLAN).join("clan-connect.json").display().to_string();
    let alone = ["--exports", &exports, "ssh-config"];
    place.home.run(&alone).exits(2).says(&["--flake DIR"]);
    // A configuration that others can write is not made one's own.
    let config = place.home.write("home/.ssh/config", "Host *\n");
    fs::set_permissions(&config, fs::Permissions::from_mode(0o666)).unwrap();
    place.ours(CLAN, &["--install"]).exits(2).says(&["your configuration is not changed"]);
    assert_eq!(fs::metadata(&config).unwrap().permissions().mode() & 0o777, 0o666);
}

#[test]
fn it_is_installed_behind_what_the_user_says_and_taken_away_again() {
    let place = Place::new();
    let own = "Host other\n  Port 7\n  User joe";
    place.home.write("home/.ssh/config", own);
    for _ in 0..2 {
        place.ours(CLAN, &["--install"]).exits(0);
    }
    let config = place.home.read("home/.ssh/config");
    assert!(config.starts_with(own) && config.matches("Include").count() == 1, "{config}");
    assert_eq!(place.theirs(&["m", "echo", "in"]).exits(0).text(), "in\n");
    // A second clan is beside it, and neither takes the other away.
    place.clan("second", "");
    place.ours("second", &["--install"]).exits(0);
    place.ours("second", &["--remove"]).exits(0).text();
    assert_eq!(place.theirs(&["m", "echo", "in"]).exits(0).text(), "in\n");
    place.ours("second", &["--remove"]).exits(2).says(&["nothing is installed for this clan"]);
    place.ours(CLAN, &["--remove"]).exits(0);
    assert_eq!(place.home.read("home/.ssh/config"), format!("{own}\n"));
    assert_eq!(fs::read_dir(place.home.path("home/.ssh/config.d")).unwrap().count(), 0);
    // What a link leads to is somebody else's work.
    place.home.write("managed", own);
    fs::remove_file(place.home.path("home/.ssh/config")).unwrap();
    symlink(place.home.path("managed"), place.home.path("home/.ssh/config")).unwrap();
    place.ours(CLAN, &["--install"]).exits(2).says(&["is a link", "include in that file"]);
    assert_eq!(place.home.read("managed"), own);
    assert_eq!(fs::read_dir(place.home.path("home/.ssh/config.d")).unwrap().count(), 0);
}

#[test]
fn what_was_installed_is_known_again_however_the_configuration_has_changed() {
    let place = Place::new();
    let config = || place.home.read("home/.ssh/config");
    let files = || fs::read_dir(place.home.path("home/.ssh/config.d")).unwrap().count();
    let own = "Host other\r\n  Port 7\r\n";
    let mark = "# Machines of clans, by clan-connect ssh-config --install.";
    for (block, after) in [
        // By an editor of another system; without the comment; with another name of the file.
        (format!("{mark}\r\nMatch all\r\nInclude config.d/clan-connect-*.conf\r\n"), ""),
        ("Match all\n  include \"~/.ssh/config.d/clan-connect-*.conf\"\n".to_owned(), ""),
        ("match ALL\nInclude=config.d/clan-connect-*.conf".to_owned(), ""),
        // What somebody has written below stays what it was.
        (
            "Match all\nInclude config.d/clan-connect-*.conf\n  Compression yes\n".to_owned(),
            "Match all\n  Compression yes\n",
        ),
        (
            "Match all\nInclude config.d/clan-connect-*.conf\n\n  Compression yes\n".to_owned(),
            "Match all\n\n  Compression yes\n",
        ),
    ] {
        place.home.write("home/.ssh/config", format!("{own}{block}"));
        place.ours(CLAN, &["--install"]).exits(0);
        assert_eq!(config(), format!("{own}{block}"));
        assert_eq!(place.theirs(&["m", "echo", "in"]).exits(0).text(), "in\n");
        place.ours(CLAN, &["--remove"]).exits(0);
        assert_eq!(config(), format!("{own}{after}"));
    }
    // Other files may be included by the same line, which is theirs as well.
    let both = "Include config.d/clan-connect-*.conf config.d/other\n";
    place.home.write("home/.ssh/config", both);
    place.ours(CLAN, &["--install"]).exits(0);
    let done = place.ours(CLAN, &["--remove"]).exits(0);
    assert!(done.text().contains(both), "{}", done.text());
    assert_eq!((config().as_str(), files()), (both, 0));
    // A configuration that has become a link is not changed, and our own file goes.
    place.home.write("home/.ssh/config", "");
    place.ours(CLAN, &["--install"]).exits(0);
    let path = place.home.path("home/.ssh/config");
    fs::rename(&path, place.home.path("managed")).unwrap();
    symlink(place.home.path("managed"), &path).unwrap();
    let done = place.ours(CLAN, &["--remove"]).exits(0);
    let left = "which is not changed: Include config.d/clan-connect-*.conf\n";
    assert!(done.text().contains("removed ") && done.text().contains(left), "{}", done.text());
    assert!(path.is_symlink() && files() == 0);
    // A file where the directory should be is named.
    fs::remove_file(&path).unwrap();
    fs::remove_dir(place.home.path("home/.ssh/config.d")).unwrap();
    place.home.write("home/.ssh/config.d", "Host other\n");
    place.ours(CLAN, &["--install"]).exits(2).says(&["config.d is not a directory"]);
    assert!(!path.exists());
}

#[test]
fn a_configuration_stays_its_owners_to_read() {
    let place = Place::new();
    let own = |mode: u32| {
        let config = place.home.write("home/.ssh/config", "Host other\n  Port 7\n");
        fs::set_permissions(&config, fs::Permissions::from_mode(mode)).unwrap();
        config
    };
    for mode in [0o644, 0o600] {
        let config = own(mode);
        place.ours(CLAN, &["--install"]).exits(0);
        assert_eq!(fs::metadata(&config).unwrap().mode() & 0o777, mode);
    }
    // As root by sudo, with the home of the user who called it.
    let config = own(0o644);
    let clan = place.home.path(CLAN).display().to_string();
    for path in ["home", "home/.ssh", "home/.ssh/config"] {
        chown(place.home.path(path), Some(65534), Some(65534)).unwrap();
    }
    fs::remove_dir_all(place.home.path("home/.ssh/config.d")).unwrap();
    let args = ["--flake", &clan, "ssh-config", "--install"];
    let sudo = [("SUDO_UID", "65534"), ("SUDO_GID", "65534")];
    let done = place.home.run_with_env(&args, &sudo).exits(2);
    done.says(&["belongs to uid 65534", "call this as that user, without sudo"]);
    assert_eq!(fs::metadata(&config).unwrap().uid(), 65534);
    assert!(!place.home.path("home/.ssh/config.d").exists());
    assert!(!fs::read_to_string(&config).unwrap().contains("Include"));
}

#[test]
fn an_installation_that_fails_leaves_nothing_behind() {
    let place = Place::new();
    let config = "#".repeat(200 << 10);
    place.home.write("home/.ssh/config", &config);
    let dir = place.home.path(CLAN).display().to_string();
    // A limit lets the small file be written, and not the large one.
    let through = ["/bin/sh", "-c", "trap '' XFSZ; ulimit -f 100; exec \"$0\" \"$@\""];
    let args = ["--flake", &dir, "ssh-config", "--install"];
    let mut command = place.home.command_with(&through, &args);
    Run::of(wait(start(&mut command, "dash"))).exits(1).says(&["write", ".ssh/config: "]);
    assert_eq!(place.home.read("home/.ssh/config"), config);
    let left = fs::read_dir(place.home.path("home/.ssh/config.d")).unwrap().count();
    assert_eq!(left, 0);
}

#[test]
fn a_program_that_others_can_change_is_not_called_by_ssh() {
    let place = Place::new();
    let dir = place.home.path(CLAN).display().to_string();
    let printed = |mode: u32| {
        let bin = place.home.path("bin");
        fs::set_permissions(&bin, fs::Permissions::from_mode(mode)).unwrap();
        let path = [("PATH", bin.to_str().unwrap())];
        place.home.run_with_env(&["--flake", &dir, "ssh-config"], &path).exits(0).text()
    };
    fs::create_dir(place.home.path("bin")).unwrap();
    let link = place.home.path("bin/clan-connect");
    symlink(BINARY, &link).unwrap();
    let call = format!("ProxyCommand {} ", link.display());
    assert!(printed(0o755).contains(&call));
    let printed = printed(0o777);
    assert!(printed.contains("ProxyCommand /") && !printed.contains(&call), "{printed}");
}

#[test]
fn no_name_of_a_directory_is_more_to_ssh_than_itself() {
    let place = Place::new();
    for dir in ["end\\", "back\\slash", "env${HOME}", "in ${X} it"] {
        place.clan(dir, "");
        for args in [&["--install"][..], &[]] {
            place
                .ours(dir, args)
                .exits(2)
                .says(&["cannot be written into ssh_config", "backslashes"]);
        }
    }
    assert!(!place.home.path("home/.ssh/config.d").exists());
    // What is left means itself.
    for dir in ["it's", "$HOME", "a#b", "semi;colon", "{x}"] {
        place.clan(dir, "");
        place.ours(dir, &["--install"]).exits(0);
    }
    let said = place.theirs(&["-G", "m"]).exits(0).text();
    assert!(said.contains("\nproxycommand "), "{said}");
    let said = place.theirs(&["-G", "github.com"]).exits(0).text();
    assert!(!said.contains("proxycommand"), "{said}");
}

#[test]
fn what_is_installed_for_a_clan_that_is_gone_can_be_taken_away() {
    let place = Place::new();
    let count = || fs::read_dir(place.home.path("home/.ssh/config.d")).unwrap().count();
    place.ours(CLAN, &["--install"]).exits(0);
    place.clan("second", "");
    place.ours("second", &["--install"]).exits(0);
    fs::remove_dir_all(place.home.path("second")).unwrap();
    // Where nobody says which, those that are there are named.
    let listed = place.home.run(&["ssh-config", "--remove"]).exits(2);
    listed.says(&["/second in ", "/home/.ssh/config.d/clan-connect-", "100%"]);
    assert_eq!(count(), 2);
    place.ours("second", &["--remove"]).exits(0);
    assert_eq!(count(), 1);
    place.ours("second", &["--remove"]).exits(2).says(&["100%"]);
    // A snapshot alone is a clan as well.
    let file = format!("{CLAN}/clan-connect.json");
    place.home.copy(&file, "lone.json");
    place.ours(CLAN, &["--remove"]).exits(0);
    place.ours("lone.json", &["--install"]).exits(0);
    assert_eq!(place.theirs(&["m", "echo", "in"]).exits(0).text(), "in\n");
    assert!(!place.home.path("known").exists());
    fs::remove_file(place.home.path("lone.json")).unwrap();
    place.ours("lone.json", &["--remove"]).exits(0);
    assert_eq!(count(), 0);
    assert!(!place.home.read("home/.ssh/config").contains("Include"));
    place.ours("lone.json", &["--remove"]).exits(2).says(&["nothing is installed"]);
    // A pipe is called what it is.
    let config = place.home.path("home/.ssh/config");
    fs::remove_file(&config).unwrap();
    run("mkfifo", &[config.to_str().unwrap()], "coreutils");
    place.ours(CLAN, &["--install"]).exits(2).says(&["is not a regular file"]);
}
