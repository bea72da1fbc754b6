//! We among the endpoints of iroh. Owns the endpoint of this process, which begins with
//! the first dial, is nobody's identity, publishes nothing, and says that it ends.

use std::time::Duration;

use iroh::dns::DnsResolver;
use iroh::endpoint::presets::Minimal;
use iroh::endpoint::{
    ConnectWithOptsError, Connecting, ConnectingError, Connection, ConnectionError,
    QuicTransportConfig, TransportErrorCode, VarInt,
};
use iroh::{Endpoint, EndpointAddr, NetReportConfig};
use tokio::sync::OnceCell;
use tokio::task::JoinSet;

use super::addresses;
use super::pipe::Pipe;
use super::settings::Settings;
use crate::dial::own_runtime::OwnRuntime;
use crate::dial::{Dial, DialError, DialFailure, Dialling, Phase, SocketOptions, Stream, Target};
use crate::error::{IrohFailure, Stage};
use crate::secret::Secret;

/// The protocol of dumbpipe.
const ALPN: &[u8] = b"DUMBPIPEV0";
/// What a client of dumbpipe says first, so that the server sees its stream.
const HELLO: &[u8] = b"hello";
/// How much may be under way to us: enough for 25 MB/s over 80 ms. With more of it a
/// crowded socket could lose every other packet until there are more than 1024 gaps,
/// which noq-proto takes for an attack (`assembler.rs`) and ends the connection.
const WINDOW: u32 = 2 << 20;
/// How long the peers may take to hear that we are gone.
const END_DEADLINE: Duration = Duration::from_millis(50);
/// The alert of TLS that no protocol is common to both (RFC 7301, section 3.2).
const NO_APPLICATION_PROTOCOL: u8 = 120;

/// The dialler for tickets.
pub(super) struct Iroh {
    settings: Settings,
    socket_options: SocketOptions,
    node: OnceCell<Node>,
}

impl Dial for Iroh {
    fn dial<'a>(&'a self, target: &'a Target, enter: &'a (dyn Fn(Phase) + Sync)) -> Dialling<'a> {
        Box::pin(self.reach(&target.host, enter))
    }
}

impl Iroh {
    pub(super) fn new(settings: Settings, socket_options: SocketOptions) -> Self {
        Self { settings, socket_options, node: OnceCell::new() }
    }

    async fn reach(
        &self,
        ticket: &Secret<String>,
        enter: &(dyn Fn(Phase) + Sync),
    ) -> Result<Stream, DialError> {
        self.socket_options.unless(|_| true)?;
        // Before anything is started or asked.
        let own = self.settings.own_relays();
        let address = addresses::of_ticket(ticket.expose(), own)
            .map_err(|why| error(Stage::Resolve, IrohFailure::NoTicket(why)))?;
        enter(Phase::Discovering);
        let node = self.node.get_or_try_init(|| Node::start(&self.settings)).await?;
        let connecting = node.find(address).await?;
        enter(Phase::Meeting);
        let pipe = node.meet(connecting).await?;
        Ok(Stream::new(pipe, None))
    }
}

/// The endpoint and its threads.
struct Node {
    endpoint: Endpoint,
    runtime: OwnRuntime,
}

impl Drop for Node {
    /// Whoever is not told keeps the connection, and its sshd the session, for half a
    /// minute.
    fn drop(&mut self) {
        let endpoint = self.endpoint.clone();
        self.runtime.end_after(async move {
            let _ = tokio::time::timeout(END_DEADLINE, endpoint.close()).await;
        });
    }
}

impl Node {
    async fn start(settings: &Settings) -> Result<Self, DialError> {
        let ended = |_| error(Stage::Bootstrap, IrohFailure::Ended);
        let runtime = OwnRuntime::new("iroh").map_err(ended)?;
        let settings = settings.clone();
        let binding = async move {
            let resolver = DnsResolver::builder().with_system_defaults().disable_fallback().build();
            // A key that lives as long as the process: dumbpipe takes everybody, and sshd
            // knows whom to let in.
            let builder = Endpoint::builder(Minimal)
                .relay_mode(settings.relays())
                .dns_resolver(resolver)
                .transport_config(transport())
                .net_report_config(reports());
            let own = settings.own_relays();
            let add = |builder, place: &super::discovery::Discovery| place.add_to(builder, own);
            settings.discovery().iter().fold(builder, add).bind().await
        };
        match on(&runtime, binding).await {
            Some(Ok(endpoint)) => Ok(Self { endpoint, runtime }),
            Some(Err(_)) => Err(error(Stage::Bootstrap, IrohFailure::NoSocket)),
            None => Err(error(Stage::Bootstrap, IrohFailure::Ended)),
        }
    }

    /// Learns where the machine may be, and begins to knock there.
    async fn find(&self, address: EndpointAddr) -> Result<Connecting, DialError> {
        let endpoint = self.endpoint.clone();
        let finding =
            async move { endpoint.connect_with_opts(address, ALPN, Default::default()).await };
        match on(&self.runtime, finding).await {
            Some(Ok(connecting)) => Ok(connecting),
            Some(Err(ConnectWithOptsError::NoAddress { .. })) => {
                Err(error(Stage::Resolve, IrohFailure::Unpublished))
            }
            Some(Err(_)) => Err(error(Stage::Dial, IrohFailure::Lost)),
            None => Err(error(Stage::Dial, IrohFailure::Ended)),
        }
    }

    /// Opens the only stream once the machine has proved that it has the ticket's key.
    async fn meet(&self, connecting: Connecting) -> Result<Pipe, DialError> {
        let meeting = async move {
            let connection = connecting.await.map_err(|error| of_connecting(&error))?;
            open(connection).await
        };
        let failed = |failure| error(Stage::Dial, failure);
        on(&self.runtime, meeting).await.unwrap_or(Err(IrohFailure::Ended)).map_err(failed)
    }
}

/// Does `work` on the endpoint's threads, where its tasks belong, for as long as somebody
/// waits for it.
async fn on<T: Send + 'static>(
    runtime: &OwnRuntime,
    work: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    let mut task = JoinSet::new();
    task.spawn_on(work, &runtime.handle()?);
    task.join_next().await?.ok()
}

fn transport() -> QuicTransportConfig {
    QuicTransportConfig::builder().stream_receive_window(VarInt::from_u32(WINDOW)).build()
}

/// Whether somebody's portal is in the way is asked in the clear, and changes nothing here.
fn reports() -> NetReportConfig {
    let mut reports = NetReportConfig::default();
    reports.captive_portal_check = false;
    reports
}

async fn open(connection: Connection) -> Result<Pipe, IrohFailure> {
    let (mut send, receive) = connection.open_bi().await.map_err(|error| of_connection(&error))?;
    send.write_all(HELLO).await.map_err(|_| IrohFailure::Lost)?;
    Ok(Pipe::new(connection, send, receive))
}

fn error(stage: Stage, failure: IrohFailure) -> DialError {
    DialError::new(stage, DialFailure::Iroh(failure))
}

fn of_connecting(error: &ConnectingError) -> IrohFailure {
    match error {
        ConnectingError::ConnectionError { source, .. } => of_connection(source),
        ConnectingError::HandshakeFailure { .. } => IrohFailure::Impostor,
        _ => IrohFailure::Lost,
    }
}

fn of_connection(error: &ConnectionError) -> IrohFailure {
    let no_protocol = TransportErrorCode::crypto(NO_APPLICATION_PROTOCOL);
    match error {
        ConnectionError::TimedOut => IrohFailure::Silent,
        ConnectionError::VersionMismatch => IrohFailure::OtherProtocol,
        ConnectionError::ConnectionClosed(close) if close.error_code == no_protocol => {
            IrohFailure::OtherProtocol
        }
        // Our own doubts about a certificate.
        ConnectionError::TransportError(_) => IrohFailure::Impostor,
        _ => IrohFailure::Lost,
    }
}
