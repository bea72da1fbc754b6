//! What is said first to a server that was met before.

use crate::remembered::Servers;
use crate::ssh::algorithms::{Algorithms, List};
use crate::ssh::known_hosts::test_keys;

use super::*;

/// A host that is known by these lines, and a memory.
async fn said(known: &str, change: impl FnOnce(&mut Case, &Servers)) -> (Vec<u8>, Vec<u8>) {
    let machine = Machine { address: ([127, 0, 0, 1], 22).into(), ..unstarted() };
    let mut case = case(vec![machine.route("only")], HostKeyCheck::Tofu, "right");
    let path = case.dir.path().join("known_hosts");
    std::fs::write(&path, known).unwrap();
    let servers = Arc::new(Servers::at(&case.dir.path().join("servers.json")));
    case.request.servers = Some(servers.clone());
    change(&mut case, &servers);
    let trust = Trust::load(&case.request).await.unwrap();
    let revealing = Revealing::of(&case.request);
    let target = reveal(case.request.routes[0].clone(), revealing).await.unwrap();
    let options = trust.options(&case.request, &target, None, false);
    let say = || ssh::greeting(&options).bytes().to_vec();
    (say(), say())
}

fn unstarted() -> Machine {
    let key = key().public_key().clone();
    Machine { address: ([127, 0, 0, 1], 1).into(), key, authenticated: Arc::default() }
}

/// The messages behind the identification, without their frames.
fn messages(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = bytes.strip_prefix(ssh::IDENTIFICATION.as_bytes()).unwrap();
    let mut messages = Vec::new();
    while let Some((length, more)) = rest.split_first_chunk::<4>() {
        let (packet, more) = more.split_at(u32::from_be_bytes(*length) as usize);
        let end = packet.len() - usize::from(packet[0]);
        messages.push(packet[1..end].to_vec());
        rest = more;
    }
    messages
}

/// Whether a guess follows, by the KEXINIT and by what follows.
fn has_guess(bytes: &[u8]) -> bool {
    let messages = messages(bytes);
    let kexinit = &messages[0];
    let says = kexinit[kexinit.len() - 5] == 1;
    assert_eq!((kexinit[0], messages.len()), (20, 1 + usize::from(says)));
    says
}

const KEX: &str = "mlkem768x25519-sha256";

fn bytes(line: &str) -> Vec<u8> {
    test_keys::key(line).to_bytes().unwrap()
}

#[tokio::test]
async fn a_guess_is_made_when_both_firsts_are_ours_and_never_with_the_same_key() {
    let known = format!("127.0.0.1 {}\n", test_keys::ED25519);
    let (one, other) = said(&known, |_, servers| {
        servers.note(&bytes(test_keys::ED25519), KEX, "ssh-ed25519");
    })
    .await;
    assert!(has_guess(&one) && has_guess(&other));
    let guess = |bytes: &[u8]| messages(bytes).remove(1);
    // RFC 9370's sizes: a key of ML-KEM 768 and one of X25519.
    assert_eq!((guess(&one)[0], guess(&one).len()), (30, 1 + 4 + 1184 + 32));
    assert_ne!(guess(&one), guess(&other), "what is secret in it is used once");
    let cookie = |bytes: &[u8]| messages(bytes)[0][1..17].to_vec();
    assert_ne!(cookie(&one), cookie(&other));
}

#[tokio::test]
async fn no_guess_is_made_where_either_first_is_another_or_nothing_is_known() {
    let ed25519 = format!("127.0.0.1 {}\n", test_keys::ED25519);
    let authority = format!("{ed25519}@cert-authority * {}\n", test_keys::OTHER_ED25519);
    let rsa = format!("127.0.0.1 {}\n", test_keys::RSA);
    let key = bytes(test_keys::ED25519);
    for (known, kex, algorithm) in [
        (&ed25519, "curve25519-sha256", "ssh-ed25519"),
        (&ed25519, "none", "ssh-ed25519"),
        (&ed25519, KEX, "rsa-sha2-512"),
        (&ed25519, KEX, ""),
        // A certificate is what we put first.
        (&authority, KEX, "ssh-ed25519"),
        // Keys of RSA are.
        (&rsa, KEX, "ssh-ed25519"),
        (&String::new(), KEX, "ssh-ed25519"),
    ] {
        let (bytes, _) = said(known, |_, servers| {
            servers.note(&key, kex, algorithm);
            servers.note(&self::bytes(test_keys::RSA), kex, algorithm);
        })
        .await;
        assert!(!has_guess(&bytes), "{known} {kex} {algorithm}");
    }
    let (bytes, _) = said(&ed25519, |case, servers| {
        servers.note(&key, KEX, "ssh-ed25519");
        case.request.pipelining = false;
    })
    .await;
    assert_eq!(bytes, ssh::IDENTIFICATION.as_bytes());
    let (bytes, _) = said(&ed25519, |case, servers| {
        servers.note(&key, KEX, "ssh-ed25519");
        case.request.servers = None;
    })
    .await;
    assert!(!has_guess(&bytes));
}

#[tokio::test]
async fn our_own_order_is_the_users_and_nobody_elses() {
    let ed25519 = format!("127.0.0.1 {}\n", test_keys::ED25519);
    let first = |bytes: &[u8]| {
        let kexinit = &messages(bytes)[0];
        let (length, names) = kexinit[17..].split_first_chunk::<4>().unwrap();
        let names = &names[..u32::from_be_bytes(*length) as usize];
        String::from_utf8(names.to_vec()).unwrap().split(',').next().unwrap().to_owned()
    };
    for (kex, guessed) in [("curve25519-sha256", true), (KEX, false)] {
        let (bytes, _) = said(&ed25519, |case, servers| {
            servers.note(&self::bytes(test_keys::ED25519), "curve25519-sha256", "ssh-ed25519");
            let chosen = Algorithms::parse(List::Kex, &format!("^{kex}")).unwrap();
            case.request.host_keys.algorithms.choose(List::Kex, &chosen);
        })
        .await;
        assert_eq!((first(&bytes).as_str(), has_guess(&bytes)), (kex, guessed));
    }
}
