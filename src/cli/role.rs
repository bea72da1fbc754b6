//! What this process is for, if another one of this program has started it to stay
//! (`ssh -f`, ControlPersist). Owns that nothing which it starts hears of that.

use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// What the process that stays is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// `-f`: what was asked for on the command line.
    Session,
    /// ControlPersist: a connection for others to use.
    Master,
}

static ROLE: OnceLock<Role> = OnceLock::new();

impl Role {
    /// That of this process; most have none.
    pub(super) fn of_this() -> Option<Self> {
        ROLE.get().copied()
    }

    /// Has this process have it; false where it has one.
    pub(super) fn take(self) -> bool {
        ROLE.set(self).is_ok()
    }
}

/// Keeps the socket to who waits, which is our standard input, from a program that is
/// started.
pub(super) fn hide_from(command: &mut Command) {
    if Role::of_this().is_some() {
        command.stdin(Stdio::null());
    }
}
