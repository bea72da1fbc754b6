//! `vars get`.

use std::sync::Arc;

use clap::Subcommand;

use super::{Global, Ui, print};
use crate::error::Result;
use crate::exports::VarRef;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print a var's value, byte for byte
    Get {
        /// The machine that the var belongs to
        machine: String,
        /// The var
        #[arg(value_name = "GENERATOR/FILE")]
        var: String,
    },
}

pub(super) fn run(command: Command, global: &Global, ui: &Arc<Ui>) -> Result<()> {
    let Command::Get { machine, var } = command;
    let var = VarRef::parse(&machine, &var)?;
    let value = global.vars(ui)?.reveal(&var)?;
    print(value.bytes.expose())
}
