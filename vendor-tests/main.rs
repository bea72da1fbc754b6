//! Our binary against other vendors' real software, a file a vendor. One test
//! binary, because linking each would take longer than all tests. A missing
//! program fails its tests; `vendor-tests/run` installs them all.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests fail by panicking, and start other programs"
)]

mod age;
mod agent_gone;
mod agent_keys;
mod another_clan;
mod argument_bytes;
mod background;
mod bind;
mod by_address;
mod callers;
mod ci_job;
mod clan;
mod clan_cases;
mod clan_command;
mod clan_git;
mod clan_index;
mod clan_key_sources;
mod clan_keys;
mod clan_owner;
mod clan_reference;
mod clan_trust;
mod clan_word;
mod dependencies;
mod deploy;
mod deploy_rs;
mod documents;
mod dropbear;
#[cfg(feature = "iroh")]
mod dumbpipe;
mod early_answers;
mod environment;
mod fleet;
mod front_ends;
mod guess;
mod harness;
mod host_key_question;
mod host_key_renewal;
mod host_key_revoked;
mod host_key_worth;
mod hostile_server;
mod identity_files;
mod installer;
#[cfg(feature = "iroh")]
mod iroh;
#[cfg(feature = "iroh")]
mod iroh_peer;
#[cfg(feature = "iroh")]
mod iroh_servers;
mod iroh_silence;
mod keystrokes;
mod known_hosts;
mod known_hosts_matrix;
mod library;
mod links;
mod machine_identity;
mod machines;
mod name_servers;
mod named_clan;
mod native_options;
mod native_words;
mod nix;
mod nix_module;
mod not_utf8;
mod one_key;
mod openssh;
mod openssh_algorithms;
mod openssh_awkward;
mod openssh_choices;
mod openssh_dialogues;
mod openssh_failures;
mod openssh_files;
mod openssh_host_keys;
mod openssh_info;
mod openssh_keys;
mod openssh_log;
mod openssh_mux;
mod openssh_options;
mod openssh_personality;
mod openssh_regress;
mod openssh_session;
mod openssh_values;
mod openssh_words;
mod others_files;
mod pieces;
mod pipelining;
mod preload;
mod process;
mod proxy;
mod proxy_fdpass;
mod reach;
mod remote_listen;
mod round_trips;
mod same_plan;
mod scripted;
mod shells;
mod snapshot;
mod sops;
mod ssh_audit;
mod static_binary;
mod stock_ssh;
mod strace;
mod target_host;
#[path = "../src/test_data.rs"]
mod test_data;
#[cfg(feature = "tor")]
mod tor;
#[cfg(feature = "tor")]
mod tor_owner;
#[cfg(feature = "tor")]
mod tor_start;
mod unnamed_clan;
mod vars;
mod vars_trust;
mod vendored;
mod warm;
mod windows;
mod wireguard;
mod wireguard_member;
mod yggdrasil;
