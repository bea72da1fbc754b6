//! What is said before the service has confirmed the stream.

use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use rustix::net::{self, AddressFamily, SocketType};

use super::{Machine, network};
use crate::harness::{start, until};

/// How long the words may take through the relays behind the asking.
const BEHIND: Duration = Duration::from_secs(2);
/// The kernel tries to connect again after one, three and seven seconds.
const AGAIN: Duration = Duration::from_secs(12);

/// A port that takes no connection before its queue is emptied, and what is in there.
fn full() -> (TcpListener, Vec<TcpStream>) {
    let socket = net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    net::bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    net::listen(&socket, 0).unwrap();
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().unwrap();
    let mut held = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
        held.push(stream);
    }
    (listener, held)
}

/// Whether somebody is connecting to this port of loopback, and is not connected
/// (proc(5), `/proc/net/tcp`; 02 is `SYN_SENT`).
fn is_asked(port: u16) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    table.contains(&format!(" 0100007F:{port:04X} 02 "))
}

#[test]
fn the_first_words_are_there_before_the_service_has_confirmed_the_stream() {
    let (network, _turn) = network();
    let (listener, held) = full();
    let port = listener.local_addr().unwrap().port();
    let slow = format!("HiddenServicePort 25 127.0.0.1:{port}\n");
    let machine = Machine::new(network, &slow);
    machine.until_reachable(&[]);
    until("the kernel's last try", || !is_asked(port));
    let args = machine.args("first", &["-p", "25", "--timeout", "60"], &["true"]);
    let mut child = start(&mut machine.home.command(&args), "util-linux");
    until("the service", || is_asked(port));
    std::thread::sleep(BEHIND);
    // From now on no word reaches us, and none the service.
    let frozen = network.freeze();
    let ours: Vec<_> = held.iter().map(|stream| stream.local_addr().unwrap()).collect();
    let mut first = loop {
        let (stream, from) = listener.accept().unwrap();
        if !ours.contains(&from) {
            break stream;
        }
    };
    first.set_read_timeout(Some(AGAIN)).unwrap();
    let mut words = [0; 8];
    let read = first.read_exact(&mut words);
    drop(frozen);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(read.is_ok() && &words == b"SSH-2.0-", "{read:?}: {words:?}");
}
