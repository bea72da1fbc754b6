//! The host keys, the authority and the certificate in Clan's own sshd flake
//! against a real sshd that has them: no first use, no question, and a message
//! of its own for everything that is wrong.

use std::path::PathBuf;

use serde_json::json;

use crate::harness::{Home, Run, Server, run, sshd};

const IP: &str = "127.0.0.1";
const MACHINE: &str = "server";
const NAME: &str = "server.example.com";

/// The flake with what opens its secrets, and a home that knows nobody.
struct Clan {
    home: Home,
    flake: PathBuf,
    authorized: String,
}

impl Clan {
    /// None where Clan's data is to be done without.
    fn new() -> Option<Self> {
        let data = crate::test_data::clan()?;
        let home = Home::new();
        let authorized = home.default_key();
        let flake = data.join("flakes/clanServices__sshd__tests__vm");
        let clan = Self { home, flake, authorized };
        let identity = data.join("keys/test-age-key.txt");
        let identity = identity.to_str().unwrap();
        for (var, file) in [
            ("openssh/ssh.id_ed25519", "host_key"),
            ("openssh/ssh.id_ed25519.pub", "host_key.pub"),
            ("openssh-cert/ssh.id_ed25519-cert.pub", "host_key-cert.pub"),
            ("openssh-ca/id_ed25519", "ca"),
        ] {
            let done = clan.run(&["--identity", identity, "vars", "get", MACHINE, var]).exits(0);
            clan.private(file, &done.stdout);
        }
        Some(clan)
    }

    fn private(&self, name: &str, bytes: &[u8]) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.home.write(name, bytes);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    fn run(&self, args: &[&str]) -> Run {
        self.home.run(&[&["--flake", self.flake.to_str().unwrap()], args].concat())
    }

    /// An sshd with this key, and with a certificate for it.
    fn sshd(&self, key: &str, certificate: Option<&str>) -> Server {
        let path = |name: &str| self.home.path(name).to_str().unwrap().to_owned();
        let certificate =
            certificate.map(|name| format!("HostCertificate {}\n", path(name))).unwrap_or_default();
        let config = format!("HostKey {}\n{certificate}", path(key));
        sshd(&self.home, IP, &self.authorized, &config)
    }

    /// A new key `name` with a certificate that `signer` gives it.
    fn certify(&self, name: &str, signer: &str, options: &[&str]) {
        self.home.keygen(name, "ed25519", "");
        let path = |name: &str| self.home.path(name).to_str().unwrap().to_owned();
        let (signer, key) = (path(signer), path(&format!("{name}.pub")));
        let args = [&["-q", "-s", &signer, "-I", name, "-h"], options, &[&*key]].concat();
        run("ssh-keygen", &args, "openssh-client");
    }

    fn ssh(&self, server: &Server, options: &[&str]) -> Run {
        let target = format!("root@{}", server.target());
        let strict = ["--host-key-check", "strict"];
        let check = if options.contains(&"--host-key-check") { &[][..] } else { &strict };
        let args = ["-v", "ssh", MACHINE, "--target-host", &target];
        let done = self.run(&[&args, check, options, &["-c", "echo", "in"]].concat());
        assert_eq!(self.home.read("home/.ssh/known_hosts"), "", "nothing is written");
        done
    }
}

macro_rules! clan {
    () => {
        match Clan::new() {
            Some(clan) => clan,
            None => return,
        }
    };
}

#[test]
fn a_machine_of_the_clan_is_known_by_key_and_by_certificate() {
    let clan = clan!();
    let by_key = clan.sshd("host_key", None);
    let done = clan.ssh(&by_key, &[]).exits(0);
    assert_eq!(done.text(), "in\n");
    done.says(&["host key vouched for by the key in", "/openssh/ssh.id_ed25519.pub/value:1"]);
    let by_certificate = clan.sshd("host_key", Some("host_key-cert.pub"));
    clan.ssh(&by_certificate, &[]).exits(0).says(&[
        "host key vouched for by a certificate for server.example.com by the authority of",
        "/openssh-ca/id_ed25519.pub/value:1",
    ]);
    // A key of which the clan only knows the certificate's authority.
    clan.certify("fresh", "ca", &["-n", NAME]);
    let fresh = clan.sshd("fresh", Some("fresh-cert.pub"));
    clan.ssh(&fresh, &[]).exits(0).says(&["a certificate for server.example.com"]);
    let names = format!("other.example.com,{NAME}");
    clan.certify("several", "ca", &["-n", &names, "-V", "-1h:+1h"]);
    clan.ssh(&clan.sshd("several", Some("several-cert.pub")), &[]).exits(0);
}

#[test]
fn whatever_is_wrong_with_a_key_or_a_certificate_is_refused_with_its_reason() {
    let clan = clan!();
    clan.home.keygen("other_ca", "ed25519", "");
    let refused = |key: &str, certificate: Option<&str>, options: &[&str], words: &[&str]| {
        // What the user says of unknown machines is not about this one.
        for check in ["strict", "tofu", "accept-new", "ask"] {
            let server = clan.sshd(key, certificate);
            let options = [&["--host-key-check", check], options].concat();
            let done = clan.ssh(&server, &options).exits(255);
            let first = ["host key verification failed for server (127.0.0.1)"];
            done.says(&[&first, words].concat());
        }
    };
    for (name, signer, options, words) in [
        (
            "principal",
            "ca",
            &["-n", "client.example.com"][..],
            "it is for client.example.com and not for server.example.com",
        ),
        (
            "wild",
            "ca",
            &["-n", "*.example.com,*"],
            "it is for *.example.com, * and not for server.example.com",
        ),
        ("nobody", "ca", &[], "it names no host at all"),
        ("expired", "ca", &["-n", NAME, "-V", "20200101:20200102"], "it has expired"),
        ("future", "ca", &["-n", NAME, "-V", "+10d:+20d"], "days from now"),
        ("other", "other_ca", &["-n", NAME], "which is no authority for this host"),
        ("option", "ca", &["-n", NAME, "-O", "critical:x@y=z"], "critical option x@y"),
    ] {
        clan.certify(name, signer, options);
        let certificate = format!("{name}-cert.pub");
        refused(name, Some(&certificate), &[], &[words]);
    }
    // A certificate for users.
    clan.home.keygen("user", "ed25519", "");
    let path = |name: &str| clan.home.path(name).to_str().unwrap().to_owned();
    let (ca, user) = (path("ca"), path("user.pub"));
    run("ssh-keygen", &["-q", "-s", &ca, "-I", "u", "-n", NAME, &user], "openssh-client");
    let server = clan.sshd("user", None);
    clan.ssh(&server, &[]).exits(255).says(&["is not the one known from", "HAS CHANGED"]);
    // Another key without any certificate: the machine was replaced, or is not it.
    clan.home.keygen("replaced", "ed25519", "");
    let changed =
        ["is not the one known from", "the clan has another key", "--host-key-check none"];
    refused("replaced", None, &[], &changed);
    let replaced = clan.sshd("replaced", None);
    let none = ["--host-key-check", "none"];
    clan.ssh(&replaced, &none).exits(0).says(&["HAS CHANGED", "going on all the same"]);
    // Revoked: by a list, by a revocation list of ssh-keygen's, by known_hosts.
    let list = path("host_key.pub");
    let revoked = ["--ssh-option", "RevokedHostKeys", &list];
    refused("host_key", None, &revoked, &["REVOKED HOST KEY", "host_key.pub", "is revoked by"]);
    let krl = path("krl");
    clan.home.write("spec", format!("serial: 7\nkey: {}\n", clan.home.read("host_key.pub")));
    run("ssh-keygen", &["-q", "-k", "-f", &krl, "-s", &ca, &path("spec")], "openssh-client");
    let revoked = ["--ssh-option", "RevokedHostKeys", &*krl];
    refused("host_key", Some("host_key-cert.pub"), &revoked, &["is revoked by", "krl"]);
    clan.certify("seventh", "ca", &["-n", NAME, "-z", "7"]);
    refused("seventh", Some("seventh-cert.pub"), &revoked, &["is revoked by"]);
    clan.certify("eighth", "ca", &["-n", NAME, "-z", "8"]);
    clan.ssh(&clan.sshd("eighth", Some("eighth-cert.pub")), &revoked).exits(0);
    let missing = ["--ssh-option", "RevokedHostKeys", "/nonexistent"];
    let done = clan.ssh(&replaced, &missing).exits(255);
    assert!(!done.stderr.contains("UserKnownHostsFile"), "{}", done.stderr);
    done.says(&["/nonexistent: cannot read the revoked", "--ssh-option RevokedHostKeys FILE"]);
}

#[test]
fn a_bad_certificate_costs_nothing_but_a_warning_where_the_key_is_known() {
    let clan = clan!();
    let path = |name: &str| clan.home.path(name).to_str().unwrap().to_owned();
    let (ca, key) = (path("ca"), path("host_key.pub"));
    let args = ["-q", "-s", &ca, "-I", "old", "-h", "-n", NAME, "-V", "20200101:20200102", &key];
    run("ssh-keygen", &args, "openssh-client");
    let done = clan.ssh(&clan.sshd("host_key", Some("host_key-cert.pub")), &[]).exits(0);
    done.says(&["warning: the host certificate \"old\": it has expired", "by the key in"]);
}

#[test]
fn a_snapshot_knows_the_keys_too() {
    let clan = clan!();
    let key = clan.home.read("host_key.pub");
    let machine = json!({ "host_keys": [key.trim()] });
    let server = clan.sshd("host_key", None);
    let exports = json!({ "net": { "priority": 1, "peers": {
        "server": { "host": { "plain": IP }, "port": server.address.port() } } } });
    let snapshot = json!({ "clan_connect_snapshot": 1, "machines": { "server": machine }, "exports": exports });
    clan.home.write("snapshot.json", snapshot.to_string());
    let ssh = ["--exports", "snapshot.json", "-v", "ssh", "server", "-c", "true"];
    clan.home.run(&ssh).exits(0).says(&["vouched for by the key in snapshot.json:1"]);
    assert_eq!(clan.home.read("home/.ssh/known_hosts"), "");
    let list = ["--exports", "snapshot.json", "network", "trust", "list", "server"];
    let listed = clan.home.run(&list).exits(0).text();
    assert!(listed.starts_with("key        SHA256:") && listed.contains("for server"), "{listed}");
    let other = snapshot.to_string().replace("ssh-ed25519 AAAA", "ssh-ed25519 AAAB");
    clan.home.write("snapshot.json", other);
    clan.home.run(&ssh).exits(255).says(&["not the public key of a host"]);
}

#[test]
fn a_man_in_the_middle_on_the_better_route_is_dropped_and_named() {
    let clan = clan!();
    clan.home.keygen("middle", "ed25519", "");
    let middle = clan.sshd("middle", None);
    let right = clan.sshd("host_key", Some("host_key-cert.pub"));
    let net = |priority, server: &Server| {
        json!({ "priority": priority, "peers": {
            "server": { "host": { "plain": IP }, "port": server.address.port() } } })
    };
    let exports = json!({ "better": net(20, &middle), "worse": net(10, &right) });
    clan.home.write("exports.json", exports.to_string());
    let exports = clan.home.path("exports.json");
    let ssh = ["--exports", exports.to_str().unwrap(), "-v", "ssh", "server", "-c", "true"];
    let done = clan.run(&ssh).exits(0);
    done.says(&["REMOTE HOST IDENTIFICATION HAS CHANGED", "failed: better", "over network worse"]);
    assert!(!middle.log().contains("Accepted"), "{}", middle.log());
    // Another one on the other route as well: nobody is trusted.
    let other = clan.sshd("middle", None);
    let exports = json!({ "better": net(20, &middle), "worse": net(10, &other) });
    clan.home.write("exports.json", exports.to_string());
    clan.run(&ssh).exits(255).says(&["better via 127.0.0.1", "worse via 127.0.0.1"]);
    assert_eq!(clan.home.read("home/.ssh/known_hosts"), "");
}

#[test]
fn trust_is_shown_given_and_taken_back() {
    let home = Home::new();
    let key = home.default_key();
    let server = sshd(&home, IP, &key, "");
    let port = server.port();
    let exports = json!({ "net": { "priority": 1, "peers": {
        "m": { "host": { "plain": IP }, "port": server.address.port() } } } });
    home.write("exports.json", exports.to_string());
    let trust = |args: &[&str]| {
        home.run(&[&["--exports", "exports.json", "network", "trust"], args].concat())
    };
    trust(&["list", "m"]).exits(0).says(&["no host key of m is known"]);
    trust(&["remove", "m"]).exits(1).says(&["known_hosts has no key that can be removed for m"]);
    let public = format!("sshd-{port}/host_key.pub");
    let done = trust(&["add", "m", &public]).exits(0).text();
    assert!(done.contains(&format!("for m, [{IP}]:{port}: SHA256:")), "{done}");
    let strict =
        ["--exports", "exports.json", "ssh", "m", "--host-key-check", "strict", "-c", "true"];
    home.run(&strict).exits(0);
    let listed = trust(&["list", "m", "--json"]).exits(0);
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed["source"], "known_hosts");
    assert_eq!(listed["keys"][0]["type"], "ssh-ed25519");
    assert_eq!(listed["keys"][0]["line"], 1);
    let fingerprint = listed["keys"][0]["fingerprint"].as_str().unwrap();
    trust(&["remove", "m", "SHA256:x"]).exits(1).says(&["no such key for m", "trust list m"]);
    let done = trust(&["remove", "m", fingerprint]).exits(0).text();
    assert!(done.contains("known_hosts:1:"), "{done}");
    home.run(&strict).exits(255).says(&["is not known"]);
    trust(&["add", "m", "no key"]).exits(2);
    trust(&["list", "nobody"]).exits(1).says(&["unknown machine"]);
    let Some(clan) = Clan::new() else { return };
    let of_clan = clan.run(&["network", "trust", "list", MACHINE]).exits(0).text();
    assert_eq!(of_clan.lines().count(), 3, "{of_clan}");
    assert!(of_clan.contains("authority  SHA256:") && of_clan.contains("for server.example.com"));
    let key = clan.home.read("host_key.pub");
    clan.run(&["network", "trust", "add", MACHINE, &key])
        .exits(2)
        .says(&["the clan has a host key"]);
}
