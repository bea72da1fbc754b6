//! The test that `docs/options.md` says what the program does: the page is made of the
//! command line's own description and of the table of options.

use std::path::Path;

use clap::{Arg, Command, CommandFactory};

use super::Cli;
use crate::env::Env;

/// With this variable the page is written, and not compared.
const WRITE: &str = "CLAN_CONNECT_WRITE_DOCS";

#[test]
fn the_page_of_options_is_what_the_program_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/options.md");
    let page = page();
    if Env::read().var(WRITE).is_some() {
        std::fs::write(&path, &page).expect("docs can be written");
    }
    let written = std::fs::read_to_string(&path).expect("the page is there");
    let differs = written.lines().zip(page.lines()).find(|(written, said)| written != said);
    assert!(written == page, "with {WRITE}=1 this test writes the page anew: {differs:?}");
}

#[test]
fn every_command_and_every_option_is_on_the_page() {
    let page = page();
    for words in ["## Global options", "## `ssh`", "## `network trust add`", "`--tor <CLIENT>`"] {
        assert!(page.contains(words), "{words}");
    }
    // What separates cells is none in a cell, and no line is half a row.
    for row in page.lines().filter(|line| line.starts_with("| `-")) {
        assert_eq!(row.replace("\\|", "").matches('|').count(), 3, "{row}");
        assert!(row.ends_with(" |") && !row.ends_with("|  |"), "{row}");
    }
}

fn page() -> String {
    let mut cli = Cli::command();
    cli.build();
    let mut page = "# Options

This page is made from the program, and a test compares them; how commands are used is said in
the [guide](guide.md). `clan-connect COMMAND --help` shows the same on a terminal, and
`clan-connect man COMMAND` prints a manual page.

## Global options

They can be given before or after a command.
"
    .to_owned();
    tables(&cli, true, &mut page);
    for command in cli.get_subcommands() {
        section(command, "", &mut page);
    }
    page + &crate::options::page()
}

/// What is said of a command, or of each of its own.
fn section(command: &Command, above: &str, page: &mut String) {
    let name = format!("{above}{}", command.get_name());
    if command.has_subcommands() {
        for below in command.get_subcommands() {
            section(below, &format!("{name} "), page);
        }
        return;
    }
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    page.push_str(&format!("\n## `{name}`\n\n{about}.\n\n    {usage}\n"));
    tables(command, false, page);
}

/// A table of the arguments for each of their headings.
fn tables(command: &Command, is_global: bool, page: &mut String) {
    let arguments: Vec<&Arg> = command
        .get_arguments()
        .filter(|arg| arg.is_global_set() == is_global && !arg.is_hide_set())
        .filter(|arg| !["help", "version"].contains(&arg.get_id().as_str()))
        .collect();
    let mut headings = Vec::new();
    for arg in &arguments {
        if !headings.contains(&arg.get_help_heading()) {
            headings.push(arg.get_help_heading());
        }
    }
    for heading in headings {
        if let Some(heading) = heading.filter(|heading| *heading != "Global options") {
            page.push_str(&format!("\n{heading}:\n"));
        }
        page.push_str("\n| | |\n|---|---|\n");
        for arg in arguments.iter().filter(|arg| arg.get_help_heading() == heading) {
            page.push_str(&row(arg));
        }
    }
}

fn row(arg: &Arg) -> String {
    let short = arg.get_short().filter(|_| arg.get_long().is_some());
    let short = short.map(|letter| format!("`-{letter}`, ")).unwrap_or_default();
    let mut about = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let takes_value = arg.get_action().takes_values();
    let choices = arg.get_possible_values();
    if takes_value && !choices.is_empty() {
        let choices: Vec<String> =
            choices.iter().map(|choice| format!("`{}`", choice.get_name())).collect();
        about.push_str(&format!("; one of {}", choices.join(", ")));
    }
    if let Some(default) = arg.get_default_values().first().filter(|_| takes_value) {
        about.push_str(&format!(" [default: `{}`]", default.to_string_lossy()));
    }
    let cell = |text: &str| text.replace('|', "\\|").replace('\n', " ");
    // What may be repeated without a value has dots that say nothing here.
    let name = arg.to_string();
    let name = if takes_value { &name } else { name.trim_end_matches("...") };
    format!("| {short}`{}` | {} |\n", cell(name), cell(&about))
}
