//! `ssh-config`: what a stock OpenSSH needs to reach the clan's machines as we do, as
//! lines of ssh_config(5). Owns these lines and where they are kept; what they call is
//! `proxy` and `network trust list --known-hosts`.

use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::Args;

use super::clan::short_hash;
use super::command_words::{CommandWords, text};
use super::{Global, Ui, print_text};
use crate::error::{Error, Result};
use crate::file;
use crate::flake::not_his_alone;
use crate::model::Clan;
use crate::plan::plans;
use crate::printable::{self, Printable};
use crate::ssh::words::quote_word;

/// Machines that a warning names.
const MOST_NAMED: usize = 5;
/// No configuration of a user's is larger, in bytes.
const MAX_CONFIG: u64 = 4 << 20;
/// Above the line that we add to a configuration, to know it again.
const MARK: &str = "# Machines of clans, by clan-connect ssh-config --install.";
/// So that it holds for all hosts, whatever block stands before it.
const ALL: &str = "Match all";

#[derive(Debug, Args)]
pub(super) struct StockSsh {
    /// Write the lines to a file in ~/.ssh/config.d, and make ~/.ssh/config include it
    #[arg(long, conflicts_with = "remove")]
    install: bool,
    /// Remove the file that --install has written for this clan, even if the clan is gone
    #[arg(long)]
    remove: bool,
}

pub(super) fn run(arguments: &StockSsh, global: &Global, ui: &Ui) -> Result<()> {
    if arguments.remove {
        return Place::of(global)?.remove(global);
    }
    // What is called later must not depend on where it is called, nor make a clan the user's
    // own that he merely stands in.
    if global.exports.is_some() && global.named().is_none() {
        let why = "name the clan that the exports are of as well, with --flake DIR: its vars and \
                   host keys belong to it";
        return Err(Error::Usage(why.to_owned()));
    }
    if arguments.install && !global.clan_is_named() {
        let why = "your ssh will trust this clan's host keys, so name the clan with --flake DIR";
        return Err(Error::Usage(why.to_owned()));
    }
    let clan = global.clan(ui)?;
    ui.problems(&clan);
    let text = lines(&clan, &calls(global)?, &of_networks(global)?, &global.place(), ui);
    match arguments.install {
        true => Place::of(global)?.install(&text),
        false => print_text(&text),
    }
}

/// The lines for all machines that can be written there; `calls` call this program, with
/// `networks` where it dials.
fn lines(clan: &Clan, calls: &[String], networks: &[String], place: &str, ui: &Ui) -> String {
    let mut text = format!("{TITLE}{}.\n", printable::line(place));
    let mut by_user: Vec<(String, Vec<&str>)> = Vec::new();
    let mut left_out = Vec::new();
    for (machine, routes) in plans(clan) {
        let user = routes.ok().and_then(|routes| routes.first().map(|route| route.user.clone()));
        let user = user.filter(|user| is_word(user) && is_machines_alone(machine));
        let Some(user) = user else {
            left_out.push(Printable(machine).to_string());
            continue;
        };
        match by_user.iter_mut().find(|(other, _)| *other == user) {
            Some((_, machines)) => machines.push(machine),
            None => by_user.push((user, vec![machine])),
        }
    }
    if !left_out.is_empty() {
        let names = left_out.iter().take(MOST_NAMED).cloned().collect::<Vec<_>>().join(", ");
        let more = if left_out.len() > MOST_NAMED { " and more" } else { "" };
        ui.warning(&format!(
            "left out: {names}{more}; no network reaches the machine, its name could be another \
             host's, or its name or user has a special meaning in ssh_config"
        ));
    }
    let call = |more: &[String], command: &str, quote: fn(&str) -> String| {
        let words = calls.iter().chain(more).map(|word| quote(word).replace('%', "%%"));
        let words: Vec<String> = words.collect();
        format!("{} {command}", words.join(" "))
    };
    for (user, machines) in by_user {
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "Host {}\n  User {user}\n  ProxyCommand {}\n  KnownHostsCommand {}\n",
            machines.join(" "),
            call(networks, "proxy %n %p", quote_word),
            call(&[], "network trust list --known-hosts %H %n", quote_argument),
        );
    }
    text
}

/// Whether a name is one of hosts or users that means nothing else in ssh_config(5), nor
/// to the shell that a ProxyCommand is given to.
fn is_word(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    !text.is_empty() && !text.starts_with(['-', '.']) && text.chars().all(is_plain)
}

/// Whether a name is a machine's and no other host's: not one of the DNS, nor an address, in
/// whose place the machine would stand.
fn is_machines_alone(name: &str) -> bool {
    let is_number = name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_hexdigit() || "xX".contains(c));
    is_word(name) && !name.contains('.') && !is_number && !name.eq_ignore_ascii_case("localhost")
}

/// A word of a command that ssh(1) takes apart by itself (misc.c, `argv_split`); it has no
/// backslash ([`fit`]).
fn quote_argument(word: &str) -> String {
    format!("\"{}\"", word.replace('"', "\\\""))
}

/// The words that call this program for this clan, wherever it is called.
fn calls(global: &Global) -> Result<Vec<String>> {
    let mut words = CommandWords::default();
    words.flag(&text(&program(global)?)?);
    // A snapshot that was named for a clan stands for its exports as well.
    let lone = global.lone();
    match global.exports.as_ref().filter(|file| lone.as_ref() != Some(*file)) {
        Some(file) if file.as_os_str() == "-" => {
            return Err(Error::Usage(
                "--exports needs a file here, because ssh reads it again for each connection"
                    .to_owned(),
            ));
        }
        Some(file) => words.file("--exports", file)?,
        None => {}
    }
    match &lone {
        Some(file) => words.file("--flake", file)?,
        None => {
            let dir = global.flake().map(|dir| dir.display().to_string());
            words.option("--flake", &global.remote().map_or(dir, Ok)?);
        }
    }
    for identity in &global.identity {
        words.file("--identity", identity)?;
    }
    if global.impure {
        words.flag("--impure");
    }
    fit(words)
}

/// The options that say how networks are dialled.
fn of_networks(global: &Global) -> Result<Vec<String>> {
    let mut words = CommandWords::default();
    #[cfg(feature = "tor")]
    global.tor.write(&mut words)?;
    #[cfg(feature = "iroh")]
    global.iroh.write(&mut words);
    global.wireguard.write(&mut words)?;
    #[cfg(any(feature = "mycelium", feature = "yggdrasil"))]
    global.overlays.write(&mut words)?;
    fit(words)
}

/// The words, of which none can be more than itself to ssh(1): it takes a backslash before
/// a quote for more than one (`argv_split`), and `${NAME}` for a variable. A line that it
/// cannot read keeps it from every host.
fn fit(words: CommandWords) -> Result<Vec<String>> {
    let words = words.into_words();
    let is_more = |word: &&String| word.contains(|c: char| c.is_control() || c == '\\');
    match words.iter().find(|word| is_more(word) || word.contains("${")) {
        Some(word) => Err(Error::Usage(format!(
            "{} cannot be written into ssh_config, which interprets control characters, \
             backslashes and ${{NAME}}",
            printable::line(word)
        ))),
        None => Ok(words),
    }
}

/// This program: as it is found in the path, where that is the same, because a package's own
/// directory goes with the package's version. A link that others can change does not count.
fn program(global: &Global) -> Result<PathBuf> {
    let own = std::env::current_exe().and_then(|path| path.canonicalize());
    let own = own.map_err(|_| Error::Internal)?;
    let path = global.env.var("PATH").unwrap_or_default();
    let found = std::env::split_paths(path)
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(env!("CARGO_PKG_NAME")))
        .filter(|program| program.canonicalize().is_ok_and(|program| program == own))
        .find(|program| not_his_alone(program, &global.env).is_none());
    Ok(found.unwrap_or(own))
}

/// Where it is kept for ssh(1).
struct Place {
    /// Why nothing is changed there.
    objection: Option<String>,
    config: PathBuf,
    /// The file for this clan alone.
    own: PathBuf,
}

/// What all files of ours are called.
const FRONT: &str = "clan-connect-";
/// What they begin with; the clan's place follows.
const TITLE: &str = "# Machines of the clan in ";
/// Files of ours that are named where another was meant.
const MOST_LISTED: usize = 20;

impl Place {
    fn of(global: &Global) -> Result<Self> {
        let home = global.env.home().ok_or_else(|| {
            Error::Usage("there is no home directory for a configuration of ssh".to_owned())
        })?;
        let ssh = home.join(".ssh");
        let places = [ssh.clone(), ssh.join("config"), ssh.join("config.d")];
        // ssh refuses to read such a file, which must not become one of the user's own.
        let objection = places.iter().filter(|place| place.symlink_metadata().is_ok());
        let objection = objection.filter_map(|place| not_his_alone(place, &global.env)).next();
        let objection = objection.map(|why| format!("{why}: your configuration is not changed"));
        let objection = objection.or_else(|| another_users(&[&ssh, home]));
        let own = ssh.join("config.d").join(named(&global.place()));
        Ok(Self { objection, config: ssh.join("config"), own })
    }

    fn install(&self, text: &str) -> Result<()> {
        // What cannot be changed is said before anything is.
        let config = self.read()?;
        let dir = self.own.parent().unwrap_or(&self.own);
        if dir.symlink_metadata().is_ok() && !dir.is_dir() {
            let dir = printable::line(&dir.to_string_lossy());
            return Err(Error::Usage(format!(
                "{dir} is not a directory, so that nothing can be kept in it: move it away"
            )));
        }
        let include = include();
        let is_new = self.own.symlink_metadata().is_err();
        write(&self.own, text)?;
        if !config.lines().any(includes) {
            let gap = if config.is_empty() || config.ends_with('\n') { "" } else { "\n" };
            let included = write(&self.config, &format!("{config}{gap}{include}"));
            if included.is_err() && is_new {
                // A file that nothing includes would be taken for an installed one.
                let _ = std::fs::remove_file(&self.own);
            }
            included?;
        }
        print_text(&format!("written to {}\n", printable::line(&self.own.to_string_lossy())))
    }

    fn remove(&self, global: &Global) -> Result<()> {
        if let Some(why) = &self.objection {
            return Err(Error::Usage(why.clone()));
        }
        let files = places(global).into_iter().map(|place| self.own.with_file_name(named(&place)));
        let Some(own) = files.into_iter().find(|file| file.symlink_metadata().is_ok()) else {
            return Err(Error::Usage(self.nothing()));
        };
        let failed = |source| Error::File { action: "remove", path: own.clone(), source };
        std::fs::remove_file(&own).map_err(failed)?;
        print_text(&format!("removed {}\n", printable::line(&own.to_string_lossy())))?;
        match self.has_others() {
            true => Ok(()),
            false => self.exclude(),
        }
    }

    /// Takes out of the user's configuration what includes files of ours, or says what is left
    /// there.
    fn exclude(&self) -> Result<()> {
        let left = |line: &str| {
            let name = printable::line(&self.config.to_string_lossy());
            print_text(&format!(
                "left in {name}, which is not changed: {}\n",
                printable::line(line.trim())
            ))
        };
        let config = match self.read() {
            Ok(config) => config,
            // What is made by something else is his to change there.
            Err(error) => {
                let bytes = file::read(&self.config, MAX_CONFIG).map_err(|_| error)?;
                let text = String::from_utf8_lossy(&bytes).into_owned();
                return text.lines().find(|line| includes(line)).map_or(Ok(()), left);
            }
        };
        let changed = without_include(&config);
        if changed != config {
            write(&self.config, &changed)?;
        }
        changed.lines().find(|line| includes(line)).map_or(Ok(()), left)
    }

    /// The user's configuration, which is changed only where it is his own file: what a
    /// link leads to is made by something else.
    fn read(&self) -> Result<String> {
        if let Some(why) = &self.objection {
            return Err(Error::Usage(why.clone()));
        }
        let meta = match std::fs::symlink_metadata(&self.config) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(String::new()),
            Err(source) => {
                return Err(Error::File { action: "read", path: self.config.clone(), source });
            }
            Ok(meta) => meta,
        };
        if !meta.is_file() {
            let name = printable::line(&self.config.to_string_lossy());
            let why = match meta.is_symlink() {
                true => {
                    "is a link, and the file that it points to is not changed: include in that \
                     file what"
                }
                false => "is not a regular file and is not changed: write one that has what",
            };
            return Err(Error::Usage(format!("{name} {why} clan-connect ssh-config prints")));
        }
        let bytes = file::read(&self.config, MAX_CONFIG)?;
        String::from_utf8(bytes).map_err(|_| {
            let name = printable::line(&self.config.to_string_lossy());
            Error::Usage(format!("{name} is not UTF-8 and is not changed"))
        })
    }

    /// Whether files for other clans are there.
    fn has_others(&self) -> bool {
        !self.installed().is_empty()
    }

    /// The files for all clans.
    fn installed(&self) -> Vec<PathBuf> {
        let entries = self.own.parent().and_then(|dir| std::fs::read_dir(dir).ok());
        let entries = entries.into_iter().flatten().flatten();
        let is_ours = |path: &PathBuf| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(FRONT))
        };
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_ours).collect();
        files.sort();
        files
    }

    /// That there is nothing to remove, and what there would be.
    fn nothing(&self) -> String {
        let line = |file: &PathBuf| {
            let text = file::read_unlinked(file, MAX_CONFIG).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let place = text.lines().next().and_then(|line| line.strip_prefix(TITLE));
            let place = place.map_or("?", |place| place.strip_suffix('.').unwrap_or(place));
            let name = printable::line(&file.to_string_lossy());
            format!("\n  {} in {name}", printable::line(place))
        };
        let files = self.installed();
        let lines: String = files.iter().take(MOST_LISTED).map(line).collect();
        match lines.is_empty() {
            true => "nothing is installed".to_owned(),
            false => format!(
                "nothing is installed for this clan; name another with --flake, or remove its \
                 file:{lines}"
            ),
        }
    }
}

/// What the file for the clan in a place is called.
fn named(place: &str) -> String {
    format!("{FRONT}{}.conf", short_hash(place))
}

/// Where the clan is, or may have been if it is gone or cannot be used any more.
fn places(global: &Global) -> Vec<String> {
    let place = Some(global.place()).filter(|place| !place.is_empty());
    if let Some(place) = place {
        return vec![place];
    }
    let Some(named) = global.named().and_then(|named| std::path::absolute(named).ok()) else {
        return Vec::new();
    };
    // As it was when links led there.
    let above = named.parent().and_then(|dir| dir.canonicalize().ok());
    let below = above.zip(named.file_name()).map(|(above, name)| above.join(name));
    let all = [named.canonicalize().ok(), below, Some(named)];
    all.into_iter().flatten().map(|dir| dir.display().to_string()).collect()
}

/// Whether the first of these directories that is there is another user's: root's files
/// would keep his ssh from every host.
fn another_users(dirs: &[&Path]) -> Option<String> {
    let (dir, meta) = dirs.iter().find_map(|dir| Some((dir, dir.metadata().ok()?)))?;
    let is_his = meta.uid() == rustix::process::geteuid().as_raw();
    (!is_his).then(|| {
        format!(
            "{} belongs to uid {}, whose ssh could not read what another user writes there: call \
             this as that user, without sudo",
            printable::line(&dir.to_string_lossy()),
            meta.uid()
        )
    })
}

/// What includes all files of ours.
fn include() -> String {
    format!("{MARK}\n{ALL}\nInclude config.d/{FRONT}*.conf\n")
}

/// The words of a line of ssh_config(5).
fn words(line: &str) -> Vec<&str> {
    let is_gap = |c: char| c.is_whitespace() || c == '=' || c == '"';
    line.split(is_gap).filter(|word| !word.is_empty()).collect()
}

/// Whether a line includes all files of ours, and be there others as well.
fn includes(line: &str) -> bool {
    let words = words(line);
    let is_keyword = words.first().is_some_and(|word| word.eq_ignore_ascii_case("include"));
    is_keyword && words.iter().skip(1).any(|word| is_include(word))
}

fn is_include(word: &str) -> bool {
    word.trim_start_matches("~/.ssh/") == format!("config.d/{FRONT}*.conf")
}

/// A configuration without the lines of [`include`], as they are or as an editor has changed
/// them; a line that includes other files, too, stays.
fn without_include(config: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut rest = config.split_inclusive('\n');
    while let Some(line) = rest.next() {
        if !includes(line) || words(line).len() > 2 {
            kept.push(line);
            continue;
        }
        // What somebody has added below is in that block.
        let next = rest.clone().find_map(|line| words(line).first().copied());
        let ends = |word: &str| ["host", "match"].iter().any(|it| word.eq_ignore_ascii_case(it));
        let is_whole = next.is_none_or(ends);
        let is_all = |line: &&str| {
            matches!(words(line).as_slice(), [first, second]
                if first.eq_ignore_ascii_case("match") && second.eq_ignore_ascii_case("all"))
        };
        let all = kept.pop_if(|line| is_all(line) && is_whole);
        if all.is_some() || is_whole {
            let _ = kept.pop_if(|line| line.trim() == MARK);
        }
    }
    kept.concat()
}

fn write(path: &Path, text: &str) -> Result<()> {
    let written = file::write_over(path, text.as_bytes(), 0o600, None);
    written.map_err(|source| Error::File { action: "write", path: path.to_owned(), source })
}
