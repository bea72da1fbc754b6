//! `-O`: what a master is told to do, in the words of OpenSSH's mux.c.

use std::io::ErrorKind;

use super::Control;
use crate::cli::invocation::Invocation;
use crate::cli::{Global, Ui, print};
use crate::error::{Error, Result, strerror};
use crate::mux::client::{Client, MasterFailure};
use crate::openssh::Forwards;
use crate::printable::{self, Printable};

/// What `-O` takes.
const COMMANDS: [&str; 7] = ["check", "conninfo", "channels", "exit", "stop", "forward", "cancel"];

/// Those that do nothing to the machine.
const ENDING: [&str; 3] = ["check", "exit", "stop"];

/// `-O`: speaks to a master and returns the exit status.
pub(in crate::cli) async fn command(
    name: &str,
    invocation: &Invocation,
    global: &Global,
) -> Result<u8> {
    let resolved = &invocation.resolved;
    let ui = &Ui::as_ssh(resolved, global.color);
    let Some(control) = Control::of(invocation, global)? else {
        let name = Printable(name);
        return Err(Error::Usage(format!("No ControlPath specified for \"-O\" command {name}")));
    };
    let path = control.shown();
    let failed = |failure: MasterFailure| match failure {
        MasterFailure::Io(error) => Error::Control(format!(
            "Control socket connect({path}): {}",
            match error.kind() {
                ErrorKind::NotFound => "No such file or directory".to_owned(),
                ErrorKind::ConnectionRefused => "Connection refused".to_owned(),
                _ => strerror(&error),
            }
        )),
        failure => Error::Control(format!("{}: master returned error: {failure}", Printable(name))),
    };
    if !COMMANDS.contains(&name) {
        return Err(Error::Usage("Invalid multiplex command.".to_owned()));
    }
    let mut client = master(&control, name).await.map_err(failed)?;
    let done = match name {
        "conninfo" => return told(client.info("connection").await.map_err(failed)?),
        "channels" => return told(client.info("channels").await.map_err(failed)?),
        "check" => format!("Master running (pid={})\r", client.pid().await.map_err(failed)?),
        "exit" => {
            client.terminate().await.map_err(failed)?;
            "Exit request sent.\r".to_owned()
        }
        "stop" => {
            client.stop_listening().await.map_err(failed)?;
            "Stop listening request sent.\r".to_owned()
        }
        _ => {
            return forward(&mut client, name == "cancel", &Forwards::of(resolved)?, ui).await;
        }
    };
    // As mux.c has it: an answer is shown whatever else is not.
    if name == "check" || !resolved.is_silent() {
        ui.show(&format!("{done}\n"));
    }
    Ok(0)
}

/// Finds the master: that of the machine, or one that is called by the very name of its socket,
/// as by nixos-rebuild, which looks for sockets in a directory and names some other host. The
/// latter is only asked to end, or whether it is there.
async fn master(control: &Control, order: &str) -> std::result::Result<Client, MasterFailure> {
    let found = Client::connect(&control.path).await;
    match (&control.said, &found) {
        (Some(said), Err(MasterFailure::Io(error)))
            if error.kind() == ErrorKind::NotFound && ENDING.contains(&order) =>
        {
            Client::connect(said).await.or(found)
        }
        _ => found,
    }
}

/// `-O conninfo` and `-O channels`: shows what a master has told, lines as it ends them.
fn told(text: Option<String>) -> Result<u8> {
    let Some(text) = text else {
        // As OpenSSH's own before 10.3.
        return Err(Error::Control("mux server does not support info request".to_owned()));
    };
    print(printable::shown(&text).as_bytes())?;
    Ok(0)
}

/// `-O forward` and `-O cancel`. One that cannot be had is an error; one that is not
/// there to be given up is none (`muxclient` of OpenSSH's mux.c).
async fn forward(
    client: &mut Client,
    is_cancelled: bool,
    forwards: &Forwards,
    ui: &Ui,
) -> Result<u8> {
    let mut all_done = true;
    for forward in &forwards.all {
        let done = match is_cancelled {
            true => client.close_forward(forward).await.map(|()| None),
            false => client.open_forward(forward).await,
        };
        match done {
            Ok(Some(port)) => print(format!("{port}\n").as_bytes())?,
            Ok(None) => {}
            Err(failure) => {
                all_done = false;
                let failure = format!("forwarding request failed: {failure}");
                ui.say(&format!("mux_client_forward: {failure}"));
            }
        }
    }
    match (all_done, is_cancelled) {
        (true, _) => Ok(0),
        (false, true) => {
            ui.say("muxclient: master cancel forward request failed");
            Ok(0)
        }
        (false, false) => {
            Err(Error::Control("muxclient: master forward request failed".to_owned()))
        }
    }
}
