//! The words that scripts look for in what ssh(1) says. They come of the type of
//! what has failed, never of its text.

use std::io::ErrorKind;

use crate::advice::{self, Caller};
use crate::cli::request::routes::DIRECT;
use crate::dial::{DialError, DialFailure, ProxyFailure};
use crate::error::{Attempt, Cause, Error, SessionRequest};
use crate::openssh::Resolved;
use crate::printable::Printable;
use crate::race::BannerError;
use crate::ssh::{Loss, Negotiated, NoCommon};

/// An error as ssh(1) has it.
pub(super) fn in_words_of_ssh(error: &Error, resolved: &Resolved) -> String {
    let host = Printable(&resolved.host_name);
    match error {
        Error::Auth { user, offered, .. } => {
            format!("{}@{host}: Permission denied ({}).", Printable(user), offered.join(","))
        }
        // What is wrong with it has been said.
        Error::HostKey { .. } => "Host key verification failed.".to_owned(),
        Error::Unreachable { attempts, .. } => {
            let lines: Vec<String> =
                attempts.iter().map(|attempt| one_attempt(attempt, resolved.port)).collect();
            lines.join("\n")
        }
        Error::ConnectionLost {
            reason: Loss::Silent | Loss::NoSession | Loss::TimedOut, ..
        } => {
            format!("Timeout, server {host} not responding.")
        }
        Error::ConnectionLost { reason, login_at: Some(at), .. }
            if let Some(words) = during_login(reason, at) =>
        {
            words
        }
        Error::ConnectionLost { reason: reason @ Loss::Ahead, .. } => format!(
            "ssh: connection to {host} {reason}\nhint: turn pipelining off: -o Pipelining=no"
        ),
        // There is nothing to add to that.
        Error::ConnectionLost { reason: Loss::Closed, .. } => {
            format!("Connection to {host} closed by remote host.")
        }
        Error::ConnectionLost { reason: Loss::Damaged, .. } => {
            damaged(&format!("{host} port {}", resolved.port))
        }
        Error::ConnectionLost { reason, .. } => {
            format!("Connection to {host} closed by remote host.\r\n{reason}")
        }
        // clientloop.c, `client_status_confirm`.
        Error::Refused(asked) => {
            let asked = match asked {
                SessionRequest::Shell => "shell",
                SessionRequest::Command => "exec",
                SessionRequest::Subsystem => "subsystem",
            };
            format!("{asked} request failed on channel 0")
        }
        Error::Usage(_) | Error::OptionValue(_) | Error::Forward(_) | Error::Control(_) => {
            error.to_string()
        }
        other => format!("ssh: {other}"),
    }
}

/// What becomes of a connection on which nobody is logged in yet (packet.c,
/// `sshpkt_vfatal` and `ssh_packet_read_poll_seqnr`).
fn during_login(reason: &Loss, (address, port): &(String, u16)) -> Option<String> {
    let at = format!("{} port {port}", Printable(address));
    Some(match reason {
        Loss::Closed => format!("Connection closed by {at}"),
        Loss::Broken(ErrorKind::ConnectionReset) => format!("Connection reset by {at}"),
        Loss::Disconnected { code, message } => {
            format!("Received disconnect from {at}:{code}: {message}\r\nDisconnected from {at}")
        }
        _ => return None,
    })
}

/// packet.c, `ssh_packet_read_poll2` and `sshpkt_vfatal`.
fn damaged(at: &str) -> String {
    format!(
        "Corrupted MAC on input.\r\nssh_dispatch_run_fatal: Connection to {at}: \
         message authentication code incorrect"
    )
}

fn one_attempt(attempt: &Attempt, port: u16) -> String {
    let Attempt { host, network, cause, port: shown, .. } = attempt;
    let host = Printable(host);
    // Which port it is in a network, the clan says.
    let port = if network == DIRECT { Some(port) } else { *shown };
    let at = match port {
        Some(port) => format!("{host} port {port}"),
        None => host.to_string(),
    };
    let over = if network == DIRECT { String::new() } else { format!("{network}: ") };
    let text = match cause {
        Cause::Dial(DialError { failure, .. }) => match of_dial(failure) {
            Ok(words) => format!("ssh: connect to host {at}: {words}"),
            Err(words) => format!("ssh: Could not resolve hostname {host}: {words}"),
        },
        Cause::Banner(BannerError::Closed | BannerError::NotSsh) => {
            format!("kex_exchange_identification: {cause}\r\nConnection closed by remote host")
        }
        Cause::Proxy(ProxyFailure::NotForwarded(_)) => cause.to_string(),
        Cause::Proxy(ProxyFailure::NotPassed) => {
            "proxy dialer did not pass back a connection".to_owned()
        }
        Cause::HostKey(_) => format!("{cause}\r\nHost key verification failed."),
        Cause::KeyExchange(Loss::NoCommon(NoCommon { kind, theirs, .. })) => {
            let (kind, theirs) = (no_matching(*kind), theirs.join(","));
            format!(
                "Unable to negotiate with {at}: no matching {kind} found. \
                 Their offer: {theirs}"
            )
        }
        // packet.c, `sshpkt_vfatal`.
        Cause::KeyExchange(Loss::Closed) => format!("Connection closed by {at}"),
        Cause::KeyExchange(Loss::Broken(std::io::ErrorKind::ConnectionReset)) => {
            format!("Connection reset by {at}")
        }
        Cause::KeyExchange(Loss::Damaged) => damaged(&at),
        Cause::KeyExchange(Loss::TimedOut | Loss::Silent) => {
            format!("Connection to {at} timed out")
        }
        cause => format!("ssh: connect to host {at}: {cause}"),
    };
    match advice::of_cause(cause, Caller::Ssh) {
        Some(advice) => format!("{over}{text}\nhint: {advice}"),
        None => format!("{over}{text}"),
    }
}

/// What a stream is not opened for; `Err` where not even a name is resolved.
fn of_dial(failure: &DialFailure) -> Result<String, &'static str> {
    Ok(match failure {
        DialFailure::NoSuchName => return Err("Name or service not known"),
        DialFailure::NoNameServer | DialFailure::ResolverTimeout | DialFailure::ResolverFailed => {
            return Err("Temporary failure in name resolution");
        }
        DialFailure::Refused => "Connection refused".to_owned(),
        DialFailure::TimedOut => "Connection timed out".to_owned(),
        DialFailure::NoRoute => "No route to host".to_owned(),
        DialFailure::NoNetwork => "Network is unreachable".to_owned(),
        DialFailure::NoAddress => "Cannot assign requested address".to_owned(),
        DialFailure::Io(kind) => of_system(*kind),
        failure => failure.to_string(),
    })
}

/// What strerror(3) says, as far as connect(2) has such errors.
fn of_system(kind: ErrorKind) -> String {
    match kind {
        ErrorKind::PermissionDenied => "Permission denied".to_owned(),
        ErrorKind::ConnectionReset => "Connection reset by peer".to_owned(),
        ErrorKind::ConnectionAborted => "Software caused connection abort".to_owned(),
        ErrorKind::AddrInUse => "Address already in use".to_owned(),
        ErrorKind::InvalidInput => "Invalid argument".to_owned(),
        ErrorKind::NetworkDown => "Network is down".to_owned(),
        kind => kind.to_string(),
    }
}

/// What is not matched, in the words of ssherr.c.
fn no_matching(kind: Negotiated) -> &'static str {
    match kind {
        Negotiated::Kex => "key exchange method",
        Negotiated::HostKey => "host key type",
        Negotiated::Cipher => "cipher",
        Negotiated::Mac => "MAC",
        Negotiated::Compression => "compression method",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::Stage;
    use crate::error::TorFailure;

    fn said(network: &str, cause: Cause) -> String {
        let (network, host) = (network.to_owned(), "web".to_owned());
        let port = (network != "tor").then_some(2200);
        one_attempt(&Attempt { network, host, port, cause, elapsed: Duration::ZERO }, 22)
    }

    fn dial(failure: DialFailure) -> Cause {
        Cause::from(DialError { stage: Stage::Dial, failure })
    }

    #[test]
    fn every_kind_of_failure_has_its_words() {
        let not_ssh = "kex_exchange_identification: the server does not speak SSH\r\n\
                       Connection closed by remote host";
        let weak = NoCommon {
            kind: Negotiated::Mac,
            theirs: vec!["hmac-md5".to_owned(), "hmac-sha1".to_owned()],
            usable: None,
            also: Vec::new(),
        };
        for (cause, words) in [
            (dial(DialFailure::Refused), "ssh: connect to host web port 22: Connection refused"),
            (dial(DialFailure::TimedOut), "ssh: connect to host web port 22: Connection timed out"),
            (dial(DialFailure::NoRoute), "ssh: connect to host web port 22: No route to host"),
            (
                dial(DialFailure::NoNetwork),
                "ssh: connect to host web port 22: Network is unreachable",
            ),
            (
                dial(DialFailure::NoAddress),
                "ssh: connect to host web port 22: Cannot assign requested address",
            ),
            (
                dial(DialFailure::NoSuchName),
                "ssh: Could not resolve hostname web: Name or service not known",
            ),
            (
                dial(DialFailure::ResolverTimeout),
                "ssh: Could not resolve hostname web: Temporary failure in name resolution",
            ),
            (Cause::Banner(BannerError::NotSsh), not_ssh),
            (
                Cause::Proxy(ProxyFailure::NotForwarded("connect failed".to_owned())),
                "stdio forwarding failed on the jump host: connect failed",
            ),
            (
                Cause::KeyExchange(Loss::NoCommon(weak)),
                "Unable to negotiate with web port 22: no matching MAC found. \
                 Their offer: hmac-md5,hmac-sha1",
            ),
            (Cause::KeyExchange(Loss::Closed), "Connection closed by web port 22"),
        ] {
            assert_eq!(said("direct", cause), words);
        }
        let elsewhere = said("internet", dial(DialFailure::Refused));
        let words = "internet: ssh: connect to host web port 2200: Connection refused";
        assert_eq!(elsewhere, words);
        let tor = said("tor", dial(DialFailure::Tor(TorFailure::NoDescriptor)));
        assert!(tor.starts_with("tor: ssh: connect to host web: the onion"), "{tor}");
    }

    #[test]
    fn words_of_others_are_never_taken_for_ours() {
        // What a server or a program says may sound like any failure of ours.
        let foul = "could not resolve hostname: no such name, host key verification failed";
        let said = said("direct", Cause::KeyExchange(Loss::Failed(foul.to_owned())));
        assert!(
            said.starts_with("ssh: connect to host web port 22: key exchange failed"),
            "{said}"
        );
        assert!(!said.contains("Host key verification failed"), "{said}");
    }
}
