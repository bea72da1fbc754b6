//! Our reader and Go's age as the writer: every kind of recipient, both
//! encodings, and an identity file with a passphrase.

use std::fs;

use crate::harness::{Home, Run, Terminal, noise, run};

const VAR: &str = "clan/secrets/clan-vars/per-machine/m/g/f/f.age";

fn get(home: &Home, identity: &str) -> Run {
    let identity = home.path(identity);
    let args =
        ["--flake", "clan", "--identity", identity.to_str().unwrap(), "vars", "get", "m", "g/f"];
    home.run(&args)
}

/// Encrypts `plain` for whatever `recipient` names, by the real program.
fn seal(home: &Home, recipient: &[&str], plain: &[u8]) {
    let plain = home.write("plain", plain);
    home.write(VAR, "");
    let (to, from) = (home.path(VAR), plain.to_str().unwrap().to_owned());
    let args = [recipient, &["-o", to.to_str().unwrap(), &from]].concat();
    run("age", &args, "age");
}

#[test]
fn every_recipient_and_encoding_of_age_can_be_read() {
    println!("age {}", run("age", &["--version"], "age"));
    let home = Home::new();
    home.write("clan/.clan-flake", "");
    run("age-keygen", &["-o", home.path("native").to_str().unwrap()], "age");
    let native = run("age-keygen", &["-y", home.path("native").to_str().unwrap()], "age");
    home.keygen("ed25519", "ed25519", "");
    home.keygen("rsa", "rsa", "");
    let recipients = [
        ("native", native.trim().to_owned()),
        ("ed25519", home.read("ed25519.pub")),
        ("rsa", home.read("rsa.pub")),
    ];
    for (identity, recipient) in &recipients {
        for armor in [&[][..], &["-a"]] {
            for plain in [Vec::new(), b"text\n".to_vec(), noise(65_536), noise(200_000)] {
                seal(&home, &[armor, &["-r", recipient.trim()]].concat(), &plain);
                let done = get(&home, identity).exits(0);
                assert!(done.stdout == plain, "{identity} {armor:?} {}", plain.len());
            }
        }
    }
    // Fifty recipients, ours the last.
    let mut args = Vec::new();
    for at in 0..49 {
        let name = format!("other{at}");
        let path = home.path(&name);
        run("age-keygen", &["-o", path.to_str().unwrap()], "age");
        args.push(run("age-keygen", &["-y", path.to_str().unwrap()], "age").trim().to_owned());
    }
    args.push(native.trim().to_owned());
    let args: Vec<&str> = args.iter().flat_map(|key| ["-r", key]).collect();
    seal(&home, &args, b"for many");
    assert_eq!(get(&home, "native").exits(0).text(), "for many");
}

#[test]
fn ssh_keys_in_every_format_of_ssh_keygen_open_what_age_opens() {
    let home = Home::new();
    home.write("clan/.clan-flake", "");
    for (name, kind, format) in [
        ("rsa-pkcs8", "rsa", "PKCS8"),
        ("rsa-pem", "rsa", "PEM"),
        ("rsa-openssh", "rsa", "RFC4716"),
        ("ed25519-openssh", "ed25519", "RFC4716"),
    ] {
        let path = home.path(name);
        let args = ["-q", "-t", kind, "-m", format, "-N", "", "-f", path.to_str().unwrap()];
        run("ssh-keygen", &args, "openssh-client");
        seal(&home, &["-R", home.path(&format!("{name}.pub")).to_str().unwrap()], b"open");
        let var = home.path(VAR);
        let age = ["-d", "-i", path.to_str().unwrap(), var.to_str().unwrap()];
        assert_eq!(run("age", &age, "age"), "open", "{name}");
        assert_eq!(get(&home, name).exits(0).text(), "open", "{name}");
    }
    // What cannot be opened says why.
    let path = home.path("locked");
    let locked = ["-q", "-t", "rsa", "-m", "PKCS8", "-N", "secret", "-f", path.to_str().unwrap()];
    run("ssh-keygen", &locked, "openssh-client");
    get(&home, "locked").exits(1).says(&["ssh-keygen -p -o -f FILE"]);
    let path = home.path("ecdsa");
    let other = ["-q", "-t", "ecdsa", "-m", "PKCS8", "-N", "", "-f", path.to_str().unwrap()];
    run("ssh-keygen", &other, "openssh-client");
    get(&home, "ecdsa").exits(1).says(&["only ssh-ed25519 and ssh-rsa keys can decrypt"]);
}

#[test]
fn locked_identities_ask_on_the_terminal() {
    let home = Home::new();
    home.write("clan/.clan-flake", "");
    let path = home.keygen("locked", "ed25519", "open sesame");
    seal(&home, &["-R", &format!("{}.pub", path.display())], b"value!");
    let args = ["--flake", "clan", "--identity", path.to_str().unwrap(), "vars", "get", "m", "g/f"];
    let mut terminal = Terminal::start(&home, &args, 80, 24, &[]);
    terminal.expect("enter passphrase for");
    terminal.send("open sesame\r");
    terminal.expect("value!");
    assert_eq!(terminal.exit_code(), Some(0));
    assert!(!terminal.text().contains("sesame"));
    // With nobody to ask it fails at once, and says which file is locked.
    get(&home, "locked").exits(1).says(&["cannot decrypt", "locked by a passphrase"]);

    // An identity file that the real age has encrypted.
    let native = home.path("native");
    run("age-keygen", &["-o", native.to_str().unwrap()], "age");
    let public = run("age-keygen", &["-y", native.to_str().unwrap()], "age");
    seal(&home, &["-r", public.trim()], b"another");
    // age asks for its passphrase on a terminal only, so the file is made with
    // the library that the Go program's test vectors check.
    let mut recipient = age::scrypt::Recipient::new("open sesame".to_owned().into());
    recipient.set_work_factor(10);
    let sealed = age::encrypt(&recipient, &fs::read(&native).unwrap()).unwrap();
    home.write("sealed", sealed);
    let identity = home.path("sealed");
    let args =
        ["--flake", "clan", "--identity", identity.to_str().unwrap(), "vars", "get", "m", "g/f"];
    let mut terminal = Terminal::start(&home, &args, 80, 24, &[]);
    terminal.expect("enter passphrase for");
    terminal.send("open sesame\r");
    terminal.expect("another");
    assert_eq!(terminal.exit_code(), Some(0));
}
