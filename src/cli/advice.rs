//! What the front ends advise when something has failed, in the words of their own
//! command lines. Owns every flag that is named in advice; what needs none is the
//! library's, in [`Error::hint`].

use crate::dial::{DialError, DialFailure, ProxyFailure};
use crate::error::{
    BadKey, Cause, Error, IrohFailure, KeyFault, LeafFailure, LeafFault, MemberFailure, NixFault,
    SealedFault, TorFailure, hints_of, joined, tried_or,
};
use crate::preload::Preload;
use crate::race::BannerError;
use crate::ssh::hostkey::Advice;
use crate::ssh::{Loss, NoCommon};

/// The advice of `clan-connect`, one line each.
pub(super) fn native(error: &Error) -> Vec<String> {
    match error {
        Error::FlakeNotFound { .. } => vec![
            "run it inside a clan, or name one with --flake DIR or $CLAN_DIR".into(),
            "to connect without a clan: clan-connect ssh NAME --target-host USER@HOST, with any \
             NAME, or --exports FILE with a machine's name"
                .into(),
        ],
        Error::NoExports { .. } => vec![
            "on a computer with nix, run: clan-connect exports snapshot, and commit the file that \
             it writes"
                .into(),
            "or name a file with --exports FILE".into(),
        ],
        Error::ClanRefused { .. } => {
            let mut hints = error.hint();
            hints.pop();
            hints.push(
                "or name another one with --flake DIR or $CLAN_DIR, or work elsewhere".into(),
            );
            hints
        }
        Error::UnknownMachine { empty: Some(_), .. } => vec![
            "add it to inventory.machines of that clan, or name another one with --flake DIR or \
             $CLAN_DIR"
                .into(),
        ],
        Error::NoRoute { machine, reason } => vec![reason.hint(machine).unwrap_or_else(|| {
            "add the machine to a network of the clan, or name an address with --target-host".into()
        })],
        Error::NoVars { .. } => vec![
            "run it inside the clan, or name its directory with --flake DIR".into(),
            format!("on a machine of the clan, a snapshot that is made for it is enough: {SEAL}"),
        ],
        Error::SealedHosts { whose, here, fault } => {
            let again = format!("make the snapshot anew: {SEAL}");
            let mut hints = fault.hint(whose, here.as_deref(), &again);
            if matches!(fault, SealedFault::Closed(_)) {
                hints.push("or name a key that opens them with --identity FILE".to_owned());
            }
            hints
        }
        Error::VarMissing { machine, .. } => vec![
            format!("generate and deploy it: clan machines update {machine}"),
            format!(
                "if that network is the only way there: clan machines update {machine} \
                 --target-host root@ADDRESS"
            ),
        ],
        Error::VarUndecryptable { tried, .. } | Error::Undecryptable { tried, .. } => vec![
            tried_or(tried, "no identity was found"),
            "name a key that opens it with --identity FILE or $AGE_KEYFILE".into(),
        ],
        Error::Unreachable { attempts, .. } => {
            let hints = hints_of(attempts, of_cause);
            match hints.is_empty() {
                true => vec!["is the machine up? try an address with --target-host".into()],
                false => hints,
            }
        }
        Error::Nix { fault, .. } => of_nix(fault),
        Error::KnownHosts { .. } => vec![
            "make the file readable, or name another with --ssh-option UserKnownHostsFile FILE"
                .into(),
        ],
        Error::Auth { tried, .. } => vec![
            tried_or(tried, "nothing could be tried: no agent, no key file, no terminal"),
            "name a key with -i FILE or another user with -l USER".into(),
        ],
        Error::ConnectionLost { reason: Loss::Ahead, .. } => {
            vec!["turn pipelining off: --ssh-option Pipelining no".into()]
        }
        error => error.hint(),
    }
}

/// What makes a snapshot with secret hosts.
const SEAL: &str = "clan-connect exports snapshot --for MACHINE, or --for-recipient KEY";

/// The advice of `clan-connect` about a machine whose key is not the one that its clan
/// states.
pub(super) const HOST_KEYS: Advice = Advice {
    allow_clan: "clan-connect trust-clan, or --flake DIR",
    unchecked: "with --host-key-check none",
};

/// The same as `ssh`.
pub(super) const HOST_KEYS_AS_SSH: Advice = Advice {
    allow_clan: "clan-connect trust-clan",
    unchecked: "with -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null",
};

/// The advice of `clan-connect` about one route.
pub(super) fn of_cause(cause: &Cause) -> Option<String> {
    match cause {
        Cause::Decrypt(error) | Cause::Configuration(error) => joined(&native(error)),
        Cause::Dial(DialError { failure: DialFailure::Tor(failure), .. }) => of_tor(failure),
        Cause::Dial(DialError { failure: DialFailure::Iroh(failure), .. }) => of_iroh(*failure),
        Cause::Dial(DialError { failure: DialFailure::Member(failure), .. }) => of_member(failure),
        Cause::Dial(DialError { failure: DialFailure::Leaf(failure), .. }) => of_leaf(failure),
        Cause::Dial(DialError { failure: DialFailure::Outside(daemon), .. }) => {
            with(cause.hint(), or_a_peer(daemon.name))
        }
        Cause::Dial(DialError { failure: DialFailure::TimedOut, .. }) => {
            with(cause.hint(), "; allow more time with --timeout SECONDS")
        }
        Cause::Dial(DialError { failure: DialFailure::Preload(_), .. }) => {
            Some(Preload::advice("--ssh-option ProxyCommand 'nc %h %p'"))
        }
        Cause::Banner(BannerError::NotSsh) => with(cause.hint(), " set the right one with -p PORT"),
        Cause::KeyExchange(Loss::NoCommon(missing)) => {
            allowing(missing, "--ssh-option", " ").or_else(|| cause.hint())
        }
        Cause::Proxy(failure) => of_proxy(failure),
        cause => cause.hint(),
    }
}

/// Both front ends have the letter.
fn of_proxy(failure: &ProxyFailure) -> Option<String> {
    match failure {
        ProxyFailure::TellsSecret => {
            Some("if the jump host may know it, name it with -J HOST".to_owned())
        }
        _ => None,
    }
}

fn of_nix(fault: &NixFault) -> Vec<String> {
    let mut hints = fault.hint();
    let own = match fault {
        NixFault::Fetch => {
            "it could not be downloaded: try again where its server can be reached, or name a \
             directory with --flake DIR"
        }
        NixFault::NoFlake => {
            "name the directory that holds flake.nix, or with a reference its ?dir=; without \
             one, --exports FILE or a snapshot will do"
        }
        NixFault::Impure => {
            "it depends on something outside of its own files, which is not looked at; if you \
             trust it: --impure"
        }
        NixFault::Download => {
            "something that it asks for could not be downloaded: try again where the server can \
             be reached; a snapshot or --exports FILE needs none"
        }
        NixFault::Denied => {
            "nix may not use what it names: run this as the user whose nix it is, or have nix's \
             daemon run; a snapshot or --exports FILE needs no nix"
        }
        NixFault::Submodule => {
            "with submodules=1 in its query nix fetches them; or name a directory that has them \
             with --flake DIR"
        }
        NixFault::Repository => {
            "name the directory itself with --flake DIR, or use path: in the place of git+file:"
        }
        NixFault::Evaluation => "a file with --exports FILE or a snapshot needs no nix",
        _ => return hints,
    };
    // The last is the one that a flag belongs to.
    hints.pop();
    hints.push(own.to_owned());
    hints
}

fn of_tor(failure: &TorFailure) -> Option<String> {
    let own = match failure {
        TorFailure::AuthMissing => {
            "give its key for client authorization with --tor-auth FILE or \
             --tor-auth var:GENERATOR/FILE"
        }
        TorFailure::Silent => "try again, or allow more time with --timeout SECONDS",
        TorFailure::Slow { .. } => {
            "the first start takes longest; allow more time with --timeout SECONDS"
        }
        TorFailure::Censored => {
            "use a bridge: put `[bridges] bridges = [\"Bridge …\"]` into a --tor-config file"
        }
        TorFailure::State { .. } => {
            "name another directory with --tor-state DIR, or keep nothing with --tor-state none"
        }
        TorFailure::NoSystemTor(_) => "start it, name it with $TOR_SOCKS, or use --tor embedded",
        TorFailure::NotTor(_) => "name tor's own address with $TOR_SOCKS, or use --tor embedded",
        TorFailure::Stranger { .. } => {
            "run tor as root, as its own account (such as debian-tor) or as yourself, name \
             another one with $TOR_SOCKS, or use --tor embedded"
        }
        TorFailure::SystemTorFailed => "its log may say why; --tor embedded does not need it",
        failure => failure.hint()?,
    };
    Some(own.to_owned())
}

/// What leads into an overlay whose daemon is down, where nobody to peer with is known.
fn or_a_peer(daemon: &str) -> &'static str {
    match daemon {
        "yggdrasil" if cfg!(feature = "yggdrasil") => {
            "; or name a node to peer with: --yggdrasil-peer tcp://HOST:PORT"
        }
        "mycelium" if cfg!(feature = "mycelium") => {
            "; or name a node to peer with: --mycelium-peer tcp://HOST:PORT"
        }
        _ => "",
    }
}

fn of_leaf(failure: &LeafFailure) -> Option<String> {
    let hint = failure.hint();
    let is_yggdrasil = failure.overlay == "Yggdrasil";
    match &failure.fault {
        LeafFault::BadKey(bad) => of_key(bad, hint, "yggdrasil"),
        LeafFault::NoPeers | LeafFault::Unconnected | LeafFault::SilentPeer => {
            let front = match &failure.fault {
                LeafFault::NoPeers => "start its daemon here, or ".to_owned(),
                _ => hint.map_or(String::new(), |hint| format!("{hint} or ")),
            };
            let option = if is_yggdrasil { "--yggdrasil-peer" } else { "--mycelium-peer" };
            Some(format!("{front}name a node to peer with: {option} tcp://HOST:PORT"))
        }
        LeafFault::KeyInUse | LeafFault::KeyElsewhere | LeafFault::Ourselves => {
            with(hint, ": --yggdrasil-key FILE or --yggdrasil-key var:MACHINE")
        }
        LeafFault::Password | LeafFault::OtherPeer => with(
            hint,
            ": YggdrasilPeer tcp://HOST:PORT?password=…&key=… in ssh_config, where others do \
             not see it",
        ),
        LeafFault::Unanswered if is_yggdrasil => {
            with(hint, ", which clan-connect network identity yggdrasil makes and shows")
        }
        _ => hint,
    }
}

/// What helps with a key that the options of a network name.
fn of_key(bad: &BadKey, hint: Option<String>, network: &str) -> Option<String> {
    match bad.fault {
        KeyFault::Exposed { .. } => hint,
        KeyFault::Closed(_) => with(hint, ": --identity FILE"),
        _ => with(hint, &format!(": --{network}-key FILE or --{network}-key var:MACHINE")),
    }
}

fn of_member(failure: &MemberFailure) -> Option<String> {
    let hint = failure.hint();
    match failure {
        MemberFailure::BadKey(bad) => of_key(bad, hint, "wireguard"),
        MemberFailure::NoEndpoint { is_unknown: true, .. } => {
            with(hint, ": clan-connect exports snapshot")
        }
        MemberFailure::NoEndpoint { .. }
        | MemberFailure::NoController { .. }
        | MemberFailure::Unnameable { .. }
        | MemberFailure::BadVar { .. } => hint,
        _ => with(hint, " with --wireguard-key FILE or --wireguard-key var:MACHINE"),
    }
}

fn of_iroh(failure: IrohFailure) -> Option<String> {
    let hint = failure.hint().map(str::to_owned);
    match failure {
        IrohFailure::NoTicket(_) => Some(
            "generate it anew and deploy it: clan vars generate MACHINE --generator \
             p2p-ssh-iroh-INSTANCE --regenerate, then clan machines update MACHINE"
                .to_owned(),
        ),
        IrohFailure::Unpublished | IrohFailure::Undiscovered => {
            with(hint, "; name another place with --iroh-discovery")
        }
        IrohFailure::Silent => with(hint, "; allow more time with --timeout SECONDS"),
        _ => hint,
    }
}

/// The advice of the `ssh` personality about one route, beyond what ssh(1) says.
pub(super) fn of_cause_as_ssh(cause: &Cause) -> Option<String> {
    match cause {
        Cause::KeyExchange(Loss::NoCommon(missing)) => allowing(missing, "-o", "="),
        Cause::Proxy(failure) => of_proxy(failure),
        Cause::Dial(DialError { failure: DialFailure::Preload(_), .. }) => {
            Some(Preload::advice("-o ProxyCommand='nc %h %p'"))
        }
        _ => None,
    }
}

/// The options that allow everything that is missing.
fn allowing(missing: &NoCommon, flag: &str, between: &str) -> Option<String> {
    let options = missing.options()?.into_iter();
    let options: Vec<String> =
        options.map(|(option, value)| format!("{flag} {option}{between}{value}")).collect();
    Some(format!("{}: {}", NoCommon::to_allow(options.len()), options.join(" ")))
}

fn with(hint: Option<String>, more: &str) -> Option<String> {
    hint.map(|hint| hint + more)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ssh::Negotiated;

    fn weak() -> Cause {
        Cause::KeyExchange(Loss::NoCommon(NoCommon {
            kind: Negotiated::HostKey,
            theirs: vec!["ssh-rsa".to_owned()],
            usable: Some("ssh-rsa".to_owned()),
            also: Vec::new(),
        }))
    }

    #[test]
    fn each_front_end_names_its_own_options() {
        let (native, ssh) = (of_cause(&weak()).unwrap(), of_cause_as_ssh(&weak()).unwrap());
        assert_eq!(native, "to allow this algorithm: --ssh-option HostKeyAlgorithms +ssh-rsa");
        assert_eq!(ssh, "to allow this algorithm: -o HostKeyAlgorithms=+ssh-rsa");
    }

    #[test]
    fn flags_are_added_to_what_the_library_advises() {
        let late = DialError { stage: crate::error::Stage::Dial, failure: DialFailure::TimedOut };
        let advice = of_cause(&late.clone().into()).unwrap();
        assert!(advice.starts_with(&late.hint().unwrap()), "{advice}");
        assert!(advice.ends_with("allow more time with --timeout SECONDS"), "{advice}");
        for failure in LeafFailure::examples() {
            let advice = of_leaf(&failure);
            let bare =
                [LeafFault::NoRandom, LeafFault::Protocol("x"), LeafFault::Lost, LeafFault::Ended];
            assert_eq!(advice.is_none(), bare.contains(&failure.fault), "{failure}");
        }
        let down = |name| {
            let failure = DialFailure::Outside(crate::dial::Daemon { name, start: "start it" });
            of_cause(&DialError { stage: crate::error::Stage::Dial, failure }.into()).unwrap()
        };
        // A flag is named where the build has the network that it is for.
        for (name, flag, is_built_in) in [
            ("yggdrasil", "--yggdrasil-peer", cfg!(feature = "yggdrasil")),
            ("mycelium", "--mycelium-peer", cfg!(feature = "mycelium")),
        ] {
            assert_eq!(down(name).contains(flag), is_built_in, "{name}");
        }
        assert_eq!(down("zerotier-one"), "start it here: start it");
        let wrong = of_cause(&Cause::Banner(BannerError::NotSsh)).unwrap();
        assert_eq!(wrong, "is that port really sshd's? set the right one with -p PORT");
        for failure in TorFailure::examples() {
            assert!(of_tor(&failure).is_some(), "{failure}");
        }
        for failure in IrohFailure::examples().filter(|it| *it != IrohFailure::Ended) {
            assert!(of_iroh(failure).is_some(), "{failure}");
        }
    }

    #[test]
    fn what_nix_lacks_is_said_with_the_flag_that_helps() {
        for fault in NixFault::examples() {
            let (own, library) = (of_nix(&fault), fault.hint());
            assert_eq!(own.len(), library.len(), "{fault:?}");
        }
        assert!(of_nix(&NixFault::Impure).concat().ends_with("if you trust it: --impure"));
        assert!(of_nix(&NixFault::Fetch).concat().ends_with("--flake DIR"));
        assert!(of_nix(&NixFault::Evaluation).concat().contains("--exports FILE"));
    }

    #[test]
    fn what_needs_no_flag_is_the_librarys() {
        let select = Error::Select {
            selector: "x".into(),
            place: Vec::new(),
            reason: "is not there".into(),
        };
        assert_eq!(native(&select), select.hint());
    }
}
