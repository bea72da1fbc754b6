//! Secret hosts that a snapshot has, encrypted for the machines that may dial them. Owns the
//! text that is encrypted, who opens it, and where on a machine root has opened it for a
//! group (`/run/clan-connect`). Decryption happens in memory; who writes what is opened there
//! is the front end's business.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use age::armor::{ArmoredWriter, Format};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::age_file::AgeFile;
use super::closed::Closed;
use super::effort::Effort;
use super::identity::{Family, Keyring, Round};
use super::{Environment, file};
use crate::error::{Error, Result, SealedFault, strerror};
use crate::model::{SealedHosts, VarRef};
use crate::secret::Secret;

/// Where the secret hosts of a clan are that root has opened, below `/run`: a directory for
/// each clan, which only members of a group can look into.
const OPENED: &str = "clan-connect";
/// Longest text of them, in bytes: ten thousand names of onion services.
const MAX_TEXT: u64 = 2 << 20;
/// What a name of an opened file ends with; it begins with [`digest`].
const SUFFIX: &str = ".json";

/// By machine, then by `generator/file`.
type Hosts = HashMap<VarRef, Secret<String>>;

/// What a snapshot has of them.
#[derive(Default)]
pub(super) struct Handed {
    sealed: Vec<SealedHosts>,
    /// Below which root opens them.
    run: PathBuf,
    /// The machine that we run on.
    machine: Option<String>,
    opened: OnceLock<Outcome>,
}

/// What became of opening them.
enum Outcome {
    /// The hosts, and whom they are for.
    Open(Hosts, SealedHosts),
    /// Nothing here opens them; what was tried.
    Closed(Vec<String>),
    /// One for this machine, or for a key that is here, is damaged: whose, and how.
    Broken(String, String),
}

impl Handed {
    pub(super) fn new(environment: &Environment) -> Self {
        let run = environment.in_root("run");
        let run = run.canonicalize().unwrap_or(run);
        Self { run, machine: environment.host_name.clone(), ..Self::default() }
    }

    /// Takes these, with those for this very machine first.
    pub(super) fn take(&mut self, sealed: Vec<SealedHosts>) {
        self.sealed.extend(sealed);
        let machine = self.machine.clone();
        self.sealed.sort_by_key(|sealed| Some(&sealed.whose) != machine.as_ref());
        self.opened = OnceLock::new();
    }

    /// The host that `var` is in, if it is among those that open here; `None` where there
    /// are none at all.
    ///
    /// # Errors
    /// [`Error::SealedHosts`].
    pub(super) fn reveal(&self, var: &VarRef, keyring: &Keyring) -> Result<Option<Secret<String>>> {
        if self.sealed.is_empty() {
            return Ok(None);
        }
        let (hosts, of) = self.hosts(keyring)?;
        match hosts.get(var) {
            Some(host) => Ok(Some(host.clone())),
            None => Err(self.error(SealedFault::NotAmong(of.whose.clone()))),
        }
    }

    /// The text of those that open here, and the name of the file that it is to be in below
    /// a directory of [`OPENED`]; `None` where there are none at all.
    ///
    /// # Errors
    /// [`Error::SealedHosts`].
    pub(super) fn text(&self, keyring: &Keyring) -> Result<Option<(String, Zeroizing<Vec<u8>>)>> {
        if self.sealed.is_empty() {
            return Ok(None);
        }
        let (hosts, of) = self.hosts(keyring)?;
        Ok(Some((format!("{}{SUFFIX}", digest(&of.text)), text(hosts.iter())?)))
    }

    /// Those that open here, and the text that they were in.
    fn hosts(&self, keyring: &Keyring) -> Result<(&Hosts, &SealedHosts)> {
        match self.opened(keyring)? {
            Outcome::Open(hosts, of) => Ok((hosts, of)),
            Outcome::Closed(tried) => Err(self.error(SealedFault::Closed(tried.clone()))),
            Outcome::Broken(whose, reason) => {
                let (whose, reason) = (whose.clone(), reason.clone());
                Err(self.error(SealedFault::Broken { whose, reason }))
            }
        }
    }

    fn error(&self, fault: SealedFault) -> Error {
        Error::SealedHosts {
            whose: self.sealed.iter().map(|sealed| sealed.whose.clone()).collect(),
            here: self.machine.clone(),
            fault,
        }
    }

    fn opened(&self, keyring: &Keyring) -> Result<&Outcome> {
        if let Some(opened) = self.opened.get() {
            return Ok(opened);
        }
        let opened = self.open(keyring)?;
        Ok(self.opened.get_or_init(|| opened))
    }

    fn open(&self, keyring: &Keyring) -> Result<Outcome> {
        let mut tried = Vec::new();
        for sealed in &self.sealed {
            if let Some(hosts) = self.opened_by_root(sealed, &mut tried) {
                return Ok(Outcome::Open(hosts, sealed.clone()));
            }
        }
        let effort = keyring.effort();
        let ours = keyring.public_keys(Family::Sops)?;
        let has_our_key =
            |sealed: &&SealedHosts| sealed.recipients.iter().any(|key| ours.contains(key));
        // What is for others costs tries, of which there are only so many.
        let (first, then): (Vec<_>, Vec<_>) = self.sealed.iter().partition(has_our_key);
        let (mut broken, mut is_too_much) = (None, false);
        for round in Round::ALL {
            for &sealed in first.iter().chain(&then) {
                match opened_by_key(sealed, keyring, round, &effort)? {
                    Ok(Some(hosts)) => return Ok(Outcome::Open(hosts, sealed.clone())),
                    Ok(None) => {}
                    Err(closed)
                        if self.machine.as_ref() == Some(&sealed.whose)
                            || has_our_key(&sealed) && closed != Closed::TooMuch =>
                    {
                        broken.get_or_insert_with(|| (sealed.whose.clone(), closed.reason()));
                    }
                    // That of another may be as it likes.
                    Err(closed) => is_too_much |= closed == Closed::TooMuch,
                }
            }
        }
        if let Some((whose, reason)) = broken {
            return Ok(Outcome::Broken(whose, reason));
        }
        tried.extend(keyring.entries(Family::Sops)?.iter().map(|entry| entry.describe()));
        if is_too_much {
            tried.push("though not on all of them, which are for too many keys".to_owned());
        }
        Ok(Outcome::Closed(tried))
    }

    /// What root has opened of them here for a group that we are in. A file is named after
    /// the very text that it comes from, so that an old one is never taken.
    fn opened_by_root(&self, sealed: &SealedHosts, tried: &mut Vec<String>) -> Option<Hosts> {
        let name = format!("{}{SUFFIX}", digest(&sealed.text));
        for dir in file::names(&self.run, Path::new(OPENED)).ok()? {
            let path = Path::new(OPENED).join(&dir).join(&name);
            match file::read(&self.run, &path, MAX_TEXT) {
                Ok(Some(bytes)) => match parsed(&Zeroizing::new(bytes)) {
                    Some(hosts) => return Some(hosts),
                    None => tried.push(format!("{} (it holds no hosts)", path.display())),
                },
                Ok(None) => {}
                Err(Error::File { source, .. }) => {
                    let dir = self.run.join(OPENED).join(dir);
                    let line = format!("{} ({})", dir.display(), strerror(&source));
                    if !tried.contains(&line) {
                        tried.push(line);
                    }
                }
                Err(error) => tried.push(error.to_string()),
            }
        }
        None
    }
}

/// The hosts, if an identity opens them; or why nobody can.
fn opened_by_key(
    sealed: &SealedHosts,
    keyring: &Keyring,
    round: Round,
    effort: &Effort,
) -> Result<Result<Option<Hosts>, Closed>> {
    let mut file = match AgeFile::parse(sealed.text.as_bytes()) {
        Ok(file) => file,
        Err(closed) => return Ok(Err(closed)),
    };
    // Whoever finds the identities of sops finds those of age, too.
    Ok(match keyring.open(Family::Sops, &mut file, round, effort)? {
        Ok(None) => Ok(None),
        Ok(Some(text)) => match parsed(text.expose()) {
            Some(hosts) => Ok(Some(hosts)),
            None => Err(Closed::broken("it holds no hosts")),
        },
        Err(closed) => Err(closed),
    })
}

/// A public key of age's, `age1…`.
#[derive(Clone)]
pub struct PublicKey {
    text: String,
    key: age::x25519::Recipient,
}

impl PublicKey {
    /// `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let key: age::x25519::Recipient = text.parse().ok()?;
        // The same key may be written in capitals (BIP 173).
        Some(Self { text: key.to_string(), key })
    }

    /// The same as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// Encrypts these hosts for the holders of these keys, as an age file in armor.
///
/// # Errors
/// [`Error::Internal`] where there are no keys.
pub fn seal<'a>(
    hosts: impl Iterator<Item = (&'a VarRef, &'a Secret<String>)>,
    keys: &[PublicKey],
) -> Result<String> {
    let plain = text(hosts)?;
    let keys = keys.iter().map(|key| &key.key as &dyn age::Recipient);
    let encryptor = age::Encryptor::with_recipients(keys).map_err(|_| Error::Internal)?;
    let write = || {
        let armor = ArmoredWriter::wrap_output(Vec::new(), Format::AsciiArmor)?;
        let mut writer = encryptor.wrap_output(armor)?;
        writer.write_all(&plain)?;
        writer.finish()?.finish()
    };
    // Memory takes whatever is written.
    let sealed = write().map_err(|_: std::io::Error| Error::Internal)?;
    String::from_utf8(sealed).map_err(|_| Error::Internal)
}

/// Whether this is such a file for so many keys, as far as can be seen without one of them.
pub fn is_sealed_for(sealed: &str, keys: usize) -> bool {
    AgeFile::parse(sealed.as_bytes()).is_ok_and(|file| file.is_for_keys(keys))
}

/// Hosts as text.
fn text<'a>(
    hosts: impl Iterator<Item = (&'a VarRef, &'a Secret<String>)>,
) -> Result<Zeroizing<Vec<u8>>> {
    let mut all: BTreeMap<&str, BTreeMap<String, &str>> = BTreeMap::new();
    let mut length = 2;
    for (var, host) in hosts {
        let (id, host) = (var.to_string(), host.expose().as_str());
        // JSON makes six of one at most.
        length += 6 * (var.machine().len() + id.len() + host.len()) + 16;
        all.entry(var.machine()).or_default().insert(id, host);
    }
    // With room for all from the start, no copy is left behind.
    let mut text = Zeroizing::new(Vec::with_capacity(length));
    serde_json::to_writer(&mut *text, &all).map_err(|_| Error::Internal)?;
    Ok(text)
}

/// Hosts out of that text.
fn parsed(text: &[u8]) -> Option<Hosts> {
    if text.len() as u64 > MAX_TEXT {
        return None;
    }
    let all: BTreeMap<String, BTreeMap<String, String>> = serde_json::from_slice(text).ok()?;
    let mut hosts = HashMap::new();
    for (machine, vars) in all {
        for (id, host) in vars {
            let host = Secret::new(host);
            // A name that no var can have is nobody's.
            if let Ok(var) = VarRef::parse(&machine, &id) {
                hosts.insert(var, host);
            }
        }
    }
    Some(hosts)
}

/// What tells one text from all others.
fn digest(text: &str) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(text))
}

/// Whether a file in a directory of [`OPENED`] is called as one of ours.
pub fn is_opened_file(name: &str) -> bool {
    let digest = name.strip_suffix(SUFFIX).unwrap_or_default();
    digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests;
