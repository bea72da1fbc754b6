//! Identities of age plugins, `AGE-PLUGIN-NAME-1…` (C2SP age-plugin): hardware
//! tokens above all. Starts `age-plugin-NAME` from the path when it is needed,
//! through the age crate. Owns whom its questions go to.

use std::sync::Arc;

use age::plugin::{Identity, IdentityPluginV1};
use age::secrecy::SecretString;

use crate::printable::lines;
use crate::prompter::Prompter;

/// What a line with such an identity begins with.
pub(super) const PREFIX: &str = "AGE-PLUGIN-";

/// A plugin with all identities of one file that are for it.
pub(super) type Plugin = IdentityPluginV1<Questions>;

/// The plugins of `identities`, one each.
///
/// # Errors
/// Which program is missing.
pub(super) fn plugins(
    identities: &[Identity],
    prompter: &Arc<dyn Prompter>,
) -> Result<Vec<Plugin>, String> {
    let mut names: Vec<&str> = identities.iter().map(Identity::plugin).collect();
    names.sort_unstable();
    names.dedup();
    let plugin = |name: &str| {
        IdentityPluginV1::new(name, identities, Questions(prompter.clone()))
            .map_err(|_| format!("the program age-plugin-{name} is not in the path"))
    };
    names.into_iter().map(plugin).collect()
}

/// A plugin's questions, put to the user. Its texts are shown printable.
#[derive(Clone)]
pub(super) struct Questions(Arc<dyn Prompter>);

impl age::Callbacks for Questions {
    fn display_message(&self, message: &str) {
        self.0.tell(&lines(message));
    }

    fn confirm(&self, message: &str, yes: &str, no: Option<&str>) -> Option<bool> {
        let (yes, no) = (lines(yes), lines(no.unwrap_or("no")));
        let answer = self.0.ask(&format!("{} ({yes}/{no}) ", lines(message)), true)?;
        let answer = answer.expose().trim();
        Some(answer.eq_ignore_ascii_case(&yes) || answer.eq_ignore_ascii_case("y"))
    }

    fn request_public_string(&self, description: &str) -> Option<String> {
        self.0.ask(&format!("{}: ", lines(description)), true).map(|text| text.expose().clone())
    }

    fn request_passphrase(&self, description: &str) -> Option<SecretString> {
        let answer = self.0.ask(&format!("{}: ", lines(description)), false)?;
        Some(SecretString::from(answer.expose().as_str()))
    }
}
