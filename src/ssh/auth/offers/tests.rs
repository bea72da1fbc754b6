use super::super::keyfile::KeyFile;
use super::*;
use crate::ssh::known_hosts::test_keys::{ECDSA256, ED25519, OTHER_ED25519, RSA};

/// Made with OpenSSH 9.2's ssh-keygen for the key in [`ED25519`].
const CERTIFICATE: &str = "ssh-ed25519-cert-v01@openssh.com AAAAIHNzaC1lZDI1NTE5LWNlcnQtdjAxQG9wZW5zc2guY29tAAAAIDyyoaOnnQzZCtk8l/xIJw/8RYyPhBF3Uxx+US2kyjiaAAAAIBL4VKagXZMC4tJ5ofeMqABhB1J3gL9KtbX4XXJp+8DhAAAAAAAAAAAAAAABAAAAAmlkAAAACAAAAARyb290AAAAAAAAAAD//////////wAAAAAAAACCAAAAFXBlcm1pdC1YMTEtZm9yd2FyZGluZwAAAAAAAAAXcGVybWl0LWFnZW50LWZvcndhcmRpbmcAAAAAAAAAFnBlcm1pdC1wb3J0LWZvcndhcmRpbmcAAAAAAAAACnBlcm1pdC1wdHkAAAAAAAAADnBlcm1pdC11c2VyLXJjAAAAAAAAAAAAAAAzAAAAC3NzaC1lZDI1NTE5AAAAIEp5OD/f/lcbRrdAXqrhZ0Hv7QOtg2v9o3yG4978d74HAAAAUwAAAAtzc2gtZWQyNTUxOQAAAECfrg0NNfqqc+Cd1VNFM0l8k1skmLo7J8HglMJushk5kraG5P/Ztyo7rTH8dnJ/kdVLmcj7L1job6LaGPG8Fv4E";

fn held(text: &str) -> AgentIdentity {
    PublicKey::from_openssh(text).unwrap().into()
}

fn certificate() -> Certificate {
    Certificate::from_openssh(CERTIFICATE).unwrap()
}

/// A file with a public half alone, under this name.
async fn file(dir: &std::path::Path, name: &str, text: &str) -> Arc<KeyFile> {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    Arc::new(KeyFile::read(&path).await.unwrap())
}

fn order(sources: Sources) -> Vec<String> {
    let (offers, _) = sources.order();
    offers
        .iter()
        .map(|offer| {
            let what = match &offer.what {
                Some(AgentIdentity::Certificate { .. }) => "certificate",
                Some(AgentIdentity::PublicKey { key, .. }) => match key.algorithm() {
                    Algorithm::Ed25519 => "ed25519",
                    Algorithm::Rsa { .. } => "rsa",
                    _ => "other",
                },
                None => "unknown",
            };
            let by = match &offer.by {
                By::Agent(identity) => match **identity {
                    AgentIdentity::Certificate { .. } => "agent's certificate",
                    AgentIdentity::PublicKey { .. } => "agent",
                },
                By::File(_) => "file",
                By::Nobody => "nobody",
            };
            format!("{what} by {by}")
        })
        .collect()
}

#[tokio::test]
async fn keys_of_files_that_the_agent_holds_come_before_its_others() {
    let dir = tempfile::tempdir().unwrap();
    let rsa = file(dir.path(), "rsa", RSA).await;
    let sources = |identities_only| Sources {
        files: vec![rsa.clone()],
        held: vec![held(ED25519), held(RSA), held(ECDSA256)],
        identities_only,
        ..Sources::default()
    };
    let all = ["rsa by agent", "ed25519 by agent", "other by agent"];
    assert_eq!(order(sources(false)), all);
    assert_eq!(order(sources(true)), all[..1]);
    // Without the agent there is nobody to sign.
    let (offers, said) = Sources { files: vec![rsa], ..Sources::default() }.order();
    assert!(offers.is_empty() && said[0].1.contains("private half"), "{said:?}");
}

#[tokio::test]
async fn certificates_are_signed_for_by_whoever_has_their_key() {
    let dir = tempfile::tempdir().unwrap();
    let explicit = |held| Sources {
        certificates: vec![("x-cert.pub".into(), certificate())],
        held,
        ..Sources::default()
    };
    let found = order(explicit(vec![held(RSA), held(ED25519)]));
    assert_eq!(found, ["certificate by agent", "rsa by agent", "ed25519 by agent"]);
    assert_eq!(order(explicit(vec![held(RSA)])), ["rsa by agent"]);
    assert_eq!(order(explicit(vec![held(OTHER_ED25519)])), ["ed25519 by agent"]);
    // The file is the certificate itself; the agent holds it, or its key.
    let beside = file(dir.path(), "id-cert.pub", CERTIFICATE).await;
    let with = |held| Sources { files: vec![beside.clone()], held, ..Sources::default() };
    assert_eq!(order(with(vec![certificate().into()])), ["certificate by agent's certificate"]);
    let found = order(with(vec![held(ED25519)]));
    assert_eq!(found, ["ed25519 by agent", "certificate by agent"]);
    assert_eq!(order(with(Vec::new())), Vec::<String>::new());
}

#[test]
fn only_accepted_algorithms_are_used() {
    let accept = |accepted: &[&str]| Sources {
        held: vec![held(ED25519), held(RSA), certificate().into()],
        accepted: accepted.iter().map(|name| (*name).to_owned()).collect(),
        ..Sources::default()
    };
    assert_eq!(order(accept(&["ssh-ed25519"])), ["ed25519 by agent"]);
    assert_eq!(order(accept(&["rsa-sha2-256"])), ["rsa by agent"]);
    // Its key signs for it, whether or not it may be offered itself.
    let certificates = accept(&["ssh-ed25519-cert-v01@openssh.com"]);
    assert_eq!(order(certificates), ["certificate by agent"]);
    assert_eq!(order(accept(&["ssh-dss"])), Vec::<String>::new());
    let hash = |accepted: &[&str], best| {
        let accepted: Vec<String> = accepted.iter().map(|name| (*name).to_owned()).collect();
        rsa_hash(&held(RSA), &accepted, best)
    };
    let (long, short) = (HashAlg::Sha512, HashAlg::Sha256);
    assert_eq!(hash(&[], None), Some(long));
    assert_eq!(hash(&[], Some(short)), Some(short));
    assert_eq!(hash(&["rsa-sha2-256"], Some(long)), Some(short));
    assert_eq!(hash(&["rsa-sha2-256", "rsa-sha2-512"], None), Some(short));
    assert_eq!(hash(&["rsa-sha2-512"], Some(short)), None);
}
