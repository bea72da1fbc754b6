//! The lists of options that people read: in the README, in the manual page. All of
//! them are made of the table.

use super::{Row, TABLE};

/// The rows of options that are honoured, or those that are not, by their names.
fn rows(is_honoured: bool) -> Vec<&'static Row> {
    let mut rows: Vec<&Row> =
        TABLE.iter().filter(|row| row.facts.is_honoured == is_honoured).collect();
    rows.sort_by_key(|row| row.name.to_ascii_lowercase());
    rows
}

/// Names with what is remarked about them, between commas.
#[cfg(test)]
fn list(rows: impl Iterator<Item = &'static Row>) -> String {
    let one = |row: &Row| match row.facts.note {
        "" => format!("`{}`", row.name),
        note => format!("`{}` ({note})", row.name),
    };
    rows.map(one).collect::<Vec<_>>().join(", ")
}

/// What stands in the README between the markers: which options do something, and
/// which are accepted for those who have them in their files.
#[cfg(test)]
pub fn readme() -> String {
    format!(
        "| | |\n|---|---|\n| do what they do in ssh_config(5) | {} |\n\
         | are accepted, and change nothing | {} |\n",
        list(rows(true).into_iter()),
        list(rows(false).into_iter()),
    )
}

/// The section about them in the manual page, in the language of man(7).
pub fn manual() -> String {
    // A hyphen is a minus, and a line that begins with a dot a request.
    let plain = |text: &str| text.trim().replace('\\', "\\e").replace('-', "\\-");
    let mut text = ".SH \"SSH OPTIONS\"\nOptions of ssh_config(5), for \\fB\\-\\-ssh\\-option\\fR \
                    and as \\fBssh\\fR.\n"
        .to_owned();
    for row in rows(true) {
        let limit = if row.facts.in_address { "" } else { " Not taken from an address." };
        let note = match row.facts.note {
            "" => String::new(),
            note => format!(" ({})", plain(note)),
        };
        let each = if row.each { " Every line of it counts." } else { "" };
        let about = format!("{}{note}.{each}{limit}", plain(row.about));
        text.push_str(&format!(".TP\n\\fB{}\\fR\n{about}\n", row.name));
    }
    let ignored: Vec<&str> = rows(false).iter().map(|row| row.name).collect();
    text.push_str(&format!(".PP\nAccepted, and without effect: {}.\n", ignored.join(", ")));
    text
}
