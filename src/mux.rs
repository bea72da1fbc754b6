//! Sharing one connection (ControlMaster in ssh_config(5)), by the protocol of
//! OpenSSH's PROTOCOL.mux, so that its `ssh` can use our master and ours its.
//! A *master* holds the session and listens on a Unix socket; a *client* passes
//! its standard input, output and error to it and waits for an exit status.

pub mod client;
mod handed;
pub mod master;
pub mod message;
pub(crate) mod passing;
mod socket;
mod stdio;
pub mod warm;
mod wire;

pub use socket::ControlSocket;
