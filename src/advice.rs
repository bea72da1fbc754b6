//! What helps against an error. Errors only say what went wrong; every piece of advice is
//! here, once. Where it needs a setting, it has two forms side by side: one in the
//! library's terms, which names no flag, and one with the flags of the command line. What
//! helps where one route has failed is in `route`.

mod route;

use crate::error::{Attempt, BadKey, Cause, Error, KeyFault, NixFault, SealedFault};
use crate::printable::{self, Printable};
pub(crate) use route::of_cause;
#[cfg(test)]
pub(crate) use route::of_member;

/// Who is advised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caller {
    /// A program that uses the library. It has no flags of ours.
    Library,
    /// Whoever has typed a command of `clan-connect`.
    CommandLine,
    /// Whoever has typed ssh(1): its own words stand before ours, which are few.
    Ssh,
}

impl Caller {
    /// One of two ways to say the same.
    fn either(self, plain: &'static str, with_flags: &'static str) -> &'static str {
        if self == Self::CommandLine { with_flags } else { plain }
    }

    /// What only has a meaning with our flags.
    fn flags(self, words: &'static str) -> &'static str {
        self.either("", words)
    }
}

impl Error {
    /// What to do next, one line each, without the word `hint`. No flag is named.
    pub fn hint(&self) -> Vec<String> {
        of(self, Caller::Library)
    }
}

impl Cause {
    /// What would help, if that is known. No flag is named.
    pub fn hint(&self) -> Option<String> {
        of_cause(self, Caller::Library)
    }
}

/// What to do next, one line each, without the word `hint`.
pub(crate) fn of(error: &Error, caller: Caller) -> Vec<String> {
    let either = |plain, with_flags| caller.either(plain, with_flags);
    let flags = |words| caller.flags(words);
    match error {
        Error::FlakeNotFound { .. } => vec![
            format!("run it inside a clan, or name one with {}$CLAN_DIR", flags("--flake DIR or ")),
            either(
                "to connect without a clan, a file of its exports and a machine's name are enough",
                "to connect without a clan: clan-connect ssh NAME --target-host USER@HOST, with \
                 any NAME, or --exports FILE with a machine's name",
            )
            .into(),
        ],
        Error::NotAFlake { .. } => vec!["name the directory that holds flake.nix".into()],
        Error::NoExports { .. } => vec![
            "on a computer with nix, run: clan-connect exports snapshot, and commit the file that \
             it writes"
                .into(),
            format!("or name a file {}", either("of the exports", "with --exports FILE")),
        ],
        Error::Select { .. } => vec!["write ?NAME for a name that may be missing".into()],
        Error::Nix { fault, .. } => of_nix(fault, caller),
        Error::SealedHosts { whose, here, fault } => {
            of_sealed_hosts(whose, here.as_deref(), fault, caller)
        }
        Error::SecretName { .. } => {
            vec!["if the clan is yours, allow it: clan-connect trust-clan".into()]
        }
        Error::ClanRefused { dir, .. } => {
            let dir = dir.to_string_lossy();
            let dir = printable::argument(&dir, "DIR");
            vec![
                format!(
                    "look at what is in it, and if you trust it: clan-connect trust-clan {dir}"
                ),
                format!(
                    "or name another one with {}$CLAN_DIR, or work elsewhere",
                    flags("--flake DIR or ")
                ),
            ]
        }
        // What is wrong with the one that is there is said already.
        Error::NextClan { is_found: true, .. } => Vec::new(),
        Error::NextClan { .. } => vec![
            "install Clan's own clan, in a directory of $PATH; ours has ssh, select, network \
             list, ping and overview, vars get and list, and machines list"
                .into(),
        ],
        Error::SnapshotRefused { .. } => vec![
            "copy it to a file that only you can write, and name that; what standard input has \
             is taken as it is"
                .into(),
            "or, if it is in a clan that you trust: clan-connect trust-clan DIR".into(),
        ],
        Error::TrustedClans { .. } => vec![
            "make it a file of your own that nobody else can write, or remove it and allow your \
             clans again with: clan-connect trust-clan DIR"
                .into(),
        ],
        Error::UnknownMachine { empty: Some(_), .. } => vec![format!(
            "add it to inventory.machines of that clan, or name another one with {}$CLAN_DIR",
            flags("--flake DIR or ")
        )],
        Error::UnknownMachine { known, .. } if !known.is_empty() => {
            vec![format!("known machines: {}", sorted(known))]
        }
        Error::UnknownNetwork { known, .. } if !known.is_empty() => {
            vec![format!("known networks: {}", sorted(known))]
        }
        Error::NoRoute { machine, reason } if reason.is_unevaluated() => vec![format!(
            "generate its vars: clan vars generate {}",
            printable::argument(machine, "MACHINE")
        )],
        Error::NoRoute { .. } => vec![format!(
            "add the machine to a network of the clan, or name an address{}",
            flags(" with --target-host")
        )],
        Error::NoVars { .. } => {
            let inside = "run it inside the clan, or name its directory";
            let mut hints = vec![format!("{inside}{}", flags(" with --flake DIR"))];
            if caller == Caller::CommandLine {
                hints.push(format!(
                    "on a machine of the clan, a snapshot that is made for it is enough: {SEAL}"
                ));
            }
            hints
        }
        Error::VarMissing { machine, .. } => {
            let mut hints = vec![format!("generate and deploy it: clan machines update {machine}")];
            if caller == Caller::CommandLine {
                hints.push(format!(
                    "if that network is the only way there: clan machines update {machine} \
                     --target-host root@ADDRESS"
                ));
            }
            hints
        }
        Error::UnknownVar { machine, .. } => {
            let machine = printable::argument(machine, "MACHINE");
            vec![
                format!("see what there is: clan-connect vars list {machine}"),
                format!("a generator that is new has to run: clan vars generate {machine}"),
            ]
        }
        Error::VarUndecryptable { tried, .. } | Error::Undecryptable { tried, .. } => vec![
            tried_or(tried, "no identity was found"),
            format!(
                "name a key that opens it{}",
                either(", such as with $AGE_KEYFILE", " with --identity FILE or $AGE_KEYFILE")
            ),
        ],
        Error::Key(BadKey { fault: KeyFault::Wrong(_), .. }) => {
            vec!["move that file away, and another key is made".into()]
        }
        Error::Key(bad) => vec![route::of_key(bad, "of the network")],
        Error::Unreachable { attempts, .. } => {
            let hints = of_attempts(attempts, caller);
            match hints.is_empty() {
                true => vec![format!(
                    "is the machine up? try {}",
                    either("another address", "an address with --target-host")
                )],
                false => hints,
            }
        }
        Error::KnownHosts { .. } => vec![format!(
            "make the file readable, or name another {}",
            either("(UserKnownHostsFile)", "with --ssh-option UserKnownHostsFile FILE")
        )],
        Error::RevokedHostKeys { .. } => vec![format!(
            "put the right file there, or name another {}; none does without it",
            either("(RevokedHostKeys)", "with --ssh-option RevokedHostKeys FILE")
        )],
        Error::KnownHostsCommand { .. } => vec![
            "run the command by hand to see why; KnownHostsCommand none does without it".into(),
        ],
        Error::HostKey { .. } => vec![
            "compare the fingerprint with the machine's own: ssh-keygen -lf \
             /etc/ssh/ssh_host_ed25519_key.pub"
                .into(),
        ],
        Error::ConnectionLost { reason, .. } => {
            vec![route::of_loss(reason, caller).unwrap_or_else(|| {
                "connect again: another network may still reach the machine".to_owned()
            })]
        }
        Error::Auth { tried, .. } => vec![
            tried_or(tried, "nothing could be tried: no agent, no key file, no terminal"),
            format!(
                "name a key{} or another user{}",
                flags(" with -i FILE"),
                flags(" with -l USER")
            ),
        ],
        _ => Vec::new(),
    }
}

/// What makes a snapshot with secret hosts.
const SEAL: &str = "clan-connect exports snapshot --for MACHINE, or --for-recipient KEY";

fn of_sealed_hosts(
    whose: &[String],
    here: Option<&str>,
    fault: &SealedFault,
    caller: Caller,
) -> Vec<String> {
    let is_named = here.is_some_and(|here| whose.iter().any(|name| name == here));
    let how = caller.either(", for this machine or key", "");
    let command = if caller == Caller::CommandLine { format!(": {SEAL}") } else { String::new() };
    let again = format!("where the clan's repository is, make the snapshot anew{how}{command}");
    let SealedFault::Closed(tried) = fault else { return vec![again] };
    let mut hints = vec![tried_or(tried, "there is no key here")];
    hints.push(match is_named {
        true => "only root can read the machine's key: run this as root, or as a member of the \
                 group of the directory given to `exports unseal`"
            .to_owned(),
        false => again,
    });
    if caller == Caller::CommandLine {
        hints.push("or name a key that opens them with --identity FILE".to_owned());
    }
    hints
}

fn of_nix(fault: &NixFault, caller: Caller) -> Vec<String> {
    let either = |plain, with_flags| caller.either(plain, with_flags);
    let directory = either("name a directory", "name a directory with --flake DIR");
    let exports = either("a file of the exports", "--exports FILE");
    let hint = match fault {
        NixFault::Missing => "there is no such flake: check the spelling".to_owned(),
        NixFault::Fetch => format!(
            "it could not be downloaded: try again where its server can be reached, or {directory}"
        ),
        NixFault::NoFlake => format!(
            "name the directory that holds flake.nix, or with a reference its ?dir=; without \
             one, {exports} or a snapshot will do"
        ),
        NixFault::Untracked(file) => {
            let file = file.to_string_lossy();
            let file = printable::argument(&file, "FILE");
            format!("nix sees only what git knows: git add {file}")
        }
        NixFault::Syntax => "correct the file at the line that nix names".to_owned(),
        NixFault::Unlocked => "its inputs are not locked: run nix flake lock in it".to_owned(),
        NixFault::Impure => format!(
            "it depends on something outside of its own files, which is not looked at{}",
            either(" unless you trust it", "; if you trust it: --impure")
        ),
        NixFault::Download => format!(
            "something that it asks for could not be downloaded: try again where the server can \
             be reached; a snapshot or {exports} needs none"
        ),
        NixFault::Denied => format!(
            "nix may not use what it names: run this as the user whose nix it is, or have nix's \
             daemon run; a snapshot or {exports} needs no nix"
        ),
        NixFault::Absent => "the file that nix names is not in the clan: add it, or correct the \
                             line that names it"
            .to_owned(),
        NixFault::NotRegular => "make it a file, or remove it".to_owned(),
        NixFault::Submodule => format!(
            "with submodules=1 in its query nix fetches them; or name a directory that has them{}",
            caller.flags(" with --flake DIR")
        ),
        NixFault::Repository => format!(
            "name the directory itself{}, or use path: in the place of git+file:",
            caller.flags(" with --flake DIR")
        ),
        NixFault::Evaluation => {
            return vec![
                "a var that was never generated may be missing: clan vars generate".to_owned(),
                format!(
                    "a file {} or a snapshot needs no nix",
                    either("of the exports", "with --exports FILE")
                ),
            ];
        }
    };
    vec![hint]
}

/// What would help, each once, in the order of the attempts. Where several networks have
/// failed, each hint begins with those that it is about.
fn of_attempts(attempts: &[Attempt], caller: Caller) -> Vec<String> {
    let mut all: Vec<(String, Vec<&str>)> = Vec::new();
    for attempt in attempts {
        let Some(hint) = of_cause(&attempt.cause, caller) else { continue };
        let network = attempt.network.as_str();
        match all.iter_mut().find(|(known, _)| *known == hint) {
            Some((_, networks)) if networks.contains(&network) => {}
            Some((_, networks)) => networks.push(network),
            None => all.push((hint, vec![network])),
        }
    }
    let is_one = attempts.windows(2).all(|pair| match pair {
        [one, other] => one.network == other.network,
        _ => true,
    });
    let line = |(hint, networks): (String, Vec<&str>)| match is_one {
        true => hint,
        false => format!("{}: {hint}", Printable(&networks.join(", "))),
    };
    all.into_iter().map(line).collect()
}

/// Names in the order in which people look for one.
fn sorted(names: &[String]) -> String {
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.sort_unstable();
    names.join(", ")
}

/// What was tried, or that nothing was.
fn tried_or(tried: &[String], nothing: &str) -> String {
    if tried.is_empty() { nothing.to_owned() } else { format!("tried {}", tried.join(", ")) }
}

#[cfg(test)]
mod tests;
