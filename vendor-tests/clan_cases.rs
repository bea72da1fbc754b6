//! Cases of Clan's own Python tests (`pkgs/clan-cli` of clan-core), put to our binary under
//! the name `clan`: those of the commands that are done here, as far as they need no nix.
//! Each test names the file and the functions that it answers; docs/testing.md has the rest.

mod select;
mod vars;

use std::fs;

use serde_json::{Value, json};

use crate::clan_command::{clan, home};
use crate::harness::{Account, Home, Run, run, sshd, until};

const IP: &str = "127.0.0.1";
/// No program is there to be started.
const NOWHERE: &str = "/nonexistent";

/// A clan known by its snapshot, in the directory `clan`.
fn known(home: &Home, machines: &Value, exports: &Value) {
    let snapshot = json!({ "clan_connect_snapshot": 1, "machines": machines, "exports": exports });
    home.write("clan/clan-connect.json", snapshot.to_string());
}

/// `clan ARGS… --flake clan`; the flake comes first, since a command takes all that follows.
fn in_clan(home: &Home, args: &[&str]) -> Run {
    let [command, rest @ ..] = args else { panic!("no command") };
    let (word, rest) = match (*command, rest) {
        ("network" | "vars" | "machines", [word, rest @ ..]) => (Some(*word), rest),
        _ => (None, rest),
    };
    let before: Vec<&str> = [Some(*command), word].into_iter().flatten().collect();
    clan(home, NOWHERE, &[&before[..], &["--flake", "clan"], rest].concat(), &[])
}

/// `clan_cli/ssh/test_deploy_info.py`, `test_ssh_shell_from_deploy`; of
/// `clan_lib/ssh/remote_test.py` what is said on the machine: `test_run`, `test_run_no_shell`,
/// `test_run_function`, `test_run_environment` and the exit status of `test_run_exception`.
#[test]
fn a_machine_is_reached_at_its_target_host_and_runs_a_command() {
    let home = home();
    let account = Account::new("ccdeploy");
    let server = sshd(&home, IP, &home.default_key(), "");
    let target = format!("ssh://{}@{}", account.name, server.target());
    known(&home, &json!({ "m1_machine": { "target_host": target } }), &json!({}));
    let success = account.home.join("success.txt");
    let key = home.path("home/.ssh/id_ed25519");
    fs::rename(&key, home.path("key")).unwrap();
    let key = home.path("key");
    let args = [
        "ssh",
        "m1_machine",
        "--host-key-check=none",
        "--ssh-option",
        "IdentityFile",
        key.to_str().unwrap(),
        "--remote-command",
        "touch",
        success.to_str().unwrap(),
        "&&",
        "exit 0",
    ];
    in_clan(&home, &args).exits(0);
    assert!(success.exists());
    // The words are no line of a shell, to Clan neither: touch(1) has made them all.
    assert!(account.home.join("&&").exists() && account.home.join("exit 0").exists());
    // Checked against nothing, and so nothing is noted.
    assert_eq!(home.read("home/.ssh/known_hosts"), "");

    let said = |words: &[&str]| in_clan(&home, &[&args[..7], words].concat());
    assert_eq!(said(&["echo", "hello"]).exits(0).text(), "hello\n");
    assert_eq!(said(&["env", "env_var=true", "printenv", "env_var"]).exits(0).text(), "true\n");
    said(&["sh", "-c", "exit 1"]).exits(1);
}

/// `clan_cli/ssh/test_deploy_info.py`, `test_qrcode_scan` and `test_from_json`, as a login: the
/// address, root where nobody is named, and the password are those of the installer. Its
/// onion address is read in src/installer.rs.
#[test]
fn an_installer_is_reached_by_its_json_and_by_its_picture() {
    let home = home();
    let account = Account::new("ccscan");
    let server = sshd(&home, IP, "", "PasswordAuthentication yes");
    let at = format!("ssh://{}@{}", account.name, server.target());
    let data = json!({ "pass": account.password, "addrs": [at] }).to_string();
    let file = home.write("installer.json", &data);
    let code = home.path("qrcode.png");
    let text = code.to_str().unwrap();
    run("qrencode", &["-r", file.to_str().unwrap(), "-o", text], "qrencode");
    for source in
        [["--json", &data], ["-j", "installer.json"], ["--png", "qrcode.png"], ["-P", text]]
    {
        let args = [&["ssh"], &source[..], &["-c", "id", "-un"]].concat();
        let done = clan(&home, NOWHERE, &args, &[]).exits(0);
        assert_eq!(done.text(), format!("{}\n", account.name), "{source:?}");
        assert!(!done.stderr.contains(&account.password), "{}", done.stderr);
    }
    // As in Clan's own data, an address is a host and no more.
    let bare = json!({ "pass": "scabbed-defender-headlock", "addrs": ["127.93.0.1:1"] });
    let done = clan(&home, NOWHERE, &["ssh", "--debug", "-j", &bare.to_string()], &[]).exits(1);
    done.says(&["127.93.0.1", "connection refused"]);
    let users = json!({ "addrs": [server.target()] }).to_string();
    clan(&home, NOWHERE, &["ssh", "-j", &users, "-c", "true"], &[]).exits(1);
    assert!(server.log().contains("authenticating user root"), "{}", server.log());
}

/// `clan_lib/ssh/remote_test.py`, `test_parse_deployment_address` and `test_parse_ssh_options`,
/// where an address is the `targetHost` of a machine. Both are read in
/// src/model/target_host/tests.rs as Clan does; but options that stand in the clan are left
/// out with a warning, since whoever writes it would have our ssh read any file.
#[test]
fn addresses_that_clan_refuses_are_refused_and_others_dialled() {
    let home = home();
    let ssh = |target: &str| {
        known(&home, &json!({ "m": { "target_host": target } }), &json!({}));
        in_clan(&home, &["ssh", "m", "--debug", "-c", "true"]).exits(1)
    };
    for target in ["foo@bar@wat", "foo@:2222", "user@fe80::1%eth0"] {
        ssh(target).says(&["machine \"m\" has no address: targetHost of \"m\""]);
    }
    for (target, host) in [
        ("user@127.0.0.1:1", "127.0.0.1"),
        ("[::1]:1", "::1"),
        ("127.0.0.1:1?", "127.0.0.1"),
        ("ssh://root@127.0.0.1:1", "127.0.0.1"),
    ] {
        ssh(target).says(&[&format!("inventory via {host} port 1: connection refused")]);
    }
    let done =
        ssh("root@127.0.0.1:1?IdentityFile=/path/to/private/key&StrictRemoteKeyChecking=yes");
    done.says(&["option IdentityFile is ignored", "option StrictRemoteKeyChecking is ignored"]);
}

/// `clan_lib/network/network_test.py`, `TestPeerPortUser`, as logins.
#[test]
fn a_peers_port_and_user_are_22_and_root_unless_it_says() {
    let home = home();
    let account = Account::new("ccpeer");
    let server = sshd(&home, IP, &home.default_key(), "");
    let port = server.address.port();
    let machine =
        |name: &str| json!({ "machine": name, "generator": "wireguard", "file": "address" });
    let exports = json!({
        "clan-core/wireguard:net::": {
            "peer": null,
            "networking": { "priority": 500, "module": "clan_lib.network.direct", "key": "some_key" },
        },
        "clan-core/wireguard:net:default:custom": { "networking": null, "peer": {
            "name": "custom", "sshoptions": [], "hosts": [{ "var": machine("custom") }],
            "port": port, "user": account.name,
        }},
        "clan-core/wireguard:net:default:rooted": { "networking": null, "peer": {
            "name": "rooted", "sshoptions": [], "hosts": [{ "plain": IP }], "port": port,
        }},
        "clan-core/wireguard:net:default:bare": { "networking": null, "peer": {
            "name": "bare", "sshoptions": [], "hosts": [{ "plain": "127.93.0.2" }],
        }},
    });
    known(&home, &json!({}), &exports);
    home.write("clan/vars/per-machine/custom/wireguard/address/value", format!("{IP}\n"));
    let ssh = |machine: &str| in_clan(&home, &["ssh", machine, "-c", "id", "-un"]);
    assert_eq!(ssh("custom").exits(0).text(), format!("{}\n", account.name));
    assert_eq!(ssh("rooted").exits(0).text(), "root\n");
    // Port 22 of that address is ours, unless this computer has an sshd on all of them.
    if let Ok(listener) = std::net::TcpListener::bind("127.93.0.2:22") {
        let accepted = std::thread::spawn(move || drop(listener.accept().unwrap()));
        ssh("bare").exits(1).says(&["net via 127.93.0.2: "]);
        until("the connection to port 22", || accepted.is_finished());
        accepted.join().unwrap();
    }
}

/// `clan_lib/network/network_test.py`, `test_networks_from_flake`, with its document.
#[test]
fn the_networks_of_clans_own_document_are_listed() {
    let Some(data) = crate::test_data::clan() else { return };
    let home = home();
    let text = fs::read_to_string(data.join("exports/python-test-current.json")).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    known(&home, &json!({}), &document["exports"]);
    assert_eq!(
        in_clan(&home, &["network", "list"]).exits(0).text(),
        "\
Network        Priority  Module      Running   Peers
----------------------------------------------------
vpn-network    1000      tor         No        machine1, machine2
local-network  500       direct      No        machine1, machine3
"
    );
    // What the others export is no network, and their machine no peer.
    in_clan(&home, &["network", "ping", "machine"]).exits(1).says(&["not found in any network"]);
}

/// `networks_from_flake` without any: what `clan_cli/network/*.py` print then, in each its
/// own words.
#[test]
fn a_clan_without_networks_says_so() {
    let home = home();
    known(&home, &json!({}), &json!({}));
    let said = |word: &str| in_clan(&home, &["network", word]).exits(0).text();
    assert_eq!(said("list"), "No networks found\n");
    assert_eq!(said("overview"), "No networks found.\n");
    let done = in_clan(&home, &["network", "ping", "m"]).exits(0);
    assert_eq!(done.text(), "No networks found\n");
}

/// The machines that `clan machines list` prints for these tags, one a line.
fn listed(home: &Home, tags: &[&str]) -> String {
    let tags = [if tags.is_empty() { &[][..] } else { &["--tags"] }, tags].concat();
    in_clan(home, &[&["machines", "list"], &tags[..]].concat()).exits(0).text()
}

/// `clan_cli/machines/list_test.py`, `list_with_tags_single_tag` and
/// `list_with_tags_multiple_tags_intersection`.
#[test]
fn machines_are_listed_that_have_all_of_the_tags() {
    let home = home();
    let machines = json!({
        "web-server": { "tags": ["web", "production"] },
        "db-server": { "tags": ["database", "production"] },
        "dev-machine": { "tags": ["development"] },
        "backup-server": { "tags": ["backup", "production"] },
    });
    known(&home, &machines, &json!({}));
    assert_eq!(listed(&home, &["production"]), "backup-server\ndb-server\nweb-server\n");
    assert_eq!(listed(&home, &["web", "production"]), "web-server\n");
    assert_eq!(listed(&home, &["production", "web"]), "web-server\n");
}

/// `clan_cli/machines/list_test.py`, `list_with_tags_various_scenarios`,
/// `list_mixed_tagged_untagged` and `test_machines_list_with_tags_no_matches`.
#[test]
fn machines_without_the_tag_or_any_are_left_out() {
    let home = home();
    let machines = json!({
        "server1": { "tags": ["web"] },
        "server2": { "tags": ["database"] },
        "server3": { "tags": ["web", "database"] },
        "server4": {},
    });
    known(&home, &machines, &json!({}));
    assert_eq!(listed(&home, &[]), "server1\nserver2\nserver3\nserver4\n");
    assert_eq!(listed(&home, &["web"]), "server1\nserver3\n");
    assert_eq!(listed(&home, &["database"]), "server2\nserver3\n");
    assert_eq!(listed(&home, &["web", "database"]), "server3\n");
    assert_eq!(listed(&home, &["nonexistent"]), "");
    assert_eq!(listed(&home, &["web", "nonexistent"]), "");
}

/// `clan_cli/machines/list_test.py`, `list_basic` and `created_machine_and_tags`, and
/// `clan_cli/tests/test_machines_cli.py`, `test_machine_subcommands`: what is listed before
/// and after a machine was made and deleted, which is Clan's own work.
#[test]
fn a_machine_is_listed_as_long_as_the_clan_has_it() {
    let home = home();
    let before = json!({ "vm1": {}, "vm2": {} });
    known(&home, &before, &json!({}));
    assert_eq!(listed(&home, &[]), "vm1\nvm2\n");
    let mut after = before.clone();
    after["test-machine"] = json!({ "tags": ["test", "server"] });
    known(&home, &after, &json!({}));
    assert_eq!(listed(&home, &[]), "test-machine\nvm1\nvm2\n");
    for tags in [&["test"][..], &["server"], &["test", "server"]] {
        assert_eq!(listed(&home, tags), "test-machine\n", "{tags:?}");
    }
    known(&home, &before, &json!({}));
    assert_eq!(listed(&home, &[]), "vm1\nvm2\n");
}

/// `clan_cli/machines/list_test.py`, `test_machines_list_require_flake_error`;
/// `clan_cli/vars/get_test.py`, `test_get_command_no_flake`; `clan_cli/vars/list_test.py`,
/// `test_list_command_no_flake`; and the same of the other commands.
#[test]
fn without_a_clan_every_command_says_that_it_needs_one() {
    let home = home();
    for args in [
        &["machines", "list"][..],
        &["vars", "get", "machine1", "generator/var1"],
        &["vars", "list", "machine1"],
        &["network", "list"],
        &["network", "ping", "machine1"],
        &["network", "overview"],
        &["select", "a"],
        &["ssh", "machine1"],
    ] {
        let done = clan(&home, NOWHERE, args, &[]).exits(1);
        assert!(done.stdout.is_empty());
        done.says(&["no clan found", "--flake DIR"]);
    }
    clan(&home, NOWHERE, &["vars", "get", "machine1", "var1"], &[]).exits(1);
}

/// `clan_lib/machines/test_suggestions.py`, `test_close_match`, `test_case_insensitive_matching`,
/// `test_max_suggestions_limit`, `test_empty_candidates`, `test_realistic_machine_names` and
/// `test_sorting_by_distance_then_alphabetically`. Clan names the three nearest, however far
/// they are; here one is named that is near, and below it all there are, by their names.
#[test]
fn a_mistyped_machine_is_told_the_name_that_was_meant() {
    let home = home();
    let machines = |names: &[&str]| {
        let machines: Value = names.iter().map(|name| ((*name).to_owned(), json!({}))).collect();
        known(&home, &machines, &json!({}));
    };
    let ssh = |machine: &str| in_clan(&home, &["ssh", machine, "-c", "true"]).exits(1);
    machines(&["machine1", "machine2", "machine3"]);
    ssh("machne1").says(&["did you mean \"machine1\"?"]);
    machines(&["Machine1", "MACHINE2", "machine3"]);
    ssh("machine1").says(&["did you mean \"Machine1\"?"]);
    let done = in_clan(&home, &["vars", "list", "machine1"]).exits(1);
    done.says(&["did you mean \"Machine1\"?"]);
    machines(&["aa", "ab", "ac", "ad", "ae"]);
    let done = ssh("aaa").says(&["did you mean \"aa\"?"]);
    assert_eq!(done.stderr.matches("did you mean").count(), 1, "{}", done.stderr);
    machines(&[]);
    assert!(!ssh("test").stderr.contains("did you mean"));
    machines(&["web-server", "database", "worker-01", "worker-02", "api-gateway"]);
    ssh("web-sever").says(&["did you mean \"web-server\"?"]);
    ssh("work").says(&["known machines: api-gateway, database, web-server, worker-01, worker-02"]);
    machines(&["zebra", "apple", "apricot"]);
    ssh("app").says(&["known machines: apple, apricot, zebra"]);
}
