//! What the stack takes for its network interface: two queues. Owns that answers to what
//! comes never grow without bounds, that resets can be said again, and that no end is lost
//! among data.

use std::collections::VecDeque;

use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

/// More than fit into the network's queue at once; what comes on top is lost.
const MAX_WAITING: usize = 1024;

/// By how much a segment becomes longer that is set apart.
const END_LENGTH: usize = 4;

/// Packets on their way.
pub(super) struct Queues {
    /// To the stack, looked at by [`super::arrival`].
    pub(super) arrived: VecDeque<Vec<u8>>,
    /// To the network.
    pub(super) leaving: VecDeque<Vec<u8>>,
    /// Resets, while they are to be kept.
    pub(super) resets: Option<Vec<Vec<u8>>>,
    /// The longest packet.
    pub(super) mtu: usize,
}

impl Queues {
    pub(super) fn new(mtu: usize) -> Self {
        Self { arrived: VecDeque::new(), leaving: VecDeque::new(), resets: None, mtu }
    }
}

impl Device for Queues {
    type RxToken<'a> = Arrived;
    type TxToken<'a> = Leaving<'a>;

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu;
        capabilities
    }

    fn receive(&mut self, _: Instant) -> Option<(Arrived, Leaving<'_>)> {
        let packet = self.arrived.pop_front()?;
        Some((Arrived(packet), Leaving(self)))
    }

    /// There is always room: a connection whose packet is refused may forget its timer.
    fn transmit(&mut self, _: Instant) -> Option<Leaving<'_>> {
        Some(Leaving(self))
    }
}

/// One that has come.
pub(super) struct Arrived(Vec<u8>);

impl RxToken for Arrived {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

/// One that is being written.
pub(super) struct Leaving<'a>(&'a mut Queues);

impl TxToken for Leaving<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let mut packet = vec![0; len];
        let result = write(&mut packet);
        if packet.len() + END_LENGTH <= self.0.mtu {
            super::arrival::set_end_apart(&mut packet);
        }
        if let Some(resets) = &mut self.0.resets
            && super::arrival::is_reset(&packet)
        {
            resets.push(packet.clone());
        }
        if self.0.leaving.len() < MAX_WAITING {
            self.0.leaving.push_back(packet);
        }
        result
    }
}
