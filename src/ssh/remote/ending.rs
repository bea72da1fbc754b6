//! How a shell or a command ended. Owns the exit status that follows from it.

use russh::Sig;

use crate::printable::lines;

/// The exit status of ssh(1) where there is none.
const NO_STATUS: u32 = 255;

/// How a shell or command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// It exited with this status.
    Status(u32),
    /// A signal ended it; the name is without `SIG`, printable.
    Signal(String),
    /// The server closed the channel without saying how.
    Unknown,
    /// The user ended the connection by `~.`.
    Escaped,
}

impl Ending {
    /// The exit status for ourselves: the remote one, and 255 when there is none. For
    /// ssh(1) a signal gives none; who `tells_signals` has 128 + n for signal n, as
    /// shells do.
    pub fn exit_code(&self, tells_signals: bool) -> u8 {
        Self::exit_code_of(self.shared_status(), tells_signals)
    }

    /// What a master tells a client: eight bits that are ssh(1)'s, as OpenSSH's client
    /// takes them, and above them the number of the signal.
    pub fn shared_status(&self) -> u32 {
        match self {
            // A status has eight bits on every system that has one.
            Self::Status(status) => status & 0xff,
            Self::Signal(name) => u32::from(signal_number(name).unwrap_or(0)) << 8 | NO_STATUS,
            Self::Unknown | Self::Escaped => NO_STATUS,
        }
    }

    /// The exit status for what a master has told.
    pub fn exit_code_of(shared: u32, tells_signals: bool) -> u8 {
        match (shared >> 8, shared & 0xff) {
            (number @ 1..=31, NO_STATUS) if tells_signals => 128 + number as u8,
            (_, status) => status as u8,
        }
    }
}

/// Signal numbers of Linux for the names of RFC 4254, section 6.10.
fn signal_number(name: &str) -> Option<u8> {
    Some(match name {
        "HUP" => 1,
        "INT" => 2,
        "QUIT" => 3,
        "ILL" => 4,
        "TRAP" => 5,
        "ABRT" => 6,
        "BUS" => 7,
        "FPE" => 8,
        "KILL" => 9,
        "USR1" => 10,
        "SEGV" => 11,
        "USR2" => 12,
        "PIPE" => 13,
        "ALRM" => 14,
        "TERM" => 15,
        _ => return None,
    })
}

/// As RFC 4254 has it, printable.
pub(super) fn name_of(signal: &Sig) -> String {
    let name = match signal {
        Sig::ABRT => "ABRT",
        Sig::ALRM => "ALRM",
        Sig::FPE => "FPE",
        Sig::HUP => "HUP",
        Sig::ILL => "ILL",
        Sig::INT => "INT",
        Sig::KILL => "KILL",
        Sig::PIPE => "PIPE",
        Sig::QUIT => "QUIT",
        Sig::SEGV => "SEGV",
        Sig::TERM => "TERM",
        Sig::USR1 => "USR1",
        Sig::Custom(name) => return lines(name.lines().next().unwrap_or_default()),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_follow_ssh_and_shells() {
        for (ending, of_ssh, of_shell) in [
            (Ending::Status(0), 0, 0),
            (Ending::Status(42), 42, 42),
            (Ending::Status(256), 0, 0),
            (Ending::Status(0x0fff), 255, 255),
            (Ending::Signal("TERM".into()), 255, 143),
            (Ending::Signal("HUP".into()), 255, 129),
            (Ending::Signal("what@example.com".into()), 255, 255),
            (Ending::Unknown, 255, 255),
            (Ending::Escaped, 255, 255),
        ] {
            assert_eq!((ending.exit_code(false), ending.exit_code(true)), (of_ssh, of_shell));
            // The same by a master of ours, also for OpenSSH's client.
            let shared = ending.shared_status();
            assert_eq!(Ending::exit_code_of(shared, true), of_shell);
            assert_eq!((shared & 0xff) as u8, of_ssh);
        }
    }
}
