//! Host keys and certificates that are revoked, and certificates for patterns of
//! names, beside OpenSSH's ssh: in lists of keys (`RevokedHostKeys`), in several of
//! them, and in known_hosts.

use crate::harness::{Home, THEIRS, run, sshd};
use crate::openssh_personality::Place;

const IP: &str = "127.0.0.1";

/// A server whose key has a certificate, and known hosts that trust its authority.
struct Certified {
    place: Place,
    known: String,
}

impl Certified {
    /// The certificate is for these names.
    fn new(names: &str) -> Self {
        let home = Home::new();
        for name in ["host", "ca", "other"] {
            home.keygen(name, "ed25519", "");
        }
        let path = |name: &str| home.path(name).to_str().unwrap().to_owned();
        for (name, authority) in [("host", "ca"), ("other", "ca")] {
            let (ca, public) = (path(authority), path(&format!("{name}.pub")));
            let args = ["-q", "-h", "-s", &ca, "-I", name, "-n", names, "-z", "7", &public];
            run("ssh-keygen", &args, "openssh-client");
        }
        let config =
            format!("HostKey {}\nHostCertificate {}\n", path("host"), path("host-cert.pub"));
        let key = home.default_key();
        let place = Place::of(home, &key, &config);
        let known = format!("@cert-authority * {}", place.home.read("ca.pub"));
        Self { place, known }
    }

    fn words(&self, name: &str) -> String {
        let line = self.place.home.read(name);
        let words: Vec<&str> = line.split_whitespace().take(2).collect();
        words.join(" ")
    }

    /// Whether a client takes the server, with these known hosts.
    #[track_caller]
    fn taken(&self, ssh: &str, known: &str, options: &[&str]) -> bool {
        let file = self.place.home.write("kh", known);
        let known = format!("-oUserKnownHostsFile={}", file.display());
        let identity = format!("-i{}", self.place.home.path("home/.ssh/id_ed25519").display());
        let port = self.place.server.port();
        let fixed = [
            "-F",
            "none",
            "-oStrictHostKeyChecking=yes",
            "-oGlobalKnownHostsFile=none",
            &known,
            &identity,
            "-oBatchMode=yes",
            "-p",
            &port,
        ];
        let args = [&fixed, options, &["root@127.0.0.1", "true"]].concat();
        let done = self.place.run(ssh, &args, "openssh-client");
        assert!(matches!(done.code, Some(0 | 255)), "{args:?}: {done:?}");
        done.code == Some(0)
    }

    #[track_caller]
    fn both(&self, known: &str, options: &[&str]) -> bool {
        let theirs = self.taken(THEIRS, known, options);
        assert_eq!(self.taken(&self.place.ours(), known, options), theirs, "{known} {options:?}");
        theirs
    }
}

#[test]
fn a_certificate_in_a_list_of_keys_is_revoked_with_the_key_that_it_is_of() {
    let certified = Certified::new(IP);
    assert!(certified.both(&certified.known, &[]));
    for (name, expected) in [
        ("host-cert.pub", false),
        ("host.pub", false),
        ("ca.pub", false),
        ("other-cert.pub", true),
        ("other.pub", true),
    ] {
        let list = format!("# a list\n\n  {} a comment\n", certified.words(name));
        let list = certified.place.home.write("revoked", list);
        let option = format!("-oRevokedHostKeys={}", list.display());
        assert_eq!(certified.both(&certified.known, &[&option]), expected, "{name}");
        // The same host by its key alone.
        let known =
            format!("[{IP}]:{} {}", certified.place.server.port(), certified.words("host.pub"));
        let plain = [&*option, "-oHostKeyAlgorithms=ssh-ed25519"];
        let expected = expected || name == "ca.pub";
        assert_eq!(certified.both(&known, &plain), expected, "{name}, without the certificate");
    }
    let damaged = certified.words("host-cert.pub").replace("AAAA", "AAAB");
    let list = certified.place.home.write("revoked", damaged);
    let option = format!("-oRevokedHostKeys={}", list.display());
    assert!(!certified.both(&certified.known, &[&option]), "a damaged list");
}

#[test]
fn a_certificate_that_known_hosts_revoke_is_refused() {
    let certified = Certified::new(IP);
    let name = format!("[{IP}]:{}", certified.place.server.port());
    for (marked, expected) in [
        (format!("@revoked * {}", certified.words("host-cert.pub")), false),
        (format!("@revoked {name} {}", certified.words("host-cert.pub")), false),
        (format!("@revoked * {}", certified.words("host.pub")), false),
        (format!("@revoked * {}", certified.words("ca.pub")), false),
        (format!("@revoked * {}", certified.words("other-cert.pub")), true),
        (format!("@revoked elsewhere {}", certified.words("host-cert.pub")), true),
    ] {
        for known in
            [format!("{}{marked}\n", certified.known), format!("{marked}\n{}", certified.known)]
        {
            assert_eq!(certified.both(&known, &[]), expected, "{known}");
        }
        let plain = format!("{marked}\n{name} {}\n", certified.words("host.pub"));
        let by_key = ["-oHostKeyAlgorithms=ssh-ed25519"];
        let expected = expected || marked.ends_with(&certified.words("ca.pub"));
        assert_eq!(certified.both(&plain, &by_key), expected, "{plain}");
    }
}

/// OpenSSH 10.3 reads several; before, ssh(1) refuses the line.
#[test]
fn every_one_of_several_lists_counts() {
    let certified = Certified::new(IP);
    let home = &certified.place.home;
    let list = |name: &str, of: &str| home.write(name, certified.words(of)).display().to_string();
    let (good, bad) = (list("good", "other.pub"), list("bad", "host-cert.pub"));
    let serials = home.write("spec", "serial: 7\n").display().to_string();
    let (krl, ca) =
        (home.path("krl").display().to_string(), home.path("ca.pub").display().to_string());
    run("ssh-keygen", &["-q", "-k", "-f", &krl, "-s", &ca, &serials], "openssh-client");
    let ours = certified.place.ours();
    let taken = |value: &str| {
        let option = format!("-oRevokedHostKeys={value}");
        certified.taken(&ours, &certified.known, &[&option])
    };
    assert!(taken(&good) && taken(&format!("{good} {good}")) && taken("none"));
    for value in [
        format!("{good} {bad}"),
        format!("{bad} {good}"),
        format!("{good} {krl}"),
        format!("{good} /nonexistent"),
        format!("\"{good}\" \"{bad}\""),
    ] {
        assert!(!taken(&value), "{value}");
    }
    let config = home.write("config", format!("RevokedHostKeys {good} {bad}\n"));
    let shown = certified.place.ssh(&["-F", config.to_str().unwrap(), "-G", "h"]).exits(0).text();
    assert!(shown.contains(&format!("revokedhostkeys {good} {bad}\n")), "{shown}");
}

#[test]
fn a_certificate_for_a_pattern_is_for_no_host() {
    for (names, expected) in [
        ("*", false),
        ("127.0.0.?", false),
        ("127.*", false),
        ("other,127.0.0.1", true),
        ("127.0.0.1.example.com", false),
    ] {
        let certified = Certified::new(names);
        assert_eq!(certified.both(&certified.known, &[]), expected, "{names}");
    }
}

#[test]
fn the_key_alone_is_enough_where_the_certificate_is_not() {
    let home = Home::new();
    let key = home.default_key();
    // What a server without a certificate is known by goes on to count.
    let server = sshd(&home, IP, &key, "");
    let public = home.read(&format!("sshd-{}/host_key.pub", server.port()));
    home.keygen("ca", "ed25519", "");
    let known =
        format!("@cert-authority * {}[{IP}]:{} {public}", home.read("ca.pub"), server.port());
    home.write("home/.ssh/known_hosts", known);
    let target = format!("root@{}", server.target());
    let args = ["ssh", "m", "--target-host", &target, "--host-key-check", "strict", "-c", "true"];
    home.run(&args).exits(0);
}
