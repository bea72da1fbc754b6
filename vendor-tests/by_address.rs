//! Networks that this computer is not in: what is said of the daemon that is missing, that
//! the next network is tried, a tailscaled that dials where the system has no route, and
//! who is a member of the clan's WireGuard network. The tunnel itself is in `wireguard`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use serde_json::{Value, json};

use crate::harness::{Home, Run, Server, run, sshd, start, wait};

const DIRECT: &str = "clan_lib.network.direct";

/// A clan with these networks of machine `m`, best first: service, instance, host, port.
fn clan(home: &Home, networks: &[(&str, &str, &str, &str)]) {
    let mut exports = serde_json::Map::new();
    for (at, (service, instance, host, port)) in networks.iter().enumerate() {
        let network = json!({ "networking": { "module": DIRECT, "priority": 3000 - at * 100 } });
        exports.insert(format!("{service}:{instance}::"), network);
        let port: u16 = port.parse().unwrap();
        let peer = json!({ "peer": { "hosts": [{ "plain": host }], "port": port } });
        exports.insert(format!("{service}:{instance}:peer:m"), peer);
    }
    home.write("clan/.clan-flake", "");
    home.write("clan/exports.json", Value::Object(exports).to_string());
}

fn of_clan<'a>(args: &[&'a str]) -> Vec<&'a str> {
    [&["--flake", "clan", "--exports", "clan/exports.json"], args].concat()
}

fn server(home: &Home) -> Server {
    let key = home.default_key();
    sshd(home, "127.0.0.1", &key, "")
}

#[test]
fn a_daemon_that_is_down_is_named_and_the_next_network_is_tried() {
    let home = Home::new();
    let server = server(&home);
    let zerotier = "fd5d:bbe3:cbc5:fe6b:f699:935d:bbe3:cbc5";
    clan(
        &home,
        &[
            ("mine/netbird", "nb", "m.netbird.invalid", "22"),
            ("clan-core/zerotier", "zt", zerotier, "22"),
            ("clan-core/internet", "net", "127.0.0.1", &server.port()),
        ],
    );
    let done = home.run(&of_clan(&["-v", "ssh", "m", "-c", "echo", "hi"])).exits(0);
    assert_eq!(done.text(), "hi\n");
    done.says(&["over network net"]);
    let ping = home.run(&of_clan(&["network", "ping", "m", "--timeout", "3"])).exits(0).text();
    assert!(
        ping.contains("this computer is not in that network: its zerotier-one is down"),
        "{ping}"
    );
    assert!(ping.contains("hint: start it here: systemctl start zerotierone"), "{ping}");
    let list = home.run(&of_clan(&["network", "list", "--json"])).exits(0).text();
    let list: Value = serde_json::from_str(&list).unwrap();
    assert_eq!(list["networks"][0]["technology"], "netbird", "{list}");
    assert_eq!(list["networks"][0]["running"], "unknown", "{list}");
    assert_eq!(list["networks"][1]["running"], "no", "{list}");
}

#[test]
fn network_identity_creates_the_key_once_and_prints_the_admitting_setting() {
    let home = Home::new();
    let yggdrasil = "200:1:2:3:4:5:6:7";
    clan(
        &home,
        &[
            ("clan-core/yggdrasil", "my/ygg", yggdrasil, "22"),
            ("clan-core/mycelium", "my", "400::1", "22"),
            ("clan-core/internet", "net", "m.invalid", "22"),
        ],
    );
    let identity = |args: &[&str]| home.run(&of_clan(&[&["network", "identity"], args].concat()));
    let json = |args: &[&str]| -> Value {
        let done = identity(&[args, &["--json"]].concat()).exits(0);
        serde_json::from_str(&done.text()).unwrap()
    };
    let made = json(&["my/ygg"]);
    assert_eq!((&made["kind"], &made["is_new"]), (&json!("kept"), &json!(true)), "{made}");
    let file = home.path("home/.local/state/clan-connect/yggdrasil-key");
    assert_eq!(made["file"], file.to_str().unwrap());
    let path = "inventory.instances.\"my/ygg\".roles.default.settings.extraYggdrasilIPs";
    assert_eq!(made["settings"][0], json!({ "path": path, "value": made["addresses"] }));
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let key = std::fs::read_to_string(&file).unwrap();
    // Again, and by the name of the technology, it is the same.
    for name in ["my/ygg", "yggdrasil"] {
        let again = json(&[name]);
        assert_eq!((&again["addresses"], &again["is_new"]), (&made["addresses"], &json!(false)));
    }
    let address = made["addresses"][0].as_str().unwrap();
    let done = identity(&["my/ygg"]).exits(0);
    assert!(done.text().contains(&format!("{path} = [ \"{address}\" ];\n")), "{}", done.text());
    let secret = key.lines().nth(1).unwrap();
    assert!(!done.text().contains(secret) && !done.stderr.contains(secret), "{done:?}");
    // Without any clan, too.
    let alone = home.run(&["network", "identity", "yggdrasil", "--json"]).exits(0).text();
    let alone: Value = serde_json::from_str(&alone).unwrap();
    assert_eq!((&alone["addresses"], &alone["network"]), (&made["addresses"], &Value::Null));
    assert_eq!(json(&["my"])["kind"], "ephemeral");
    // Where nobody has to be let in nothing is needed, whatever networks the clan has.
    for name in ["tor", "iroh"] {
        for args in [of_clan(&["network", "identity", name]), vec!["network", "identity", name]] {
            let said = home.run(&args).exits(0).text();
            assert!(said.contains("\nidentity  none is needed"), "{said}");
        }
    }
    identity(&["net"]).exits(2).says(&["net needs no identity of clan-connect"]);
    identity(&["myy"]).exits(1).says(&["unknown network \"myy\"", "did you mean \"my\"?"]);
    // What is there is never written over.
    home.secret("home/.local/state/clan-connect/yggdrasil-key", "hunter2");
    let broken = identity(&["my/ygg"]).exits(1);
    broken.says(&["yggdrasil-key: it is neither PEM nor hexadecimal", "move that file away"]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "hunter2");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    identity(&["my/ygg"]).exits(1).says(&["is open to other users", "hint: keep it to yourself"]);
}

#[test]
fn a_network_with_a_slash_in_its_name_is_no_affair_of_name_servers() {
    let home = Home::new();
    clan(&home, &[("clan-core/wireguard", "a/b", "m.lab.invalid", "22")]);
    let done = home.run(&of_clan(&["ssh", "m", "-c", "true"])).exits(255);
    let done = done.says(&["the vars of the WireGuard network a/b cannot be found"]);
    assert!(!done.stderr.contains("name server"), "{}", done.stderr);
}

/// A tailscaled with this socket that leads every name to a server, but for those that are
/// not in its tailnet.
fn tailscaled(home: &Home, port: u16) {
    let listener = UnixListener::bind(home.path("tailscaled.sock")).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let (mut request, mut byte) = (Vec::new(), [0]);
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
                request.push(byte[0]);
            }
            let request = String::from_utf8(request).unwrap();
            assert!(request.starts_with("POST /localapi/v0/dial HTTP/1.1\r\n"), "{request}");
            if request.contains("Dial-Host: stranger") {
                let own = "HTTP/1.1 200 OK\r\nDial-Self: true\r\nContent-Length: 0\r\n\r\n";
                stream.write_all(own.as_bytes()).unwrap();
                continue;
            }
            let upgraded = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: ts-dial\r\n\r\n";
            stream.write_all(upgraded.as_bytes()).unwrap();
            let server = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let (mut from, mut to) = (stream.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(std::net::Shutdown::Write);
            });
            std::thread::spawn(move || {
                let mut server = server;
                let _ = std::io::copy(&mut server, &mut stream);
                let _ = stream.shutdown(std::net::Shutdown::Write);
            });
        }
    });
}

/// Our binary where that socket is tailscaled's.
fn in_tailnet(home: &Home, args: &[&str]) -> Run {
    let socket = home.path("tailscaled.sock").display().to_string();
    let script = "mount -t tmpfs none /run && mkdir /run/tailscale && \
                  ln -s \"$1\" /run/tailscale/tailscaled.sock && shift && exec \"$@\"";
    let through = ["/usr/bin/unshare", "-m", "/bin/sh", "-c", script, "sh", &socket];
    let mut command = home.command_with(&through, args);
    command.env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin");
    Run::of(wait(start(&mut command, "util-linux")))
}

#[test]
fn tailscaled_leads_where_the_system_has_no_route() {
    let home = Home::new();
    let server = server(&home);
    tailscaled(&home, server.port().parse().unwrap());
    for (service, host) in [
        ("mine/internet", "m.tailnet.ts.net"),
        ("mine/internet", "100.64.0.9"),
        ("mine/tailscale", "m-in-tailnet"),
        ("mine/headscale", "m-in-tailnet"),
    ] {
        clan(&home, &[(service, "x", host, "22")]);
        let args = of_clan(&["ssh", "m", "--host-key-check", "accept-new", "-c", "echo", "hi"]);
        let done = in_tailnet(&home, &args).exits(0);
        assert_eq!(done.text(), "hi\n", "{service} {host}");
    }
    clan(&home, &[("mine/tailscale", "x", "stranger", "22")]);
    let args = of_clan(&["ssh", "m", "-c", "true"]);
    let outside = in_tailnet(&home, &args).exits(255);
    outside.says(&["tailscaled says that the host is not in its tailnet", "tailscale status"]);
    // Without one it is said that there is none.
    let down = home.run(&args).exits(255);
    down.says(&["its tailscaled is down", "systemctl start tailscaled, then tailscale up"]);
}

/// A key of nobody's, and one of RFC 7748, section 6.1, with its public half.
const STRANGER: &str = "QEVDZ4s4nDTyMq+uU6fJrWAmOV5L7p4wGyX1+cPZL1o=";
const ADMIN: (&str, &str) = (
    "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=",
    "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=",
);

#[test]
fn whose_key_it_is_decides_who_we_are_in_the_wireguard_network() {
    let home = Home::new();
    let server = server(&home);
    clan(
        &home,
        &[
            ("clan-core/wireguard", "vpn", "m.lab", "22"),
            ("clan-core/internet", "net", "127.0.0.1", &server.port()),
        ],
    );
    let var = |machine: &str, generator: &str, file: &str, value: &str| {
        let dir = format!("clan/vars/per-machine/{machine}/wireguard-{generator}-vpn");
        home.write(&format!("{dir}/{file}/value"), value);
    };
    let over = |more: &[&str]| {
        let ssh = ["ssh", "m", "--network", "vpn", "-c", "true"];
        home.run(&of_clan(&[more, &ssh].concat())).exits(255)
    };
    // Nobody has generated anything: no name server is said to be at fault.
    over(&[]).says(&["no controller of the WireGuard network vpn is known"]);
    var("m", "keys", "publickey", &STRANGER.replace('Q', "R"));
    var("m", "network", "prefix", "fd99:1:2:300");
    over(&[]).says(&[
        "this computer is not in the WireGuard network vpn, and no key of a member was found",
        "systemctl start wireguard-vpn",
    ]);
    home.secret("stranger", STRANGER);
    over(&["--wireguard-key", "stranger"])
        .says(&["the WireGuard key stranger does not belong to a member of vpn", "never deployed"]);
    over(&["--wireguard-key", "var:../../x"]).says(&["that is no name of a machine"]);
    home.secret("nothing", "hunter2");
    over(&["--wireguard-key", "nothing"]).says(&["it holds no private key", "hint: name a key"]);
    over(&["--wireguard-key", "clan/exports.json"])
        .says(&["is open to other users, with the mode 0644", "chmod 600 clan/exports.json"]);
    run("mkfifo", &[home.path("fifo").to_str().unwrap()], "coreutils");
    let ssh = ["--wireguard-key", "fifo", "ssh", "m", "--network", "vpn", "--timeout", "2"];
    home.run(&of_clan(&[&ssh[..], &["-c", "true"]].concat()))
        .exits(255)
        .says(&["the WireGuard key was not read in time", "a pipe that nothing writes to"]);
    // The other network is tried all the same.
    let list = |more: &[&str]| {
        let args = of_clan(&["network", "list", "--json"]);
        let list = home.run(&[&args[..], more].concat()).exits(0).text();
        let list: Value = serde_json::from_str(&list).unwrap();
        (list["networks"][0]["running"].clone(), list["networks"][0]["way"].clone())
    };
    assert_eq!(list(&[]), (json!("no"), Value::Null));
    assert_eq!(list(&["--wireguard-key", "stranger"]), (json!("in-process"), json!("wireguard")));
    let key = format!("Host m\n  WireguardKey {}\n", home.path("stranger").display());
    let config = home.read("home/.ssh/config");
    home.write("home/.ssh/config", key + &config);
    assert_eq!(list(&[]), (json!("in-process"), json!("wireguard")));
    let identity = home.run(&of_clan(&["network", "identity", "vpn"])).exits(0);
    let steps = ["inventory.instances.vpn.roles.peer.machines.admin = { };", "var:admin"];
    steps.iter().for_each(|step| assert!(identity.text().contains(step), "{}", identity.text()));
    identity.says(&["does not belong to a member of vpn"]);
    home.write("home/.ssh/config", config);
    // A member of the document's own: exports alone do not say where its controller is.
    let exports = home.read("clan/exports.json");
    let mut exports: Value = serde_json::from_str(&exports).unwrap();
    exports["clan-core/wireguard:vpn:peer:admin"] = json!({ "peer": { "hosts": [] } });
    home.write("clan/exports.json", exports.to_string());
    var("admin", "keys", "publickey", ADMIN.1);
    var("admin", "network", "suffix", "1:2:3:4");
    home.secret("home/.config/clan-connect/wireguard-key", ADMIN.0);
    over(&[]).says(&["the endpoint of the WireGuard controller m is not known", "snapshot"]);
    let done = home.run(&of_clan(&["-v", "ssh", "m", "-c", "echo", "hi"])).exits(0);
    assert_eq!(done.text(), "hi\n");
    let done = done.says(&["over network net"]);
    assert!(!done.stderr.contains(ADMIN.0), "{}", done.stderr);
}
