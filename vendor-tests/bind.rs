//! Host keys in the DNS: SSHFP records in a zone that BIND has signed and
//! serves, for a root of our own.

use std::process::{Child, Command, Stdio};

use crate::harness::{Home, run, start, until};
use crate::links::{Namespace, PORT, sshd_in};
use crate::name_servers::in_root;

/// In a namespace of their own, where nobody else has port 53.
const IP: &str = "127.0.0.1";

struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// BIND with this zone for the root.
fn named(namespace: &Namespace, home: &Home, zone: &str) -> Ends {
    println!("{}", run("/usr/sbin/named", &["-v"], "bind9"));
    let dir = home.path("dns").to_str().unwrap().to_owned();
    let config = format!(
        "options {{ directory \"{dir}\"; listen-on port 53 {{ {IP}; }}; listen-on-v6 {{ none; }};\n\
         recursion no; dnssec-validation no; pid-file none; session-keyfile none; }};\n\
         controls {{ }};\nzone \".\" {{ type primary; file \"{zone}\"; }};\n"
    );
    let config = home.write("dns/named.conf", config);
    let log = std::fs::File::create(home.path("dns/log")).unwrap();
    let [program, place] = namespace.enter();
    let mut command = Command::new(program);
    command.args([&place, "/usr/sbin/named", "-g", "-n", "1", "-c", config.to_str().unwrap()]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let named = Ends(start(&mut command, "bind9"));
    until("named", || home.read("dns/log").contains(" running\n"));
    named
}

#[test]
fn a_key_in_the_dns_counts_when_dnssec_proves_it_and_not_otherwise() {
    let home = Home::new();
    let key = home.default_key();
    let namespace = Namespace::new();
    let _sshd = Ends(sshd_in(&namespace, &home, &key, ""));
    let port = PORT.to_string();
    let public = home.path(&format!("sshd-{port}/host_key.pub"));
    let sshfp = |name: &str, file: &std::path::Path| {
        let records =
            run("ssh-keygen", &["-r", name, "-f", file.to_str().unwrap()], "openssh-client");
        records.replace(&format!("{name} IN"), &format!("{name}. IN"))
    };
    home.keygen("other", "ed25519", "");
    let mut zone = format!("$TTL 60\n. IN SOA a. b. 1 60 60 60 60\n. IN NS a.\na. IN A {IP}\n");
    for name in ["good", "bad", "none", "weak"] {
        zone += &format!("{name}.test. IN A {IP}\n");
    }
    zone += &sshfp("good.test", &public);
    zone += &sshfp("bad.test", &home.path("other.pub"));
    // SHA-1 alone.
    let weak = sshfp("weak.test", &public);
    zone += &format!("{}\n", weak.lines().find(|line| line.contains(" 4 1 ")).unwrap());
    home.write("dns/plain", &zone);
    let dir = home.path("dns").to_str().unwrap().to_owned();
    let keygen = |more: &[&str]| {
        let args = [&["-q", "-K", &*dir, "-a", "ECDSAP256SHA256"], more, &["."]].concat();
        run("dnssec-keygen", &args, "bind9-utils").trim().to_owned()
    };
    let (ksk, zsk) = (keygen(&["-f", "KSK"]), keygen(&[]));
    let keys = [&ksk, &zsk].map(|name| home.read(&format!("dns/{name}.key")));
    home.write("dns/keyed", format!("{zone}{}{}", keys[0], keys[1]));
    let (from, to) = (format!("{dir}/keyed"), format!("{dir}/signed"));
    let args = ["-q", "-K", &dir, "-d", &dir, "-o", ".", "-f", &to, &from];
    run("dnssec-signzone", &args, "bind9-utils");
    let anchor = keys[0].lines().find(|line| !line.starts_with(';')).unwrap();
    home.write("root/anchor", format!("{anchor}\n"));

    let ssh = |name: &str, options: &[&str]| {
        let target = format!("{name}.test");
        let args = ["-v", "ssh", "m", "-p", &port, "--target-host", &target];
        let anchor = ["--ssh-option", "DnssecAnchor", "/anchor", "--ssh-option"];
        let dns = ["VerifyHostKeyDNS", "yes", "-c", "true"];
        let args = [&args, options, &anchor, &dns].concat();
        in_root(&namespace.enter(), &home, &format!("nameserver {IP}\n"), &args)
    };
    let strict = ["--host-key-check", "strict"];
    {
        let _named = named(&namespace, &home, "signed");
        ssh("good", &strict).exits(0).says(&["vouched for by its SSHFP record"]);
        ssh("bad", &[]).exits(255).says(&["is not the one in its SSHFP records"]);
        ssh("none", &strict).exits(255).says(&["is not known"]);
        ssh("weak", &strict).exits(255).says(&["is not known"]);
        // Another root has not signed it.
        let others = keygen(&["-f", "KSK"]);
        let line = home.read(&format!("dns/{others}.key"));
        home.write("root/anchor", line.lines().find(|line| !line.starts_with(';')).unwrap());
        ssh("good", &strict).exits(255).says(&["is not known"]);
        home.write("root/anchor", format!("{anchor}\n"));
    }
    // Unsigned, or signed wrongly: as if there were none.
    let signed = home.read("dns/signed");
    let good = sshfp("good.test", &public);
    let digest = good.lines().find(|line| line.contains(" 4 2 ")).unwrap();
    let digest = digest.split_whitespace().last().unwrap().to_uppercase();
    let start = &digest[..8];
    assert!(signed.contains(start), "{signed}");
    home.write("dns/tampered", signed.replace(start, "00000000"));
    for zone in ["plain", "tampered"] {
        let _named = named(&namespace, &home, zone);
        ssh("good", &strict).exits(255).says(&["is not known"]);
        ssh("none", &[]).exits(0).says(&["trusted on first use"]);
        let _ = std::fs::remove_file(home.path("root/home/.ssh/known_hosts"));
    }
}
