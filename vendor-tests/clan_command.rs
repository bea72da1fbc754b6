//! Called as `clan`: what is done here is done as Clan does it (the cases are those of
//! clan-core's `clan_cli/ssh`, `clan_cli/network`, `clan_cli/vars` and `clan_cli/machines`),
//! and everything else by the next `clan` in the path, for which our ssh is the first.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::{Command, Stdio};

use crate::harness::{BINARY, Home, Run, sshd, start, until, wait};

const IP: &str = "127.0.0.1";

/// A home in which `ours/clan` is our binary.
pub fn home() -> Home {
    let home = Home::new();
    fs::create_dir(home.path("ours")).unwrap();
    symlink(BINARY, home.path("ours/clan")).unwrap();
    home
}

/// Our binary under the name `clan`, with nothing else in its environment.
pub fn clan(home: &Home, path: &str, args: &[&str], env: &[(&str, &str)]) -> Run {
    let mut command = Command::new(home.path("ours/clan"));
    command
        .args(args)
        .env_clear()
        .env("HOME", home.path("home"))
        .env("PATH", path)
        .envs(env.iter().copied())
        .current_dir(home.dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Run::of(wait(start(&mut command, "coreutils")))
}

/// A clan known by its snapshot.
fn known(home: &Home, port: &str) {
    let snapshot = format!(
        r#"{{"clan_connect_snapshot": 1,
            "machines": {{"web": {{"tags": ["all", "site"]}}, "db": {{"tags": ["all"]}}}},
            "exports": {{
              "x/far:far::": {{"networking": {{"priority": 10, "module": "clan_lib.network.tor"}}}},
              "x/near:near::": {{"networking": {{"priority": 2000, "module": "clan_lib.network.direct"}}}},
              "x/shut:shut::": {{"networking": {{"priority": 3000, "module": "clan_lib.network.direct"}}}},
              "x/near:near:d:web": {{"peer": {{"hosts": [{{"plain": "{IP}"}}], "port": {port}}}}},
              "x/shut:shut:d:web": {{"peer": {{"hosts": [{{"plain": "{IP}"}}], "port": 1}}}},
              "x/shut:shut:d:db": {{"peer": {{"hosts": [{{"plain": "{IP}"}}], "port": 1}}}}}}}}"#
    );
    home.write("clan/clan-connect.json", snapshot);
    home.write("clan/vars/per-machine/web/g/text/value", "a value\n");
    home.write("clan/vars/per-machine/web/g/bytes/value", [0xff, 0xfe]);
    home.write("clan/secrets/clan-vars/per-machine/web/g/secret/secret.age", "x");
}

#[test]
fn what_is_about_reaching_machines_is_done_here_in_clans_formats() {
    let home = home();
    let key = home.default_key();
    let server = sshd(&home, IP, &key, "");
    known(&home, &server.port());
    let clan = |args: &[&str]| clan(&home, "/nonexistent", args, &[]);
    let flake = ["--flake", "clan"];
    let of = |args: &[&str]| clan(&[args, &flake].concat());
    assert_eq!(
        of(&["network", "list"]).exits(0).text(),
        "\
Network       Priority  Module      Running   Peers
---------------------------------------------------
shut          3000      direct      Yes       web, db
near          2000      direct      Yes       web
far           10        tor         No        No peers
"
    );
    let pinged = of(&["net", "ping", "web"]).exits(0);
    pinged.says(&[
        "Pinging 'web' in network 'shut' ...",
        "web (shut): not reachable",
        "Pinging 'web' in network 'near' ...",
        "web (near): reachable, ping: ",
        " ms",
    ]);
    // To Clan no answer is no failure, but no network is.
    of(&["network", "ping", "web", "-n", "shut"]).exits(0).says(&["web (shut): not reachable"]);
    of(&["network", "ping", "nobody"]).exits(1).says(&["not found in any network"]);
    of(&["network", "ping", "web", "--network", "none"]).exits(1);
    let overview = of(&["network", "overview"]).exits(0).text();
    let lines: Vec<&str> = overview.lines().collect();
    assert_eq!(lines[..3], ["shut [ONLINE]", "\tweb: [OFFLINE]", "\tdb: [OFFLINE]"], "{overview}");
    assert_eq!((lines[3], lines[5]), ("near [ONLINE]", "far [OFFLINE]"), "{overview}");
    let time = lines[4].strip_prefix("\tweb: [").unwrap().strip_suffix(']').unwrap();
    assert!(time.parse::<f64>().unwrap() > 0.0, "{overview}");

    assert_eq!(of(&["machines", "list"]).exits(0).text(), "db\nweb\n");
    assert_eq!(of(&["m", "list", "--tags", "all", "site"]).exits(0).text(), "web\n");
    assert_eq!(of(&["m", "list", "--tags", "none"]).exits(0).text(), "");
    assert_eq!(of(&["vars", "get", "web", "g/text"]).exits(0).text(), "a value\n");
    // What it advises can be typed as it is called, and what cannot has our own name.
    let none = of(&["va", "get", "web", "g/none"]).exits(1);
    let none = none.says(&["hint: see what there is: clan vars list web"]);
    assert!(!none.stderr.contains("clan-connect"), "{}", none.stderr);
    clan(&["network", "list", "--flake", "nowhere"]).exits(1);
    clan(&["network", "list"])
        .exits(1)
        .says(&["hint: to connect without a clan: clan-connect ssh"]);
    let list = "g/bytes: <binary blob>\ng/secret: ********\ng/text: a value\n\n";
    assert_eq!(of(&["vars", "list", "web"]).exits(0).text(), list);
    of(&["vars", "list", "nobody"]).exits(1);
    let selected = of(&["select", "clan.exports.*.networking.priority"]);
    assert!(selected.exits(1).stderr.contains("networking"));
    let selected = of(&["se", "clan.exports.*.?networking.?priority", "--impure"]).exits(0);
    assert!(selected.text().contains("    \"x/far:far::\": {\n"), "{}", selected.text());

    // clan_cli/ssh/test_deploy_info.py, test_ssh_shell_from_deploy.
    let success = home.path("success.txt");
    let identity = home.path("home/.ssh/id_ed25519");
    let done = clan(&[
        "ssh",
        "--flake",
        "clan",
        "web",
        "--host-key-check=none",
        "--ssh-option",
        "IdentityFile",
        identity.to_str().unwrap(),
        "--debug",
        "--option",
        "cores",
        "1",
        "--remote-command",
        "touch",
        success.to_str().unwrap(),
    ]);
    done.exits(0).says(&["over network near"]);
    assert!(success.exists());
    // The command's own status, which Clan loses.
    clan(&["ssh", "web", "--flake", "clan", "-c", "true"]).exits(0);
    clan(&["ssh", "web", "--flake", "clan", "-c", "sh", "-c", "exit 7", "--", "-x"]).exits(7);
    clan(&["ssh"]).exits(1).says(&["no MACHINE, --json or --png data provided"]);
    of(&["ssh", "wep"]).exits(1).says(&["did you mean \"web\""]);
    of(&["ssh", "db"]).exits(1);
    // argparse takes what is behind `--` for the machine; a letter there is none of its.
    clan(&["ssh", "--flake", "clan", "--", "web"]).exits(0);
    clan(&["ssh", "--flake", "clan", "--", "-t"]).exits(1).says(&["-t is no name of a machine"]);
    let unknown = of(&["ssh", "web", "-t"]).exits(2).says(&["unexpected argument '-t'"]);
    assert!(!unknown.stderr.contains("-- -t"), "{}", unknown.stderr);
    of(&["ssh", "web", "--json", "{}"]).exits(2);
    of(&["network", "list", "--json"]).exits(2);
    of(&["vars", "get", "web"]).exits(2);
    clan(&["ssh", "--help"]).exits(0);
}

/// Another `clan` that tells what it was started with, and starts ssh.
const FAKE: &str = "#!/bin/sh\n\
    echo \"fake $#: $*\"\n\
    case $1 in\n\
    machines) ssh -o BatchMode=yes root@web echo over ssh; exit 9;;\n\
    again) exec clan \"$@\";;\n\
    env) echo \"path $PATH\"; exec env;;\n\
    stdin) exec cat;;\n\
    kill) kill -TERM $$;;\n\
    esac\n";

#[test]
fn everything_else_is_the_next_clans_which_finds_our_ssh_first() {
    let home = home();
    let key = home.default_key();
    let server = sshd(&home, IP, &key, "");
    known(&home, &server.port());
    // Nobody can be asked about its key.
    let public = home.read(&format!("sshd-{}/host_key.pub", server.port()));
    home.write("clan/vars/per-machine/web/openssh/ssh.id_ed25519.pub/value", public);
    home.script("theirs/clan", FAKE);
    let (ours, theirs) = (home.path("ours"), home.path("theirs"));
    let path = format!("{}:{}:/usr/bin:/bin", ours.display(), theirs.display());
    let run = |args: &[&str], env: &[(&str, &str)]| clan(&home, &path, args, env);
    // Word for word, with its exit status, and over the best network of the clan that it
    // is about.
    let update = ["machines", "update", "web", "--flake", "clan", "a  b", ""];
    let done = run(&update, &[]).exits(9);
    assert_eq!(done.text(), "fake 7: machines update web --flake clan a  b \nover ssh\n");
    let flake = format!("--flake={}", home.path("clan").display());
    let done = run(&["machines", "update", &flake], &[]).exits(9);
    assert!(done.text().ends_with("over ssh\n"), "{}", done.stderr);
    // The clan that its caller stands in, as Clan has it; and none that was not meant.
    let mut standing = Command::new(home.path("ours/clan"));
    standing.args(["machines", "update"]).current_dir(home.path("clan"));
    standing.env_clear().env("HOME", home.path("home")).env("PATH", &path);
    standing.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let done = Run::of(wait(start(&mut standing, "coreutils"))).exits(9);
    assert!(done.text().ends_with("over ssh\n"), "{}", done.stderr);
    let done = run(&["machines", "update"], &[]).exits(9);
    assert!(!done.text().contains("over ssh"), "{}", done.text());
    assert_eq!(run(&[], &[]).exits(0).text(), "fake 0: \n");
    assert_eq!(run(&["--version"], &[]).exits(0).text(), "fake 1: --version\n");
    // What a later Clan may know is its business.
    assert_eq!(run(&["ssh", "--new-flag"], &[]).exits(0).text(), "fake 2: ssh --new-flag\n");
    let done = run(&["kill"], &[]);
    assert_eq!(done.code, None, "its signal is ours");
    // Nothing of ours is in its environment but what our own programs read.
    let done = run(&["env"], &[]).exits(0).text();
    let names: Vec<&str> =
        done.lines().filter_map(|line| line.split_once('=')).map(|it| it.0).collect();
    let news =
        names.iter().filter(|name| !["PATH", "HOME", "PWD", "_", "SHLVL", "OLDPWD"].contains(name));
    assert_eq!(news.collect::<Vec<_>>(), [&"CLAN_CONNECT_CALLS"], "{done}");

    // Our ssh is in a directory of the user's alone, below that for running programs if
    // there is one.
    let first = |done: &str| {
        let path = done.lines().find_map(|line| line.strip_prefix("path ")).unwrap().to_owned();
        path.split(':').next().unwrap().to_owned()
    };
    let dir = first(&done);
    assert!(dir.starts_with(home.path("home/.cache").to_str().unwrap()), "{dir}");
    let runtime = home.path("runtime");
    fs::create_dir(&runtime).unwrap();
    fs::set_permissions(&runtime, fs::Permissions::from_mode(0o700)).unwrap();
    let env = [("XDG_RUNTIME_DIR", runtime.to_str().unwrap())];
    for _ in 0..2 {
        let dir = first(&run(&["env"], &env).exits(0).text());
        assert!(dir.starts_with(runtime.to_str().unwrap()), "{dir}");
        let link = fs::read_link(format!("{dir}/ssh")).unwrap();
        assert_eq!(link, fs::canonicalize(BINARY).unwrap());
        assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
    }
}

#[test]
fn nobody_calls_itself_for_ever_and_a_missing_clan_is_said() {
    let home = home();
    let ours = home.path("ours");
    let missing = ["there is no other `clan` in $PATH", "hint: install Clan's own clan"];
    let path = format!("{}:/usr/bin:/bin", ours.display());
    let done = clan(&home, &path, &["machines", "update", "web"], &[]).exits(1);
    done.says(&missing).says(&["does not have the command \"clan machines update\""]);
    let listed = ["It has these commands:", "clan network overview", "which is not in $PATH"];
    clan(&home, &path, &[], &[]).exits(1).says(&listed);
    clan(&home, &path, &["network"], &[]).exits(1).says(&listed);
    let help = clan(&home, &path, &["--help"], &[]).exits(0).text();
    assert!(listed.iter().all(|line| help.contains(line)), "{help}");
    // One that is there and lacks what it is written for is not missing itself.
    home.script("bare/clan", "#!/nonexistent/python3\n");
    let bare = format!("{path}:{}", home.path("bare").display());
    let done = clan(&home, &bare, &["machines", "update"], &[]).exits(1);
    let done = done.says(&["bare/clan: its interpreter /nonexistent/python3 is missing"]);
    assert!(!done.stderr.contains("install Clan's own"), "{}", done.stderr);
    // Another name and another copy of ours are no other clan.
    fs::create_dir(home.path("linked")).unwrap();
    symlink(home.path("ours/clan"), home.path("linked/clan")).unwrap();
    fs::create_dir(home.path("copied")).unwrap();
    fs::copy(BINARY, home.path("copied/clan")).unwrap();
    let path =
        format!("{}:{}:{path}", home.path("linked").display(), home.path("copied").display());
    clan(&home, &path, &["machines", "update"], &[]).exits(1).says(&missing);
    // One that calls us by our name, as a wrapper may.
    home.script("theirs/clan", FAKE);
    let theirs = format!("{path}:{}", home.path("theirs").display());
    let done = clan(&home, &theirs, &["again"], &[]).exits(1);
    let loops = ["each `clan` in $PATH calls another"];
    done.says(&loops);
    // One that leaves nothing in the environment, and waits.
    let forgets = "#!/bin/sh\nenv -i HOME=\"$HOME\" PATH=\"$PATH\" clan \"$@\"\nexit $?\n";
    home.script("forgets/clan", forgets);
    let in_place = "#!/bin/sh\nexec env -i HOME=\"$HOME\" PATH=\"$PATH\" clan \"$@\"\n";
    home.script("in-place/clan", in_place);
    // Its own name is the fifth word of the process that waits.
    let deep = "#!/usr/bin/env -S bash -e -u -f\n\
        env -i HOME=\"$HOME\" PATH=\"$PATH\" clan \"$@\" 200>&- 201>&- 202>&-\nexit $?\n";
    home.script("deep/clan", deep);
    // One process that keeps nothing but itself.
    let closes = "#!/bin/bash\nfor one in /proc/$$/fd/*; do\n  one=${one##*/}\n\
        \x20 [ \"$one\" -le 2 ] || eval \"exec $one>&-\"\ndone\n\
        exec env -i HOME=\"$HOME\" PATH=\"$PATH\" clan \"$@\"\n";
    home.script("closes/clan", closes);
    for name in ["forgets", "in-place", "deep", "closes"] {
        let forgetful = format!("{path}:{}", home.path(name).display());
        clan(&home, &forgetful, &["again"], &[]).exits(1).says(&loops);
    }
    // Many processes above are none.
    let above = "#!/bin/sh\n[ \"$1\" -gt 0 ] || exec clan again\n\"$0\" $(($1 - 1))\nexit $?\n";
    let above = home.script("above", above);
    let path = format!("{}:/usr/bin:/bin", ours.display());
    let mut command = home.command_with(&[above.to_str().unwrap(), "110"], &[]);
    command.env("PATH", path);
    let done = Run::of(wait(start(&mut command, "dash")));
    done.exits(1).says(&missing);
    // Twenty that stand before each other do not call each other for ever.
    let before = "#!/bin/sh\nPATH=\"${0%/*}/../ours:${PATH#*nested:}\"\n\
        case $PATH in *nested:*) ;; *) echo \"through $*\"; exit 0;; esac\n\
        clan \"$@\"\nexit $?\n";
    home.script("nested/clan", before);
    let nested = format!("{}:", home.path("nested").display()).repeat(20);
    let nested = format!("{}:{nested}/usr/bin:/bin", ours.display());
    assert_eq!(clan(&home, &nested, &["again"], &[]).exits(0).text(), "through again\n");
    // Directories that depend on where we stand are none.
    fs::create_dir(home.path("here")).unwrap();
    home.script("here/clan", FAKE);
    clan(&home, "here:", &["machines", "update"], &[]).exits(1).says(&missing);
}

/// Another `clan` whose ssh tells of the agent that it was lent.
const LENDER: &str = "#!/bin/sh\n\
    ssh -o BatchMode=yes ${1#-x} root@web 'echo agent ${SSH_AUTH_SOCK:-none}' || echo refused\n\
    env | grep CLAN_CONNECT_\n";

#[test]
fn a_clan_that_one_merely_stands_in_is_not_named_to_our_ssh() {
    let home = home();
    let key = home.default_key();
    let server = sshd(&home, IP, &key, "");
    known(&home, &server.port());
    let public = home.read(&format!("sshd-{}/host_key.pub", server.port()));
    home.write("clan/vars/per-machine/web/openssh/ssh.id_ed25519.pub/value", &public);
    home.write("home/.ssh/config", "HashKnownHosts no\nForwardAgent yes\n");
    home.script("theirs/clan", LENDER);
    let socket = home.path("agent").display().to_string();
    let mut agent = Command::new("ssh-agent");
    agent.args(["-D", "-a", &socket]).stdout(Stdio::null());
    let mut agent = start(&mut agent, "openssh-client");
    until("the agent listens", || home.path("agent").exists());
    let path =
        format!("{}:{}:/usr/bin:/bin", home.path("ours").display(), home.path("theirs").display());
    let run = |args: &[&str]| {
        let mut command = Command::new(home.path("ours/clan"));
        command.args(args).current_dir(home.path("clan")).env_clear();
        command.env("HOME", home.path("home")).env("PATH", &path).env("SSH_AUTH_SOCK", &socket);
        // What a `clan` further up was told.
        command.env("CLAN_CONNECT_FLAKE", "/nonexistent");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Run::of(wait(start(&mut command, "coreutils")))
    };
    let clan = home.path("clan").display().to_string();
    let (named, stood_in) =
        (format!("CLAN_CONNECT_FLAKE={clan}\n"), format!("CLAN_CONNECT_STOOD_IN={clan}\n"));
    // It is found, and has no agent that it was not lent by name.
    let done = run(&["-x"]);
    assert!(done.text().contains("agent none\n"), "{done:?}");
    assert!(done.text().contains(&stood_in) && !done.text().contains("_FLAKE="), "{done:?}");
    assert!(run(&["-A"]).text().contains("agent /"));
    let done = run(&["-x", "--fla", "/x", "--flake=."]);
    assert!(done.text().contains("agent /") && done.text().contains(&named), "{done:?}");
    assert!(!done.text().contains("STOOD_IN"), "{done:?}");
    // A reference is nobody's directory here.
    let done = run(&["-x", "--flake", "github:a/b"]).text();
    assert!(!done.contains("STOOD_IN") && !done.contains("_FLAKE="), "{done}");
    // The user's own word on the name stands.
    home.keygen("other", "ed25519", "");
    home.write("home/.ssh/known_hosts", format!("web {}", home.read("other.pub")));
    let done = run(&["-x"]);
    assert!(done.text().contains("refused\n"), "{done:?}");
    done.says(&["HAS CHANGED"]);
    let done = run(&["-x", "--flake", "."]);
    assert!(done.text().contains("agent /"), "{done:?}");
    let _ = agent.kill();
    let _ = agent.wait();
}

#[test]
fn what_our_ssh_was_told_is_there_or_it_is_said() {
    let home = home();
    let key = home.default_key();
    let server = sshd(&home, IP, &key, "");
    known(&home, &server.port());
    let gone = home.path("clan/gone").display().to_string();
    let ssh = |variable: &str, value: &str, more: &[&str]| {
        let args = [&["openssh", "-v", "-oBatchMode=yes"], more, &["true"]].concat();
        home.run_with_env(&args, &[(variable, value)]).exits(255)
    };
    let named = ssh("CLAN_CONNECT_FLAKE", &gone, &["root@web"]);
    named.says(&["open $CLAN_CONNECT_FLAKE", &gone]);
    ssh("CLAN_DIR", &gone, &["root@web"]).says(&["open $CLAN_DIR"]);
    // No clan around one that is gone stands for it.
    let done = ssh("CLAN_CONNECT_STOOD_IN", &gone, &["root@web"]);
    assert!(!done.stderr.contains("over network"), "{}", done.stderr);
    // Hosts that the user's files name are none of its machines.
    home.write("home/.ssh/config", "Host inner\n  ProxyJump root@web\n");
    let clan = home.path("clan").display().to_string();
    let done = ssh("CLAN_CONNECT_STOOD_IN", &clan, &["root@inner"]);
    assert!(!done.stderr.contains("over network"), "{}", done.stderr);
}

#[test]
fn descriptors_are_handed_over_with_words_that_we_do_not_know() {
    let home = home();
    home.script("theirs/clan", "#!/bin/sh\necho \"$*\"\ncat <&7\nulimit -c\n");
    home.write("file", "from 7\n");
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "ulimit -c 8; exec clan ssh m --newopt 7<file"]);
    command.env_clear().env("HOME", home.path("home")).current_dir(home.dir.path());
    command.env(
        "PATH",
        format!("{}:{}:/bin", home.path("ours").display(), home.path("theirs").display()),
    );
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let done = Run::of(wait(start(&mut command, "coreutils"))).exits(0);
    assert_eq!(done.text(), "ssh m --newopt\nfrom 7\n8\n");
}
