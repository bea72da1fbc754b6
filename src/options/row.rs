//! A row of the table of options: everything that is said about one of them, but
//! for its use. Owns the macro that makes fields and rows of the table.

use super::Options;
use super::slot::Arity;
use crate::ssh::algorithms::List;

/// What is known of one option.
#[derive(Debug)]
pub struct Row {
    /// As ssh_config(5) spells it.
    pub name: &'static str,
    /// What it is for, in one sentence.
    pub about: &'static str,
    /// Everything that is not the same for most.
    pub facts: Facts,
    /// Whether every line counts, and not the first alone.
    pub each: bool,
    /// The words that it is one of, if it is one of a few.
    pub choices: &'static [&'static str],
    pub(super) arity: Arity,
    pub(super) is_set: fn(&Options) -> bool,
    pub(super) take: fn(&mut Options, &[String]) -> Result<(), String>,
    pub(super) clear: fn(&mut Options),
    pub(super) lines: fn(&Options) -> Vec<Vec<String>>,
    pub(super) said: fn(&Options) -> Vec<Vec<String>>,
}

/// Everything about an option that is not the same for most.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// Older names.
    pub aliases: &'static [&'static str],
    /// Letters of ssh(1) that set it.
    pub letters: &'static [(char, Says)],
    /// Whether it changes anything.
    pub is_honoured: bool,
    /// Whether it may stand in an address (`?NAME=VALUE`). What starts a program,
    /// loads code, or lets the other side use what is ours may not.
    pub in_address: bool,
    /// How `ssh -G` shows it.
    pub shown: Shown,
    /// The lines that `ssh -G` shows while nothing is said, where that is no value.
    pub unset: fn(&Options) -> &'static str,
    /// When it does not count although nothing is said yet.
    pub yields: Option<fn(&Options) -> bool>,
    /// What a list of options remarks about it.
    pub note: &'static str,
    /// Why it changes nothing, where who asks for it on a command line has to know.
    pub warning: &'static str,
}

/// What a letter of ssh(1) does to an option.
#[derive(Debug, Clone, Copy)]
pub enum Says {
    /// This, if nothing else was said before.
    First(&'static str),
    /// This, whatever was said before.
    Now(&'static str),
    /// The first of these; once that is said, the next.
    Next(&'static [&'static str]),
    /// What follows the letter, if nothing else was said before. If that is wrong,
    /// this is said of it; `{}` stands for the argument.
    Argument(&'static str),
}

/// How `ssh -G` shows an option.
#[derive(Debug, Clone, Copy)]
pub enum Shown {
    /// As it was written.
    Plain,
    /// Each word as the name of a file: with `~`, tokens and variables replaced.
    Files,
    /// With its tokens replaced.
    Expanded,
    /// As variables, in whose values tokens and variables are replaced.
    Environment,
    /// As the ends of a forward: tokens count in the names of sockets.
    Ends,
    /// As the algorithms that are left.
    Algorithms(List),
    /// The same of HostbasedAcceptedAlgorithms.
    Hostbased,
    /// In lower case.
    LowerCase,
    /// Not at all, or not here.
    Never,
}

/// An option that does what ssh_config(5) says.
pub(super) const HONOURED: Facts = Facts {
    aliases: &[],
    letters: &[],
    is_honoured: true,
    in_address: true,
    shown: Shown::Plain,
    unset: |_| "",
    yields: None,
    note: "",
    warning: "",
};

/// An option that is accepted, and changes nothing.
pub(super) const IGNORED: Facts = Facts { is_honoured: false, ..HONOURED };

impl Facts {
    pub(super) const fn aliases(self, aliases: &'static [&'static str]) -> Self {
        Self { aliases, ..self }
    }

    pub(super) const fn letters(self, letters: &'static [(char, Says)]) -> Self {
        Self { letters, ..self }
    }

    /// Refuses it in addresses.
    pub(super) const fn not_in_addresses(self) -> Self {
        Self { in_address: false, ..self }
    }

    pub(super) const fn shown(self, shown: Shown) -> Self {
        Self { shown, ..self }
    }

    pub(super) const fn unset(self, unset: fn(&Options) -> &'static str) -> Self {
        Self { unset, ..self }
    }

    pub(super) const fn yields(self, to: fn(&Options) -> bool) -> Self {
        Self { yields: Some(to), ..self }
    }

    pub(super) const fn note(self, note: &'static str) -> Self {
        Self { note, ..self }
    }

    pub(super) const fn warning(self, warning: &'static str) -> Self {
        Self { warning, ..self }
    }
}

impl Row {
    /// Whether it goes by this name, in whatever case.
    pub(super) fn is_called(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
            || self.facts.aliases.iter().any(|alias| alias.eq_ignore_ascii_case(name))
    }

    /// What a letter does to it, if anything.
    pub(super) fn letter(&self, letter: char) -> Option<Says> {
        self.facts.letters.iter().find(|(known, _)| *known == letter).map(|(_, says)| *says)
    }
}

/// Makes `struct Options`, with a method for each option that has a default, and
/// the table. A row is: what it is for; its name, field, type and default; facts.
macro_rules! options {
    ($(
        $(#[doc = $about:literal])+
        $name:literal $field:ident: $slot:ty $(= $default:expr)?, $facts:expr;
    )+) => {
        /// What is said of one connection by ssh_config(5), the command line, and
        /// other places that speak the same language. Every field is what was read;
        /// the method of the same name has what applies where nothing was.
        #[derive(Debug, Clone, Default, PartialEq)]
        pub struct Options {
            $( $(#[doc = $about])+ pub $field: $slot, )+
        }

        impl Options {
            $( options!(@method $name $field $slot $(= $default)?); )+
        }

        /// Every option, in the order in which `ssh -G` prints them.
        pub static TABLE: &[Row] = &[$(
            Row {
                name: $name,
                about: concat!($($about),+),
                facts: $facts,
                each: <$slot as Slot>::EACH,
                choices: <<$slot as Slot>::Value as Value>::CHOICES,
                arity: <<$slot as Slot>::Value as Value>::ARITY,
                is_set: |options| Slot::is_set(&options.$field),
                take: |options, words| Slot::take(&mut options.$field, words),
                clear: |options| options.$field = <$slot>::default(),
                said: |options| Slot::said(&options.$field),
                lines: options!(@lines $field $(= $default)?),
            },
        )+];
    };
    (@method $name:literal $field:ident $slot:ty) => {};
    (@method $name:literal $field:ident $slot:ty = $default:expr) => {
        #[doc = concat!("`", $name, "`: what was said, or what applies otherwise.")]
        pub fn $field(&self) -> <$slot as Slot>::Value {
            self.$field.clone().unwrap_or($default)
        }
    };
    (@lines $field:ident) => { |options| Slot::lines(&options.$field) };
    (@lines $field:ident = $default:expr) => { |options| Slot::lines(&Some(options.$field())) };
}
pub(super) use options;
