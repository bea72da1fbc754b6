//! What `clan-connect` says to people and to their shells: vars on a terminal,
//! completion, and lists in hints.

use serde_json::json;

use crate::harness::{Home, Run, Terminal};

/// A clan with vars of two machines.
fn clan() -> Home {
    let home = Home::new();
    home.write("clan/.clan-flake", "");
    home.write("clan/vars/per-machine/m/net/host/value", "m.example");
    home.write("clan/vars/per-machine/m/net/lines/value", "one\ntwo\n");
    home.write("clan/vars/per-machine/m/key/bytes/value", [0xff, 0x1b, 0]);
    home.write("clan/vars/per-machine/m/key/foul/value", "a\u{1b}]0;x\u{7}b");
    home.write("clan/vars/per-machine/other/secret/key/value", "x");
    home.write("clan/vars/shared/all/name/value", "shared");
    home
}

#[test]
fn a_clan_that_is_gone_is_named_with_the_variable_that_names_it() {
    let said = clan().run_with_env(&["network", "list"], &[("CLAN_DIR", "/nonexistent")]);
    let said = said.exits(1).stderr;
    assert_eq!(said, "error: cannot open $CLAN_DIR /nonexistent: No such file or directory\n");
}

#[test]
fn a_var_on_a_terminal_is_a_line_and_no_raw_bytes() {
    let home = clan();
    let get = |var: &str| {
        let args = ["--flake", "clan", "vars", "get", "m", var];
        let mut terminal = Terminal::start(&home, &args, 80, 24, &[]);
        (terminal.exit_code(), terminal.text())
    };
    assert_eq!(get("net/host"), (Some(0), "m.example\r\n".to_owned()));
    assert_eq!(get("net/lines"), (Some(0), "one\r\ntwo\r\n".to_owned()));
    assert_eq!(get("key/bytes"), (Some(0), "<3 bytes, not text>\r\n".to_owned()));
    let (code, text) = get("key/foul");
    assert_eq!(code, Some(0));
    assert!(!text.contains('\u{1b}') && text.starts_with('a'), "{text:?}");
    // Elsewhere it is byte for byte.
    let whole = |var: &str| home.run(&["--flake", "clan", "vars", "get", "m", var]).exits(0).stdout;
    assert_eq!(whole("net/host"), b"m.example");
    assert_eq!(whole("key/bytes"), [0xff, 0x1b, 0]);
}

#[test]
fn shells_complete_vars_and_the_values_of_options() {
    let home = clan();
    let complete = |words: &[&str]| {
        let args = [&["--", "clan-connect"], words].concat();
        let mut command = home.command(&args);
        let index = words.len().to_string();
        command.env("COMPLETE", "bash").env("_CLAP_COMPLETE_INDEX", &index);
        command.env("_CLAP_IFS", "\n").env("CLAN_DIR", home.path("clan"));
        let done = Run::of(crate::harness::wait(crate::harness::start(&mut command, "util-linux")));
        let mut all: Vec<String> = done.exits(0).text().lines().map(str::to_owned).collect();
        all.sort();
        all.join(" ")
    };
    assert_eq!(complete(&["vars", "get", "m", "net/"]), "net/host net/lines");
    assert_eq!(complete(&["vars", "get", "m", "a"]), "all/name");
    assert_eq!(complete(&["vars", "get", "other", "s"]), "secret/key");
    assert_eq!(complete(&["vars", "get", "../m", "n"]), "");
    let check = ["ssh", "--ssh-option", "StrictHostKeyChecking", "a"];
    assert_eq!(complete(&check), "accept-new ask");
    assert_eq!(complete(&["ssh", "--ssh-option", "BatchM"]), "BatchMode");
    assert_eq!(complete(&["ssh", "--host-key-check", "t"]), "tofu");
    // clap adds our own letters to whatever begins like some.
    let values = complete(&["openssh", "-oRequestTTY=f"]);
    assert!(
        values.contains("-oRequestTTY=false ") && values.contains("-oRequestTTY=force "),
        "{values}"
    );
}

#[test]
fn lists_in_hints_are_sorted() {
    let home = Home::new();
    let peer = |host: &str| json!({"name": "peer", "host": {"plain": host}});
    let exports = json!({
        "zeta": {"priority": 2, "peers": {"web": peer("a"), "db": peer("b")}},
        "alpha": {"priority": 1, "peers": {"web": peer("c")}},
    });
    home.write("exports.json", exports.to_string());
    let unknown = home.run(&["--exports", "exports.json", "ssh", "nobody", "-c", "true"]);
    unknown.exits(255).says(&["known machines: db, web"]);
    let args = ["--exports", "exports.json", "ssh", "web", "--network", "none", "-c", "true"];
    home.run(&args).exits(255).says(&["known networks: alpha, zeta"]);
}
