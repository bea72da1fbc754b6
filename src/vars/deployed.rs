//! What Clan has deployed on this very machine (`clan.core.vars.generators.*.
//! files.*.path`). Owns its layouts below `/run`, and the rule whose values
//! these are: this machine's, and nobody else's.

use std::path::{Path, PathBuf};

use super::placement::Placement;
use super::{Environment, MAX_VALUE, file};
use crate::error::{Error, Result};
use crate::model::VarRef;

/// By sops-nix below `secrets/vars`, by the others below `secrets`.
const TOPS: [&str; 4] = ["secrets/vars", "secrets", "user-secrets", "secrets-for-users/vars"];

/// The secrets below `/run`.
pub(super) struct Deployed {
    /// Canonical.
    root: PathBuf,
    /// The machine that we run on.
    machine: Option<String>,
}

impl Deployed {
    pub(super) fn new(environment: &Environment) -> Self {
        let root = environment.in_root("run");
        let root = root.canonicalize().unwrap_or(root);
        Self { root, machine: environment.host_name.clone() }
    }

    /// The value of `var`, if it lies here and is its machine's: what is not
    /// said to be shared is this machine's own, and would be taken for another's
    /// if its name were all that counts.
    ///
    /// # Errors
    /// [`Error::VarBroken`] and [`Error::TooLarge`].
    pub(super) fn read(&self, var: &VarRef, placements: &[Placement]) -> Result<Option<Vec<u8>>> {
        let is_own = self.machine.as_deref() == Some(var.machine());
        let may_count = |placement: &&Placement| is_own || placement.is_shared();
        let mut dirs: Vec<PathBuf> =
            placements.iter().filter(may_count).map(|placement| placement.dir(var)).collect();
        if is_own {
            // Until August 2026 the path had no placement.
            dirs.push([var.generator(), var.file()].iter().collect());
        }
        for dir in dirs {
            for top in TOPS {
                let path = Path::new(top).join(&dir);
                // A generator may be called as a folder here.
                if self.root.join(&path).is_dir() {
                    continue;
                }
                match file::read(&self.root, &path, MAX_VALUE) {
                    Ok(None) => {}
                    // For root's eyes only, most of them; an identity may do.
                    Err(Error::File { .. }) => {}
                    done => return done,
                }
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::prompter::Nobody;
    use crate::vars::Vars;

    /// A machine, and perhaps a clan on it.
    struct Host {
        dir: tempfile::TempDir,
        name: &'static str,
    }

    impl Host {
        fn new(name: &'static str) -> Self {
            let host = Self { dir: tempfile::tempdir().unwrap(), name };
            host.write("clan/.clan-flake", b"");
            host
        }

        fn write(&self, path: &str, bytes: &[u8]) {
            let path = self.dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }

        fn vars(&self, has_clan: bool) -> Vars {
            let environment = Environment {
                root: Some(self.dir.path().to_owned()),
                host_name: Some(self.name.to_owned()),
                ..Environment::default()
            };
            let flake = has_clan.then(|| self.dir.path().join("clan"));
            Vars::new(flake, Vec::new(), environment, Arc::new(Nobody))
        }

        /// What var `wg/address` of `machine` is, beside a clan and without one.
        fn both(&self, machine: &str) -> [Option<String>; 2] {
            let var = VarRef::new(machine, "wg", "address").unwrap();
            [true, false].map(|has_clan| {
                let value = self.vars(has_clan).reveal(&var).ok()?;
                Some(value.text().unwrap().expose().clone())
            })
        }
    }

    #[test]
    fn what_is_deployed_here_is_no_other_machines() {
        for path in [
            "run/secrets/vars/wg/address",
            "run/secrets/wg/address",
            "run/user-secrets/wg/address",
            "run/secrets-for-users/vars/wg/address",
            "run/secrets/vars/per-machine/alpha/wg/address",
            "run/secrets/per-machine/alpha/wg/address",
        ] {
            let host = Host::new("alpha");
            host.write(path, b"10.0.0.1\n");
            let own = Some("10.0.0.1".to_owned());
            assert_eq!(host.both("alpha"), [own.clone(), own], "{path}");
            assert_eq!(host.both("beta"), [None, None], "{path}");
        }
        // Neither is what says that it is another's: nobody has it but that one.
        let host = Host::new("alpha");
        host.write("run/secrets/vars/per-machine/beta/wg/address", b"10.0.0.2");
        assert_eq!(host.both("beta"), [None, None]);
        // A host that nobody has named is no machine.
        let vars = Vars::new(
            None,
            Vec::new(),
            Environment { root: Some(host.dir.path().to_owned()), ..Environment::default() },
            Arc::new(Nobody),
        );
        let var = VarRef::new("beta", "wg", "address").unwrap();
        assert!(matches!(vars.reveal(&var), Err(Error::NoVars { .. })));
    }

    #[test]
    fn what_is_shared_counts_for_every_machine_that_has_none_of_its_own() {
        let host = Host::new("alpha");
        host.write("run/secrets/vars/shared/wg/address", b"10.0.0.9");
        let shared = Some("10.0.0.9".to_owned());
        assert_eq!(host.both("beta"), [shared.clone(), shared.clone()]);
        // Its own is in the clan, though nobody here can open it.
        let recipient = age::x25519::Identity::generate().to_public();
        let sealed = age::encrypt(&recipient, b"10.0.0.2").unwrap();
        let beta = "clan/secrets/clan-vars/per-machine/beta/wg/address/address.age";
        host.write(beta, &sealed);
        assert_eq!(host.both("beta"), [None, shared]);
    }

    #[test]
    fn the_clan_comes_before_what_is_deployed() {
        let host = Host::new("alpha");
        host.write("run/secrets/vars/wg/address", b"of old");
        host.write("clan/vars/shared/wg/address/value", b"of the clan");
        let [beside, alone] = host.both("alpha");
        assert_eq!((beside.as_deref(), alone.as_deref()), (Some("of the clan"), Some("of old")));
        // A secret that only the machine can open has been opened for it.
        let host = Host::new("alpha");
        host.write("run/secrets/vars/wg/address", b"opened");
        let recipient = age::x25519::Identity::generate().to_public();
        let sealed = age::encrypt(&recipient, b"x").unwrap();
        host.write("clan/secrets/clan-vars/per-machine/alpha/wg/address/address.age", &sealed);
        let opened = Some("opened".to_owned());
        assert_eq!(host.both("alpha"), [opened.clone(), opened]);
    }

    #[test]
    fn folders_of_the_layout_are_no_values() {
        let host = Host::new("alpha");
        host.write("run/secrets/vars/wg/address", b"x");
        let var = VarRef::new("alpha", "vars", "wg").unwrap();
        assert!(matches!(host.vars(true).reveal(&var), Err(Error::VarMissing { .. })));
        let var = VarRef::new("alpha", "wg", "address").unwrap();
        assert_eq!(host.vars(true).reveal(&var).unwrap().bytes.expose(), b"x");
    }
}
