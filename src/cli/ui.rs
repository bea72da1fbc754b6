//! Standard output and standard error: the only place that prints. Owns what is said at
//! which level, in whose words, and that nothing secret and no control character gets out.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::grammar::{Called, Color, Global};
use super::invocation::Front;
use super::role::Role;
use super::{as_clan, askpass, progress};
use crate::advice::{self, Caller};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::model::Clan;
use crate::openssh::Resolved;
use crate::options::{LogLevel, Value as _};
use crate::prompter::Prompter;
use crate::secret::{Secret, redacted};
use crate::{log, printable, term};

/// Problems of a clan's data that are said at once; who mends these sees the next.
const MOST_PROBLEMS: usize = 20;

/// What stands between us and standard error.
pub(super) struct Ui {
    /// How much is said, as a number of [`LogLevel`]: a user may change it meanwhile.
    level: AtomicUsize,
    /// Whose words it is in.
    pub(super) front: Front,
    /// By which name commands are advised.
    called: Called,
    pub(super) progress: progress::Progress,
    /// What we were started with.
    env: Env,
}

impl Ui {
    pub(super) fn new(global: &Global) -> Self {
        let ui = Self::with(global.verbose > 0, global.quiet, global.color, &global.env);
        Self { called: global.called, ..ui }
    }

    /// For one invocation, whose LogLevel counts. Nobody looks at a line of progress
    /// where nobody may be asked, or in the background, but for a master that somebody
    /// waits for.
    pub(super) fn of(resolved: &Resolved, color: Color) -> Self {
        let options = &resolved.options;
        let is_watched = !options.batch_mode()
            && !options.fork_after_authentication()
            && Role::of_this() != Some(Role::Session);
        let color = if is_watched { color } else { Color::Never };
        let ui = Self::with(resolved.verbosity() > 0, resolved.is_quiet(), color, &resolved.env);
        ui.set_level(options.log_level());
        ui
    }

    /// The same in the words of ssh(1).
    pub(super) fn as_ssh(resolved: &Resolved, color: Color) -> Self {
        Self { front: Front::Ssh, ..Self::of(resolved, color) }
    }

    pub(super) fn with(verbose: bool, quiet: bool, color: Color, env: &Env) -> Self {
        let fancy = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                // $NO_COLOR is about colour, of which there is none.
                std::io::stderr().is_terminal() && env.var("TERM").is_none_or(|term| term != "dumb")
            }
        };
        let progress = progress::Progress::new(fancy && !quiet && !verbose);
        let level = match (quiet, verbose) {
            (true, _) => LogLevel::Error,
            (false, true) => LogLevel::Debug1,
            (false, false) => LogLevel::Info,
        };
        let level = AtomicUsize::new(level as usize);
        Self { level, front: Front::Clan, called: Called::Own, progress, env: env.clone() }
    }

    pub(super) fn set_level(&self, level: LogLevel) {
        self.level.store(level as usize, Ordering::Relaxed);
    }

    pub(super) fn says(&self, level: LogLevel) -> bool {
        self.level.load(Ordering::Relaxed) >= level as usize
    }

    /// Says more or less from now on; the level that counts then.
    pub(super) fn change_level(&self, is_more: bool) -> String {
        let now = self.level.load(Ordering::Relaxed);
        let next = if is_more { now + 1 } else { now.saturating_sub(1) };
        let level = LogLevel::ALL.get(next).copied().unwrap_or(LogLevel::Debug3);
        self.set_level(level);
        level.words().concat()
    }

    /// An error and its hints.
    pub(super) fn error(&self, error: &Error) {
        let mut text = format!("error: {error}\n");
        let mut hints = advice::of(error, Caller::CommandLine);
        if let Called::Clan(command) = self.called {
            hints = as_clan::in_words_of_clan(&hints, command);
        }
        for hint in hints {
            text.push_str(&format!("hint: {hint}\n"));
        }
        self.write(&text);
    }

    /// A line that is left out where nothing is to be said at all.
    pub(super) fn say(&self, text: &str) {
        if self.says(LogLevel::Error) {
            self.write(&format!("{text}\n"));
        }
    }

    /// A line for all who have not asked for silence.
    pub(super) fn notice(&self, text: &str) {
        if self.says(LogLevel::Info) {
            self.say(text);
        }
    }

    /// Something the user should know, though all goes on.
    pub(super) fn warning(&self, text: &str) {
        if self.says(LogLevel::Info) {
            self.write(&format!("warning: {text}\n"));
        }
    }

    /// nix runs, which may take long.
    pub(super) fn evaluating(&self) {
        self.progress.doing("evaluating the clan with nix".to_owned());
    }

    /// Something for `-v`.
    pub(super) fn verbose(&self, text: &str) {
        match self.front {
            Front::Clan if self.says(LogLevel::Verbose) => self.write(&format!("{text}\n")),
            Front::Ssh if self.says(LogLevel::Debug1) => {
                self.write(&format!("debug1: {text}\r\n"));
            }
            _ => {}
        }
    }

    /// What is wrong with parts of the exports that are not used.
    pub(super) fn problems(&self, clan: &Clan) {
        for problem in clan.problems.iter().take(MOST_PROBLEMS) {
            self.warning(&problem.to_string());
        }
        let more = clan.problems.len().saturating_sub(MOST_PROBLEMS);
        if more > 0 {
            self.warning(&format!("{more} further problems in the clan's data are not shown"));
        }
        for warning in &clan.warnings {
            self.verbose(&format!("warning: {warning}"));
        }
    }

    /// What is no word about ourselves, and goes into no log (`-E`).
    pub(super) fn show(&self, text: &str) {
        self.write_by(text, |text| {
            // Nobody is left to tell when standard error is closed.
            let _ = std::io::stderr().lock().write_all(text.as_bytes());
        });
    }

    pub(super) fn write(&self, text: &str) {
        self.write_by(text, log::write);
    }

    pub(super) fn write_by(&self, text: &str, write: impl FnOnce(&str)) {
        let text = redacted(text);
        let text = printable::shown(&text);
        self.progress.aside(|| write(&text));
    }
}

impl Prompter for Ui {
    fn ask(&self, prompt: &str, echo: bool) -> Option<Secret<String>> {
        let prompt = &*printable::shown(prompt);
        self.progress.pause(|| match askpass::program(&self.env) {
            Some(program) => askpass::ask(&program, prompt),
            None => term::ask(prompt, echo),
        })
    }

    fn tell(&self, text: &str) {
        if self.says(LogLevel::Info) {
            self.write(&format!("{}\n", text.trim_end()));
        }
    }

    fn warn(&self, text: &str) {
        self.say(text.trim_end());
    }

    fn banner(&self, text: &str) {
        if self.says(LogLevel::Info) {
            self.show(&format!("{}\n", text.trim_end()));
        }
    }

    fn detail(&self, text: &str) {
        self.verbose(text);
    }

    fn remark(&self, text: &str) {
        if self.says(LogLevel::Verbose) {
            self.write(&format!("{text}\r\n"));
        }
    }
}

/// Writes text for people to standard output.
pub(super) fn print_text(text: &str) -> Result<()> {
    print(printable::shown(text).as_bytes())
}

/// Writes JSON to standard output, with a newline at its end.
pub(super) fn print_json(value: &serde_json::Value) -> Result<()> {
    print(printable::json(&format!("{value:#}\n")).as_bytes())
}

/// Writes data to standard output.
pub(super) fn print(data: &[u8]) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(data).and_then(|()| stdout.flush()).map_err(Error::Output)
}
