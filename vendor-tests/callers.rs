//! Programs that call `ssh`, with ours as the only one on their path.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{Account, Run, free_port, noise, run, running, signal, start, until, wait};
use crate::openssh_personality::Place;

#[test]
fn git_moves_a_hundred_megabytes_both_ways() {
    let place = Place::new("");
    place.home.write("tree/big", noise(100 << 20));
    let path = |name: &str| place.home.path(name).to_str().unwrap().to_owned();
    let git = |args: &[&str], ssh: &str| {
        let mut command = place.command("git", args);
        command.env("GIT_SSH_COMMAND", ssh);
        let started = Instant::now();
        Run::of(wait(start(&mut command, "git"))).exits(0);
        started.elapsed()
    };
    let ours = "ssh -o StrictHostKeyChecking=accept-new";
    let tree = path("tree");
    for args in [
        &["init", "-q", "-b", "main", &tree][..],
        &["-C", &tree, "config", "core.compression", "0"],
        &["-C", &tree, "add", "."],
        &["-C", &tree, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x"],
    ] {
        git(args, ours);
    }
    let from = format!("box:{tree}");
    let clone = git(&["clone", "-q", &from, &path("clone")], ours);
    assert_eq!(place.home.read("clone/.git/HEAD"), "ref: refs/heads/main\n");
    let big = |dir: &str| std::fs::read(place.home.path(&format!("{dir}/big"))).unwrap();
    assert!(big("clone") == big("tree"));
    git(&["init", "-q", "--bare", &path("bare")], ours);
    let bare = format!("box:{}", path("bare"));
    let push = git(&["-C", &path("clone"), "push", "-q", &bare, "main"], ours);
    git(&["-C", &tree, "fetch", "-q", &bare, "main"], ours);
    // OpenSSH's, for the figures: it asks the system for the home.
    let theirs = format!("/usr/bin/ssh -F {}", path("home/.ssh/config"));
    let key = format!("{theirs} -i {}", path("home/.ssh/id_ed25519"));
    let theirs = format!("{key} -o UserKnownHostsFile={}", path("known"));
    let their_clone = git(&["clone", "-q", &from, &path("clone2")], &theirs);
    git(&["init", "-q", "--bare", &path("bare2")], &theirs);
    let bare = format!("box:{}", path("bare2"));
    let their_push = git(&["-C", &path("clone"), "push", "-q", &bare, "main"], &theirs);
    let ratio = |ours: Duration, theirs: Duration| ours.as_secs_f64() / theirs.as_secs_f64();
    println!("git clone of 100 MB: {clone:?}, {:.2} of OpenSSH's", ratio(clone, their_clone));
    println!("git push of 100 MB: {push:?}, {:.2} of OpenSSH's", ratio(push, their_push));
}

#[test]
fn mercurial_and_borg_take_it_for_ssh() {
    let place = Place::new("");
    let path = |name: &str| place.home.path(name).to_str().unwrap().to_owned();
    let data = noise(5 << 20);
    place.home.write("tree/big", &data);
    let hg = |args: &[&str]| {
        let mut command = place.command("hg", args);
        command.env("HGUSER", "me").env("LC_ALL", "C.UTF-8");
        Run::of(wait(start(&mut command, "mercurial"))).exits(0)
    };
    let tree = path("tree");
    hg(&["init", &tree]);
    hg(&["-R", &tree, "commit", "-qAm", "first"]);
    let (from, clone) = (format!("ssh://root@box/{tree}"), path("clone"));
    hg(&["clone", "-q", &from, &clone]);
    assert!(std::fs::read(place.home.path("clone/big")).unwrap() == data);
    place.home.write("clone/small", "small\n");
    hg(&["-R", &clone, "commit", "-qAm", "second"]);
    hg(&["-R", &clone, "push", "-q"]);
    assert!(hg(&["-R", &tree, "log", "-T", "{desc}\n"]).text().contains("second"));
    // Borg, whose other side must not write into the home of who runs this.
    let there = format!("env BORG_BASE_DIR={} borg", path("there"));
    let borg = |args: &[&str]| {
        let mut command = place.command("borg", args);
        command
            .env("BORG_BASE_DIR", path("here"))
            .env("BORG_REMOTE_PATH", &there)
            .env("BORG_REPO", format!("ssh://root@box{}", path("repository")))
            .env("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes")
            .env("LC_ALL", "C.UTF-8");
        Run::of(wait(start(&mut command, "borgbackup"))).exits(0)
    };
    borg(&["init", "-e", "none"]);
    borg(&["create", "::one", "tree/big"]);
    assert!(borg(&["list", "--short"]).text().contains("one"));
    std::fs::rename(place.home.path("tree/big"), place.home.path("tree/old")).unwrap();
    borg(&["extract", "::one"]);
    assert!(std::fs::read(place.home.path("tree/big")).unwrap() == data);
}

#[test]
fn mosh_starts_its_server_through_it() {
    let place = Place::new("");
    // In the place of mosh-client, which needs a terminal: shows what it is given.
    let client = place.home.script("client", "#!/bin/sh\necho \"client $* key ${#MOSH_KEY}\"\n");
    let client = format!("--client={}", client.display());
    let port = free_port("127.0.0.1").to_string();
    let args = [client.as_str(), "--no-ssh-pty", "-p", &port, "box", "cat"];
    let mut command = place.command("mosh", &args);
    let done = Run::of(wait(start(command.env("LC_ALL", "C.UTF-8"), "mosh")));
    // It is detached from everything, and ours to end.
    let servers = running(&["mosh-server", "-p", &port]);
    for pid in &servers {
        signal(*pid, rustix::process::Signal::TERM);
    }
    until("the end of mosh-server", || running(&["mosh-server", "-p", &port]).is_empty());
    let text = done.exits(0).text();
    let line = text.lines().rfind(|line| line.starts_with("client ")).unwrap().to_owned();
    assert!(line.ends_with(&format!(" 127.0.0.1 {port} key 22")), "{line}");
    assert!(!servers.is_empty());
    // Its ProxyCommand does not end by itself.
    let proxy = ["--fake-proxy", &*place.server.port()];
    until("the end of mosh's proxy", || running(&proxy).is_empty());
}

#[test]
fn ssh_copy_id_adds_a_key_once() {
    let account = Account::new("copyid");
    let place = Place::new("AuthorizedKeysFile .ssh/authorized_keys\n");
    account.authorize(&place.home.read("home/.ssh/id_ed25519.pub"));
    place.home.keygen("new", "ed25519", "");
    let public = place.home.path("new.pub").to_str().unwrap().to_owned();
    let to = format!("{}@box", account.name);
    let copy = || place.run("ssh-copy-id", &["-i", &public, &to], "openssh-client").exits(0);
    let first = copy();
    let known = std::fs::read_to_string(account.home.join(".ssh/authorized_keys")).unwrap();
    assert!(known.contains(place.home.read("new.pub").trim()), "{known}\n{}", first.stderr);
    copy().says(&["All keys were skipped because they already exist"]);
    let new = place.home.path("new").to_str().unwrap().to_owned();
    let alone = ["-oIdentitiesOnly=yes", "-i", &new, &to, "echo", "in"];
    assert_eq!(place.ssh(&alone).exits(0).text(), "in\n");
}

#[test]
fn clans_own_command_line_shares_one_connection() {
    // As clan_lib/ssh/remote.py builds it: the host first, and the command quoted.
    let place = Place::new("");
    let (key, socket) = (place.home.path("home/.ssh/id_ed25519"), place.home.path("socket"));
    let (key, path) = (key.to_str().unwrap(), format!("ControlPath={}", socket.display()));
    let port = place.server.port();
    let fixed = ["root@127.0.0.1", "-A", "-p", &port, "-o", "StrictHostKeyChecking=no"];
    let known = ["-o", "UserKnownHostsFile=/dev/null", "-i", key];
    let shared = ["-o", "ControlMaster=auto", "-o", "ControlPersist=1m", "-o", &path];
    let command = ["--", "bash", "-c", "'exec \"$@\"'", "--", "printf '%s\\n' 'a  b' '$HOME'"];
    for _ in 0..3 {
        let args = [&fixed[..], &known, &shared, &command].concat();
        assert_eq!(place.ssh(&args).exits(0).text(), "a  b\n$HOME\n");
    }
    assert_eq!(place.server.log().matches("Accepted publickey").count(), 1);
    place.ssh(&["-o", &path, "-O", "exit", "root@127.0.0.1"]).exits(0);
    until("the end of the master", || !socket.exists());
    // Its installer has a password, for which it calls sshpass.
    let account = Account::new("sshpass");
    let to = format!("{}@127.0.0.1", account.name);
    let args = ["-p", &account.password, "ssh", &to, "-p", &port, "-o", "StrictHostKeyChecking=no"];
    let only = ["-o", "PubkeyAuthentication=no", "--", "id", "-un"];
    let done = place.run("sshpass", &[&args[..], &known[..2], &only].concat(), "sshpass");
    assert_eq!(done.exits(0).text(), format!("{}\n", account.name));
    let wrong = [&["-p", "wrong"], &args[2..], &known[..2], &only].concat();
    assert_eq!(place.run("sshpass", &wrong, "sshpass").code, Some(5));
}

#[test]
fn tar_pipes_through_it_both_ways() {
    let place = Place::new("");
    let data = noise(20 << 20);
    place.home.write("tree/big", &data);
    println!("{}", run("tar", &["--version"], "tar"));
    let script = format!(
        "tar c -C {0}/tree . | ssh box 'mkdir {0}/there && tar x -C {0}/there' && \
         mkdir {0}/back && ssh -n box 'tar cz -C {0}/there .' | tar xz -C {0}/back",
        place.home.dir.path().display()
    );
    place.run("sh", &["-c", &script], "").exits(0);
    assert!(std::fs::read(place.home.path("back/big")).unwrap() == data);
    // The reader has had enough: nobody waits, and nobody complains.
    let mut command: Command = place.command("sh", &["-c", "ssh box yes | head -n 1"]);
    let child = start(command.stdin(Stdio::null()), "");
    let done = Run::of(wait(child)).exits(0);
    assert_eq!((done.text().as_str(), done.stderr.as_str()), ("y\n", ""));
}
