//! How much work one value is worth. Owns the bounds on what is tried to open
//! it: age headers do not say for whom they are, so every key is tried on every
//! recipient, and whoever writes the file decides how many there are.

use std::cell::Cell;

use super::closed::Closed;

/// Most recipients of one file: a clan of some hundred machines with a secret
/// that all of them share.
pub(super) const MAX_RECIPIENTS: usize = 1000;

/// Most tries for one value, its machine keys included. One is a key agreement
/// on X25519, some 0.1 ms; a hundred recipients and twenty identities take 2,000.
const MAX_TRIES: usize = 8192;

/// What is left for one value.
pub(super) struct Effort(Cell<usize>);

impl Default for Effort {
    fn default() -> Self {
        Self(Cell::new(MAX_TRIES))
    }
}

impl Effort {
    /// Notes that `tries` follow.
    ///
    /// # Errors
    /// [`Closed::TooMuch`] when there were too many of them already.
    pub(super) fn spend(&self, tries: usize) -> Result<(), Closed> {
        let left = self.0.get().checked_sub(tries);
        // Nothing cheaper is tried either: the answer must not depend on it.
        self.0.set(left.unwrap_or(0));
        left.map(|_| ()).ok_or(Closed::TooMuch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effort_ends_and_stays_ended() {
        let effort = Effort::default();
        assert_eq!(effort.spend(MAX_TRIES - 1), Ok(()));
        assert_eq!(effort.spend(2), Err(Closed::TooMuch));
        assert_eq!((effort.spend(1), effort.spend(0)), (Err(Closed::TooMuch), Ok(())));
    }
}
