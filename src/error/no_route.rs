//! Why nothing says how to reach a machine.

use std::fmt;

/// Why no address of a machine is left; printable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NoRoute {
    text: String,
    /// Whether exports of the machine could not be evaluated, which may have its addresses.
    is_unevaluated: bool,
}

impl NoRoute {
    /// The same, where exports of the machine could not be evaluated.
    pub(crate) fn of_unevaluated(self) -> Self {
        Self { is_unevaluated: true, ..self }
    }

    /// The same, and this as well.
    pub(crate) fn and(self, more: &str) -> Self {
        Self { text: format!("{}, and {more}", self.text), ..self }
    }

    /// Whether exports of the machine could not be evaluated.
    pub(crate) fn is_unevaluated(&self) -> bool {
        self.is_unevaluated
    }
}

impl From<String> for NoRoute {
    fn from(text: String) -> Self {
        Self { text, is_unevaluated: false }
    }
}

impl fmt::Display for NoRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
