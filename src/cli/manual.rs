//! `man` and `help`: what a command is for and which options it has, as a page of the manual
//! and as the same text that `--help` prints. Owns the sections of the page that the command
//! line's own description does not have.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::{Cli, print};
use crate::error::{Error, Result};
use crate::printable::{self, Printable};

/// A section: its title, a sentence before all, and what it explains.
type Section = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const EXIT_STATUS: Section = (
    "EXIT STATUS",
    "For a command that opens a session (ssh, proxy), the status is the remote command's, or one \
     of these:",
    &[
        ("128 + N", "Signal N ended the remote command, or clan-connect itself."),
        (
            "255",
            "The session failed on our side: no route, wrong host key, refused, lost, bad usage.",
        ),
        ("251", "With --exit-codes detailed: no network reached the machine."),
        ("252", "With --exit-codes detailed: the machine showed a wrong host key."),
        ("253", "With --exit-codes detailed: the login was refused."),
        ("254", "With --exit-codes detailed: the connection was lost."),
        ("1", "Another command failed."),
        ("2", "Another command was called wrongly."),
    ],
);

const ENVIRONMENT: Section = (
    "ENVIRONMENT",
    "",
    &[
        ("CLAN_DIR", "The clan to use if --flake names none."),
        (
            "CLAN_CONNECT_SSH_KEY",
            "A private ssh key to log in with: the key itself, not a file name.",
        ),
        ("CLAN_CONNECT_PERSIST", "How long connections are kept if --persist is not given."),
        ("SSH_AUTH_SOCK", "The ssh agent."),
        ("SSH_ASKPASS, SSH_ASKPASS_REQUIRE", "The program that asks for passwords, as for ssh(1)."),
        ("AGE_KEY, AGE_KEYFILE", "An age identity, or its file, that opens the clan's vars."),
        (
            "SOPS_AGE_KEY, SOPS_AGE_KEY_FILE, SOPS_AGE_KEY_CMD, SOPS_AGE_SSH_PRIVATE_KEY_FILE, \
             SOPS_AGE_SSH_PRIVATE_KEY_CMD",
            "Keys for vars that are kept with sops, as for sops itself.",
        ),
        (
            "PASSAGE_DIR, PASSAGE_IDENTITIES_FILE, PASSWORD_STORE_DIR",
            "The directory of vars that are kept with passage, and the keys for them.",
        ),
        ("TOR_SOCKS", "The address of the system's tor [default: 127.0.0.1:9050]."),
        (
            "XDG_RUNTIME_DIR",
            "The directory of the sockets of kept connections, which must be open to you alone.",
        ),
        (
            "XDG_CONFIG_HOME, XDG_STATE_HOME, XDG_CACHE_HOME",
            "The directories that are used for ~/.config, ~/.local/state and ~/.cache below.",
        ),
    ],
);

const FILES: Section = (
    "FILES",
    "",
    &[
        (
            "clan-connect.json",
            "A snapshot of the clan, in its directory; exports snapshot writes it.",
        ),
        ("~/.ssh/config, /etc/ssh/ssh_config", "Options, as for ssh(1)."),
        (
            "~/.ssh/known_hosts, ~/.ssh/known_hosts2, /etc/ssh/ssh_known_hosts",
            "Host keys of machines for which the clan has no key, as for ssh(1).",
        ),
        ("~/.config/clan-connect/trusted-clans.json", "The clans that trust-clan has allowed."),
        ("~/.config/clan-connect/wireguard-key", "The key of a member of a WireGuard network."),
        (
            "~/.local/state/clan-connect/yggdrasil-key",
            "The key of our own Yggdrasil node, which network identity creates.",
        ),
        (
            "~/.local/state/clan-connect/tor, ~/.cache/clan-connect/tor",
            "The state of the built-in Tor client; see --tor-state.",
        ),
        ("~/.cache/clan-connect", "The cache of evaluated clans, so that nix need not run."),
        (
            "~/.config/age/identities, ~/.config/sops/age/keys.txt, ~/.age/key.txt, \
             ~/.ssh/id_ed25519, ~/.ssh/id_rsa, ~/.passage/identities",
            "Keys that open the clan's vars.",
        ),
    ],
);

/// The manual's page on a command, or on the whole program, in the language of man(7).
pub(super) fn page(words: &[String]) -> Result<Vec<u8>> {
    let whole = described();
    let mut command = found(&whole, words)?.clone();
    if !words.is_empty() {
        command = command.mut_args(|arg| if arg.is_global_set() { arg.hide(true) } else { arg });
    }
    let man = Man::new(command).source(concat!("clan-connect ", env!("CARGO_PKG_VERSION")));
    let mut page = Vec::new();
    man.render(&mut page).map_err(Error::Output)?;
    if words.is_empty() {
        page.extend(crate::options::manual().bytes());
        let rest = [EXIT_STATUS, ENVIRONMENT, FILES].map(|section| roff(&section));
        page.extend(rest.concat().bytes());
    }
    page.extend(see_also(words).bytes());
    Ok(page)
}

/// What `--help` prints about a command, or about the whole program.
pub(super) fn help(words: &[String]) -> Result<()> {
    let text = found(&described(), words)?.clone().render_long_help();
    print(text.to_string().as_bytes())
}

/// The same for a command line that asks for it, or that lacks the command.
pub(super) fn asked(args: &[OsString]) -> Option<clap::Error> {
    described().try_get_matches_from(args).err()
}

/// What a word may have meant that is no command: the name of a machine.
pub(super) fn hint(error: &clap::Error, args: &[OsString]) -> Option<String> {
    if error.kind() != ErrorKind::InvalidSubcommand {
        return None;
    }
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else {
        return None;
    };
    // Those of a command have commands below them.
    let whole = Cli::command();
    let mut before = args.iter().skip(1).take_while(|arg| *arg != word.as_str());
    let is_below = before.any(|arg| whole.find_subcommand(arg).is_some());
    let machine = printable::argument(word, "MACHINE");
    let begin = match error.get(ContextKind::SuggestedSubcommand) {
        Some(_) => "if it is a machine",
        None => "did you mean",
    };
    (!is_below).then(|| format!("{begin}: clan-connect ssh {machine}"))
}

/// The command line, with the names that its commands are called by, and of the global
/// options those that say something to each.
fn described() -> Command {
    let mut whole = Cli::command();
    whole.build();
    whole.mut_subcommands(|command| fitted(command, ""))
}

/// Commands that look for a way to machines, and so take what is said of networks.
const DIALS: [&str; 7] = [
    "ssh",
    "proxy",
    "ssh-config",
    "network list",
    "network ping",
    "network overview",
    "network identity",
];
/// Commands to which no global option says anything.
const ALONE: [&str; 3] = ["completions", "man", "help"];

/// Hides the global options that say nothing to a command, which takes them all the same.
fn fitted(command: Command, above: &str) -> Command {
    let name = format!("{above}{}", command.get_name());
    // Of a group each command shows its own.
    let is_alone = command.has_subcommands() || ALONE.contains(&name.as_str());
    let says_nothing = |arg: &Arg| match arg.get_help_heading() {
        _ if is_alone => true,
        Some("Global options") => {
            let is_of_session = ["exit_codes", "events"].contains(&arg.get_id().as_str());
            is_of_session && !["ssh", "proxy"].contains(&name.as_str())
        }
        // Those of the networks.
        _ => !DIALS.contains(&name.as_str()),
    };
    let hidden = |arg: Arg| {
        let is_hidden = arg.is_global_set() && says_nothing(&arg) || arg.is_hide_set();
        arg.hide(is_hidden)
    };
    command.mut_args(hidden).mut_subcommands(|command| fitted(command, &format!("{name} ")))
}

fn found<'a>(whole: &'a Command, words: &[String]) -> Result<&'a Command> {
    words.iter().try_fold(whole, |command, word| {
        command.find_subcommand(word).ok_or_else(|| {
            let of = command.get_bin_name().unwrap_or_else(|| command.get_name());
            Error::Usage(format!("{of} has no command \"{}\"", Printable(word)))
        })
    })
}

fn roff((title, before, entries): &Section) -> String {
    let mut roff = Roff::new();
    roff.control("SH", [*title]);
    if !before.is_empty() {
        roff.text([roman(*before)]);
    }
    for (name, about) in *entries {
        roff.control("TP", []).text([bold(*name)]).text([roman(*about)]);
    }
    roff.to_roff()
}

/// Where more is said.
fn see_also(words: &[String]) -> String {
    let mut roff = Roff::new();
    roff.control("SH", ["SEE ALSO"]);
    let text = match words {
        [] => {
            "\"clan-connect man COMMAND\" prints the page on a command, and \"clan-connect \
               COMMAND --help\" the same on the terminal. See also ssh(1) and ssh_config(5)."
        }
        _ => {
            "clan-connect(1) has the global options, exit statuses, variables and files; \
              \"clan-connect man\" prints it."
        }
    };
    roff.text([roman(text)]);
    roff.to_roff()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;

    /// The words of every command that there is, and of none.
    fn all() -> Vec<Vec<String>> {
        fn below(command: &clap::Command, words: &[String], all: &mut Vec<Vec<String>>) {
            all.push(words.to_owned());
            for command in command.get_subcommands() {
                below(command, &[words, &[command.get_name().to_owned()]].concat(), all);
            }
        }
        let mut all_words = Vec::new();
        below(&described(), &[], &mut all_words);
        all_words
    }

    /// What man(7) makes of a page, and what it warns of; `None` where there is no groff.
    fn rendered(page: &[u8]) -> Option<(String, String)> {
        #[allow(clippy::disallowed_methods, reason = "what shows a page of the manual")]
        let mut groff = Command::new("groff")
            .args(["-Kutf8", "-man", "-Tutf8", "-P-cbou", "-ww"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .ok()?;
        groff.stdin.take().unwrap().write_all(page).unwrap();
        let done = groff.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Some((text(done.stdout), text(done.stderr)))
    }

    #[test]
    fn every_command_has_a_page_that_man_shows_without_a_warning() {
        let all = all();
        assert!(all.iter().any(|words| words.join(" ") == "network trust add"), "{all:?}");
        for words in all {
            let page = page(&words).unwrap();
            let text = String::from_utf8(page.clone()).unwrap();
            let name = [&["clan-connect".to_owned()], words.as_slice()].concat().join("-");
            let shown = name.replace('-', "\\-");
            assert!(text.contains(&format!(".TH {name} 1")), "{text}");
            assert!(text.contains(&format!("\n{shown} \\- ")), "{text}");
            for section in ["SYNOPSIS", "DESCRIPTION", "\"SEE ALSO\""] {
                assert!(text.contains(&format!(".SH {section}\n")), "{name}: {section}\n{text}");
            }
            let is_whole = words.is_empty();
            assert_eq!(text.contains(".SH \"GLOBAL OPTIONS\"\n"), is_whole, "{name}");
            assert_eq!(text.contains(".SH ENVIRONMENT\n"), is_whole, "{name}");
            let Some((shown, warnings)) = rendered(&page) else { continue };
            assert_eq!(warnings, "", "{name}");
            assert!(shown.contains("\nSYNOPSIS\n"), "{shown}");
        }
    }

    #[test]
    fn the_whole_manual_has_statuses_variables_files_and_options_of_ssh() {
        let page = String::from_utf8(page(&[]).unwrap()).unwrap();
        for words in [
            "\n.SH \"EXIT STATUS\"\n",
            "\n\\fB251\\fR\nWith \\-\\-exit\\-codes detailed: no network reached",
            "\n\\fBCLAN_CONNECT_PERSIST\\fR\n",
            "trusted\\-clans.json",
            "\n\\fBStrictHostKeyChecking\\fR\nWhat to do about",
            "Accepted, and without effect: ChannelTimeout,",
        ] {
            assert!(page.contains(words), "{words}: {page}");
        }
    }

    #[test]
    fn the_help_of_a_command_has_the_global_options_that_say_something_to_it() {
        let shown = |line: &str| {
            let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            asked(&args).unwrap().to_string()
        };
        let options = ["--flake <DIR>", "--events <FILE>", "--wireguard-key <FILE"];
        for (command, has) in [
            ("ssh", [true, true, true]),
            ("network ping", [true, false, true]),
            ("network identity", [true, false, true]),
            ("network trust list", [true, false, false]),
            ("vars list", [true, false, false]),
            ("select", [true, false, false]),
            ("vars", [false; 3]),
            ("network", [false; 3]),
            ("network trust", [false; 3]),
            ("man", [false; 3]),
        ] {
            let help = shown(&format!("clan-connect {command} --help"));
            assert_eq!(options.map(|option| help.contains(option)), has, "{command}: {help}");
        }
        let whole = shown("clan-connect --help");
        assert!(options.iter().all(|option| whole.contains(option)), "{whole}");
        // A group that lacks its command says the same, and hidden options are taken.
        assert!(!shown("clan-connect vars").contains("--flake"));
        let taken = ["clan-connect", "vars", "list", "m", "--wireguard-key", "key"];
        assert!(described().try_get_matches_from(taken).is_ok());
        for name in DIALS.iter().chain(&ALONE) {
            let words: Vec<String> = name.split(' ').map(str::to_owned).collect();
            assert!(found(&described(), &words).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_word_that_is_no_command_may_be_a_machine() {
        let hinted = |line: &str| {
            let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            hint(&<Cli as clap::Parser>::try_parse_from(&args).unwrap_err(), &args)
        };
        let web = Some("did you mean: clan-connect ssh web01".to_owned());
        assert_eq!(hinted("clan-connect web01"), web);
        assert_eq!(hinted("clan-connect --flake x -v web01 uptime"), web);
        let unfit = hinted("clan-connect $(x)");
        assert_eq!(unfit.as_deref(), Some("did you mean: clan-connect ssh MACHINE"));
        // Clap names the command, too.
        let near = hinted("clan-connect clone");
        assert_eq!(near.as_deref(), Some("if it is a machine: clan-connect ssh clone"));
        for line in ["network web01", "ssh --nothing", "ssh"] {
            assert_eq!(hinted(&format!("clan-connect {line}")), None, "{line}");
        }
    }

    #[test]
    fn a_command_that_there_is_not_has_no_page() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let refusal = |text| page(&words(text)).unwrap_err().to_string();
        assert_eq!(refusal("web\u{1b}"), "clan-connect has no command \"web\\u{1b}\"");
        assert_eq!(refusal("network list x"), "clan-connect network list has no command \"x\"");
        assert!(matches!(help(&words("nothing")), Err(Error::Usage(_))));
    }
}
