//! What deploys to machines, by the machine's name in its clan and with our `ssh`: the very
//! commands of nixos-rebuild, colmena, Clan and nixos-anywhere, which no registry has, and
//! Ansible itself. The real deploy-rs is in `deploy_rs`.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileTypeExt;
use std::process::Stdio;

use crate::fleet::Fleet;
use crate::harness::{Run, returns, start, until, wait};

const MACHINE: &str = "root@web01";

/// nixos_rebuild/process.py, `SSH_DEFAULT_OPTS`.
fn nixos_rebuild_options(fleet: &Fleet) -> [String; 6] {
    let path = format!("ControlPath={}/ssh-%n", fleet.home.path("tmp").display());
    ["-o", "ControlMaster=auto", "-o", &path, "-o", "ControlPersist=60"].map(str::to_owned)
}

#[test]
fn nixos_rebuild_copies_sets_the_profile_and_switches_over_one_login() {
    let fleet = Fleet::new();
    let system = fleet.system("first");
    let options = nixos_rebuild_options(&fleet);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    // run_wrapper() with `remote`: `env -i` with the path of the machine, all words quoted.
    let apart = ["env", "-i", "PATH=${PATH-}"];
    let remote =
        |words: &[&str]| fleet.ssh(&[&options[..], &[MACHINE, "--"], &apart, words].concat());
    // models.py, `_get_hostname`.
    assert!(!remote(&["uname", "-n"]).exits(0).text().trim().is_empty());
    // nix.py: copy_closure, set_profile, switch_to_configuration.
    assert_eq!(fleet.have(&system), [false, true]);
    let mut copy = fleet.command(&["nix-copy-closure", "--to", MACHINE, &system]);
    Fleet::done(copy.env("NIX_SSHOPTS", options.join(" "))).exits(0);
    assert_eq!(fleet.have(&system), [true, true]);
    remote(&["test", "-f", &format!("{system}/nixos-version")]).exits(0);
    remote(&["test", "-f", "/nix/nothing"]).exits(1);
    let profile = "/nix/var/nix/profiles/system";
    let set = ["env", "-i", "PATH=${PATH-}", "NIX_CONF_DIR=${NIX_CONF_DIR-}"];
    let set = [&options[..], &[MACHINE, "--", "sudo"], &set, &["nix-env", "-p", profile, "--set"]];
    fleet.ssh(&[&set.concat()[..], &[&*system]].concat()).exits(0);
    assert_eq!(fleet.booted(), system);
    // `--ask-elevate-password`: the password is a line on standard input.
    let switch = format!("{system}/bin/switch-to-configuration");
    let words = [
        &options[..],
        &[MACHINE, "--", "sudo", "--prompt=", "--stdin", "env", "-i", "PATH=${PATH-}"],
        &[
            "LOCALE_ARCHIVE=${LOCALE_ARCHIVE-}",
            "NIXOS_INSTALL_BOOTLOADER=0",
            "systemd-run",
            "-E",
            "LOCALE_ARCHIVE",
            "-E",
        ],
        &["NIXOS_INSTALL_BOOTLOADER", "--collect", "--no-ask-password", "--pipe", "--quiet"],
        &["--service-type=exec", "--unit=nixos-rebuild-switch-to-configuration", &switch],
        &["switch"],
    ];
    let words: Vec<&str> = words.concat();
    let mut command = fleet.command(&[&["ssh"], &words[..]].concat());
    let mut child = start(command.stdin(Stdio::piped()), "util-linux");
    child.stdin.take().unwrap().write_all(b"pass word\n").unwrap();
    assert_eq!(Run::of(wait(child)).exits(0).text(), "switching to first\n");
    assert_eq!(fleet.activated(), "switch first bootloader=0\n");
    assert_eq!(fleet.home.read("machine/root/passwords"), "pass word\n");
    // `--build-host`: the derivation goes there, and is built there.
    let other = fleet.home.read("system.nix").replace("26.05", "26.11");
    fleet.home.write("other.nix", other);
    let instantiate = ["nix-instantiate", "other.nix", "--argstr", "name", "second"];
    let derivation = fleet.run(&instantiate).exits(0).text().trim().to_owned();
    let mut copy = fleet.command(&["nix-copy-closure", "--to", MACHINE, &derivation]);
    Fleet::done(copy.env("NIX_SSHOPTS", options.join(" "))).exits(0);
    let realise = [&options[..], &[MACHINE, "--", "nix-store", "--realise", &derivation]].concat();
    let built = fleet.ssh(&realise).exits(0).text().trim().to_owned();
    assert_eq!(fleet.have(&built), [true, false]);
    let mut copy = fleet.command(&["nix-copy-closure", "--from", MACHINE, &built]);
    Fleet::done(copy.env("NIX_SSHOPTS", options.join(" "))).exits(0);
    assert_eq!(fleet.have(&built), [true, true]);
    assert_eq!(fleet.logins(), 1);
    // cleanup_ssh(), by the names that the sockets have.
    let sockets = || -> Vec<std::path::PathBuf> {
        let all = std::fs::read_dir(fleet.home.path("tmp")).unwrap();
        let paths = all.map(|entry| entry.unwrap().path());
        paths.filter(|path| path.to_str().unwrap().contains("/ssh-")).collect()
    };
    let found = sockets();
    let [socket] = &found[..] else { panic!("{found:?}") };
    let path = format!("ControlPath={}", socket.display());
    fleet.ssh(&["-o", &path, "-O", "exit", "dummyhost"]).exits(0);
    until("the end of the master", || sockets().is_empty());
}

#[test]
fn colmena_copies_uploads_keys_and_activates() {
    let fleet = Fleet::new();
    let system = fleet.system("first");
    // host/ssh.rs, `ssh_options`; the same words are in NIX_SSHOPTS.
    let options = ["-o", "StrictHostKeyChecking=accept-new", "-o", "BatchMode=yes", "-T"];
    let ssh = |words: &[&str]| fleet.ssh(&[&[MACHINE], &options[..], &["--"], words].concat());
    for (words, from) in [
        (
            &["nix-copy-closure", "--to", "--use-substitutes", "--gzip", MACHINE, &system][..],
            "first",
        ),
        (
            &[
                "nix",
                "--extra-experimental-features",
                "nix-command",
                "copy",
                "--no-check-sigs",
                "--substitute-on-destination",
                "--builders-use-substitutes",
                "--to",
                "ssh-ng://root@web01?compress=true",
                &fleet.system("second"),
            ],
            "second",
        ),
    ] {
        let path = words.last().unwrap();
        assert!(path.ends_with(from) && fleet.have(path) == [false, true]);
        let mut copy = fleet.command(words);
        Fleet::done(copy.env("NIX_SSHOPTS", options.join(" "))).exits(0);
        assert_eq!(fleet.have(path), [true, true]);
    }
    let profile = "/nix/var/nix/profiles/system";
    ssh(&["nix-env", "--profile", profile, "--set", &system]).exits(0);
    assert_eq!(fleet.booted(), system);
    let switch = format!("{system}/bin/switch-to-configuration");
    assert_eq!(ssh(&[&switch, "switch"]).exits(0).text(), "switching to first\n");
    assert!(fleet.activated().starts_with("switch first "), "{}", fleet.activated());
    // get_main_system_profile: the words are joined, and quoted for a shell in a shell.
    let read = format!("\"readlink -e {profile} || readlink -e /run/current-system\"");
    assert_eq!(ssh(&["sh", "-c", &read]).exits(0).text().trim(), system);
    // A key: a script in quotes, and the key on standard input, to its last byte.
    let key = fleet.home.path("machine/root/key");
    let script = format!(
        "'set -eu\n\ndestination={}\ntmp=\"${{destination}}.tmp\"\n\
         mkdir -p $(dirname \"$destination\")\ntouch \"$tmp\"\nchmod 0600 \"$tmp\"\n\
         cat <&0 >$tmp\nmv \"$tmp\" \"$destination\"'",
        key.display()
    );
    let words = [&["ssh", MACHINE], &options[..], &["--", "sh", "-c", &script]].concat();
    returns(&mut fleet.command(&words), b"");
    let mut upload = fleet.command(&words);
    let mut child = start(upload.stdin(Stdio::piped()), "util-linux");
    let secret: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    child.stdin.take().unwrap().write_all(&secret).unwrap();
    Run::of(wait(child)).exits(0);
    assert_eq!(std::fs::read(&key).unwrap(), secret);
    let id = ssh(&["cat", "/proc/sys/kernel/random/boot_id"]).exits(0).text();
    assert_eq!(id, std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap());
    // Statuses are the command's own, and 255 where nothing was reached.
    ssh(&["exit", "7"]).exits(7);
}

/// clan_lib/ssh/remote.py, `_ssh_cmd_opts`, with Clan's `--host-key-check` in front.
fn clan_options<'a>(check: &[&'a str], path: &'a str) -> Vec<&'a str> {
    let shared = ["-o", "ControlMaster=auto", "-o", "ControlPersist=1m", "-o", path];
    [check, &shared].concat()
}

#[test]
fn clan_machines_update_uploads_builds_and_activates_as_root_and_as_another() {
    let fleet = Fleet::new();
    std::fs::create_dir(fleet.home.path("tmp/clan-ssh1")).unwrap();
    let path = format!("ControlPath={}", fleet.home.path("tmp/clan-ssh1/socket").display());
    let options = clan_options(&["-o", "StrictHostKeyChecking=accept-new"], &path);
    // `Remote.run`: one word for all words, in bash.
    let words = |sudo: &[&str], command: &str| -> Vec<String> {
        let run = ["--", "bash", "-c", "'exec \"$@\"'", "--", command];
        let all = [&["ssh", MACHINE], &options[..], &run[..1], sudo, &run[1..]].concat();
        all.into_iter().map(str::to_owned).collect()
    };
    let run = |sudo: &[&str], command: &str| {
        let words = words(sudo, command);
        fleet.run(&words.iter().map(String::as_str).collect::<Vec<_>>())
    };
    assert_eq!(
        run(&[], "printf '%s|' 'a  b' '$HOME' 'it'\"'\"'s'").exits(0).text(),
        "a  b|$HOME|it's|"
    );
    // clan_lib/ssh/upload.py: an archive on standard input.
    fleet.home.write("secrets/group/key", [0, 159, 146, 150]);
    let source = fleet.home.path("secrets");
    let archive = fleet.run(&["tar", "-C", source.to_str().unwrap(), "-cz", "."]).exits(0).stdout;
    let command = "bash -c 'install -d -m \"$1\" \"$0\" && find \"$0\" -mindepth 1 -delete && \
                   tar -C \"$0\" -xzf -' /root/vars/activation 700";
    let upload = words(&[], command);
    let mut upload = fleet.command(&upload.iter().map(String::as_str).collect::<Vec<_>>());
    let mut child = start(upload.stdin(Stdio::piped()), "util-linux");
    child.stdin.take().unwrap().write_all(&archive).unwrap();
    Run::of(wait(child)).exits(0);
    let uploaded = fleet.home.path("machine/root/vars/activation/group/key");
    assert_eq!(std::fs::read(uploaded).unwrap(), [0, 159, 146, 150]);
    // upload_sources and _copy_closure: by `ssh-ng`.
    let system = fleet.system("first");
    let quoted: Vec<String> = options.iter().map(|word| format!("'{word}'")).collect();
    let copy = ["nix", "copy", "--to", "ssh-ng://root@web01", "--no-check-sigs", &system];
    let mut copy = fleet.command(&copy);
    Fleet::done(copy.env("NIX_SSHOPTS", quoted.join(" "))).exits(0);
    assert_eq!(fleet.have(&system), [true, true]);
    run(&[], &format!("test -e {system}/nixos-version")).exits(0);
    run(&[], &format!("nix-env -p /nix/var/nix/profiles/system --set {system}")).exits(0);
    assert_eq!(fleet.booted(), system);
    let switch = |system: &str, action: &str| {
        format!(
            "systemd-run --pipe --wait --quiet --collect --no-ask-password --service-type=exec \
             --unit=clan-{action}-web01-0 -E LOCALE_ARCHIVE -E NIXOS_INSTALL_BOOTLOADER=0 -- \
             {system}/bin/switch-to-configuration {action}"
        )
    };
    assert_eq!(run(&[], &switch(&system, "boot")).exits(0).text(), "switching to first\n");
    let broken = fleet.system("broken");
    let mut copy = fleet.command(&["nix-copy-closure", "--to", MACHINE, &broken]);
    Fleet::done(copy.env("NIX_SSHOPTS", options.join(" "))).exits(0);
    run(&[], &switch(&broken, "switch")).exits(1);
    let first = "boot first bootloader=0\nswitch broken bootloader=0\n";
    assert_eq!(fleet.activated(), first);
    // As another user: sudo's password is asked for through a session beside, which answers
    // (`SudoAskpassProxy`).
    let proxy = format!("'{ASKPASS}'");
    let proxy = [&["ssh", MACHINE], &options[..], &["bash", "-c", &proxy]].concat();
    let mut proxy = fleet.command(&proxy);
    let mut asked = start(proxy.stdin(Stdio::piped()), "util-linux");
    let mut lines = BufReader::new(asked.stdout.take().unwrap()).lines();
    let script = lines.next().unwrap().unwrap();
    let script = script.strip_prefix("ASKPASS_SCRIPT: ").unwrap().to_owned();
    let answers = std::thread::spawn(move || {
        let prompt = lines.next().unwrap().unwrap();
        let mut input = asked.stdin.take().unwrap();
        input.write_all(b"of the user\n").unwrap();
        (prompt, asked, input)
    });
    let askpass = format!("SUDO_ASKPASS={script}");
    let sudo = [askpass.as_str(), "sudo", "-A", "--"];
    run(&sudo, &switch(&system, "switch")).exits(0);
    let (prompt, mut asked, input) = answers.join().unwrap();
    assert_eq!(prompt, "PASSWORD_REQUESTED: password please");
    let third = format!("{first}switch first bootloader=0\n");
    assert_eq!(fleet.activated(), third);
    assert_eq!(fleet.home.read("machine/root/passwords"), "of the user\n");
    asked.kill().unwrap();
    asked.wait().unwrap();
    drop(input);
    assert_eq!(fleet.logins(), 1);
    fleet.ssh(&["-o", &path, "-O", "exit", MACHINE]).exits(0);
}

/// clan_lib/ssh/sudo_askpass_proxy.sh, in short: a script that asks over pipes.
const ASKPASS: &str = r##"set -euo pipefail
tmpdir=$(mktemp -d)
mkfifo -m600 "$tmpdir/prompt" "$tmpdir/password"
cat >"$tmpdir/askpass.sh" <<EOF
#!/bin/sh
echo "\$1" > "$tmpdir/prompt"
head -n 1 "$tmpdir/password"
EOF
chmod +x "$tmpdir/askpass.sh"
echo "ASKPASS_SCRIPT: $tmpdir/askpass.sh"
while read -r PROMPT <"$tmpdir/prompt"; do
  echo "PASSWORD_REQUESTED: $PROMPT"
  read -r password
  echo "$password" >"$tmpdir/password"
done"##;

#[test]
fn nixos_anywhere_installs_a_machine_whose_key_is_not_the_clans_yet() {
    let fleet = Fleet::new();
    // The installer has a key of its own.
    fleet.home.keygen("of_the_clan", "ed25519", "");
    fleet.knows("of_the_clan.pub");
    let key = fleet.home.keygen("tmp/nixos-anywhere", "ed25519", "");
    let key = key.to_str().unwrap();
    let unchecked = ["-o", "UserKnownHostsFile=/dev/null", "-o", "StrictHostKeyChecking=no"];
    let options = [&["-o", "IdentitiesOnly=yes", "-i", key][..], &unchecked].concat();
    // Which user it is.
    let shown = fleet.ssh(&[&options[..], &["-G", MACHINE]].concat()).exits(0).text();
    assert!(shown.lines().any(|line| line == "user root"), "{shown}");
    // ssh-copy-id starts ssh by its name; its file is that of the machine's root.
    let own = ["-o", "IdentitiesOnly=no", "-o", "ConnectTimeout=10"];
    let copied = fleet.run(&[&["ssh-copy-id"], &own[..], &options, &[MACHINE]].concat()).exits(0);
    copied.says(&["HAS CHANGED"]);
    let authorized = fleet.home.read("machine/root/.ssh/authorized_keys");
    assert!(authorized.contains(fleet.home.read("tmp/nixos-anywhere.pub").trim()), "{authorized}");
    let keys = format!("sshd-{}/authorized_keys", fleet.server.port());
    fleet.home.write(&keys, authorized);
    // importFacts: options behind the host, a script on standard input.
    let facts = ["-o", "ConnectTimeout=10", "enableDebug=", "sh", "--"];
    let facts = [&["ssh", "-T"], &options[..], &[MACHINE], &facts].concat();
    let mut command = fleet.command(&facts);
    let mut child = start(command.stdin(Stdio::piped()), "util-linux");
    child.stdin.take().unwrap().write_all(b"echo isOs=$(uname) debug=$enableDebug\n").unwrap();
    assert_eq!(Run::of(wait(child)).exits(0).text(), "isOs=Linux debug=\n");
    fleet.ssh(&[&options[..], &[MACHINE, "--", "exit", "0"]].concat()).exits(0);
    // nixosInstall: into the store below /mnt, by `remote-store`.
    let system = fleet.system("first");
    let target = fleet.home.path("machine/root/mnt");
    let to = "ssh://root@web01?remote-store=local%3Froot=/root/mnt&compress=true";
    let mut copy = fleet.command(&["nix", "copy", "--no-check-sigs", "--to", to, &system]);
    Fleet::done(copy.env("NIX_SSHOPTS", options.join(" "))).exits(0);
    assert!(target.join(system.trim_start_matches('/')).exists());
    assert_eq!(fleet.have(&system), [false, true]);
    // Extra files: an archive.
    fleet.home.write("extra/etc/secret", "of the machine\n");
    let source = fleet.home.path("extra");
    let archive = fleet.run(&["tar", "-C", source.to_str().unwrap(), "-cpf-", "."]).exits(0).stdout;
    let unpack =
        [&["ssh", "-T"], &options[..], &[MACHINE, "tar -C /root/mnt -xf- --no-same-owner"]];
    let mut command = fleet.command(&unpack.concat());
    let mut child = start(command.stdin(Stdio::piped()), "util-linux");
    child.stdin.take().unwrap().write_all(&archive).unwrap();
    Run::of(wait(child)).exits(0);
    assert_eq!(fleet.home.read("machine/root/mnt/etc/secret"), "of the machine\n");

    // Nobody else goes on with a key that is not the clan's: not by half of these words, and
    // not where a configuration says so for all hosts.
    let wide = "Host *\n  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n";
    let id = fleet.home.path("home/.ssh/id_ed25519");
    fleet.home.write("home/.ssh/config", format!("{wide}  IdentityFile {}\n", id.display()));
    for options in [&unchecked[..2], &unchecked[2..], &[]] {
        let done = fleet.ssh(&[options, &["-i", key, MACHINE, "true"]].concat()).exits(255);
        done.says(&["with -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"]);
    }
    // Nor is a connection that was made so shared with those who check.
    let path = format!("ControlPath={}", fleet.home.path("tmp/socket").display());
    let shared = ["-i", key, "-o", "ControlMaster=auto", "-o", "ControlPersist=20", "-o", &path];
    let before = fleet.logins();
    for _ in 0..2 {
        let words = [&unchecked[..], &shared, &[MACHINE, "echo", "in"]].concat();
        assert_eq!(fleet.ssh(&words).exits(0).text(), "in\n");
    }
    assert_eq!(fleet.logins(), before + 1);
    fleet.ssh(&[&shared[..], &[MACHINE, "true"]].concat()).exits(255).says(&["HAS CHANGED"]);
    fleet.ssh(&[&unchecked[..], &shared, &["-O", "exit", MACHINE]].concat()).exits(0);
}

#[test]
fn ansible_goes_to_a_machine_by_its_name_in_the_clan_and_shares_one_login() {
    let fleet = Fleet::new();
    let path = |name: &str| fleet.home.path(name).to_str().unwrap().to_owned();
    fleet.home.write("inventory", "[web]\nweb01 ansible_user=root\n");
    fleet.home.write("template.j2", "this is {{ inventory_hostname }}\n");
    fleet.home.write("play.yml", PLAY);
    let control = path("tmp");
    // By its own way files go by sftp, which starts the system's ssh by its full name.
    let config = format!(
        "[defaults]\nlocal_tmp = {control}\n[ssh_connection]\ntransfer_method = piped\n\
         control_path_dir = {control}\n"
    );
    fleet.home.write("ansible.cfg", config);
    let play = ["ansible-playbook", "-i", "inventory", "play.yml"];
    let done = fleet.run(&play).exits(0);
    assert!(done.text().contains("ok=5 ") && done.text().contains("changed=4 "), "{}", done.text());
    assert_eq!(fleet.home.read("machine/root/made"), "this is web01\n");
    assert_eq!(fleet.home.read("machine/root/copied"), "content");
    assert_eq!(fleet.home.read("fetched"), "content");
    assert_eq!(fleet.logins(), 1);
    for entry in std::fs::read_dir(fleet.home.path("tmp")).unwrap() {
        let path = entry.unwrap().path();
        if path.metadata().unwrap().file_type().is_socket() {
            let path = format!("ControlPath={}", path.display());
            fleet.ssh(&["-o", &path, "-O", "exit", "any"]).exits(0);
        }
    }
}

/// What a playbook does by ssh.
const PLAY: &str = "- hosts: web
  gather_facts: false
  vars: { ansible_python_interpreter: /usr/bin/python3 }
  tasks:
    - command: printenv MACHINE
      register: machine
      failed_when: machine.stdout != 'web01'
    - template: { src: template.j2, dest: /root/made }
    - copy: { content: content, dest: /root/copied }
    - fetch: { src: /root/copied, dest: fetched, flat: true }
    - shell: cat
      args: { stdin: given }
      changed_when: false
";
