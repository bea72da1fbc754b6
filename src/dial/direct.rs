//! Direct TCP: names to addresses without libc, then RFC 8305 between the
//! addresses. Owns resolution; knows nothing of what the stream is for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use futures_util::stream::{FuturesUnordered, StreamExt};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{OnceCell, mpsc};

use super::by_address::{Ways, by, first};
use super::carrier::{Carrier, Setup};
use super::tcp::Prompt;
use super::{Dial, DialError, DialFailure, Dialling, Phase, SocketOptions, Stream, Target};
use crate::address;
use crate::error::Stage;
use crate::hosts;
use crate::model::{Network, Running};
use crate::overlay;

/// RFC 8305, section 3: how long to wait for AAAA once A is there.
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);
/// RFC 8305, section 5: head start of one address over the next.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// More addresses than any honest name has; the rest are not tried.
const MAX_ADDRESSES: usize = 32;
/// Longest DNS name in text form (RFC 1035, section 2.3.4), in bytes.
const MAX_NAME: usize = 253;

/// The row of `clan_lib.network.direct`.
pub(super) struct Row;

impl Carrier for Row {
    fn name(&self) -> &'static str {
        "direct"
    }

    fn running(&self, network: &Network) -> Running {
        overlay::running(network, None)
    }

    fn prepare(&self, setup: &Setup<'_>) -> Arc<dyn Dial> {
        setup.direct.clone()
    }
}

/// The dialler for addresses the operating system can reach by itself.
pub(super) struct Direct {
    socket_options: SocketOptions,
    ways: Ways,
    resolver: OnceCell<Option<TokioResolver>>,
}

impl std::fmt::Debug for Direct {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Direct")
    }
}

impl Direct {
    /// `ways` are taken where connections may leave by any way at all.
    pub(super) fn new(socket_options: SocketOptions, ways: Ways) -> Self {
        let ways = if socket_options.are_open() { ways } else { Ways::none() };
        Self { socket_options, ways, resolver: OnceCell::new() }
    }

    async fn connect(
        &self,
        host: &str,
        port: u16,
        enter: &(dyn Fn(Phase) + Sync),
    ) -> Result<Stream, DialError> {
        let (found, addresses) = mpsc::channel(MAX_ADDRESSES);
        enter(Phase::Resolving);
        let resolution = self.resolve(host, port, found);
        let connecting = connect_first(addresses, &self.socket_options, &self.ways, enter);
        // Both run at once: the first address is dialled while the other
        // family is still being asked for.
        tokio::pin!(resolution, connecting);
        match select(resolution, connecting).await {
            Either::Left((resolved, connecting)) => match connecting.await {
                Err(Connecting::NoAddress) => Err(resolved.err().unwrap_or_else(no_such_name)),
                Err(Connecting::Failed(error)) => Err(error),
                Ok(stream) => Ok(stream),
            },
            Either::Right((Ok(stream), _)) => Ok(stream),
            Either::Right((Err(Connecting::Failed(error)), _)) => Err(error),
            Either::Right((Err(Connecting::NoAddress), _)) => Err(no_such_name()),
        }
    }

    /// All addresses of `host`, in the order of RFC 8305.
    #[cfg(feature = "wireguard")]
    pub(super) async fn addresses(
        &self,
        host: &str,
        port: u16,
    ) -> Result<Vec<SocketAddr>, DialError> {
        // As many as are ever sent: nobody waits for them to be taken.
        let (found, mut addresses) = mpsc::channel(2 * MAX_ADDRESSES);
        self.resolve(host, port, found).await?;
        let mut all = Vec::new();
        while let Some(address) = addresses.recv().await {
            all.push(address);
        }
        if all.is_empty() { Err(no_such_name()) } else { Ok(all) }
    }

    /// Sends every address of `host` into `found`, in the order of RFC 8305.
    async fn resolve(
        &self,
        host: &str,
        port: u16,
        found: mpsc::Sender<SocketAddr>,
    ) -> Result<(), DialError> {
        let failed = |failure| DialError::new(Stage::Resolve, failure);
        if let Some(address) = literal(host, port).map_err(failed)? {
            let _ = found.send(address).await;
            return Ok(());
        }
        check_name(host).map_err(failed)?;
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        if is_localhost(&name) {
            for ip in [IpAddr::V6(Ipv6Addr::LOCALHOST), IpAddr::V4(Ipv4Addr::LOCALHOST)] {
                let _ = found.send(SocketAddr::new(ip, port)).await;
            }
            return Ok(());
        }
        let local = hosts::addresses(&name);
        if !local.is_empty() {
            for ip in local {
                let _ = found.send(SocketAddr::new(ip, port)).await;
            }
            return Ok(());
        }
        // No name server knows it, nor is it any business of theirs.
        if let Some(resolved) = self.ways.addresses(&name).await {
            send(&found, port, &resolved?).await;
            return Ok(());
        }
        let resolver = self.resolver.get_or_init(async || system_resolver()).await;
        let Some(resolver) = resolver else { return Err(failed(DialFailure::NoNameServer)) };
        ask_both(resolver, host, port, &found).await.map_err(|failure| match failure {
            DialFailure::NoSuchName => self.ways.explain(&name).unwrap_or_else(no_such_name),
            failure => failed(failure),
        })
    }
}

impl Dial for Direct {
    fn dial<'a>(&'a self, target: &'a Target, enter: &'a (dyn Fn(Phase) + Sync)) -> Dialling<'a> {
        Box::pin(async move {
            if let Some(proxy) = &self.socket_options.proxy {
                let opened = proxy.open(target).await;
                return opened.map_err(|why| DialError::new(Stage::Dial, DialFailure::Proxy(why)));
            }
            // Before the name is asked for.
            self.socket_options.unless(|_| true)?;
            let (host, port) = (target.host.expose(), target.port);
            match self.ways.taking(host) {
                Some(way) => first(self.connect(host, port, &|_| ()), by(way, target, enter)).await,
                None => self.connect(host, port, enter).await,
            }
        })
    }
}

impl SocketOptions {
    /// Whether an address can be dialled from here.
    fn has(&self, ip: IpAddr) -> bool {
        let here = self.address.is_none_or(|here| here.is_ipv4() == ip.is_ipv4());
        here && self.family.has(ip)
    }
}

impl Direct {
    /// Whether a name has an address, and the name that it is an alias of.
    pub(super) async fn canonical(&self, name: &str) -> Option<String> {
        check_name(name).ok()?;
        if let Some(first) = hosts::canonical_name(name) {
            return Some(first.to_ascii_lowercase());
        }
        if is_localhost(name) {
            return Some(name.to_owned());
        }
        let resolver = self.resolver.get_or_init(async || system_resolver()).await.as_ref()?;
        // As it stands: it is not for the resolver to try other domains.
        let absolute = format!("{}.", name.trim_end_matches('.'));
        for kind in [RecordType::A, RecordType::AAAA] {
            let Ok(name) = Name::from_str_relaxed(&absolute) else { continue };
            let Ok(lookup) = resolver.lookup(name, kind).await else { continue };
            let answers = lookup.answers();
            let address =
                answers.iter().rfind(|record| matches!(record.data, RData::A(_) | RData::AAAA(_)));
            if let Some(address) = address {
                return Some(address.name.to_string().trim_end_matches('.').to_ascii_lowercase());
            }
        }
        None
    }
}

/// The resolver of /etc/resolv.conf; none when it names no server.
fn system_resolver() -> Option<TokioResolver> {
    let (config, options) = system_config()?;
    TokioResolver::builder_with_config(config, Default::default())
        .with_options(options)
        .build()
        .ok()
}

/// What /etc/resolv.conf says, if it names a server.
pub(super) fn system_config() -> Option<(ResolverConfig, ResolverOpts)> {
    let (config, mut options) = hickory_resolver::system_conf::read_system_conf().ok()?;
    if config.name_servers().is_empty() {
        return None;
    }
    // /etc/hosts is read by `hosts`, which stops there as getaddrinfo does.
    options.use_hosts_file = ResolveHosts::Never;
    Some((config, options))
}

/// Asks for AAAA and A separately and passes on what comes first, but gives
/// AAAA a little time when A wins (RFC 8305, section 3).
async fn ask_both(
    resolver: &TokioResolver,
    host: &str,
    port: u16,
    found: &mpsc::Sender<SocketAddr>,
) -> Result<(), DialFailure> {
    // Names of hosts with an underscore are there, whatever IDNA allows.
    let name = Name::from_str_relaxed(host).map_err(|_| DialFailure::NoSuchName)?;
    let six = resolver.lookup(name.clone(), RecordType::AAAA);
    let four = resolver.lookup(name, RecordType::A);
    tokio::pin!(six, four);
    let (six, four) = match select(six, four).await {
        Either::Left((six, four)) => {
            let six = addresses(six);
            send(found, port, six.as_deref().unwrap_or_default()).await;
            let four = addresses(four.await);
            send(found, port, four.as_deref().unwrap_or_default()).await;
            (six, four)
        }
        Either::Right((four, six)) => {
            let four = addresses(four);
            tokio::pin!(six);
            match tokio::time::timeout(RESOLUTION_DELAY, &mut six).await {
                Ok(six) => {
                    let six = addresses(six);
                    let mixed = interleave(
                        six.as_deref().unwrap_or_default(),
                        four.as_deref().unwrap_or_default(),
                    );
                    send(found, port, &mixed).await;
                    (six, four)
                }
                Err(_) => {
                    send(found, port, four.as_deref().unwrap_or_default()).await;
                    let six = addresses(six.await);
                    send(found, port, six.as_deref().unwrap_or_default()).await;
                    (six, four)
                }
            }
        }
    };
    match (six, four) {
        (Ok(six), Ok(four)) if six.is_empty() && four.is_empty() => Err(DialFailure::NoSuchName),
        (Ok(_), _) | (_, Ok(_)) => Ok(()),
        // A name that does not exist says so for both families; a server's
        // failure is the better explanation if the two differ.
        (Err(six), Err(four)) => Err(if six == DialFailure::NoSuchName { four } else { six }),
    }
}

fn addresses(
    answer: Result<hickory_resolver::lookup::Lookup, NetError>,
) -> Result<Vec<IpAddr>, DialFailure> {
    match answer {
        Ok(lookup) => Ok(lookup
            .answers()
            .iter()
            .filter_map(|record| match &record.data {
                RData::A(ip) => Some(IpAddr::V4(ip.0)),
                RData::AAAA(ip) => Some(IpAddr::V6(ip.0)),
                _ => None,
            })
            .take(MAX_ADDRESSES)
            .collect()),
        Err(NetError::Timeout) => Err(DialFailure::ResolverTimeout),
        Err(NetError::Dns(DnsError::NoRecordsFound(_))) => Err(DialFailure::NoSuchName),
        Err(NetError::NoConnections) => Err(DialFailure::ResolverTimeout),
        Err(NetError::Io(error)) => Err(match DialFailure::from(&*error) {
            DialFailure::TimedOut => DialFailure::ResolverTimeout,
            _ => DialFailure::ResolverFailed,
        }),
        Err(_) => Err(DialFailure::ResolverFailed),
    }
}

async fn send(found: &mpsc::Sender<SocketAddr>, port: u16, ips: &[IpAddr]) {
    for ip in ips {
        // The receiver is gone once an address has won.
        let _ = found.send(SocketAddr::new(*ip, port)).await;
    }
}

/// RFC 8305, section 4: alternate the families, IPv6 first.
fn interleave(six: &[IpAddr], four: &[IpAddr]) -> Vec<IpAddr> {
    let mut six = six.iter();
    let mut four = four.iter();
    let mut mixed = Vec::new();
    loop {
        let pair = (six.next(), four.next());
        if pair == (None, None) {
            return mixed;
        }
        mixed.extend(pair.0);
        mixed.extend(pair.1);
    }
}

fn no_such_name() -> DialError {
    DialError::new(Stage::Resolve, DialFailure::NoSuchName)
}

/// Why no address could be connected to.
enum Connecting {
    NoAddress,
    Failed(DialError),
}

/// Connects to the addresses as they come, one every [`ATTEMPT_DELAY`] or as
/// soon as one has failed, until the first succeeds.
async fn connect_first(
    mut addresses: mpsc::Receiver<SocketAddr>,
    socket_options: &SocketOptions,
    ways: &Ways,
    enter: &(dyn Fn(Phase) + Sync),
) -> Result<Stream, Connecting> {
    let mut running = FuturesUnordered::new();
    let mut last_failure = None;
    let mut more = true;
    // Ready to start the next one: nothing runs, or the delay is over.
    let mut start_next = true;
    let mut started = 0;
    let delay = tokio::time::sleep(Duration::ZERO);
    tokio::pin!(delay);
    loop {
        if !more && running.is_empty() {
            return Err(last_failure.map_or(Connecting::NoAddress, Connecting::Failed));
        }
        tokio::select! {
            biased;
            Some(result) = running.next(), if !running.is_empty() => match result {
                Ok(stream) => return Ok(stream),
                Err(failure) => {
                    last_failure = Some(worse(last_failure, failure));
                    start_next = true;
                }
            },
            address = addresses.recv(), if more && start_next => match address {
                Some(address) if !socket_options.has(address.ip()) => {}
                Some(address) if started < MAX_ADDRESSES => {
                    started += 1;
                    running.push(ways.connect(address, enter, connect(address, socket_options)));
                    start_next = false;
                    delay.as_mut().reset(tokio::time::Instant::now() + ATTEMPT_DELAY);
                }
                _ => more = false,
            },
            () = &mut delay, if more && !start_next => start_next = true,
        }
    }
}

/// Of two failures the one that tells more: a refusal shows that the host is
/// there, a missing route often only that this family is unused here.
fn worse(before: Option<DialError>, now: DialError) -> DialError {
    use DialFailure::{NoAddress, NoNetwork, NoRoute, Refused};
    match before {
        Some(before)
            if matches!(now.failure, NoRoute | NoNetwork | NoAddress)
                || before.failure == Refused =>
        {
            before
        }
        _ => now,
    }
}

async fn connect(address: SocketAddr, socket_options: &SocketOptions) -> Result<Stream, DialError> {
    let failed = |error| DialError::new(Stage::Dial, DialFailure::from(&error));
    let stream = open(address, socket_options).await.map_err(failed)?;
    let local = stream.local_addr().ok();
    let stream = Prompt::new(stream).map_err(failed)?;
    Ok(Stream::new(stream, Some(address.ip())).with_local(local))
}

async fn open(address: SocketAddr, socket_options: &SocketOptions) -> std::io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    socket.set_keepalive(socket_options.keepalive)?;
    if let Some(interface) = &socket_options.interface {
        socket.bind_device(Some(interface.as_bytes()))?;
    }
    if let Some(here) = socket_options.address {
        socket.bind(SocketAddr::new(here, 0))?;
    }
    socket.connect(address).await
}

/// An IP literal with an optional RFC 4007 zone (`fe80::1%eth0`), with or
/// without brackets. `None` when it must be a name.
fn literal(host: &str, port: u16) -> Result<Option<SocketAddr>, DialFailure> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    if let Some(ip) = bare.parse().ok().or_else(|| address::parse(host)) {
        return Ok(Some(SocketAddr::new(ip, port)));
    }
    let Some((address, zone)) = bare.split_once('%') else { return Ok(None) };
    let Ok(ip) = address.parse::<Ipv6Addr>() else {
        return Err(DialFailure::BadAddress("a zone needs an IPv6 address"));
    };
    let scope = zone_index(zone).ok_or(DialFailure::BadAddress("no such network interface"))?;
    Ok(Some(SocketAddr::V6(SocketAddrV6::new(ip, port, 0, scope))))
}

fn zone_index(zone: &str) -> Option<u32> {
    if let Ok(index) = zone.parse() {
        return Some(index);
    }
    // The kernel wants some socket to ask on; it is never connected.
    let socket = std::net::UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).ok()?;
    rustix::net::netdevice::name_to_index(&socket, zone).ok()
}

/// RFC 6761, section 6.3: localhost never leaves this machine.
fn is_localhost(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

/// Whether `host` is a name for the DNS.
pub(super) fn is_name(host: &str) -> bool {
    matches!(literal(host, 0), Ok(None)) && check_name(host).is_ok()
}

/// Rejects what no resolver should ever see.
fn check_name(host: &str) -> Result<(), DialFailure> {
    if host.is_empty() {
        return Err(DialFailure::BadAddress("it is empty"));
    }
    if host.len() > MAX_NAME {
        return Err(DialFailure::BadAddress("it is longer than 253 bytes"));
    }
    let lower = host.trim_end_matches('.').to_ascii_lowercase();
    // RFC 7686, section 2: an onion name must not reach the DNS.
    if lower == "onion" || lower.ends_with(".onion") {
        return Err(DialFailure::BadAddress("an onion address cannot be reached directly"));
    }
    if !host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
        return Err(DialFailure::BadAddress("it holds characters that no host name has"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
