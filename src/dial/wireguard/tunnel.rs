//! Stands in for the tunnel.
use std::net::SocketAddrV6;

use super::membership::Membership;
use crate::dial::own_runtime::OwnRuntime;
use crate::dial::{DialError, DialFailure, Phase, Stream};
use crate::error::Stage;

pub(super) struct Tunnel;

impl Tunnel {
    pub(super) async fn start(
        membership: &Membership,
        _: &OwnRuntime,
        _: &(dyn Fn(Phase) + Sync),
    ) -> Result<Self, DialError> {
        let _ = (&membership.key, membership.mtu);
        for controller in &membership.controllers {
            let _ = (&controller.name, controller.key, controller.network, &controller.endpoint);
        }
        Err(DialError::new(Stage::Dial, DialFailure::Unsupported("wireguard".to_owned())))
    }

    pub(super) async fn connect(
        &self,
        _: SocketAddrV6,
        _: &(dyn Fn(Phase) + Sync),
    ) -> Result<Stream, DialError> {
        Err(DialError::new(Stage::Dial, DialFailure::Unsupported("wireguard".to_owned())))
    }

    pub(super) fn close(&self) -> impl Future<Output = ()> + Send + use<> {
        async {}
    }
}
