//! Options as words of a command line that is called later, and elsewhere. Owns that files
//! have absolute names there; which options there are is for those who have them.

use std::path::Path;

use crate::error::{Error, Result};

/// The words so far.
#[derive(Debug, Default)]
pub(super) struct CommandWords(Vec<String>);

impl CommandWords {
    /// Adds an option with its value.
    pub(super) fn option(&mut self, name: &str, value: &str) {
        self.0.extend([name.to_owned(), value.to_owned()]);
    }

    /// Adds an option with a file.
    ///
    /// # Errors
    /// [`Error::Usage`] where its name is not UTF-8.
    pub(super) fn file(&mut self, name: &str, file: &Path) -> Result<()> {
        self.option(name, &absolute(file)?);
        Ok(())
    }

    /// Adds an option with a file, or with what begins with `beginning` and is none.
    ///
    /// # Errors
    /// As for [`Self::file`].
    pub(super) fn file_or(&mut self, name: &str, value: &str, beginning: &str) -> Result<()> {
        // What begins so is found by the home directory, wherever that is asked.
        match value.starts_with(beginning) || value.starts_with("~/") {
            true => self.option(name, value),
            false => self.file(name, Path::new(value))?,
        }
        Ok(())
    }

    /// Adds an option without a value.
    pub(super) fn flag(&mut self, name: &str) {
        self.0.push(name.to_owned());
    }

    /// All of them.
    pub(super) fn into_words(self) -> Vec<String> {
        self.0
    }
}

fn absolute(file: &Path) -> Result<String> {
    let absolute = std::path::absolute(file).map_err(|_| Error::Internal)?;
    text(&absolute)
}

/// A path as text.
///
/// # Errors
/// [`Error::Usage`] where it is not UTF-8.
pub(super) fn text(path: &Path) -> Result<String> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| {
        Error::Usage("a path that is not UTF-8 cannot be written into ssh_config".to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_absolute_names() {
        let mut words = CommandWords::default();
        words.file("--config", Path::new("/a b")).unwrap();
        words.file_or("--key", "var:admin", "var:").unwrap();
        words.file_or("--key", "~/key", "var:").unwrap();
        words.file_or("--key", "key", "var:").unwrap();
        words.flag("--impure");
        let here = std::path::absolute("key").unwrap().to_str().unwrap().to_owned();
        let expected = [
            "--config",
            "/a b",
            "--key",
            "var:admin",
            "--key",
            "~/key",
            "--key",
            &here,
            "--impure",
        ];
        assert_eq!(words.into_words(), expected);
    }
}
