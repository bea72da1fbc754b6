//! What the clan exports: in a file, a snapshot, the cache, or by evaluating it.
//! Owns which of these counts, and in [`place`] which clan does; what the exports
//! mean is `exports`' business.

mod acl;
mod document;
mod fault;
mod fingerprint;
mod git;
mod index;
mod led;
pub mod nix;
mod owner;
mod place;
mod reference;
mod services;
pub mod snapshot;
mod source;
mod survey;
mod trusted;
mod walk;
mod way;

use std::path::{Path, PathBuf};

use crate::descriptors;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::file;
use crate::model::{HostKeys, TargetHost};
use snapshot::Snapshot;

pub(crate) use acl::names_others;
pub use document::Document;
pub use fingerprint::{Whose, fingerprint, stamp};
pub use place::{Asker, admitted, fetched, find, inspect, is_remote};
pub use source::Flake;
pub use trusted::{Allowed, Trusted};

/// No clan's exports are larger, in bytes.
const MAX_EXPORTS: u64 = 64 << 20;

/// What is told while a clan is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// nix evaluates, which takes seconds.
    Evaluating,
    /// nix evaluates the configurations of all machines, too, which takes minutes.
    EvaluatingAll,
    /// nix evaluates the configuration of one machine after the other.
    Machine {
        /// Which it is, from 1.
        number: usize,
        /// How many there are.
        of: usize,
    },
    /// A snapshot is used although the clan has changed since.
    Stale,
}

/// What `flake` exports: from its snapshot or the cache if these are
/// of the clan as it is, else by nix; an older snapshot will do where there is
/// no nix or it fails. Blocks.
///
/// # Errors
/// [`Error::NoExports`] where there is neither nix nor a snapshot,
/// [`Error::Nix`], and those of [`Document`].
pub fn load(flake: &Flake, step: &mut dyn FnMut(Step)) -> Result<Snapshot> {
    let dir = flake.dir.as_path();
    let committed = dir.join(snapshot::NAME);
    if flake.stands_alone() && file::is_there(&committed) {
        return stored(&committed);
    }
    let fingerprint = fingerprint(dir);
    // What lies outside of the clan may have changed, too.
    let is_current = |snapshot: &Snapshot| {
        fingerprint.is_some() && snapshot.fingerprint == fingerprint && flake.is_reproducible()
    };
    let committed = file::is_there(&committed).then(|| stored(&committed)).transpose();
    if let Ok(Some(snapshot)) = &committed
        && is_current(snapshot)
    {
        return Ok(snapshot.clone());
    }
    let cache = cache_file(dir, &flake.env);
    // A broken cache is no reason to fail, and one of an older program knows less.
    let cached = cache.as_ref().and_then(|path| stored(path).ok());
    let nix = nix::program(&flake.env);
    let cached = cached.filter(|snapshot| snapshot.services.is_some() || nix.is_none());
    // Nix knows no secret hosts; they do not grow old with the rest.
    let sealed = committed.as_ref().ok().and_then(Option::as_ref);
    let sealed = sealed.map(|committed| committed.secret_hosts.clone()).unwrap_or_default();
    if let Some(snapshot) = cached.filter(is_current) {
        return Ok(Snapshot { secret_hosts: sealed, ..snapshot });
    }
    let evaluated = match nix {
        Some(nix) => {
            step(Step::Evaluating);
            nix::evaluate(&nix, flake)
        }
        None => Err(Error::NoExports {
            flake: dir.to_owned(),
            reason: "there is no nix to evaluate it, and no snapshot".to_owned(),
        }),
    };
    match (evaluated, committed) {
        (Ok(mut snapshot), _) => {
            snapshot.fingerprint = fingerprint;
            keep(&snapshot, flake);
            Ok(Snapshot { secret_hosts: sealed, ..snapshot })
        }
        (Err(_), Ok(Some(snapshot))) => {
            step(Step::Stale);
            Ok(snapshot)
        }
        // What is wrong with the snapshot is nearer than that there is no nix.
        (Err(Error::NoExports { .. }), Err(broken)) => Err(broken),
        (Err(error), _) => Err(error),
    }
}

/// The same as a whole, to be kept: with the addresses in the configurations of all
/// machines, if there is nix, and whatever was known before. Blocks, for long.
///
/// # Errors
/// As for [`load`]; an older snapshot does not stand in for what nix cannot evaluate.
pub fn load_whole(flake: &Flake, step: &mut dyn FnMut(Step)) -> Result<nix::Whole> {
    let nix = nix::program(&flake.env).filter(|_| !flake.stands_alone());
    let Some(nix) = nix else {
        return Ok(nix::Whole { snapshot: load(flake, step)?, failed: None, source: None });
    };
    // What changes meanwhile makes it an old one.
    let fingerprint = fingerprint(&flake.dir);
    let mut whole = nix::evaluate_whole(&nix, flake, step)?;
    whole.snapshot.fingerprint = fingerprint;
    keep(&whole.snapshot, flake);
    Ok(whole)
}

/// Keeps it in the cache for the next time, if it holds then.
fn keep(snapshot: &Snapshot, flake: &Flake) {
    if snapshot.fingerprint.is_some()
        && flake.is_reproducible()
        && let Some(path) = cache_file(&flake.dir, &flake.env)
    {
        let _ = snapshot.write(&path);
    }
}

/// What was known of the clan in `dir` at some time, without asking nix.
pub fn last_known(dir: &Path, env: &Env) -> Option<Snapshot> {
    let cached = cache_file(dir, env).and_then(|path| stored(&path).ok());
    cached.or_else(|| stored(&dir.join(snapshot::NAME)).ok())
}

/// What the first of these snapshots that has a key of `machine` says of its host keys,
/// however old it is: what the clan has evaluated since knows none. Blocks.
///
/// # Errors
/// As for [`Document`]: a key that is there must not be overlooked.
pub fn kept_keys(
    files: impl IntoIterator<Item = PathBuf>,
    machine: &str,
) -> Result<Option<HostKeys>> {
    let mut keys = HostKeys::default();
    for file in files {
        keys = keys.or_else(|| {
            // Whatever else is there is read, or it is said why it cannot be.
            if let Err(error) = file.symlink_metadata()
                && file::is_absent(error.kind())
            {
                return Ok(None);
            }
            let clan = stored(&file)?.clan(&file.display().to_string())?;
            Ok::<_, Error>(clan.host_keys(machine))
        })?;
    }
    Ok((!keys.is_empty()).then_some(keys))
}

fn stored(path: &Path) -> Result<Snapshot> {
    file::leads_somewhere(path)?;
    let bytes = file::read(path, MAX_EXPORTS)?;
    Snapshot::parse(&path.display().to_string(), &bytes)
}

/// What to say of a file of the user's that is believed although others have a say about
/// it, or about the way to it; printable.
pub fn not_his_alone(path: &Path, env: &Env) -> Option<String> {
    survey::foreign_file(path, owner::Who::asks(env)).as_ref().map(ToString::to_string)
}

/// Why a snapshot or exports that were named by their file are not believed, if they are not:
/// others have a say about the file, and it is in no clan that the user has allowed all the
/// same; printable. What a shell or a caller has opened for us is the user's own word.
pub fn not_to_be_believed(file: &Path, env: &Env) -> Option<String> {
    if is_opened(file) {
        return None;
    }
    let why = not_his_alone(file, env)?;
    let is_allowed = Trusted::load(env).is_ok_and(|list| {
        let is_allowed = |dir: &Path| list.word(dir, true) == trusted::Word::Allowed;
        survey::leads_into(file, owner::Who::asks(env), is_allowed)
    });
    (!is_allowed).then_some(why)
}

/// Whether this names no file but what is open already: `-`, or the descriptor that a shell
/// makes of `<(…)`.
fn is_opened(file: &Path) -> bool {
    file == Path::new("-") || file == Path::new("/dev/stdin") || descriptors::number(file).is_some()
}

/// One file for each clan's directory. There is no cache where somebody else could have
/// written it: it says where machines are, and which keys they have.
fn cache_file(dir: &Path, env: &Env) -> Option<PathBuf> {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(dir.as_os_str().as_encoded_bytes());
    let name = data_encoding::HEXLOWER.encode(digest.get(..16)?);
    let file = env.cache_dir()?.join("clan-connect/exports").join(format!("{name}.json"));
    not_his_alone(&file, env).is_none().then_some(file)
}

/// What only nix can know of a clan.
///
/// # Errors
/// [`Error::NoExports`] without nix, and [`Error::Nix`].
pub fn ask_nix<T>(
    flake: &Flake,
    step: &mut dyn FnMut(Step),
    question: impl FnOnce(&Path, &Flake) -> Result<T>,
) -> Result<T> {
    let nix = nix::program(&flake.env).ok_or_else(|| Error::NoExports {
        flake: flake.dir.clone(),
        reason: "this needs nix, which was not found".to_owned(),
    })?;
    step(Step::Evaluating);
    question(&nix, flake)
}

/// The `targetHost` in the configuration of a machine, as nix evaluates it; kept
/// in the cache for the next time. Blocks.
///
/// # Errors
/// As for [`ask_nix`].
pub fn configured_host(
    flake: &Flake,
    machine: &str,
    step: &mut dyn FnMut(Step),
) -> Result<Option<TargetHost>> {
    let target = ask_nix(flake, step, |nix, flake| nix::target_host(nix, flake, machine))?;
    if let Some(path) = cache_file(&flake.dir, &flake.env)
        && flake.is_reproducible()
        && let Ok(mut snapshot) = stored(&path)
        && snapshot.fingerprint == fingerprint(&flake.dir)
    {
        let text = target.as_ref().map(ToString::to_string);
        snapshot.configured.insert(machine.to_owned(), text);
        let _ = snapshot.write(&path);
    }
    Ok(target)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn there_is_no_cache_where_others_could_have_written_it() {
        let dir = tempfile::tempdir().unwrap();
        let cache = dir.path().canonicalize().unwrap().join("cache");
        std::fs::create_dir(&cache).unwrap();
        let env = Env::of([("XDG_CACHE_HOME", cache.to_str().unwrap())]);
        assert!(cache_file(dir.path(), &env).is_some());
        let everybody = std::fs::Permissions::from_mode(0o1777);
        std::fs::create_dir(cache.join("clan-connect")).unwrap();
        std::fs::set_permissions(cache.join("clan-connect"), everybody).unwrap();
        // As `/tmp`: what is not there yet anybody can make.
        assert!(cache_file(dir.path(), &env).is_none());
    }

    #[test]
    fn a_snapshot_of_the_clan_as_it_is_needs_no_nix() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("flake.nix"), "{}").unwrap();
        let mut snapshot = Snapshot::new(serde_json::json!({}));
        snapshot.fingerprint = fingerprint(dir.path());
        snapshot.write(&dir.path().join(snapshot::NAME)).unwrap();
        let mut steps = Vec::new();
        let flake = Flake::of_dir(dir.path().to_owned(), true, Env::default());
        assert_eq!(load(&flake, &mut |step| steps.push(step)).unwrap(), snapshot);
        assert_eq!(steps, []);
    }

    #[test]
    fn the_first_snapshot_with_a_key_counts_and_a_broken_one_is_not_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| dir.path().join(name);
        let write = |name: &str, json: &str| {
            let whole = format!(r#"{{"clan_connect_snapshot": 1, "exports": {{}}, {json}}}"#);
            std::fs::write(file(name), whole).unwrap();
        };
        write("domain", r#""domain": "d", "authorities": ["ca"]"#);
        write("one", r#""machines": {"m": {"host_keys": ["one"]}}, "authorities": ["other"]"#);
        write("two", r#""machines": {"m": {"host_keys": ["two"]}, "n": {}}"#);
        let of = |names: &[&str], machine| kept_keys(names.iter().map(|it| file(it)), machine);
        assert_eq!(of(&["missing"], "m").unwrap(), None);
        assert_eq!(of(&["two"], "n").unwrap(), None);
        let keys = of(&["missing", "domain", "one", "two"], "m").unwrap().unwrap();
        let texts = |all: &[crate::model::Stated]| {
            all.iter().map(|stated| stated.text.clone()).collect::<Vec<_>>()
        };
        assert_eq!(
            (texts(&keys.keys), keys.keys[0].place.clone()),
            (vec!["one".into()], file("one"))
        );
        assert_eq!((texts(&keys.authorities), keys.domain), (vec!["ca".into()], Some("d".into())));
        std::fs::write(file("broken"), "{").unwrap();
        let error = of(&["broken", "one"], "m").unwrap_err().to_string();
        assert!(error.contains("broken"), "{error}");
        std::os::unix::fs::symlink("nowhere", file("link")).unwrap();
        let error = of(&["link", "one"], "m").unwrap_err().to_string();
        assert!(error.contains("link: it is a link that leads nowhere"), "{error}");
        // What comes behind the key is not read.
        assert!(of(&["one", "broken"], "m").unwrap().is_some());
    }
}
