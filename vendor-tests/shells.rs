//! Every word of `clan-connect ssh MACHINE -- WORDS` arrives as it was typed, whatever
//! the shell that logs in there.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::harness::{Account, Home, PROGRAMS, Run, run, sshd, start, wait};

/// Programs, the packages that have them.
const SHELLS: [(&str, &str); 5] = [
    ("/bin/sh", "dash"),
    ("/bin/bash", "bash"),
    ("/usr/bin/zsh", "zsh"),
    ("/usr/bin/fish", "fish"),
    ("/usr/bin/tcsh", "tcsh"),
];

/// Words that mean something to one of the shells, or are no text.
const WORDS: [&[u8]; 40] = [
    b"plain",
    b"",
    b"a  b",
    b"it's",
    b"\"q\"",
    b"$HOME",
    b"${HOME}",
    b"$(id)",
    b"`id`",
    b"two\\\\back",
    b"end\\",
    b"\\'x",
    b"\\n",
    b"\\d+",
    b"a!b",
    b"!!",
    b"! a",
    b"!",
    b"a\nb",
    b"\n",
    b"=ls",
    b"%self",
    b"%1",
    b"...",
    b"~",
    b"~root",
    b"{a,b}",
    b"*",
    b"[a-z]",
    b"?",
    b"#c",
    b"a;b",
    b"a&b",
    b"a|b",
    b"<a>",
    b"(a)",
    b"^a^b",
    b"--",
    b"r\xe9po \xff",
    "gr\u{f6}\u{df}e \u{1f511}".as_bytes(),
];

/// What printf(1) makes of words.
fn printed(words: &[&[u8]]) -> Vec<u8> {
    words.iter().flat_map(|word| [b"<", *word, b">"].concat()).collect()
}

#[test]
fn every_word_arrives_whatever_shell_logs_in() {
    let home = Home::new();
    let key = home.default_key();
    // It is in no Debian; vendor-tests/run fetches it where there is npm.
    let nu = format!("{PROGRAMS}/nu");
    let nu = Path::new(&nu).exists().then_some((nu.as_str(), "nushell of npm"));
    // A program that has to be quoted itself, where everybody can reach it.
    let (name, programs) = (OsStr::from_bytes(b"a 'pro\xe9gram'!"), tempfile::tempdir().unwrap());
    run("chmod", &["755", programs.path().to_str().unwrap()], "coreutils");
    std::os::unix::fs::symlink("/usr/bin/printf", programs.path().join(name)).unwrap();
    for (shell, package) in SHELLS.into_iter().chain(nu) {
        assert!(Path::new(shell).exists(), "{shell}: apt-get install {package}");
        let account = Account::new("shell");
        run("/usr/sbin/usermod", &["-s", shell, &account.name], "passwd");
        let server = sshd(&home, "127.0.0.1", &key, "");
        let target = format!("{}@{}", account.name, server.target());
        let arrive = |words: &[&[u8]]| {
            for before in ["--", "-c"] {
                let mut command =
                    home.command(&["ssh", "m", "--target-host", &target, "-T", before]);
                command.args(words.iter().map(|word| OsStr::from_bytes(word)));
                let done = Run::of(wait(start(&mut command, "util-linux"))).exits(0);
                let expected = printed(&words[2..]);
                assert!(
                    done.stdout == expected,
                    "{shell} {before}: {}\nand not {}",
                    done.stdout.escape_ascii(),
                    expected.escape_ascii()
                );
            }
        };
        arrive(&[&[b"/usr/bin/printf".as_slice(), b"<%s>"], &WORDS[..]].concat());
        let alike =
            [b"plain".as_slice(), b"a  b", b"$HOME", b"~", b"...", b"=ls", b"%self", b"*", b"\\d"];
        arrive(&[&[b"/usr/bin/printf".as_slice(), b"<%s>"], &alike[..]].concat());
        for word in [b"it's".as_slice(), b"a!b", b"end\\", b"r\xe9po", b"\n"] {
            arrive(&[b"/usr/bin/printf", b"<%s>", word]);
        }
        let odd = programs.path().join(name);
        arrive(&[odd.as_os_str().as_bytes(), b"<%s>", b"x y"]);
    }
}
