//! The words that scripts look for in what ssh(1) says.

use crate::error::{Attempt, Error};
use crate::openssh::Resolved;
use crate::printable::{self, Printable};
use crate::ssh::forward::Place;
use crate::ssh::remote::REFUSED;

/// The network's name in messages.
pub(super) const DIRECT: &str = "direct";
/// What becomes of a stream that the machine does not open.
pub(super) const NOT_FORWARDED: &str = "stdio forwarding failed";

/// Where a forward leads.
pub(in crate::cli) fn shown(place: &Place) -> String {
    match place {
        Place::Tcp(host, port) => format!("{}:{port}", printable::line(host)),
        Place::Unix(path) => printable::line(&path.to_string_lossy()),
        Place::Dynamic => "anywhere".to_owned(),
    }
}

/// An error as ssh(1) has it.
pub(super) fn in_words_of_ssh(error: Error, resolved: &Resolved) -> Error {
    let host = Printable(&resolved.host_name);
    let text = match &error {
        Error::Auth { user, offered, .. } => {
            format!("{}@{host}: Permission denied ({}).", Printable(user), offered.join(","))
        }
        // What is wrong with it has been said.
        Error::HostKey { .. } => "Host key verification failed.".to_owned(),
        Error::Unreachable { attempts, .. } => {
            let lines: Vec<String> =
                attempts.iter().map(|attempt| one_attempt(attempt, resolved)).collect();
            lines.join("\n")
        }
        Error::ConnectionLost { reason, .. } if reason.starts_with("timed out") => {
            format!("Timeout, server {host} not responding.")
        }
        Error::Ssh(text) if text == REFUSED => match resolved.config.get("sessiontype") {
            Some(kind) if kind.value() == "subsystem" => {
                "subsystem request failed on channel 0".to_owned()
            }
            _ => "exec request failed on channel 0".to_owned(),
        },
        Error::Ssh(text)
            if ["key exchange closed", "key exchange lost"]
                .iter()
                .any(|why| text.starts_with(why)) =>
        {
            "kex_exchange_identification: Connection closed by remote host".to_owned()
        }
        Error::ConnectionLost { reason, .. } => {
            format!("Connection to {host} closed by remote host.\r\n{reason}")
        }
        Error::Usage(_) | Error::Output(_) => return error,
        other => format!("ssh: {other}"),
    };
    Error::Usage(text)
}

fn one_attempt(attempt: &Attempt, resolved: &Resolved) -> String {
    let (host, port) = (Printable(&attempt.host), resolved.port);
    let Attempt { reason, network, .. } = attempt;
    let over = if network == DIRECT { String::new() } else { format!("{network}: ") };
    match reason.as_str() {
        "connection refused" => {
            format!("{over}ssh: connect to host {host} port {port}: Connection refused")
        }
        "connection timed out" => {
            format!("{over}ssh: connect to host {host} port {port}: Connection timed out")
        }
        _ if reason.contains("could not resolve hostname") => format!(
            "{over}ssh: Could not resolve hostname {host}: {}",
            match reason.contains("no such name") {
                true => "Name or service not known",
                false => "Temporary failure in name resolution",
            }
        ),
        "connection closed before the SSH banner" | "the server does not speak SSH" => format!(
            "{over}kex_exchange_identification: {reason}\r\nConnection closed by remote host"
        ),
        _ if reason.starts_with(NOT_FORWARDED) => format!("{over}{reason}"),
        _ if reason.contains("host key verification failed") => {
            format!("{over}{reason}\r\nHost key verification failed.")
        }
        _ => format!("{over}ssh: connect to host {host} port {port}: {reason}"),
    }
}
