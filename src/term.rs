//! The terminal: raw mode, size, prompts. The only code that touches a tty;
//! every change of it is undone on every way out.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use rustix::termios::{
    self, ControlModes, InputModes, LocalModes, OptionalActions, OutputModes, SpecialCodeIndex,
    Termios,
};
use zeroize::Zeroize;

use crate::secret::Secret;
use crate::ssh::remote::{Pty, Size};

/// The longest answer to a prompt, in bytes.
const MAX_ANSWER: usize = 4096;

/// The terminal's settings before we changed them, for whoever has to end the
/// process: a signal, a panic, `main`.
static SAVED: Mutex<Option<(File, Termios)>> = Mutex::new(None);

/// How long somebody else may be about to change the settings.
const PATIENCE: Duration = Duration::from_millis(100);

static IS_LINE_SHOWN: AtomicBool = AtomicBool::new(false);

/// Erases the line that the cursor is in.
pub(crate) const ERASE: &str = "\r\x1b[K";

/// Whether standard input is a terminal.
pub fn is_interactive() -> bool {
    io::stdin().is_terminal()
}

/// Whether there is a terminal to ask on.
pub fn can_ask() -> bool {
    File::open("/dev/tty").is_ok()
}

/// Raw mode, until dropped.
#[derive(Debug)]
pub struct Raw(());

impl Raw {
    /// Every key goes to the machine as it is.
    ///
    /// # Errors
    /// When standard input is no terminal.
    pub fn enter() -> io::Result<Self> {
        let tty = File::from(rustix::io::dup(io::stdin())?);
        change(tty, Termios::make_raw)?;
        Ok(Self(()))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

/// Gives the terminal back as we found it. Does nothing when it is unchanged.
pub fn restore() {
    // Whoever holds the lock may wait for a terminal that was stopped by ^S, and has
    // not changed it yet.
    let asked = Instant::now();
    let saved = loop {
        match SAVED.try_lock() {
            Ok(mut saved) => break saved.take(),
            Err(TryLockError::Poisoned(saved)) => break saved.into_inner().take(),
            Err(TryLockError::WouldBlock) if asked.elapsed() > PATIENCE => return,
            Err(TryLockError::WouldBlock) => std::thread::sleep(PATIENCE / 20),
        }
    };
    if let Some((tty, settings)) = saved {
        // At once, for the same reason. Nothing is left to be done if it is gone.
        let _ = termios::tcsetattr(&tty, OptionalActions::Now, &settings);
    }
}

/// The end: gives back all that is not ours, the line of progress included.
pub fn leave() {
    restore();
    Blocking::undo();
    if IS_LINE_SHOWN.swap(false, Ordering::Relaxed) {
        write_at_once(ERASE.as_bytes());
    }
}

/// Writes to standard error what it takes in a moment. A terminal that was stopped takes
/// nothing, and whoever waits for it holds the lock of [`io::stderr`]: the thread that
/// waits here is left behind.
fn write_at_once(bytes: &'static [u8]) {
    let (done, is_done) = std::sync::mpsc::channel::<()>();
    let write = move || {
        let _ = rustix::io::write(rustix::stdio::stderr(), bytes);
        drop(done);
    };
    if std::thread::Builder::new().spawn(write).is_ok() {
        let _ = is_done.recv_timeout(PATIENCE);
    }
}

/// Notes whether the last line of the terminal is one that has to go away again.
pub(crate) fn note_line(is_shown: bool) {
    IS_LINE_SHOWN.store(is_shown, Ordering::Relaxed);
}

/// Restores the terminal before a panic is reported.
pub fn restore_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        restore();
        report(info);
    }));
}

/// Stops this process as Ctrl-Z does, with the terminal as it was, and takes it
/// back when continued.
pub fn suspend() {
    restore();
    let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::TSTP);
    let raw = Raw::enter();
    // The guard of the session still stands; this one must not undo it.
    std::mem::forget(raw);
}

fn change(tty: File, edit: impl FnOnce(&mut Termios)) -> io::Result<()> {
    let before = termios::tcgetattr(&tty)?;
    let mut after = before.clone();
    edit(&mut after);
    let mut saved = SAVED.lock().unwrap_or_else(PoisonError::into_inner);
    termios::tcsetattr(&tty, OptionalActions::Drain, &after)?;
    if saved.is_none() {
        *saved = Some((tty, before));
    }
    Ok(())
}

/// Standard input, output and error as our own reads and writes need them: who
/// started us may have left them non-blocking, as rsync does. What was there
/// before comes back in the end.
#[derive(Debug)]
pub struct Blocking(());

/// Which of them we have changed, and what they were.
static CHANGED: Mutex<Vec<(u8, rustix::fs::OFlags)>> = Mutex::new(Vec::new());

impl Blocking {
    /// Makes them wait.
    pub fn enter() -> Self {
        use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
        let mut changed = Vec::new();
        for (number, file) in standard() {
            if let Ok(flags) = fcntl_getfl(file)
                && flags.contains(OFlags::NONBLOCK)
                && fcntl_setfl(file, flags - OFlags::NONBLOCK).is_ok()
            {
                changed.push((number, flags));
            }
        }
        *CHANGED.lock().unwrap_or_else(PoisonError::into_inner) = changed;
        Self(())
    }

    fn undo() {
        let changed = std::mem::take(&mut *CHANGED.lock().unwrap_or_else(PoisonError::into_inner));
        for (number, file) in standard() {
            if let Some((_, flags)) = changed.iter().find(|(changed, _)| *changed == number) {
                let _ = rustix::fs::fcntl_setfl(file, *flags);
            }
        }
    }
}

impl Drop for Blocking {
    fn drop(&mut self) {
        Self::undo();
    }
}

fn standard() -> [(u8, rustix::fd::BorrowedFd<'static>); 3] {
    [(0, rustix::stdio::stdin()), (1, rustix::stdio::stdout()), (2, rustix::stdio::stderr())]
}

/// The size of the terminal on standard input or output.
pub fn size() -> Option<Size> {
    size_of(io::stdin()).or_else(|| size_of(io::stdout()))
}

/// The size of some terminal.
pub fn size_of(tty: impl AsFd) -> Option<Size> {
    let size = termios::tcgetwinsize(tty).ok()?;
    Some(Size {
        columns: size.ws_col.into(),
        rows: size.ws_row.into(),
        width: size.ws_xpixel.into(),
        height: size.ws_ypixel.into(),
    })
}

/// A pseudo-terminal like the one we are on, called `term`; a plain one of 80 × 24 when
/// we are on none.
pub fn pty(term: &str) -> Pty {
    pty_like(io::stdin(), size(), term.to_owned())
}

/// A pseudo-terminal like `tty`, if that is one.
pub fn pty_like(tty: impl AsFd, size: Option<Size>, term: String) -> Pty {
    Pty {
        term: if term.is_empty() { "dumb".to_owned() } else { term },
        size: size.filter(|size| size.columns > 0).unwrap_or(Size {
            columns: 80,
            rows: 24,
            ..Size::default()
        }),
        modes: termios::tcgetattr(tty).map(|settings| modes(&settings)).unwrap_or_default(),
    }
}

/// The modes of RFC 4254, section 8, that a Linux terminal knows.
fn modes(settings: &Termios) -> Vec<(u8, u32)> {
    let codes = [
        (1, SpecialCodeIndex::VINTR),
        (2, SpecialCodeIndex::VQUIT),
        (3, SpecialCodeIndex::VERASE),
        (4, SpecialCodeIndex::VKILL),
        (5, SpecialCodeIndex::VEOF),
        (6, SpecialCodeIndex::VEOL),
        (7, SpecialCodeIndex::VEOL2),
        (8, SpecialCodeIndex::VSTART),
        (9, SpecialCodeIndex::VSTOP),
        (10, SpecialCodeIndex::VSUSP),
        (12, SpecialCodeIndex::VREPRINT),
        (13, SpecialCodeIndex::VWERASE),
        (14, SpecialCodeIndex::VLNEXT),
        (18, SpecialCodeIndex::VDISCARD),
    ]
    .map(|(code, index)| (code, u32::from(settings.special_codes[index])));
    let input = [
        (30, InputModes::IGNPAR),
        (31, InputModes::PARMRK),
        (32, InputModes::INPCK),
        (33, InputModes::ISTRIP),
        (34, InputModes::INLCR),
        (35, InputModes::IGNCR),
        (36, InputModes::ICRNL),
        (38, InputModes::IXON),
        (39, InputModes::IXANY),
        (40, InputModes::IXOFF),
        (41, InputModes::IMAXBEL),
        (42, InputModes::IUTF8),
    ]
    .map(|(code, flag)| (code, settings.input_modes.contains(flag).into()));
    let local = [
        (50, LocalModes::ISIG),
        (51, LocalModes::ICANON),
        (53, LocalModes::ECHO),
        (54, LocalModes::ECHOE),
        (55, LocalModes::ECHOK),
        (56, LocalModes::ECHONL),
        (57, LocalModes::NOFLSH),
        (58, LocalModes::TOSTOP),
        (59, LocalModes::IEXTEN),
        (60, LocalModes::ECHOCTL),
        (61, LocalModes::ECHOKE),
        (62, LocalModes::PENDIN),
    ]
    .map(|(code, flag)| (code, settings.local_modes.contains(flag).into()));
    let output = [
        (70, OutputModes::OPOST),
        (72, OutputModes::ONLCR),
        (73, OutputModes::OCRNL),
        (74, OutputModes::ONOCR),
        (75, OutputModes::ONLRET),
    ]
    .map(|(code, flag)| (code, settings.output_modes.contains(flag).into()));
    let control = [
        (90, ControlModes::CS7),
        (91, ControlModes::CS8),
        (92, ControlModes::PARENB),
        (93, ControlModes::PARODD),
    ]
    .map(|(code, flag)| (code, settings.control_modes.contains(flag).into()));
    let speeds = [(128, settings.input_speed()), (129, settings.output_speed())];
    [&codes[..], &input, &local, &output, &control, &speeds].concat()
}

/// What ends a line there, as a program would write it: the terminal adds the rest, unless
/// it is raw.
fn line_end(tty: impl AsFd) -> &'static [u8] {
    let adds = OutputModes::OPOST | OutputModes::ONLCR;
    let is_cooked = |settings: Termios| settings.output_modes.contains(adds);
    if termios::tcgetattr(tty).is_ok_and(is_cooked) { b"\n" } else { b"\r\n" }
}

/// Asks on the controlling terminal, not on standard input, so that a pipe can
/// be fed at the same time. `None` when there is no terminal, and on Ctrl-D and
/// end of input. Ctrl-C and the key that quits end the process, and Ctrl-Z stops it, as
/// they do in ssh(1): it asks again when it is continued.
pub fn ask(prompt: &str, echo: bool) -> Option<Secret<String>> {
    let mut tty = OpenOptions::new().read(true).write(true).open("/dev/tty").ok()?;
    loop {
        match ask_once(&mut tty, prompt, echo)? {
            Answer::Line(line) => return Some(line),
            Answer::None => return None,
            Answer::Signal(Signal::TSTP) => {
                // To all that the terminal would stop: who waits for us as well.
                let _ = rustix::process::kill_current_process_group(Signal::TSTP);
                // Another thread may have to stop this one.
                std::thread::sleep(PATIENCE);
            }
            Answer::Signal(signal) => {
                let own = rustix::process::getpid();
                let _ = rustix::process::kill_process(own, signal);
                // Whoever handles the signal ends the process; no next question
                // may appear before that.
                std::thread::sleep(Duration::from_secs(2));
                return None;
            }
        }
    }
}

/// Shows the prompt and takes what is typed; the terminal is as it was afterwards.
fn ask_once(tty: &mut File, prompt: &str, echo: bool) -> Option<Answer> {
    let mut keys = Vec::new();
    // Raw, so that Ctrl-C comes to us and cannot kill us with the echo off.
    change(tty.try_clone().ok()?, |settings| {
        let signals =
            [(SpecialCodeIndex::VQUIT, Signal::QUIT), (SpecialCodeIndex::VSUSP, Signal::TSTP)];
        keys.extend(signals.map(|(index, signal)| (settings.special_codes[index], signal)));
        settings.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG);
        settings.special_codes[SpecialCodeIndex::VMIN] = 1;
        settings.special_codes[SpecialCodeIndex::VTIME] = 0;
    })
    .ok()?;
    let answer = match tty.write_all(prompt.as_bytes()) {
        Ok(()) => read_line(tty, echo, &keys),
        Err(_) => Answer::None,
    };
    let _ = tty.write_all(line_end(&*tty));
    restore();
    Some(answer)
}

enum Answer {
    Line(Secret<String>),
    None,
    Signal(Signal),
}

/// A line, or what the user wants in its place: `keys` are those that send signals.
fn read_line(tty: &mut File, echo: bool, keys: &[(u8, Signal)]) -> Answer {
    // Allocated once: growing would leave copies of a secret behind.
    let mut line = Vec::with_capacity(MAX_ANSWER);
    let mut byte = [0];
    let cut = loop {
        if !matches!(tty.read(&mut byte), Ok(1)) {
            break Some(Answer::None);
        }
        let [key] = byte;
        // Zero is no key.
        let signal = keys.iter().find(|(of, _)| *of == key && key != 0);
        if let Some((_, signal)) = signal {
            break Some(Answer::Signal(*signal));
        }
        match key {
            b'\r' | b'\n' => break None,
            // Ctrl-C, and Ctrl-D on an empty line.
            3 => break Some(Answer::Signal(Signal::INT)),
            4 if line.is_empty() => break Some(Answer::None),
            // Backspace takes a whole UTF-8 character.
            8 | 127 => {
                let mut removed = line.pop();
                while removed.is_some_and(|byte: u8| byte & 0xc0 == 0x80) {
                    removed = line.pop();
                }
                if echo && removed.is_some() {
                    let _ = tty.write_all(b"\x08 \x08");
                }
            }
            // Ctrl-U takes the line.
            21 => {
                if echo {
                    let _ = tty.write_all("\x08 \x08".repeat(line.len()).as_bytes());
                }
                line.zeroize();
            }
            key if key >= 32 && line.len() < MAX_ANSWER => {
                line.push(key);
                if echo {
                    let _ = tty.write_all(&byte);
                }
            }
            _ => {}
        }
    };
    if let Some(cut) = cut {
        line.zeroize();
        return cut;
    }
    match String::from_utf8(line) {
        Ok(line) => Answer::Line(Secret::new(line)),
        Err(error) => {
            error.into_bytes().zeroize();
            Answer::None
        }
    }
}
