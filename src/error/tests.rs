//! All errors there are, and their exit statuses.

use std::io::ErrorKind;
use std::time::Duration;

use super::*;
use crate::dial::{DialError, DialFailure, ProxyFailure};
use crate::race::BannerError;
use crate::ssh::{Negotiated, NoCommon};

/// The exit status of a command that opens a session, and of another.
fn statuses(error: &Error) -> (u8, u8) {
    match error {
        Error::Usage(_) => (255, 2),
        _ => (255, 1),
    }
}

fn attempts() -> Vec<Attempt> {
    let unknown = || Box::new(Error::NoVars { var: "g/f".into() });
    let mut causes = vec![
        Cause::Decrypt(unknown()),
        Cause::Configuration(unknown()),
        Cause::Proxy(ProxyFailure::ShowsSecret),
        Cause::Proxy(ProxyFailure::NotForwarded("connect failed".into())),
        Cause::HostKey(unknown()),
        Cause::KeyExchange(Loss::NoCommon(NoCommon {
            kind: Negotiated::HostKey,
            theirs: vec!["ssh-rsa".into()],
            usable: Some("ssh-rsa".into()),
            also: Vec::new(),
        })),
    ];
    let losses = [Loss::TimedOut, Loss::Silent, Loss::NoSession, Loss::Closed];
    causes.extend(losses.map(Cause::KeyExchange));
    let failures = [
        DialFailure::NoSuchName,
        DialFailure::NoNameServer,
        DialFailure::ResolverTimeout,
        DialFailure::Refused,
        DialFailure::TimedOut,
    ];
    let dial = |failure| Cause::from(DialError { stage: Stage::Dial, failure });
    causes.extend(failures.map(dial));
    causes.extend(TorFailure::examples().map(|it| dial(DialFailure::Tor(it))));
    causes.extend(IrohFailure::examples().map(|it| dial(DialFailure::Iroh(it))));
    causes.extend(MemberFailure::examples().map(|it| dial(DialFailure::Member(Box::new(it)))));
    causes.extend(LeafFailure::examples().map(|it| dial(DialFailure::Leaf(it))));
    causes.extend(TailscaleFailure::examples().map(|it| dial(DialFailure::Tailscale(it))));
    causes.extend(WireGuardFailure::examples().map(|it| dial(DialFailure::WireGuard(it))));
    let daemon = Daemon { name: "netbird", start: "systemctl start netbird" };
    causes.push(dial(DialFailure::Outside(daemon)));
    causes.extend(
        [BannerError::TimedOut, BannerError::Closed, BannerError::Busy, BannerError::NotSsh]
            .map(Cause::Banner),
    );
    let attempt = |cause| Attempt {
        network: "n".into(),
        host: "h".into(),
        port: None,
        cause,
        elapsed: Duration::from_millis(100),
    };
    causes.into_iter().map(attempt).collect()
}

/// One of almost every kind.
pub(crate) fn all() -> Vec<Error> {
    let (text, machine) = (|| "x".to_owned(), || "m".to_owned());
    let (known, tried) = (vec![text()], vec![text()]);
    let io = || std::io::Error::from(ErrorKind::PermissionDenied);
    vec![
        Error::Usage(text()),
        Error::OptionValue(text()),
        Error::SshConfig { path: "/".into(), line: Some(1), text: text() },
        Error::FlakeNotFound { start: "/".into() },
        Error::NotAFlake { path: "/".into() },
        Error::NoExports { flake: "/".into(), reason: text() },
        Error::NoRoute { machine: machine(), reason: text() },
        Error::UnknownMachine {
            machine: machine(),
            empty: None,
            nearest: None,
            known: known.clone(),
        },
        Error::UnknownNetwork { network: text(), nearest: None, known },
        Error::NoVars { var: text() },
        Error::VarMissing { machine: machine(), var: text() },
        Error::VarUndecryptable {
            machine: machine(),
            var: text(),
            reason: text(),
            tried: tried.clone(),
        },
        Error::Undecryptable { path: "/".into(), reason: text(), tried: Vec::new() },
        Error::KnownHosts { path: "/".into(), reason: text() },
        Error::KnownHostsCommand { reason: text() },
        Error::VarValue { var: text(), reason: "x" },
        Error::HostKey { name: machine(), reason: text() },
        Error::Auth { user: text(), machine: machine(), offered: Vec::new(), tried },
        Error::ConnectionLost { machine: machine(), reason: Loss::Silent, login_at: None },
        Error::Refused(SessionRequest::Shell),
        Error::Key(BadKey { origin: text(), fault: KeyFault::Wrong("x") }),
        Error::Forward(text()),
        Error::NotForwarded(text()),
        Error::Control(text()),
        Error::Internal,
        Error::Terminal(io()),
        Error::Output(io()),
        Error::Unreachable { machine: machine(), attempts: Vec::new() },
        Error::Unreachable { machine: machine(), attempts: attempts() },
    ]
    .into_iter()
    .chain(NixFault::examples().map(|fault| Error::Nix {
        action: "evaluate",
        reference: text(),
        reason: text(),
        fault,
    }))
    .collect()
}

#[test]
fn exit_statuses_follow_one_table() {
    for error in all() {
        let codes = (error.exit_code(true), error.exit_code(false));
        assert_eq!(codes, statuses(&error), "{error}");
    }
}

#[test]
fn an_attempt_says_how_far_it_got_by_its_cause() {
    let of = |cause: Cause| cause.stage().to_string();
    assert_eq!(of(Cause::Decrypt(Box::new(Error::Internal))), "decrypt");
    assert_eq!(of(Cause::Configuration(Box::new(Error::Internal))), "evaluate");
    assert_eq!(of(Cause::Banner(BannerError::Closed)), "banner");
    assert_eq!(of(Cause::KeyExchange(Loss::Closed)), "kex");
    let resolve = DialError { stage: Stage::Resolve, failure: DialFailure::NoSuchName };
    assert_eq!(of(Cause::from(resolve)), "resolve");
    let proxy = DialFailure::Proxy(ProxyFailure::ShowsSecret);
    let proxy = Cause::from(DialError { stage: Stage::Dial, failure: proxy });
    assert!(matches!(proxy, Cause::Proxy(ProxyFailure::ShowsSecret)), "{proxy:?}");
    let attempt = Attempt {
        network: "internet".into(),
        host: "web".into(),
        port: Some(22),
        cause: proxy,
        elapsed: Duration::from_millis(1240),
    };
    let text = "internet via web: the ProxyCommand would show the secret host: leave out its %h \
                (dial, 1.2 s)";
    assert_eq!(attempt.to_string(), text);
    let elsewhere = Attempt { port: Some(2200), ..attempt };
    assert!(elsewhere.to_string().starts_with("internet via web port 2200: the ProxyCommand"));
}
