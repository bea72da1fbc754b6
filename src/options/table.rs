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
    /// The host to connect to, instead of the name that was typed
    "HostName" host_name: Option<Template>, HONOURED.shown(Never);
    /// The port to connect to
    "Port" port: Option<NonZeroU16>,
        HONOURED.letters(&[('p', Argument("Bad port '{}'"))]).shown(Never);
    /// Which IP addresses are used: any, inet or inet6
    "AddressFamily" address_family: Option<Family> = Family::Any,
        HONOURED.letters(&[('4', Now("inet")), ('6', Now("inet6"))]);
    /// Whether prompts are disabled
    "BatchMode" batch_mode: Option<bool> = false, HONOURED;
    /// Whether a name that CanonicalDomains does not complete is tried as it is
    "CanonicalizeFallbackLocal" canonicalize_fallback_local: Option<bool> = true,
        HONOURED.not_in_addresses().note("not for machines of a clan");
    /// Whether short names are completed by CanonicalDomains
    "CanonicalizeHostname" canonicalize_hostname: Option<Canonicalize> = Canonicalize::No,
        HONOURED.not_in_addresses().note("not for machines of a clan");
    /// Whether the address is also looked up in known_hosts
    "CheckHostIP" check_host_ip: Option<bool> = false, IGNORED;
    /// Whether the data that is sent is compressed
    "Compression" compression: Option<bool> = false, HONOURED.letters(&[('C', Now("yes"))]);
    /// Whether the connection is shared with later commands
    "ControlMaster" control_master: Option<ControlMaster> = ControlMaster::No,
        HONOURED.letters(&[('M', Next(&["yes", "ask"]))]).not_in_addresses();
    /// Whether ssh-keysign is used for HostbasedAuthentication
    "EnableSSHKeysign" enable_ssh_keysign: Option<bool> = false, IGNORED;
    /// Whether all configured forwards are ignored
    "ClearAllForwardings" clear_all_forwardings: Option<bool> = false,
        HONOURED.not_in_addresses();
    /// Whether the connection ends if a forward cannot be set up
    "ExitOnForwardFailure" exit_on_forward_failure: Option<bool> = false,
        HONOURED.not_in_addresses();
    /// How the fingerprints of keys are shown
    "FingerprintHash" fingerprint_hash: Option<FingerprintHash> = FingerprintHash::Sha256, IGNORED;
    /// Whether X11 is forwarded
    "ForwardX11" forward_x11: Option<bool> = false,
        IGNORED.letters(&[('X', Now("yes")), ('x', Now("no")), ('Y', Now("yes"))])
            .not_in_addresses();
    /// Whether forwarded X11 clients have full access to the display
    "ForwardX11Trusted" forward_x11_trusted: Option<bool> = false,
        IGNORED.letters(&[('Y', Now("yes"))]).not_in_addresses();
    /// Whether other computers may use the ports that LocalForward opens
    "GatewayPorts" gateway_ports: Option<bool> = false,
        HONOURED.letters(&[('g', First("yes"))]).not_in_addresses();
    /// Whether to authenticate by GSSAPI
    "GSSAPIAuthentication" gssapi_authentication: Option<bool>,
        IGNORED.letters(&[('K', First("yes"))]);
    /// Whether to exchange keys by GSSAPI
    "GSSAPIKeyExchange" gssapi_key_exchange: Option<bool>, IGNORED;
    /// Whether our GSSAPI credentials are forwarded to the server
    "GSSAPIDelegateCredentials" gssapi_delegate_credentials: Option<bool>,
        IGNORED.letters(&[('K', First("yes")), ('k', First("no"))]).not_in_addresses();
    /// Whether GSSAPI trusts the names that the DNS returns
    "GSSAPITrustDns" gssapi_trust_dns: Option<bool>, IGNORED;
    /// Whether renewed GSSAPI credentials cause a new key exchange
    "GSSAPIRenewalForcesRekey" gssapi_renewal_forces_rekey: Option<bool>, IGNORED;
    /// The client's identity for GSSAPI
    "GSSAPIClientIdentity" gssapi_client_identity: Option<String>, IGNORED;
    /// The server's identity for GSSAPI
    "GSSAPIServerIdentity" gssapi_server_identity: Option<String>, IGNORED;
    /// Key exchange methods of GSSAPI
    "GSSAPIKexAlgorithms" gssapi_kex_algorithms: Option<String>, IGNORED;
    /// Whether host names are hashed in lines that are added to known_hosts
    "HashKnownHosts" hash_known_hosts: Option<bool> = false, HONOURED;
    /// Whether to authenticate with the host key of this computer
    "HostbasedAuthentication" hostbased_authentication: Option<bool> = false, IGNORED;
    /// Whether only keys of IdentityFile and CertificateFile are offered
    "IdentitiesOnly" identities_only: Option<bool> = false, HONOURED;
    /// Whether to authenticate by answering questions of the server
    "KbdInteractiveAuthentication" kbd_interactive_authentication: Option<bool> = true,
        HONOURED
            .aliases(&[
                "challengeresponseauthentication",
                "skeyauthentication",
                "tisauthentication",
            ]);
    /// Whether the host key of a loopback address goes unchecked
    "NoHostAuthenticationForLocalhost" no_host_authentication_for_localhost: Option<bool> = false,
        HONOURED.note("not for a machine whose key its clan knows");
    /// Whether to authenticate with a password
    "PasswordAuthentication" password_authentication: Option<bool> = true, HONOURED;
    /// Whether LocalCommand is run
    "PermitLocalCommand" permit_local_command: Option<bool> = false,
        HONOURED.not_in_addresses();
    /// Whether ProxyCommand passes a connected socket back instead of carrying the data
    "ProxyUseFdpass" proxy_use_fdpass: Option<bool> = false, HONOURED.not_in_addresses();
    /// Whether to authenticate with keys
    "PubkeyAuthentication" pubkey_authentication: Option<PubkeyAuthentication>
        = PubkeyAuthentication::Yes, HONOURED.aliases(&["dsaauthentication"]);
    /// Whether the remote command has a terminal
    "RequestTTY" request_tty: Option<RequestTty> = RequestTty::Auto,
        HONOURED.letters(&[
            ('t', Next(&["yes", "force"])),
            ('T', Now("no")),
            ('N', Now("no")),
        ]);
    /// Whether a shell or command, a subsystem or nothing is run on the server
    "SessionType" session_type: Option<SessionType> = SessionType::Default,
        HONOURED.not_in_addresses().letters(&[('N', First("none")), ('s', First("subsystem"))]);
    /// Whether standard input is not read
    "StdinNull" stdin_null: Option<bool> = false,
        HONOURED.not_in_addresses().letters(&[('n', First("yes")), ('f', First("yes"))]);
    /// Whether to go to the background after authentication and forwarding
    "ForkAfterAuthentication" fork_after_authentication: Option<bool> = false,
        HONOURED.letters(&[('f', First("yes"))]).not_in_addresses();
    /// Whether an existing socket file is removed before a forward listens at its path
    "StreamLocalBindUnlink" stream_local_bind_unlink: Option<bool> = false,
        HONOURED.not_in_addresses();
    /// What to do about host keys that are not known: yes, ask, accept-new, no
    "StrictHostKeyChecking" strict_host_key_checking: Option<HostKeyCheck> = HostKeyCheck::Ask,
        HONOURED;
    /// Whether the system sends TCP keepalive messages to notice a lost connection
    "TCPKeepAlive" tcp_keep_alive: Option<bool> = true, HONOURED.aliases(&["keepalive"]);
    /// Whether a tunnel device is forwarded
    "Tunnel" tunnel: Option<Tunnel> = Tunnel::No,
        IGNORED.letters(&[('w', First("point-to-point"))]).not_in_addresses();
    /// Whether an SSHFP record verified by DNSSEC is accepted as proof of the host key
    "VerifyHostKeyDNS" verify_host_key_dns: Option<YesNoAsk> = YesNoAsk::No, HONOURED;
    /// Whether host keys are shown as pictures
    "VisualHostKey" visual_host_key: Option<bool> = false, IGNORED;
    /// Whether known_hosts is updated with further host keys that a known server announces
    "UpdateHostKeys" update_host_keys: Option<YesNoAsk>,
        HONOURED.unset(|options| if options.leaves_known_hosts() { "false" } else { "true" });
    /// Whether escape sequences open a command line
    "EnableEscapeCommandline" enable_escape_commandline: Option<bool> = false, IGNORED;
    /// Whether a warning about weak cryptography is printed
    "WarnWeakCrypto" warn_weak_crypto: Option<bool>, IGNORED;
    /// The number of dots up to which a name is completed by CanonicalDomains
    "CanonicalizeMaxDots" canonicalize_max_dots: Option<u32> = 1,
        HONOURED.not_in_addresses().note("not for machines of a clan");
    /// How many times to try to connect, one second apart
    "ConnectionAttempts" connection_attempts: Option<NonZeroU32> = NonZeroU32::MIN, HONOURED;
    /// How long untrusted X11 forwarding accepts connections
    "ForwardX11Timeout" forward_x11_timeout: Option<Time> = Time(Some(1200)), IGNORED;
    /// How many times a password is asked for
    "NumberOfPasswordPrompts" number_of_password_prompts: Option<u32> = 3, HONOURED;
    /// Number of unanswered keepalive messages after which the connection is closed
    "ServerAliveCountMax" server_alive_count_max: Option<u32> = 3, HONOURED;
    /// Interval after which a keepalive message is sent to a silent server
    "ServerAliveInterval" server_alive_interval: Option<Time> = Time(Some(0)), HONOURED;
    /// The smallest size of RSA keys that is accepted, in bits
    "RequiredRSASize" required_rsa_size: Option<RsaSize> = RsaSize(RSA_BITS), HONOURED;
    /// An address of this computer to connect from
    "BindAddress" bind_address: Option<String>, HONOURED.letters(&[('b', Argument(""))]);
    /// A network interface of this computer to connect from
    "BindInterface" bind_interface: Option<String>, HONOURED.letters(&[('B', Argument(""))]);
    /// Ciphers that are used, best first, or changes to the default list (`+`, `-`, `^`)
    "Ciphers" ciphers: Option<Ciphers>,
        HONOURED.letters(&[('c', Argument("Unknown cipher type '{}'"))])
            .shown(Algorithms(List::Ciphers));
    /// The socket through which the connection is shared
    "ControlPath" control_path: Option<Maybe<Template>>,
        HONOURED.letters(&[('S', Argument(""))]).shown(Shown::Files)
            .not_in_addresses();
    /// Algorithms accepted for host keys, best first, or changes to the default list (`+`,
    /// `-`, `^`)
    "HostKeyAlgorithms" host_key_algorithms: Option<HostKeys>,
        HONOURED.shown(Algorithms(List::HostKeys));
    /// The name under which the host key is looked up in known_hosts
    "HostKeyAlias" host_key_alias: Option<String>, HONOURED.shown(Shown::LowerCase);
    /// Algorithms of HostbasedAuthentication
    "HostbasedAcceptedAlgorithms" hostbased_accepted_algorithms: Option<HostbasedKeys>,
        IGNORED.aliases(&["hostbasedkeytypes"]).shown(Shown::Hostbased);
    /// The agent that is asked for keys
    "IdentityAgent" identity_agent: Option<Agent>, HONOURED.shown(Shown::Files).not_in_addresses();
    /// Patterns of unknown options that are ignored instead of being an error
    "IgnoreUnknown" ignore_unknown: Option<String>, HONOURED;
    /// Methods of keyboard-interactive authentication that the server is asked to use
    "KbdInteractiveDevices" kbd_interactive_devices: Option<String>, HONOURED;
    /// Key exchange methods that are used, best first, or changes to the default list (`+`,
    /// `-`, `^`)
    "KexAlgorithms" kex_algorithms: Option<Kex>, HONOURED.shown(Algorithms(List::Kex));
    /// Algorithms accepted for signatures of certificate authorities, or changes to the
    /// default list (`+`, `-`, `^`)
    "CASignatureAlgorithms" ca_signature_algorithms: Option<CaSignatures>,
        HONOURED.shown(Algorithms(List::CaSignatures));
    /// A command to run on this computer after the login
    "LocalCommand" local_command: Option<Maybe<Command>>, HONOURED.not_in_addresses();
    /// The command to run on the server
    "RemoteCommand" remote_command: Option<Maybe<Command>>,
        HONOURED.shown(Expanded).not_in_addresses();
    /// How many messages are printed
    "LogLevel" log_level: Option<LogLevel> = LogLevel::Info,
        HONOURED.not_in_addresses()
            .letters(&[('q', Now("QUIET")), ('v', Next(&["DEBUG1", "DEBUG2", "DEBUG3"]))])
            .note("from QUIET to DEBUG3, which is `-vvv`");
    /// Message authentication codes that are used, best first, or changes to the default
    /// list (`+`, `-`, `^`)
    "MACs" macs: Option<Macs>,
        HONOURED.letters(&[('m', Argument("Unknown mac type '{}'"))]).shown(Algorithms(List::Macs));
    /// A library that holds keys
    "PKCS11Provider" pkcs11_provider: Option<Maybe<String>>,
        IGNORED.aliases(&["smartcarddevice"]).letters(&[('I', Argument(""))]).not_in_addresses()
            .warning("no library is loaded; ssh-add -s lends its keys to an agent");
    /// A library for FIDO keys
    "SecurityKeyProvider" security_key_provider: Option<Maybe<String>>, IGNORED.not_in_addresses();
    /// Authentication methods in the order in which they are tried
    "PreferredAuthentications" preferred_authentications: Option<Names>, HONOURED;
    /// Algorithms accepted for our own keys, or changes to the default list (`+`, `-`, `^`)
    "PubkeyAcceptedAlgorithms" pubkey_accepted_algorithms: Option<UserKeys>,
        HONOURED.aliases(&["pubkeyacceptedkeytypes"]).shown(Algorithms(List::UserKeys));
    /// Files with host keys that are never accepted
    "RevokedHostKeys" revoked_host_keys: Option<Maybe<Files>>, HONOURED.shown(Shown::Files);
    /// The path of xauth
    "XAuthLocation" x_auth_location: Option<String>,
        IGNORED.not_in_addresses().unset(|_| "/usr/bin/xauth");
    /// A command that prints lines of known_hosts
    "KnownHostsCommand" known_hosts_command: Option<Maybe<Command>>, HONOURED.not_in_addresses();
    /// A word that `Match tagged` compares with
    "Tag" tag: Option<String>, HONOURED.not_in_addresses().letters(&[('P', Argument(""))]);
    /// A message to print instead of connecting
    "RefuseConnection" refuse_connection: Option<String>, HONOURED;
    /// A port of this computer with a SOCKS proxy that connects from the server
    "DynamicForward" dynamic_forward: Vec<DynamicForward>,
        HONOURED
            .letters(&[('D', Argument("Bad dynamic forwarding specification '{}'"))])
            .shown(Ends).not_in_addresses();
    /// A port or socket of this computer that is forwarded to one reached from the server
    "LocalForward" local_forward: Vec<LocalForward>,
        HONOURED.shown(Ends).not_in_addresses();
    /// A port or socket of the server that is forwarded to one reached from this computer
    "RemoteForward" remote_forward: Vec<RemoteForward>,
        HONOURED.shown(Ends).not_in_addresses();
    /// A file with a key to authenticate with
    "IdentityFile" identity_file: Vec<Template>,
        HONOURED.aliases(&["identityfile2"]).letters(&[('i', Argument(""))])
            .unset(|_| "~/.ssh/id_rsa\n~/.ssh/id_ecdsa\n~/.ssh/id_ed25519");
    /// Domains in which short names are looked up
    "CanonicalDomains" canonical_domains: Option<Domains>,
        HONOURED.not_in_addresses().note("not for machines of a clan").unset(|_| "none");
    /// A file with a certificate to authenticate with
    "CertificateFile" certificate_file: Vec<Template>, HONOURED;
    /// The files with the known hosts of the computer
    "GlobalKnownHostsFile" global_known_hosts_file: Option<Files>,
        HONOURED.unset(|_| "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2");
    /// The files with the known hosts of the user
    "UserKnownHostsFile" user_known_hosts_file: Option<Files>,
        HONOURED.shown(Shown::Files).unset(|_| "~/.ssh/known_hosts ~/.ssh/known_hosts2");
    /// Patterns of environment variables that are sent to the server
    "SendEnv" send_env: SendEnv, HONOURED.not_in_addresses();
    /// Environment variables, with values, that are sent to the server
    "SetEnv" set_env: Option<SetEnv>, HONOURED.shown(Shown::Environment);
    /// Parts of the program that print more debug messages
    "LogVerbose" log_verbose: Option<Words>, IGNORED;
    /// After which time an unused channel is closed
    "ChannelTimeout" channel_timeout: Option<Intervals>, IGNORED;
    /// Hosts and ports to which the SOCKS proxy of RemoteForward may connect
    "PermitRemoteOpen" permit_remote_open: Option<Permitted> = Permitted::default(),
        HONOURED.not_in_addresses();
    /// Whether keys that were read from a file are added to the agent
    "AddKeysToAgent" add_keys_to_agent: Option<AddToAgent> = AddToAgent::No,
        HONOURED.not_in_addresses();
    /// Whether the agent is forwarded to the server, or which agent is
    "ForwardAgent" forward_agent: Option<ForwardAgent> = ForwardAgent::No,
        HONOURED.letters(&[('A', Now("yes")), ('a', Now("no"))]).shown(Shown::Files)
            .not_in_addresses();
    /// How long connecting may take
    "ConnectTimeout" connect_timeout: Option<Time>, HONOURED.unset(|_| "none");
    /// The devices of Tunnel
    "TunnelDevice" tunnel_device: Option<TunnelDevice>,
        IGNORED.letters(&[('w', Argument("Bad tun device '{}'"))]).unset(|_| "any:any");
    /// Which DNS aliases CanonicalizeHostname follows
    "CanonicalizePermittedCNAMEs" canonicalize_permitted_cnames: Option<Aliases>,
        HONOURED.not_in_addresses().note("not for machines of a clan").unset(|_| "none");
    /// How long an unused shared connection stays open
    "ControlPersist" control_persist: Option<Persist> = Persist::No,
        HONOURED.not_in_addresses();
    /// The character that begins an escape sequence
    "EscapeChar" escape_char: Option<EscapeChar> = EscapeChar::default(),
        HONOURED.letters(&[('e', Argument("Bad escape character '{}'."))]);
    /// The type of service with which IP packets are marked
    "IPQoS" ip_qos: Option<Quality> = Quality::NONE, IGNORED;
    /// After how much data, and after which time, new keys are exchanged
    "RekeyLimit" rekey_limit: Option<RekeyLimit> = RekeyLimit { bytes: 0, seconds: 0 },
        HONOURED.note("at most 1 GiB");
    /// The umask for sockets of forwards
    "StreamLocalBindMask" stream_local_bind_mask: Option<Mask> = Mask(0o177),
        HONOURED.not_in_addresses();
    /// The facility of log messages
    "SyslogFacility" syslog_facility: Option<SyslogFacility> = SyslogFacility("USER"), IGNORED;
    /// Whether the timing of keystrokes is hidden: by an interval of 20 ms, or another one
    "ObscureKeystrokeTiming" obscure_keystroke_timing: Option<Keystrokes>
        = Keystrokes(Some(KEYSTROKES)), HONOURED.note("where the server offers it");
    /// Text that is added to our version
    "VersionAddendum" version_addendum: Option<Command>, IGNORED.shown(Never);
    /// A command that connects to the host
    "ProxyCommand" proxy_command: Option<Maybe<Command>>,
        HONOURED.not_in_addresses().yields(|options| Maybe::of(&options.proxy_jump).is_some());
    /// Jump hosts to connect through
    "ProxyJump" proxy_jump: Option<Maybe<JumpHosts>>,
        HONOURED.letters(&[('J', Argument("Invalid -J argument"))]).yields(|options| options.proxy_command.is_some());
    /// A file with the keys of another DNS root; an option of our own
    "DnssecAnchor" dnssec_anchor: Option<Template>, HONOURED.shown(Never);
    /// Whether messages are sent to an OpenSSH server before the answers to earlier ones have
    /// arrived, such as the command together with the login; an option of our own
    "Pipelining" pipelining: Option<bool> = true, HONOURED.shown(Never);
    /// A key for an onion service's client authorization: a file or a var; an option of our
    /// own
    "TorAuth" tor_auth: Vec<String>, HONOURED.shown(Never);
    /// The relays of iroh: URLs, or `none`; an option of our own
    "IrohRelay" iroh_relay: Vec<String>, HONOURED.shown(Never);
    /// Where the addresses of iroh endpoints are looked up: domains, URLs, or `none`; an option
    /// of our own
    "IrohDiscovery" iroh_discovery: Vec<String>, HONOURED.shown(Never);
    /// The key of a member of the clan's WireGuard network: a file, or `var:MACHINE`; an
    /// option of our own
    "WireguardKey" wireguard_key: Vec<String>, HONOURED.shown(Never);
    /// The key of our own Yggdrasil node: a file, or `var:MACHINE`; an option of our own
    "YggdrasilKey" yggdrasil_key: Vec<String>, HONOURED.shown(Never);
    /// A node to peer with in Yggdrasil; an option of our own
    "YggdrasilPeer" yggdrasil_peer: Vec<String>, HONOURED.shown(Never);
    /// A node to peer with in Mycelium; an option of our own
    "MyceliumPeer" mycelium_peer: Vec<String>, HONOURED.shown(Never);
    /// Whether to use Mycelium's public nodes when no other peer is reachable; an option of
    /// our own
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
