use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn literals_are_never_resolved() {
    let address = |host| literal(host, 22).unwrap().map(|address| address.to_string());
    assert_eq!(address("192.0.2.1").as_deref(), Some("192.0.2.1:22"));
    assert_eq!(address("2001:db8::1").as_deref(), Some("[2001:db8::1]:22"));
    assert_eq!(address("[2001:db8::1]").as_deref(), Some("[2001:db8::1]:22"));
    assert_eq!(address("fe80::1%1").as_deref(), Some("[fe80::1%1]:22"));
    assert_eq!(address("fe80::1%lo").as_deref(), Some("[fe80::1%1]:22"));
    assert_eq!(address("127.1").as_deref(), Some("127.0.0.1:22"));
    assert_eq!(address("example.com"), None);
    assert!(literal("fe80::1%no-such-interface", 22).is_err());
    assert!(literal("10.0.0.1%eth0", 22).is_err());
}

#[test]
fn names_that_must_not_reach_the_dns_are_refused() {
    for bad in ["", "a b", "a\nb", "x.onion", "X.ONION.", "-J\u{7f}", &"a".repeat(254)] {
        assert!(check_name(bad).is_err(), "{bad:?}");
    }
    for good in ["a", "a.b.c", "xn--bcher-kva.example", "under_score", "a.b."] {
        assert!(check_name(good).is_ok(), "{good:?}");
    }
}

#[test]
fn families_alternate_with_six_first() {
    assert_eq!(
        interleave(&[ip("::1"), ip("::2")], &[ip("1.1.1.1")]),
        [ip("::1"), ip("1.1.1.1"), ip("::2")]
    );
}

#[tokio::test]
async fn a_refusing_address_does_not_delay_the_next_one() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let open = listener.local_addr().unwrap();
    let closed = {
        let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        other.local_addr().unwrap()
    };
    let (found, addresses) = mpsc::channel(4);
    found.send(closed).await.unwrap();
    found.send(open).await.unwrap();
    drop(found);
    let before = std::time::Instant::now();
    assert!(
        connect_first(addresses, &SocketOptions::default(), &Ways::none(), &|_| ()).await.is_ok()
    );
    assert!(before.elapsed() < ATTEMPT_DELAY, "{:?}", before.elapsed());
}

#[tokio::test]
async fn a_black_hole_gives_way_after_the_attempt_delay() {
    let hole = black_hole();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (found, addresses) = mpsc::channel(4);
    found.send(hole.0).await.unwrap();
    found.send(listener.local_addr().unwrap()).await.unwrap();
    drop(found);
    let before = std::time::Instant::now();
    assert!(
        connect_first(addresses, &SocketOptions::default(), &Ways::none(), &|_| ()).await.is_ok()
    );
    assert!(before.elapsed() >= ATTEMPT_DELAY, "{:?}", before.elapsed());
    assert!(before.elapsed() < ATTEMPT_DELAY * 4, "{:?}", before.elapsed());
}

/// A listener whose queue is full answers nothing.
fn black_hole() -> (std::net::SocketAddr, Vec<std::net::TcpStream>, std::net::TcpListener) {
    use rustix::net;
    let socket =
        net::socket(net::AddressFamily::INET, net::SocketType::STREAM, None).expect("a socket");
    net::bind(&socket, &std::net::SocketAddr::from(([127, 0, 0, 1], 0))).expect("a socket");
    net::listen(&socket, 0).expect("a socket");
    let listener = std::net::TcpListener::from(socket);
    let address = listener.local_addr().expect("a socket");
    let mut held = Vec::new();
    let soon = std::time::Duration::from_millis(100);
    while let Ok(stream) = std::net::TcpStream::connect_timeout(&address, soon) {
        held.push(stream);
    }
    (address, held, listener)
}
