//! What is said of connections that are kept for the next commands, and `close`, which
//! ends them. Owns the words and the JSON; who keeps them, and where, is `mux`'s.

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::clan::short_hash;
use super::task::runtime;
use super::{Global, Ui, complete, print_text};
use crate::error::Result;
use crate::mux::warm::{self, Card, Found};
use crate::printable::Printable;

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Close {
    /// The machine's name in the clan
    #[arg(add = ArgValueCompleter::new(complete::machines))]
    machine: Option<String>,
    /// Close all connections, to the machines of all clans
    #[arg(long)]
    all: bool,
}

/// Ends them, with whatever runs there, and says which.
pub(super) fn close(arguments: &Close, global: &Global, ui: &Ui) -> Result<u8> {
    let clan = match arguments.all {
        true => None,
        false => clan(global),
    };
    let is_meant = |found: &Found| match &arguments.machine {
        Some(machine) => found.card.machine == *machine && clan.as_ref() == Some(&found.card.clan),
        None => true,
    };
    let runtime = runtime()?;
    let closed = runtime.block_on(async {
        let mut found = warm::all(&global.env).await;
        found.retain(is_meant);
        let ended = join_all(found.iter().map(Found::close)).await;
        found.into_iter().zip(ended).collect::<Vec<_>>()
    });
    runtime.shutdown_background();
    if closed.is_empty() {
        let which = arguments.machine.as_ref().map(|name| format!(" to {}", Printable(name)));
        ui.notice(&format!("no connection{} is kept", which.unwrap_or_default()));
    }
    for (Found { card, .. }, is_closed) in &closed {
        match is_closed {
            true => print_text(&format!("closed {}\n", line(card)))?,
            false => ui.warning(&format!("process {} does not end: {}", card.pid, line(card))),
        }
    }
    Ok(u8::from(closed.iter().any(|(_, is_closed)| !is_closed)))
}

/// Those to machines of this clan.
pub(super) fn of_clan(global: &Global) -> Result<Vec<Card>> {
    let Some(clan) = clan(global) else { return Ok(Vec::new()) };
    let runtime = runtime()?;
    let found = runtime.block_on(warm::all(&global.env));
    runtime.shutdown_background();
    let cards = found.into_iter().map(|found| found.card);
    Ok(cards.filter(|card| card.clan == clan).collect())
}

/// What tells the clan from others, if anything does.
fn clan(global: &Global) -> Option<String> {
    global.source().map(|_| short_hash(&global.place()))
}

/// What stands below a table.
pub(super) fn text(warm: &[Card]) -> String {
    if warm.is_empty() {
        return String::new();
    }
    let lines = warm.iter().map(|card| format!("  {}\n", line(card)));
    format!("\nWarm connections\n{}", lines.collect::<String>())
}

fn line(card: &Card) -> String {
    let Card { machine, network, user, sessions, .. } = card;
    let runs = match sessions {
        0 => String::new(),
        1 => ", in use".to_owned(),
        more => format!(", used {more} times"),
    };
    let way = match network.as_str() {
        "" => "directly".to_owned(),
        network => format!("over {}", Printable(network)),
    };
    format!("{}  as {} {way}{runs}", Printable(machine), Printable(user))
}

/// Puts them into a document. The schema only grows:
///
/// ```json
/// { "warm": [{ "machine": "web", "network": "tor", "user": "root", "sessions": 0 }] }
/// ```
pub(super) fn with_json(mut document: Value, warm: &[Card]) -> Value {
    let all: Vec<Value> = warm
        .iter()
        .map(|Card { machine, network, user, sessions, .. }| {
            json!({ "machine": machine, "network": network, "user": user, "sessions": sessions })
        })
        .collect();
    if let Value::Object(fields) = &mut document {
        fields.insert("warm".to_owned(), all.into());
    }
    document
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_master_says_is_shown_without_its_control_characters() {
        let card = |machine: &str, sessions| Card {
            machine: machine.to_owned(),
            clan: "c".to_owned(),
            network: "tor\u{202e}".to_owned(),
            user: "root".to_owned(),
            sessions,
            pid: 1,
        };
        assert_eq!(text(&[]), "");
        let shown = text(&[card("web", 0), card("d\x1bb", 2)]);
        assert!(shown.contains("  web  as root over tor"), "{shown}");
        assert!(shown.contains("used 2 times") && shown.is_ascii(), "{shown}");
        let document = with_json(json!({ "a": 1 }), &[card("web", 1)]);
        assert_eq!(document["warm"][0]["sessions"], 1);
        assert_eq!(document["a"], 1);
    }
}
