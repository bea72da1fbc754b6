//! Servers that iroh asks and that are nobody's friends: of pkarr, and relays. One that
//! answers as it should is followed; how much any of them can make us keep is bounded.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use iroh::{EndpointAddr, SecretKey};
use iroh_tickets::endpoint::EndpointTicket;
use sha1::{Digest, Sha1};

use crate::harness::{Run, start, wait};
use crate::iroh::Clan;
use crate::iroh_peer::{Manner, Peer};

/// What a session may take that has met nobody worse than an honest server, in KiB.
const MOST: u64 = 64 << 10;

/// Answers every request by itself, for as long as the other side stays. Gets the path and
/// the key of a WebSocket, if one is asked for.
fn serve(answer: impl Fn(&mut TcpStream, &str, &str) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = std::sync::Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, answer) = (stream.unwrap(), answer.clone());
            std::thread::spawn(move || {
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let lines = lines.by_ref().map_while(Result::ok);
                let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
                let path = head.first().and_then(|line| line.split(' ').nth(1));
                let key = head.iter().find_map(|line| {
                    let (name, value) = line.split_once(": ")?;
                    name.eq_ignore_ascii_case("sec-websocket-key").then_some(value)
                });
                answer(&mut stream, path.unwrap_or_default(), key.unwrap_or_default());
            });
        }
    });
    url
}

/// Says `bytes` until nobody takes them any more, at most for half a minute.
fn flood(stream: &mut TcpStream, bytes: &[u8]) {
    stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let began = std::time::Instant::now();
    while began.elapsed() < Duration::from_secs(30) && stream.write_all(bytes).is_ok() {}
}

fn ok(body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// What a login to `m` took at most, in KiB, and how it went.
fn peak(clan: &Clan, with: &[&str]) -> (u64, Run) {
    let file = clan.home.path("peak");
    let time = ["/usr/bin/time", "-q", "-f", "%M", "-o", file.to_str().unwrap()];
    let args = Clan::args(with, &["ssh", "m", "--timeout", "6", "-c", "echo", "hi"]);
    let done = Run::of(wait(start(&mut clan.home.command_with(&time, &args), "time")));
    (clan.home.read("peak").trim().parse().unwrap(), done)
}

#[test]
fn a_ticket_as_clan_makes_them_is_looked_up_at_a_server_of_pkarr() {
    let clan = Clan::new();
    let sshd = clan.sshd();
    let peer = Peer::new(Manner::Leads(sshd.address), None);
    clan.machine("m", &peer.bare_ticket());
    let (name, packet) = peer.signed();
    for base in ["/pkarr", "/pkarr/"] {
        let (name, packet) = (name.clone(), packet.clone());
        let url = serve(move |stream, path, _| {
            let found = path == format!("/pkarr/{name}");
            let answer = if found { ok(&packet) } else { b"HTTP/1.1 404 No\r\n\r\n".to_vec() };
            stream.write_all(&answer).unwrap();
        });
        let place = format!("{url}{base}");
        let with = ["--iroh-relay", "none", "--iroh-discovery", &place];
        let done = clan.home.run(&Clan::args(&with, &["ssh", "m", "-c", "echo", "hi"]));
        assert_eq!(done.exits(0).text(), "hi\n");
    }
    // One packet signed by another is no answer about this machine.
    let other = Peer::new(Manner::Leads(sshd.address), None).signed().1;
    let url = serve(move |stream, _, _| stream.write_all(&ok(&other)).unwrap());
    let with = ["--iroh-relay", "none", "--iroh-discovery", &url];
    peak(&clan, &with).1.exits(255).says(&["p2p via <secret", "(resolve", "hint: "]);
}

#[test]
fn a_server_of_pkarr_is_followed_nowhere_and_heard_no_longer_than_a_packet_is() {
    let clan = Clan::new();
    let peer = Peer::new(Manner::Silent, None);
    clan.machine("m", &peer.bare_ticket());
    let (honest, _) = peak(&clan, &["--iroh-relay", "none", "--iroh-discovery", "none"]);
    println!("nobody is asked: {honest} KiB");
    let (asked, count) = std::sync::mpsc::channel();
    let elsewhere = serve(move |_, path, _| asked.send(path.to_owned()).unwrap());
    let to = format!("HTTP/1.1 302 Found\r\nLocation: {elsewhere}/there\r\n\r\n");
    let endless = |head: &'static str| {
        serve(move |stream, _, _| {
            let _ = stream.write_all(head.as_bytes());
            flood(stream, &[b'x'; 1 << 16]);
        })
    };
    for (what, url) in [
        ("a redirect", serve(move |stream, _, _| stream.write_all(to.as_bytes()).unwrap())),
        ("a body", endless("HTTP/1.1 200 OK\r\n\r\n")),
        ("chunks", endless("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7fffffff\r\n")),
        ("an error", endless("HTTP/1.1 500 No\r\n\r\n")),
        ("a header", endless("HTTP/1.1 200 OK\r\nX: ")),
    ] {
        let (peak, done) = peak(&clan, &["--iroh-relay", "none", "--iroh-discovery", &url]);
        println!("{what}: {peak} KiB, {}", done.stderr);
        done.exits(255).says(&["p2p via <secret", "(resolve", "hint: "]);
        assert!(peak < honest + MOST, "{what}: {peak} KiB");
    }
    assert!(count.try_recv().is_err(), "a redirect was followed");
}

#[test]
fn a_relay_that_sends_pings_and_reads_nothing_fills_no_memory() {
    let clan = Clan::new();
    let url = serve(|stream, _, key| {
        let accept = Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
        let accept = data_encoding::BASE64.encode(&accept);
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: iroh-relay-v1\r\n\r\n"
        );
        let _ = stream.write_all(head.as_bytes());
        // RFC 6455, section 5.2: a ping with 125 bytes.
        let ping = [&[0x89, 125][..], &[b'x'; 125]].concat();
        flood(stream, &ping.repeat(1000));
    });
    let at = EndpointAddr::new(SecretKey::generate().public());
    let ticket = EndpointTicket::new(at.with_relay_url(url.parse().unwrap())).to_string();
    clan.machine("m", &ticket);
    let (honest, _) =
        peak(&clan, &["--iroh-relay", "http://127.0.0.1:1", "--iroh-discovery", "none"]);
    let (peak, done) = peak(&clan, &["--iroh-relay", &url, "--iroh-discovery", "none"]);
    println!("{honest} and {peak} KiB, {}", done.stderr);
    done.exits(255).says(&["p2p via <secret"]);
    assert!(peak < honest + MOST, "{peak} KiB");
}
