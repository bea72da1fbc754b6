//! A stream by the node of another process. Owns how long such a process is waited for that
//! ends with its own work, and what is waited for where it will not or cannot.

use std::net::SocketAddrV6;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::Lasting;
use super::message::{Reply, Request, Terms};
use crate::descriptors;
use crate::dial::key_lock::InUse;
use crate::dial::{DialError, Phase, Stream};

/// How often the lock is tried again where nobody says when it is free.
const RETRY: Duration = Duration::from_millis(100);
/// How long an answer may take to begin before something is said of it, and then before the
/// lock is tried again: the other process may have been stopped.
const SOON: Duration = Duration::from_millis(300);
const ANSWER: Duration = Duration::from_secs(2);
/// How long the end of a process is waited for, before a stream is opened that may end with
/// it. A dial has ten seconds where nobody says otherwise.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is wanted of a node.
pub(in crate::dial) struct Visit {
    /// Its network.
    pub(in crate::dial) network: &'static str,
    pub(in crate::dial) to: SocketAddrV6,
    pub(in crate::dial) terms: Terms,
    /// What is said while the key is waited for.
    pub(in crate::dial) busy: Phase,
}

/// Until when the end of another process is waited for.
#[derive(Debug)]
pub(in crate::dial) struct Patience {
    lasting: Lasting,
    end: Option<Instant>,
}

impl Patience {
    /// That of a process.
    pub(in crate::dial) fn of(lasting: Lasting) -> Self {
        Self { lasting, end: None }
    }

    fn end(&mut self) -> Instant {
        *self.end.get_or_insert_with(|| Instant::now() + PATIENCE)
    }

    fn is_over(&self) -> bool {
        self.is_none() || self.end.is_some_and(|end| end <= Instant::now())
    }

    fn is_none(&self) -> bool {
        self.lasting == Lasting::Answer
    }
}

impl Visit {
    /// Opens the stream by whoever has the lock; none where the lock is to be tried again.
    pub(in crate::dial) async fn open(
        &self,
        holder: InUse,
        patience: &mut Patience,
        enter: &(dyn Fn(Phase) + Sync),
    ) -> Option<Result<Stream, DialError>> {
        let stream = holder.0.and_then(|stream| UnixStream::from_std(stream).ok());
        let Some(mut stream) = stream else {
            enter(self.busy.clone());
            sleep(RETRY).await;
            return None;
        };
        let is_urgent = patience.is_over();
        let request = Request { is_urgent, to: self.to, terms: self.terms.clone() };
        match self.answer(&mut stream, &request, enter).await {
            Some(Reply::Open) => {
                if is_urgent
                    && !patience.is_none()
                    && let Some(peer) = descriptors::peer(&stream)
                {
                    enter(Phase::Lodging { network: self.network, pid: peer.pid });
                }
                return Some(Ok(Stream::new(stream, Some((*self.to.ip()).into()))));
            }
            Some(Reply::Failed(error)) => return Some(Err(error)),
            Some(Reply::Wait) => {
                enter(self.busy.clone());
                let _ = timeout_at(patience.end(), ended(&mut stream)).await;
            }
            Some(Reply::Differs) => {
                enter(self.busy.clone());
                ended(&mut stream).await;
            }
            Some(Reply::Phase(_)) | None => {
                enter(self.busy.clone());
                sleep(RETRY).await;
            }
        }
        None
    }

    /// What is answered in the end; none where that is nothing.
    async fn answer(
        &self,
        stream: &mut UnixStream,
        request: &Request,
        enter: &(dyn Fn(Phase) + Sync),
    ) -> Option<Reply> {
        stream.write_all(&request.encode()).await.ok()?;
        let mut reply = {
            let receiving = Reply::receive(stream, self.network);
            tokio::pin!(receiving);
            match timeout(SOON, &mut receiving).await {
                Ok(reply) => reply.ok()?,
                Err(_) => {
                    enter(self.busy.clone());
                    timeout(ANSWER, receiving).await.ok()?.ok()?
                }
            }
        };
        while let Reply::Phase(phase) = reply {
            enter(phase);
            reply = Reply::receive(stream, self.network).await.ok()?;
        }
        Some(reply)
    }
}

/// Waits until the other process closes.
async fn ended(stream: &mut UnixStream) {
    let mut byte = [0];
    while stream.read(&mut byte).await.is_ok_and(|count| count > 0) {}
}
