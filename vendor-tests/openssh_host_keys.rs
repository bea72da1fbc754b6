//! What OpenSSH's ssh can do with host keys, by the same options: weak
//! algorithms by request, keys that a server renews, a program that knows keys.

use crate::harness::{Home, Run, Server, THEIRS, run, sshd, start, until, wait};
use crate::openssh_personality::Place;

const IP: &str = "127.0.0.1";

fn ssh(home: &Home, server: &Server, options: &[&str]) -> Run {
    let target = format!("root@{}", server.target());
    let args = ["-v", "ssh", "m", "--target-host", &target];
    home.run(&[&args, options, &["-c", "echo", "in"]].concat())
}

#[test]
fn what_is_weak_is_refused_and_the_option_that_would_allow_it_is_named() {
    let home = Home::new();
    let key = home.default_key();
    home.keygen("rsa", "rsa", "");
    home.keygen("ecdsa", "ecdsa", "");
    let path = |name: &str| home.path(name).to_str().unwrap().to_owned();
    let small = path("small");
    let args = ["-q", "-t", "rsa", "-b", "1024", "-N", "", "-f", &small];
    run("ssh-keygen", &args, "openssh-client");
    let rsa = format!("HostKey {}\n", path("rsa"));
    for (config, words, option) in [
        (
            format!("{rsa}HostKeyAlgorithms ssh-rsa\n"),
            "no host key type in common: the server offers only ssh-rsa",
            ["HostKeyAlgorithms", "+ssh-rsa"],
        ),
        (
            format!("HostKey {}\n", path("ecdsa")),
            "the server offers only ecdsa-sha2-nistp256",
            ["HostKeyAlgorithms", "+ecdsa-sha2-nistp256"],
        ),
        (
            format!("HostKey {small}\n"),
            "an RSA key of 1024 bits is too small",
            ["RequiredRSASize", "1024"],
        ),
        (
            "KexAlgorithms diffie-hellman-group14-sha1\n".to_owned(),
            "no key exchange method in common: the server offers only diffie-hellman-group14-sha1",
            ["KexAlgorithms", "+diffie-hellman-group14-sha1"],
        ),
        (
            "KexAlgorithms ecdh-sha2-nistp256,ecdh-sha2-nistp384\n".to_owned(),
            "no key exchange method in common",
            ["KexAlgorithms", "+ecdh-sha2-nistp256"],
        ),
        (
            "Ciphers aes128-cbc\n".to_owned(),
            "no cipher in common: the server offers only aes128-cbc",
            ["Ciphers", "+aes128-cbc"],
        ),
        (
            "Ciphers aes256-ctr\nMACs hmac-sha1\n".to_owned(),
            "no MAC in common: the server offers only hmac-sha1",
            ["MACs", "+hmac-sha1"],
        ),
    ] {
        let server = sshd(&home, IP, &key, &config);
        // What is wrong with a key is the library's to say, which knows no flag.
        let flag = if option[0] == "RequiredRSASize" { "" } else { "--ssh-option " };
        let named = format!("{flag}{} {}", option[0], option[1]);
        ssh(&home, &server, &[]).exits(255).says(&[words, &named]);
        let done = ssh(&home, &server, &["--ssh-option", option[0], option[1]]);
        assert_eq!(done.exits(0).text(), "in\n", "{config}");
        // A key that is known is one that may be used.
        if config.contains("ecdsa") {
            ssh(&home, &server, &["--host-key-check", "strict"]).exits(0);
        }
    }
}

#[test]
fn a_servers_new_keys_are_learned_and_its_old_ones_forgotten() {
    let home = Home::new();
    let key = home.default_key();
    for (name, kind) in [("one", "ed25519"), ("two", "ed25519"), ("rsa", "rsa")] {
        home.keygen(name, kind, "");
    }
    let config = |names: &[&str]| -> String {
        names.iter().map(|name| format!("HostKey {}\n", home.path(name).display())).collect()
    };
    let known = || home.read("home/.ssh/known_hosts");
    let blob = |name: &str| {
        home.read(&format!("{name}.pub")).split_whitespace().nth(1).unwrap().to_owned()
    };
    // Under one name, as if one machine were given other keys.
    let alias = ["--ssh-option", "HostKeyAlias", "one-machine", "-c", "sleep", "1"];
    let ssh = |server: &Server, more: &[&str]| {
        let target = format!("root@{}", server.target());
        home.run(&[&["-v", "ssh", "m", "--target-host", &*target], more, &alias].concat())
    };
    let both = sshd(&home, IP, &key, &config(&["one", "rsa"]));
    let off = ["--ssh-option", "UpdateHostKeys", "no"];
    ssh(&both, &off).exits(0);
    assert_eq!(known().lines().count(), 1, "{}", known());
    ssh(&both, &[]).exits(0).says(&["1 more host keys of this server stored"]);
    assert!(known().contains(&blob("one")) && known().contains(&blob("rsa")), "{}", known());
    // The next key is announced beside the old one, then stands alone.
    let next = sshd(&home, IP, &key, &config(&["rsa", "two"]));
    let rsa_first = ["--ssh-option", "HostKeyAlgorithms", "rsa-sha2-512,ssh-ed25519"];
    ssh(&next, &rsa_first).exits(0).says(&["and old ones removed"]);
    assert!(!known().contains(&blob("one")) && known().contains(&blob("two")), "{}", known());
    let last = sshd(&home, IP, &key, &config(&["two"]));
    ssh(&last, &["--host-key-check", "strict"]).exits(0);
    assert_eq!(known().lines().count(), 1, "{}", known());
}

/// An address has one key, whatever its spelling.
#[test]
fn a_key_is_known_by_the_address_however_that_is_written() {
    let place = Place::ready();
    place.home.keygen("other", "ed25519", "");
    let other = place.home.read("other.pub");
    for (ip, spellings) in [
        (IP, &[IP, "127.1", "2130706433", "0177.0.0.1", "0x7f.1"][..]),
        ("::1", &["::1", "0::1", "0:0:0:0:0:0:0:1", "::0001"]),
    ] {
        let server = sshd(&place.home, ip, &place.home.read("home/.ssh/id_ed25519.pub"), "");
        let port = server.port();
        let right = place.home.read(&format!("sshd-{port}/host_key.pub"));
        for (line, check, code) in [
            (format!("[{ip}]:{port} {right}"), "yes", 0),
            (format!("[{ip}]:{port} {other}"), "accept-new", 255),
            (format!("@revoked [{ip}]:{port} {right}"), "accept-new", 255),
        ] {
            for spelling in spellings {
                for program in [place.ours(), THEIRS.to_owned()] {
                    let known = place.home.write("known", &line);
                    let file = format!("-oUserKnownHostsFile={}", known.display());
                    let check = format!("-oStrictHostKeyChecking={check}");
                    let host = format!("-oHostName={spelling}");
                    let args = [&file, &check, "-p", &port, &host, "box", "true"];
                    let done = wait(start(&mut place.client(&program, &args), "openssh-client"));
                    let done = Run::of(done);
                    assert_eq!(done.code, Some(code), "{program} {spelling} {line}");
                    assert_eq!(place.home.read("known"), line, "{program} {spelling}");
                }
            }
        }
    }
}

#[test]
fn a_program_of_the_users_may_know_the_keys() {
    let home = Home::new();
    let key = home.default_key();
    let server = sshd(&home, IP, &key, "");
    let public = home.read(&format!("sshd-{}/host_key.pub", server.port()));
    let script = format!(
        "#!/bin/sh\necho \"$@\" >> {0}\necho \"$2 {1}\"\n",
        home.path("asked").display(),
        public.trim()
    );
    let script = home.write("known", script);
    run("chmod", &["755", script.to_str().unwrap()], "coreutils");
    let command = format!("{} %I %H %t %f", script.display());
    let strict = ["--host-key-check", "strict", "--ssh-option", "KnownHostsCommand", &*command];
    ssh(&home, &server, &strict).exits(0).says(&["vouched for by the key in KnownHostsCommand:1"]);
    let asked = home.read("asked");
    let name = format!("[{IP}]:{}", server.port());
    let lines: Vec<&str> = asked.lines().collect();
    assert_eq!(lines[0], format!("ORDER {name} NONE NONE"));
    assert!(lines[1].starts_with(&format!("HOSTNAME {name} ssh-ed25519 SHA256:")), "{asked}");
    let failing = ["--ssh-option", "KnownHostsCommand", "/bin/false"];
    ssh(&home, &server, &failing).exits(255).says(&["KnownHostsCommand: it failed"]);
    until("no login", || !server.log().contains("Accepted publickey for root from 127.0.0.9"));
}
