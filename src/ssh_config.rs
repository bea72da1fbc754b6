//! ssh_config(5): which options apply to a host. Owns the files' grammar, Host
//! and Match, Include, and that the first value counts; what an option means is
//! for whoever asks for it.

mod keyword;
mod line;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::pattern::{matches_host, matches_pattern};
use crate::printable::{self, Printable};
use keyword::Kind;

/// Bound on a file, in bytes.
const MAX_FILE: u64 = 16 << 20;
/// Includes within includes, as in OpenSSH.
const MAX_DEPTH: usize = 16;
/// Files that one Include may name.
const MAX_INCLUDED: usize = 1000;

/// The options that apply, in the order in which they were found.
#[derive(Debug, Clone, Default)]
pub struct Config {
    settings: Vec<Setting>,
    /// `IgnoreUnknown`.
    ignored: Vec<String>,
    /// Whether a `Match final` waits for the second pass.
    wants_final: bool,
}

/// One option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// In lower case.
    pub keyword: &'static str,
    /// Its arguments, without quotes.
    pub args: Vec<String>,
    /// Where it was set, for messages.
    pub origin: String,
}

/// What Host and Match look at.
pub struct About<'a> {
    /// The host as the user typed it.
    pub original_host: &'a str,
    /// What Host compares with: in the second pass the name to connect to.
    pub host: &'a str,
    /// Who runs us.
    pub local_user: &'a str,
    /// Whether this is the second pass, in which `Match final` holds.
    pub is_final: bool,
    /// Runs the command of a `Match exec`, with its tokens replaced.
    pub exec: &'a dyn Fn(&Config, &str) -> Result<bool>,
}

impl Setting {
    /// The first argument.
    pub fn value(&self) -> &str {
        self.args.first().map_or("", String::as_str)
    }

    /// The error for a value that cannot be used.
    pub fn wrong(&self, why: &str) -> Error {
        let value = self.args.join(" ");
        let value = Printable(&value);
        Error::Usage(format!("{}: {} \"{value}\": {why}", self.origin, self.keyword))
    }

    /// `yes` or `no`.
    ///
    /// # Errors
    /// [`Error::Usage`] for anything else.
    pub fn flag(&self) -> Result<bool> {
        match self.value().to_ascii_lowercase().as_str() {
            "yes" | "true" => Ok(true),
            "no" | "false" => Ok(false),
            _ => Err(self.wrong("neither yes nor no")),
        }
    }
}

impl Config {
    /// The option that counts, by its name in lower case.
    pub fn get(&self, keyword: &str) -> Option<&Setting> {
        self.settings.iter().find(|setting| setting.keyword == keyword)
    }

    /// Whether `one` was set, and `other` not before it.
    pub fn is_before(&self, one: &str, other: &str) -> bool {
        let place = |keyword| self.settings.iter().position(|setting| setting.keyword == keyword);
        match (place(one), place(other)) {
            (Some(one), Some(other)) => one < other,
            (one, _) => one.is_some(),
        }
    }

    /// All lines of an option of which every line counts.
    pub fn all<'a>(&'a self, keyword: &'a str) -> impl Iterator<Item = &'a Setting> {
        self.settings.iter().filter(move |setting| setting.keyword == keyword)
    }

    /// `yes` or `no`, or `default` when nothing is said.
    ///
    /// # Errors
    /// As [`Setting::flag`].
    pub fn flag(&self, keyword: &str, default: bool) -> Result<bool> {
        self.get(keyword).map_or(Ok(default), Setting::flag)
    }

    /// Sets an option that a letter of the command line stands for.
    pub fn put(&mut self, keyword: &str, args: &[&str]) {
        if let Some((keyword, kind)) = keyword::find(keyword) {
            let args = args.iter().map(|arg| (*arg).to_owned()).collect();
            self.add(Setting { keyword, args, origin: "command-line".to_owned() }, kind);
        }
    }

    /// The same, whatever was said before.
    pub fn replace(&mut self, keyword: &str, args: &[&str]) {
        self.settings.retain(|setting| setting.keyword != keyword);
        self.put(keyword, args);
    }

    /// Sets an option as `-o` has it: `Name=value` or `Name value`.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub fn line(&mut self, text: &str) -> Result<()> {
        let origin = "command-line".to_owned();
        let Some((name, rest)) = line::split(text).map_err(|why| bad(&origin, &why))? else {
            return Ok(());
        };
        if ["host", "match", "include"].contains(&name.to_ascii_lowercase().as_str()) {
            return Err(bad(&origin, &format!("{name} is not taken here")));
        }
        self.option(&name, rest, &origin)
    }

    /// Reads the user's file; a missing one is an empty one unless it was named.
    ///
    /// # Errors
    /// [`Error::Usage`] naming file and line, [`Error::File`].
    pub fn read_user(&mut self, path: &Path, is_named: bool, about: &About<'_>) -> Result<()> {
        let dir = path.parent().unwrap_or(Path::new("."));
        // `-F` names what is not below the user's own folder.
        let include_dir = match (is_named, std::env::var_os("HOME")) {
            (true, Some(home)) => PathBuf::from(home).join(".ssh"),
            _ => dir.to_owned(),
        };
        self.read(
            path,
            &Reading { is_named, is_users: !is_named, include_dir, depth: 0, is_inactive: false },
            &mut true,
            about,
        )
    }

    /// Reads the file of the whole computer.
    ///
    /// # Errors
    /// As for [`Config::read_user`].
    pub fn read_system(&mut self, path: &Path, about: &About<'_>) -> Result<()> {
        let include_dir = path.parent().unwrap_or(Path::new("/")).to_owned();
        let (is_named, is_users, depth, is_inactive) = (false, false, 0, false);
        let reading = Reading { is_named, is_users, include_dir, depth, is_inactive };
        self.read(path, &reading, &mut true, about)
    }

    /// Whether the files have to be read again with [`About::is_final`].
    pub fn wants_final(&self) -> bool {
        self.wants_final
    }

    /// The name to connect to as far as it is known by now.
    pub fn host_name(&self, original: &str) -> String {
        let of_token = |token| (token == 'h').then(|| original.to_owned());
        let name = self.get("hostname").map(Setting::value);
        let expanded = name.and_then(|name| crate::tokens::expand(name, &of_token).ok());
        expanded.unwrap_or_else(|| original.to_owned())
    }

    fn read(
        &mut self,
        path: &Path,
        reading: &Reading,
        active: &mut bool,
        about: &About<'_>,
    ) -> Result<()> {
        let Some(text) = read_file(path, reading)? else { return Ok(()) };
        let mut failures = Vec::new();
        for (at, text) in text.lines().enumerate() {
            let origin = format!("{} line {}", printable::line(&path.to_string_lossy()), at + 1);
            let done = self.file_line(text, &origin, reading, active, about);
            match done {
                Ok(()) => {}
                Err(Error::Usage(why)) => failures.push(why),
                Err(error) => return Err(error),
            }
        }
        // All mistakes at once, as ssh(1) does.
        if failures.is_empty() { Ok(()) } else { Err(Error::Usage(failures.join("\n"))) }
    }

    fn file_line(
        &mut self,
        text: &str,
        origin: &str,
        reading: &Reading,
        active: &mut bool,
        about: &About<'_>,
    ) -> Result<()> {
        let Some((name, rest)) = line::split(text).map_err(|why| bad(origin, &why))? else {
            return Ok(());
        };
        let args = || line::words(rest).map_err(|why| bad(origin, &why));
        match name.to_ascii_lowercase().as_str() {
            "host" => {
                let patterns = args()?;
                if patterns.is_empty() {
                    return Err(bad(origin, "Host: missing argument"));
                }
                *active = is_listed(&patterns, about.host, matches_pattern) && !reading.is_inactive;
            }
            "match" => *active = self.matches(&args()?, origin, about)? && !reading.is_inactive,
            "include" => {
                for file in included(&args()?, &reading.include_dir) {
                    if reading.depth >= MAX_DEPTH {
                        return Err(bad(origin, "too many includes within includes"));
                    }
                    let deeper = Reading {
                        is_named: false,
                        depth: reading.depth + 1,
                        is_inactive: !*active,
                        ..reading.clone()
                    };
                    let mut within = *active;
                    self.read(&file, &deeper, &mut within, about)?;
                }
            }
            _ if *active => self.option(&name, rest, origin)?,
            // A mistake is one whomever it is for.
            _ => Self::default().with_ignored(self).option(&name, rest, origin)?,
        }
        Ok(())
    }

    fn with_ignored(mut self, other: &Self) -> Self {
        self.ignored.clone_from(&other.ignored);
        self
    }

    fn option(&mut self, name: &str, rest: &str, origin: &str) -> Result<()> {
        let Some((keyword, kind)) = keyword::find(name) else {
            let lower = name.to_ascii_lowercase();
            let is_ignored = self
                .ignored
                .iter()
                .any(|pattern| matches_pattern(pattern.as_bytes(), lower.as_bytes()));
            return match is_ignored {
                true => Ok(()),
                false => {
                    Err(bad(origin, &format!("Bad configuration option: {}", Printable(name))))
                }
            };
        };
        let args = match kind {
            Kind::Dead => return Ok(()),
            Kind::Rest => vec![rest.trim_start_matches(['=', ' ', '\t']).to_owned()],
            _ => line::words(rest).map_err(|why| bad(origin, &why))?,
        };
        if args.first().is_none_or(|first| first.is_empty() && kind != Kind::List) {
            return Err(bad(origin, &format!("{name}: missing argument")));
        }
        if kind == Kind::One && args.len() > 1 {
            return Err(bad(origin, &format!("{name}: extra arguments at end of line")));
        }
        let setting = Setting { keyword, args, origin: origin.to_owned() };
        if let Some(why) = keyword::mistake(keyword, setting.value()) {
            return Err(setting.wrong(why));
        }
        self.add(setting, kind);
        Ok(())
    }

    fn add(&mut self, setting: Setting, kind: Kind) {
        if kind != Kind::Each && self.get(setting.keyword).is_some() {
            return;
        }
        if setting.keyword == "ignoreunknown" {
            self.ignored =
                setting.value().to_ascii_lowercase().split(',').map(str::to_owned).collect();
        }
        // What two blocks name, or two passes see, is meant once.
        let is_twice = self.all(setting.keyword).any(|other| other.args == setting.args);
        if !is_twice {
            self.settings.push(setting);
        }
    }

    fn matches(&mut self, words: &[String], origin: &str, about: &About<'_>) -> Result<bool> {
        let mut words = words.iter();
        let mut result = true;
        let mut count = 0;
        while let Some(word) = words.next() {
            count += 1;
            let (negated, word) = match word.strip_prefix('!') {
                Some(word) => (true, word),
                None => (false, word.as_str()),
            };
            // `host=a` is `host a`.
            let (name, own) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (word, None),
            };
            let name = name.to_ascii_lowercase();
            let holds = match name.as_str() {
                "all" => {
                    if count > 2 || words.next().is_some() {
                        return Err(bad(
                            origin,
                            "'all' cannot be combined with other Match attributes",
                        ));
                    }
                    true
                }
                "final" | "canonical" => {
                    self.wants_final |= name == "final";
                    about.is_final
                }
                _ => {
                    let Some(value) = own.or_else(|| words.next().cloned()) else {
                        return Err(bad(origin, &format!("Match {name}: missing argument")));
                    };
                    let patterns: Vec<String> = value.split(',').map(str::to_owned).collect();
                    let list = |text: &str| is_listed(&patterns, text, matches_pattern);
                    let hosts = |text: &str| is_listed(&patterns, text, matches_host);
                    match name.as_str() {
                        "host" => hosts(&self.host_name(about.original_host)),
                        "originalhost" => hosts(about.original_host),
                        "user" => {
                            let user = self.get("user").map(Setting::value);
                            list(user.unwrap_or(about.local_user))
                        }
                        "localuser" => list(about.local_user),
                        "tagged" => list(self.get("tag").map_or("", Setting::value)),
                        "exec" => result && (about.exec)(self, &value)?,
                        // Of later versions; nothing here can be so.
                        "localnetwork" | "version" | "sessiontype" | "command" => false,
                        _ => {
                            return Err(bad(
                                origin,
                                &format!("Unsupported Match attribute {}", Printable(&name)),
                            ));
                        }
                    }
                }
            };
            result &= holds != negated;
        }
        if count == 0 {
            return Err(bad(origin, "Match: missing condition"));
        }
        Ok(result)
    }
}

/// How a file is read.
#[derive(Debug, Clone)]
struct Reading {
    /// Whether it has to be there.
    is_named: bool,
    /// Whether only its owner may write to it.
    is_users: bool,
    /// Where relative names of Include begin.
    include_dir: PathBuf,
    depth: usize,
    /// Whether it is included where nothing applies.
    is_inactive: bool,
}

fn bad(origin: &str, why: &str) -> Error {
    Error::Usage(format!("{origin}: {why}"))
}

/// Whether a list of patterns has `text`; one that is negated says no for all.
pub(crate) fn is_listed(
    patterns: &[String],
    text: &str,
    matches: fn(&[u8], &[u8]) -> bool,
) -> bool {
    let mut found = false;
    for pattern in patterns {
        match pattern.strip_prefix('!') {
            Some(pattern) if matches(pattern.as_bytes(), text.as_bytes()) => return false,
            Some(_) => {}
            None => found |= matches(pattern.as_bytes(), text.as_bytes()),
        }
    }
    found
}

fn read_file(path: &Path, reading: &Reading) -> Result<Option<String>> {
    use std::io::Read;
    let failed = |source| Error::File { action: "read", path: path.to_owned(), source };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        // What may be missing may also be out of reach.
        Err(_) if !reading.is_named => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let meta = file.metadata().map_err(failed)?;
    if meta.is_dir() {
        return Ok(None);
    }
    let uid = rustix::process::getuid().as_raw();
    if reading.is_users && (!(meta.uid() == 0 || meta.uid() == uid) || meta.mode() & 0o022 != 0) {
        return Err(Error::Usage(format!("Bad owner or permissions on {}", path.display())));
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(Error::TooLarge { path: path.to_owned(), limit: MAX_FILE });
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// The files that an Include names, in their order.
fn included(patterns: &[String], dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for pattern in patterns {
        let pattern = match (pattern.strip_prefix("~/"), std::env::var_os("HOME")) {
            (Some(rest), Some(home)) => Path::new(&home).join(rest),
            _ => dir.join(pattern),
        };
        let found = glob::glob(&pattern.to_string_lossy()).into_iter().flatten();
        files.extend(found.flatten().take(MAX_INCLUDED));
    }
    files
}

#[cfg(test)]
mod tests;
