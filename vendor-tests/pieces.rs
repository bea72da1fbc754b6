//! In what pieces our client speaks to sshd: each one is a segment, and over Tor a cell,
//! that may have to wait until the one before has been acknowledged.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::harness::{Run, start, wait};
use crate::openssh_personality::Place;

/// A NEWKEYS that is not encrypted: its length and that of the padding, itself, and ten
/// bytes of padding (RFC 4253, section 6).
const NEWKEYS: usize = 16;
/// On a busy computer it may have been waited for too long.
const TRIES: usize = 5;

/// A port that leads to `server`, and how much each read from a client had.
fn noting(server: SocketAddr) -> (u16, Arc<Mutex<Vec<usize>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let pieces = Arc::new(Mutex::new(Vec::new()));
    let noted = pieces.clone();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let to = TcpStream::connect(server).unwrap();
            let (mut back, mut forth) = (client.try_clone().unwrap(), to.try_clone().unwrap());
            let (mut client, mut to) = (client, to);
            std::thread::spawn(move || {
                let _ = io::copy(&mut to, &mut back);
                let _ = back.shutdown(Shutdown::Write);
            });
            let noted = noted.clone();
            std::thread::spawn(move || {
                let mut piece = vec![0; 64 << 10];
                while let Ok(count @ 1..) = client.read(&mut piece) {
                    noted.lock().unwrap().push(count);
                    if forth.write_all(&piece[..count]).is_err() {
                        break;
                    }
                }
                let _ = forth.shutdown(Shutdown::Write);
            });
        }
    });
    (port, pieces)
}

#[test]
fn newkeys_leaves_together_with_what_follows_it() {
    let place = Place::shared("");
    let (port, pieces) = noting(place.server.address);
    let port = port.to_string();
    let mut seen = Vec::new();
    for _ in 0..TRIES {
        pieces.lock().unwrap().clear();
        let mut command = place.client(&place.ours(), &["-p", &port, "box", "echo hi"]);
        let done = Run::of(wait(start(&mut command, ""))).exits(0);
        assert_eq!(done.text(), "hi\n");
        let pieces = std::mem::take(&mut *pieces.lock().unwrap());
        assert!(pieces.iter().sum::<usize>() > 1000, "{pieces:?}");
        if !pieces.contains(&NEWKEYS) {
            return;
        }
        seen.push(pieces);
    }
    panic!("it was alone each time: {seen:?}");
}
