//! What has arrived on a channel of a client and waits for its reader. It is
//! bounded by bytes: data by the window that the peer was granted (RFC 4254,
//! section 5.2), everything else by an allowance that all channels of a connection
//! share. Whoever delivers never waits; who sends too much is in error.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use russh_util::time::Instant;
use tokio::sync::Notify;

use super::{ChannelMsg, WindowSizeRef};
use crate::{Error, Sig};

/// Data from this size on is kept as it came; what is smaller is put together.
const LARGE: usize = 2 << 10;
/// How much small data is put together at most.
const PIECE: usize = 16 << 10;
/// What a waiting message counts at least, in bytes; about what it takes.
const MESSAGE: usize = 128;
/// Bytes of waiting messages that are no data, for a connection.
const MOST_MESSAGE_BYTES: usize = 4 << 20;
/// Waiting messages that are no data, for a channel. Nobody has use for so many.
const MOST_MESSAGES: usize = 1024;
/// The least window that a channel begins with, however many there are.
const LEAST_WINDOW: u32 = 64 << 10;
/// A channel begins with at most this part of what is left for all windows.
const FIRST_SHARE: usize = 16;
/// A reader that takes half a window in less has it doubled: then the window, and
/// not the reader, may be what bounds the speed over this round trip.
const QUICK: Duration = Duration::from_millis(500);

/// What the peer of a connection may have this side keep.
#[derive(Debug)]
pub(crate) struct Allowance {
    /// The window that a channel begins with, while there is enough for all.
    first_window: u32,
    /// What the window of a channel may grow to.
    most_window: u32,
    /// What all windows together should come to.
    all_windows: usize,
    /// What they come to, with what waits on channels that are closed already.
    granted: AtomicUsize,
    /// Bytes of waiting messages that are no data.
    messages: AtomicUsize,
    /// Some reader has taken so much that its window may be opened again.
    pub(crate) taken: Notify,
}

impl Allowance {
    pub(crate) fn new(first_window: u32, most_window: u32, all_windows: usize) -> Self {
        Self {
            first_window,
            most_window: most_window.max(first_window),
            all_windows,
            granted: AtomicUsize::new(0),
            messages: AtomicUsize::new(0),
            taken: Notify::new(),
        }
    }

    /// The window for a new channel: the more channels, the less for each.
    pub(crate) fn first_window(&self) -> u32 {
        let left = self.all_windows.saturating_sub(self.granted.load(Ordering::Relaxed));
        let share = u32::try_from(left / FIRST_SHARE).unwrap_or(u32::MAX);
        share.max(LEAST_WINDOW).min(self.first_window)
    }

    /// What this window may grow to now: half of what the others leave, so that
    /// something is left for the next.
    fn larger(&self, window: u32) -> u32 {
        let others = self.granted.load(Ordering::Relaxed).saturating_sub(window as usize);
        let half = self.all_windows.saturating_sub(others) / 2;
        let share = u32::try_from(half).unwrap_or(u32::MAX);
        window.saturating_mul(2).min(self.most_window).min(share).max(window)
    }

    fn take_message(&self, size: usize) -> Result<(), Error> {
        let before = self.messages.fetch_add(size, Ordering::Relaxed);
        if before + size > MOST_MESSAGE_BYTES {
            self.messages.fetch_sub(size, Ordering::Relaxed);
            return Err(Error::TooManyMessages);
        }
        Ok(())
    }
}

/// What the session of a client keeps of a channel: where to deliver what arrives,
/// and how much the peer lets us send.
#[derive(Debug)]
pub struct ClientChannelRef {
    pub(crate) inbox: Inbox,
    pub(crate) window_size: WindowSizeRef,
}

/// The end of a session that delivers. When it is dropped, the reader comes to an
/// end after what has arrived.
#[derive(Debug)]
pub(crate) struct Inbox {
    shared: Arc<Shared>,
    /// What the peer may have under way and waiting here, together.
    window: u32,
    /// When it was last opened.
    since: Instant,
    /// What the peer has sent beyond it.
    excess: u32,
}

/// The end that reads.
#[derive(Debug)]
pub(crate) struct InboxReader {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    allowance: Arc<Allowance>,
}

#[derive(Debug, Default)]
struct State {
    order: Order,
    data: Rope,
    messages: VecDeque<ChannelMsg>,
    /// Bytes of data that the reader has taken since the window was opened.
    taken: usize,
    /// How much has to be taken before it is opened again.
    wanted: usize,
    /// What this channel has of the allowance for all windows.
    granted: usize,
    reader: Option<Waker>,
    has_ended: bool,
    is_closed: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let messages = state.messages.iter().map(size).sum();
        self.allowance.messages.fetch_sub(messages, Ordering::Relaxed);
        self.allowance.granted.fetch_sub(state.granted, Ordering::Relaxed);
    }
}

impl Inbox {
    pub(crate) fn pair(allowance: Arc<Allowance>) -> (Self, InboxReader) {
        let state = Mutex::new(State::default());
        let shared = Arc::new(Shared { state, allowance });
        let reader = InboxReader { shared: shared.clone() };
        (Self { shared, window: 0, since: Instant::now(), excess: 0 }, reader)
    }

    /// The peer was told that it may send this much.
    pub(crate) fn open(&mut self, window: u32) {
        let mut state = self.shared.lock();
        self.shared.allowance.granted.fetch_add(window as usize, Ordering::Relaxed);
        state.granted += window as usize;
        self.window = window;
        state.wanted = half(window);
    }

    /// What may be added to the window, of which this much is left to the peer:
    /// what the reader has taken, once that is half of it.
    pub(crate) fn reopen(&mut self, left: u32) -> u32 {
        let mut state = self.shared.lock();
        if state.taken < state.wanted {
            return 0;
        }
        let waiting = state.data.len();
        let now = Instant::now();
        let is_quick = now.duration_since(self.since) < QUICK && waiting * 4 <= self.window as usize;
        if is_quick {
            let larger = self.shared.allowance.larger(self.window);
            let more = (larger - self.window) as usize;
            self.shared.allowance.granted.fetch_add(more, Ordering::Relaxed);
            state.granted += more;
            self.window = larger;
        }
        self.since = now;
        self.excess = 0;
        state.taken = 0;
        state.wanted = half(self.window);
        let used = waiting.saturating_add(left as usize);
        u32::try_from((self.window as usize).saturating_sub(used)).unwrap_or(0)
    }

    /// Data arrived of which this much is more than the window had left. A little
    /// is borne, as by OpenSSH (channels.c, channel_input_data).
    pub(crate) fn exceed(&mut self, by: u32) -> Result<(), Error> {
        self.excess = self.excess.saturating_add(by);
        if self.excess > self.window / 10 {
            return Err(Error::WindowExceeded);
        }
        Ok(())
    }

    /// Takes in a message; never waits.
    ///
    /// # Errors
    /// When more waits than a peer has any reason to send.
    pub(crate) fn deliver(&self, message: ChannelMsg) -> Result<(), Error> {
        let mut state = self.shared.lock();
        match message {
            ChannelMsg::Data { data } => self.deliver_data(&mut state, Kind::Data, data),
            ChannelMsg::ExtendedData { data, ext } => {
                self.deliver_data(&mut state, Kind::Extended(ext), data)
            }
            // Without a reader there is nobody to read it.
            _ if state.is_closed => return Ok(()),
            message => {
                if state.messages.len() >= MOST_MESSAGES {
                    return Err(Error::TooManyMessages);
                }
                self.shared.allowance.take_message(size(&message))?;
                state.order.push(Kind::Message, 1);
                state.messages.push_back(message);
            }
        }
        state.wake();
        Ok(())
    }

    /// Takes in a message that is of use only to a reader that keeps up.
    pub(crate) fn offer(&self, message: ChannelMsg) {
        if self.shared.lock().messages.is_empty() {
            let _ = self.deliver(message);
        }
    }

    fn deliver_data(&self, state: &mut State, kind: Kind, data: Bytes) {
        if state.is_closed {
            // The peer must not wait for who does not read.
            self.shared.took(state, data.len());
        } else if !data.is_empty() {
            state.order.push(kind, data.len());
            state.data.push(data);
        }
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.has_ended = true;
        state.wake();
    }
}

impl Shared {
    /// Tells the session of what was taken once that is enough to open the window.
    fn took(&self, state: &mut State, count: usize) {
        let before = state.taken;
        state.taken += count;
        if before < state.wanted && state.taken >= state.wanted {
            self.allowance.taken.notify_one();
        }
    }
}

impl InboxReader {
    pub(crate) async fn recv(&mut self) -> Option<ChannelMsg> {
        std::future::poll_fn(|cx| self.poll_recv(cx)).await
    }

    pub(crate) fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<ChannelMsg>> {
        let mut state = self.shared.lock();
        let message = state.next();
        match &message {
            Some(ChannelMsg::Data { data } | ChannelMsg::ExtendedData { data, .. }) => {
                self.shared.took(&mut state, data.len());
            }
            Some(message) => {
                self.shared.allowance.messages.fetch_sub(size(message), Ordering::Relaxed);
            }
            None if state.has_ended || state.is_closed => {}
            None => {
                state.reader = Some(cx.waker().clone());
                return Poll::Pending;
            }
        }
        Poll::Ready(message)
    }

    /// Nothing more is wanted; what waits is still to be read.
    pub(crate) fn close(&mut self) {
        self.shared.lock().is_closed = true;
    }
}

impl Drop for InboxReader {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.is_closed = true;
        let waiting = std::mem::take(&mut state.data).len();
        state.order = Order::default();
        let messages = std::mem::take(&mut state.messages);
        let messages = messages.iter().map(size).sum();
        self.shared.allowance.messages.fetch_sub(messages, Ordering::Relaxed);
        self.shared.took(&mut state, waiting);
    }
}

impl State {
    fn next(&mut self) -> Option<ChannelMsg> {
        let run = self.order.front()?;
        let kind = run.kind;
        let message = match kind {
            Kind::Message => {
                run.len -= 1;
                self.messages.pop_front()?
            }
            Kind::Data | Kind::Extended(_) => {
                let data = self.data.take(run.len);
                run.len -= data.len();
                match kind {
                    Kind::Extended(ext) => ChannelMsg::ExtendedData { data, ext },
                    _ => ChannelMsg::Data { data },
                }
            }
        };
        Some(message)
    }

    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

fn half(window: u32) -> usize {
    (window as usize / 2).max(1)
}

fn size(message: &ChannelMsg) -> usize {
    let text = match message {
        ChannelMsg::ExitSignal {
            signal_name,
            error_message,
            lang_tag,
            ..
        } => {
            let name = match signal_name {
                Sig::Custom(name) => name.len(),
                _ => 0,
            };
            name + error_message.len() + lang_tag.len()
        }
        _ => 0,
    };
    MESSAGE + text
}

/// What kind of thing follows, and how much of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    kind: Kind,
    /// Bytes of data, or a number of messages.
    len: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Data,
    Extended(u32),
    Message,
}

/// The order in which data of several kinds and messages arrived. Its middle is
/// packed, so that a byte here and a byte there cost two or three and not a hundred.
#[derive(Debug, Default)]
struct Order {
    first: Option<Run>,
    middle: VecDeque<u8>,
    last: Option<Run>,
}

impl Order {
    fn push(&mut self, kind: Kind, len: usize) {
        match &mut self.last {
            Some(last) if last.kind == kind => last.len += len,
            last => {
                if let Some(full) = last.replace(Run { kind, len }) {
                    self.pack(full);
                }
            }
        }
    }

    /// The first that is not used up.
    fn front(&mut self) -> Option<&mut Run> {
        if self.first.is_none_or(|run| run.len == 0) {
            self.first = self.unpack().or_else(|| self.last.take());
        }
        self.first.as_mut()
    }

    fn pack(&mut self, run: Run) {
        let (code, ext) = match run.kind {
            Kind::Data => (0, None),
            Kind::Message => (1, None),
            Kind::Extended(ext) => (2, Some(ext)),
        };
        self.pack_number(((run.len as u64) << 2) | code);
        if let Some(ext) = ext {
            self.pack_number(ext.into());
        }
    }

    fn unpack(&mut self) -> Option<Run> {
        let number = self.unpack_number()?;
        let kind = match number & 3 {
            0 => Kind::Data,
            1 => Kind::Message,
            _ => Kind::Extended(u32::try_from(self.unpack_number()?).ok()?),
        };
        if self.middle.is_empty() {
            self.middle = VecDeque::new();
        }
        let len = usize::try_from(number >> 2).ok()?;
        Some(Run { kind, len })
    }

    /// Seven bits a byte, the lowest first; all but the last have the eighth set.
    fn pack_number(&mut self, mut number: u64) {
        while number > 0x7f {
            self.middle.push_back((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.middle.push_back(number as u8);
    }

    fn unpack_number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.middle.pop_front()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        Some(number)
    }
}

/// Bytes in pieces, of which the small ones are put together.
#[derive(Debug, Default)]
struct Rope {
    pieces: VecDeque<Bytes>,
    tail: BytesMut,
    len: usize,
}

impl Rope {
    fn len(&self) -> usize {
        self.len
    }

    fn push(&mut self, data: Bytes) {
        self.len += data.len();
        let is_large = data.len() >= LARGE;
        if !self.tail.is_empty() && (is_large || self.tail.len() + data.len() > PIECE) {
            let tail = self.tail.split().freeze();
            self.pieces.push_back(tail);
        }
        if is_large {
            self.pieces.push_back(data);
        } else {
            self.tail.extend_from_slice(&data);
        }
    }

    /// The first bytes, as many as there are in one piece, at most `most`.
    fn take(&mut self, most: usize) -> Bytes {
        let taken = match self.pieces.front_mut() {
            Some(piece) if piece.len() > most => piece.split_to(most),
            Some(_) => self.pieces.pop_front().unwrap_or_default(),
            None if self.tail.len() > most => self.tail.split_to(most).freeze(),
            None => std::mem::take(&mut self.tail).freeze(),
        };
        self.len -= taken.len();
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: u32 = 1 << 20;

    fn pair() -> (Inbox, InboxReader, Arc<Allowance>) {
        let allowance = Arc::new(Allowance::new(WINDOW, 8 * WINDOW, 32 * WINDOW as usize));
        let (mut inbox, reader) = Inbox::pair(allowance.clone());
        inbox.open(WINDOW);
        (inbox, reader, allowance)
    }

    fn data(bytes: &[u8]) -> ChannelMsg {
        ChannelMsg::Data { data: Bytes::copy_from_slice(bytes) }
    }

    fn errors(bytes: &[u8]) -> ChannelMsg {
        ChannelMsg::ExtendedData { data: Bytes::copy_from_slice(bytes), ext: 1 }
    }

    fn now(reader: &mut InboxReader) -> Option<ChannelMsg> {
        futures::FutureExt::now_or_never(reader.recv()).flatten()
    }

    /// What is there, as `o` and `e` with the bytes, and `m` for a message.
    fn all(reader: &mut InboxReader) -> String {
        let mut seen = String::new();
        while let Some(message) = now(reader) {
            let (kind, data) = match message {
                ChannelMsg::Data { data } => ('o', data),
                ChannelMsg::ExtendedData { data, .. } => ('e', data),
                _ => ('m', Bytes::new()),
            };
            seen.push(kind);
            seen.push_str(std::str::from_utf8(&data).unwrap());
        }
        seen
    }

    #[test]
    fn the_order_of_streams_and_messages_is_kept() {
        let (inbox, mut reader, _) = pair();
        let large = "L".repeat(LARGE);
        inbox.deliver(data(b"1")).unwrap();
        inbox.deliver(data(b"2")).unwrap();
        inbox.deliver(errors(b"3")).unwrap();
        inbox.deliver(ChannelMsg::Success).unwrap();
        inbox.deliver(ChannelMsg::Eof).unwrap();
        inbox.deliver(data(large.as_bytes())).unwrap();
        inbox.deliver(errors(b"4")).unwrap();
        assert_eq!(all(&mut reader), format!("o12e3mmo{large}e4"));
        inbox.deliver(data(b"5")).unwrap();
        drop(inbox);
        assert_eq!(all(&mut reader), "o5");
    }

    #[test]
    fn a_byte_of_waiting_data_costs_a_few_and_a_full_window_is_no_error() {
        let (inbox, mut reader, _) = pair();
        for _ in 0..WINDOW / 2 {
            inbox.deliver(data(b"o")).unwrap();
            inbox.deliver(errors(b"e")).unwrap();
        }
        let state = inbox.shared.lock();
        assert_eq!(state.data.len(), WINDOW as usize);
        assert!(state.order.middle.capacity() <= 4 * WINDOW as usize);
        assert!(state.data.pieces.len() * size_of::<Bytes>() < WINDOW as usize);
        drop(state);
        // Each byte comes as a message of its kind.
        assert!(all(&mut reader) == "ooee".repeat(WINDOW as usize / 2));
    }

    #[test]
    fn the_window_opens_by_what_is_read() {
        let (mut inbox, mut reader, _) = pair();
        let half = vec![0; WINDOW as usize / 2];
        inbox.deliver(data(&half)).unwrap();
        assert_eq!(inbox.reopen(WINDOW / 2), 0, "nobody has read it");
        now(&mut reader).unwrap();
        let more = inbox.reopen(WINDOW / 2);
        assert_eq!(more, WINDOW / 2 + WINDOW, "the reader was quick: twice the window");
        inbox.since -= QUICK;
        inbox.deliver(data(&half)).unwrap();
        inbox.deliver(data(&half)).unwrap();
        now(&mut reader).unwrap();
        now(&mut reader).unwrap();
        assert_eq!(inbox.reopen(WINDOW), WINDOW, "it was slow: what it has read");
    }

    #[test]
    fn all_windows_together_are_bounded_and_closed_channels_count_while_unread() {
        let allowance = Arc::new(Allowance::new(WINDOW, 8 * WINDOW, 32 * WINDOW as usize));
        let open = || {
            let (mut inbox, reader) = Inbox::pair(allowance.clone());
            inbox.open(allowance.first_window());
            (inbox, reader)
        };
        let mut open_channels: Vec<_> = (0..1000).map(|_| open()).collect();
        let granted = || allowance.granted.load(Ordering::Relaxed);
        assert!(granted() < (32 * WINDOW + 1000 * LEAST_WINDOW) as usize);
        let before = granted();
        for (inbox, _) in &mut open_channels {
            inbox.shared.lock().taken = WINDOW as usize;
            inbox.reopen(0);
        }
        assert_eq!(granted(), before, "none is left to grow");
        let readers: Vec<_> = open_channels.into_iter().map(|(_, reader)| reader).collect();
        assert_eq!(granted(), before);
        drop(readers);
        assert_eq!(granted(), 0);
    }

    #[test]
    fn messages_are_bounded_by_number_and_size_and_freed_by_reading() {
        let (inbox, mut reader, allowance) = pair();
        for _ in 0..MOST_MESSAGES {
            inbox.deliver(ChannelMsg::Success).unwrap();
        }
        assert!(matches!(inbox.deliver(ChannelMsg::Success), Err(Error::TooManyMessages)));
        while now(&mut reader).is_some() {}
        assert_eq!(allowance.messages.load(Ordering::Relaxed), 0);
        let large = || ChannelMsg::ExitSignal {
            signal_name: Sig::KILL,
            core_dumped: false,
            error_message: "m".repeat(250 << 10),
            lang_tag: String::new(),
        };
        let taken = (0..100).take_while(|_| inbox.deliver(large()).is_ok()).count();
        assert!((2..20).contains(&taken), "{taken}");
        drop(reader);
        assert_eq!(allowance.messages.load(Ordering::Relaxed), 0);
        inbox.deliver(large()).unwrap();
    }

    #[test]
    fn a_window_may_be_exceeded_by_a_little() {
        let (mut inbox, _reader, _) = pair();
        inbox.exceed(WINDOW / 10).unwrap();
        assert!(matches!(inbox.exceed(1), Err(Error::WindowExceeded)));
    }

    #[test]
    fn who_does_not_read_any_more_holds_up_nobody() {
        let (mut inbox, mut reader, _) = pair();
        inbox.deliver(data(b"read")).unwrap();
        reader.close();
        inbox.deliver(data(&vec![0; WINDOW as usize / 2])).unwrap();
        assert_eq!(all(&mut reader), "oread");
        drop(reader);
        assert!(inbox.reopen(0) > 0);
    }
}
