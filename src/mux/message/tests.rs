use super::*;

#[test]
fn requests_are_read_as_they_were_written() {
    let tcp = |host: &str, port| ForwardTarget::Tcp(host.to_owned(), port);
    let listen = |address: &str, port| Listen::Tcp(address.to_owned(), port);
    let session = NewSession {
        tty: true,
        agent: true,
        escape: Some(b'~'),
        term: "xterm".to_owned(),
        command: "echo ü".to_owned(),
        env: vec![("LANG".to_owned(), "a=b".to_owned())],
        ..NewSession::default()
    };
    let forward = |side, listen, target| Forward { side, listen, target };
    for request in [
        MasterRequest::NewSession(session),
        MasterRequest::NewSession(NewSession::default()),
        MasterRequest::AliveCheck,
        MasterRequest::Terminate,
        MasterRequest::StopListening,
        MasterRequest::Info("connection".to_owned()),
        MasterRequest::NewStdioForward(tcp("h", 22)),
        MasterRequest::NewStdioForward(ForwardTarget::Unix("/run/x".into())),
        MasterRequest::OpenForward(forward(Side::Local, listen("*", 1), tcp("::1", 2))),
        MasterRequest::OpenForward(forward(Side::Local, listen("", 1), ForwardTarget::Dynamic)),
        MasterRequest::OpenForward(forward(Side::Remote, listen("", 0), ForwardTarget::Dynamic)),
        MasterRequest::CloseForward(forward(Side::Remote, Listen::Unix("/a".into()), tcp("h", 2))),
        MasterRequest::CloseForward(forward(
            Side::Local,
            Listen::Unix("/a".into()),
            ForwardTarget::Unix("/b".into()),
        )),
    ] {
        assert_eq!(MasterRequest::decode(&request.encode(7)), Ok((7, request)));
    }
    let hello = MasterRequest::Hello { version: VERSION };
    assert_eq!(MasterRequest::decode(&hello.encode(7)), Ok((0, hello)));
}

#[test]
fn replies_are_read_as_they_were_written() {
    for (id, reply) in [
        (7, Reply::Ok),
        (7, Reply::PermissionDenied("no".to_owned())),
        (7, Reply::Failure("why".to_owned())),
        (7, Reply::Alive(1)),
        (7, Reply::SessionOpened(3)),
        (7, Reply::RemotePort(40_000)),
        (0, Reply::Exit { session: 3, status: 255 }),
        (0, Reply::TtyAllocFail(3)),
        (0, Reply::Hello { version: VERSION, has_info: false }),
        (0, Reply::Hello { version: VERSION, has_info: true }),
        (7, Reply::Info { is_told: true, text: "a\r\nb".to_owned() }),
        (7, Reply::Info { is_told: false, text: String::new() }),
    ] {
        assert_eq!(Reply::decode(&reply.encode(7)), Ok((id, reply)));
    }
}

#[test]
fn the_bytes_are_those_of_openssh() {
    let forward = Forward {
        side: Side::Local,
        listen: Listen::Tcp("".to_owned(), 1080),
        target: ForwardTarget::Dynamic,
    };
    let expected = [
        &[0x10, 0, 0, 6, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 4, 56][..],
        &[0, 0, 0, 5, b's', b'o', b'c', b'k', b's', 0, 0, 0, 0],
    ];
    assert_eq!(MasterRequest::OpenForward(forward).encode(2), expected.concat());
    assert_eq!(MasterRequest::Hello { version: 4 }.encode(0), [0, 0, 0, 1, 0, 0, 0, 4]);
    let hello = Reply::Hello { version: 4, has_info: true }.encode(0);
    assert_eq!(hello, b"\0\0\0\x01\0\0\0\x04\0\0\0\x04info\0\0\0\x010");
}

#[test]
fn extensions_that_nobody_knows_are_passed_over() {
    let hello = b"\0\0\0\x01\0\0\0\x04";
    let (info, other) = (b"\0\0\0\x04info\0\0\0\0", b"\0\0\0\x01x\0\0\0\x02yz");
    for (extensions, has_info) in [
        (other.to_vec(), false),
        ([&other[..], info].concat(), true),
        ([&info[..], other].concat(), true),
    ] {
        let message = [&hello[..], &extensions].concat();
        let expected = Reply::Hello { version: 4, has_info };
        assert_eq!(Reply::decode(&message), Ok((0, expected)));
        assert_eq!(Reply::decode(&message[..message.len() - 1]), Err(Malformed));
    }
}

#[test]
fn what_is_cut_or_wrong_is_refused() {
    let whole = MasterRequest::NewSession(NewSession::default()).encode(1);
    for length in 0..whole.len() {
        assert_eq!(MasterRequest::decode(&whole[..length]), Err(Malformed), "{length}");
    }
    let unknown = [0x10, 0, 0, 15, 0, 0, 0, 9];
    assert_eq!(MasterRequest::decode(&unknown), Ok((9, MasterRequest::Unknown)));
    assert_eq!(Reply::decode(&unknown), Err(Malformed));
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(0_u8.., 0..200)) {
        let _ = MasterRequest::decode(&bytes);
        let _ = Reply::decode(&bytes);
    }
}
