//! What becomes of a key that no list knows: the DNS may vouch for it, the user may
//! be asked, or it is its first use.

use russh::keys::{HashAlg, PublicKey};

use super::{Decision, HostKeyCheck, HostKeyPolicy, Wording, Worth, describe, stake, warning};
use crate::printable;
use crate::ssh::known_hosts::KnownHosts;

/// What the DNS says of a key that nobody else knows, if it says anything.
pub(super) fn decide_by_dns(policy: &HostKeyPolicy, key: &PublicKey) -> Option<Decision> {
    let algorithm = key.algorithm();
    let mut about =
        policy.sshfp.iter().filter(|sshfp| sshfp.is_about(algorithm.as_str())).peekable();
    about.peek()?;
    let bytes = key.to_bytes().ok()?;
    Some(match about.any(|sshfp| sshfp.is_of(&bytes)) {
        true => Decision::Accept {
            note: None,
            by: "its SSHFP record, which DNSSEC proves".to_owned(),
            remember: false,
            worth: Worth::Enough,
        },
        false => Decision::Reject {
            warning: Vec::new(),
            error: policy.error(format!(
                "{} is not the one in its SSHFP records, which DNSSEC proves",
                describe(key)
            )),
            changed: true,
        },
    })
}

pub(super) fn decide_unknown(
    policy: &HostKeyPolicy,
    known: &KnownHosts,
    key: &PublicKey,
) -> Decision {
    let reject = |warning: Vec<String>, why: &str| Decision::Reject {
        warning,
        error: policy.unverified(key, why),
        changed: false,
    };
    match policy.check {
        HostKeyCheck::None => decide_unchecked(policy, key),
        HostKeyCheck::Strict => {
            let warning = match policy.wording {
                Wording::Own => Vec::new(),
                Wording::Ssh => vec![warning::strict(policy, key)],
            };
            reject(warning, "the host key check is strict")
        }
        _ if !policy.allow_first_use => {
            reject(Vec::new(), "another route to this machine has just shown a wrong key")
        }
        HostKeyCheck::Ask => Decision::Ask {
            question: warning::question(policy, known, key),
            fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
        },
        HostKeyCheck::AcceptNew | HostKeyCheck::Tofu | HostKeyCheck::No => first_use(policy, key),
    }
}

fn first_use(policy: &HostKeyPolicy, key: &PublicKey) -> Decision {
    let kept = match policy.files.user.first() {
        Some(path) => format!("stored in {}", printable::line(&path.to_string_lossy())),
        None => "not stored, for there is no known_hosts file".into(),
    };
    let note = format!(
        "host key of {} is new, trusted on first use and {kept}: {}",
        printable::line(&policy.shown),
        describe(key)
    );
    let remember = !policy.files.user.is_empty();
    // ssh(1) says what was added when that is done.
    let is_said = policy.wording == Wording::Own || !remember;
    Decision::Accept {
        note: is_said.then_some(note),
        by: "nothing but this first use".to_owned(),
        remember,
        worth: Worth::Enough,
    }
}

/// A key that nobody knows and nobody checks is worth no more than a wrong one.
fn decide_unchecked(policy: &HostKeyPolicy, key: &PublicKey) -> Decision {
    let shown = printable::line(&policy.shown);
    let mut lines = vec![format!("host key of {shown} is not checked: {}", describe(key))];
    lines.extend(policy.stakes.withheld());
    if policy.stakes.gives_up {
        lines.push(stake::GIVEN_UP.to_owned());
        let error = policy.unverified(key, "it is not checked");
        return Decision::Reject { warning: lines, error, changed: false };
    }
    Decision::Accept {
        note: Some(lines.join("\n")),
        by: "nothing: it is not checked".to_owned(),
        remember: false,
        worth: Worth::Nothing("the host key was not checked"),
    }
}
