//! `VarRef`: the name of a generated value. Owns the rule that a name can
//! never leave the folder of its store; knows no file and no store.

use std::fmt;

use crate::error::{Error, Result};

/// Longest component that any file system Clan runs on can hold, in bytes.
const MAX_COMPONENT: usize = 255;

/// Which generated value is meant: machine, generator and file. Whether it is
/// per machine or shared only the store knows, as in Clan's own
/// `clan_lib/vars`. Every component is a single path component by construction.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VarRef {
    machine: String,
    generator: String,
    file: String,
}

impl VarRef {
    /// What precedes a var, where an option takes a file or a var.
    pub(crate) const PREFIX: &str = "var:";

    /// # Errors
    /// [`Error::VarName`] when a component is empty, too long, `.` or `..`, or
    /// holds a slash or a control character.
    pub fn new(machine: &str, generator: &str, file: &str) -> Result<Self> {
        Ok(Self {
            machine: component(machine)?,
            generator: component(generator)?,
            file: component(file)?,
        })
    }

    /// Parses `GENERATOR/FILE`, as `clan vars get MACHINE GENERATOR/FILE` does.
    ///
    /// # Errors
    /// [`Error::VarName`] as for [`VarRef::new`], and when there is no slash.
    pub fn parse(machine: &str, id: &str) -> Result<Self> {
        let (generator, file) = id.split_once('/').ok_or_else(|| Error::VarName {
            name: id.to_owned(),
            reason: "expected GENERATOR/FILE",
        })?;
        Self::new(machine, generator, file)
    }

    /// The machine whose value it is.
    pub fn machine(&self) -> &str {
        &self.machine
    }

    /// The generator that made it.
    pub fn generator(&self) -> &str {
        &self.generator
    }

    /// The file among the generator's files.
    pub fn file(&self) -> &str {
        &self.file
    }
}

/// `generator/file`, which is no secret.
impl fmt::Display for VarRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.generator, self.file)
    }
}

fn component(name: &str) -> Result<String> {
    let reason = if name.is_empty() {
        "a component is empty"
    } else if name == "." || name == ".." {
        "a component is . or .."
    } else if name.contains('/') {
        "a component holds a slash"
    } else if name.chars().any(char::is_control) {
        "a component holds a control character"
    } else if name.len() > MAX_COMPONENT {
        "a component is longer than 255 bytes"
    } else {
        return Ok(name.to_owned());
    };
    Err(Error::VarName { name: name.to_owned(), reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_leave_the_store_are_refused() {
        for bad in ["", ".", "..", "a/b", "/etc", "a\0b", "a\nb", &"x".repeat(256)] {
            assert!(VarRef::new(bad, "g", "f").is_err(), "{bad:?} as machine");
            assert!(VarRef::new("m", bad, "f").is_err(), "{bad:?} as generator");
            assert!(VarRef::new("m", "g", bad).is_err(), "{bad:?} as file");
        }
        for bad in ["", "g", "g/", "/f", "g/../f", "../f", "g/f/h"] {
            assert!(VarRef::parse("m", bad).is_err(), "{bad:?}");
        }
        assert_eq!(
            VarRef::parse("m", "openssh/ssh.id_ed25519").unwrap().to_string(),
            "openssh/ssh.id_ed25519"
        );
    }
}
