//! Identities of age plugins, `AGE-PLUGIN-NAME-1…` (C2SP age-plugin): hardware tokens
//! above all. Starts `age-plugin-NAME` from the path when it is needed, and speaks
//! `identity-v1` with it. Owns whom its questions go to, how much it may say, and that it
//! ends with us.

mod stanza;

use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use age::plugin::{Identity, IdentityPluginV1};
use age::{DecryptError, NoCallbacks};
use age_core::format::{FileKey, Stanza};
use data_encoding::BASE64_NOPAD;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, ioctl_fionread};
use zeroize::Zeroizing;

use crate::children::Awaited;
use crate::error::strerror;
use crate::printable::lines;
use crate::prompter::Prompter;

/// What a line with such an identity begins with.
pub(super) const PREFIX: &str = "AGE-PLUGIN-";

/// All that a plugin may say for one file, in bytes: messages, questions, and one key.
const MAX_SAID: u64 = 1 << 20;
/// In so many stanzas: what does not listen to the answers could have us wait for ever.
const MAX_STANZAS: usize = 1000;
/// When the user is told whom we wait for.
const SLOW: Duration = Duration::from_secs(10);
/// How long it may leave unread what it was told. Once it has read that, it may wait for a
/// hand on a token for as long as it likes, as with age.
const UNREAD: Duration = Duration::from_secs(120);
/// How long it may take to end once it has nothing more to say.
const PATIENCE: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(10);

/// A plugin with all identities of one file that are for it.
pub(super) struct Plugin {
    /// The name of the program.
    program: String,
    identities: Vec<Zeroizing<String>>,
    prompter: Arc<dyn Prompter>,
    /// See [`UNREAD`].
    unread: Duration,
}

/// The plugins of `identities`, one each.
///
/// # Errors
/// Which program is missing.
pub(super) fn plugins(
    identities: &[Identity],
    prompter: &Arc<dyn Prompter>,
) -> Result<Vec<Plugin>, String> {
    let mut names: Vec<&str> = identities.iter().map(Identity::plugin).collect();
    names.sort_unstable();
    names.dedup();
    let plugin = |name: &str| {
        let program = format!("age-plugin-{name}");
        // The crate checks that the name is one, and that the program is there.
        IdentityPluginV1::new(name, &[], NoCallbacks)
            .map_err(|_| format!("the program {program} is not in the path"))?;
        let own = identities.iter().filter(|identity| identity.plugin() == name);
        let identities = own.map(|identity| Zeroizing::new(identity.to_string())).collect();
        Ok(Plugin { program, identities, prompter: prompter.clone(), unread: UNREAD })
    };
    names.into_iter().map(plugin).collect()
}

impl age::Identity for Plugin {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        self.unwrap_stanzas(std::slice::from_ref(stanza))
    }

    /// What fails is told; another identity may do.
    fn unwrap_stanzas(&self, stanzas: &[Stanza]) -> Option<Result<FileKey, DecryptError>> {
        match self.ask(stanzas) {
            Ok(key) => key.map(Ok),
            Err(error) => {
                self.prompter.tell(&format!("{} failed: {}", self.program, strerror(&error)));
                None
            }
        }
    }
}

impl Plugin {
    fn ask(&self, stanzas: &[Stanza]) -> io::Result<Option<FileKey>> {
        let mut talk = Talk::start(&self.program, self.unread)?;
        let _told = self.tell_when_slow();
        for identity in &self.identities {
            talk.send(&["add-identity", identity], &[])?;
        }
        for stanza in stanzas {
            let words = ["recipient-stanza", "0", &stanza.tag].into_iter();
            let words: Vec<&str> = words.chain(stanza.args.iter().map(String::as_str)).collect();
            talk.send(&words, &stanza.body)?;
        }
        talk.send(&["done"], &[])?;
        let mut key = None;
        for _ in 0..MAX_STANZAS {
            talk.is_heard()?;
            let (words, body) = stanza::read(&mut talk.from)?;
            let text = String::from_utf8_lossy(&body);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            match words.as_slice() {
                ["done", ..] => return Ok(key),
                ["msg", ..] => {
                    self.prompter.tell(&lines(&text));
                    talk.send(&["ok"], &[])?;
                }
                ["error", ..] => {
                    self.prompter.tell(&format!("{}: {}", self.program, lines(&text)));
                    talk.send(&["ok"], &[])?;
                }
                ["confirm", choices @ ..] => match self.confirm(&text, choices) {
                    Some(answer) => talk.send(&["ok", answer], &[])?,
                    None => talk.send(&["fail"], &[])?,
                },
                [kind @ ("request-public" | "request-secret"), ..] => {
                    let is_shown = *kind == "request-public";
                    match self.prompter.ask(&format!("{}: ", lines(&text)), is_shown) {
                        Some(answer) => talk.send(&["ok"], answer.expose().as_bytes())?,
                        None => talk.send(&["fail"], &[])?,
                    }
                }
                // One file was asked for, and so one key.
                ["file-key", "0"] if key.is_none() && body.len() == 16 => {
                    key = FileKey::try_init_with_mut(|key| {
                        key.copy_from_slice(body.get(..16).ok_or(())?);
                        Ok::<_, ()>(())
                    })
                    .ok();
                    talk.send(&["ok"], &[])?;
                }
                ["file-key", ..] => talk.send(&["fail"], &[])?,
                _ => talk.send(&["unsupported"], &[])?,
            }
        }
        Err(io::Error::other("it says more than any plugin has to"))
    }

    /// Which of the choices, which are encoded, the user makes.
    fn confirm(&self, message: &str, choices: &[&str]) -> Option<&'static str> {
        let word = |at: usize| {
            let word = BASE64_NOPAD.decode(choices.get(at)?.as_bytes()).ok()?;
            Some(lines(&String::from_utf8_lossy(&word)))
        };
        let (yes, no) = (word(0)?, word(1).unwrap_or_else(|| "no".to_owned()));
        let answer = self.prompter.ask(&format!("{} ({yes}/{no}) ", lines(message)), true)?;
        let answer = answer.expose().trim();
        let is_yes = answer.eq_ignore_ascii_case(&yes) || answer.eq_ignore_ascii_case("y");
        Some(if is_yes { "yes" } else { "no" })
    }

    /// Says after a while whom we wait for, unless what is returned is gone by then.
    fn tell_when_slow(&self) -> Sender<()> {
        let (done, is_done) = channel();
        let (prompter, program) = (self.prompter.clone(), self.program.clone());
        let wait = move || {
            if is_done.recv_timeout(SLOW) == Err(RecvTimeoutError::Timeout) {
                prompter.tell(&format!("waiting for {program}..."));
            }
        };
        // Where there is no thread, nobody is told.
        let _ = std::thread::Builder::new().name("plugin".to_owned()).spawn(wait);
        done
    }
}

/// A plugin that runs.
struct Talk {
    child: Child,
    _awaited: Awaited,
    to: Option<ChildStdin>,
    from: BufReader<io::Take<ChildStdout>>,
    unread: Duration,
}

impl Talk {
    fn start(program: &str, unread: Duration) -> io::Result<Self> {
        #[allow(clippy::disallowed_methods, reason = "the user's own identity names it")]
        let mut child = Command::new(program)
            .arg("--age-plugin=identity-v1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let awaited = Awaited::child(&child);
        let to = child.stdin.take();
        let from = child.stdout.take().ok_or(ErrorKind::BrokenPipe)?;
        let from = BufReader::new(from.take(MAX_SAID));
        let talk = Self { child, _awaited: awaited, to, from, unread };
        talk.to.as_ref().map_or(Ok(()), |to| rustix::io::ioctl_fionbio(to, true))?;
        Ok(talk)
    }

    fn send(&mut self, words: &[&str], body: &[u8]) -> io::Result<()> {
        let to = self.to.as_mut().ok_or(ErrorKind::BrokenPipe)?;
        let stanza = stanza::written(words, body);
        let mut left = stanza.as_slice();
        while !left.is_empty() {
            match to.write(left) {
                Ok(count) => left = left.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if !is_ready(PollFd::new(to, PollFlags::OUT), self.unread)? {
                        return Err(deaf());
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits until it has read all that it was told, or says something.
    fn is_heard(&self) -> io::Result<()> {
        let began = Instant::now();
        // Where the system does not tell, nothing is left.
        let is_left =
            || self.to.as_ref().and_then(|to| ioctl_fionread(to).ok()).is_some_and(|left| left > 0);
        while self.from.buffer().is_empty() && is_left() {
            if began.elapsed() > self.unread {
                return Err(deaf());
            }
            if is_ready(PollFd::new(self.from.get_ref().get_ref(), PollFlags::IN), TICK)? {
                break;
            }
        }
        Ok(())
    }
}

fn is_ready(end: PollFd<'_>, limit: Duration) -> io::Result<bool> {
    match poll(&mut [end], Timespec::try_from(limit).ok().as_ref()) {
        Ok(count) => Ok(count > 0),
        // Whoever waits goes on doing so.
        Err(Errno::INTR) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

fn deaf() -> io::Error {
    io::Error::new(ErrorKind::TimedOut, "it does not read what it is told")
}

/// It ends with the end of its input, or is ended.
impl Drop for Talk {
    fn drop(&mut self) {
        self.to = None;
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            match self.child.try_wait() {
                Ok(None) => std::thread::sleep(TICK),
                _ => return,
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests;
