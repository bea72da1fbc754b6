use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use super::*;

const SERVER: &str = "[fd00::2]:22";
const SOON: Duration = Duration::from_secs(5);

fn shape(address: &str, mtu: usize) -> Shape {
    Shape { addresses: vec![(address.parse().unwrap(), 64)], mtu }
}

/// What lies between two stacks: takes a packet, or lets it go on.
type Between = Arc<dyn Fn(usize, &mut Vec<u8>) -> bool + Send + Sync>;

/// Two stacks with a wire of that delay between them. `between` is told the number of the
/// packet in its direction, even ones from the client.
fn pair(delay: Duration, between: Between) -> (Stack, Stack) {
    let (one, one_link) = Stack::start(shape("fd00::1", 1400));
    let (other, other_link) = Stack::start(shape("fd00::2", 1400));
    wire(one_link.outgoing, other_link.incoming, delay, between.clone(), 0);
    wire(other_link.outgoing, one_link.incoming, delay, between, 1);
    (one, other)
}

fn wire(
    mut from: mpsc::Receiver<Vec<u8>>,
    to: mpsc::Sender<Vec<u8>>,
    delay: Duration,
    between: Between,
    side: usize,
) {
    let (late, mut ripe) = mpsc::channel(4096);
    tokio::spawn(async move {
        let mut number = side;
        while let Some(mut packet) = from.recv().await {
            if between(number, &mut packet) {
                let _ = late.send((tokio::time::Instant::now() + delay, packet)).await;
            }
            number += 2;
        }
    });
    tokio::spawn(async move {
        while let Some((at, packet)) = ripe.recv().await {
            if delay > Duration::ZERO {
                tokio::time::sleep_until(at).await;
            }
            if to.send(packet).await.is_err() {
                return;
            }
        }
    });
}

fn clear() -> Between {
    Arc::new(|_, _| true)
}

fn server() -> SocketAddr {
    SERVER.parse().unwrap()
}

fn bytes(size: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..size).map(|_| next()).collect()
}

fn flags(packet: &[u8]) -> u8 {
    packet[53]
}

#[tokio::test]
async fn both_directions_end_on_their_own() {
    let (client, other) = pair(Duration::ZERO, clear());
    let listening = tokio::spawn(async move { (other.accept(server()).await, other) });
    let mut ours = client.connect(server()).await.unwrap();
    let (mut theirs, _other) = listening.await.unwrap();
    ours.write_all(b"question").await.unwrap();
    ours.shutdown().await.unwrap();
    let mut heard = Vec::new();
    timeout(SOON, theirs.read_to_end(&mut heard)).await.unwrap().unwrap();
    assert_eq!(heard, b"question");
    theirs.write_all(b"answer").await.unwrap();
    theirs.shutdown().await.unwrap();
    heard.clear();
    timeout(SOON, ours.read_to_end(&mut heard)).await.unwrap().unwrap();
    assert_eq!(heard, b"answer");
    assert!(ours.write_all(b"more").await.is_err());
}

#[tokio::test]
async fn a_closed_port_a_router_and_silence_are_told_apart() {
    let (client, _other) = pair(Duration::ZERO, clear());
    let refused = timeout(SOON, client.connect(server())).await.unwrap().err();
    assert_eq!(refused, Some(DialFailure::Refused));
    let four = timeout(SOON, client.connect("192.0.2.1:22".parse().unwrap())).await.unwrap().err();
    assert_eq!(four, Some(DialFailure::NoNetwork));

    let (alone, mut link) = Stack::start(shape("fd00::1", 1400));
    let answering = async {
        let syn = link.outgoing.recv().await.unwrap();
        link.incoming.send(icmp(1, 3, 0, &syn)).await.unwrap();
    };
    let (unreachable, ()) = tokio::join!(alone.connect(server()), answering);
    assert_eq!(unreachable.err(), Some(DialFailure::NoRoute));

    tokio::time::pause();
    assert_eq!(alone.connect(server()).await.err(), Some(DialFailure::TimedOut));
}

/// An error from `fd00::9` about a packet of ours.
fn icmp(kind: u8, code: u8, word: u32, about: &[u8]) -> Vec<u8> {
    let from: [u8; 16] = "fd00::9".parse::<std::net::Ipv6Addr>().unwrap().octets();
    let mut message = vec![kind, code, 0, 0];
    message.extend(word.to_be_bytes());
    message.extend(about);
    let len = u16::try_from(message.len()).unwrap().to_be_bytes();
    let mut pseudo = [&from, &about[8..24], &[0, 0], &len, &[0, 0, 0, 58]].concat();
    pseudo.extend(&message);
    let sum: u32 = pseudo
        .chunks(2)
        .map(|two| u32::from(two[0]) << 8 | two.get(1).map_or(0, |low| u32::from(*low)))
        .sum();
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = !u16::try_from((sum >> 16) + (sum & 0xffff)).unwrap();
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    [&[0x60, 0, 0, 0, len[0], len[1], 58, 64], &from[..], &about[8..24], &message].concat()
}

#[tokio::test]
async fn a_dropped_stream_resets_its_connection_even_if_a_packet_is_lost() {
    let resets = Arc::new(AtomicUsize::new(0));
    let seen = resets.clone();
    // The first reset is lost.
    let between: Between = Arc::new(move |_, packet| {
        flags(packet) & 4 == 0 || seen.fetch_add(1, Ordering::Relaxed) > 0
    });
    let (client, other) = pair(Duration::ZERO, between);
    let listening = tokio::spawn(async move { (other.accept(server()).await, other) });
    let ours = client.connect(server()).await.unwrap();
    let (mut theirs, _other) = listening.await.unwrap();
    drop(ours);
    let broken = timeout(SOON, theirs.read_u8()).await.unwrap().unwrap_err();
    assert_eq!(broken.kind(), std::io::ErrorKind::ConnectionReset);
    sleep(Duration::from_millis(50)).await;
    assert_eq!(resets.load(Ordering::Relaxed), 2);
    assert_eq!(client.0.0.net().connections(), 0);
}

#[tokio::test]
async fn what_was_written_before_the_end_arrives_though_the_stream_is_dropped() {
    let (client, other) = pair(Duration::from_millis(5), clear());
    let listening = tokio::spawn(async move { (other.accept(server()).await, other) });
    let mut ours = client.connect(server()).await.unwrap();
    let (mut theirs, _other) = listening.await.unwrap();
    let sent = bytes(1 << 20);
    ours.write_all(&sent).await.unwrap();
    ours.shutdown().await.unwrap();
    drop(ours);
    let mut heard = Vec::new();
    timeout(SOON, theirs.read_to_end(&mut heard)).await.unwrap().unwrap();
    assert!(heard == sent);
}

#[tokio::test]
async fn what_was_written_arrives_though_the_stream_is_dropped_without_an_end() {
    let (client, other) = pair(Duration::from_millis(5), clear());
    let listening = tokio::spawn(async move { (other.accept(server()).await, other) });
    let mut ours = client.connect(server()).await.unwrap();
    let (mut theirs, _other) = listening.await.unwrap();
    let sent = bytes(100_000);
    ours.write_all(&sent).await.unwrap();
    drop(ours);
    let mut heard = Vec::new();
    timeout(SOON, theirs.read_to_end(&mut heard)).await.unwrap().unwrap();
    assert!(heard == sent);
    // Who writes on learns that nobody reads.
    while theirs.write_all(&sent).await.is_ok() {
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_reader_that_waits_stops_the_writer() {
    let (client, other) = pair(Duration::ZERO, clear());
    let listening = tokio::spawn(async move { (other.accept(server()).await, other) });
    let mut ours = client.connect(server()).await.unwrap();
    let (mut theirs, _other) = listening.await.unwrap();
    let sent = bytes(1 << 20);
    let mut written = 0;
    while let Ok(done) = timeout(Duration::from_millis(300), ours.write(&sent)).await {
        written += done.unwrap();
        assert!(written < 32 << 20);
    }
    let mut heard = vec![0; written];
    timeout(SOON, theirs.read_exact(&mut heard)).await.unwrap().unwrap();
    timeout(SOON, ours.write_all(&sent)).await.unwrap().unwrap();
}

#[tokio::test]
async fn closing_ends_every_stream_in_time() {
    for reads in [true, false] {
        let (client, other) = pair(Duration::ZERO, clear());
        let mut streams = Vec::new();
        for port in 1..4 {
            let on = SocketAddr::new(server().ip(), port);
            let theirs = other.listen(on);
            let mut ours = client.connect(on).await.unwrap();
            ours.write_all(b"last words").await.unwrap();
            streams.push((ours, theirs));
        }
        let before = Instant::now();
        client.close().await;
        assert!(before.elapsed() < Duration::from_millis(80), "{:?}", before.elapsed());
        for (mut ours, mut theirs) in streams {
            let mut heard = [0; 10];
            theirs.read_exact(&mut heard).await.unwrap();
            assert_eq!(&heard, b"last words");
            if reads {
                let _ = timeout(SOON, theirs.read_u8()).await.unwrap().unwrap_err();
            }
            let broken = timeout(SOON, ours.read_u8()).await.unwrap();
            assert!(broken.is_err());
        }
        assert!(client.connect(server()).await.is_err());
    }
}

#[tokio::test]
async fn a_stream_that_is_cut_off_resets_its_connection_though_resets_behind_data_are_lost() {
    let resets = Arc::new(AtomicUsize::new(0));
    let seen = resets.clone();
    let between: Between = Arc::new(move |_, packet| {
        flags(packet) & 4 == 0 || seen.fetch_add(1, Ordering::Relaxed) > 2
    });
    let (client, other) = pair(Duration::from_millis(40), between);
    let listening = tokio::spawn(async move { (other.accept(server()).await, other) });
    let mut ours = client.connect(server()).await.unwrap();
    let (mut theirs, _other) = listening.await.unwrap();
    let reading = tokio::spawn(async move {
        loop {
            if let Err(error) = theirs.read(&mut [0; 65_536]).await {
                return error;
            }
        }
    });
    let sent = bytes(1 << 20);
    let writing = async { while ours.write(&sent).await.is_ok() {} };
    timeout(Duration::from_millis(500), writing).await.unwrap_err();
    let before = Instant::now();
    client.close().await;
    assert!(before.elapsed() < Duration::from_millis(450), "{:?}", before.elapsed());
    let broken = timeout(SOON, reading).await.unwrap().unwrap();
    assert_eq!(broken.kind(), std::io::ErrorKind::ConnectionReset);
    assert!(resets.load(Ordering::Relaxed) >= 4);
}

#[tokio::test]
async fn streams_break_with_their_network() {
    let (client, mut link) = Stack::start(shape("fd00::1", 1400));
    let waiting = tokio::spawn(async move { client.connect(server()).await.err() });
    link.outgoing.recv().await.unwrap();
    drop(link);
    let failure = timeout(SOON, waiting).await.unwrap().unwrap();
    assert_eq!(failure, Some(DialFailure::Io(std::io::ErrorKind::NotConnected)));
}

#[tokio::test]
async fn a_router_shortens_what_is_sent() {
    let (answers, mut late) = mpsc::unbounded_channel();
    let between: Between = Arc::new(move |number, packet| {
        if number % 2 == 0 && packet.len() > 1300 {
            let _ = answers.send(icmp(2, 0, 1300, &packet[..1200]));
            return false;
        }
        true
    });
    let (client, link) = Stack::start(shape("fd00::1", 1400));
    let (other, other_link) = Stack::start(shape("fd00::2", 1400));
    let back = link.incoming.clone();
    wire(link.outgoing, other_link.incoming, Duration::ZERO, between.clone(), 0);
    wire(other_link.outgoing, link.incoming, Duration::ZERO, between, 1);
    tokio::spawn(async move {
        while let Some(packet) = late.recv().await {
            let _ = back.send(packet).await;
        }
    });
    let listening = tokio::spawn(async move { (other.accept(server()).await, other) });
    let mut ours = client.connect(server()).await.unwrap();
    let (mut theirs, _other) = listening.await.unwrap();
    let sent = bytes(100_000);
    ours.write_all(&sent).await.unwrap();
    let mut heard = vec![0; sent.len()];
    timeout(SOON, theirs.read_exact(&mut heard)).await.unwrap().unwrap();
    assert!(heard == sent);
    assert_eq!(client.0.0.net().mtu(), 1300);
}

#[tokio::test]
async fn errors_about_connections_of_others_change_nothing() {
    let (client, mut link) = Stack::start(shape("fd00::1", 1400));
    let connecting = tokio::spawn({
        let client = client.clone();
        async move { client.connect(server()).await.map(drop) }
    });
    let mut syn = link.outgoing.recv().await.unwrap();
    syn[41] ^= 1;
    link.incoming.send(icmp(2, 0, 1300, &syn)).await.unwrap();
    link.incoming.send(icmp(1, 0, 0, &syn)).await.unwrap();
    sleep(Duration::from_millis(50)).await;
    assert_eq!(client.0.0.net().mtu(), 1400);
    assert!(!connecting.is_finished());
    connecting.abort();
}

#[tokio::test]
async fn no_router_shortens_below_what_every_network_carries() {
    let (client, mut link) = Stack::start(shape("fd00::1", 1400));
    let connecting = tokio::spawn({
        let client = client.clone();
        async move { client.connect(server()).await.map(drop) }
    });
    let syn = link.outgoing.recv().await.unwrap();
    link.incoming.send(icmp(2, 0, 100, &syn)).await.unwrap();
    sleep(Duration::from_millis(50)).await;
    assert_eq!(client.0.0.net().mtu(), 1280);
    connecting.abort();
}

#[tokio::test]
async fn all_arrives_over_a_bad_line() {
    let between: Between = Arc::new(|number, _| number % 19 != 7);
    let (client, other) = pair(Duration::from_millis(2), between);
    let listening = tokio::spawn(async move { (other.accept(server()).await, other) });
    let mut ours = client.connect(server()).await.unwrap();
    let (mut theirs, _other) = listening.await.unwrap();
    let sent = bytes(200_000);
    let writing = async {
        ours.write_all(&sent).await.unwrap();
        ours.shutdown().await.unwrap();
    };
    let mut heard = Vec::new();
    let both = async { tokio::join!(writing, theirs.read_to_end(&mut heard)) };
    timeout(Duration::from_secs(60), both).await.unwrap().1.unwrap();
    assert!(heard == sent);
}

/// How long a mebibyte takes to the other side of a line of 20 ms and back, where every
/// other one of those packets is lost.
async fn sending(lost: std::ops::Range<usize>) -> Duration {
    let between: Between = Arc::new(move |number, _| {
        number % 2 == 1 || number % 4 == 0 || !lost.contains(&(number / 2))
    });
    let (client, other) = pair(Duration::from_millis(10), between);
    let listening = tokio::spawn(async move { (other.accept(server()).await, other) });
    let mut ours = client.connect(server()).await.unwrap();
    let (mut theirs, _other) = listening.await.unwrap();
    let sent = bytes(1 << 20);
    let mut heard = vec![0; sent.len()];
    let began = Instant::now();
    let both = async { tokio::join!(ours.write_all(&sent), theirs.read_exact(&mut heard)) };
    timeout(Duration::from_secs(60), both).await.unwrap().1.unwrap();
    assert!(heard == sent);
    began.elapsed()
}

#[tokio::test]
async fn many_losses_at_once_wait_for_no_timeout() {
    let mut extra = Duration::MAX;
    // Others take the processor now and then.
    for _ in 0..5 {
        let clear = sending(0..0).await;
        extra = extra.min(sending(200..260).await.saturating_sub(clear));
    }
    // One timeout alone would be a second, as smoltcp has it.
    assert!(extra < Duration::from_millis(900), "{extra:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_packet_brings_it_down(
        packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..40),
        shapes in prop::collection::vec(0..6_usize, 40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (client, mut link) = Stack::start(shape("fd00::1", 1400));
            let connecting = tokio::spawn({
                let client = client.clone();
                async move { client.connect(server()).await.map(drop) }
            });
            let syn = link.outgoing.recv().await.unwrap();
            for (packet, shape) in packets.into_iter().zip(shapes) {
                link.incoming.send(like(&syn, packet, shape)).await.unwrap();
            }
            sleep(Duration::from_millis(1)).await;
            // It still works.
            connecting.abort();
            let again = tokio::spawn(async move { client.connect(server()).await.map(drop) });
            let is_syn = |packet: &Vec<u8>| packet.len() > 53 && flags(packet) == 2;
            let answering = async {
                while !is_syn(&link.outgoing.recv().await.unwrap()) {}
            };
            timeout(SOON, answering).await.unwrap();
            again.abort();
        });
    }
}

/// Something that is more or less an answer to `syn`.
fn like(syn: &[u8], mut noise: Vec<u8>, shape: usize) -> Vec<u8> {
    let mut head = syn[..60].to_vec();
    head[8..24].copy_from_slice(&syn[24..40]);
    head[24..40].copy_from_slice(&syn[8..24]);
    match shape {
        0 => return noise,
        1 => {
            head.truncate(40);
            head[4..6].copy_from_slice(&u16::try_from(noise.len()).unwrap().to_be_bytes());
        }
        2 => {
            noise.resize(noise.len().max(9), 0);
            return icmp(noise[0] % 5, noise[1] % 8, u32::from(noise[2]) << 6, &{
                let mut quoted = syn.to_vec();
                quoted.truncate(40 + usize::from(noise[3]) % 30);
                for (at, byte) in noise[4..].iter().enumerate() {
                    if *byte == 0 && at >= 40 && at < quoted.len() {
                        quoted[at] ^= 1;
                    }
                }
                quoted
            });
        }
        shape => {
            head[40..42].copy_from_slice(&syn[42..44]);
            head[42..44].copy_from_slice(&syn[40..42]);
            for (at, byte) in noise.iter().take(16).enumerate() {
                head[44 + at] = *byte;
            }
            if shape > 3 {
                // An acknowledgement of the SYN in right form, with a right sum.
                let next = u32::from_be_bytes(syn[44..48].try_into().unwrap()).wrapping_add(1);
                head[48..52].copy_from_slice(&next.to_be_bytes());
                head[52] = (noise.first().copied().unwrap_or(0) % 6 + 5) << 4;
                head[53] = if shape == 4 { 0x12 } else { noise.get(1).copied().unwrap_or(0x14) };
            }
            let len = u16::try_from(20 + noise.len()).unwrap();
            head[4..6].copy_from_slice(&len.to_be_bytes());
            head.extend(&noise);
            head[56..58].copy_from_slice(&[0, 0]);
            let sum = smoltcp_sum(&head);
            head[56..58].copy_from_slice(&sum.to_be_bytes());
            return head;
        }
    }
    head.extend(noise);
    head
}

fn smoltcp_sum(packet: &[u8]) -> u16 {
    let len = u16::try_from(packet.len() - 40).unwrap().to_be_bytes();
    let mut pseudo = [&packet[8..40], &[0, 0], &len, &[0, 0, 0, 6]].concat();
    pseudo.extend(&packet[40..]);
    let sum: u32 = pseudo
        .chunks(2)
        .map(|two| u32::from(two[0]) << 8 | two.get(1).map_or(0, |low| u32::from(*low)))
        .sum();
    let sum = (sum >> 16) + (sum & 0xffff);
    !u16::try_from((sum >> 16) + (sum & 0xffff)).unwrap()
}

/// Both stacks with a TCP connection on the loopback between them, as fast as they can.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures"]
async fn speed_over_a_stream() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (far, _) = listener.accept().await.unwrap();
    let (client, link) = Stack::start(shape("fd00::1", 1400));
    let (other, other_link) = Stack::start(shape("fd00::2", 1400));
    carry(near, link);
    carry(far, other_link);
    let size = 512 << 20;
    for is_up in [true, false, true, false] {
        let on = SocketAddr::new(server().ip(), if is_up { 1 } else { 2 });
        let mut theirs = other.listen(on);
        let mut ours = client.connect(on).await.unwrap();
        // The other side may write when it has heard of our answer, which is under way.
        theirs.accepted().await;
        let began = Instant::now();
        if is_up {
            copy(ours, theirs, size).await
        } else {
            copy(theirs, ours, size).await
        }
        let rate = size as f64 / began.elapsed().as_secs_f64() / 1e6;
        println!("up {is_up}: {rate:.0} MB/s");
        // Echo.
        theirs = other.listen(SocketAddr::new(on.ip(), on.port() + 10));
        ours = client.connect(SocketAddr::new(on.ip(), on.port() + 10)).await.unwrap();
        theirs.accepted().await;
        tokio::spawn(async move {
            let mut block = [0; 36];
            while theirs.read_exact(&mut block).await.is_ok() {
                theirs.write_all(&block).await.unwrap();
            }
        });
        let mut times = Vec::new();
        for _ in 0..3000 {
            let mut block = [1; 36];
            let began = Instant::now();
            ours.write_all(&block).await.unwrap();
            ours.read_exact(&mut block).await.unwrap();
            times.push(began.elapsed());
        }
        times.sort();
        println!("echo {:?} {:?}", times[times.len() / 2], times[times.len() * 99 / 100]);
    }
}

async fn copy(
    mut from: impl AsyncWrite + Send + Unpin + 'static,
    mut to: impl AsyncRead + Unpin,
    size: usize,
) {
    let writing = tokio::spawn(async move {
        let block = vec![7; 1 << 16];
        for _ in 0..size / block.len() {
            from.write_all(&block).await.unwrap();
        }
        from.shutdown().await.unwrap();
        from
    });
    let mut block = vec![0; 1 << 16];
    let mut got = 0;
    loop {
        match to.read(&mut block).await.unwrap() {
            0 => break,
            some => got += some,
        }
    }
    assert_eq!(got, size);
    writing.await.unwrap();
}

fn carry(stream: tokio::net::TcpStream, mut link: NetworkEnd) {
    stream.set_nodelay(true).unwrap();
    let (reader, mut writer) = stream.into_split();
    tokio::spawn(async move {
        let mut all = Vec::new();
        let mut batch = Vec::new();
        while link.outgoing.recv_many(&mut batch, 64).await > 0 {
            all.clear();
            for packet in batch.drain(..) {
                all.extend(u16::try_from(packet.len()).unwrap().to_be_bytes());
                all.extend(packet);
            }
            if writer.write_all(&all).await.is_err() {
                return;
            }
        }
    });
    let mut reader = tokio::io::BufReader::with_capacity(1 << 16, reader);
    tokio::spawn(async move {
        while let Ok(len) = reader.read_u16().await {
            let mut packet = vec![0; usize::from(len)];
            reader.read_exact(&mut packet).await.unwrap();
            if link.incoming.send(packet).await.is_err() {
                return;
            }
        }
    });
}
