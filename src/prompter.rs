//! `Prompter`: the person in front of us, if there is one. Owns no terminal; whoever
//! needs an answer asks through this.

use crate::secret::Secret;

/// Calls block.
pub trait Prompter: Send + Sync {
    /// Asks for a line by a prompt of one or several lines; `echo` shows what is typed.
    /// `None` when nobody can be asked or the question was cancelled.
    fn ask(&self, prompt: &str, echo: bool) -> Option<Secret<String>>;
    /// Shows printable text of several lines that may be missed.
    fn tell(&self, text: &str);
    /// Shows printable text of several lines that must not be missed.
    fn warn(&self, text: &str);
    /// Shows what a server says to everybody who comes, printable and of several lines.
    fn banner(&self, text: &str) {
        self.tell(text);
    }
    /// Shows a printable line to those who want to know more.
    fn detail(&self, _: &str) {}
    /// Shows a printable line that programs look for that run ssh(1) with `-v`; `detail`
    /// where nobody does.
    fn remark(&self, text: &str) {
        self.detail(text);
    }
}

/// For those who may not be disturbed: nobody is asked or told anything.
#[derive(Debug, Clone, Copy)]
pub struct Nobody;

impl Prompter for Nobody {
    fn ask(&self, _: &str, _: bool) -> Option<Secret<String>> {
        None
    }
    fn tell(&self, _: &str) {}
    fn warn(&self, _: &str) {}
}
