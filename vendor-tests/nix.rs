//! Clans that are evaluated by the real nix: from a flake to a session, from the
//! cache, from a snapshot, and what is said when nothing of that works.

use std::fs;

use crate::harness::{Home, Run, Server, run, sshd};

/// Where nix is; our binary's path is empty otherwise.
const WITH_NIX: (&str, &str) = ("PATH", "/usr/bin:/bin");
const IP: &str = "127.0.0.1";

/// A flake with one machine in a network, and one entry that throws.
fn clan(home: &Home, server: &Server, target_host: &str) {
    println!("{}", run("nix", &["--version"], "nix-bin"));
    let port = server.port();
    let flake = format!(
        r#"{{
  outputs = _: {{
    clan.exports = {{
      internet = {{
        priority = 2000;
        module = "clan_lib.network.direct";
        peers.m = {{ host.plain = "{IP}"; port = {port}; }};
      }};
      "clan-core/tor:tor:default:m" = throw "vars of tor are not generated";
    }};
    clanInternals.inventoryClass.inventorySerialization = {{
      meta.domain = "clan.test";
      machines = {{ m.deploy.targetHost = {target_host}; alone.deploy = {{ }}; }};
    }};
  }};
}}
"#
    );
    home.write("clan/flake.nix", flake);
}

fn in_clan(home: &Home, args: &[&str], env: &[(&str, &str)]) -> Run {
    home.run_with_env(&[&["--flake", "clan"], args].concat(), env)
}

#[test]
fn a_flake_is_evaluated_once_and_known_from_then_on() {
    let home = Home::new();
    let key = home.default_key();
    let server = sshd(&home, IP, &key, "");
    clan(&home, &server, "null");
    let ssh = ["-v", "ssh", "m", "-c", "echo", "hi"];
    let without = in_clan(&home, &ssh, &[]).exits(255);
    without.says(&["there is no nix to evaluate it, and no snapshot", "exports snapshot"]);
    let done = in_clan(&home, &ssh, &[WITH_NIX]).exits(0);
    assert_eq!(done.text(), "hi\n");
    done.says(&[
        "could not be evaluated; its vars may not be generated yet",
        "over network internet",
    ]);
    // From the cache: nix is not there any more.
    in_clan(&home, &ssh, &[]).exits(0);
    // The clan changes: nix is needed again.
    let flake = home.read("clan/flake.nix");
    home.write("clan/flake.nix", flake.replace("2000", "1999"));
    in_clan(&home, &ssh, &[]).exits(255);
    let list = in_clan(&home, &["network", "list"], &[WITH_NIX]).exits(0);
    assert!(list.text().contains("internet      1999"), "{}", list.text());
    // What the machine's address is not is no network, but it is a machine.
    in_clan(&home, &["ssh", "alone"], &[]).exits(255).says(&["it is in no network of the clan"]);
    in_clan(&home, &["ssh", "alon"], &[]).exits(255).says(&["did you mean \"alone\""]);
}

#[test]
fn a_snapshot_works_where_there_is_no_nix_and_says_when_it_is_old() {
    let home = Home::new();
    let key = home.default_key();
    let server = sshd(&home, IP, &key, "");
    clan(&home, &server, "null");
    let written = in_clan(&home, &["exports", "snapshot"], &[WITH_NIX]).exits(0);
    written.says(&["wrote ", "clan-connect.json: ", " machine", " in 1 network"]);
    // With the host keys that the clan's vars have.
    let public = home.read(&format!("sshd-{}/host_key.pub", server.port()));
    home.write("clan/vars/per-machine/m/openssh/ssh.id_ed25519.pub/value", &public);
    in_clan(&home, &["exports", "snapshot"], &[WITH_NIX]).exits(0);
    let with_keys = home.read("clan/clan-connect.json");
    assert!(with_keys.contains(public.trim()), "{with_keys}");
    fs::remove_dir_all(home.path("clan/vars")).unwrap();
    in_clan(&home, &["exports", "snapshot"], &[WITH_NIX]).exits(0);
    let first = home.read("clan/clan-connect.json");
    in_clan(&home, &["exports", "snapshot"], &[WITH_NIX]).exits(0);
    assert_eq!(home.read("clan/clan-connect.json"), first, "it is deterministic");
    assert!(first.contains("\"domain\": \"clan.test\""), "{first}");
    // Another computer: no cache, no nix.
    fs::remove_dir_all(home.path("home/.cache")).unwrap();
    let ssh = ["ssh", "m", "-c", "true"];
    let done = in_clan(&home, &ssh, &[]).exits(0);
    assert!(!done.stderr.contains("has changed"), "{}", done.stderr);
    // As a file of its own it does without the clan.
    let file = home.run(&["--exports", "clan/clan-connect.json", "ssh", "m", "-c", "true"]);
    file.exits(0);
    home.write("clan/machines/m/configuration.nix", "{ }");
    in_clan(&home, &ssh, &[]).exits(0).says(&["the clan has changed since clan-connect.json"]);
    home.write("clan/clan-connect.json", "{\"clan_connect_snapshot\": 9, \"exports\": {}}");
    in_clan(&home, &ssh, &[]).exits(255).says(&["clan-connect.json", "version 9"]);
}

#[test]
fn settings_of_services_and_public_vars_are_in_the_snapshot() {
    let home = Home::new();
    println!("{}", run("nix", &["--version"], "nix-bin"));
    // As Clan's modules write settings: imports of imports, and functions that are no data.
    let flake = r#"{
  outputs = _: {
    clan.exports = {
      "clan-core/wireguard:vpn::".networking = { module = "clan_lib.network.direct"; };
      "clan-core/wireguard:vpn:controller:c".peer.hosts = [ { plain = "c.vpn"; } ];
      "clan-core/wireguard:vpn:peer:m".peer.hosts = [ { plain = "m.vpn"; } ];
    };
    clanInternals.inventoryClass.inventorySerialization = {
      machines = { c = { }; m = { }; };
      tags.all = [ "c" "m" ];
      instances.web = { module.name = "internet"; roles.default.settings.token = "hunter2"; };
      instances.vpn = {
        module.name = "wireguard";
        roles.controller.machines.c.settings.imports = [
          { _file = "x"; imports = [ { endpoint = "c.example"; module = _: { }; here = ./.; } ]; }
        ];
        roles.peer.tags.all.settings.imports = [ { controller = "c"; password = "hunter2"; } ];
      };
    };
  };
}
"#;
    home.write("clan/flake.nix", flake);
    let var = |name: &str, value: &str| {
        home.write(&format!("clan/vars/per-machine/{name}/value"), value);
    };
    var("c/wireguard-network-vpn/prefix", "fd11:2:3:400\n");
    var("c/other/prefix", "secret");
    in_clan(&home, &["exports", "snapshot"], &[WITH_NIX]).exits(0);
    let text = home.read("clan/clan-connect.json");
    assert!(!text.contains("hunter2") && !text.contains("secret"), "{text}");
    let snapshot: serde_json::Value = serde_json::from_str(&text).unwrap();
    let roles = serde_json::json!({
        "controller": { "c": { "endpoint": "c.example" } },
        "peer": { "c": { "controller": "c" }, "m": { "controller": "c" } },
    });
    let services = serde_json::json!({ "vpn": { "service": "wireguard", "roles": roles } });
    assert_eq!(snapshot["services"], services);
    let vars = serde_json::json!({ "c": { "wireguard-network-vpn/prefix": "fd11:2:3:400" } });
    assert_eq!(snapshot["vars"], vars);
}

#[test]
fn what_nix_says_is_shown_when_it_fails() {
    let home = Home::new();
    home.write("clan/flake.nix", "{ outputs = _: { clan.exports = throw \"no such option\"; }; }");
    let done = in_clan(&home, &["network", "list"], &[WITH_NIX]).exits(1);
    done.says(&["nix cannot evaluate path:", "no such option", "hint:"]);
    home.write("clan/flake.nix", "{ outputs = _: { clan.exports = ");
    in_clan(&home, &["network", "list"], &[WITH_NIX]).exits(1).says(&["syntax error"]);
    // An error that cannot be caught inside nix costs one entry only.
    home.write(
        "clan/flake.nix",
        "{ outputs = _: { clan.exports = { good = { priority = 5; peers.m.host.plain = \"127.0.0.1\"; };
           bad = builtins.abort \"gone\"; }; }; }",
    );
    let done = in_clan(&home, &["-v", "network", "list"], &[WITH_NIX]).exits(0);
    assert!(done.text().contains("good"), "{}", done.text());
    done.says(&["\"bad\" could not be evaluated"]);
}

#[test]
fn a_machine_whose_exports_throw_is_told_to_have_its_vars_generated() {
    let home = Home::new();
    let flake = "{ outputs = _: {
      clan.exports = {
        \"x/net:net::\".networking = { priority = 1; module = \"clan_lib.network.direct\"; };
        \"x/net:net:default:m2\".peer.hosts = [ { plain = throw \"no var\"; } ];
      };
      clanInternals.inventoryClass.inventorySerialization.machines.m2 = { };
    }; }";
    home.write("clan/flake.nix", flake);
    let said = [
        "error: machine \"m2\" has no address: exports entry \"x/net:net:default:m2\" could not be \
         evaluated (its vars may not be generated yet)",
        "hint: generate its vars: clan vars generate m2",
    ];
    let refused = |done: Run, code| {
        let done = done.exits(code);
        assert!(!done.stderr.contains("in no network"), "{}", done.stderr);
        done.says(&said);
    };
    refused(in_clan(&home, &["ssh", "m2"], &[WITH_NIX]), 255);
    refused(in_clan(&home, &["network", "ping", "m2"], &[]), 1);
    in_clan(&home, &["exports", "snapshot", "-o", "lone.json"], &[WITH_NIX]).exits(0);
    refused(home.run(&["--flake", "lone.json", "ssh", "m2"]), 255);
    // Nothing else may say that there is such a machine.
    let lone = serde_json::json!({ "clan_connect_snapshot": 1, "exports": {},
        "failed": ["x/net:net:default:m2"] });
    home.write("lone.json", lone.to_string());
    refused(home.run(&["--exports", "lone.json", "ssh", "m2"]), 255);
}

#[test]
fn a_store_that_nix_may_not_use_is_not_called_a_download() {
    let home = Home::new();
    home.write("clan/flake.nix", "{ outputs = _: { clan.exports = { }; }; }");
    let [clan, own] = ["clan", "home"].map(|name| home.path(name).display().to_string());
    run("chown", &["-R", "54321:54321", &clan, &own], "coreutils");
    let mut command = std::process::Command::new("/usr/bin/setpriv");
    command.args(["--reuid", "54321", "--regid", "54321", "--clear-groups"]);
    command.args([crate::harness::BINARY, "--flake", &clan, "network", "list"]).current_dir("/");
    command.env_clear().env("HOME", &own).env(WITH_NIX.0, WITH_NIX.1);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let done = Run::of(crate::harness::wait(crate::harness::start(&mut command, "util-linux")));
    let done = done.exits(1);
    println!("{}", done.stderr);
    assert!(!done.stderr.contains("could not be downloaded"), "{}", done.stderr);
    done.says(&["hint: nix may not use what it names", "--exports FILE"]);
}

#[test]
fn the_inventorys_target_host_comes_first_but_is_not_the_last_word() {
    let home = Home::new();
    let key = home.default_key();
    let server = sshd(&home, IP, &key, "");
    let target = format!("\"root@127.0.0.1:{}\"", server.port());
    clan(&home, &server, &target);
    let ssh = ["-v", "ssh", "m", "-c", "true"];
    in_clan(&home, &ssh, &[WITH_NIX]).exits(0).says(&["over network inventory"]);
    clan(&home, &server, "\"root@127.0.0.1:1\"");
    in_clan(&home, &ssh, &[WITH_NIX])
        .exits(0)
        .says(&["failed: inventory", "over network internet"]);
    // Options could start programs.
    clan(&home, &server, "\"root@127.0.0.1?ProxyCommand=touch%20/tmp/x\"");
    in_clan(&home, &ssh, &[WITH_NIX])
        .exits(0)
        .says(&["targetHost of \"m\"", "over network internet"]);
}

#[test]
fn the_machines_own_configuration_is_asked_when_all_else_has_failed() {
    let home = Home::new();
    let key = home.default_key();
    let server = sshd(&home, IP, &key, "");
    clan(&home, &server, "\"root@127.0.0.1:1\"");
    let flake =
        home.read("clan/flake.nix").replace(&format!("port = {}", server.port()), "port = 1");
    let configured = |target: &str| {
        let machines = format!(
            "clanInternals.machines.x86_64-linux = builtins.mapAttrs (_: targetHost: \
             {{ config.clan.core.networking = {{ inherit targetHost; }}; }}) \
             {{ m = {target}; alone = null; }};\n    clanInternals.inv"
        );
        home.write("clan/flake.nix", flake.replace("clanInternals.inv", &machines));
    };
    configured(&format!("\"root@127.0.0.1:{}\"", server.port()));
    let ssh = ["-v", "ssh", "m", "-c", "true"];
    let tried = ["failed: inventory", "failed: internet", "over network configuration"];
    in_clan(&home, &ssh, &[WITH_NIX]).exits(0).says(&tried);
    // Who asks whether it answers hears the same, though the clan is another one now.
    home.write("clan/machines/m/configuration.nix", "{ }");
    let ping = ["network", "ping", "m"];
    let answered = in_clan(&home, &ping, &[WITH_NIX]).exits(0).text();
    assert!(answered.contains("configuration via 127.0.0.1"), "{answered}");
    // It is known from then on.
    in_clan(&home, &ssh, &[]).exits(0).says(&["over network configuration"]);
    configured("throw \"not generated\"");
    in_clan(&home, &ssh, &[WITH_NIX])
        .exits(255)
        .says(&["configuration via targetHost: nix cannot evaluate", "not generated"]);
    let done = in_clan(&home, &ping, &[WITH_NIX]).exits(1).says(&["warning: nix cannot evaluate"]);
    assert!(done.text().contains("internet via 127.0.0.1"), "{}", done.text());
    let done = in_clan(&home, &["ssh", "alone"], &[WITH_NIX]).exits(255);
    done.says(&["it is in no network of the clan, and its configuration has no targetHost"]);
}

#[test]
fn select_prints_what_clan_does_and_leaves_to_nix_what_no_snapshot_knows() {
    let home = Home::new();
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/select");
    let json = fs::read_to_string(format!("{root}/flake.json")).unwrap();
    home.write("clan/flake.json", &json);
    home.write(
        "clan/flake.nix",
        "{ outputs = _: builtins.fromJSON (builtins.readFile ./flake.json) // { other = { a = 1; b.c = [ 2 3 ]; }; }; }",
    );
    let select = |selector: &str, env: &[(&str, &str)]| in_clan(&home, &["select", selector], env);
    // Through nix everything, so that both ways are compared with Clan's.
    let cases: Vec<serde_json::Value> =
        serde_json::from_str(&fs::read_to_string(format!("{root}/cases.json")).unwrap()).unwrap();
    let mut checked = 0;
    for case in &cases {
        let selector = case["selector"].as_str().unwrap();
        let Some(printed) = case["printed"].as_str() else { continue };
        assert_eq!(select(selector, &[WITH_NIX]).exits(0).text(), printed, "{selector}");
        // The same as another part of the flake, which only nix knows.
        let Some(rest) = selector.strip_prefix("clan.exports.") else { continue };
        let flake = home.read("clan/flake.nix");
        if !flake.contains("copy") {
            let copied = flake.replace(
                "// {",
                "// { copy = (builtins.fromJSON (builtins.readFile ./flake.json)).clan.exports;",
            );
            home.write("clan/flake.nix", copied);
        }
        assert_eq!(select(&format!("copy.{rest}"), &[WITH_NIX]).exits(0).text(), printed);
        checked += 1;
    }
    assert!(checked > 15, "{checked}");
    // As `1 ? c` in the nix language.
    let maybe = select("other.{b,a}.?c", &[WITH_NIX]).exits(0).text();
    assert!(maybe.contains("\"a\": {}"), "{maybe}");
    let other = select("other.{b,a}", &[WITH_NIX]).exits(0).text();
    assert_eq!(
        other,
        "{\n    \"b\": {\n        \"c\": [\n            2,\n            3\n        ]\n    },\n    \"a\": 1\n}\n"
    );
    select("other", &[]).exits(1).says(&["this needs nix, which was not found", "hint:"]);
    select("clan.exports.x", &[]).exits(1).says(&["there is no \"x\"", "hint: write ?NAME"]);
    select("a{", &[]).exits(1);
    select("{a", &[]).exits(2).says(&["the brace is not closed"]);
    // Clan's real exports, as Python prints them.
    if let Some(data) = crate::test_data::clan() {
        let real = data.join("exports/real.json");
        let real = real.to_str().unwrap();
        let program = "import json, sys; print(json.dumps(json.load(open(sys.argv[1])), indent=4, sort_keys=True))";
        let expected = run("python3", &["-c", program, real], "python3");
        let done = home.run(&["--exports", real, "select", "clan.exports"]).exits(0);
        assert_eq!(done.text(), expected);
    }
}

#[test]
fn bash_completes_machines_and_networks_without_nix() {
    let home = Home::new();
    let key = home.default_key();
    let server = sshd(&home, IP, &key, "");
    clan(&home, &server, "null");
    in_clan(&home, &["network", "list"], &[WITH_NIX]).exits(0);
    let script = home.run(&["completions", "bash"]).exits(0).text();
    home.write("complete.bash", &script);
    let complete = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let program = format!(
            "PATH={}:$PATH; source complete.bash; COMP_WORDS=({}); COMP_CWORD={}; COMP_TYPE=9; \
             \"$(complete -p clan-connect | sed 's/.*-F \\([^ ]*\\).*/\\1/')\" clan-connect '{}'; \
             printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            std::path::Path::new(crate::harness::BINARY).parent().unwrap().display(),
            words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" "),
            words.len() - 1,
            words.last().unwrap()
        );
        let mut command = std::process::Command::new("bash");
        command.args(["-c", &program]).current_dir(home.dir.path());
        command.env("HOME", home.path("home")).env("CLAN_DIR", home.path("clan"));
        let output = command.output().unwrap();
        String::from_utf8_lossy(&output.stdout)
            .split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    // Machines first, then what else may follow.
    assert_eq!(complete("clan-connect ssh ").get(..2).unwrap(), ["m", "alone"]);
    assert_eq!(complete("clan-connect ssh al"), ["alone"]);
    assert_eq!(complete("clan-connect ssh m --network int"), ["internet"]);
    assert!(complete("clan-connect net").contains(&"network".to_owned()));
    for shell in ["zsh", "fish"] {
        let script = home.run(&["completions", shell]).exits(0).text();
        assert!(script.contains("clan-connect"), "{script}");
    }
    assert!(home.run(&["man"]).exits(0).text().contains(".TH clan-connect 1"));
    assert!(home.run(&["man", "ssh"]).exits(0).text().contains(".TH clan-connect-ssh 1"));
    home.run(&["man", "web01"]).exits(2).says(&["clan-connect has no command \"web01\""]);
    let help = home.run(&["help", "network", "ping"]).exits(0).text();
    assert!(help.contains("Usage: clan-connect network ping"), "{help}");
    home.run(&["m"]).exits(2).says(&["unrecognized subcommand 'm'", "clan-connect ssh m"]);
}
