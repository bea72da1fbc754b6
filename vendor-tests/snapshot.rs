//! Snapshots that stand alone: made by the real nix in one place, and used where there is
//! nothing else, in a directory, as a file, and as an ssh(1).

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{BINARY, Home, Run, Server, run, sshd, start, wait};

/// Where nix is; our binary's path is empty otherwise.
const WITH_NIX: (&str, &str) = ("PATH", "/usr/bin:/bin");
const IP: &str = "127.0.0.1";

/// A clan with three machines: `web` in a network by a public var, `db` by a secret one,
/// and `bare` in none, but with a configuration that says where it is.
fn clan(home: &Home, server: &Server) {
    println!("{}", run("nix", &["--version"], "nix-bin"));
    let port = server.port();
    let host = |machine: &str, file: &str| {
        format!(r#"{{ var = {{ machine = "{machine}"; generator = "net"; file = "{file}"; }}; }}"#)
    };
    let flake = format!(
        r#"{{
  outputs = _: {{
    clan.exports = {{
      "x/net:net::".networking = {{ priority = 2000; module = "clan_lib.network.direct"; }};
      "x/net:net:default:web".peer = {{ hosts = [ {web} ]; port = {port}; }};
      "x/net:net:default:db".peer = {{ hosts = [ {db} {gone} ]; port = {port}; }};
      "x/net:net:default:bad".peer = throw "vars are not generated";
    }};
    clanInternals = {{
      inventoryClass.inventorySerialization = {{
        meta.domain = "clan.test";
        tags.all = [ "web" "db" "bare" ];
        machines = {{
          web = {{ tags = [ "web" "all" ]; }};
          db = {{ }};
          bare.deploy = {{ }};
        }};
      }};
      machines.x86_64-linux = builtins.mapAttrs
        (_: targetHost: {{ config.clan.core.networking = {{ inherit targetHost; }}; }})
        {{ web = null; db = throw "no disk"; bare = "root@{IP}:{port}"; }};
    }};
  }};
}}
"#,
        web = host("web", "address"),
        db = host("db", "onion"),
        gone = host("db", "gone"),
    );
    home.write("clan/flake.nix", flake);
    home.write("clan/vars/per-machine/web/net/address/value", format!("{IP}\n"));
    // A secret beside it, whose text is anybody's guess.
    home.write("clan/secrets/clan-vars/per-machine/db/net/onion/onion.age", "hunter2");
    home.write("clan/vars/per-machine/web/net/password/value", "hunter3");
    let public = home.read(&format!("sshd-{port}/host_key.pub"));
    for machine in ["web", "bare"] {
        let name = format!("clan/vars/per-machine/{machine}/openssh/ssh.id_ed25519.pub/value");
        home.write(&name, &public);
    }
}

fn snapshot(home: &Home, args: &[&str]) -> Run {
    home.run_with_env(&[&["--flake", "clan", "exports", "snapshot"], args].concat(), &[WITH_NIX])
}

/// The program called as Clan's own.
fn as_clan(home: &Home, args: &[&str], path: &str) -> Run {
    let mut command = Command::new(BINARY);
    command.arg0("clan").args(args).current_dir(home.dir.path());
    command.env_clear().env("HOME", home.path("home")).env("PATH", path);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Run::of(wait(start(&mut command, "")))
}

#[test]
fn it_holds_everything_and_says_what_it_had_to_leave_out() {
    let home = Home::new();
    let key = home.default_key();
    let server = sshd(&home, IP, &key, "");
    clan(&home, &server);
    let done = snapshot(&home, &[]).exits(0);
    done.says(&[
        "clan-connect.json: 4 machines in 1 network, host keys of 2, targetHost in the \
         configuration of 1, 1 public var",
        "left out: exports entries that cannot be evaluated (1): x/net:net:default:bad",
        "left out: targetHost in configurations that cannot be evaluated (1): db",
        "left out: secret hosts (1): net/onion of db",
        "left out: hosts whose vars are not generated yet (1): net/gone of db",
    ]);
    let text = home.read("clan/clan-connect.json");
    assert!(!text.contains("hunter"), "{text}");
    let snapshot_json: Value = serde_json::from_str(&text).unwrap();
    let target = format!("root@{IP}:{}", server.port());
    assert_eq!(snapshot_json["configured"], json!({ "bare": target, "web": null }));
    assert_eq!(snapshot_json["vars"], json!({ "web": { "net/address": IP } }));
    assert_eq!(snapshot_json["machines"]["web"]["tags"], json!(["all", "web"]));
    assert_eq!(snapshot_json["machines"]["db"]["tags"], json!(["all"]));
    // Whatever was dialled before, and wherever the clan lies.
    let in_clan =
        |args: &[&str]| home.run_with_env(&[&["--flake", "clan"], args].concat(), &[WITH_NIX]);
    in_clan(&["ssh", "bare", "-c", "true"]).exits(0);
    in_clan(&["ssh", "web", "-c", "true"]).exits(0);
    snapshot(&home, &[]).exits(0);
    assert_eq!(home.read("clan/clan-connect.json"), text);
    fs::remove_file(home.path("clan/clan-connect.json")).unwrap();
    fs::remove_dir_all(home.path("home/.cache")).unwrap();
    run(
        "cp",
        &["-r", home.path("clan").to_str().unwrap(), home.path("copy").to_str().unwrap()],
        "coreutils",
    );
    home.run_with_env(&["--flake", "copy", "exports", "snapshot", "-o", "-"], &[WITH_NIX]).exits(0);
    let other =
        home.run_with_env(&["--flake", "copy", "exports", "snapshot", "-o", "-"], &[WITH_NIX]);
    assert_eq!(other.exits(0).text(), text);
    // One machine that even nix cannot catch costs its own address alone.
    let flake = home.read("clan/flake.nix").replace("throw \"no disk\"", "builtins.abort \"gone\"");
    home.write("clan/flake.nix", flake);
    snapshot(&home, &[]).exits(0).says(&["that cannot be evaluated (1): db"]);
    let again: Value = serde_json::from_str(&home.read("clan/clan-connect.json")).unwrap();
    assert_eq!(again["configured"], snapshot_json["configured"]);
    // What nix cannot evaluate at all is not replaced by what was known before.
    home.write("clan/flake.nix", "{ outputs = _: { clan.exports = throw \"broken\"; }; }");
    snapshot(&home, &[]).exits(1).says(&["broken"]);
}

#[test]
fn host_keys_that_are_not_there_any_more_are_said() {
    let home = Home::new();
    let key = home.default_key();
    clan(&home, &sshd(&home, IP, &key, ""));
    let said = snapshot(&home, &[]).exits(0).stderr;
    assert!(!said.contains("warning: host keys"), "{said}");
    // What is written over counts, whoever can write it, and not the clan's own.
    let other = |text: &str| {
        use std::os::unix::fs::PermissionsExt;
        home.write("other.json", text);
        fs::set_permissions(home.path("other.json"), fs::Permissions::from_mode(0o666)).unwrap();
        snapshot(&home, &["-o", "other.json"]).exits(0)
    };
    let text = home.read("clan/clan-connect.json");
    let mut changed: Value = serde_json::from_str(&text).unwrap();
    changed["machines"]["web"]["host_keys"] = json!(["ssh-ed25519 AAAA"]);
    let changed = changed.to_string();
    other(&changed).says(&["host keys of other.json differ in the new snapshot, for (1): web;"]);
    assert_eq!(home.read("other.json"), text);
    let said = other(&text).stderr;
    assert!(!said.contains("warning: host keys"), "{said}");
    fs::remove_dir_all(home.path("clan/vars/per-machine/web/openssh")).unwrap();
    let lost = "are not in the new snapshot, for (1): web; check that the clan's vars exist here";
    other(&changed).says(&["host keys of other.json are not", lost]);
    let said = snapshot(&home, &["-o", "other.json"]).exits(0).stderr;
    assert!(!said.contains("warning: host keys"), "{said}");
    // Where nothing is written over, the clan's own says what is missing.
    for args in [&["-o", "-"][..], &[]] {
        snapshot(&home, args).exits(0).says(&["clan/clan-connect.json are not", lost]);
    }
}

#[test]
fn what_is_named_is_written_as_it_is_and_nothing_takes_its_place() {
    use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown, symlink};
    let home = Home::new();
    home.write(
        "exports.json",
        r#"{"exports": {"net": {"peers": {"m": {"host": {"plain": "h"}}}}}}"#,
    );
    let write =
        |to: &str| home.run(&["--exports", "exports.json", "exports", "snapshot", "--output", to]);
    let text = write("-").exits(0).text();
    // /dev/stdout is such a link; here nothing is lost if it is replaced.
    symlink("/proc/self/fd/1", home.path("stdout")).unwrap();
    for name in ["stdout", "/dev/fd/1"] {
        assert_eq!(write(name).exits(0).text(), text);
    }
    assert!(home.path("stdout").is_symlink());
    // A pipe stays one, and its reader gets all.
    let fifo = home.path("fifo").display().to_string();
    run("mkfifo", &[&fifo], "coreutils");
    let reader = std::thread::spawn({
        let fifo = fifo.clone();
        move || fs::read_to_string(fifo).unwrap()
    });
    write("fifo").exits(0);
    assert_eq!(reader.join().unwrap(), text);
    assert!(fs::metadata(&fifo).unwrap().file_type().is_fifo());
    // A device as well: this is what /dev/null is.
    let null = home.path("null").display().to_string();
    run("mknod", &[&null, "c", "1", "3"], "coreutils");
    symlink(&null, home.path("to-null")).unwrap();
    for name in ["null", "to-null"] {
        write(name).exits(0);
    }
    assert!(fs::symlink_metadata(&null).unwrap().file_type().is_char_device());
    assert!(home.path("to-null").is_symlink());
    fs::create_dir(home.path("dir")).unwrap();
    write("dir").exits(1).says(&["cannot write dir", "not a regular file"]);
    // A file keeps its mode, and its owner if he has become root; a link stays one.
    let mode = |name: &str, mode: u32| {
        fs::set_permissions(home.path(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    let is = |name: &str| {
        let meta = fs::metadata(home.path(name)).unwrap();
        (meta.mode() & 0o777, meta.uid())
    };
    home.write("own.json", "old");
    mode("own.json", 0o600);
    chown(home.path("own.json"), Some(65534), None).unwrap();
    let args = ["--exports", "exports.json", "exports", "snapshot", "--output", "own.json"];
    home.run_with_env(&args, &[("SUDO_UID", "65534")]).exits(0);
    assert_eq!((home.read("own.json"), is("own.json")), (text.clone(), (0o600, 65534)));
    write("own.json").exits(0);
    assert_eq!((home.read("own.json"), is("own.json")), (text.clone(), (0o600, 0)));
    home.write("elsewhere/file.json", "old");
    mode("elsewhere/file.json", 0o640);
    symlink("elsewhere/file.json", home.path("link.json")).unwrap();
    write("link.json").exits(0);
    assert!(home.path("link.json").is_symlink());
    assert_eq!(home.read("elsewhere/file.json"), text);
    assert_eq!(is("elsewhere/file.json"), (0o640, 0));
    // One that somebody else could have made leads nowhere.
    home.write("elsewhere/file.json", "kept");
    fs::create_dir(home.path("open")).unwrap();
    symlink("../elsewhere/file.json", home.path("open/link.json")).unwrap();
    mode("open", 0o777);
    write("open/link.json").exits(2).says(&["can be written by everybody", "the link"]);
    assert_eq!(home.read("elsewhere/file.json"), "kept");
    // A new one is made to be shared, and nothing is left beside it.
    write("new.json").exits(0);
    assert_eq!(is("new.json").0, 0o644);
    assert_eq!(fs::read_dir(home.path("elsewhere")).unwrap().count(), 1);
}

#[test]
fn it_stands_alone_in_a_directory_and_as_a_file() {
    let home = Home::new();
    let key = home.default_key();
    let server = sshd(&home, IP, &key, "");
    clan(&home, &server);
    snapshot(&home, &["-o", "alone/clan-connect.json"]).exits(1).says(&["alone"]);
    fs::create_dir(home.path("alone")).unwrap();
    snapshot(&home, &["-o", "alone/clan-connect.json"]).exits(0);
    for dir in ["clan", "home/.cache"] {
        fs::remove_dir_all(home.path(dir)).unwrap();
    }
    let text = home.read("alone/clan-connect.json");
    let file = home.path("alone/clan-connect.json");
    // With nix, too: there is nothing that it could evaluate.
    for path in ["/nonexistent", "/usr/bin:/bin"] {
        for flake in ["alone", "alone/clan-connect.json"] {
            for (machine, network) in [("web", "net"), ("bare", "configuration")] {
                let args = ["-v", "--flake", flake, "ssh", machine, "-c", "true"];
                let done = home.run_with_env(&args, &[("PATH", path)]).exits(0);
                assert!(!done.stderr.contains("has changed"), "{}", done.stderr);
                done.says(&[&format!("over network {network}")]);
                // The clan vouches for the keys: none was asked for or stored.
                assert!(!home.path("home/.ssh/known_hosts").exists());
            }
            let done = home.run(&["--flake", flake, "ssh", "db", "-c", "true"]).exits(255);
            assert!(!done.stderr.contains("nix"), "{}", done.stderr);
        }
    }
    let mut standing = home.command(&["ssh", "web", "-c", "echo", "hi"]);
    let done = Run::of(wait(start(standing.current_dir(home.path("alone")), "util-linux")));
    assert_eq!(done.exits(0).text(), "hi\n");
    // As ssh(1), for which it has to be named.
    let named = [("CLAN_DIR", file.to_str().unwrap())];
    home.run_with_env(&["openssh", "root@web", "true"], &named).exits(0);
    home.run_with_env(&["network", "ping", "web"], &named).exits(0);
    home.run_with_env(&["network", "overview"], &named).exits(0).says(&[]);
    // It is converted to itself.
    let again = home.run(&["--exports", "alone/clan-connect.json", "exports", "snapshot"]);
    assert_eq!(again.exits(0).text(), text);
    let again = home.run(&["--flake", "alone", "exports", "snapshot"]).exits(0);
    again.says(&["the snapshot was made from itself", "--exports FILE"]);
    assert_eq!(home.read("alone/clan-connect.json"), text);
    // What others can write is not believed for having been named.
    let mode = |mode: &str| run("chmod", &[mode, file.to_str().unwrap()], "coreutils");
    mode("666");
    home.run_with_env(&["ssh", "web"], &named).exits(255).says(&["the snapshot", "is not used"]);
    home.run_with_env(&["openssh", "web"], &named).exits(255);
    mode("600");
}

#[test]
fn a_snapshot_that_is_named_as_exports_is_not_overruled_by_where_one_stands() {
    let home = Home::new();
    let public = home.default_key();
    let (good, evil) = (sshd(&home, IP, &public, ""), sshd(&home, "127.0.0.2", &public, ""));
    let key = |server: &Server| home.read(&format!("sshd-{}/host_key.pub", server.port()));
    let host = json!({ "var": { "machine": "m", "generator": "g", "file": "host" } });
    let snapshot = json!({ "clan_connect_snapshot": 1,
        "machines": { "m": { "host_keys": [key(&good).trim()] } },
        "vars": { "m": { "g/host": IP } },
        "exports": { "net": { "priority": 10, "module": "clan_lib.network.direct",
            "peers": { "m": { "host": host, "port": good.address.port() } } } } });
    let file = home.write("elsewhere/snap.json", snapshot.to_string()).display().to_string();
    // A clone in one's own hands, with what somebody else has written into it.
    home.write("hostile/.clan-flake", "");
    home.write("hostile/vars/per-machine/m/g/host/value", "127.0.0.2");
    home.write("hostile/vars/per-machine/m/openssh/ssh.id_ed25519.pub/value", key(&evil));
    let from = |args: &[&str]| {
        let mut command = home.command(args);
        command.current_dir(home.path("hostile")).env_remove("CLAN_DIR");
        Run::of(wait(start(&mut command, "openssh-server")))
    };
    let run = from(&["-v", "--exports", &file, "ssh", "m", "-c", "echo", "in"]).exits(0);
    assert_eq!(run.text(), "in\n");
    assert!(run.stderr.contains(&file) && !run.stderr.contains("127.0.0.2"), "{}", run.stderr);
    let known = from(&["--exports", &file, "network", "trust", "list", "m"]).exits(0).text();
    assert!(!known.contains("hostile"), "{known}");
    // A pipe can be read but once.
    let mut command = home.command(&["--exports", "-", "ssh", "m", "-c", "echo", "in"]);
    command.current_dir(home.path("hostile")).env_remove("CLAN_DIR");
    command.stdin(fs::File::open(&file).unwrap());
    assert_eq!(Run::of(wait(start(&mut command, "openssh-server"))).exits(0).text(), "in\n");
    // Whatever is wrong with the clan that one stands in.
    home.write("hostile/flake.nix", "throw \"nobody asks\"");
    std::os::unix::fs::chown(home.path("hostile"), Some(54321), Some(54321)).unwrap();
    assert_eq!(from(&["--exports", &file, "ssh", "m", "-c", "echo", "in"]).exits(0).text(), "in\n");
}

#[test]
fn exports_alone_become_one_where_there_is_no_clan() {
    let home = Home::new();
    let exports = r#"{"exports": {"net": {"priority": 5, "peers": {
        "m": {"host": {"plain": "127.0.0.1"}},
        "n": {"host": {"var": {"machine": "n", "generator": "g", "file": "f"}}}}}}}"#;
    home.write("exports.json", exports);
    let convert = ["--exports", "exports.json", "exports", "snapshot"];
    let done = home
        .run(&convert)
        .exits(0)
        .says(&["left out: hosts whose vars are not in the file (1): g/f of n"]);
    let snapshot: Value = serde_json::from_str(&done.text()).unwrap();
    assert_eq!(snapshot["exports"]["net"]["priority"], 5);
    assert_eq!(snapshot.get("fingerprint"), None);
    home.run(&[&convert[..], &["-o", "made.json"]].concat())
        .exits(0)
        .says(&["wrote made.json: 2 machines"]);
    assert_eq!(home.read("made.json"), done.text());
    let list = home.run(&["--flake", "made.json", "network", "list"]).exits(0);
    assert!(list.text().contains("net"), "{}", list.text());
    // From a pipe, too.
    let piped = home.run_with_input(&["--exports", "-", "exports", "snapshot"], exports.into());
    assert_eq!(piped.exits(0).text(), done.text());
    home.run(&["exports", "snapshot"]).exits(1);
}

#[test]
fn a_snapshot_of_the_same_files_has_the_same_bytes_wherever_it_lies_among_them() {
    let home = Home::new();
    println!("{}", run("nix", &["--version"], "nix-bin"));
    // Whoever writes a path of the clan itself has nix's copy of it, of which snapshots are part.
    let flake = "{ outputs = { self }: { clan.exports = {
      \"x/net:net::\".networking = { priority = 1; module = \"clan_lib.network.direct\"; };
      \"x/net:net:default:m\" = { peer.hosts = [ { plain = \"127.0.0.1\"; } ];
        of = [ \"${self}/flake.nix\" \"${self}\" ]; };
    }; }; }";
    for is_git in [false, true] {
        let dir = format!("clan-{is_git}");
        home.write(&format!("{dir}/flake.nix"), flake);
        let path = home.path(&dir).display().to_string();
        let add = || {
            if is_git {
                run("git", &["-C", &path, "init", "-q"], "git");
                run("git", &["-C", &path, "add", "--all"], "git");
            }
        };
        add();
        let in_clan = |args: &[&str], env: &[(&str, &str)]| {
            home.run_with_env(&[&["--flake", &dir], args].concat(), env).exits(0)
        };
        let make = |to: &str| {
            let to = format!("{dir}/{to}");
            in_clan(&["exports", "snapshot", "-o", &to], &[WITH_NIX]);
            add();
            home.read(&to)
        };
        let first = make("clan-connect.json");
        assert!(first.contains("\"/nix/store/eeeeeeee"), "{first}");
        for name in ["prod.json", "clan-connect.json", "prod.json", "in/another.json"] {
            fs::create_dir_all(home.path(&format!("{dir}/in"))).unwrap();
            assert_eq!(make(name), first, "{name} {is_git}");
        }
        // None of them has made the clan's own old, where there is neither cache nor nix.
        fs::remove_dir_all(home.path("home/.cache")).unwrap();
        let listed = in_clan(&["network", "list"], &[]);
        assert!(listed.stderr.is_empty(), "{}", listed.stderr);
        home.write(&format!("{dir}/scratch"), "x");
        let listed = in_clan(&["network", "list"], &[]);
        assert_eq!(listed.stderr.contains("has changed"), !is_git, "{}", listed.stderr);
    }
}

#[test]
fn a_flake_that_hides_its_exports_is_told_so_and_makes_no_empty_snapshot() {
    let home = Home::new();
    println!("{}", run("nix", &["--version"], "nix-bin"));
    let lacks = "the flake does not export clan.exports";
    let inventory = "clanInternals.inventoryClass.inventorySerialization.machines";
    home.write("clan/flake.nix", format!("{{ outputs = _: {{ {inventory} = {{ }}; }}; }}"));
    let done = snapshot(&home, &[]).exits(1);
    done.says(&[lacks, "clan = clan.config;", "no machine is named", "no snapshot is written"]);
    assert!(!home.path("clan/clan-connect.json").exists());
    let list = ["--flake", "clan", "network", "list"];
    // From nix, and from what was kept of it.
    for env in [&[WITH_NIX][..], &[]] {
        let done = home.run_with_env(&list, env).exits(0);
        assert_eq!(done.text(), "No networks found\n");
        done.says(&[lacks]);
    }
    as_clan(&home, &["network", "list", "--flake", "clan"], WITH_NIX.1).exits(0).says(&[lacks]);
    // What the inventory knows is worth a snapshot.
    let machines = format!("{inventory}.m = {{ }}");
    home.write("clan/flake.nix", format!("{{ outputs = _: {{ {machines}; }}; }}"));
    snapshot(&home, &[]).exits(0).says(&[lacks, "1 machine in 0 networks"]);
    let done = home.run_with_env(&["--flake", "clan", "ssh", "m"], &[]).exits(255);
    done.says(&["machine \"m\" has no address: the clan's flake does not export clan.exports"]);
    // A clan without networks hides nothing.
    home.write(
        "clan/flake.nix",
        format!("{{ outputs = _: {{ clan.exports = {{ }}; {machines}; }}; }}"),
    );
    let done = snapshot(&home, &[]).exits(0);
    assert!(!done.stderr.contains(lacks), "{}", done.stderr);
}

#[test]
fn the_vars_of_a_snapshot_alone_are_those_that_it_has() {
    let home = Home::new();
    let vars = json!({ "m": { "wg/prefix": "fd00::1", "net/address": IP } });
    let file = json!({ "clan_connect_snapshot": 1, "machines": { "m": {}, "n": {} }, "vars": vars,
        "exports": { "x/net:net::": { "networking": { "module": "clan_lib.network.direct" } },
            "x/net:net:default:m": { "peer": { "hosts": [
                { "var": { "machine": "m", "generator": "net", "file": "address" } } ] } } } });
    home.write("d.json", file.to_string());
    let flake = ["--flake", "d.json"];
    let run = |args: &[&str]| home.run(&[&flake[..], args].concat());
    assert_eq!(run(&["vars", "get", "m", "net/address"]).exits(0).text(), IP);
    assert_eq!(
        home.run(&["--exports", "d.json", "vars", "get", "m", "wg/prefix"]).text(),
        "fd00::1"
    );
    let rows = "net/address  127.0.0.1\nwg/prefix    fd00::1\n";
    assert_eq!(run(&["vars", "list", "m"]).exits(0).text(), rows);
    let lacking = "d.json: there is no var \"tor_tor/hostname\" of machine \"m\": a snapshot has \
                   only the public vars that connecting takes";
    run(&["vars", "get", "m", "tor_tor/hostname"]).exits(1).says(&[lacking]);
    run(&["vars", "get", "mm", "a/b"])
        .exits(1)
        .says(&["unknown machine \"mm\"", "did you mean \"m\""]);
    run(&["vars", "list", "o"]).exits(1).says(&["unknown machine \"o\""]);
    run(&["vars", "list", "n"]).exits(0).says(&["machine n has no vars"]);
    let as_clan = |args: &[&str]| as_clan(&home, &[args, &flake].concat(), "");
    assert_eq!(as_clan(&["vars", "get", "m", "net/address"]).exits(0).text(), IP);
    let listed = as_clan(&["vars", "list", "m"]).exits(0);
    assert_eq!(listed.text(), "net/address: 127.0.0.1\nwg/prefix: fd00::1\n");
    as_clan(&["vars", "get", "m", "a/b"]).exits(1).says(&["a snapshot has only"]);
    // Nobody has said --exports.
    let said = "d.json contains only what is below clan.exports; nix evaluates all else where the \
                clan's directory is named instead";
    for done in [as_clan(&["select", "nixosConfigurations.m"]), run(&["select", "x"])] {
        assert!(!done.stderr.contains("--exports"), "{}", done.stderr);
        done.says(&[said]);
    }
}
