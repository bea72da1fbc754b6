//! ssh_config(5): which lines of its files apply to a host. Owns Host and Match,
//! and Include; what the other lines say is for [`Options`] to read.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::encoding;
use crate::error::{Error, Result, strerror};
use crate::file;
use crate::options::{Options, Origin, line};
use crate::pattern::{matches_host, matches_pattern};
use crate::printable::{self, Printable};

/// Bound on a file, in bytes.
const MAX_FILE: u64 = 16 << 20;
/// Includes within includes, as in OpenSSH.
const MAX_DEPTH: usize = 16;
/// Files that one Include may name.
const MAX_INCLUDED: usize = 1000;

/// What is read for one host.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The options that apply by now.
    pub options: Options,
    /// The files that were read, whether or not anything in them applies.
    pub files: Vec<PathBuf>,
    /// Whether a `Match final` waits for the second pass.
    wants_final: bool,
}

/// What Host and Match look at.
pub struct MatchContext<'a> {
    /// The host as the user typed it.
    pub original_host: &'a str,
    /// What Host compares with: in the second pass the name to connect to.
    pub host: &'a str,
    /// Who runs us.
    pub local_user: &'a str,
    /// Where his files are.
    pub home: Option<&'a Path>,
    /// Who logs in where nobody says.
    pub login: &'a str,
    /// Whether this is the second pass, in which `Match final` holds.
    pub is_final: bool,
    /// Runs the command of a `Match exec`, with its tokens replaced.
    pub exec: &'a dyn Fn(&Options, &str) -> Result<bool>,
    /// The name of a file that Include names, with tokens and variables replaced.
    pub file: &'a dyn Fn(&Options, &str) -> Result<String>,
}

impl Config {
    /// What the command line says, before anything is read.
    pub fn new(options: Options) -> Self {
        Self { options, ..Self::default() }
    }

    /// Reads the user's file; a missing one is an empty one unless it was named.
    ///
    /// # Errors
    /// [`Error::SshConfig`] naming file and line, [`Error::File`].
    pub fn read_user(
        &mut self,
        path: &Path,
        is_named: bool,
        context: &MatchContext<'_>,
    ) -> Result<()> {
        let dir = path.parent().unwrap_or(Path::new("."));
        // `-F` names what is not below the user's own folder.
        let include_dir = match (is_named, context.home) {
            (true, Some(home)) => home.join(".ssh"),
            _ => dir.to_owned(),
        };
        self.read(
            path,
            &Reading { is_named, is_users: !is_named, include_dir, depth: 0, is_inactive: false },
            &mut true,
            context,
        )
    }

    /// Reads the file of the whole computer.
    ///
    /// # Errors
    /// As for [`Config::read_user`].
    pub fn read_system(&mut self, path: &Path, context: &MatchContext<'_>) -> Result<()> {
        let include_dir = path.parent().unwrap_or(Path::new("/")).to_owned();
        let (is_named, is_users, depth, is_inactive) = (false, false, 0, false);
        let reading = Reading { is_named, is_users, include_dir, depth, is_inactive };
        self.read(path, &reading, &mut true, context)
    }

    /// Whether the files have to be read again with [`MatchContext::is_final`].
    pub fn wants_final(&self) -> bool {
        self.wants_final
    }

    fn read(
        &mut self,
        path: &Path,
        reading: &Reading,
        active: &mut bool,
        context: &MatchContext<'_>,
    ) -> Result<()> {
        let Some(text) = read_file(path, reading)? else { return Ok(()) };
        self.files.push(path.to_owned());
        let (mut failures, mut first) = (Vec::new(), None);
        for (at, text) in text.lines().enumerate() {
            let origin = Origin::line(path, at + 1);
            let done = self.file_line(text, &origin, reading, active, context);
            match done {
                Ok(()) => {}
                // That of an included file ends everything, as its own end does.
                Err(Error::SshConfig { path: of, line, text }) if of != path => {
                    failures.push(text);
                    let text = failures.join("\n");
                    return Err(Error::SshConfig { path: of, line, text });
                }
                Err(Error::SshConfig { text, .. } | Error::Usage(text)) => {
                    first = first.or(Some(at + 1));
                    failures.push(text);
                }
                Err(error) => return Err(error),
            }
        }
        if failures.is_empty() {
            return Ok(());
        }
        // All mistakes at once, as ssh(1) does.
        let (shown, count) = (printable::line(&path.to_string_lossy()), failures.len());
        failures.push(format!("{shown}: terminating, {count} bad configuration options"));
        let (path, text) = (path.to_owned(), failures.join("\n"));
        Err(Error::SshConfig { path, line: first, text })
    }

    fn file_line(
        &mut self,
        text: &str,
        origin: &Origin,
        reading: &Reading,
        active: &mut bool,
        context: &MatchContext<'_>,
    ) -> Result<()> {
        let Some((name, rest)) = line::split(text).map_err(|why| origin.wrong(&why))? else {
            return Ok(());
        };
        let args = || line::words(rest).map_err(|why| origin.wrong(&why));
        match name.to_ascii_lowercase().as_str() {
            "host" => {
                let patterns = args()?;
                if patterns.is_empty() {
                    return Err(origin.wrong("no argument after keyword \"host\""));
                }
                *active =
                    is_listed(&patterns, context.host, matches_pattern) && !reading.is_inactive;
            }
            "match" => *active = self.matches(&args()?, origin, context)? && !reading.is_inactive,
            "include" => {
                let names = args()?;
                if names.is_empty() || names.iter().any(String::is_empty) {
                    return Err(origin.wrong(match names.is_empty() {
                        true => "no argument after keyword \"include\"",
                        false => "keyword include empty argument",
                    }));
                }
                let named = names.iter().map(|name| {
                    let named = (context.file)(&self.options, name);
                    named.map_err(|error| origin.wrong(&error.to_string()))
                });
                let named: Vec<String> = named.collect::<Result<_>>()?;
                for file in included(&named, &reading.include_dir, context.home) {
                    if reading.depth >= MAX_DEPTH {
                        // Not one mistake among others: each would be read 16 deep.
                        let deep = origin.wrong("too many includes within includes");
                        return Err(Error::OptionValue(deep.to_string()));
                    }
                    let deeper = Reading {
                        is_named: false,
                        depth: reading.depth + 1,
                        is_inactive: !*active,
                        ..reading.clone()
                    };
                    let mut within = *active;
                    match self.read(&file, &deeper, &mut within, context) {
                        // What somebody includes is there to be read.
                        Err(Error::File { source, .. }) => {
                            let (file, why) =
                                (printable::line(&file.to_string_lossy()), strerror(&source));
                            let text = format!("Can't open user config file {file}: {why}");
                            return Err(Error::Usage(text));
                        }
                        done => done?,
                    }
                }
            }
            _ if *active => self.options.set(&name, rest, origin)?,
            _ => self.options.check(&name, rest, origin)?,
        }
        Ok(())
    }

    fn matches(
        &mut self,
        words: &[String],
        origin: &Origin,
        context: &MatchContext<'_>,
    ) -> Result<bool> {
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
                        return Err(
                            origin.wrong("'all' cannot be combined with other Match attributes")
                        );
                    }
                    true
                }
                "final" | "canonical" => {
                    self.wants_final |= name == "final";
                    context.is_final
                }
                _ => {
                    let Some(value) = own.or_else(|| words.next().cloned()) else {
                        return Err(origin.wrong(&format!("Match {name}: missing argument")));
                    };
                    let patterns: Vec<String> = value.split(',').map(str::to_owned).collect();
                    let list = |text: &str| is_listed(&patterns, text, matches_pattern);
                    let hosts = |text: &str| is_listed(&patterns, text, matches_host);
                    match name.as_str() {
                        "host" => hosts(&host_name(&self.options, context.original_host)),
                        "originalhost" => hosts(context.original_host),
                        "user" => list(self.options.user.as_deref().unwrap_or(context.login)),
                        "localuser" => list(context.local_user),
                        "tagged" => list(self.options.tag.as_deref().unwrap_or_default()),
                        "exec" => result && (context.exec)(&self.options, &value)?,
                        // Of later versions; nothing here can be so.
                        "localnetwork" | "version" | "sessiontype" | "command" => false,
                        _ => {
                            return Err(origin.wrong(&format!(
                                "Unsupported Match attribute {}",
                                Printable(&name)
                            )));
                        }
                    }
                }
            };
            result &= holds != negated;
        }
        if count == 0 {
            return Err(origin.wrong("no argument after keyword \"match\""));
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

/// The name to connect to as far as it is known by now.
pub fn host_name(options: &Options, original: &str) -> String {
    let of_token = |token| (token == 'h').then(|| original.to_owned());
    let name = options.host_name.as_ref();
    let expanded = name.and_then(|name| crate::tokens::expand(name.written(), &of_token).ok());
    expanded.unwrap_or_else(|| original.to_owned())
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
    // Nobody may ever write into a FIFO that has not been named.
    let flags = if reading.is_named { OFlags::empty() } else { OFlags::NONBLOCK };
    let flags = flags.bits().cast_signed();
    let opened = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if !reading.is_named && error.kind() == ErrorKind::NotFound => return Ok(None),
        // What may be missing may also be out of reach.
        Err(_) if !reading.is_named && reading.depth == 0 => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let meta = opened.metadata().map_err(failed)?;
    if meta.is_dir() {
        return Ok(None);
    }
    if meta.file_type().is_fifo() && !reading.is_named {
        return Err(failed(file::not_regular()));
    }
    if (reading.is_users || reading.depth > 0) && file::is_bad_to_ssh(&meta) {
        let shown = printable::line(&path.to_string_lossy());
        let text = format!("Bad owner or permissions on {shown}");
        return Err(Error::SshConfig { path: path.to_owned(), line: None, text });
    }
    let mut bytes = Vec::new();
    opened.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(Error::TooLarge { path: path.to_owned(), limit: MAX_FILE });
    }
    Ok(Some(encoding::text(&bytes)))
}

/// The files that an Include names, in their order; hidden ones only if it says so.
fn included(patterns: &[String], dir: &Path, home: Option<&Path>) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for pattern in patterns {
        let pattern = match (pattern.strip_prefix("~/"), home) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => dir.join(pattern),
        };
        // Two stars are no more than one to glob(3).
        let mut text = pattern.to_string_lossy().into_owned();
        while text.contains("**") {
            text = text.replace("**", "*");
        }
        let found = glob::glob(&text).into_iter().flatten().flatten();
        files.extend(found.filter(|file| names_hidden(&pattern, file)).take(MAX_INCLUDED));
    }
    files
}

/// Whether a pattern names what is hidden in the path of a file: the dot at the
/// beginning of a name is matched by no wildcard (glob(7)). The crate has an option for
/// that, which leaves `.h*` without a match as well.
fn names_hidden(pattern: &Path, file: &Path) -> bool {
    let is_hidden =
        |part: &std::path::Component<'_>| part.as_os_str().as_encoded_bytes().starts_with(b".");
    file.components()
        .zip(pattern.components())
        .all(|(part, of_pattern)| !is_hidden(&part) || is_hidden(&of_pattern))
}

#[cfg(test)]
mod tests;
