//! What is begun along with the login, at a server that calls itself OpenSSH and is not:
//! it passes over what comes too early, without a word.

use super::*;
use crate::ssh::Opening;
use crate::ssh::remote::Remote;

#[derive(Clone)]
struct Liar {
    takes: PublicKey,
    /// How often it was asked to run something.
    asked: Arc<AtomicUsize>,
}

impl server::Server for Liar {
    type Handler = Self;

    fn new_client(&mut self, _: Option<SocketAddr>) -> Self {
        self.clone()
    }
}

impl server::Handler for Liar {
    type Error = russh::Error;

    async fn auth_publickey(
        &mut self,
        _: &str,
        key: server::VerifiedPublicKey<'_>,
    ) -> Result<server::Auth, russh::Error> {
        Ok(match key.public_key.key_data() == self.takes.key_data() {
            true => server::Auth::Accept,
            false => server::Auth::reject(),
        })
    }

    async fn channel_open_session(
        &mut self,
        _: russh::Channel<server::Msg>,
        reply: server::ChannelOpenHandle,
        _: &mut server::Session,
    ) -> Result<(), russh::Error> {
        reply.accept().await;
        Ok(())
    }

    async fn exec_request(
        &mut self,
        channel: russh::ChannelId,
        _: &[u8],
        session: &mut server::Session,
    ) -> Result<(), russh::Error> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        session.channel_success(channel)
    }
}

/// A machine that is called so and takes this key, and how often it was asked.
async fn liar(name: &'static str, takes: &PublicKey) -> (Route, Arc<AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = server::Config {
        server_id: russh::SshId::Standard(name.into()),
        keys: vec![key()],
        auth_rejection_time: Duration::ZERO,
        ..server::Config::default()
    };
    let asked = Arc::new(AtomicUsize::new(0));
    let mut liar = Liar { takes: takes.clone(), asked: asked.clone() };
    tokio::spawn(async move { liar.run_on_socket(Arc::new(config), &listener).await });
    let machine = Machine { address, key: takes.clone(), authenticated: Arc::default() };
    (machine.route("n"), asked)
}

/// A request to run something with these keys, at this place.
fn asking(route: Route, keys: &[&PrivateKey]) -> Case {
    let mut case = case(vec![route], HostKeyCheck::Tofu, "");
    for (number, key) in keys.iter().enumerate() {
        let path = case.dir.path().join(format!("key{number}"));
        key.write_openssh_file(&path, Default::default()).unwrap();
        case.request.credentials.identities.push(path);
    }
    let remote = Remote { command: Some("true".to_owned()), ..Remote::default() };
    case.request.opens = Some(Arc::new(move |_| Some(Opening::Remote(remote.clone(), None))));
    case
}

/// Logs in, and runs what it is for as a front end does.
async fn runs(case: &Case) -> Result<()> {
    let session = case.connect().await?.session;
    let remote = Remote { command: Some("true".to_owned()), ..Remote::default() };
    match session.begun() {
        Some(begun) => session.go_on("m", begun).await?,
        None => session.start("m", &remote).await?,
    };
    session.disconnect().await;
    Ok(())
}

#[tokio::test]
async fn what_was_passed_over_without_a_word_is_not_asked_for_again() {
    let (first, second) = (key(), key());
    let (route, asked) = liar("SSH-2.0-OpenSSH_9.9", second.public_key()).await;
    let error = runs(&asking(route, &[&first, &second])).await.unwrap_err();
    assert!(matches!(error, Error::ConnectionLost { .. }), "{error:?}");
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn requests_on_a_channel_of_another_number_are_not_repeated() {
    let only = key();
    let (route, asked) = liar("SSH-2.0-OpenSSH_9.9", only.public_key()).await;
    assert!(runs(&asking(route, &[&only])).await.is_err());
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn servers_of_other_names_hear_of_nothing_early() {
    let (first, second) = (key(), key());
    for name in ["SSH-2.0-Else", "SSH-2.0-OpenSSH_for_Windows_9.5", "SSH-2.0-OpenSSHlike"] {
        for keys in [&[&second][..], &[&first, &second]] {
            let (route, asked) = liar(name, second.public_key()).await;
            runs(&asking(route, keys)).await.unwrap();
            until_asked(&asked).await;
        }
    }
}

/// Waits until the server was asked, once.
async fn until_asked(asked: &AtomicUsize) {
    for _ in 0..500 {
        if asked.load(Ordering::SeqCst) > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}
