//! The name of this host, as the kernel has it (uname(2)), else hostname(5).
//! Owns where it is written; asks no resolver.

use std::io::Read;

/// Longest name that Linux takes, in bytes (`__NEW_UTS_LEN`), and some more.
const MAX_NAME: u64 = 256;

/// This host's name; `None` where it has none. Blocks, for as long as a small
/// file takes.
pub(crate) fn own() -> Option<String> {
    // There may be no /proc, as in a chroot.
    first_name(&read("/proc/sys/kernel/hostname")).or_else(|| first_name(&read("/etc/hostname")))
}

/// The name up to its first dot, which Clan calls the machine by.
pub(crate) fn short() -> Option<String> {
    own().and_then(|name| shortened(&name))
}

fn shortened(name: &str) -> Option<String> {
    let name = name.split('.').next().unwrap_or_default();
    // What hosts are called that nobody has named (hostname(7), systemd).
    let nameless = ["", "(none)", "localhost"].contains(&name);
    (!nameless).then(|| name.to_owned())
}

/// Comments are lines of hostname(5).
fn first_name(text: &str) -> Option<String> {
    let mut lines = text.lines().map(str::trim);
    lines.find(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned)
}

fn read(path: &str) -> String {
    let mut text = String::new();
    if std::fs::metadata(path).is_ok_and(|meta| meta.is_file())
        && let Ok(file) = std::fs::File::open(path)
    {
        // A name that cannot be read is none.
        let _ = file.take(MAX_NAME).read_to_string(&mut text);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_first_line_up_to_its_first_dot() {
        let short = |text| first_name(text).and_then(|name| shortened(&name));
        for (text, expected) in [
            ("alpha\n", Some("alpha")),
            ("# ours\n\n  alpha.example.org\n", Some("alpha")),
            ("", None),
            ("localhost\n", None),
            ("localhost.localdomain", None),
            ("(none)\n", None),
            (".alpha\n", None),
        ] {
            assert_eq!(short(text).as_deref(), expected, "{text:?}");
        }
    }
}
