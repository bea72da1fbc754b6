//! Why a secret host that a snapshot may have is not to be had here, in words.

use crate::printable::Printable;

/// Most names that are listed.
const MAX_SHOWN: usize = 10;

/// What stands between us and the secret hosts of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SealedFault {
    /// No key opens them; what was tried.
    Closed(Vec<String>),
    /// Those that are for this machine, or for a key that is here, are damaged.
    Broken {
        /// Whom they are for.
        whose: String,
        /// What is wrong with them.
        reason: String,
    },
    /// The host is not among those that were opened, which are for this machine or key.
    NotAmong(String),
}

impl SealedFault {
    pub(super) fn text(&self, whose: &[String], here: Option<&str>) -> String {
        let named = here.filter(|here| whose.iter().any(|name| name == here));
        match (self, named, here) {
            (Self::NotAmong(of), _, _) => {
                format!("it is not one of the secret hosts that the snapshot has for {}", shown(of))
            }
            (Self::Broken { whose, reason }, _, _) => {
                let whose = shown(whose);
                format!("the secret hosts that the snapshot has for {whose} are damaged: {reason}")
            }
            (Self::Closed(_), Some(here), _) => format!(
                "the snapshot has secret hosts for this machine, {}, and no key here decrypts them",
                shown(here)
            ),
            (Self::Closed(_), None, here) => {
                let mut names: Vec<String> =
                    whose.iter().take(MAX_SHOWN).map(|name| shown(name)).collect();
                if whose.len() > MAX_SHOWN {
                    names.push("others".to_owned());
                }
                let here =
                    here.map(|here| format!(", but not for this computer ({})", shown(here)));
                format!(
                    "the snapshot has secret hosts for {}{}, and no key here decrypts them",
                    names.join(", "),
                    here.unwrap_or_default()
                )
            }
        }
    }
}

fn shown(name: &str) -> String {
    Printable(name).to_string()
}
