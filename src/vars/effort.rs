//! How much work one value is worth, and all of them together. Owns the bounds on
//! what is tried to open them: age headers do not say for whom they are, so every key
//! is tried on every recipient, and whoever writes the files decides how many there
//! are.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::closed::Closed;

/// Most recipients of one file: a clan of some hundred machines with a secret
/// that all of them share.
pub(super) const MAX_RECIPIENTS: usize = 1000;

/// Most tries for one value, its machine keys included. One is a key agreement
/// on X25519, some 0.1 ms; a hundred recipients and twenty identities take 2,000.
const MAX_TRIES: usize = 8192;

/// Most tries for all values of a process, seconds of work. A machine with two hundred
/// vars for six recipients each, and three identities, takes 3,600.
const MAX_ALL_TRIES: usize = 20_000;

/// What is left for all values.
#[derive(Clone)]
pub(super) struct Budget(Arc<AtomicUsize>);

impl Default for Budget {
    fn default() -> Self {
        Self(Arc::new(AtomicUsize::new(MAX_ALL_TRIES)))
    }
}

/// What is left for one value.
pub(super) struct Effort {
    left: Cell<usize>,
    budget: Budget,
}

impl Default for Effort {
    fn default() -> Self {
        Self::of(&Budget::default())
    }
}

impl Effort {
    /// For one of the values that share a budget.
    pub(super) fn of(budget: &Budget) -> Self {
        Self { left: Cell::new(MAX_TRIES), budget: budget.clone() }
    }

    /// Notes that `tries` follow.
    ///
    /// # Errors
    /// [`Closed::TooMuch`] when there were too many of them already.
    pub(super) fn spend(&self, tries: usize) -> Result<(), Closed> {
        let left = self.left.get().checked_sub(tries);
        // Nothing cheaper is tried either: the answer must not depend on it.
        self.left.set(left.unwrap_or(0));
        left.ok_or(Closed::TooMuch)?;
        let spent = |left: usize| Some(left.saturating_sub(tries));
        match self.budget.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spent) {
            Ok(left) if left >= tries => Ok(()),
            _ => Err(Closed::TooMuch),
        }
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

    #[test]
    fn many_values_together_take_no_more_than_a_few() {
        let budget = Budget::default();
        let spend = |tries| Effort::of(&budget).spend(tries);
        assert_eq!((spend(MAX_TRIES), spend(MAX_TRIES)), (Ok(()), Ok(())));
        assert_eq!((spend(MAX_TRIES), spend(1)), (Err(Closed::TooMuch), Err(Closed::TooMuch)));
    }
}
