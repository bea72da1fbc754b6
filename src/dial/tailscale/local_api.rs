//! The local API of tailscaled, as far as it opens streams: HTTP/1.1 on its socket. Owns
//! the two requests and the bounds on their answers; shows no text of them, because they
//! name hosts.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::UnixStream;

use super::failed;
use crate::dial::by_address::TAILSCALED;
use crate::dial::{DialError, DialFailure};
use crate::error::TailscaleFailure;
use crate::tokens;

/// Longest head of an answer, in bytes.
const MAX_HEAD: usize = 16 << 10;
/// Longest body of an answer: the state of a tailnet with thousands of machines.
const MAX_BODY: usize = 16 << 20;
/// How long the state may take, which is asked for where dialling has failed.
const STATE_DEADLINE: Duration = Duration::from_secs(2);
/// Longest name of a host, in bytes.
const MAX_HOST: usize = 253;

/// Whether somebody listens there: the socket of a tailscaled that was killed stays.
pub(super) fn is_there(sockets: &[PathBuf]) -> bool {
    sockets.iter().any(|socket| listens(socket))
}

fn listens(socket: &Path) -> bool {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let Ok(address) = SocketAddrUnix::new(socket) else { return false };
    let unix = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None);
    // Whoever has no room for one more, or does not let us in, is there as well.
    unix.and_then(|unix| rustix::net::connect(&unix, &address)).map_or_else(
        |error| matches!(error, rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS),
        |()| true,
    )
}

/// A stream to a host of the tailnet.
pub(super) async fn dial(sockets: &[PathBuf], host: &str, port: u16) -> Result<Dialled, DialError> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    // It stands in the head of a request.
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    if bare.is_empty() || bare.len() > MAX_HOST || !bare.bytes().all(fits) {
        return Err(failed(DialFailure::BadAddress("it is no host of a tailnet")));
    }
    if tokens::unfit_host(bare).is_some() {
        return Err(failed(DialFailure::BadAddress("it is no host of a tailnet")));
    }
    let mut stream = connect(sockets).await?;
    let request = format!(
        "POST /localapi/v0/dial HTTP/1.1\r\nHost: local-tailscaled.sock\r\n\
         Connection: upgrade\r\nUpgrade: ts-dial\r\nDial-Network: tcp\r\n\
         Dial-Host: {bare}\r\nDial-Port: {port}\r\nContent-Length: 0\r\n\r\n"
    );
    let head = ask(&mut stream, &request).await?;
    let tailscale = |failure| Err(failed(DialFailure::Tailscale(failure)));
    match head.status {
        101 => Ok(Dialled { stream, rest: head.rest, given: 0 }),
        // "Not ours, connect yourself": that would be a connection to anywhere.
        200 if head.has("dial-self", "true") => tailscale(TailscaleFailure::Outside),
        403 => tailscale(TailscaleFailure::Forbidden),
        502 => {
            let why = body(&mut stream, head).await.unwrap_or_default();
            Err(failed(match state(sockets).await {
                Some(failure) => DialFailure::Tailscale(failure),
                None => of_text(&String::from_utf8_lossy(&why)),
            }))
        }
        _ => tailscale(TailscaleFailure::Garbled),
    }
}

async fn connect(sockets: &[PathBuf]) -> Result<UnixStream, DialError> {
    for socket in sockets {
        match UnixStream::connect(Path::new(socket)).await {
            Ok(stream) => return Ok(stream),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                return Err(failed(DialFailure::Tailscale(TailscaleFailure::Forbidden)));
            }
            Err(_) => {}
        }
    }
    Err(failed(DialFailure::Outside(TAILSCALED)))
}

/// What tailscaled says of a dial that failed, in the words of Go's net package.
fn of_text(text: &str) -> DialFailure {
    let says = |words: &str| text.contains(words);
    if says("connection refused") || says("connection was refused") {
        DialFailure::Refused
    } else if says("no such host") {
        DialFailure::NoSuchName
    } else if says("i/o timeout") || says("deadline exceeded") || says("timed out") {
        DialFailure::TimedOut
    } else {
        DialFailure::Tailscale(TailscaleFailure::Unreached)
    }
}

/// Why tailscaled reaches nobody at all, if so.
async fn state(sockets: &[PathBuf]) -> Option<TailscaleFailure> {
    #[derive(Deserialize)]
    struct Status {
        #[serde(rename = "BackendState")]
        state: String,
    }
    let asking = async {
        let mut stream = connect(sockets).await.ok()?;
        let request = "GET /localapi/v0/status?peers=false HTTP/1.1\r\n\
                       Host: local-tailscaled.sock\r\nConnection: close\r\n\r\n";
        let head = ask(&mut stream, request).await.ok().filter(|head| head.status == 200)?;
        let json = body(&mut stream, head).await?;
        serde_json::from_slice::<Status>(&json).ok()
    };
    let status = tokio::time::timeout(STATE_DEADLINE, asking).await.ok()??;
    match status.state.as_str() {
        "NeedsLogin" | "NeedsMachineAuth" => Some(TailscaleFailure::NeedsLogin),
        "Stopped" => Some(TailscaleFailure::Stopped),
        "Starting" | "NoState" => Some(TailscaleFailure::Starting),
        _ => None,
    }
}

/// The head of an answer.
struct Head {
    status: u16,
    /// Names in lower case.
    fields: Vec<(String, String)>,
    /// What has come behind it.
    rest: Vec<u8>,
}

impl Head {
    fn has(&self, name: &str, value: &str) -> bool {
        self.field(name).is_some_and(|said| said.eq_ignore_ascii_case(value))
    }

    fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.fields.iter();
        fields.find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn parse(head: &str, rest: Vec<u8>) -> Option<Self> {
        let mut lines = head.split("\r\n");
        let status = lines.next()?.strip_prefix("HTTP/1.")?.get(1..)?.trim_start().get(..3)?;
        let fields = lines.filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        });
        Some(Self { status: status.parse().ok()?, fields: fields.collect(), rest })
    }
}

async fn ask(stream: &mut UnixStream, request: &str) -> Result<Head, DialError> {
    let garbled = || failed(DialFailure::Tailscale(TailscaleFailure::Garbled));
    stream.write_all(request.as_bytes()).await.map_err(|_| garbled())?;
    let mut seen = Vec::new();
    loop {
        if let Some(end) = seen.windows(4).position(|window| window == b"\r\n\r\n") {
            let rest = seen.split_off(end + 4);
            seen.truncate(end);
            let head = String::from_utf8(seen).ok();
            return head.and_then(|head| Head::parse(&head, rest)).ok_or_else(garbled);
        }
        if seen.len() > MAX_HEAD || stream.read_buf(&mut seen).await.unwrap_or(0) == 0 {
            return Err(garbled());
        }
    }
}

/// What an answer holds, as far as its length says or until it ends; `None` where that is
/// too much. Pieces with lengths of their own are taken as they stand: whatever is looked
/// for in them lies in one.
async fn body(stream: &mut UnixStream, head: Head) -> Option<Vec<u8>> {
    let length = head.field("content-length").and_then(|length| length.parse::<usize>().ok());
    let is_chunked = head.has("transfer-encoding", "chunked");
    let mut body = head.rest;
    loop {
        if body.len() > MAX_BODY {
            return None;
        }
        if length.is_some_and(|length| body.len() >= length)
            || (is_chunked && body.ends_with(b"0\r\n\r\n"))
        {
            break;
        }
        if stream.read_buf(&mut body).await.ok()? == 0 {
            break;
        }
    }
    match is_chunked {
        true => dechunked(&body),
        false => Some(body),
    }
}

/// The data of a body in pieces (RFC 9112, section 7.1).
fn dechunked(mut body: &[u8]) -> Option<Vec<u8>> {
    let mut data = Vec::new();
    loop {
        let end = body.windows(2).position(|window| window == b"\r\n")?;
        let size = std::str::from_utf8(body.get(..end)?).ok()?;
        let size = size.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).ok().filter(|size| *size <= MAX_BODY)?;
        if size == 0 {
            return Some(data);
        }
        body = body.get(end + 2..)?;
        data.extend_from_slice(body.get(..size)?);
        body = body.get(size + 2..)?;
    }
}

/// The stream behind an answer, and what of it came with the answer.
pub(super) struct Dialled {
    stream: UnixStream,
    rest: Vec<u8>,
    given: usize,
}

impl AsyncRead for Dialled {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let rest = self.rest.get(self.given..).unwrap_or_default();
        if rest.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let some = rest.get(..buf.remaining()).unwrap_or(rest);
        buf.put_slice(some);
        let count = some.len();
        self.given += count;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Dialled {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    #[tokio::test]
    async fn a_socket_that_nobody_listens_at_any_more_is_no_tailscaled() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("tailscaled.sock");
        assert!(!is_there(std::slice::from_ref(&socket)));
        let listener = UnixListener::bind(&socket).unwrap();
        assert!(is_there(std::slice::from_ref(&socket)));
        drop(listener);
        assert!(socket.exists() && !is_there(std::slice::from_ref(&socket)));
        std::fs::remove_file(&socket).unwrap();
        std::fs::write(&socket, "").unwrap();
        assert!(!is_there(&[socket]));
    }

    /// A tailscaled that gives `answers` in turn, each to one connection that it has read a
    /// request of, and echoes on those that it has upgraded.
    struct Fake {
        dir: tempfile::TempDir,
        asked: std::sync::Arc<std::sync::Mutex<Vec<String>>>,
    }

    impl Fake {
        fn new(answers: &[&str]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let listener = UnixListener::bind(dir.path().join("sock")).unwrap();
            let asked = std::sync::Arc::<std::sync::Mutex<Vec<String>>>::default();
            let (seen, answers) = (asked.clone(), answers.iter().map(|it| (*it).to_owned()));
            let answers: Vec<String> = answers.collect();
            tokio::spawn(async move {
                for answer in answers {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    let mut request = Vec::new();
                    while !request.ends_with(b"\r\n\r\n") {
                        assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
                    }
                    seen.lock().unwrap().push(String::from_utf8(request).unwrap());
                    stream.write_all(answer.as_bytes()).await.unwrap();
                    if answer.starts_with("HTTP/1.1 101") {
                        let (mut read, mut write) = stream.split();
                        tokio::io::copy(&mut read, &mut write).await.unwrap();
                    }
                }
            });
            Self { dir, asked }
        }

        async fn dial(&self, host: &str) -> Result<Dialled, DialFailure> {
            let sockets = [self.dir.path().join("none"), self.dir.path().join("sock")];
            dial(&sockets, host, 22).await.map_err(|error| error.failure)
        }
    }

    #[tokio::test]
    async fn an_upgraded_connection_is_the_stream_with_what_came_along() {
        let fake = Fake::new(&[
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: ts-dial\r\nConnection: upgrade\r\n\r\n\
             SSH-2.0-x\r\n",
        ]);
        let mut stream = fake.dial("web.tail.ts.net").await.map_err(|_| ()).unwrap();
        stream.write_all(b"hello").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut all = String::new();
        stream.read_to_string(&mut all).await.unwrap();
        assert_eq!(all, "SSH-2.0-x\r\nhello");
        let asked = fake.asked.lock().unwrap().concat();
        assert!(asked.starts_with("POST /localapi/v0/dial HTTP/1.1\r\n"), "{asked}");
        for line in ["Dial-Host: web.tail.ts.net", "Dial-Port: 22", "Upgrade: ts-dial"] {
            assert!(asked.contains(&format!("\r\n{line}\r\n")), "{asked}");
        }
    }

    #[tokio::test]
    async fn a_host_outside_of_the_tailnet_is_never_connected_to() {
        let fake =
            Fake::new(&["HTTP/1.1 200 OK\r\nDial-Self: true\r\nDial-Addr: 192.0.2.1:22\r\n\
             Content-Length: 0\r\n\r\n"]);
        let failure = fake.dial("web").await.map(|_| ()).unwrap_err();
        assert_eq!(failure, DialFailure::Tailscale(TailscaleFailure::Outside));
    }

    #[tokio::test]
    async fn every_refusal_says_what_to_do() {
        let failed = "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 40\r\n\r\n\
                      dial failure: dial tcp: who is that host";
        let state = |state: &str| {
            format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{{\"BackendState\":\"{state}\"}}")
        };
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                       a\r\n{\"BackendS\r\nE;x=y\r\ntate\":\"Stopped\r\n2\r\n\"}\r\n0\r\n\r\n";
        let refused = "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 33\r\n\r\n\
                       dial failure: connection refused.";
        use TailscaleFailure::{Forbidden, Garbled, NeedsLogin, Starting, Stopped, Unreached};
        for (answers, expected) in [
            (vec![failed, &state("NeedsLogin")], DialFailure::Tailscale(NeedsLogin)),
            (vec![failed, &state("Starting")], DialFailure::Tailscale(Starting)),
            (vec![failed, chunked], DialFailure::Tailscale(Stopped)),
            (vec![failed, &state("Running")], DialFailure::Tailscale(Unreached)),
            (vec![refused, &state("Running")], DialFailure::Refused),
            (vec!["HTTP/1.1 403 Forbidden\r\n\r\n"], DialFailure::Tailscale(Forbidden)),
            (vec!["HTTP/1.1 405 No\r\n\r\n"], DialFailure::Tailscale(Garbled)),
            (vec!["SSH-2.0-OpenSSH\r\n\r\n"], DialFailure::Tailscale(Garbled)),
            (vec!["HTTP/1.1 200 OK\r\n\r\n"], DialFailure::Tailscale(Garbled)),
            (vec![&*"x".repeat(MAX_HEAD * 2)], DialFailure::Tailscale(Garbled)),
            (vec![""], DialFailure::Tailscale(Garbled)),
        ] {
            let fake = Fake::new(&answers);
            let failure = fake.dial("100.64.0.1").await.map(|_| ()).unwrap_err();
            assert_eq!(failure, expected, "{answers:?}");
        }
    }

    #[tokio::test]
    async fn what_would_not_be_a_host_is_not_asked_for() {
        let fake = Fake::new(&[]);
        for host in ["", "a b", "a\r\nDial-Port: 1", "ä", &"a".repeat(300), "-x"] {
            let failure = fake.dial(host).await.map(|_| ()).unwrap_err();
            assert!(matches!(failure, DialFailure::BadAddress(_)), "{host:?}");
        }
        let nobody = dial(&[fake.dir.path().join("none")], "web", 22).await;
        let failure = nobody.map(|_| ()).map_err(|error| error.failure).unwrap_err();
        assert_eq!(failure, DialFailure::Outside(TAILSCALED));
    }
}
