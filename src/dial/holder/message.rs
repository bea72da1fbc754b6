//! What a process that needs a key and the one that has it say to each other before the
//! bytes of a stream. Owns the wire formats and their bounds; knows no socket. No secret is
//! in them: not the key, and of what has to agree only hashes.

use std::io::{Error, ErrorKind, Result};
use std::net::{Ipv6Addr, SocketAddrV6};

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::dial::{DialError, DialFailure, Phase};
use crate::error::{LeafFailure, LeafFault, Stage, WireGuardFailure};
use crate::parts::Parts;
use crate::printable;

/// This protocol.
const VERSION: u8 = 1;
/// Version, whether it is urgent, how many terms, port, address.
const HEAD: usize = 1 + 1 + 1 + 2 + 16;
/// Bytes of a term.
const TERM: usize = 16;
/// Most terms.
const MAX_TERMS: usize = 128;
/// Bytes of the longest text.
const MAX_TEXT: usize = 512;
/// A failure that has no number.
const OTHER: u8 = u8::MAX;

/// What a node of a network is like: whoever has one term in common with it may use it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::dial) struct Terms(Vec<[u8; TERM]>);

impl Terms {
    /// One for each of these.
    pub(in crate::dial) fn of(terms: impl Iterator<Item = Parts>) -> Self {
        let digest = |parts: Parts| parts.digest().first_chunk().copied();
        Self(terms.filter_map(digest).take(MAX_TERMS).collect())
    }

    pub(super) fn agree(&self, other: &Self) -> bool {
        self.0.iter().any(|term| other.0.contains(term))
    }
}

/// A stream that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    /// Whether it is wanted though it may end at any time.
    pub(super) is_urgent: bool,
    pub(super) to: SocketAddrV6,
    pub(super) terms: Terms,
}

impl Request {
    pub(super) fn encode(&self) -> Vec<u8> {
        let Self { is_urgent, to, terms } = self;
        let count = u8::try_from(terms.0.len()).unwrap_or(0);
        let mut bytes = vec![VERSION, u8::from(*is_urgent), count];
        bytes.extend(to.port().to_be_bytes());
        bytes.extend(to.ip().octets());
        bytes.extend(terms.0.iter().flatten());
        bytes
    }

    /// Reads one and nothing behind it.
    ///
    /// # Errors
    /// The system's; [`ErrorKind::InvalidData`] for what is none.
    pub(super) async fn receive(from: &mut (impl AsyncRead + Unpin)) -> Result<Self> {
        let mut head = [0; HEAD];
        from.read_exact(&mut head).await?;
        let [version, is_urgent, count, port @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] =
            head;
        let address: [u8; 16] = head.last_chunk().copied().ok_or_else(strange)?;
        let port = u16::from_be_bytes(port);
        let count = usize::from(count);
        if version != VERSION || is_urgent > 1 || port == 0 || !(1..=MAX_TERMS).contains(&count) {
            return Err(strange());
        }
        let mut terms = vec![[0; TERM]; count];
        for term in &mut terms {
            from.read_exact(term).await?;
        }
        let to = SocketAddrV6::new(Ipv6Addr::from(address), port, 0, 0);
        Ok(Self { is_urgent: is_urgent == 1, to, terms: Terms(terms) })
    }
}

/// What is answered, until it is open or has failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// This is waited for.
    Phase(Phase),
    /// From here on the stream's own bytes follow.
    Open,
    /// The process ends with its own work, and says so by closing.
    Wait,
    /// Its node is another one; it says by closing when it has ended.
    Differs,
    /// The stream cannot be opened.
    Failed(DialError),
}

/// Numbers of replies.
const PHASE: u8 = 1;
const OPEN: u8 = 2;
const WAIT: u8 = 3;
const DIFFERS: u8 = 4;
const FAILED: u8 = 5;

impl Reply {
    /// Nothing for a phase that is of no interest elsewhere.
    pub(super) fn encode(&self, network: &'static str) -> Vec<u8> {
        match self {
            Self::Phase(phase) => {
                let none = LeafFailure { overlay: network, fault: LeafFault::SilentPeer };
                let failure = failure_of(phase).unwrap_or(&none);
                let code = number(&PHASES.map(|phase| phase(failure.clone())), phase);
                let fault = number(&FAULTS, &failure.fault).unwrap_or_default();
                code.map(|code| vec![PHASE, code, fault]).unwrap_or_default()
            }
            Self::Open => vec![OPEN],
            Self::Wait => vec![WAIT],
            Self::Differs => vec![DIFFERS],
            Self::Failed(DialError { stage, failure }) => {
                let stage = number(&STAGES, stage).unwrap_or_default();
                let code = number(&failures(network), failure);
                let text = match code {
                    Some(_) => String::new(),
                    None => bounded(&printable::line(&failure.to_string())),
                };
                let length = u16::try_from(text.len()).unwrap_or_default();
                let mut bytes = vec![FAILED, stage, code.unwrap_or(OTHER)];
                bytes.extend(length.to_be_bytes());
                bytes.extend(text.as_bytes());
                bytes
            }
        }
    }

    /// Reads one and nothing behind it.
    ///
    /// # Errors
    /// The system's; [`ErrorKind::InvalidData`] for what is none.
    pub(super) async fn receive(
        from: &mut (impl AsyncRead + Unpin),
        network: &'static str,
    ) -> Result<Self> {
        Ok(match from.read_u8().await? {
            PHASE => {
                let phase = PHASES.get(usize::from(from.read_u8().await?)).ok_or_else(strange)?;
                let fault = FAULTS.get(usize::from(from.read_u8().await?)).ok_or_else(strange)?;
                Self::Phase(phase(LeafFailure { overlay: network, fault: fault.clone() }))
            }
            OPEN => Self::Open,
            WAIT => Self::Wait,
            DIFFERS => Self::Differs,
            FAILED => {
                let stage = *STAGES.get(usize::from(from.read_u8().await?)).ok_or_else(strange)?;
                let code = from.read_u8().await?;
                let length = usize::from(from.read_u16().await?);
                if length > MAX_TEXT {
                    return Err(strange());
                }
                let mut text = vec![0; length];
                from.read_exact(&mut text).await?;
                let failure = match failures(network).get(usize::from(code)) {
                    Some(failure) => failure.clone(),
                    None if code == OTHER => {
                        let text = String::from_utf8(text).map_err(|_| strange())?;
                        DialFailure::Told(printable::line(&text))
                    }
                    None => return Err(strange()),
                };
                Self::Failed(DialError::new(stage, failure))
            }
            _ => return Err(strange()),
        })
    }
}

fn strange() -> Error {
    ErrorKind::InvalidData.into()
}

fn number<T: PartialEq>(table: &[T], value: &T) -> Option<u8> {
    let at = table.iter().position(|it| it == value)?;
    u8::try_from(at).ok()
}

fn bounded(text: &str) -> String {
    text.chars()
        .scan(0, |length, char| {
            *length += char.len_utf8();
            (*length <= MAX_TEXT).then_some(char)
        })
        .collect()
}

/// What is waited for that others are told of, by its place in this list: what an overlay's
/// node waits for has the failure that it is when it takes too long. Its order is part of the
/// protocol.
const PHASES: [fn(LeafFailure) -> Phase; 9] = [
    |_| Phase::Resolving,
    |_| Phase::Connecting,
    Phase::Peering,
    Phase::Seeking,
    Phase::Session,
    Phase::Entering,
    |failure| Phase::Public(failure.overlay),
    |_| Phase::Handshaking,
    |_| Phase::Behind,
];

/// The failure that a phase has, if it has one.
fn failure_of(phase: &Phase) -> Option<&LeafFailure> {
    match phase {
        Phase::Peering(it) | Phase::Seeking(it) | Phase::Session(it) | Phase::Entering(it) => {
            Some(it)
        }
        _ => None,
    }
}

const STAGES: [Stage; 3] = [Stage::Dial, Stage::Resolve, Stage::Bootstrap];

/// Faults that need no words, by the same rule; the first stands for all others.
const FAULTS: [LeafFault; 13] = [
    LeafFault::SilentPeer,
    LeafFault::NoPeers,
    LeafFault::Unconnected,
    LeafFault::Password,
    LeafFault::OtherPeer,
    LeafFault::Ourselves,
    LeafFault::Lost,
    LeafFault::KeyElsewhere,
    LeafFault::NotFound,
    LeafFault::NoSession,
    LeafFault::Unanswered,
    LeafFault::Unheard,
    LeafFault::Ended,
];

/// Failures that need no words, by the same rule.
fn failures(network: &'static str) -> Vec<DialFailure> {
    let of_wireguard = [
        WireGuardFailure::NoController,
        WireGuardFailure::Unroutable,
        WireGuardFailure::Closed,
        WireGuardFailure::Silent,
        WireGuardFailure::Strange,
        WireGuardFailure::NoAnswer,
        WireGuardFailure::NoWay,
        WireGuardFailure::NoSocket,
        WireGuardFailure::Ended,
    ];
    let mut all = vec![
        DialFailure::Refused,
        DialFailure::NoRoute,
        DialFailure::NoNetwork,
        DialFailure::NoAddress,
        DialFailure::TimedOut,
    ];
    all.extend(of_wireguard.map(DialFailure::WireGuard));
    all.extend(FAULTS.map(|fault| DialFailure::Leaf(LeafFailure { overlay: network, fault })));
    all
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn terms(names: &[&str]) -> Terms {
        Terms::of(names.iter().map(|name| {
            let mut parts = Parts::default();
            parts.put(name.as_bytes());
            parts
        }))
    }

    fn block<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[test]
    fn what_is_said_is_understood_and_nothing_behind_it_is_read() {
        let to = "[200::1]:22".parse().unwrap();
        let request = Request { is_urgent: true, to, terms: terms(&["a", "b"]) };
        let bytes = [request.encode(), b"rest".to_vec()].concat();
        let mut rest = bytes.as_slice();
        assert_eq!(block(Request::receive(&mut rest)).unwrap(), request);
        assert_eq!(rest, b"rest");
        let failed = |failure| Reply::Failed(DialError::new(Stage::Bootstrap, failure));
        let mut replies = vec![Reply::Open, Reply::Wait, Reply::Differs];
        let failure = LeafFailure { overlay: "Net", fault: LeafFault::NotFound };
        replies.extend(PHASES.map(|phase| Reply::Phase(phase(failure.clone()))));
        replies.extend(failures("Net").into_iter().map(failed));
        for reply in replies {
            let bytes = [reply.encode("Net"), b"rest".to_vec()].concat();
            let mut rest = bytes.as_slice();
            assert_eq!(block(Reply::receive(&mut rest, "Net")).unwrap(), reply);
            assert_eq!(rest, b"rest");
        }
    }

    #[test]
    fn a_failure_without_a_number_keeps_its_words_within_bounds() {
        let failure = DialFailure::Unsupported("\u{1b}".repeat(4) + &"é".repeat(600));
        let bytes = Reply::Failed(DialError::new(Stage::Dial, failure)).encode("Net");
        let reply = block(Reply::receive(&mut bytes.as_slice(), "Net")).unwrap();
        let Reply::Failed(DialError { failure: DialFailure::Told(text), .. }) = reply else {
            panic!("{reply:?}")
        };
        assert!(text.len() <= 4 * MAX_TEXT && text.contains("éé"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
        // What is of no interest elsewhere is not sent.
        assert!(Reply::Phase(Phase::Key("Net")).encode("Net").is_empty());
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let to = "[200::1]:22".parse().unwrap();
        let good = Request { is_urgent: false, to, terms: terms(&["a"]) }.encode();
        let changed = |at: usize, to: u8| {
            let mut bytes = good.clone();
            bytes[at] = to;
            bytes
        };
        let no_port = [&good[..3], &[0, 0], &good[5..]].concat();
        for bad in [changed(0, 2), changed(1, 2), changed(2, 0), changed(2, 255), no_port] {
            let error = block(Request::receive(&mut bad.as_slice())).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData, "{bad:?}");
        }
        let short = block(Request::receive(&mut &good[..good.len() - 1])).unwrap_err();
        assert_eq!(short.kind(), ErrorKind::UnexpectedEof);
        for bad in [
            &[0][..],
            &[9],
            &[PHASE, 200, 0],
            &[PHASE, 2, 99],
            &[FAILED, 9, 0, 0, 0],
            &[FAILED, 0, 0, 255, 0],
        ] {
            let error = block(Reply::receive(&mut &bad[..], "Net")).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData, "{bad:?}");
        }
    }

    #[test]
    fn terms_agree_where_one_is_in_common() {
        assert!(terms(&["a", "b"]).agree(&terms(&["b", "c"])));
        assert!(!terms(&["a"]).agree(&terms(&["b"])) && !terms(&[]).agree(&terms(&[])));
        let many: Vec<String> = (0..500).map(|number| number.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(terms(&many).0.len(), MAX_TERMS);
    }

    proptest! {
        #[test]
        fn no_bytes_at_all_are_more_than_refused(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = block(Request::receive(&mut bytes.as_slice()));
            let _ = block(Reply::receive(&mut bytes.as_slice(), "Net"));
        }
    }
}
