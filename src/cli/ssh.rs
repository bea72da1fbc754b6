//! `ssh MACHINE`: a shell or a command on a machine of the clan, or whatever else
//! ssh(1) does. Owns its command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{ArgAction, Args, ValueEnum};
use clap_complete::engine::ArgValueCompleter;

use super::invocation::{Destination, Invocation};
use super::machine::{MachineRequest, SshOptions};
use super::request::seconds;
use super::task::drive;
use super::warmth::Warmth;
use super::{Global, Ui, complete, task};
use crate::encoding;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::installer;
use crate::options::RequestTty;
use crate::printable::{self, Printable};
use crate::secret::Secret;
use crate::ssh::words::{quote, quote_word};

#[derive(Debug, Args)]
pub(super) struct Ssh {
    /// The machine's name in the clan, and optionally the user to log in as
    #[arg(value_name = "[USER@]MACHINE", required_unless_present_any = ["json", "png"],
          add = ArgValueCompleter::new(complete::machines))]
    machine: Option<String>,
    /// Connect to the installer that shows this JSON, given here or in a file
    #[arg(short = 'j', long, value_name = "JSON|FILE", conflicts_with_all = ["machine", "png"])]
    json: Option<String>,
    /// Connect to the installer that shows the QR code in this PNG or JPEG
    #[arg(short = 'P', long, value_name = "IMAGE", conflicts_with = "machine")]
    png: Option<PathBuf>,
    /// Run COMMAND instead of a shell; takes all arguments that follow
    #[arg(short = 'c', long = "remote-command", value_name = "COMMAND", num_args = 1..,
          allow_hyphen_values = true)]
    remote_command: Vec<OsString>,
    /// The command to run instead of a shell
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
    /// Use this network only
    #[arg(long, value_name = "NAME", add = ArgValueCompleter::new(complete::networks))]
    network: Option<String>,
    /// Connect to this address instead of the clan's
    #[arg(long, value_name = "[USER@]HOST[:PORT]")]
    target_host: Option<String>,
    /// Log in as USER
    #[arg(short = 'l', long, value_name = "USER")]
    login: Option<String>,
    /// Connect to PORT
    #[arg(short, long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Authenticate with the private key in KEYFILE
    #[arg(short = 'i', value_name = "KEYFILE", action = ArgAction::Append)]
    identity_file: Vec<PathBuf>,
    /// Run on a pseudo-terminal even with a command
    #[arg(short = 't', action = ArgAction::Count, conflicts_with = "no_pty")]
    pty: u8,
    /// Never run on a pseudo-terminal
    #[arg(short = 'T')]
    no_pty: bool,
    /// How long a network may take to answer [default: 10, but 20 for iroh and 120 for Tor]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
    /// Which network to use when several answer
    #[arg(long, value_name = "WHICH", default_value = "priority")]
    prefer: Prefer,
    /// How long to wait for a network of higher priority after another one has answered
    #[arg(long, value_name = "SECONDS", value_parser = seconds, conflicts_with = "prefer")]
    grace: Option<Duration>,
    #[command(flatten)]
    warmth: Warmth,
    #[command(flatten)]
    letters: Letters,
    #[command(flatten)]
    options: SshOptions,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Prefer {
    Priority,
    Fastest,
}

/// What only a session has.
#[derive(Debug, Args)]
#[command(next_help_heading = "As in ssh(1)")]
struct Letters {
    /// Forward the ssh agent to the machine
    #[arg(short = 'A', conflicts_with = "no_agent")]
    agent: bool,
    /// Do not forward the ssh agent
    #[arg(short = 'a')]
    no_agent: bool,
    /// Compress the data that is sent
    #[arg(short = 'C')]
    compress: bool,
    /// Listen on PORT of this computer and forward each connection to HOST:PORT from the
    /// machine
    #[arg(short = 'L', value_name = "[ADDRESS:]PORT:HOST:PORT", action = ArgAction::Append)]
    local_forward: Vec<String>,
    /// Listen on PORT of the machine and forward each connection to HOST:PORT from this
    /// computer; without HOST:PORT, act as a SOCKS proxy
    #[arg(short = 'R', value_name = "[ADDRESS:]PORT[:HOST:PORT]", action = ArgAction::Append)]
    remote_forward: Vec<String>,
    /// Listen on PORT of this computer as a SOCKS proxy that connects from the machine
    #[arg(short = 'D', value_name = "[ADDRESS:]PORT", action = ArgAction::Append)]
    dynamic_forward: Vec<String>,
    /// Run no remote command, only forward ports
    #[arg(short = 'N')]
    nothing: bool,
    /// Connect standard input and output to HOST:PORT from the machine
    #[arg(short = 'W', value_name = "HOST:PORT", conflicts_with = "nothing")]
    stdio_forward: Option<String>,
}

pub(super) fn run(arguments: &Ssh, global: &Global) -> Result<u8> {
    let command = command(arguments)?;
    drive(async {
        let invocation = invocation(arguments, command, global).await?;
        let ui = Arc::new(Ui::of(&invocation.resolved, global.color));
        task::run(invocation, global, &ui).await
    })
}

async fn invocation(
    arguments: &Ssh,
    command: Option<String>,
    global: &Global,
) -> Result<Invocation> {
    let installer = installer(arguments)?;
    let (user, name) = destination(arguments)?;
    let mut asked = MachineRequest::of(name, &SshOptions::default())?;
    arguments.warmth.put(&mut asked.arguments);
    letters(arguments, user, &mut asked, &global.env)?;
    asked.host_key_check = arguments.options.host_key_check();
    asked.network.clone_from(&arguments.network);
    asked.target_host.clone_from(&arguments.target_host);
    asked.command = command;
    asked.timeout = arguments.timeout;
    asked.grace = match arguments.prefer {
        Prefer::Fastest => Some(Duration::ZERO),
        Prefer::Priority => arguments.grace,
    };
    let mut invocation = asked.invocation(global).await?;
    if let Some((origin, json)) = installer {
        if invocation.overrides.network.is_some() || invocation.overrides.target_host.is_some() {
            let why = "an installer is in no network: leave out --network and --target-host";
            return Err(Error::Usage(why.to_owned()));
        }
        invocation.destination = Destination::Installer(origin, json);
    }
    Ok(invocation)
}

/// Who logs in where, as it is written: `[USER@]MACHINE`. No machine has an `@` in its name.
/// What lacks one of both is a mistake, such as a variable that is not set, and no name of a
/// machine that the clan has no key of.
fn destination(arguments: &Ssh) -> Result<(Option<&str>, &str)> {
    let text = arguments.machine.as_deref().unwrap_or(installer::MACHINE);
    match text.rsplit_once('@') {
        Some((user, machine)) if user.is_empty() || machine.is_empty() => {
            let lacking = if user.is_empty() { "user" } else { "machine" };
            let text = printable::line(text);
            Err(Error::Usage(format!("{text} names no {lacking}: write MACHINE or USER@MACHINE")))
        }
        Some((user, machine)) => Ok((Some(user), machine)),
        None => Ok((None, text)),
    }
}

/// The letters first, which count more than options of the same meaning.
fn letters(
    arguments: &Ssh,
    user: Option<&str>,
    asked: &mut MachineRequest,
    env: &Env,
) -> Result<()> {
    let letters = &arguments.letters;
    let all = &mut asked.arguments;
    let login = arguments.login.clone().or(user.map(str::to_owned));
    let port = arguments.port.map(|port| port.to_string());
    let one = [('l', &login), ('p', &port), ('W', &letters.stdio_forward)];
    let many = [
        ('L', &letters.local_forward),
        ('R', &letters.remote_forward),
        ('D', &letters.dynamic_forward),
    ];
    let said = one.into_iter().flat_map(|(letter, value)| value.iter().map(move |it| (letter, it)));
    let more = many.into_iter().flat_map(|(letter, all)| all.iter().map(move |it| (letter, it)));
    for (letter, value) in said.chain(more) {
        all.with_argument(letter, value.clone())?;
    }
    for file in &arguments.identity_file {
        all.identity_file(encoding::of_os(file), env)?;
    }
    for (is_said, letter) in [
        (letters.agent, 'A'),
        (letters.no_agent, 'a'),
        (letters.compress, 'C'),
        (letters.nothing, 'N'),
        (arguments.no_pty, 'T'),
    ] {
        if is_said {
            all.alone(letter)?;
        }
    }
    if arguments.pty > 0 {
        all.options.request_tty = Some(RequestTty::Force);
    }
    arguments.options.put(all)
}

/// The installer that is meant, if one is: what it shows, and where.
fn installer(arguments: &Ssh) -> Result<Option<(String, Secret<String>)>> {
    Ok(match (&arguments.json, &arguments.png) {
        (Some(json), _) => {
            let origin = if json.trim_start().starts_with('{') { "--json" } else { json };
            Some((origin.to_owned(), installer::read_json(json)?))
        }
        (None, Some(image)) => Some((image.display().to_string(), installer::read_image(image)?)),
        (None, None) => None,
    })
}

/// The command for the login shell of the machine, if there is one.
fn command(arguments: &Ssh) -> Result<Option<String>> {
    let mut words = arguments.remote_command.clone();
    if !words.is_empty() && !arguments.command.is_empty() {
        words.push("--".into());
    }
    words.extend(arguments.command.iter().cloned());
    let words: Vec<String> = words.iter().map(encoding::of_os).collect();
    // As clan does: one quoted string would be taken for a program's name.
    if let [word] = words.as_slice()
        && word.contains(' ')
    {
        return Err(Error::Usage(format!(
            "{0} is taken for the name of one program; leave out the quotes, or for a line of \
             the shell: -- sh -c {0}",
            Printable(&quote_word(word))
        )));
    }
    Ok((!words.is_empty()).then(|| quote(&words)))
}
