//! A stream that has been asked for. Owns the words that may go along with the asking,
//! where a technology can carry them: whoever waits for the answer before he speaks
//! waits a round trip longer.

use async_trait::async_trait;

use super::{DialError, Stream};

/// A stream that has been asked for, and may be there already.
pub struct Begun(State);

enum State {
    Open(Stream),
    Pending(Box<dyn Pending>),
}

/// A stream that the other side has not confirmed yet.
#[async_trait]
pub(crate) trait Pending: Send {
    /// Sends `words` behind what was asked. If they cannot be sent, [`Self::confirmed`]
    /// knows why.
    async fn say(&mut self, words: &[u8]);

    /// Waits until it is confirmed.
    async fn confirmed(self: Box<Self>) -> Result<Stream, DialError>;
}

impl Begun {
    /// One that is there.
    pub fn open(stream: Stream) -> Self {
        Self(State::Open(stream))
    }

    /// One that is not there yet.
    pub(crate) fn asked(asked: impl Pending + 'static) -> Self {
        Self(State::Pending(Box::new(asked)))
    }

    /// Whether something can be said before the stream is there.
    pub fn may_speak(&self) -> bool {
        matches!(self.0, State::Pending(_))
    }

    /// Says `words` if it [`may_speak`](Self::may_speak), and nothing otherwise.
    pub async fn say(&mut self, words: &[u8]) {
        if let State::Pending(asked) = &mut self.0
            && !words.is_empty()
        {
            asked.say(words).await;
        }
    }

    /// The stream, once it is there.
    ///
    /// # Errors
    /// As of [`super::Dialer::dial`].
    pub async fn confirmed(self) -> Result<Stream, DialError> {
        match self.0 {
            State::Open(stream) => Ok(stream),
            State::Pending(asked) => asked.confirmed().await,
        }
    }
}
