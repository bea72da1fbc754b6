//! The table: one row an option. To add one, add its row, where `ssh -G` prints it,
//! and use its field.

use std::num::{NonZeroU16, NonZeroU32};

use super::algorithms::{CaSignatures, Ciphers, HostKeys, HostbasedKeys, Kex, Macs, UserKeys};
use super::choice::{
    Canonicalize, ControlMaster, FingerprintHash, LogLevel, PubkeyAuthentication, RequestTty,
    SessionType, SyslogFacility, Tunnel, YesNoAsk,
};
use super::forwards::{DynamicForward, LocalForward, Permitted, RemoteForward};
use super::jumps::JumpHosts;
use super::limits::{Intervals, Keystrokes, Mask, Persist, RekeyLimit, RsaSize, Time};
use super::quality::{Quality, TunnelDevice};
use super::row::{HONOURED, IGNORED, Row, Says, Shown, options};
use super::session::{Agent, Aliases, Domains, EscapeChar, ForwardAgent, SendEnv, SetEnv};
use super::slot::{Slot, Value};
use super::value::{Command, Files, Maybe, Names, Template, Words};
use crate::dial::Family;
use crate::ssh::KEYSTROKES;
use crate::ssh::algorithms::{List, RSA_BITS};
use crate::ssh::auth::AddToAgent;
use crate::ssh::hostkey::HostKeyCheck;
use Says::{Argument, First, Next, Now};
use Shown::{Algorithms, Ends, Expanded, Never};

// Each row begins with what the option is for.
options! {
    /// The name to log in as
    "User" user: Option<String>,
        HONOURED.letters(&[('l', Argument(""))]).shown(Never);
    /// Where to connect to, instead of the name as it was typed
    "HostName" host_name: Option<Template>, HONOURED.shown(Never);
    /// The port to connect to
    "Port" port: Option<NonZeroU16>,
        HONOURED.letters(&[('p', Argument("Bad port '{}'"))]).shown(Never);
    /// Which addresses are dialled: any, inet or inet6
    "AddressFamily" address_family: Option<Family> = Family::Any,
        HONOURED.letters(&[('4', Now("inet")), ('6', Now("inet6"))]);
    /// Whether nobody is asked anything
    "BatchMode" batch_mode: Option<bool> = false, HONOURED;
    /// Whether a name that CanonicalDomains does not complete is tried as it is
    "CanonicalizeFallbackLocal" canonicalize_fallback_local: Option<bool> = true,
        HONOURED.not_in_addresses().note("not for machines of a clan");
    /// Whether short names are completed by CanonicalDomains
    "CanonicalizeHostname" canonicalize_hostname: Option<Canonicalize> = Canonicalize::No,
        HONOURED.not_in_addresses().note("not for machines of a clan");
    /// Whether the address is looked up among the known hosts, too
    "CheckHostIP" check_host_ip: Option<bool> = false, IGNORED;
    /// Whether what is sent is compressed
    "Compression" compression: Option<bool> = false, HONOURED.letters(&[('C', Now("yes"))]);
    /// Whether the connection is shared with others
    "ControlMaster" control_master: Option<ControlMaster> = ControlMaster::No,
        HONOURED.letters(&[('M', Next(&["yes", "ask"]))]).not_in_addresses();
    /// Whether ssh-keysign is used for HostbasedAuthentication
    "EnableSSHKeysign" enable_ssh_keysign: Option<bool> = false, IGNORED;
    /// Whether no forward counts that is said anywhere
    "ClearAllForwardings" clear_all_forwardings: Option<bool> = false,
        HONOURED.not_in_addresses();
    /// Whether a forward that cannot be had ends the connection
    "ExitOnForwardFailure" exit_on_forward_failure: Option<bool> = false,
        HONOURED.not_in_addresses();
    /// How the fingerprints of keys are shown
    "FingerprintHash" fingerprint_hash: Option<FingerprintHash> = FingerprintHash::Sha256, IGNORED;
    /// Whether X11 is forwarded
    "ForwardX11" forward_x11: Option<bool> = false,
        IGNORED.letters(&[('X', Now("yes")), ('x', Now("no")), ('Y', Now("yes"))])
            .not_in_addresses();
    /// Whether forwarded X11 clients may do everything
    "ForwardX11Trusted" forward_x11_trusted: Option<bool> = false,
        IGNORED.letters(&[('Y', Now("yes"))]).not_in_addresses();
    /// Whether everybody may use the ports that LocalForward opens
    "GatewayPorts" gateway_ports: Option<bool> = false,
        HONOURED.letters(&[('g', First("yes"))]).not_in_addresses();
    /// Whether to authenticate by GSSAPI
    "GSSAPIAuthentication" gssapi_authentication: Option<bool>,
        IGNORED.letters(&[('K', First("yes"))]);
    /// Whether to exchange keys by GSSAPI
    "GSSAPIKeyExchange" gssapi_key_exchange: Option<bool>, IGNORED;
    /// Whether the other side gets our GSSAPI credentials
    "GSSAPIDelegateCredentials" gssapi_delegate_credentials: Option<bool>,
        IGNORED.letters(&[('K', First("yes")), ('k', First("no"))]).not_in_addresses();
    /// Whether GSSAPI believes the DNS
    "GSSAPITrustDns" gssapi_trust_dns: Option<bool>, IGNORED;
    /// Whether new GSSAPI credentials mean new keys
    "GSSAPIRenewalForcesRekey" gssapi_renewal_forces_rekey: Option<bool>, IGNORED;
    /// Who we are to GSSAPI
    "GSSAPIClientIdentity" gssapi_client_identity: Option<String>, IGNORED;
    /// Who the server is to GSSAPI
    "GSSAPIServerIdentity" gssapi_server_identity: Option<String>, IGNORED;
    /// Key exchanges of GSSAPI
    "GSSAPIKexAlgorithms" gssapi_kex_algorithms: Option<String>, IGNORED;
    /// Whether names are hashed in lines that are added to the known hosts
    "HashKnownHosts" hash_known_hosts: Option<bool> = false, HONOURED;
    /// Whether to authenticate by the host that we are on
    "HostbasedAuthentication" hostbased_authentication: Option<bool> = false, IGNORED;
    /// Whether only keys of IdentityFile and CertificateFile are offered
    "IdentitiesOnly" identities_only: Option<bool> = false, HONOURED;
    /// Whether to answer questions of the server
    "KbdInteractiveAuthentication" kbd_interactive_authentication: Option<bool> = true,
        HONOURED
            .aliases(&[
                "challengeresponseauthentication",
                "skeyauthentication",
                "tisauthentication",
            ]);
    /// Whether any host key will do for this computer
    "NoHostAuthenticationForLocalhost" no_host_authentication_for_localhost: Option<bool> = false,
        HONOURED;
    /// Whether to authenticate by a password
    "PasswordAuthentication" password_authentication: Option<bool> = true, HONOURED;
    /// Whether LocalCommand counts
    "PermitLocalCommand" permit_local_command: Option<bool> = false,
        HONOURED.not_in_addresses();
    /// Whether ProxyCommand passes on a connection instead of carrying it
    "ProxyUseFdpass" proxy_use_fdpass: Option<bool> = false, HONOURED.not_in_addresses();
    /// Whether to authenticate by keys
    "PubkeyAuthentication" pubkey_authentication: Option<PubkeyAuthentication>
        = PubkeyAuthentication::Yes, HONOURED.aliases(&["dsaauthentication"]);
    /// Whether what runs there has a terminal
    "RequestTTY" request_tty: Option<RequestTty> = RequestTty::Auto,
        HONOURED.letters(&[
            ('t', Next(&["yes", "force"])),
            ('T', Now("no")),
            ('N', Now("no")),
        ]);
    /// Whether a shell or command, a subsystem or nothing runs there
    "SessionType" session_type: Option<SessionType> = SessionType::Default,
        HONOURED.not_in_addresses().letters(&[('N', First("none")), ('s', First("subsystem"))]);
    /// Whether standard input is left alone
    "StdinNull" stdin_null: Option<bool> = false,
        HONOURED.not_in_addresses().letters(&[('n', First("yes")), ('f', First("yes"))]);
    /// Whether to go to the background once all stands
    "ForkAfterAuthentication" fork_after_authentication: Option<bool> = false,
        HONOURED.letters(&[('f', First("yes"))]).not_in_addresses();
    /// Whether an old socket is removed before a forward listens at its name
    "StreamLocalBindUnlink" stream_local_bind_unlink: Option<bool> = false,
        HONOURED.not_in_addresses();
    /// What to do about host keys that are not known: yes, ask, accept-new, no
    "StrictHostKeyChecking" strict_host_key_checking: Option<HostKeyCheck> = HostKeyCheck::Ask,
        HONOURED;
    /// Whether the system notices that the other side is gone
    "TCPKeepAlive" tcp_keep_alive: Option<bool> = true, HONOURED.aliases(&["keepalive"]);
    /// Whether a network is forwarded
    "Tunnel" tunnel: Option<Tunnel> = Tunnel::No,
        IGNORED.letters(&[('w', First("point-to-point"))]).not_in_addresses();
    /// Whether an SSHFP record counts that DNSSEC proves
    "VerifyHostKeyDNS" verify_host_key_dns: Option<YesNoAsk> = YesNoAsk::No, HONOURED;
    /// Whether host keys are drawn
    "VisualHostKey" visual_host_key: Option<bool> = false, IGNORED;
    /// Whether the known hosts follow the keys that a known server says it has
    "UpdateHostKeys" update_host_keys: Option<YesNoAsk>,
        HONOURED.unset(|options| if options.leaves_known_hosts() { "false" } else { "true" });
    /// Whether escape sequences open a command line
    "EnableEscapeCommandline" enable_escape_commandline: Option<bool> = false, IGNORED;
    /// Whether there is a warning of weak cryptography
    "WarnWeakCrypto" warn_weak_crypto: Option<bool>, IGNORED;
    /// How many dots a name may have that is completed by CanonicalDomains
    "CanonicalizeMaxDots" canonicalize_max_dots: Option<u32> = 1,
        HONOURED.not_in_addresses().note("not for machines of a clan");
    /// How often to try to connect, once a second
    "ConnectionAttempts" connection_attempts: Option<NonZeroU32> = NonZeroU32::MIN, HONOURED;
    /// How long X11 is forwarded
    "ForwardX11Timeout" forward_x11_timeout: Option<Time> = Time(Some(1200)), IGNORED;
    /// How often a password is asked for
    "NumberOfPasswordPrompts" number_of_password_prompts: Option<u32> = 3, HONOURED;
    /// How many questions whether it is there a server may leave unanswered
    "ServerAliveCountMax" server_alive_count_max: Option<u32> = 3, HONOURED;
    /// How long a silent server is left alone
    "ServerAliveInterval" server_alive_interval: Option<Time> = Time(Some(0)), HONOURED;
    /// Bits of the smallest RSA keys that are taken
    "RequiredRSASize" required_rsa_size: Option<RsaSize> = RsaSize(RSA_BITS), HONOURED;
    /// An address of this computer to connect from
    "BindAddress" bind_address: Option<String>, HONOURED.letters(&[('b', Argument(""))]);
    /// A network interface of this computer to connect from
    "BindInterface" bind_interface: Option<String>, HONOURED.letters(&[('B', Argument(""))]);
    /// Ciphers, best first, or what changes about them
    "Ciphers" ciphers: Option<Ciphers>,
        HONOURED.letters(&[('c', Argument("Unknown cipher type '{}'"))])
            .shown(Algorithms(List::Ciphers));
    /// The socket by which a connection is shared
    "ControlPath" control_path: Option<Maybe<Template>>,
        HONOURED.letters(&[('S', Argument(""))]).shown(Shown::Files)
            .not_in_addresses();
    /// Signatures of host keys, best first, or what changes about them
    "HostKeyAlgorithms" host_key_algorithms: Option<HostKeys>,
        HONOURED.shown(Algorithms(List::HostKeys));
    /// The name that the host key is looked up under
    "HostKeyAlias" host_key_alias: Option<String>, HONOURED.shown(Shown::LowerCase);
    /// Signatures of HostbasedAuthentication
    "HostbasedAcceptedAlgorithms" hostbased_accepted_algorithms: Option<HostbasedKeys>,
        IGNORED.aliases(&["hostbasedkeytypes"]).shown(Shown::Hostbased);
    /// The agent that is asked for keys
    "IdentityAgent" identity_agent: Option<Agent>, HONOURED.shown(Shown::Files).not_in_addresses();
    /// Patterns of options that are no mistake although nobody knows them
    "IgnoreUnknown" ignore_unknown: Option<String>, HONOURED;
    /// Ways to ask questions that the server should use
    "KbdInteractiveDevices" kbd_interactive_devices: Option<String>, HONOURED;
    /// Key exchanges, best first, or what changes about them
    "KexAlgorithms" kex_algorithms: Option<Kex>, HONOURED.shown(Algorithms(List::Kex));
    /// Signatures under certificates of hosts, or what changes about them
    "CASignatureAlgorithms" ca_signature_algorithms: Option<CaSignatures>,
        HONOURED.shown(Algorithms(List::CaSignatures));
    /// A command that runs here once the connection stands
    "LocalCommand" local_command: Option<Maybe<Command>>, HONOURED.not_in_addresses();
    /// The command that runs there
    "RemoteCommand" remote_command: Option<Maybe<Command>>,
        HONOURED.shown(Expanded).not_in_addresses();
    /// How much is said
    "LogLevel" log_level: Option<LogLevel> = LogLevel::Info,
        HONOURED.not_in_addresses()
            .letters(&[('q', Now("QUIET")), ('v', Next(&["DEBUG1", "DEBUG2", "DEBUG3"]))])
            .note("quiet, or how many `-v`");
    /// Authentication codes, best first, or what changes about them
    "MACs" macs: Option<Macs>,
        HONOURED.letters(&[('m', Argument("Unknown mac type '{}'"))]).shown(Algorithms(List::Macs));
    /// A library that holds keys
    "PKCS11Provider" pkcs11_provider: Option<Maybe<String>>,
        IGNORED.aliases(&["smartcarddevice"]).letters(&[('I', Argument(""))]).not_in_addresses()
            .warning("no library is loaded; ssh-add -s lends its keys to an agent");
    /// A library that reaches FIDO keys
    "SecurityKeyProvider" security_key_provider: Option<Maybe<String>>, IGNORED.not_in_addresses();
    /// Ways to authenticate, best first
    "PreferredAuthentications" preferred_authentications: Option<Names>, HONOURED;
    /// Signatures of keys that are offered, or what changes about them
    "PubkeyAcceptedAlgorithms" pubkey_accepted_algorithms: Option<UserKeys>,
        HONOURED.aliases(&["pubkeyacceptedkeytypes"]).shown(Algorithms(List::UserKeys));
    /// Lists of host keys that are never taken
    "RevokedHostKeys" revoked_host_keys: Option<Maybe<Files>>, HONOURED.shown(Shown::Files);
    /// Where xauth is
    "XAuthLocation" x_auth_location: Option<String>,
        IGNORED.not_in_addresses().unset(|_| "/usr/bin/xauth");
    /// A command that prints known hosts
    "KnownHostsCommand" known_hosts_command: Option<Maybe<Command>>, HONOURED.not_in_addresses();
    /// A word that Match tagged looks for
    "Tag" tag: Option<String>, HONOURED.not_in_addresses().letters(&[('P', Argument(""))]);
    /// A reason not to connect, which is said instead of connecting
    "RefuseConnection" refuse_connection: Option<String>, HONOURED;
    /// A port here from which clients go by SOCKS to wherever they want there
    "DynamicForward" dynamic_forward: Vec<DynamicForward>,
        HONOURED
            .letters(&[('D', Argument("Bad dynamic forwarding specification '{}'"))])
            .shown(Ends).not_in_addresses();
    /// A port or socket here that leads to one there
    "LocalForward" local_forward: Vec<LocalForward>,
        HONOURED.shown(Ends).not_in_addresses();
    /// A port or socket there that leads to one here
    "RemoteForward" remote_forward: Vec<RemoteForward>,
        HONOURED.shown(Ends).not_in_addresses();
    /// A file with a key to authenticate with
    "IdentityFile" identity_file: Vec<Template>,
        HONOURED.aliases(&["identityfile2"]).letters(&[('i', Argument(""))])
            .unset(|_| "~/.ssh/id_rsa\n~/.ssh/id_ecdsa\n~/.ssh/id_ed25519");
    /// Domains that short names may be in
    "CanonicalDomains" canonical_domains: Option<Domains>,
        HONOURED.not_in_addresses().note("not for machines of a clan").unset(|_| "none");
    /// A file with a certificate to authenticate with
    "CertificateFile" certificate_file: Vec<Template>, HONOURED;
    /// The known hosts of the computer
    "GlobalKnownHostsFile" global_known_hosts_file: Option<Files>,
        HONOURED.unset(|_| "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2");
    /// The known hosts of the user
    "UserKnownHostsFile" user_known_hosts_file: Option<Files>,
        HONOURED.shown(Shown::Files).unset(|_| "~/.ssh/known_hosts ~/.ssh/known_hosts2");
    /// Patterns of variables that are sent along
    "SendEnv" send_env: SendEnv, HONOURED.not_in_addresses();
    /// Variables that are sent along, with their values
    "SetEnv" set_env: Option<SetEnv>, HONOURED.shown(Shown::Environment);
    /// Parts of the program that say more
    "LogVerbose" log_verbose: Option<Words>, IGNORED;
    /// When a channel that nobody uses is closed
    "ChannelTimeout" channel_timeout: Option<Intervals>, IGNORED;
    /// Hosts and ports that clients of RemoteForward may go to by SOCKS
    "PermitRemoteOpen" permit_remote_open: Option<Permitted> = Permitted::default(),
        HONOURED.not_in_addresses();
    /// Whether the agent is given keys that were read from a file
    "AddKeysToAgent" add_keys_to_agent: Option<AddToAgent> = AddToAgent::No,
        HONOURED.not_in_addresses();
    /// Which agent the other side may use
    "ForwardAgent" forward_agent: Option<ForwardAgent> = ForwardAgent::No,
        HONOURED.letters(&[('A', Now("yes")), ('a', Now("no"))]).shown(Shown::Files)
            .not_in_addresses();
    /// How long connecting may take
    "ConnectTimeout" connect_timeout: Option<Time>, HONOURED.unset(|_| "none");
    /// The devices of Tunnel
    "TunnelDevice" tunnel_device: Option<TunnelDevice>,
        IGNORED.letters(&[('w', Argument("Bad tun device '{}'"))]).unset(|_| "any:any");
    /// Which names may be aliases of which where CanonicalizeHostname is at work
    "CanonicalizePermittedCNAMEs" canonicalize_permitted_cnames: Option<Aliases>,
        HONOURED.not_in_addresses().note("not for machines of a clan").unset(|_| "none");
    /// How long a shared connection stays that nobody uses
    "ControlPersist" control_persist: Option<Persist> = Persist::No,
        HONOURED.not_in_addresses();
    /// What begins an escape sequence
    "EscapeChar" escape_char: Option<EscapeChar> = EscapeChar::default(),
        HONOURED.letters(&[('e', Argument("Bad escape character '{}'."))]);
    /// How packets are marked
    "IPQoS" ip_qos: Option<Quality> = Quality::NONE, IGNORED;
    /// When new keys are exchanged: after how much data, and how long
    "RekeyLimit" rekey_limit: Option<RekeyLimit> = RekeyLimit { bytes: 0, seconds: 0 },
        HONOURED.note("at most 1 GiB");
    /// Permissions that sockets of forwards do not have
    "StreamLocalBindMask" stream_local_bind_mask: Option<Mask> = Mask(0o177),
        HONOURED.not_in_addresses();
    /// Whose log it would be
    "SyslogFacility" syslog_facility: Option<SyslogFacility> = SyslogFacility("USER"), IGNORED;
    /// Whether the rhythm of keystrokes is hidden: on a grid of 20 ms, or another
    "ObscureKeystrokeTiming" obscure_keystroke_timing: Option<Keystrokes>
        = Keystrokes(Some(KEYSTROKES)), HONOURED.note("where the server offers it");
    /// What is added to our version
    "VersionAddendum" version_addendum: Option<Command>, IGNORED.shown(Never);
    /// A command that leads to the host
    "ProxyCommand" proxy_command: Option<Maybe<Command>>,
        HONOURED.not_in_addresses().yields(|options| options.proxy_jump.is_some());
    /// Hosts to go over
    "ProxyJump" proxy_jump: Option<Maybe<JumpHosts>>,
        HONOURED.letters(&[('J', Argument("Invalid -J argument"))]).yields(|options| options.proxy_command.is_some());
    /// A file with the keys of another DNS root; an option of our own
    "DnssecAnchor" dnssec_anchor: Option<Template>, HONOURED.shown(Never);
    /// Whether messages leave before the answers to those that they follow, as far as an
    /// OpenSSH server takes that: the command with the login; an option of our own
    "Pipelining" pipelining: Option<bool> = true, HONOURED.shown(Never);
    /// A key that an onion service wants to see: a file or a var; an option of our own
    "TorAuth" tor_auth: Vec<String>, HONOURED.shown(Never);
    /// Where machines are met by iroh: URLs of relays, or `none`; an option of our own
    "IrohRelay" iroh_relay: Vec<String>, HONOURED.shown(Never);
    /// Where tickets of iroh are looked up: domains, URLs, or `none`; an option of our own
    "IrohDiscovery" iroh_discovery: Vec<String>, HONOURED.shown(Never);
    /// A member's key for the clan's WireGuard network: a file, or `var:MACHINE`; an option
    /// of our own
    "WireguardKey" wireguard_key: Vec<String>, HONOURED.shown(Never);
    /// A key for Yggdrasil: a file, or `var:MACHINE`; an option of our own
    "YggdrasilKey" yggdrasil_key: Vec<String>, HONOURED.shown(Never);
    /// Whom to peer with in Yggdrasil; an option of our own
    "YggdrasilPeer" yggdrasil_peer: Vec<String>, HONOURED.shown(Never);
    /// Whom to peer with in Mycelium; an option of our own
    "MyceliumPeer" mycelium_peer: Vec<String>, HONOURED.shown(Never);
    /// Whether public nodes of Mycelium will do, where no other peer leads on
    "MyceliumPublicNodes" mycelium_public_nodes: Option<bool>, HONOURED.shown(Never);
}

/// Options of the past, which are read over.
pub(super) const OBSOLETE: [&str; 14] = [
    "afstokenpassing",
    "cipher",
    "compressionlevel",
    "fallbacktorsh",
    "globalknownhostsfile2",
    "protocol",
    "rhostsrsaauthentication",
    "rsaauthentication",
    "useblacklistedkeys",
    "usekeychain",
    "useprivilegedport",
    "userknownhostsfile2",
    "useroaming",
    "usersh",
];
