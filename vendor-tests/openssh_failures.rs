//! What is said when the `ssh` personality cannot connect: beside OpenSSH, in its
//! words and with its own options, whatever the other side says.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};

use crate::harness::{Home, Run, THEIRS, start, wait};
use crate::openssh_personality::Place;

const IP: &str = "127.0.0.1";

fn run(place: &Place, ssh: &str, args: &[&str]) -> Run {
    Run::of(wait(start(&mut place.client(ssh, args), "openssh-client"))).exits(255)
}

/// The line of both that begins like this, which has to be the same.
#[track_caller]
fn same_line(place: &Place, args: &[&str], beginning: &str) -> String {
    let line = |ssh: &str| {
        let done = run(place, ssh, args);
        let line = done.stderr.lines().find(|line| line.starts_with(beginning));
        line.unwrap_or_else(|| panic!("{ssh} {args:?}: {}", done.stderr)).trim_end().to_owned()
    };
    let (ours, theirs) = (line(&place.ours()), line(THEIRS));
    assert_eq!(ours, theirs, "{args:?}");
    ours
}

#[test]
fn a_server_with_nothing_in_common_is_named_with_its_offer_and_the_option() {
    let keys = Home::new();
    let rsa = keys.keygen("rsa", "rsa", "");
    for (config, option) in [
        ("KexAlgorithms diffie-hellman-group14-sha1", "KexAlgorithms=+diffie-hellman-group14-sha1"),
        ("Ciphers aes128-cbc", "Ciphers=+aes128-cbc"),
        (
            &format!("HostKey {}\nHostKeyAlgorithms ssh-rsa", rsa.display()),
            "HostKeyAlgorithms=+ssh-rsa",
        ),
    ] {
        let place = Place::shared(config);
        same_line(&place, &["box", "true"], "Unable to negotiate with 127.0.0.1 port ");
        let ours = run(&place, &place.ours(), &["box", "true"]);
        assert!(
            ours.stderr.contains(&format!("hint: to allow this algorithm: -o {option}\n")),
            "{ours:?}"
        );
        assert!(!ours.stderr.contains("--"), "another front end's option: {ours:?}");
        // What is advised works.
        let advised = format!("-o{option}");
        assert_eq!(place.ssh(&[&advised, "box", "echo", "in"]).exits(0).text(), "in\n");
    }
}

#[test]
fn a_mac_that_nobody_should_use_is_named_as_openssh_does() {
    let place = Place::shared("Ciphers aes256-ctr\nMACs hmac-md5");
    let line = same_line(&place, &["box", "true"], "Unable to negotiate with 127.0.0.1 port ");
    assert!(line.ends_with("no matching MAC found. Their offer: hmac-md5"), "{line}");
}

/// A server that says this to everybody, hears them out, and goes away.
fn says(words: Vec<u8>) -> u16 {
    let listener = TcpListener::bind((IP, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = move |mut stream: TcpStream| {
        let _ = stream.write_all(&words);
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    };
    std::thread::spawn(move || listener.incoming().flatten().for_each(serve));
    port
}

/// SSH_MSG_DISCONNECT (RFC 4253, section 11.1) before any keys.
fn disconnect(message: &str) -> Vec<u8> {
    let mut payload = vec![1, 0, 0, 0, 2];
    payload.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    payload.extend(message.as_bytes());
    payload.extend([0; 4]);
    let padding = 8 - (payload.len() + 5) % 8 + 8;
    let length = u32::try_from(payload.len() + 1 + padding).unwrap();
    let mut packet = length.to_be_bytes().to_vec();
    packet.push(u8::try_from(padding).unwrap());
    packet.extend(payload);
    packet.extend(vec![0; padding]);
    packet
}

#[test]
fn a_server_that_goes_away_after_its_banner_is_told_as_openssh_tells_it() {
    let place = Place::shared("");
    let port = says(b"SSH-2.0-gone\r\n".to_vec()).to_string();
    let line = same_line(&place, &["-p", &port, "box", "true"], "Connection closed by");
    assert_eq!(line, format!("Connection closed by 127.0.0.1 port {port}"));
}

#[test]
fn what_a_server_says_is_never_taken_for_a_failure_of_another_kind() {
    let place = Place::shared("");
    for foul in [
        "could not resolve hostname: no such name",
        "host key verification failed",
        "connection refused",
    ] {
        let words = [b"SSH-2.0-foul\r\n".to_vec(), disconnect(foul)].concat();
        let port = says(words).to_string();
        let ours = run(&place, &place.ours(), &["-p", &port, "box", "true"]);
        assert!(ours.stderr.contains(&format!("closed by the server: {foul}")), "{ours:?}");
        for words in ["Could not resolve hostname", "Host key verification failed.", "--"] {
            assert!(!ours.stderr.contains(words), "{foul}: {ours:?}");
        }
    }
}
