//! Lists of algorithms that OpenSSH takes, and servers that it reaches, beside its ssh:
//! a name that only OpenSSH knows stops nothing, and what is missing is named at once.

use crate::harness::{Home, Run, THEIRS, run, sshd, start, wait};
use crate::openssh_personality::Place;

const IP: &str = "127.0.0.1";

/// Runs a client in a place, with known hosts that nobody had before.
fn go(place: &Place, ssh: &str, args: &[&str]) -> Run {
    let _ = std::fs::remove_file(place.home.path("kh"));
    let known = format!("-oUserKnownHostsFile={}", place.home.path("kh").display());
    let identity = place.home.path("home/.ssh/id_ed25519").display().to_string();
    let fixed = [&known, "-oLogLevel=ERROR", "-oBatchMode=yes", "-i", &identity];
    let mut command = place.client(ssh, &[&fixed, args, &["box", "echo", "in"]].concat());
    Run::of(wait(start(&mut command, "openssh-client")))
}

#[test]
fn lists_of_hardening_guides_stop_nothing() {
    let place = Place::new("");
    for option in [
        // ssh-audit's guide for clients.
        "KexAlgorithms=sntrup761x25519-sha512@openssh.com,curve25519-sha256,curve25519-sha256@libssh.org,diffie-hellman-group18-sha512,diffie-hellman-group16-sha512,diffie-hellman-group-exchange-sha256",
        "Ciphers=3des-cbc,chacha20-poly1305@openssh.com,aes256-gcm@openssh.com",
        "MACs=hmac-sha2-512-etm@openssh.com,umac-128-etm@openssh.com",
        "HostKeyAlgorithms=sk-ssh-ed25519-cert-v01@openssh.com,ssh-ed25519-cert-v01@openssh.com,rsa-sha2-512-cert-v01@openssh.com,sk-ssh-ed25519@openssh.com,ssh-ed25519,rsa-sha2-512",
        "PubkeyAcceptedAlgorithms=sk-ssh-ed25519@openssh.com,ssh-ed25519,ssh-rsa,ssh-dss",
        "CASignatureAlgorithms=sk-ssh-ed25519@openssh.com,ssh-ed25519,ssh-dss",
        // Every sign, and patterns where OpenSSH takes them.
        "KexAlgorithms=+sntrup761x25519-sha512@openssh.com,diffie-hellman-group1-sha1",
        "KexAlgorithms=^sntrup761x25519-sha512,ecdh-sha2-nistp521",
        "KexAlgorithms=-sntrup*,nobody-knows,*-sha1",
        "Ciphers=+3des-cbc",
        "Ciphers=-*-cbc,nobody-knows",
        "MACs=^umac-64@openssh.com",
        "MACs=+hmac-md5,hmac-sha1-96",
        "HostKeyAlgorithms=+ssh-dss,ssh-rsa",
        "HostKeyAlgorithms=ssh-dss*,sk-*,ssh-ed*",
        "HostKeyAlgorithms=-ssh-rsa*,webauthn*",
        "PubkeyAcceptedAlgorithms=+ssh-rsa,ssh-dss",
        "PubkeyAcceptedAlgorithms=webauthn-*,ssh-ed25519",
    ] {
        let option = format!("-o{option}");
        assert_eq!(go(&place, THEIRS, &[&option]).exits(0).text(), "in\n", "{option}");
        assert_eq!(go(&place, &place.ours(), &[&option]).exits(0).text(), "in\n", "{option}");
    }
    // A cipher that needs no MAC goes without one that can be used.
    let only = ["-oMACs=umac-128-etm@openssh.com", "-oCiphers=aes256-gcm@openssh.com"];
    assert_eq!(go(&place, &place.ours(), &only).exits(0).text(), "in\n");
}

#[test]
fn a_name_that_nobody_knows_is_refused_when_it_is_read() {
    let place = Place::new("");
    let last = |done: Run| {
        let text = done.exits(255).stderr;
        text.lines().last().unwrap_or_default().trim_end().to_owned()
    };
    for option in [
        "KexAlgorithms",
        "Ciphers",
        "MACs",
        "HostKeyAlgorithms",
        "PubkeyAcceptedAlgorithms",
        "CASignatureAlgorithms",
    ] {
        for value in ["nobody-knows", "+nobody-knows", "^nobody-knows", "ssh-ed25519,nobody*"] {
            let option = format!("-o{option}={value}");
            for args in [&[&*option, "box", "true"][..], &["-G", &option, "box"]] {
                let run = |ssh: &str| {
                    let mut command = place.client(ssh, args);
                    last(Run::of(wait(start(&mut command, "openssh-client"))))
                };
                assert_eq!(run(&place.ours()), run(THEIRS), "{args:?}");
            }
        }
    }
    for args in [["-c", "nobody-knows"], ["-m", "nobody-knows"]] {
        assert_eq!(last(go(&place, &place.ours(), &args)), last(go(&place, THEIRS, &args)));
    }
    let nothing = go(&place, &place.ours(), &["-oKexAlgorithms=sntrup761x25519-sha512"]).exits(255);
    nothing.says(&["KexAlgorithms 'sntrup761x25519-sha512': nothing of it can be used here"]);
}

#[test]
fn servers_that_openssh_reaches_are_reached() {
    let fips = "KexAlgorithms ecdh-sha2-nistp256,ecdh-sha2-nistp384,diffie-hellman-group14-sha256\n\
                Ciphers aes256-ctr,aes128-gcm@openssh.com\nMACs hmac-sha2-256,hmac-sha2-512\n";
    for (kind, bits, config) in [
        ("ecdsa", "256", fips),
        ("ecdsa", "384", ""),
        ("ecdsa", "521", "KexAlgorithms ecdh-sha2-nistp521\n"),
        ("ed25519", "256", "KexAlgorithms diffie-hellman-group14-sha256\n"),
        ("rsa", "2048", "KexAlgorithms diffie-hellman-group16-sha512\n"),
        ("rsa", "3072", "KexAlgorithms diffie-hellman-group-exchange-sha256\n"),
        ("ed25519", "256", "KexAlgorithms curve25519-sha256@libssh.org\n"),
        ("ed25519", "256", "Ciphers aes128-ctr\nMACs hmac-sha2-256\n"),
        ("ed25519", "256", "Ciphers aes128-gcm@openssh.com\nMACs umac-64@openssh.com\n"),
    ] {
        let home = Home::new();
        let path = home.path("host_key").to_str().unwrap().to_owned();
        let args = ["-q", "-t", kind, "-b", bits, "-N", "", "-f", &path];
        run("ssh-keygen", &args, "openssh-client");
        let key = home.default_key();
        let place = Place::of(home, &key, &format!("HostKey {path}\n{config}"));
        for ssh in [THEIRS, &place.ours()] {
            assert_eq!(go(&place, ssh, &[]).exits(0).text(), "in\n", "{ssh}: {kind} {config}");
        }
    }
}

#[test]
fn of_several_keys_both_learn_the_same() {
    let home = Home::new();
    let mut config = String::new();
    for kind in ["rsa", "ecdsa"] {
        config += &format!("HostKey {}\n", home.keygen(kind, kind, "").display());
    }
    let key = home.default_key();
    let place = Place::of(home, &key, &config);
    let learned = |ssh: &str, option: &str| {
        go(&place, ssh, &[option]).exits(0);
        place.home.read("kh").split_whitespace().nth(1).unwrap().to_owned()
    };
    for option in
        ["-oUpdateHostKeys=no", "-oHostKeyAlgorithms=-ecdsa*", "-oHostKeyAlgorithms=^rsa-sha2-512"]
    {
        assert_eq!(learned(&place.ours(), option), learned(THEIRS, option), "{option}");
    }
}

#[test]
fn everything_that_is_missing_is_named_at_once() {
    let home = Home::new();
    let ecdsa = home.keygen("host_key", "ecdsa", "").display().to_string();
    let key = home.default_key();
    let config = format!(
        "HostKey {ecdsa}\nKexAlgorithms ecdh-sha2-nistp256\nCiphers aes128-cbc\nMACs hmac-sha1\n"
    );
    let server = sshd(&home, IP, &key, &config);
    let target = format!("root@{}", server.target());
    let ssh = |more: &[&str]| {
        home.run(&[&["ssh", "m", "--target-host", &target], more, &["-c", "echo", "in"]].concat())
    };
    let options = [
        "--ssh-option KexAlgorithms +ecdh-sha2-nistp256",
        "--ssh-option HostKeyAlgorithms +ecdsa-sha2-nistp256",
        "--ssh-option Ciphers +aes128-cbc",
        "--ssh-option MACs +hmac-sha1",
    ];
    let done = ssh(&[]).exits(255);
    let hint = format!("to allow these algorithms: {}", options.join(" "));
    let done = done.says(&[&hint, "; and no host key type, of ecdsa-sha2-nistp256; and no cipher"]);
    // What it says helps.
    let hint =
        done.stderr.split("to allow these algorithms: ").nth(1).unwrap().lines().next().unwrap();
    assert_eq!(ssh(&hint.split(' ').collect::<Vec<_>>()).exits(0).text(), "in\n");
    // The same as `ssh`, of which less is missing.
    let place = Place::of(home, &key, &config);
    let said = go(&place, &place.ours(), &[]).exits(255);
    said.says(&["hint: to allow these algorithms: -o Ciphers=+aes128-cbc -o MACs=+hmac-sha1"]);
    let allowed = ["-oCiphers=+aes128-cbc", "-oMACs=+hmac-sha1"];
    assert_eq!(go(&place, &place.ours(), &allowed).exits(0).text(), "in\n");
    // Where there is no help, none is promised.
    let place = Place::new("Ciphers aes128-ctr\nMACs umac-64@openssh.com\n");
    let said = go(&place, &place.ours(), &[]).exits(255);
    let said = said.says(&["no matching MAC found. Their offer: umac-64@openssh.com"]);
    assert!(!said.stderr.contains("to allow th"), "{}", said.stderr);
}

#[test]
fn what_there_is_has_openssh_s_names() {
    let place = Place::new("");
    let query = |ssh: &str, kind: &str| {
        let text = place.run(ssh, &["-Q", kind], "openssh-client").exits(0).text();
        // What only OpenSSH has.
        let is_ours = |line: &&str| !line.contains("ssh-dss") && !line.contains("webauthn");
        text.lines().filter(is_ours).map(str::to_owned).collect::<Vec<_>>()
    };
    for kind in [
        "key",
        "key-cert",
        "key-plain",
        "key-sig",
        "sig",
        "HostKeyAlgorithms",
        "compression",
        "protocol-version",
    ] {
        assert_eq!(query(&place.ours(), kind), query(THEIRS, kind), "{kind}");
    }
    for kind in ["kex", "cipher", "mac", "cipher-auth", "Ciphers"] {
        let (ours, theirs) = (query(&place.ours(), kind), query(THEIRS, kind));
        // We have some that this OpenSSH has not, and the other way round.
        let both = ours.iter().filter(|name| theirs.contains(name)).count();
        assert!(both >= 3 && both * 2 > ours.len(), "{kind}: {ours:?}");
    }
    let mut aead = query(&place.ours(), "cipher-auth");
    let mut theirs = query(THEIRS, "cipher-auth");
    aead.sort();
    theirs.sort();
    assert_eq!(aead, theirs);
    for ssh in [THEIRS, &place.ours()] {
        let unknown = place.run(ssh, &["-Q", "nobody-knows"], "openssh-client").exits(255);
        unknown.says(&["Unsupported query \"nobody-knows\""]);
    }
}
