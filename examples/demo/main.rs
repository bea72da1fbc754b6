//! The main job with nothing else at hand: a sample clan with a secret host, a
//! machine, and the library's whole path from exports to remote output.
//!
//! Run it with: `cargo run --release --example demo`
#![allow(clippy::print_stdout, reason = "a program that tells what it does")]

mod sample;

use clan_connect::{Clan, Event, Prompter, Secret};
use sample::{Failure, MACHINE};

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let clan = tempfile::tempdir()?;
    println!("a clan in a temporary folder, with two networks:");
    let machine = sample::start_machine().await?;
    let key = sample::write_clan(clan.path(), machine)?;
    println!("  internet  priority 1000  a closed port of this computer");
    println!("  tunnel    priority   10  {MACHINE}, its host in a var encrypted with age");

    println!("\nclan-connect ssh {MACHINE} -c hostname");
    let clan_of_demo = Clan::read(clan.path().join("exports.json")).await?;
    let connection = clan_of_demo
        .vars_in(clan.path())
        .age_identity(clan.path().join("key.txt"))
        .prompter(Reader)
        .machine(MACHINE)?
        .identity_file(key)
        .known_hosts(clan.path().join("known_hosts"))
        .on_event(|event| match event {
            Event::Trying { network, host } => println!("  trying {network} ({host})"),
            Event::Failed(attempt) => println!("  failed: {attempt}"),
            _ => {}
        })
        .connect()
        .await?;
    let (network, user, host) = (connection.network(), connection.user(), connection.host());
    println!("  connected over network {network} as {user}@{host}");

    let output = connection.command(["hostname"]).output().await?;
    connection.close().await;
    println!("\nthe machine answers:\n{}", String::from_utf8_lossy(&output.stdout));
    println!("exit status {}", output.status.code().unwrap_or(255));
    let known = std::fs::read_to_string(clan.path().join("known_hosts"))?;
    println!("remembered its host key under the name, never the host:\n  {}", known.trim_end());
    Ok(())
}

/// Nobody answers questions in a demo, but somebody reads.
struct Reader;

impl Prompter for Reader {
    fn ask(&self, _: &str, _: bool) -> Option<Secret<String>> {
        None
    }

    fn tell(&self, text: &str) {
        println!("  {text}");
    }

    fn warn(&self, text: &str) {
        println!("  {text}");
    }
}
