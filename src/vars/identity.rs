//! Where identities are looked for, in which order, and when they are opened.
//! Owns reading and unlocking them, each once; opens no var.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use zeroize::Zeroizing;

use super::age_file::AgeFile;
use super::closed::Closed;
use super::effort::{Budget, Effort};
use super::key::{self, Key, SshKey};
use super::sealed::Sealed;
use super::{Environment, file};
use crate::command;
use crate::error::{Error, Result, strerror};
use crate::prompter::Prompter;
use crate::secret::Secret;

/// Largest identity file, in bytes.
const MAX_IDENTITY_FILE: u64 = 1 << 20;
/// Passphrases asked for one file.
const PASSPHRASE_PROMPTS: usize = 3;
/// Recipients of one file for which a command of the user is run.
const MAX_COMMAND_RUNS: usize = 16;

/// Whose conventions decide where identities lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// Clan's age store.
    Age,
    /// The sops program.
    Sops,
    /// passage(1).
    Passage,
}

/// For which identities the user may be asked for a passphrase or a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Asking {
    /// For none.
    Never,
    /// Only for those that the user named.
    Named,
    /// For all.
    All,
}

impl Asking {
    fn covers(self, entry: &Entry) -> bool {
        match self {
            Self::Never => false,
            Self::Named => entry.named,
            Self::All => true,
        }
    }
}

/// One pass over the identities for one file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Round {
    pub(super) asking: Asking,
    /// How far an earlier pass over the same file went; what it tried is not
    /// tried again.
    pub(super) before: Option<Asking>,
}

impl Round {
    /// Every pass, so that nobody is asked while another key may do.
    pub(super) const ALL: [Self; 2] = [
        Self { asking: Asking::Named, before: None },
        Self { asking: Asking::All, before: Some(Asking::Named) },
    ];
    /// The one that disturbs nobody.
    pub(super) const QUIET: [Self; 1] = [Self { asking: Asking::Never, before: None }];
}

/// All identities there are.
pub(super) struct Keyring {
    named: Vec<PathBuf>,
    environment: Environment,
    prompter: Arc<dyn Prompter>,
    budget: Budget,
    age: OnceLock<Loaded>,
    sops: OnceLock<Loaded>,
    passage: OnceLock<Loaded>,
    /// By origin, so that the families share what they have in common.
    read: Mutex<HashMap<String, Arc<Entry>>>,
}

/// The entries of a family, or the named file that is unusable and why.
type Loaded = Result<Vec<Arc<Entry>>, (String, String)>;

/// One source of identities.
pub(super) struct Entry {
    /// A path, or a variable.
    origin: String,
    /// Named by the user on the command line.
    named: bool,
    state: KeyState,
}

enum KeyState {
    Open {
        keys: Arc<Vec<Key>>,
        /// Those that may want something of the user.
        plugins: Arc<Vec<Key>>,
    },
    Locked {
        lock: Lock,
        unlocked: OnceLock<Arc<Vec<Key>>>,
    },
    /// A command of the user that gets a recipient and prints its key.
    Command {
        line: String,
        printed: Mutex<HashMap<String, Arc<Vec<Key>>>>,
    },
    Unusable(String),
}

enum Lock {
    /// An encrypted OpenSSH key; `tag` names it in age headers.
    Ssh { text: Zeroizing<String>, tag: String },
    /// Identities in an age file with a passphrase.
    AgeFile(AgeFile),
}

/// A place to look at, before anything was read.
struct IdentitySource {
    origin: String,
    what: What,
}

enum What {
    File(PathBuf),
    /// May be absent without a word.
    WellKnown(PathBuf),
    Text(Secret<String>),
    Command(String),
}

impl Keyring {
    /// What may be tried for one more value.
    pub(super) fn effort(&self) -> Effort {
        Effort::of(&self.budget)
    }

    pub(super) fn new(
        named: Vec<PathBuf>,
        environment: Environment,
        prompter: Arc<dyn Prompter>,
    ) -> Self {
        let (age, sops, passage, read) = Default::default();
        let budget = Budget::default();
        Self { named, environment, prompter, budget, age, sops, passage, read }
    }

    pub(super) fn prompter(&self) -> &Arc<dyn Prompter> {
        &self.prompter
    }

    /// The identities of a family in its order; those that the user named
    /// come first. Read once.
    ///
    /// # Errors
    /// [`Error::Identity`] when a file that the user named is unusable. What
    /// lies about by convention may be.
    pub(super) fn entries(&self, family: Family) -> Result<&[Arc<Entry>]> {
        let loaded = match family {
            Family::Age => self.age.get_or_init(|| self.load(age_places(&self.environment))),
            Family::Sops => self.sops.get_or_init(|| self.load(sops_places(&self.environment))),
            Family::Passage => {
                self.passage.get_or_init(|| self.load(passage_places(&self.environment)))
            }
        };
        match loaded {
            Ok(entries) => Ok(entries),
            Err((origin, reason)) => {
                Err(Error::Identity { origin: origin.clone(), reason: reason.clone() })
            }
        }
    }

    /// The public halves of the native keys of a family that are open.
    ///
    /// # Errors
    /// As for [`Keyring::entries`].
    pub(super) fn public_keys(&self, family: Family) -> Result<HashSet<String>> {
        let entries = self.entries(family)?.iter();
        Ok(entries.flat_map(|entry| entry.open_keys().iter().filter_map(Key::public)).collect())
    }

    /// Tries one identity after the other on `sealed`.
    ///
    /// # Errors
    /// As for [`Keyring::entries`], and [`Closed`] about `sealed` itself.
    pub(super) fn open(
        &self,
        family: Family,
        sealed: &mut dyn Sealed,
        round: Round,
        effort: &Effort,
    ) -> Result<Result<Option<Secret<Vec<u8>>>, Closed>> {
        for entry in self.entries(family)? {
            for keys in self.keys(entry, sealed, round) {
                match sealed.open(&keys, effort) {
                    Ok(None) => {}
                    done => return Ok(done),
                }
            }
        }
        Ok(Ok(None))
    }

    /// The keys of `entry` that may help with `sealed`. A command is run when its keys are
    /// asked for: those that it prints for one recipient may do.
    fn keys<'a>(
        &'a self,
        entry: &'a Entry,
        sealed: &dyn Sealed,
        round: Round,
    ) -> Box<dyn Iterator<Item = Arc<Vec<Key>>> + 'a> {
        let Round { asking, before } = round;
        let may_ask = asking.covers(entry);
        let was_asked = before.is_some_and(|before| before.covers(entry));
        match &entry.state {
            KeyState::Open { .. } | KeyState::Locked { .. } if was_asked => {
                Box::new(std::iter::empty())
            }
            KeyState::Open { keys, plugins } => {
                let keys = before.is_none().then(|| keys.clone());
                Box::new(keys.into_iter().chain(may_ask.then(|| plugins.clone())))
            }
            KeyState::Locked { unlocked, .. } if let Some(keys) = unlocked.get() => {
                Box::new(std::iter::once(keys.clone()))
            }
            KeyState::Locked { lock, unlocked } if may_ask && lock.may_help(sealed) => {
                let keys = unlocked.get_or_init(|| self.unlock(&entry.origin, lock));
                Box::new(std::iter::once(keys.clone()))
            }
            KeyState::Command { .. } if before.is_some_and(|before| before != Asking::Never) => {
                Box::new(std::iter::empty())
            }
            KeyState::Command { line, printed } if asking != Asking::Never => {
                let recipients = sealed.recipients().into_iter();
                let recipients = recipients.filter(|recipient| is_public_key(recipient));
                Box::new(recipients.take(MAX_COMMAND_RUNS).map(move |recipient| {
                    // Held while it runs: one prompt of a password manager is enough.
                    let mut printed = printed.lock().unwrap_or_else(PoisonError::into_inner);
                    let run = || Arc::new(self.run(line, &recipient).unwrap_or_default());
                    printed.entry(recipient.clone()).or_insert_with(run).clone()
                }))
            }
            KeyState::Locked { .. } | KeyState::Command { .. } | KeyState::Unusable(_) => {
                Box::new(std::iter::empty())
            }
        }
    }

    fn unlock(&self, origin: &str, lock: &Lock) -> Arc<Vec<Key>> {
        for _ in 0..PASSPHRASE_PROMPTS {
            let prompt = format!("enter passphrase for {origin}: ");
            let Some(passphrase) = self.prompter.ask(&prompt, false) else { break };
            if let Some(keys) = lock.try_passphrase(&passphrase, &self.prompter) {
                return Arc::new(keys);
            }
        }
        Arc::default()
    }

    fn load(&self, places: Vec<IdentitySource>) -> Loaded {
        let mut entries = Vec::new();
        for path in &self.named {
            let origin = path.display().to_string();
            let entry = self.entry(&origin, || {
                let state = self.read(path, file::read_named).unwrap_or_else(KeyState::Unusable);
                Entry { origin: origin.clone(), named: true, state }
            });
            if let KeyState::Unusable(reason) = &entry.state {
                return Err((origin, reason.clone()));
            }
            entries.push(entry);
        }
        for IdentitySource { origin, what } in places {
            // One that cannot be seen may be there: then it is said why it is of no use.
            if matches!(&what, What::WellKnown(path) if matches!(path.try_exists(), Ok(false))) {
                continue;
            }
            let entry = self.entry(&origin, || {
                let state = match what {
                    What::File(path) => self.read(&path, file::read_named),
                    What::WellKnown(path) => self.read(&path, file::read_any),
                    What::Text(text) => self.parse(one_a_line(text.expose())),
                    What::Command(line) => {
                        Ok(KeyState::Command { line, printed: Mutex::default() })
                    }
                };
                let state = state.unwrap_or_else(KeyState::Unusable);
                Entry { origin: origin.clone(), named: false, state }
            });
            if !entries.iter().any(|known| Arc::ptr_eq(known, &entry)) {
                entries.push(entry);
            }
        }
        Ok(entries)
    }

    fn run(&self, line: &str, recipient: &str) -> Option<Vec<Key>> {
        let printed = command::output(
            &command::split(line)?,
            Some(("SOPS_AGE_RECIPIENT", recipient)),
            MAX_IDENTITY_FILE,
        )?;
        match self.parse(std::str::from_utf8(printed.expose()).ok()?.to_owned()) {
            Ok(KeyState::Open { keys, .. }) => Arc::into_inner(keys),
            _ => None,
        }
    }

    fn read(
        &self,
        path: &Path,
        read: fn(&Path, u64) -> Result<Vec<u8>>,
    ) -> Result<KeyState, String> {
        let bytes = read(path, MAX_IDENTITY_FILE).map_err(|error| match error {
            Error::File { source, .. } => strerror(&source),
            Error::TooLarge { .. } => "it is larger than 1 MiB".to_owned(),
            _ => "it is not a regular file".to_owned(),
        })?;
        let bytes = Zeroizing::new(bytes);
        if AgeFile::is_one(&bytes) {
            let file = AgeFile::parse(&bytes).map_err(Closed::reason)?;
            if !file.is_locked_by_passphrase() {
                return Err("it is encrypted, but not with a passphrase".to_owned());
            }
            return Ok(KeyState::Locked { lock: Lock::AgeFile(file), unlocked: OnceLock::new() });
        }
        match String::from_utf8(bytes.to_vec()) {
            Ok(text) => self.parse(text),
            Err(error) => {
                drop(Zeroizing::new(error.into_bytes()));
                Err("it is no identity file".to_owned())
            }
        }
    }

    fn parse(&self, text: String) -> Result<KeyState, String> {
        let text = Zeroizing::new(text);
        if !text.contains("-----BEGIN ") {
            let mut keys = key::native(&text, &self.prompter)?;
            let plugins = keys.iter().position(|key| matches!(key, Key::Plugin(_)));
            let plugins = plugins.map(|first| keys.split_off(first)).unwrap_or_default();
            return Ok(KeyState::Open { keys: Arc::new(keys), plugins: Arc::new(plugins) });
        }
        match key::ssh(&text)? {
            SshKey::Open(key) => {
                Ok(KeyState::Open { keys: Arc::new(vec![key]), plugins: Arc::default() })
            }
            SshKey::Locked { tag } => {
                Ok(KeyState::Locked { lock: Lock::Ssh { text, tag }, unlocked: OnceLock::new() })
            }
        }
    }

    fn entry(&self, origin: &str, make: impl FnOnce() -> Entry) -> Arc<Entry> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.entry(origin.to_owned()).or_insert_with(|| Arc::new(make())).clone()
    }
}

impl Entry {
    fn open_keys(&self) -> &[Key] {
        match &self.state {
            KeyState::Open { keys, .. } => keys,
            KeyState::Locked { unlocked, .. } => unlocked.get().map_or(&[], |keys| keys),
            KeyState::Command { .. } | KeyState::Unusable(_) => &[],
        }
    }

    /// Where it came from and what was wrong with it, for messages.
    pub(super) fn describe(&self) -> String {
        let origin = &self.origin;
        match &self.state {
            KeyState::Unusable(reason) => format!("{origin} ({reason})"),
            KeyState::Locked { unlocked, .. }
                if unlocked.get().is_none_or(|keys| keys.is_empty()) =>
            {
                format!("{origin} (locked by a passphrase)")
            }
            KeyState::Command { printed, .. } => {
                let printed = printed.lock().unwrap_or_else(PoisonError::into_inner);
                if printed.values().all(|keys| keys.is_empty()) {
                    format!("{origin} (printed no identity)")
                } else {
                    origin.clone()
                }
            }
            KeyState::Open { .. } | KeyState::Locked { .. } => origin.clone(),
        }
    }
}

impl Lock {
    fn may_help(&self, sealed: &dyn Sealed) -> bool {
        match self {
            Self::Ssh { tag, .. } => sealed.names_ssh_key(tag),
            Self::AgeFile(_) => sealed.names_native_key(),
        }
    }

    fn try_passphrase(
        &self,
        passphrase: &Secret<String>,
        prompter: &Arc<dyn Prompter>,
    ) -> Option<Vec<Key>> {
        match self {
            Self::Ssh { text, .. } => Some(vec![key::unlock_ssh(text, passphrase)?]),
            Self::AgeFile(file) => {
                let plain = file.decrypt_with_passphrase(passphrase).ok()??;
                key::native(std::str::from_utf8(plain.expose()).ok()?, prompter).ok()
            }
        }
    }
}

/// Whether this may be shown to a command of the user, who may well hand it to a
/// shell: a recipient of age or an ssh public key, and nothing but letters.
fn is_public_key(recipient: &str) -> bool {
    let is_key = ["age1", "ssh-"].iter().any(|start| recipient.starts_with(start));
    is_key
        && recipient.chars().all(|char| char.is_ascii_alphanumeric() || "-+/=@._ ".contains(char))
}

/// `clan_lib/vars`, age backend; then the keys that age itself would use.
fn age_places(environment: &Environment) -> Vec<IdentitySource> {
    let mut places = Vec::new();
    places.extend(text("$AGE_KEY", environment.age_key.as_ref()));
    places.extend(named("AGE_KEYFILE", environment.age_keyfile.as_ref()));
    places.extend(well_known(environment.in_config("age/identities")));
    places.extend(well_known(environment.in_config("sops/age/keys.txt")));
    places.extend(well_known(environment.in_home(".age/key.txt")));
    places.extend(well_known(environment.in_home(".ssh/id_ed25519")));
    places.extend(well_known(environment.in_home(".ssh/id_rsa")));
    // On a machine of the clan: its own key, where the sops and the age store
    // put it (`clan.core.vars.sops.secretUploadDirectory`,
    // `clan.core.vars.age.secretLocation`).
    places.extend(well_known(Some(environment.in_root("var/lib/sops-nix/key.txt"))));
    places.extend(well_known(Some(environment.in_root("etc/secret-vars/key.txt"))));
    places
}

/// passage(1), "ENVIRONMENT"; then what Clan's age store would use.
fn passage_places(environment: &Environment) -> Vec<IdentitySource> {
    let mut places = Vec::new();
    places.extend(named("PASSAGE_IDENTITIES_FILE", environment.passage_identities_file.as_ref()));
    places.extend(well_known(environment.in_home(".passage/identities")));
    places.extend(age_places(environment));
    places
}

/// sops, `age/keysource.go`; then what Clan's age store would use.
fn sops_places(environment: &Environment) -> Vec<IdentitySource> {
    let ssh_file = environment.sops_age_ssh_private_key_file.as_ref();
    let ssh_command = environment.sops_age_ssh_private_key_cmd.as_ref();
    let mut places = Vec::new();
    places.extend(named("SOPS_AGE_SSH_PRIVATE_KEY_FILE", ssh_file));
    places.extend(command_of("$SOPS_AGE_SSH_PRIVATE_KEY_CMD", ssh_command));
    places.extend(well_known(environment.in_home(".ssh/id_ed25519")));
    places.extend(well_known(environment.in_home(".ssh/id_rsa")));
    places.extend(text("$SOPS_AGE_KEY", environment.sops_age_key.as_ref()));
    places.extend(named("SOPS_AGE_KEY_FILE", environment.sops_age_key_file.as_ref()));
    places.extend(command_of("$SOPS_AGE_KEY_CMD", environment.sops_age_key_cmd.as_ref()));
    places.extend(well_known(environment.in_config("sops/age/keys.txt")));
    places.extend(age_places(environment));
    places
}

fn text(origin: &str, text: Option<&Secret<String>>) -> Option<IdentitySource> {
    Some(IdentitySource { origin: origin.to_owned(), what: What::Text(text?.clone()) })
}

fn named(variable: &str, path: Option<&PathBuf>) -> Option<IdentitySource> {
    let path = path?.clone();
    Some(IdentitySource {
        origin: format!("${variable} ({})", path.display()),
        what: What::File(path),
    })
}

fn well_known(path: Option<PathBuf>) -> Option<IdentitySource> {
    let path = path?;
    Some(IdentitySource { origin: path.display().to_string(), what: What::WellKnown(path) })
}

fn command_of(origin: &str, line: Option<&String>) -> Option<IdentitySource> {
    Some(IdentitySource { origin: origin.to_owned(), what: What::Command(line?.clone()) })
}

/// sops takes several identities on one line of a variable, where newlines are
/// easily lost.
fn one_a_line(text: &str) -> String {
    if text.contains("-----BEGIN ") {
        return text.to_owned();
    }
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    let words: Vec<&str> = lines.flat_map(str::split_whitespace).collect();
    words.join("\n")
}
