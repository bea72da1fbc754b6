//! Which shells, commands and forwarded connections use a session. Owns the list; a
//! master that nobody uses may end.

use std::collections::BTreeMap;

use tokio::sync::watch;

/// What uses one session, by numbers that are free again afterwards.
type Uses = BTreeMap<u32, String>;

/// The uses of one session.
#[derive(Debug, Clone, Default)]
pub struct Leases(watch::Sender<Uses>);

/// One of them, until dropped.
#[derive(Debug)]
pub struct Lease {
    number: u32,
    leases: watch::Sender<Uses>,
}

impl Leases {
    /// Counts one more; what it is, is printable.
    pub fn begin(&self, what: impl Into<String>) -> Lease {
        let mut number = 0;
        self.0.send_modify(|uses| {
            number = (0..).find(|number| !uses.contains_key(number)).unwrap_or_default();
            uses.insert(number, what.into());
        });
        Lease { number, leases: self.0.clone() }
    }

    /// What there is, by number.
    pub fn all(&self) -> Vec<(u32, String)> {
        self.0.borrow().iter().map(|(number, what)| (*number, what.clone())).collect()
    }

    /// Waits until there are none.
    pub async fn none(&self) {
        // The sender is here, so that this cannot fail.
        let _ = self.0.subscribe().wait_for(BTreeMap::is_empty).await;
    }

    /// Waits until there is one.
    pub async fn any(&self) {
        let _ = self.0.subscribe().wait_for(|uses| !uses.is_empty()).await;
    }
}

impl Lease {
    /// Says better what it is.
    pub fn is(&self, what: impl Into<String>) {
        self.leases.send_modify(|uses| {
            uses.insert(self.number, what.into());
        });
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.leases.send_modify(|uses| {
            uses.remove(&self.number);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_free_again_when_its_use_has_ended() {
        let leases = Leases::default();
        let (first, second) = (leases.begin("a"), leases.begin("b"));
        drop(first);
        second.is("better");
        let third = leases.begin("c");
        assert_eq!(leases.all(), [(0, "c".to_owned()), (1, "better".to_owned())]);
        drop((second, third));
        assert!(leases.all().is_empty());
    }
}
