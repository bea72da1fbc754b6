//! Which vars and which machines there are. Owns looking through all places
//! without asking anybody for anything, and what is said of a var that is in
//! none of them.

use std::collections::BTreeMap;
use std::path::Path;

use super::identity::{Family, Round};
use super::placement::Placement;
use super::store::Store;
use super::{Kept, Listed, Vars, file};
use crate::error::{Error, Result};
use crate::model::VarRef;
use crate::nearest::nearest;
use crate::printable;

/// Most machines that an error lists.
const MAX_KNOWN: usize = 100;

/// Where a var is: in a store, or in the clear.
type Found<'a> = (VarRef, Placement, Option<&'a Store>);

impl Vars {
    /// Every var of `machine` and every shared one, by name; both where a
    /// machine has one of its own beside the shared one. Blocks, and asks
    /// nobody for anything.
    ///
    /// # Errors
    /// [`Error::VarName`] when no machine can have that name, [`Error::Identity`], and
    /// [`Error::File`] for a folder that cannot be read.
    pub fn list(&self, machine: &str) -> Result<Vec<Listed>> {
        // The user's own mistake in naming an identity is one for all vars.
        self.keyring.entries(Family::Age)?;
        let found = self.found(machine)?;
        // The machine's own comes before the shared one, and counts.
        let mut rows = Vec::with_capacity(found.len());
        let mut before = None;
        for found in &found {
            rows.push((found, before != Some(&found.0)));
            before = Some(&found.0);
        }
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let look = |(found, counts): &(&Found<'_>, bool)| self.look(found, *counts);
        // Opening one costs two multiplications on a curve.
        std::thread::scope(|scope| {
            let parts = rows.chunks(rows.len().div_ceil(threads).max(1));
            let workers: Vec<_> = parts
                .map(|part| scope.spawn(|| part.iter().map(look).collect::<Result<Vec<_>>>()))
                .collect();
            let mut all = Vec::with_capacity(rows.len());
            for worker in workers {
                let part = worker.join().map_err(|_| Error::System {
                    what: "a thread failed",
                    source: std::io::ErrorKind::Other.into(),
                })?;
                all.extend(part?);
            }
            all.extend(self.only_known(machine, &found));
            all.sort_by(|one, other| name(one).cmp(&name(other)));
            Ok(all)
        })
    }

    /// Those that a snapshot has, and nobody else.
    fn only_known(&self, machine: &str, found: &[Found<'_>]) -> Vec<Listed> {
        let is_found = |var: &VarRef| found.iter().any(|(other, ..)| other == var);
        let known = self.known.iter().filter(|(var, _)| var.machine() == machine);
        let others = known.filter(|(var, _)| !is_found(var));
        let row = |(var, value): (&VarRef, &String)| Listed {
            var: var.clone(),
            shared: false,
            counts: true,
            kept: Kept::Public(value.clone().into_bytes()),
        };
        others.map(row).collect()
    }

    /// `GENERATOR/FILE` of every var of a machine, and of the shared ones. Opens none.
    ///
    /// # Errors
    /// As for [`Vars::list`].
    pub fn names(&self, machine: &str) -> Result<Vec<String>> {
        let found = self.found(machine)?;
        let mut names: Vec<String> = found.iter().map(|(var, ..)| var.to_string()).collect();
        names.dedup();
        Ok(names)
    }

    fn look(&self, (var, placement, store): &Found<'_>, counts: bool) -> Result<Listed> {
        let kept = match store {
            None => Kept::Public(self.public(var, *placement)?.unwrap_or_default()),
            Some(store) => Kept::Secret {
                store: store.name(),
                closed: match store.reveal(var, *placement, &Round::QUIET, &self.keyring.effort()) {
                    Ok(_) => None,
                    Err(Error::VarUndecryptable { reason, .. }) => Some(reason),
                    Err(error) => Some(error.to_string()),
                },
            },
        };
        Ok(Listed { var: var.clone(), shared: placement.is_shared(), counts, kept })
    }

    /// In the order of their names, the machine's own before the shared one.
    fn found(&self, machine: &str) -> Result<Vec<Found<'_>>> {
        // Any var of it, to have its name checked.
        VarRef::new(machine, "-", "-")?;
        let mut found = BTreeMap::new();
        for placement in Placement::ALL {
            let folder = placement.folder(machine);
            let mut names: Vec<_> =
                self.public_names(&folder)?.into_iter().map(|name| (name, None)).collect();
            for store in &self.stores {
                names.extend(store.list(&folder)?.into_iter().map(|name| (name, Some(store))));
            }
            for ((generator, file), store) in names {
                // Names that no var can have are not vars.
                let Ok(var) = VarRef::new(machine, &generator, &file) else { continue };
                // A folder without a value is a secret's, or nobody's.
                if store.is_none() && self.public(&var, placement)?.is_none() {
                    continue;
                }
                found.entry((generator, file, placement)).or_insert((var, placement, store));
            }
        }
        Ok(found.into_values().collect())
    }

    fn public_names(&self, folder: &Path) -> Result<Vec<(String, String)>> {
        let Some(flake) = &self.flake else { return Ok(Vec::new()) };
        let folder = Path::new("vars").join(folder);
        let mut names = Vec::new();
        for generator in file::names(flake, &folder)? {
            let files = file::names(flake, &folder.join(&generator))?;
            names.extend(files.into_iter().map(|file| (generator.clone(), file)));
        }
        Ok(names)
    }

    /// Whether there is a clan, and not only what lies on this machine and in
    /// the user's password store.
    pub fn has_clan(&self) -> bool {
        self.flake.is_some()
    }

    /// Every machine that has a var, a key or a folder of its own here. Blocks.
    ///
    /// # Errors
    /// [`Error::File`] and [`Error::VarBroken`] for a folder that cannot be read, which
    /// may have more.
    pub fn machines(&self) -> Result<Vec<String>> {
        let mut machines = Vec::new();
        for store in &self.stores {
            machines.extend(store.known_machines()?);
        }
        if let Some(flake) = &self.flake {
            for folder in ["vars/per-machine", "machines", "sops/machines"] {
                machines.extend(file::names(flake, Path::new(folder))?);
            }
        }
        machines.retain(|machine| VarRef::new(machine, "-", "-").is_ok());
        machines.sort();
        machines.dedup();
        Ok(machines)
    }

    /// What is wrong with the name of a machine that nobody here has heard of;
    /// `others` are machines that the exports know. Blocks.
    pub fn unknown_machine(&self, machine: &str, others: &[&str]) -> Error {
        // It is unknown all the same.
        let mut known = self.machines().unwrap_or_default();
        known.extend(others.iter().map(|&name| name.to_owned()));
        known.sort();
        known.dedup();
        let names: Vec<&str> = known.iter().map(String::as_str).collect();
        let place = self.flake.as_ref().map(|flake| flake.to_string_lossy().into_owned());
        Error::UnknownMachine {
            machine: machine.to_owned(),
            empty: place.filter(|_| names.is_empty()),
            nearest: nearest(machine, &names).map(str::to_owned),
            known: names.iter().take(MAX_KNOWN).map(|name| printable::line(name)).collect(),
        }
    }

    /// What is wrong with the name of a var that has no value anywhere, with
    /// the nearest name of those that have one. Blocks.
    pub fn unknown_var(&self, var: &VarRef) -> Error {
        let names = self.names(var.machine()).unwrap_or_default();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        Error::UnknownVar {
            machine: var.machine().to_owned(),
            var: var.to_string(),
            nearest: nearest(&var.to_string(), &names).map(str::to_owned),
        }
    }
}

/// What a list is in the order of.
fn name(listed: &Listed) -> (&str, &str) {
    (listed.var.generator(), listed.var.file())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::prompter::Prompter;
    use crate::secret::Secret;
    use crate::vars::Environment;

    /// Remembers what is told to those who want to know more.
    #[derive(Default)]
    struct Details(Mutex<Vec<String>>);

    impl Prompter for Details {
        fn ask(&self, _: &str, _: bool) -> Option<Secret<String>> {
            None
        }
        fn tell(&self, _: &str) {}
        fn warn(&self, _: &str) {}
        fn detail(&self, text: &str) {
            self.0.lock().unwrap().push(text.to_owned());
        }
    }

    fn clan(files: &[&str]) -> (tempfile::TempDir, Vars, Arc<Details>) {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, file).unwrap();
        }
        let details = Arc::new(Details::default());
        let environment =
            Environment { root: Some("/nonexistent".into()), ..Environment::default() };
        let flake: Option<PathBuf> = Some(dir.path().to_owned());
        let vars = Vars::new(flake, Vec::new(), environment, details.clone());
        (dir, vars, details)
    }

    #[test]
    fn both_placements_are_listed_and_the_machines_own_counts() {
        let (_dir, vars, details) = clan(&[
            "vars/per-machine/m/g/f/value",
            "vars/shared/g/f/value",
            "vars/shared/g/only/value",
            "secrets/clan-vars/per-machine/m/h/x/x.age",
            "vars/shared/h/x/value",
        ]);
        let listed = vars.list("m").unwrap();
        let rows: Vec<_> =
            listed.iter().map(|row| (row.var.to_string(), row.shared, row.counts)).collect();
        let row = |name: &str, shared, counts| (name.to_owned(), shared, counts);
        assert_eq!(
            rows,
            [
                row("g/f", false, true),
                row("g/f", true, false),
                row("g/only", true, true),
                row("h/x", false, true),
                row("h/x", true, false),
            ]
        );
        let reveal = |machine, file| vars.reveal(&VarRef::new(machine, "g", file).unwrap());
        assert!(reveal("m", "f").unwrap().text().unwrap().expose().contains("per-machine"));
        let told = details.0.lock().unwrap().clone();
        assert!(told.len() == 1 && told[0].contains("the machine's own is used"), "{told:?}");
        // Nothing is said where there is nothing to choose from.
        assert!(reveal("m", "only").is_ok() && reveal("other", "f").is_ok());
        assert_eq!(details.0.lock().unwrap().len(), 1);
        // A secret of the machine that does not open is not replaced by a shared one.
        let secret = vars.reveal(&VarRef::new("m", "h", "x").unwrap());
        assert!(matches!(secret, Err(Error::VarBroken { .. })), "{secret:?}");
    }

    #[test]
    fn machines_are_known_by_what_the_clan_has_of_them() {
        let (_dir, vars, _) = clan(&[
            "vars/per-machine/a/g/f/value",
            "secrets/clan-vars/per-machine/b/g/f/f.age",
            "secrets/age-keys/machines/c/key.age",
            "sops/secrets/d-age.key/secret",
            "sops/secrets/no-machine/secret",
            "sops/machines/e/key.json",
            "machines/f/configuration.nix",
        ]);
        assert_eq!(vars.machines().unwrap(), ["a", "b", "c", "d", "e", "f"]);
        let Error::UnknownMachine { nearest, known, .. } = vars.unknown_machine("web1", &["web01"])
        else {
            panic!()
        };
        assert_eq!((nearest.as_deref(), known.len()), (Some("web01"), 7));
        let (dir, vars, _) = clan(&[]);
        let error = vars.unknown_machine("m", &[]).to_string();
        let place = dir.path().to_str().unwrap();
        assert!(error.contains(&format!("the clan has no machines ({place})")), "{error}");
    }

    #[test]
    fn a_mistyped_var_gets_the_nearest_name() {
        let (_dir, vars, _) = clan(&[
            "vars/per-machine/m/wg/address/value",
            "secrets/clan-vars/per-machine/m/tor_tor/hostname/hostname.age",
            "vars/shared/domain/name/value",
            "vars/per-machine/other/mine/alone/value",
        ]);
        for (typed, expected) in [
            ("wg/adress", Some("wg/address")),
            ("tor_tr/hostname", Some("tor_tor/hostname")),
            ("domain/nmae", Some("domain/name")),
            ("mine/alone", None),
        ] {
            let var = VarRef::parse("m", typed).unwrap();
            let Error::UnknownVar { nearest, .. } = vars.unknown_var(&var) else { panic!() };
            assert_eq!(nearest.as_deref(), expected, "{typed}");
        }
    }
}
