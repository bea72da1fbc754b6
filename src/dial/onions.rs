//! The way to onion services for whoever is himself dialled on the way to something else.
//! Owns that there is one Tor in the process, whoever needs it first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::by_address::Ways;
use super::carrier::{Carrier, Setup};
use super::direct::Direct;
use super::{Dial, Settings, SocketOptions, tor};

/// What was prepared, by its technology.
pub(super) type Prepared = Arc<Mutex<HashMap<&'static str, Arc<dyn Dial>>>>;

/// What dials a technology, from what was prepared.
pub(super) fn prepared(all: &Prepared, carrier: &dyn Carrier, setup: &Setup<'_>) -> Arc<dyn Dial> {
    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
    all.entry(carrier.name()).or_insert_with(|| carrier.prepare(setup)).clone()
}

/// What leads to onion services, as long as the dialler is there.
#[derive(Clone, Default)]
pub(super) struct Onions(Option<Arc<Source>>);

struct Source {
    settings: Settings,
    socket_options: SocketOptions,
    /// It holds ways, and these hold this.
    prepared: Weak<Mutex<HashMap<&'static str, Arc<dyn Dial>>>>,
}

impl Onions {
    /// As a dialler with these settings has it. Starts nothing.
    pub(super) fn of(
        settings: &Settings,
        socket_options: &SocketOptions,
        prepared: &Prepared,
    ) -> Self {
        let (settings, socket_options) = (settings.clone(), socket_options.clone());
        Self(Some(Arc::new(Source {
            settings,
            socket_options,
            prepared: Arc::downgrade(prepared),
        })))
    }

    /// The dialler; none where there is no dialler any more.
    pub(super) fn dialler(&self) -> Option<Arc<dyn Dial>> {
        let Source { settings, socket_options, prepared: all } = self.0.as_deref()?;
        let all = all.upgrade()?;
        let direct: Arc<dyn Dial> = Arc::new(Direct::new(socket_options.clone(), Ways::none()));
        let setup = Setup { settings, socket_options, direct: &direct };
        Some(prepared(&all, &tor::Row, &setup))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_tor_and_none_without_its_dialler() {
        let all = Prepared::default();
        let onions = Onions::of(&Settings::default(), &SocketOptions::default(), &all);
        let first = onions.dialler().unwrap();
        assert!(Arc::ptr_eq(&first, &onions.clone().dialler().unwrap()));
        assert_eq!(all.lock().unwrap().len(), 1);
        drop(all);
        assert!(onions.dialler().is_none() && Onions::default().dialler().is_none());
    }
}
