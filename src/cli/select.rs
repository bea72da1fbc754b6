//! `select SELECTOR`: what `clan select` prints, from what is known of the clan
//! or, for all else, from nix.

use serde_json::{Value, json};

use super::{Global, Ui, print};
use crate::error::{Error, Result};
use crate::flake::{self, Step, nix};
use crate::printable;
use crate::select::{Selector, to_json};

pub(super) fn run(text: &str, global: &Global, ui: &Ui) -> Result<()> {
    let selector = Selector::parse(text)?;
    let value = match selector.is_below(&["clan", "exports"]) {
        true => selector.apply(&known(global, ui)?)?,
        false => from_nix(&selector, global, ui)?,
    };
    print(printable::json(&to_json(&value)).as_bytes())
}

/// The flake as far as it is known.
fn known(global: &Global, ui: &Ui) -> Result<Value> {
    let snapshot = global.known(ui)?;
    for name in &snapshot.failed {
        ui.warning(&format!("exports entry {name:?} could not be evaluated and is left out"));
    }
    let mut exports = snapshot.exports;
    // As nix has them, whoever wrote the file.
    exports.sort_all_objects();
    Ok(json!({ "clan": { "exports": exports } }))
}

fn from_nix(selector: &Selector, global: &Global, ui: &Ui) -> Result<Value> {
    if let Some(file) = &global.exports {
        return Err(Error::Usage(format!(
            "{} contains only what is below clan.exports; nix evaluates all else where the clan's \
             directory is named instead",
            printable::line(&file.to_string_lossy())
        )));
    }
    let flake = global.site()?;
    let mut step = |_: Step| ui.evaluating();
    let selected =
        flake::ask_nix(&flake, &mut step, |nix, flake| nix::select(nix, flake, selector));
    ui.progress.done();
    selected
}
