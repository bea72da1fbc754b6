//! `--persist` and `--no-persist`: how long the connection of a command stays for the
//! next ones. Owns these two; what is kept, and for whom, is `task`'s.

use clap::Args;

use crate::openssh::arguments::Arguments;
use crate::options::{Persist, Value as _};

#[derive(Debug, Default, Args)]
pub(super) struct Warmth {
    /// Keep the connection open for TIME after the last command, such as `90` (seconds) or
    /// `10m`; `yes` has no limit, `no` or `0` is --no-persist [default: 1m at a terminal]
    ///
    /// If standard error is not a terminal, no connection is kept unless this option,
    /// ControlPersist or $CLAN_CONNECT_PERSIST asks for it. Commands share a connection if
    /// they have the same destination, the same user and the same permissions.
    #[arg(long, value_name = "TIME", value_parser = parse, conflicts_with = "no_persist")]
    persist: Option<Persist>,
    /// Do not keep the connection for later commands, and do not use one that was kept
    #[arg(long)]
    no_persist: bool,
}

impl Warmth {
    /// Puts it among the options, where it is called ControlPersist.
    pub(super) fn put(&self, arguments: &mut Arguments) {
        let said = self.persist.or(self.no_persist.then_some(Persist::No));
        if said.is_some() {
            arguments.options.control_persist = said;
        }
    }
}

/// As ControlPersist of ssh_config(5), but that 0 is nothing: there it is for ever.
pub(super) fn parse(text: &str) -> Result<Persist, String> {
    let bad = |_| "not a time such as 90, 10m or 1h, nor yes or no".to_owned();
    let said = Persist::parse(&[text.to_owned()]).map_err(bad)?;
    let is_word = ["yes", "true"].contains(&text);
    Ok(if said == Persist::Forever && !is_word { Persist::No } else { said })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_ssh_config_but_for_zero() {
        for (text, persist) in [
            ("no", Some(Persist::No)),
            ("0", Some(Persist::No)),
            ("00", Some(Persist::No)),
            ("yes", Some(Persist::Forever)),
            ("90", Some(Persist::Seconds(90))),
            ("1m", Some(Persist::Seconds(60))),
            ("1h30m", Some(Persist::Seconds(5400))),
            ("0s", Some(Persist::No)),
            ("soon", None),
            ("-1", None),
            ("", None),
        ] {
            assert_eq!(parse(text).ok(), persist, "{text}");
        }
    }
}
