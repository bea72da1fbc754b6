//! References to a clan, as the real nix takes them: that nothing here takes their
//! place, and that they give no less trust than the directory they lead to.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::harness::{Home, Run, run, sshd, start, wait};

const IP: &str = "127.0.0.1";

fn run_in(home: &Home, dir: &str, args: &[&str], env: &[(&str, &str)]) -> Run {
    let mut command = home.command(args);
    command.current_dir(home.path(dir)).env("PATH", "/usr/bin:/bin");
    command.envs(env.iter().copied());
    Run::of(wait(start(&mut command, "util-linux")))
}

#[test]
fn no_directory_takes_the_place_of_a_reference() {
    let home = Home::new();
    let key = home.default_key();
    let server = sshd(&home, IP, &key, "");
    let text = home.read(&format!("sshd-{}/host_key.pub", server.port()));
    let json = format!(
        r#"{{"clan_connect_snapshot": 1, "machines": {{"web01": {{"target_host":
        "root@{IP}:{}", "host_keys": ["{}"]}}}}, "exports": {{}}}}"#,
        server.port(),
        text.trim()
    );
    for name in ["github:me/clan", "nonsense:clan", "flake:clan"] {
        home.write(&format!("repo/{name}/.clan-flake"), "");
        home.write(&format!("repo/{name}/clan-connect.json"), &json);
        // No registry and no forge is asked.
        let env = [("PATH", "/nonexistent"), ("CLAN_DIR", name)];
        let args = ["ssh", "web01", "-c", "true"];
        let words = ["only nix can fetch it"];
        run_in(&home, "repo", &args, &env).exits(255).says(&words);
        let named = [&["--flake", name], &args[..]].concat();
        run_in(&home, "repo", &named, &env[..1]).exits(255).says(&words);
        let ssh = ["openssh", "-oBatchMode=yes", "web01", "true"];
        run_in(&home, "repo", &ssh, &env).exits(255).says(&words);
        let done = run_in(&home, "repo", &["trust-clan", name], &[]).exits(2);
        done.says(&[&format!("./{name}")]);
        assert_eq!(server.log().matches("Accepted").count(), 0, "{name}");
    }
    // Written as a path it is one.
    let path = ["--flake", "./github:me/clan", "ssh", "web01", "-c", "true"];
    run_in(&home, "repo", &path, &[]).exits(0);
}

#[test]
fn keys_that_git_leaves_out_are_not_overlooked() {
    let home = Home::new();
    fs::set_permissions(home.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let key = home.default_key();
    let server = sshd(&home, IP, &key, "");
    home.keygen("other", "ed25519", "");
    let (right, wrong) =
        (home.read(&format!("sshd-{}/host_key.pub", server.port())), home.read("other.pub"));
    // Submodules that are directories here.
    home.write("home/.gitconfig", "[protocol \"file\"]\n\tallow = always\n");
    let git = |dir: &str, args: &[&str]| {
        let at = home.path(dir).display().to_string();
        let author = ["-c", "user.name=a", "-c", "user.email=a@b"];
        let more = ["-c", "protocol.file.allow=always"];
        run("git", &[&["-C", &at], &author[..], &more, args].concat(), "git");
    };
    let commit = |dir: &str| {
        git(dir, &["add", "."]);
        git(dir, &["commit", "-q", "-m", "x"]);
    };
    let value = "per-machine/m/openssh/ssh.id_ed25519.pub/value";
    let flake = "{ outputs = _: { clan.exports = { }; }; }";
    home.write(&format!("values/{value}"), &wrong);
    git("values", &["init", "-q"]);
    commit("values");
    // As a submodule, and ignored.
    for name in ["sub", "ignored"] {
        home.write(&format!("{name}/flake.nix"), flake);
        git(name, &["init", "-q"]);
    }
    let values = home.path("values").display().to_string();
    git("sub", &["submodule", "-q", "add", &values, "vars"]);
    home.write(&format!("ignored/vars/{value}"), &wrong);
    home.write("ignored/.gitignore", "vars\n");
    commit("sub");
    commit("ignored");
    let target = format!("{IP}:{}", server.port());
    let ssh = |flake: &str, dir: &str| {
        let args = ["--flake", flake, "ssh", "m", "--target-host", &target, "-c", "true"];
        run_in(&home, dir, &args, &[])
    };
    let forms = |name: &str| {
        let path = home.path(name).display().to_string();
        [
            path.clone(),
            format!("git+file://{path}"),
            format!("git+file:{name}"),
            format!("git+file://{path}?submodules=1"),
            format!("git+file://{path}?ref=HEAD"),
            format!("path:{path}"),
            format!("path:./{name}"),
        ]
    };
    for name in ["sub", "ignored"] {
        for form in forms(name) {
            let done = ssh(&form, ".").exits(255);
            done.says(&["REMOTE HOST IDENTIFICATION HAS CHANGED"]);
        }
        home.write(&format!("{name}/vars/{value}"), &right);
        for form in forms(name) {
            ssh(&form, ".").exits(0);
        }
    }
    assert!(home.read("home/.ssh/known_hosts").is_empty(), "nothing was trusted on first use");
    // A copy without them says so: what is not there cannot be told from what is not.
    let sub = home.path("sub").display().to_string();
    run("git", &["clone", "-q", &sub, &home.path("bare").display().to_string(), "--bare"], "git");
    let bare = format!("git+file://{}?ref=HEAD", home.path("bare").display());
    ssh(&bare, ".").exits(255).says(&["vars is in a submodule", "submodules=1"]);
    run("git", &["clone", "-q", &sub, &home.path("clone").display().to_string()], "git");
    for form in &forms("clone")[1..3] {
        ssh(form, ".").exits(255).says(&["vars is in a submodule"]);
    }
}
