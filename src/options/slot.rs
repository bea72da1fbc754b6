//! How the words of a line become the value of a field. Owns which line counts,
//! the first or every one, and how many words a line has; what the words mean is
//! for the types of the values.

/// How what follows a keyword is taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arity {
    /// One word.
    One,
    /// One word or two.
    Two,
    /// One word or more.
    Some,
    /// The rest of the line as it stands, as for commands.
    Rest,
    /// What is before a blank or a `#` there, with the quotes that it has.
    Unquoted,
}

/// What one line of ssh_config(5) says.
pub trait Value: Clone {
    /// What the line consists of.
    const ARITY: Arity = Arity::One;

    /// The words that it is one of, if it is one of a few.
    const CHOICES: &'static [&'static str] = &[];

    /// Reads the words of a line, of which there is at least one.
    ///
    /// # Errors
    /// The reason, in the words of OpenSSH's `readconf.c` where it has some.
    fn parse(words: &[String]) -> Result<Self, String>;

    /// The words that `ssh -G` prints for it.
    fn words(&self) -> Vec<String>;

    /// The lines that `ssh -G` prints for it.
    fn lines(&self) -> Vec<Vec<String>> {
        vec![self.words()]
    }

    /// The words that [`Value::parse`] makes the same value of.
    fn said(&self) -> Vec<String> {
        self.words()
    }
}

/// A field of [`Options`](super::Options), which many lines may try to fill.
pub trait Slot: Default {
    /// What a line says.
    type Value: Value;
    /// Whether every line counts, and not the first alone.
    const EACH: bool;

    /// Whether a line has filled it.
    fn is_set(&self) -> bool;

    /// Reads a line; it need not be the one that counts.
    ///
    /// # Errors
    /// As for [`Value::parse`].
    fn take(&mut self, words: &[String]) -> Result<(), String>;

    /// What `ssh -G` prints.
    fn lines(&self) -> Vec<Vec<String>>;

    /// Lines that fill an empty one in the same way.
    fn said(&self) -> Vec<Vec<String>>;
}

/// The first line counts.
impl<V: Value> Slot for Option<V> {
    type Value = V;
    const EACH: bool = false;

    fn is_set(&self) -> bool {
        self.is_some()
    }

    fn take(&mut self, words: &[String]) -> Result<(), String> {
        let value = V::parse(words)?;
        self.get_or_insert(value);
        Ok(())
    }

    fn lines(&self) -> Vec<Vec<String>> {
        self.as_ref().map(Value::lines).unwrap_or_default()
    }

    fn said(&self) -> Vec<Vec<String>> {
        self.iter().map(Value::said).collect()
    }
}

/// Every line counts, but what two blocks say, or two passes see, is meant once.
impl<V: Value + PartialEq> Slot for Vec<V> {
    type Value = V;
    const EACH: bool = true;

    fn is_set(&self) -> bool {
        !self.is_empty()
    }

    fn take(&mut self, words: &[String]) -> Result<(), String> {
        let value = V::parse(words)?;
        if !self.contains(&value) {
            self.push(value);
        }
        Ok(())
    }

    fn lines(&self) -> Vec<Vec<String>> {
        self.iter().flat_map(Value::lines).collect()
    }

    fn said(&self) -> Vec<Vec<String>> {
        self.iter().map(Value::said).collect()
    }
}

/// The first word.
pub(super) fn first(words: &[String]) -> &str {
    words.first().map_or("", String::as_str)
}
