//! What strangers may make us compute. Owns the rate.

use std::time::Duration;

/// Enough for all who can be above us, twice.
const MOST: u32 = 2048;
/// And for as many lookups as there are in a large network.
const A_SECOND: u32 = 200;

/// So many signatures can still be checked or made.
pub(super) struct Budget {
    left: u32,
    filled: Duration,
}

impl Budget {
    pub(super) fn new() -> Self {
        Self { left: MOST, filled: Duration::ZERO }
    }

    /// Whether there is enough left; then it is spent.
    pub(super) fn spend(&mut self, cost: u32, now: Duration) -> bool {
        let seconds = now.saturating_sub(self.filled).as_secs();
        if seconds > 0 {
            let more = u32::try_from(seconds).unwrap_or(u32::MAX).saturating_mul(A_SECOND);
            self.left = self.left.saturating_add(more).min(MOST);
            self.filled = now;
        }
        let left = self.left.checked_sub(cost);
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_spent_and_comes_back() {
        let mut budget = Budget::new();
        let now = Duration::from_secs(1_790_000_000);
        assert!((0..MOST).all(|_| budget.spend(1, now)));
        assert!(!budget.spend(1, now));
        let later = now + Duration::from_secs(1);
        assert!((0..A_SECOND).all(|_| budget.spend(1, later)));
        assert!(!budget.spend(1, later));
    }
}
