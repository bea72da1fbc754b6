//! `Placement`: whether a var is of one machine or of all that share it. Owns
//! the folders that this means in every store.

use std::path::PathBuf;

use crate::model::VarRef;

/// Where a var belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Placement {
    /// To one machine.
    PerMachine,
    /// To every machine that has the generator.
    Shared,
}

impl Placement {
    /// In the order in which they count.
    pub(super) const ALL: [Self; 2] = [Self::PerMachine, Self::Shared];

    /// The folder of a machine's vars, below the roots of every store.
    pub(super) fn folder(self, machine: &str) -> PathBuf {
        match self {
            Self::PerMachine => ["per-machine", machine].iter().collect(),
            Self::Shared => PathBuf::from("shared"),
        }
    }

    /// The folder of a var.
    pub(super) fn dir(self, var: &VarRef) -> PathBuf {
        self.folder(var.machine()).join(var.generator()).join(var.file())
    }

    pub(super) fn is_shared(self) -> bool {
        self == Self::Shared
    }
}
