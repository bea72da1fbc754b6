//! The tunnel of a member: gotatun between a socket and the stack for TCP. Owns both, which
//! need no device and no rights, and their end; who the member is comes from above.

mod ends;
mod route;
mod stream;

use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use gotatun::device::DeviceBuilder;
use gotatun::x25519::StaticSecret;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::membership::Membership;
use crate::dial::by_address::Ways;
use crate::dial::direct::Direct;
use crate::dial::own_runtime::OwnRuntime;
use crate::dial::packet::{Shape, Stack};
use crate::dial::{DialError, DialFailure, Phase, SocketOptions, Stream};
use crate::env::Env;
use crate::error::{Stage, WireGuardFailure};
use ends::{FromStack, Seen, Sockets, ToStack};
use route::{Carrying, Route};
use stream::Held;

/// How long a machine behind a controller that has answered may take.
const ANSWER: Duration = Duration::from_secs(8);
/// How often routes are looked after.
const TENDING: Duration = Duration::from_secs(2);
/// How long datagrams may take to leave in the end.
const FLUSH: Duration = Duration::from_millis(15);
/// And how long the device may take to forget its tasks.
const STOP: Duration = Duration::from_millis(20);

/// We in a network. Streams live no longer than it.
pub(super) struct Tunnel(Arc<Inner>);

struct Inner {
    stack: Stack,
    /// Gone after the end, as it has to go where its tasks are.
    device: Mutex<Option<Arc<Carrying>>>,
    routes: Vec<Arc<Route>>,
    seen: Arc<Seen>,
    direct: Direct,
}

impl Tunnel {
    /// Begins on a runtime that has to live as long. Nothing is sent before the first
    /// [`Tunnel::connect`].
    pub(super) async fn start(
        membership: &Membership,
        runtime: &OwnRuntime,
        _: &(dyn Fn(Phase) + Sync),
    ) -> Result<Self, DialError> {
        let ended = || failed(Stage::Bootstrap, WireGuardFailure::Ended);
        let handle = runtime.handle().ok_or_else(ended)?;
        let (stack, link) = {
            let _inside = handle.enter();
            let addresses = membership.addresses.iter().map(|ip| (IpAddr::V6(*ip), 128)).collect();
            let mtu = usize::from(membership.mtu);
            Stack::start(Shape { addresses, mtu, is_lossy: true })
        };
        let seen = Arc::new(Seen::default());
        let routes: Vec<_> =
            membership.controllers.iter().map(|it| Arc::new(Route::new(it))).collect();
        let from_stack = FromStack::new(link.outgoing, membership.mtu, seen.clone());
        let building = DeviceBuilder::new()
            .with_udp(Sockets::new(seen.clone()))
            .with_ip_pair(ToStack(link.incoming), from_stack)
            .with_private_key(StaticSecret::from(*membership.key.expose()))
            .with_peers(routes.iter().map(|route| route.peer()))
            .build();
        let mut task = JoinSet::new();
        task.spawn_on(building, &handle);
        let built = task.join_next().await.and_then(Result::ok).ok_or_else(ended)?;
        let device = built.map_err(|_| failed(Stage::Bootstrap, WireGuardFailure::NoSocket))?;
        let direct = Direct::new(SocketOptions::of(&Env::default()), Ways::none());
        let device = Mutex::new(Some(Arc::new(device)));
        let inner = Arc::new(Inner { stack, device, routes, seen, direct });
        handle.spawn(tend(Arc::downgrade(&inner)));
        Ok(Self(inner))
    }

    /// Opens a stream by the controller whose network is the narrowest around the address.
    pub(super) async fn connect(
        &self,
        to: SocketAddrV6,
        enter: &(dyn Fn(Phase) + Sync),
    ) -> Result<Stream, DialError> {
        let Inner { stack, routes, seen, direct, .. } = &*self.0;
        let leading = routes.iter().filter_map(|route| Some((route.leads_to(*to.ip())?, route)));
        let Some((_, route)) = leading.max_by_key(|(length, _)| *length) else {
            return Err(failed(Stage::Dial, WireGuardFailure::NoController));
        };
        // From here on it is kept open.
        let open = route.opened();
        let device = self.0.device().ok_or_else(|| failed(Stage::Dial, WireGuardFailure::Ended))?;
        route.reach(&device, direct, seen, enter).await?;
        drop(device);
        enter(Phase::Behind);
        let connected = timeout(ANSWER, stack.connect(SocketAddr::V6(to))).await;
        let stream = connected.unwrap_or(Err(DialFailure::TimedOut)).map_err(of_machine)?;
        Ok(Stream::new(Held::new(stream, open), Some(IpAddr::V6(*to.ip()))))
    }

    /// Says to all machines that we are gone, on the runtime of the tunnel.
    pub(super) fn close(&self) -> impl Future<Output = ()> + Send + use<> {
        let inner = self.0.clone();
        async move {
            inner.stack.close().await;
            let flushing = async {
                while !inner.seen.is_flushed() {
                    sleep(Duration::from_millis(1)).await;
                }
            };
            let _ = timeout(FLUSH, flushing).await;
            let device = inner.device.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(device) = device {
                let _ = timeout(STOP, device.suspend()).await;
            }
        }
    }
}

impl Inner {
    fn device(&self) -> Option<Arc<Carrying>> {
        self.device.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn tend(inner: Weak<Inner>) {
    loop {
        sleep(TENDING).await;
        let Some(inner) = inner.upgrade() else { return };
        let Some(device) = inner.device() else { return };
        for route in &inner.routes {
            route.tend(&device, &inner.direct).await;
        }
    }
}

/// What the stack says of a machine whose controller has answered.
fn of_machine(failure: DialFailure) -> DialError {
    match failure {
        DialFailure::TimedOut => failed(Stage::Dial, WireGuardFailure::NoAnswer),
        DialFailure::NoRoute | DialFailure::NoNetwork => {
            failed(Stage::Dial, WireGuardFailure::NoWay)
        }
        other => DialError::new(Stage::Dial, other),
    }
}

fn failed(stage: Stage, failure: WireGuardFailure) -> DialError {
    DialError::new(stage, DialFailure::WireGuard(failure))
}
