//! Whose files a clan is made of: every file that is read or evaluated, every
//! directory above, access control lists, and sudo(8)'s user with his groups. Needs
//! root, to make files that belong to somebody else.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use crate::harness::{Home, Run, run, sshd, start, wait};

const IP: &str = "127.0.0.1";
/// `nobody` of Debian.
const NOBODY: u32 = 65534;
const EVIL: &str = r#"{ evilnet = { priority = 1; module = "clan_lib.network.direct";
    peers.m = { host.plain = "127.0.0.66"; }; }; }"#;
/// The same in a clan that needs no nix.
const SNAPSHOT: &str = r#"{"clan_connect_snapshot": 1, "machines": {}, "exports": {"evilnet":
    {"priority": 1, "module": "clan_lib.network.direct",
     "peers": {"m": {"host": {"plain": "127.0.0.66"}}}}}}"#;

fn run_in(home: &Home, dir: &str, args: &[&str]) -> Run {
    with(home, dir, args, &[])
}

fn with(home: &Home, dir: &str, args: &[&str], env: &[(&str, &str)]) -> Run {
    let mut command = home.command(args);
    command.current_dir(home.path(dir)).env("PATH", "/usr/bin:/bin");
    command.envs(env.iter().copied());
    Run::of(wait(start(&mut command, "util-linux")))
}

fn own(path: &Path, uid: u32) {
    std::os::unix::fs::chown(path, Some(uid), Some(uid)).unwrap();
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn no_file_of_a_clan_may_be_somebody_elses() {
    let home = Home::new();
    mode(home.dir.path(), 0o755);
    for (at, (file, foreign, uid, bits)) in [
        ("machines/m/x.nix", "machines/m", NOBODY, 0o755),
        ("modules/x.nix", "modules/x.nix", NOBODY, 0o644),
        ("x.nix", "x.nix", 0, 0o666),
        ("inventory/x.nix", "inventory", 0, 0o1777),
        ("deep/down/in/it/x.nix", "deep/down", 0, 0o777),
    ]
    .into_iter()
    .enumerate()
    {
        let clan = format!("clan{at}");
        let flake = format!("{{ outputs = _: {{ clan.exports = import ./{file}; }}; }}");
        home.write(&format!("{clan}/flake.nix"), flake);
        home.write(&format!("{clan}/{file}"), EVIL);
        let list = || run_in(&home, ".", &["--flake", &clan, "network", "list"]);
        assert!(list().exits(0).text().contains("evilnet"));
        let path = home.path(&format!("{clan}/{foreign}"));
        own(&path, uid);
        mode(&path, bits);
        let done = list().exits(1);
        done.says(&[foreign, "trust-clan", if uid == 0 { "by everybody" } else { "to nobody" }]);
        // What was looked at and allowed is used.
        run_in(&home, ".", &["trust-clan", &clan]).exits(0).says(&[foreign]);
        list().exits(0);
    }
}

#[test]
fn no_key_is_taken_from_a_var_that_somebody_else_can_write() {
    let home = Home::new();
    mode(home.dir.path(), 0o755);
    let own_key = home.default_key();
    let server = sshd(&home, IP, &own_key, "");
    let key = home.read(&format!("sshd-{}/host_key.pub", server.port()));
    home.write("clan/.clan-flake", "");
    let var = "clan/vars/per-machine/m/openssh/ssh.id_ed25519.pub/value";
    home.write(var, key);
    let target = format!("{IP}:{}", server.port());
    let args = ["--flake", "clan", "ssh", "m", "--target-host", &target, "-c", "true"];
    for foreign in [var, "clan/vars/per-machine/m", "clan/vars/per-machine"] {
        own(&home.path(foreign), NOBODY);
        run_in(&home, ".", &args).exits(255).says(&[foreign, "belongs to nobody"]);
        own(&home.path(foreign), 0);
    }
    assert_eq!(server.log().matches("Accepted").count(), 0);
    run_in(&home, ".", &args).exits(0);
}

#[test]
fn a_clan_of_sixty_thousand_files_is_looked_at_in_a_moment() {
    let home = Home::new();
    mode(home.dir.path(), 0o755);
    home.write("clan/.clan-flake", "");
    home.write("clan/clan-connect.json", SNAPSHOT);
    for dir in 0..600 {
        let dir = home.path(&format!("clan/modules/{dir}"));
        fs::create_dir_all(&dir).unwrap();
        (0..100).for_each(|file| fs::write(dir.join(format!("{file}.nix")), "").unwrap());
    }
    // Nothing is evaluated where the first look already says no.
    mode(&home.path("clan/modules/599/99.nix"), 0o666);
    let began = std::time::Instant::now();
    run_in(&home, ".", &["--flake", "clan", "network", "list"]).exits(1).says(&["599/99.nix"]);
    let took = began.elapsed();
    println!("60,000 files: {took:?}");
    // Less than a second, but for a computer that does something else as well.
    assert!(took.as_secs() < 10, "{took:?}");
}

#[test]
fn a_directory_above_in_which_somebody_else_can_swap_the_clan_is_no_place_for_one() {
    let home = Home::new();
    mode(home.dir.path(), 0o755);
    home.write("srv/clan/.clan-flake", "");
    home.write("srv/clan/clan-connect.json", SNAPSHOT);
    let list = || run_in(&home, ".", &["--flake", "srv/clan", "network", "list"]);
    list().exits(0);
    let srv = home.path("srv");
    for (uid, bits, refused) in [
        (NOBODY, 0o755, true),
        // Its owner can rename whatever is in it.
        (NOBODY, 0o1777, true),
        (0, 0o777, true),
        (0, 0o1777, false),
        (0, 0o755, false),
    ] {
        own(&srv, uid);
        mode(&srv, bits);
        let done = list();
        match refused {
            true => done.exits(1).says(&["srv ", "what is in it can be replaced", "trust-clan"]),
            false => done.exits(0).says(&[]),
        };
    }
}

/// Sets a list that lets one more user or group do something.
fn acl(path: &Path, tag: u16, id: u32, rights: u16, mask: u16) {
    let none = u32::MAX;
    let entries =
        [(1, 7, none), (4, 5, none), (tag, rights, id), (0x10, mask, none), (0x20, 5, none)];
    let mut sorted = entries;
    sorted.sort_by_key(|entry| entry.0);
    let mut hex = "0x02000000".to_owned();
    for (tag, rights, id) in sorted {
        let bytes = [&u16::to_le_bytes(tag)[..], &u16::to_le_bytes(rights), &u32::to_le_bytes(id)];
        bytes.concat().iter().for_each(|byte| hex.push_str(&format!("{byte:02x}")));
    }
    let script = "import os,sys;os.setxattr(sys.argv[1],'system.posix_acl_access',bytes.fromhex(sys.argv[2][2:]))";
    run("python3", &["-c", script, path.to_str().unwrap(), &hex], "python3");
}

#[test]
fn an_access_control_list_can_make_a_clan_somebody_elses() {
    let home = Home::new();
    mode(home.dir.path(), 0o755);
    home.write("clan/.clan-flake", "");
    let snapshot = home.write("clan/clan-connect.json", SNAPSHOT);
    let list = || run_in(&home, ".", &["--flake", "clan", "network", "list"]);
    list().exits(0);
    let clan = home.path("clan");
    for (path, tag, id, rights, mask, words) in [
        (&clan, 2, NOBODY, 7, 7, Some("can be written by nobody (uid 65534)")),
        (&clan, 2, NOBODY, 7, 5, None),
        (&clan, 2, NOBODY, 5, 7, None),
        (&clan, 2, 0, 7, 7, None),
        (&clan, 8, 100, 6, 7, Some("can be written by group users")),
        (&snapshot, 2, NOBODY, 6, 6, Some("can be written by nobody")),
    ] {
        acl(path, tag, id, rights, mask);
        let done = list();
        match words {
            Some(words) => done.exits(1).says(&[words, path.to_str().unwrap()]),
            None => done.exits(0).says(&[]),
        };
        mode(path, fs::metadata(path).unwrap().mode() & 0o755);
        acl(path, 2, 0, 5, 5);
    }
    list().exits(0);
}

#[test]
fn with_sudo_the_group_is_the_one_that_sudo_says() {
    let home = Home::new();
    mode(home.dir.path(), 0o755);
    home.write("clan/.clan-flake", "");
    home.write("clan/clan-connect.json", SNAPSHOT);
    for file in ["clan", "clan/.clan-flake", "clan/clan-connect.json"] {
        own(&home.path(file), 12345);
        mode(&home.path(file), 0o775);
    }
    let list = |gid: &str| {
        let env = [("SUDO_UID", "12345"), ("SUDO_GID", gid), ("SUDO_USER", "u")];
        with(&home, ".", &["--flake", "clan", "network", "list"], &env)
    };
    list("12345").exits(0);
    list("100").exits(1).says(&["can be written by gid 12345"]);
    list("").exits(1).says(&["can be written by gid 12345"]);
    mode(&home.path("clan"), 0o755);
    list("100").exits(1).says(&[".clan-flake can be written by gid 12345"]);
}

#[test]
fn what_needs_no_clan_is_not_switched_off_by_a_strangers() {
    let home = Home::new();
    mode(home.dir.path(), 0o755);
    let key = home.default_key();
    let server = sshd(&home, IP, &key, "");
    let port = server.port();
    home.write("sh/me/x", "");
    let flake = home.write("sh/flake.nix", "");
    own(&flake, NOBODY);
    mode(&home.path("sh"), 0o1777);
    let exports = format!(
        r#"{{"n": {{"priority": 1, "module": "clan_lib.network.direct",
            "peers": {{"m": {{"host": {{"plain": "{IP}"}}, "port": {port}}}}}}}}}"#
    );
    home.write("sh/me/e.json", exports);
    let target = format!("{IP}:{port}");
    let all = [
        &["--exports", "e.json", "ssh", "m", "-c", "true"][..],
        &["ssh", "m", "--target-host", &target, "-c", "true"],
        &["--exports", "e.json", "network", "ping", "m"],
    ];
    for args in all {
        let done = run_in(&home, "sh/me", args).exits(0);
        assert!(!done.stderr.contains("is not used"), "{}", done.stderr);
        run_in(&home, "sh/me", &[&["-v"], args].concat()).exits(0).says(&["is not used: "]);
    }
    // What was named is, and one's own clan may know the machine's key.
    let named = [&["--flake", ".."], all[1]].concat();
    run_in(&home, "sh/me", &named).exits(255).says(&["is not used: "]);
    own(&flake, 0);
    for args in all {
        let done = run_in(&home, "sh/me", args);
        assert_ne!(done.code, Some(0), "{args:?}");
        done.says(&["can be written by everybody"]);
    }
}

#[test]
fn what_cannot_be_listed_is_not_taken_for_the_users_own() {
    let home = Home::new();
    mode(home.dir.path(), 0o755);
    home.write("clan/.clan-flake", "");
    home.write("clan/clan-connect.json", SNAPSHOT);
    let value = home.write("clan/vars/per-machine/m/g/f/value", "x");
    own(&home.path("home"), NOBODY);
    let through = ["/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let list = || {
        let args = ["--flake", "clan", "network", "list"];
        let mut command = home.command_with(&through, &args);
        Run::of(wait(start(&mut command, "util-linux")))
    };
    list().exits(0);
    mode(&value, 0o666);
    list().exits(1).says(&["value can be written by everybody"]);
    for (dir, uid, bits) in [
        ("clan", 0, 0o711),
        ("clan/vars", 0, 0o711),
        ("clan/vars/per-machine/m/g", 0, 0o711),
        ("clan/vars/per-machine", NOBODY, 0o311),
        // Names alone do not say whose they are.
        ("clan/vars/per-machine/m", 0, 0o744),
    ] {
        let dir = home.path(dir);
        own(&dir, uid);
        mode(&dir, bits);
        let words = [dir.to_str().unwrap(), "cannot be looked into", "trust-clan"];
        list().exits(1).says(&words);
        own(&dir, 0);
        mode(&dir, 0o755);
    }
    mode(&value, 0o644);
    list().exits(0);
}

#[test]
fn a_link_counts_with_every_directory_that_it_leads_through() {
    let home = Home::new();
    mode(home.dir.path(), 0o755);
    home.write("clan/.clan-flake", "");
    home.write("mine/snapshot", SNAPSHOT);
    fs::create_dir(home.path("between")).unwrap();
    std::os::unix::fs::symlink("../mine/snapshot", home.path("between/link")).unwrap();
    let list = || run_in(&home, ".", &["--flake", "clan", "network", "list"]);
    for (to, dirs) in [("mine/snapshot", &["mine"][..]), ("between/link", &["between", "mine"])] {
        let link = home.path("clan/clan-connect.json");
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(home.path(to), link).unwrap();
        assert!(list().exits(0).text().contains("evilnet"));
        for dir in dirs {
            let (words, dir) = (format!("{dir} "), home.path(dir));
            own(&dir, NOBODY);
            list().exits(1).says(&[&words, "belongs to nobody", "can be replaced"]);
            own(&dir, 0);
            mode(&dir, 0o777);
            list().exits(1).says(&[&words, "can be written by everybody", "can be replaced"]);
            mode(&dir, 0o755);
        }
    }
    // A link that somebody else has made, where everybody can make one.
    mode(&home.path("between"), 0o1777);
    list().exits(0);
    std::os::unix::fs::lchown(home.path("between/link"), Some(NOBODY), None).unwrap();
    list().exits(1).says(&["between/link belongs to nobody"]);
}

#[test]
fn the_group_of_root_is_roots_alone_only_while_nobody_else_is_in_it() {
    let home = Home::new();
    mode(home.dir.path(), 0o755);
    home.write("clan/.clan-flake", "");
    let snapshot = home.write("clan/clan-connect.json", SNAPSHOT);
    own(&home.path("home"), NOBODY);
    let groups = home.write("groups", "root:x:0:\nusers:x:100:\n");
    let members = home.write("members", "root:x:0:daemon\nusers:x:100:\n");
    let list = |groups: &Path, uid: &str| {
        let script =
            "mount --bind \"$1\" /etc/group && shift && exec setpriv --clear-groups \"$@\"";
        let (uid, gid) = (format!("--reuid={uid}"), format!("--regid={uid}"));
        let groups = groups.to_str().unwrap();
        let through = ["unshare", "-m", "sh", "-c", script, "sh", groups, &uid, &gid];
        let mut command = home.command_with(&through, &["--flake", "clan", "network", "list"]);
        Run::of(wait(start(command.env("PATH", "/usr/bin:/bin"), "util-linux")))
    };
    for (bits, groups, is_used) in
        [(0o664, &groups, true), (0o664, &members, false), (0o644, &members, true)]
    {
        mode(&snapshot, bits);
        for uid in ["0", "65534"] {
            let done = list(groups, uid).exits(if is_used { 0 } else { 1 });
            done.says(if is_used { &[] } else { &["can be written by group root"] });
        }
    }
}
