use std::os::unix::fs::PermissionsExt;
use std::sync::Mutex;

use age::Identity as _;
use age_core::secrecy::ExposeSecret;

use super::*;
use crate::secret::Secret;

/// Types one word, and keeps what it is told.
#[derive(Default)]
struct User(Mutex<Vec<String>>);

impl Prompter for User {
    fn ask(&self, prompt: &str, _: bool) -> Option<Secret<String>> {
        self.tell(prompt);
        Some(Secret::new("go".to_owned()))
    }
    fn tell(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }
    fn warn(&self, text: &str) {
        self.tell(text);
    }
}

/// What a plugin with this script makes of a stanza, and what the user was told.
fn opened(script: &str) -> (Option<[u8; 16]>, Vec<String>) {
    opened_by(script, "AGE-PLUGIN-X-1", UNREAD)
}

/// The same for an identity, by a plugin that may leave so long unread what it is told.
fn opened_by(script: &str, identity: &str, unread: Duration) -> (Option<[u8; 16]>, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("plugin");
    std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let user = Arc::new(User::default());
    let identities = vec![Zeroizing::new(identity.to_owned())];
    let program = program.to_str().unwrap().to_owned();
    let plugin = Plugin { program: program.clone(), identities, prompter: user.clone(), unread };
    let stanza = Stanza { tag: "x".to_owned(), args: vec!["y".to_owned()], body: vec![1; 48] };
    let key = plugin.unwrap_stanza(&stanza).map(|key| *key.ok().unwrap().expose_secret());
    let told = user.0.lock().unwrap().iter().map(|text| text.replace(&program, "plugin")).collect();
    (key, told)
}

/// Reads until we have said all.
const HEARD: &str = "while read line; do [ \"$line\" = '-> done' ] && break; done; read line";
const KEY: &str = "printf -- '-> file-key 0\\nBwcHBwcHBwcHBwcHBwcHBw\\n'; read a; read b";

#[test]
fn a_plugin_that_is_answered_gives_the_key() {
    let script = format!(
        "{HEARD}\nprintf -- '-> msg\\nYQ\\n'; read a; read b; [ \"$a\" = '-> ok' ] || exit\n\
         printf -- '-> confirm Z28 bm8\\nYQ\\n'; read a; read b; [ \"$a\" = '-> ok yes' ] || exit\n\
         printf -- '-> request-secret\\nUElO\\n'; read a; read b; [ \"$b\" = Z28 ] || exit\n\
         printf -- '-> later\\n\\n'; read a; read b; [ \"$a\" = '-> unsupported' ] || exit\n\
         {KEY}; printf -- '-> done\\n\\n'"
    );
    let (key, told) = opened(&script);
    assert_eq!(told, ["a", "a (go/no) ", "PIN: "]);
    assert_eq!(key, Some([7; 16]));
}

#[test]
fn a_plugin_that_fails_is_no_identity_and_says_why() {
    let script = format!(
        "{HEARD}\nprintf -- '-> error internal\\nYQ\\n'; read a; read b; printf -- '-> done\\n\\n'"
    );
    assert_eq!(opened(&script), (None, vec!["plugin: a".to_owned()]));
    for script in ["exit", &format!("{HEARD}; echo what")] {
        let (key, told) = opened(script);
        assert!(key.is_none() && told[0].starts_with("plugin failed: "), "{told:?}");
    }
}

#[test]
fn a_plugin_without_end_is_ended() {
    // One line that never ends, and many of them.
    for endless in ["exec cat /dev/zero", "exec yes '-> msg\n'"] {
        let (key, told) = opened(&format!("{HEARD}\n{endless}"));
        assert!(key.is_none() && !told.is_empty(), "{} lines", told.len());
    }
    let began = Instant::now();
    let (key, _) = opened(&format!("{HEARD}\n{KEY}; printf -- '-> done\\n\\n'; exec sleep 1000"));
    assert_eq!(key, Some([7; 16]));
    assert!(began.elapsed() < Duration::from_secs(60));
}

#[test]
fn a_plugin_that_does_not_listen_is_ended_and_one_that_waits_is_not() {
    let short = Duration::from_millis(300);
    // What it is told fits into the pipe, or does not.
    for identity in ["AGE-PLUGIN-X-1".to_owned(), "x".repeat(1 << 20)] {
        let (key, told) = opened_by("exec sleep 1000", &identity, short);
        assert_eq!(
            (key, told),
            (None, vec!["plugin failed: it does not read what it is told".to_owned()])
        );
    }
    // A hand on the token comes late.
    let waits = format!("{HEARD}; sleep 2; {KEY}; printf -- '-> done\\n\\n'");
    assert_eq!(opened_by(&waits, "AGE-PLUGIN-X-1", short).0, Some([7; 16]));
}
