//! Which commands share a connection: those that would have made the same one.

use std::os::unix::fs::symlink;
use std::process::Command;

use serde_json::json;

use super::Warm;
use crate::harness::{BINARY, Run, copy_program, start, wait};

#[test]
fn a_different_host_user_or_network_gets_its_own_connection() {
    let warm = Warm::new();
    warm.ssh(&[], "true").exits(0);
    let mut logins = warm.logins();
    warm.home.copy("home/.ssh/id_ed25519", "key");
    warm.home.copy("home/.ssh/known_hosts", "known_hosts");
    let path = |name: &str| warm.home.path(name).display().to_string();
    let (key, known) = (path("key"), path("known_hosts"));
    let known = format!("UserKnownHostsFile={known}");
    for more in [
        &["-l", "root"][..],
        &["-i", &key],
        &["-i", "key"],
        &["--network", "net"],
        &["--host-key-check", "strict"],
        &["-o", &known],
        &["-o", "Ciphers=aes256-ctr"],
        &["-o", "ForwardAgent=yes"],
        &["-C"],
        &["-4"],
        &["-o", "BindAddress=127.0.0.1"],
        &["-o", "ServerAliveInterval=5"],
        &["-o", "Pipelining=no"],
        &["--grace", "2"],
        &["--identity", &key],
        &["--tor", "embedded"],
        #[cfg(feature = "iroh")]
        &["--iroh-relay", "none"],
        #[cfg(feature = "iroh")]
        &["--iroh-discovery", "none"],
        &["--show-secrets"],
    ] {
        warm.ssh(more, "true").exits(0);
        logins += 1;
        assert_eq!(warm.logins(), logins, "{more:?}");
        // With itself it is shared.
        warm.ssh(more, "true").exits(0);
        assert_eq!(warm.logins(), logins, "{more:?}");
    }
    for (name, value) in [
        ("SSH_AUTH_SOCK", "/nonexistent"),
        ("AGE_KEY", "AGE-SECRET-KEY-1X"),
        ("ALL_PROXY", "socks5://127.0.0.1:9"),
        ("TOR_SOCKS", "127.0.0.1:9"),
        ("LD_PRELOAD", "/lib/other.so"),
        ("XDG_CONFIG_HOME", "/nonexistent"),
        ("SOMETHING_NEW", "1"),
    ] {
        let mut command = warm.kept(&[], "true");
        Run::of(wait(start(command.env(name, value), ""))).exits(0);
        logins += 1;
        assert_eq!(warm.logins(), logins, "{name}");
    }
    // The files of ssh_config(5), exports and the program itself as they were then.
    let exports = warm.home.read("exports.json");
    warm.home.write("exports.json", exports + "\n");
    warm.ssh(&[], "true").exits(0);
    logins += 1;
    assert_eq!(warm.logins(), logins, "exports");
    let config = warm.home.read("home/.ssh/config");
    warm.home.write("home/.ssh/config", config + "# more\n");
    warm.ssh(&[], "true").exits(0);
    logins += 1;
    assert_eq!(warm.logins(), logins, "ssh_config");
    let upgraded = warm.home.path("clan-connect");
    copy_program(BINARY, &upgraded);
    let same = warm.kept(&[], "true");
    let mut other = Command::new(&upgraded);
    other.args(same.get_args().skip(1)).env_clear().current_dir(warm.home.dir.path());
    other.envs(same.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Run::of(wait(start(&mut other, ""))).exits(0);
    assert_eq!(warm.logins(), logins + 1, "another version");
}

/// The machine is the first or the second server, which tell who they are.
#[test]
fn what_the_clan_says_of_the_machine_counts_as_it_is_now() {
    let warm = Warm::new();
    warm.home.write("clan/.clan-flake", "");
    let host = "clan/vars/per-machine/m/net/hostname/value";
    warm.home.write(host, "127.0.0.1");
    let var = json!({ "machine": "m", "generator": "net", "file": "hostname" });
    let peer = json!({ "host": { "var": var }, "port": warm.server.address.port() });
    let exports = json!({ "net": { "priority": 10, "peers": { "m": peer } } });
    warm.home.write("exports.json", exports.to_string());
    let clan = warm.home.path("clan").display().to_string();
    let check = ["--host-key-check", "none"];
    let run = || {
        let words = ["--flake", &clan, "ssh", "m", "--persist", "1m"];
        warm.run(&[&words[..], &check, &["-c", "true"]].concat())
    };
    run().exits(0);
    run().exits(0);
    assert_eq!(warm.logins(), 1);
    // Nobody listens there.
    warm.home.write(host, "127.0.0.9");
    run().exits(255).says(&["refused"]);
    assert_eq!(warm.logins(), 1);
    warm.home.write(host, "127.0.0.1");
    run().exits(0);
    assert_eq!(warm.logins(), 2);
    // All that were kept are told of, and found.
    let told = warm.run(&["network", "list", "--json"]).exits(0).text();
    assert_eq!(told.matches("\"sessions\"").count(), 2, "{told}");
    let closed = warm.run(&["close", "m"]).exits(0).text();
    assert_eq!(closed.matches("closed m").count(), 2, "{closed}");
}

/// The machine `j` leads to `m`, and both are this server.
#[test]
fn a_machine_that_leads_to_another_counts_as_it_is_now() {
    let warm = Warm::new();
    warm.home.write("clan/.clan-flake", "");
    let host = "clan/vars/per-machine/j/net/hostname/value";
    warm.home.write(host, "127.0.0.1");
    let port = warm.server.address.port();
    let var = json!({ "machine": "j", "generator": "net", "file": "hostname" });
    let peers = json!({ "m": { "host": { "plain": "127.0.0.1" }, "port": port },
                        "j": { "host": { "var": var }, "port": port } });
    let exports = json!({ "net": { "priority": 10, "peers": peers } });
    warm.home.write("exports.json", exports.to_string());
    let clan = warm.home.path("clan").display().to_string();
    let key = warm.home.read(&format!("sshd-{port}/host_key.pub"));
    warm.home.write("home/.ssh/known_hosts", format!("[127.0.0.1]:{port},j,m {key}"));
    let run = || {
        let words = ["--flake", &clan, "ssh", "m", "--persist", "1m", "-J", "j", "-c", "true"];
        warm.run(&words)
    };
    run().exits(0);
    let logins = warm.logins();
    run().exits(0);
    assert_eq!(warm.logins(), logins);
    // Nobody listens there.
    warm.home.write(host, "127.0.0.9");
    run().exits(255).says(&["refused"]);
    warm.run(&["close", "--all"]).exits(0);
}

#[test]
fn another_key_at_the_same_place_has_a_connection_of_its_own() {
    let warm = Warm::new();
    warm.home.copy("home/.ssh/id_ed25519", "key");
    let key = warm.home.path("key").display().to_string();
    for expected in [1, 1] {
        warm.ssh(&["-i", &key], "true").exits(0);
        assert_eq!(warm.logins(), expected);
    }
    std::fs::remove_file(&key).unwrap();
    warm.home.copy("home/.ssh/id_ed25519", "key");
    warm.ssh(&["-i", &key], "true").exits(0);
    assert_eq!(warm.logins(), 2);
    // So has another file that one of the configuration takes in.
    let config = warm.home.read("home/.ssh/config");
    warm.home.write("home/.ssh/more", "Host elsewhere\n User a\n");
    warm.home.write("home/.ssh/config", format!("Include more\n{config}"));
    for (user, expected) in [("a", 3), ("a", 3), ("bb", 4)] {
        let more = format!("Host elsewhere\n User {user}\n");
        if warm.home.read("home/.ssh/more") != more {
            warm.home.write("home/.ssh/more", more);
        }
        warm.ssh(&["-i", &key], "true").exits(0);
        assert_eq!(warm.logins(), expected);
    }
}

#[test]
fn what_each_command_has_of_its_own_is_shared_for_all() {
    let warm = Warm::new();
    warm.ssh(&[], "true").exits(0);
    for more in [
        &["-t"][..],
        &["-T"],
        &["-v"],
        &["-q"],
        &["-o", "SetEnv=LC_A=1"],
        &["-o", "EscapeChar=none"],
        &["-o", "ConnectTimeout=9"],
        &["--timeout", "9"],
    ] {
        warm.ssh(more, "true").exits(0);
        assert_eq!(warm.logins(), 1, "{more:?}");
    }
    // From elsewhere, in another window, in another language.
    let mut command = warm.kept(&["-o", "SendEnv=LC_A"], "echo $LC_A; pwd");
    command.current_dir(warm.home.path("home"));
    command.env("TERM", "xterm-other").env("LC_A", "sent").env("WINDOWID", "7").env("SHLVL", "3");
    let done = Run::of(wait(start(&mut command, ""))).exits(0);
    assert!(done.text().starts_with("sent\n"), "{}", done.text());
    assert_eq!(warm.logins(), 1);
}

#[test]
fn a_relative_name_means_another_file_elsewhere() {
    let warm = Warm::new();
    for dir in ["a", "b"] {
        warm.home.copy("home/.ssh/id_ed25519", &format!("{dir}/key"));
        let run = || {
            let mut command = warm.kept(&["-i", "key"], "true");
            Run::of(wait(start(command.current_dir(warm.home.path(dir)), ""))).exits(0);
        };
        let before = warm.logins();
        run();
        run();
        assert_eq!(warm.logins(), before + 1, "{dir}");
    }
}

#[test]
fn it_is_kept_only_where_somebody_asks_for_it() {
    let warm = Warm::new();
    let args = ["ssh", "m", "-c", "true"];
    let with = |more: &[&str], env: &[(&str, &str)]| {
        let mut command = warm.command(&[&args[..2], more, &args[2..]].concat());
        Run::of(wait(start(command.envs(env.iter().copied()), ""))).exits(0);
        let count = warm.sockets().len();
        warm.run(&["close", "--all"]).exits(0);
        count
    };
    let variable = "CLAN_CONNECT_PERSIST";
    assert_eq!(with(&[], &[]), 0, "no terminal");
    assert_eq!(with(&[], &[(variable, "1m")]), 1);
    assert_eq!(with(&["--no-persist"], &[(variable, "1m")]), 0);
    assert_eq!(with(&["--persist", "no"], &[(variable, "1m")]), 0);
    assert_eq!(with(&["--persist", "0"], &[(variable, "1m")]), 0);
    assert_eq!(with(&[], &[(variable, "0")]), 0);
    let mut wrong = warm.command(&["ssh", "m", "-c", "true"]);
    let wrong = Run::of(wait(start(wrong.env(variable, "nonsense"), ""))).exits(255);
    wrong.says(&["invalid value 'nonsense' of CLAN_CONNECT_PERSIST", "10m"]);
    assert_eq!(with(&["--no-persist"], &[(variable, "nonsense")]), 0);
    assert_eq!(with(&["--persist", "1m"], &[(variable, "no")]), 1);
    assert_eq!(with(&["-o", "ControlPersist=1m"], &[]), 1);
    // What says how a connection is shared says that it is not shared in this way.
    for line in ["ControlPath=none", "ControlMaster=no", "ControlMaster=ask"] {
        assert_eq!(with(&["--persist", "1m", "-o", line], &[]), 0, "{line}");
    }
    let local = ["-o", "PermitLocalCommand=yes", "-o", "LocalCommand=true"];
    assert_eq!(with(&[&["--persist", "1m"], &local[..]].concat(), &[]), 0);
    // A file that only this process has.
    let lent = warm.home.script(
        "lent",
        "#!/bin/sh\nexec 7<home/.ssh/id_ed25519\nexec \"$@\" -i /dev/fd/7 -c true\n",
    );
    let mut through = Command::new("/bin/sh");
    let kept = warm.command(&["ssh", "m", "--persist", "1m"]);
    through.arg(lent).arg(kept.get_program()).args(kept.get_args()).env_clear();
    through.current_dir(warm.home.dir.path());
    through.envs(kept.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Run::of(wait(start(&mut through, ""))).exits(0);
    assert!(warm.sockets().is_empty());
    warm.run(&["ssh", "m", "--persist", "soon", "-c", "true"]).exits(255);
    let config = warm.home.read("home/.ssh/config");
    warm.home.write("home/.ssh/config", format!("{config}Host m\n  ControlPersist 5m\n"));
    assert_eq!(with(&[], &[]), 1, "ssh_config(5)");
    assert_eq!(with(&["--no-persist"], &[]), 0);
    // As ssh it is as ssh(1).
    symlink(BINARY, warm.home.path("ssh")).unwrap();
    let port = warm.server.port();
    let to = ["-p", &port, "-oStrictHostKeyChecking=accept-new", "-oControlPersist=1m"];
    let mut ssh = Command::new(warm.home.path("ssh"));
    ssh.args(to).args(["127.0.0.1", "true"]).env_clear().env("HOME", warm.home.path("home"));
    ssh.env("XDG_RUNTIME_DIR", warm.home.path("run")).env(variable, "1m");
    assert!(ssh.status().unwrap().success());
    assert!(warm.sockets().is_empty());
}
