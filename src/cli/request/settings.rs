//! What the options of ssh_config(5) say about the way to a host and about its key.
//! Owns what becomes of their values; connects to nobody.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::connect::HostKeySettings;
use crate::dial::SocketOptions;
use crate::error::{Error, Result};
use crate::hosts;
use crate::openssh::Resolved;
use crate::options::{Files, Maybe, Options, Time, YesNoAsk};
use crate::printable::Printable;
use crate::ssh::Rekey;
use crate::ssh::hostkey::{HostKeyCheck, KnownHostsFiles, Wording};
use crate::ssh::known_hosts::Program;

/// Where connections come from.
pub(super) fn origin(resolved: &Resolved) -> Result<SocketOptions> {
    let options = &resolved.options;
    let address = |name: &String| {
        let found = name.parse().ok().or_else(|| hosts::addresses(name).first().copied());
        let none =
            || format!("bindaddress \"{}\": not an address of this computer", Printable(name));
        found.ok_or_else(|| Error::Usage(none()))
    };
    Ok(SocketOptions {
        family: options.address_family(),
        address: options.bind_address.as_ref().map(address).transpose()?,
        interface: options.bind_interface.clone(),
        keepalive: options.tcp_keep_alive(),
        ..SocketOptions::of(&resolved.env)
    })
}

/// When keys are exchanged again.
pub(super) fn rekey(options: &Options) -> Rekey {
    let limit = options.rekey_limit();
    let bytes = Some(limit.bytes).filter(|bytes| *bytes > 0);
    let seconds = Some(limit.seconds).filter(|seconds| *seconds > 0);
    Rekey {
        bytes: bytes.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
        time: seconds.map(Duration::from_secs),
    }
}

/// How long connecting may take.
pub(super) fn deadline(options: &Options) -> Option<Duration> {
    let seconds = options.connect_timeout.and_then(|time| time.0);
    seconds.filter(|seconds| *seconds > 0).map(Duration::from_secs)
}

/// How often a silent server is asked whether it is there; never when zero.
pub(super) fn keepalive(options: &Options, otherwise: Duration) -> Duration {
    match options.server_alive_interval {
        Some(Time(seconds)) => Duration::from_secs(seconds.unwrap_or(0)),
        None => otherwise,
    }
}

/// What is asked of the host's key. `tokens` are those that a KnownHostsCommand may
/// be told, and `bare` is what holds where nothing is said.
pub(super) fn host_keys(
    resolved: &Resolved,
    check: HostKeyCheck,
    tokens: BTreeMap<char, String>,
    bare: HostKeySettings,
) -> Result<HostKeySettings> {
    let options = &resolved.options;
    let KnownHostsFiles { user, global, home, .. } = bare.files.clone();
    let named = |files: &Files| resolved.files(&files.0);
    let program = match Maybe::of(&options.known_hosts_command) {
        Some(command) => Program::parse(command.0.written())?,
        None => None,
    };
    let dnssec_anchor = options.dnssec_anchor.as_ref().map(|file| resolved.file(file));
    let dnssec_anchor = dnssec_anchor.transpose()?;
    if let Some(path) = &dnssec_anchor {
        let failed = |source| Error::File { action: "read", path: path.clone(), source };
        // Without it nothing would be proved, and nothing said.
        std::fs::File::open(path).map_err(failed)?;
    }
    Ok(HostKeySettings {
        check,
        // Nobody is asked, and nothing is stored that somebody wants to be asked of.
        update: match options.update_host_keys {
            Some(said) => said == YesNoAsk::Yes,
            None => !options.leaves_known_hosts(),
        },
        files: KnownHostsFiles {
            user: options.user_known_hosts_file.as_ref().map_or(Ok(user), named)?,
            global: options.global_known_hosts_file.as_ref().map_or(Ok(global), named)?,
            hash_names: options.hash_known_hosts(),
            home,
        },
        alias: options.host_key_alias.clone(),
        revoked: Maybe::of(&options.revoked_host_keys).map_or(Ok(Vec::new()), named)?,
        program: program.map(|mut program| {
            program.tokens = tokens;
            program
        }),
        // With `ask` a key that is proved is still asked about: as if it were not.
        verify_dns: options.verify_host_key_dns() == YesNoAsk::Yes,
        dnssec_anchor,
        trusts_loopback: options.no_host_authentication_for_localhost(),
        algorithms: match bare.wording {
            Wording::Own => options.algorithms(),
            Wording::Ssh => options.algorithms_as_ssh(),
        },
        ..bare
    })
}
