//! Whose key we use in Yggdrasil. Owns where it is looked for: where the user says, and else
//! among what is deployed here, whose daemon is down.

use std::path::PathBuf;
use std::sync::Arc;

use super::identity::Identity;
use crate::env::Env;
use crate::error::LeafFault;
use crate::file;
use crate::host_name;
use crate::model::VarRef;
use crate::secret::Secret;
use crate::vars::Vars;

/// What precedes the machine whose var holds the key.
const VAR: &str = "var:";
/// Clan's generator of the service, and the file with the key.
const GENERATOR: &str = "yggdrasil";
const FILE: &str = "privateKey";
/// A key in PEM is not longer.
const MAX_FILE: u64 = 4096;

/// Where it lies.
#[derive(Clone)]
pub(super) enum Place {
    File(PathBuf),
    Var(String),
}

/// Where keys are.
#[derive(Clone)]
pub(super) struct Keys {
    named: Option<Place>,
    vars: Arc<Vars>,
}

impl Keys {
    pub(super) fn of(named: Option<&str>, vars: Arc<Vars>, env: &Env) -> Self {
        let place = |text: &str| match (text.strip_prefix(VAR), text.strip_prefix("~/"), env.home())
        {
            (Some(machine), ..) => Place::Var(machine.to_owned()),
            (None, Some(rest), Some(home)) => Place::File(home.join(rest)),
            _ => Place::File(PathBuf::from(text)),
        };
        Self { named: named.map(place), vars }
    }

    /// Ours; none where nobody has said which, and none is deployed here. Blocks: a var may
    /// take a token.
    pub(super) fn find(&self) -> Result<Option<Identity>, LeafFault> {
        let bad = LeafFault::BadKey;
        let bytes = match &self.named {
            Some(Place::File(path)) => {
                let read = file::read_named(path, MAX_FILE);
                Secret::new(read.map_err(|_| bad("its file cannot be read"))?)
            }
            Some(Place::Var(machine)) => {
                let var = VarRef::new(machine, GENERATOR, FILE)
                    .map_err(|_| bad("that is no name of a machine"))?;
                self.vars.reveal(&var).map_err(|_| bad("its var cannot be opened"))?.bytes
            }
            None => match self.deployed() {
                Some(bytes) => bytes,
                None => return Ok(None),
            },
        };
        let text = std::str::from_utf8(bytes.expose()).map_err(|_| bad("it is no text"))?;
        Identity::parse(text).map(Some).map_err(bad)
    }

    /// This machine's own, if we may read it.
    fn deployed(&self) -> Option<Secret<Vec<u8>>> {
        let var = VarRef::new(&host_name::short()?, GENERATOR, FILE).ok()?;
        self.vars.deployed(&var).ok()?
    }

    /// Whether another process may be in need of it.
    pub(super) fn are_named(&self) -> bool {
        self.named.is_some()
    }
}
