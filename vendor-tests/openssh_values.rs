//! Values of options, right and wrong: what OpenSSH's own client says to them, and
//! what becomes of them for a machine of the clan.

use crate::harness::{Home, Run, THEIRS, sshd};
use crate::openssh_personality::Place;

/// What `-G` says to a configuration of these lines, by our client and by OpenSSH's.
fn both(place: &Place, lines: &str) -> (Run, Run) {
    let file = place.home.write("try", lines);
    let args = ["-G", "-F", file.to_str().unwrap(), "box"];
    (place.ssh(&args), place.run(THEIRS, &args, "openssh-client"))
}

/// What was said; OpenSSH ends its lines as a terminal in raw mode wants it.
fn plain(run: &Run) -> String {
    run.stderr.replace('\r', "").trim_end().to_owned()
}

#[test]
fn wrong_values_are_refused_when_they_are_read_and_in_the_same_words() {
    let place = Place::new("");
    for line in [
        "Port x",
        "Port 70000",
        "Port 0",
        "Port 0x16",
        "Port 1 2",
        "User a b",
        "Compression",
        "Compression maybe",
        "GSSAPIAuthentication maybe",
        "AddressFamily inet5",
        "ConnectTimeout soon",
        "ServerAliveInterval x",
        "ServerAliveCountMax x",
        "NumberOfPasswordPrompts -1",
        "CanonicalizeMaxDots x",
        "RekeyLimit x",
        "RekeyLimit 1",
        "RekeyLimit 1G x",
        "StreamLocalBindMask 9",
        "EscapeChar xx",
        "LogLevel loud",
        "SyslogFacility x",
        "Tunnel x",
        "ControlMaster perhaps",
        "ControlPersist x",
        "AddKeysToAgent x",
        "CanonicalizePermittedCNAMEs x",
        "CanonicalDomains a..b",
        "LocalForward 1",
        "LocalForward x y",
        "RemoteForward x",
        "DynamicForward x",
        "SetEnv x",
        "SendEnv a=b",
        "FingerprintHash x",
        "ForwardX11Timeout x",
        "RequestTTY perhaps",
        "SessionType x",
        "PubkeyAuthentication x",
        "StrictHostKeyChecking perhaps",
        "VerifyHostKeyDNS perhaps",
        "UpdateHostKeys perhaps",
        "User \"x",
        "User \"\"",
        "Host",
        "Match",
        "IdentityFile a b",
        "ProxyCommand",
        "ProxyCommand a \"b",
        "RemoteCommand 'a",
        "BatchMode maybe x",
        "Ciphers nonsense x",
        "LogLevel loud x",
        "CanonicalDomains -a",
        "CanonicalDomains a b:c",
        "CanonicalDomains \"\"",
        "CanonicalDomains none x",
        "UserKnownHostsFile a none",
        "GlobalKnownHostsFile a \"\"",
        "LogVerbose \"\"",
        "HostbasedAcceptedAlgorithms maybe",
        "HostbasedKeyTypes ssh-ed25519,nope",
        "IPQoS fast",
        "IPQoS 256",
        "IPQoS ef -1",
        "IPQoS ef ef ef",
        "TunnelDevice x",
        "TunnelDevice 1:",
        "TunnelDevice 2147483647",
        "RekeyLimit none",
        "RekeyLimit 1G 1h x",
        "RekeyLimit 1KK",
        "ControlPersist YES",
        "DynamicForward 0",
        "DynamicForward ssh://u@h:22",
        "LocalForward 0 h:1",
        "LocalForward 1 h:2 x",
        "RemoteForward ssh://u@h:22",
        "ProxyJump a:b",
        "ProxyJump ::1",
        "ProxyJump u@",
        "ProxyJump @h",
        "ProxyJump a,,b",
        "ProxyJump ssh://h:1:2",
        "Nonsense x",
    ] {
        // In the second line, where it applies and where it does not.
        for lines in [format!("\n{line}\n"), format!("Host other\n{line}\nNonsense 2\n")] {
            let (ours, theirs) = both(&place, &lines);
            assert_eq!(ours.code, theirs.code, "{line}: {ours:?} {theirs:?}");
            assert_eq!(plain(&ours), plain(&theirs), "{line}");
        }
        if line == "Host" || line == "Match" {
            continue;
        }
        let option = format!("-o{line}");
        let args = ["-G", "-F", "none", &option, "box"];
        let (ours, theirs) = (place.ssh(&args), place.run(THEIRS, &args, "openssh-client"));
        let (ours_said, theirs_said) = (plain(&ours), plain(&theirs));
        assert_eq!((ours.code, ours_said), (theirs.code, theirs_said), "{option}");
    }
    for args in [
        &["-p", "x"][..],
        &["-c", "x"],
        &["-m", "x"],
        &["-e", "xx"],
        &["-p", "0"],
        &["-w", "x"],
        &["-J", "a:b"],
        &["-J", ""],
        &["-L", "0:h:1"],
        &["-L", "[::1]:0:h:1"],
        &["-L", "0:/run/x"],
        &["-D", "0"],
        &["-D", "*:0"],
        &["-W", "a:1", "-W", "b:1"],
        &["-N", "-s"],
        &["-s", "-N"],
        &["-W", "a:1", "-s"],
        &["-oSessionType=default", "-N"],
    ] {
        let args = [args, &["-F", "none", "box"]].concat();
        let (ours, theirs) = (place.ssh(&args), place.run(THEIRS, &args, "openssh-client"));
        let (ours_said, theirs_said) = (plain(&ours), plain(&theirs));
        assert_eq!((ours.code, ours_said), (theirs.code, theirs_said), "{args:?}");
    }
}

#[test]
fn values_are_shown_as_they_were_understood() {
    let place = Place::new("");
    for line in [
        "RekeyLimit 1G 1h",
        "RekeyLimit 16",
        "RekeyLimit default none",
        "RekeyLimit 1.5G",
        "RekeyLimit 1T 1w",
        "IPQoS none",
        "IPQoS 0",
        "IPQoS 5",
        "IPQoS EF",
        "IPQoS 0x48 le",
        "IPQoS lowdelay throughput",
        "TunnelDevice 5",
        "TunnelDevice any:1",
        "TunnelDevice any",
        "ProxyJump ssh://u@h:22",
        "ProxyJump x,ssh://u@h",
        "ProxyJump ssh://u@h,x",
        "ProxyJump u@1.2.3.4:5",
        "ProxyJump [::1]:22",
        "HostKeyAlias AbC",
        "CanonicalDomains A.b. c",
        "RequiredRSASize 1",
        "RequiredRSASize 65536",
        "ConnectTimeout 1h",
        "ConnectTimeout 0",
        "ServerAliveInterval 1m",
        "ControlPersist 1h",
        "ControlPersist 0",
        "AddKeysToAgent confirm 1m",
        "AddKeysToAgent 1h",
        "AddKeysToAgent ask",
        "VerifyHostKeyDNS ask",
        "UpdateHostKeys ask",
        "StrictHostKeyChecking off",
        "PubkeyAuthentication unbound",
        "RequestTTY force",
        "SetEnv A=b C=d",
        "SetEnv A=b A=c",
        "SendEnv A B*\nSendEnv -A",
        "RemoteForward 8080",
        "RemoteForward [::1]:8080 /run/x",
        "LocalForward 8080 h:80",
        "DynamicForward 1080",
        "DynamicForward localhost:1080",
        "EscapeChar ^]",
        "EscapeChar none",
        "LogLevel debug1",
        "LogLevel quiet",
        "StreamLocalBindMask 117",
        "CanonicalDomains none",
        "RevokedHostKeys none",
        "ControlPath none",
        "UserKnownHostsFile none",
        "PermitRemoteOpen a:1 *:2",
        "PermitRemoteOpen none",
        "HostKeyAlias x",
        "PreferredAuthentications password,x",
        "ForwardX11Timeout 1h",
        "SyslogFacility local7",
        "Tunnel ethernet",
        "XAuthLocation /x",
        "SmartcardDevice x",
        "HostbasedKeyTypes ssh-ed25519",
        "ProxyJump none\nProxyCommand x",
        "ProxyCommand nc \"%h\" # %p",
        "ProxyCommand none",
        "IdentityAgent none",
    ] {
        let (ours, theirs) = both(&place, line);
        let theirs = theirs.exits(0).text();
        let ours = ours.exits(0).text();
        let keyword = line.split(' ').next().unwrap().to_lowercase();
        let keyword = match keyword.as_str() {
            "smartcarddevice" => "pkcs11provider",
            "hostbasedkeytypes" => "hostbasedacceptedalgorithms",
            other => other,
        };
        let lines = |text: &str| -> Vec<String> {
            let is_meant = |line: &&str| line.split(' ').next() == Some(keyword);
            text.lines().filter(is_meant).map(str::to_owned).collect()
        };
        assert_eq!(lines(&ours), lines(&theirs), "{line}");
    }
}

#[test]
fn a_machine_of_the_clan_has_the_same_options() {
    let home = Home::new();
    let key = home.default_key();
    let server = sshd(&home, "127.0.0.1", &key, "AcceptEnv _TEST_* LC_*\nPermitTTY yes\n");
    let target = server.target();
    let ssh = |options: &[(&str, &str)], command: &[&str]| {
        let mut args = vec!["ssh", "m", "--target-host", &target];
        options.iter().for_each(|(name, value)| args.extend(["--ssh-option", name, value]));
        args.extend(command);
        home.run(&args)
    };
    let env = ["-c", "sh", "-c", "echo $_TEST_A"];
    assert_eq!(ssh(&[("SetEnv", "_TEST_A=one _TEST_A=two")], &env).exits(0).text(), "one\n");
    // The first of two counts.
    let twice = [("SetEnv", "_TEST_A=first"), ("SetEnv", "_TEST_A=second")];
    assert_eq!(ssh(&twice, &env).exits(0).text(), "first\n");
    let remote = ssh(&[("RemoteCommand", "echo %n %% %r")], &[]).exits(0).text();
    assert_eq!(remote, "m % root\n");
    ssh(&[("RemoteCommand", "true")], &["-c", "true"]).exits(255).says(&["leave out one"]);
    let tty = ["-c", "sh", "-c", "test -t 0 && echo terminal"];
    assert_eq!(ssh(&[("RequestTTY", "force")], &tty).exits(0).text().trim_end(), "terminal");
    ssh(&[("RequestTTY", "no")], &tty).exits(1);
    // What is wrong is refused before anything is connected to.
    for (name, value, why) in [
        ("Port", "x", "--ssh-option Port: Bad port 'x'."),
        ("Nonsense", "x", "--ssh-option Nonsense: Bad configuration option: nonsense"),
        ("ConnectTimeout", "soon", "invalid time value."),
        ("Ciphers", "nonsense", "Bad SSH2 cipher spec 'nonsense'"),
        ("LocalForward", "1", "Missing target argument."),
        ("ControlMaster", "maybe", "unsupported option \"maybe\"."),
    ] {
        ssh(&[(name, value)], &["-c", "true"]).exits(255).says(&[why]);
    }
    // Keys that nobody may use, by name: the options of a login count as well.
    ssh(&[("PubkeyAuthentication", "no"), ("BatchMode", "yes")], &["-c", "true"]).exits(255);
    ssh(&[("IdentitiesOnly", "yes")], &["-c", "true"]).exits(0);
    ssh(&[("BindAddress", "127.0.0.9")], &["-c", "true"]).exits(0);
    ssh(&[("BindAddress", "nowhere")], &["-c", "true"])
        .exits(255)
        .says(&["not an address of this computer"]);
    // In an address nothing is taken that starts a program.
    for bad in ["ProxyCommand=true", "SendEnv=HOME", "RemoteForward=1", "LocalCommand=x"] {
        let address = format!("{target}?{bad}");
        let done = home.run(&["ssh", "m", "--target-host", &address, "-c", "true"]);
        done.exits(255).says(&["is not taken from an address"]);
    }
    let address = format!("{target}?SetEnv=_TEST_A=address");
    let args = [&["ssh", "m", "--target-host", &address][..], &env].concat();
    assert_eq!(home.run(&args).exits(0).text(), "address\n");
}

#[test]
fn a_connection_that_the_configuration_refuses_is_not_tried() {
    let place = Place::new("");
    let config = place.home.read("home/.ssh/config");
    let more =
        format!("Match originalhost box user root\n  RefuseConnection \"ask first\"\n{config}");
    place.home.write("home/.ssh/config", more);
    place.ssh(&["-oUser=root", "box", "true"]).exits(255).says(&["ask first"]);
    place.ssh(&["-oRefuseConnection=\"not today\"", "box", "true"]).exits(255).says(&["not today"]);
    // The same for a machine of the clan.
    let refused = place.home.run(&[
        "ssh",
        "m",
        "--target-host",
        &place.server.target(),
        "--ssh-option",
        "RefuseConnection",
        "never",
        "-c",
        "true",
    ]);
    refused.exits(255).says(&["never"]);
    place.ssh(&["-G", "box"]).exits(0);
    assert_eq!(place.server.log().matches("Accepted").count(), 0);
}
