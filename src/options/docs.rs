//! The lists of options that people read: in `docs/options.md`, in the manual page. Both
//! are made of the table.

use super::{Row, TABLE};

/// The rows of options that are honoured, or those that are not, by their names.
fn rows(is_honoured: bool) -> Vec<&'static Row> {
    let mut rows: Vec<&Row> =
        TABLE.iter().filter(|row| row.facts.is_honoured == is_honoured).collect();
    rows.sort_by_key(|row| row.name.to_ascii_lowercase());
    rows
}

/// What is said of one, in sentences.
fn about(row: &Row) -> String {
    let note = match row.facts.note {
        "" => String::new(),
        note => format!(" ({note})"),
    };
    let each = if row.each { " May be given more than once." } else { "" };
    let limit = if row.facts.in_address { "" } else { " Not taken from an address." };
    format!("{}{note}.{each}{limit}", row.about.trim())
}

/// The section about them in `docs/options.md`.
#[cfg(test)]
pub fn page() -> String {
    let mut text = "
## Options of ssh_config

They can be set in the configuration, with `-o` and with `--ssh-option`; a wrong value is
refused when it is read. An address (`--target-host HOST?NAME=VALUE`) cannot set an option that
starts a program, loads code, or lets the server use this computer. All of them mean what
ssh_config(5) says, except those that are an option of our own, which OpenSSH does not know.

| | |
|---|---|
"
    .to_owned();
    for row in rows(true) {
        text.push_str(&format!("| `{}` | {} |\n", row.name, about(row).replace('|', "\\|")));
    }
    let ignored: Vec<String> = rows(false).iter().map(|row| format!("`{}`", row.name)).collect();
    text + &format!("\nAccepted, and without effect: {}.\n", ignored.join(", "))
}

/// The section about them in the manual page, in the language of man(7).
pub fn manual() -> String {
    // A hyphen is a minus, and a line that begins with a dot a request.
    let plain = |text: &str| text.replace('\\', "\\e").replace('-', "\\-");
    let mut text = ".SH \"SSH OPTIONS\"\nOptions of ssh_config(5), for \\fB\\-\\-ssh\\-option\\fR \
                    and as \\fBssh\\fR.\n"
        .to_owned();
    for row in rows(true) {
        text.push_str(&format!(".TP\n\\fB{}\\fR\n{}\n", row.name, plain(&about(row))));
    }
    let ignored: Vec<&str> = rows(false).iter().map(|row| row.name).collect();
    text.push_str(&format!(".PP\nAccepted, and without effect: {}.\n", ignored.join(", ")));
    text
}
