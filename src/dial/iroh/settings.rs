//! What the user says of iroh. Owns the forms in which he says so; where he says nothing,
//! it is the public servers, which dumbpipe uses.

use iroh::{RelayMode, RelayUrl};

use super::addresses::url;
use super::discovery::Discovery;

/// What the user says of iroh.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    relays: Option<Vec<RelayUrl>>,
    discovery: Option<Vec<Discovery>>,
}

/// The word for an empty list.
const NONE: &str = "none";

impl Settings {
    /// From what was said of relays and of discovery: the public ones where that is
    /// nothing, and none where it is `none`.
    ///
    /// # Errors
    /// What cannot be used, and why.
    pub fn of(relays: &[String], discovery: &[String]) -> Result<Self, (String, &'static str)> {
        Ok(Self {
            relays: all(relays, url)?,
            discovery: all(discovery, |text| text.parse::<Discovery>())?,
        })
    }

    /// The relays that we are at.
    pub(super) fn relays(&self) -> RelayMode {
        match &self.relays {
            None => RelayMode::Default,
            Some(none) if none.is_empty() => RelayMode::Disabled,
            Some(relays) => RelayMode::custom(relays.iter().cloned()),
        }
    }

    /// Those that the user has named.
    pub(super) fn own_relays(&self) -> &[RelayUrl] {
        self.relays.as_deref().unwrap_or_default()
    }

    /// Where addresses are looked for.
    pub(super) fn discovery(&self) -> Vec<Discovery> {
        self.discovery.clone().unwrap_or_else(Discovery::public)
    }
}

fn all<T>(
    texts: &[String],
    one: impl Fn(&str) -> Result<T, &'static str>,
) -> Result<Option<Vec<T>>, (String, &'static str)> {
    let one = |text: &String| one(text).map_err(|why| (text.clone(), why));
    match texts {
        [] => Ok(None),
        none if none.iter().all(|text| text == NONE) => Ok(Some(Vec::new())),
        texts => texts.iter().map(one).collect::<Result<_, _>>().map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(all: &[&str]) -> Vec<String> {
        all.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn the_public_servers_are_used_where_nothing_is_said() {
        let settings = Settings::of(&[], &[]).unwrap();
        assert!(matches!(settings.relays(), RelayMode::Default));
        assert_eq!(settings.discovery(), Discovery::public());
        let none = Settings::of(&texts(&["none", "none"]), &texts(&["none"])).unwrap();
        assert!(matches!(none.relays(), RelayMode::Disabled));
        assert_eq!(none.discovery(), []);
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let own = Settings::of(&texts(&["https://a.example", "http://127.0.0.1:1"]), &[]).unwrap();
        assert_eq!(own.own_relays().len(), 2);
        for bad in ["", "a.example", "file:///etc/passwd", "none,none"] {
            let (text, _) = Settings::of(&texts(&["https://a.example", bad]), &[]).unwrap_err();
            assert_eq!(text, bad);
        }
        assert_eq!(Settings::of(&[], &texts(&["none", "a.example"])).unwrap().discovery().len(), 2);
    }
}
