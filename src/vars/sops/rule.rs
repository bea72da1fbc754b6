//! Which values of a document are encrypted (sops, `shouldBeEncrypted`). Owns
//! the rules by key name; rules by comment are refused where a store has them.

use regex_lite::Regex;

/// Longest pattern, in bytes.
const MAX_PATTERN: usize = 4096;

/// One rule for the whole document. It looks at every key on the way to a
/// value; list indexes are no keys.
pub(super) enum Rule {
    UnencryptedSuffix(String),
    EncryptedSuffix(String),
    UnencryptedRegex(Regex),
    EncryptedRegex(Regex),
    /// Values are encrypted unless a comment says otherwise.
    UnencryptedComment,
    /// Values are not encrypted unless a comment says so.
    EncryptedComment,
}

impl Default for Rule {
    fn default() -> Self {
        Self::UnencryptedSuffix("_unencrypted".to_owned())
    }
}

impl Rule {
    /// The fields of the metadata that hold a rule.
    pub(super) const NAMES: [&str; 6] = [
        "unencrypted_suffix",
        "encrypted_suffix",
        "unencrypted_regex",
        "encrypted_regex",
        "unencrypted_comment_regex",
        "encrypted_comment_regex",
    ];

    /// The rule in field `name`.
    ///
    /// # Errors
    /// When the pattern is not one we can follow.
    pub(super) fn parse(name: &str, pattern: &str) -> Result<Self, String> {
        let regex = || {
            let pattern = Some(pattern).filter(|pattern| pattern.len() <= MAX_PATTERN);
            pattern
                .and_then(|pattern| Regex::new(pattern).ok())
                .ok_or_else(|| format!("sops.{name} is no regular expression that is supported"))
        };
        Ok(match name {
            "unencrypted_suffix" => Self::UnencryptedSuffix(pattern.to_owned()),
            "encrypted_suffix" => Self::EncryptedSuffix(pattern.to_owned()),
            "unencrypted_regex" => Self::UnencryptedRegex(regex()?),
            "encrypted_regex" => Self::EncryptedRegex(regex()?),
            "unencrypted_comment_regex" => Self::UnencryptedComment,
            _ => Self::EncryptedComment,
        })
    }

    /// Whether it depends on comments, which JSON does not have.
    pub(super) fn needs_comments(&self) -> bool {
        matches!(self, Self::UnencryptedComment | Self::EncryptedComment)
    }

    /// Whether the value at `path` is encrypted.
    pub(super) fn encrypts(&self, path: &[&str]) -> bool {
        match self {
            Self::UnencryptedSuffix(suffix) => !path.iter().any(|key| key.ends_with(suffix)),
            Self::EncryptedSuffix(suffix) => path.iter().any(|key| key.ends_with(suffix)),
            Self::UnencryptedRegex(regex) => !path.iter().any(|key| regex.is_match(key)),
            Self::EncryptedRegex(regex) => path.iter().any(|key| regex.is_match(key)),
            Self::UnencryptedComment => true,
            Self::EncryptedComment => false,
        }
    }
}
