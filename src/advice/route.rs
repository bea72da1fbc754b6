//! What helps where one route to a machine has failed.

use super::{Caller, of};
use crate::error::{
    BadKey, BannerError, Cause, DialError, DialFailure, IrohFailure, KeyFault, LeafFailure,
    LeafFault, Loss, MemberFailure, NoCommon, ProxyFailure, TailscaleFailure, TorFailure,
    WireGuardFailure,
};
use crate::preload::Preload;
use crate::printable;

/// What would help, if that is known. With the words of ssh(1) before it, only what those
/// do not tell: how the user's own settings are in the way.
pub(crate) fn of_cause(cause: &Cause, caller: Caller) -> Option<String> {
    match cause {
        Cause::Dial(DialError { failure: DialFailure::Preload(_), .. }) => match caller {
            Caller::Library => None,
            Caller::CommandLine => Some(Preload::advice("--ssh-option ProxyCommand 'nc %h %p'")),
            Caller::Ssh => Some(Preload::advice("-o ProxyCommand='nc %h %p'")),
        },
        Cause::Proxy(failure) => of_proxy(failure, caller),
        Cause::KeyExchange(loss) => of_loss(loss, caller),
        _ if caller == Caller::Ssh => None,
        Cause::Decrypt(error) | Cause::Configuration(error) | Cause::HostKey(error) => {
            let hints = of(error, caller);
            (!hints.is_empty()).then(|| hints.join("; "))
        }
        Cause::Dial(error) => of_dial(&error.failure, caller),
        Cause::Banner(error) => of_banner(*error, caller),
    }
}

fn of_dial(failure: &DialFailure, caller: Caller) -> Option<String> {
    Some(match failure {
        DialFailure::NoSuchName => "check the name, or the name servers in /etc/resolv.conf".into(),
        DialFailure::NoNameServer => {
            "put a `nameserver` line into /etc/resolv.conf, or use an address".into()
        }
        DialFailure::ResolverTimeout => "check the name servers in /etc/resolv.conf".into(),
        DialFailure::TimedOut => format!(
            "the machine may be off, or a firewall drops packets{}",
            caller.flags("; allow more time with --timeout SECONDS")
        ),
        DialFailure::Refused => "is sshd running there, on that port?".into(),
        DialFailure::Tor(failure) => return of_tor(failure, caller),
        DialFailure::Iroh(failure) => return of_iroh(*failure, caller),
        DialFailure::Leaf(failure) => return of_leaf(failure, caller),
        DialFailure::Member(failure) => of_member(failure, caller),
        DialFailure::Tailscale(failure) => of_tailscale(*failure).into(),
        DialFailure::WireGuard(failure) => return of_wireguard(failure).map(str::to_owned),
        DialFailure::Outside(daemon) => {
            format!("start it here: {}{}", daemon.start, caller.flags(or_a_peer(daemon.name)))
        }
        DialFailure::Unsupported(technology) => {
            format!("this version cannot use {technology} networks yet")
        }
        _ => return None,
    })
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

/// Both command lines have the letter.
fn of_proxy(failure: &ProxyFailure, caller: Caller) -> Option<String> {
    let is_told = matches!(failure, ProxyFailure::TellsSecret) && caller != Caller::Library;
    is_told.then(|| "if the jump host may know it, name it with -J HOST".to_owned())
}

fn of_banner(error: BannerError, caller: Caller) -> Option<String> {
    let hint = match error {
        BannerError::TimedOut => "is that port really sshd's? a firewall or proxy may be answering",
        BannerError::Closed => {
            "sshd may be refusing this address (MaxStartups, PerSourcePenalties, fail2ban)"
        }
        BannerError::Busy => "try again in a moment, or raise MaxStartups in its sshd_config",
        BannerError::Penalized => {
            "it punishes failed logins (PerSourcePenalties); wait a minute and try again"
        }
        BannerError::NotSsh => caller.either(
            "is that port really sshd's?",
            "is that port really sshd's? set the right one with -p PORT",
        ),
        BannerError::OldProtocol | BannerError::Io(_) => return None,
    };
    Some(hint.to_owned())
}

/// What helps where a connection was lost, or no keys could be exchanged.
pub(super) fn of_loss(loss: &Loss, caller: Caller) -> Option<String> {
    match loss {
        Loss::NoCommon(missing) => of_missing(missing, caller),
        Loss::Ahead if caller != Caller::Ssh => Some(format!(
            "turn pipelining off{}",
            caller.either(" (Pipelining no)", ": --ssh-option Pipelining no")
        )),
        _ => None,
    }
}

/// What is left to say where none of the server's offers can be used.
const HOPELESS: &str = "none of these can be used here, the server has to offer a better one";

/// The options that allow everything that is missing.
fn of_missing(missing: &NoCommon, caller: Caller) -> Option<String> {
    let Some(options) = missing.options() else {
        // ssh(1) has said which algorithms the server offers.
        return (caller != Caller::Ssh).then(|| HOPELESS.to_owned());
    };
    let (flag, between, and) = match caller {
        Caller::Library => ("", " ", " and "),
        Caller::CommandLine => ("--ssh-option ", " ", " "),
        Caller::Ssh => ("-o ", "=", " "),
    };
    let these = if options.len() == 1 { "this algorithm" } else { "these algorithms" };
    let option = |(option, value)| format!("{flag}{option}{between}{value}");
    let options: Vec<String> = options.into_iter().map(option).collect();
    Some(format!("to allow {these}: {}", options.join(and)))
}

fn of_tor(failure: &TorFailure, caller: Caller) -> Option<String> {
    let either = |plain, with_flags| caller.either(plain, with_flags);
    let hint = match failure {
        TorFailure::NoDescriptor => {
            "is the machine up, and its tor service running? a fresh service needs a minute until \
             it can be found"
        }
        TorFailure::AuthMissing => either(
            "it needs a key for client authorization (TorAuth)",
            "give its key for client authorization with --tor-auth FILE or --tor-auth \
             var:GENERATOR/FILE",
        ),
        TorFailure::AuthWrong => "ask the service's operator to authorize this key",
        TorFailure::NotConnected => "the machine may just have gone down; try again",
        TorFailure::PortClosed => "is sshd running there, and does the service offer this port?",
        TorFailure::Silent => either(
            "try again, or allow more time",
            "try again, or allow more time with --timeout SECONDS",
        ),
        TorFailure::Slow { .. } => either(
            "the first start takes longest; allow more time",
            "the first start takes longest; allow more time with --timeout SECONDS",
        ),
        TorFailure::NoNetwork => {
            "is this computer online, and may it open connections to any port?"
        }
        TorFailure::Censored => either(
            "use a bridge: put `[bridges] bridges = [\"Bridge …\"]` into Tor's configuration",
            "use a bridge: put `[bridges] bridges = [\"Bridge …\"]` into a --tor-config file",
        ),
        TorFailure::ClockSkew => "set the clock",
        TorFailure::ConsensusTooOld => {
            "check the clock; if it is right, try again when the network is better"
        }
        TorFailure::Obsolete => "install a newer clan-connect",
        TorFailure::State { .. } => either(
            "name another directory, or keep nothing",
            "name another directory with --tor-state DIR, or keep nothing with --tor-state none",
        ),
        TorFailure::NoSystemTor(_) => either(
            "start it, or name it with $TOR_SOCKS",
            "start it, name it with $TOR_SOCKS, or use --tor embedded",
        ),
        TorFailure::NotTor(_) => either(
            "name tor's own address with $TOR_SOCKS",
            "name tor's own address with $TOR_SOCKS, or use --tor embedded",
        ),
        TorFailure::Stranger { .. } => either(
            "run tor as root, as its own account (such as debian-tor) or as yourself, or name \
             another one with $TOR_SOCKS",
            "run tor as root, as its own account (such as debian-tor) or as yourself, name \
             another one with $TOR_SOCKS, or use --tor embedded",
        ),
        TorFailure::SystemTorFailed => {
            either("its log may say why", "its log may say why; --tor embedded does not need it")
        }
        TorFailure::Config(_) => "correct the configuration; its format is that of arti.toml",
        TorFailure::Other(_) => return None,
    };
    Some(hint.to_owned())
}

fn of_iroh(failure: IrohFailure, caller: Caller) -> Option<String> {
    let (hint, flags) = match failure {
        IrohFailure::NoTicket(_) => {
            let hint = caller.either(
                "let the clan generate the machine's ticket anew, and deploy it",
                "generate it anew and deploy it: clan vars generate MACHINE --generator \
                 p2p-ssh-iroh-INSTANCE --regenerate, then clan machines update MACHINE",
            );
            (hint, "")
        }
        IrohFailure::Unpublished | IrohFailure::Undiscovered => (
            "is the machine online, and its p2p-ssh-iroh service running? this computer asks name \
             servers and an https server for it",
            "; name another place with --iroh-discovery",
        ),
        IrohFailure::Silent => (
            "the machine may be off, or neither UDP nor a relay reaches it",
            "; allow more time with --timeout SECONDS",
        ),
        IrohFailure::Impostor => {
            ("an old address of the machine may belong to another one by now; try again", "")
        }
        IrohFailure::OtherProtocol => {
            ("is dumbpipe running there, as Clan's p2p-ssh-iroh starts it?", "")
        }
        IrohFailure::Lost => ("the machine may just have gone down; try again", ""),
        IrohFailure::NoSocket => ("may this program use UDP here?", ""),
        IrohFailure::Ended => return None,
    };
    Some(format!("{hint}{}", caller.flags(flags)))
}

/// How a key of Yggdrasil's is written.
const LEAF_KEY: &str = "as Clan's var is (PKCS#8 in PEM), or as the daemon's configuration has it";
/// The same of WireGuard's.
const MEMBER_KEY: &str = "as `wg genkey` prints it, or a wg-quick configuration that has one";

fn of_leaf(failure: &LeafFailure, caller: Caller) -> Option<String> {
    let is_yggdrasil = failure.overlay == "Yggdrasil";
    let a_peer = match is_yggdrasil {
        true => "name a node to peer with: --yggdrasil-peer tcp://HOST:PORT",
        false => "name a node to peer with: --mycelium-peer tcp://HOST:PORT",
    };
    let is_ours = caller == Caller::CommandLine;
    let (hint, flags) = match &failure.fault {
        LeafFault::NoPeers if is_ours => ("start its daemon here, or ", a_peer),
        LeafFault::NoPeers => ("name a peer of the overlay, or start its daemon here", ""),
        LeafFault::SilentPeer if is_ours => ("", a_peer),
        LeafFault::Unconnected if is_ours => {
            ("is the overlay's daemon running at the peers, and its port open? or ", a_peer)
        }
        LeafFault::Unconnected => {
            ("is the overlay's daemon running at the peers, and its port open?", "")
        }
        LeafFault::BadKey(bad) => {
            let key = of_key(bad, LEAF_KEY);
            return Some(key + key_flags(bad, YGGDRASIL_KEY, caller));
        }
        LeafFault::KeyUnread => (
            "the key is read from a pipe that nothing writes to, or from a var whose identity \
             waits for a prompt",
            "",
        ),
        LeafFault::KeyInUse | LeafFault::KeyElsewhere | LeafFault::Ourselves => (
            "a key can be used in only one place at a time: end the other use, or name another key",
            YGGDRASIL_KEY,
        ),
        LeafFault::Version { .. } => ("update the older of the two", ""),
        LeafFault::Password => ("name the peer's password", PEER_IN_FILE),
        LeafFault::OtherPeer => ("check the peer's address and its key", PEER_IN_FILE),
        LeafFault::NotFound if is_yggdrasil => (
            "is the machine on, and does its daemon have a link into the same overlay as the peer? \
             if so, our own key may be in use elsewhere: end the other use, or name another key",
            YGGDRASIL_KEY,
        ),
        LeafFault::NotFound => (
            "is the machine on, and does its daemon have a link into the same overlay as the peer?",
            "",
        ),
        LeafFault::NoSession => ("is the machine on, and its daemon running?", ""),
        LeafFault::Unheard => (
            "is the machine on? if it is, is the overlay's interface up there, and does its firewall \
             let us in?",
            "",
        ),
        LeafFault::Unanswered => (
            "the machine's firewall may accept packets only from members: use a member's key, or \
             add ours",
            match is_yggdrasil {
                true => ", which clan-connect network identity yggdrasil makes and shows",
                false => "",
            },
        ),
        _ => return None,
    };
    Some(format!("{hint}{}", caller.flags(flags)))
}

const YGGDRASIL_KEY: &str = ": --yggdrasil-key FILE or --yggdrasil-key var:MACHINE";
const WIREGUARD_KEY: &str = ": --wireguard-key FILE or --wireguard-key var:MACHINE";
const PEER_IN_FILE: &str = ": YggdrasilPeer tcp://HOST:PORT?password=…&key=… in ssh_config, where \
                            others do not see it";

/// What helps with a key that makes us somebody in a network; `form` is how such a key is
/// written.
pub(super) fn of_key(bad: &BadKey, form: &str) -> String {
    match bad.fault {
        KeyFault::Unread(_) => "name a key that this user can read".to_owned(),
        KeyFault::Closed(_) => "name an identity that opens it, or another key".to_owned(),
        KeyFault::Exposed { .. } => {
            let file = printable::argument(&bad.origin, "FILE");
            format!("keep it to yourself: chmod 600 {file}")
        }
        KeyFault::Foreign { .. } => "name a copy of it that belongs to you".to_owned(),
        KeyFault::Wrong(_) => format!("name a key {form}"),
    }
}

/// The flags by which such a key is named, or what opens it.
fn key_flags(bad: &BadKey, key: &'static str, caller: Caller) -> &'static str {
    caller.flags(match bad.fault {
        KeyFault::Exposed { .. } => "",
        KeyFault::Closed(_) => ": --identity FILE",
        _ => key,
    })
}

/// How somebody becomes a member without being a machine.
const BECOME: &str = "to become a member: add a machine that is never deployed to the inventory, \
                      in the role peer; run clan vars generate for it; deploy the controllers; \
                      then name its key";

pub(crate) fn of_member(failure: &MemberFailure, caller: Caller) -> String {
    let named = caller.flags(" with --wireguard-key FILE or --wireguard-key var:MACHINE");
    match failure {
        MemberFailure::NoKey { instance } => format!(
            "start this computer's own tunnel (systemctl start wireguard-{instance}), or name the \
             key of a member that runs nowhere else{named}"
        ),
        MemberFailure::Stranger { .. } | MemberFailure::Controller { .. } => {
            format!("{BECOME}{named}")
        }
        MemberFailure::BadKey(bad) => {
            of_key(bad, MEMBER_KEY) + key_flags(bad, WIREGUARD_KEY, caller)
        }
        MemberFailure::Runs { .. } => {
            format!("name the key of a member that runs nowhere else{named}")
        }
        MemberFailure::Busy { .. } => {
            format!("wait until it ends, or name the key of another member{named}")
        }
        MemberFailure::NoEndpoint { is_unknown: true, .. } => format!(
            "exports alone do not contain it: read the clan itself, or make its snapshot anew{}",
            caller.flags(": clan-connect exports snapshot")
        ),
        MemberFailure::NoEndpoint { .. } => {
            "set its endpoint in the inventory, roles.controller".to_owned()
        }
        MemberFailure::NoController { .. } => {
            "an exports file does not say where the controllers are: run this in the clan, or \
             with a snapshot, after clan vars generate"
                .to_owned()
        }
        MemberFailure::Unnameable { .. } => {
            "call the instance of the service something without slashes".to_owned()
        }
        MemberFailure::BadVar { .. } => {
            "generate the vars of its members: clan vars generate".to_owned()
        }
    }
}

fn of_wireguard(failure: &WireGuardFailure) -> Option<&'static str> {
    Some(match failure {
        WireGuardFailure::NoController | WireGuardFailure::Ended => return None,
        WireGuardFailure::Unresolved(_) => "is the controller's endpoint in the inventory right?",
        WireGuardFailure::Unroutable => {
            "is this computer online? the endpoint may be of another network"
        }
        WireGuardFailure::Closed => {
            "is WireGuard running on the controller, at the port that its settings name?"
        }
        WireGuardFailure::Silent => {
            "the controller may be down or at another address, a firewall may keep UDP from it, \
             or it does not know our key: it learns a member's at its next deployment"
        }
        WireGuardFailure::Strange => "is it WireGuard that answers at the controller's endpoint?",
        WireGuardFailure::NoAnswer => {
            "the machine may be down, or the controller does not know it: it learns a member's \
             key at its next deployment"
        }
        WireGuardFailure::NoWay => "the controller learns a member's key at its next deployment",
        WireGuardFailure::NoSocket => "may this program use UDP here?",
    })
}

fn of_tailscale(failure: TailscaleFailure) -> &'static str {
    match failure {
        TailscaleFailure::Forbidden => {
            "run this as root, or make this user the operator of tailscaled"
        }
        TailscaleFailure::NeedsLogin | TailscaleFailure::Stopped => "run: sudo tailscale up",
        TailscaleFailure::Starting => {
            "wait until `tailscale status` shows the machine, and try again"
        }
        TailscaleFailure::Outside => "is the machine in this tailnet? see: tailscale status",
        TailscaleFailure::Unreached => "is the machine online? see: tailscale ping MACHINE",
        TailscaleFailure::Garbled => "is that socket really tailscaled's, and not too old?",
    }
}
