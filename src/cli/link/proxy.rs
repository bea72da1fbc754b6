//! What the user has put in the way of a host: jump hosts, or a command. Owns what
//! they are told, which is never more than everybody may know.

use std::collections::HashMap;
use std::fmt;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use rustix::fs::FileType;
use rustix::process::{Pid, Signal};
use tokio::io::AsyncWrite;
use tokio::net::UnixStream;
use tokio::process::{Child, ChildStdin};
use tokio::sync::OnceCell;

use super::{Begins, Link, open_at};
use crate::children::Awaited;
use crate::cli::invocation::Invocation;
use crate::cli::role::Role;
use crate::cli::{Global, Ui, shell};
use crate::command;
use crate::dial::{Opening, Proxy, Stream, Target};
use crate::env::Env;
use crate::error::{Error, ProxyFailure, Result};
use crate::mux::passing::receive_descriptor;
use crate::openssh::Resolved;
use crate::openssh::arguments;
use crate::options::{JumpHosts, Maybe, Template, bare};
use crate::printable::Printable;
use crate::ssh::forward::ForwardTarget;
use crate::tokens;

/// A connection to jump hosts, once it is there.
type Shared = Arc<OnceCell<Arc<Link>>>;

/// The jump hosts that several destinations share.
pub(in crate::cli) struct Jumps {
    depth: usize,
    /// Whether nobody is asked on the way to them.
    is_silent: bool,
    open: Mutex<HashMap<Vec<String>, Shared>>,
}

impl Jumps {
    /// None yet, behind so many others.
    pub(in crate::cli) fn new(depth: usize) -> Self {
        Self { depth, is_silent: false, open: Mutex::default() }
    }

    /// The same for many destinations at once, where nobody is asked anything.
    pub(in crate::cli) fn silent() -> Self {
        Self { is_silent: true, ..Self::new(0) }
    }

    /// The last of some jump hosts, over the others. It is connected to once.
    async fn link(
        &self,
        hosts: &[String],
        begins: Begins,
        config_file: Option<&str>,
        global: &Global,
        ui: &Arc<Ui>,
    ) -> Result<Arc<Link>> {
        let cell = {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.entry(hosts.to_vec()).or_default().clone()
        };
        let connecting = async {
            ui.progress.doing(format!("connecting to {}", Printable(&hosts.join(","))));
            let mut hop = hop(hosts, config_file, &global.env).await?;
            if self.is_silent {
                hop.resolved.options.batch_mode = Some(true);
            }
            Box::pin(open_at(&mut hop, begins, global, ui, self.depth + 1)).await.map(Arc::new)
        };
        cell.get_or_try_init(|| connecting).await.cloned()
    }
}

/// What `ProxyJump` or `ProxyCommand` put in the way. Jump hosts are connected to at
/// once, and begin what `begins` says.
pub(super) async fn of(
    invocation: &Invocation,
    is_machine: bool,
    begins: Begins,
    jumps: &Jumps,
    global: &Global,
    ui: &Arc<Ui>,
) -> Result<Option<Arc<dyn Proxy>>> {
    let resolved = &invocation.resolved;
    if let Some(command) = resolved.proxy_command() {
        // Its networks are reached from here, without another process of ours.
        if is_machine && is_ours(command) {
            return Ok(None);
        }
        return Ok(Some(Program::new(command.clone(), resolved.clone())));
    }
    match resolved.jumps() {
        [] => Ok(None),
        hosts => {
            let file = invocation.config_file.as_deref();
            let by_files;
            let global = match invocation.proxy_is_said {
                true => global,
                false => {
                    by_files = global.for_files();
                    &by_files
                }
            };
            let link = jumps.link(hosts, begins, file, global, ui).await?;
            Ok(Some(Arc::new(Jump { link, is_said: invocation.proxy_is_said })))
        }
    }
}

/// Whether a command is `clan-connect proxy`, by which other programs reach the
/// machines of a clan.
fn is_ours(command: &Template) -> bool {
    let words = command::split(command.written()).unwrap_or_default();
    let mut words = words.iter().map(String::as_str).skip_while(|word| *word == "exec");
    let program = words.next().and_then(|word| word.rsplit('/').next());
    program == Some(env!("CARGO_PKG_NAME")) && words.any(|word| word == "proxy")
}

/// The last of some jump hosts, over the others.
async fn hop(jumps: &[String], config_file: Option<&str>, env: &Env) -> Result<Invocation> {
    let Some((last, before)) = jumps.split_last() else {
        return Err(Error::Usage("no jump host".to_owned()));
    };
    // As ssh(1) does: only the file's name is passed on to a jump host.
    let uri = if last.starts_with("ssh://") { last.clone() } else { format!("ssh://{last}") };
    let mut hop = arguments::parse(&["--".to_owned(), uri], env)?;
    hop.config_file = config_file.map(str::to_owned);
    if !before.is_empty() {
        hop.options.proxy_jump = Some(Maybe(Some(JumpHosts(before.to_vec()))));
    }
    Invocation::as_ssh(&hop, env).await
}

/// A session that streams go through.
struct Jump {
    link: Arc<Link>,
    /// Whether it was named on the command line.
    is_said: bool,
}

impl fmt::Debug for Jump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Jump")
    }
}

impl Proxy for Jump {
    fn open<'a>(&'a self, target: &'a Target) -> Opening<'a> {
        Box::pin(async {
            // What the files say of hosts in general was not said of this one.
            if target.secret && !self.is_said {
                return Err(ProxyFailure::TellsSecret);
            }
            let place = ForwardTarget::Tcp(bare(target.host.expose()).to_owned(), target.port);
            let stream = self.link.session.open(&place).await;
            Ok(Stream::new(stream.map_err(ProxyFailure::NotForwarded)?, None))
        })
    }
}

/// A command for each stream.
#[derive(Debug)]
struct Program {
    command: Template,
    machine: Resolved,
    started: Mutex<Vec<(Child, Option<Awaited>)>>,
}

impl Program {
    fn new(command: Template, machine: Resolved) -> Arc<Self> {
        Arc::new(Self { command, machine, started: Mutex::default() })
    }

    /// That of a master keeps nobody's standard error open (`ssh_proxy_connect` of
    /// OpenSSH's sshconnect.c).
    fn command(&self, command: &str) -> tokio::process::Command {
        // Without a shell that would stay between us and it.
        let run = shell::command(&format!("exec {command}"), &self.machine.env);
        let mut run = tokio::process::Command::from(run);
        if Role::of_this() == Some(Role::Master) && self.machine.verbosity() == 0 {
            run.stderr(Stdio::null());
        }
        run
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // As ssh(1) does: not every program ends when its input does.
        let started = self.started.get_mut().unwrap_or_else(PoisonError::into_inner);
        for (child, _) in started {
            let pid = child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
            if let Some(pid) = pid {
                let _ = rustix::process::kill_process(pid, Signal::HUP);
            }
        }
    }
}

impl Proxy for Program {
    fn open<'a>(&'a self, target: &'a Target) -> Opening<'a> {
        // Everybody on this computer can read what a program is called with.
        let host = (!target.secret).then(|| target.host.expose().clone());
        // Whoever it comes from: its words become the shell's.
        let unfit = tokens::unfit_host(target.host.expose());
        let expanded = tokens::expand(self.command.written(), &|token| match token {
            'h' => host.clone(),
            'p' => Some(target.port.to_string()),
            token => self.machine.token(token),
        });
        Box::pin(async move {
            if let Some(why) = unfit {
                return Err(ProxyFailure::Unfit(why.to_string()));
            }
            let command = expanded.map_err(|error| match target.secret {
                true if self.command.written().contains("%h") => ProxyFailure::ShowsSecret,
                _ => ProxyFailure::Command(error.to_string()),
            })?;
            let run = self.command(&command);
            if self.machine.options.proxy_use_fdpass() {
                return passed(run).await;
            }
            let (stream, child) =
                proxy(run).map_err(|error| ProxyFailure::NotStarted(error.kind()))?;
            let awaited = child.id().map(Awaited::new);
            self.started.lock().unwrap_or_else(PoisonError::into_inner).push((child, awaited));
            Ok(stream)
        })
    }
}

/// A program, and its standard input and output.
fn proxy(mut run: tokio::process::Command) -> std::io::Result<(Stream, Child)> {
    let mut child = run.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let (Some(output), Some(input)) = (child.stdout.take(), child.stdin.take()) else {
        return Err(std::io::ErrorKind::BrokenPipe.into());
    };
    Ok((Stream::new(tokio::io::join(output, Input(Some(input))), None), child))
}

/// The connection that a program passes on (`ProxyUseFdpass`), which has one end of a
/// socket for its standard input and output, and is not needed any more then
/// (`ssh_proxy_fdpass_connect` of OpenSSH's sshconnect.c).
async fn passed(mut run: tokio::process::Command) -> Result<Stream, ProxyFailure> {
    let not_started = |error: std::io::Error| ProxyFailure::NotStarted(error.kind());
    let (ours, theirs) = UnixStream::pair().map_err(not_started)?;
    let theirs = theirs.into_std().map_err(not_started)?;
    theirs.set_nonblocking(false).map_err(not_started)?;
    let theirs = OwnedFd::from(theirs);
    run.stdin(theirs.try_clone().map_err(not_started)?).stdout(theirs);
    // Where this is given up, so is the program.
    let mut child = run.kill_on_drop(true).spawn().map_err(not_started)?;
    let awaited = child.id().map(Awaited::new);
    // Its own end is to be the only one.
    drop(run);
    let file = receive_descriptor(&ours).await;
    drop(ours);
    let _ = child.wait().await;
    drop(awaited);
    let socket = file.ok().filter(|file| {
        let kind = rustix::fs::fstat(file).map(|stat| FileType::from_raw_mode(stat.st_mode));
        kind == Ok(FileType::Socket)
    });
    let socket = socket.ok_or(ProxyFailure::NotPassed)?;
    // As for any connection of ours, where it is one of TCP.
    let _ = rustix::net::sockopt::set_tcp_nodelay(&socket, true);
    // Whatever its family: nothing is done with it but reading and writing.
    let socket = std::os::unix::net::UnixStream::from(socket);
    let stream = socket.set_nonblocking(true).and_then(|()| UnixStream::from_std(socket));
    Ok(Stream::new(stream.map_err(|_| ProxyFailure::NotPassed)?, None))
}

/// The standard input of a program, which ends with what is written to it.
struct Input(Option<ChildStdin>);

impl AsyncWrite for Input {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        match &mut self.0 {
            Some(input) => Pin::new(input).poll_write(cx, bytes),
            None => Poll::Ready(Err(ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match &mut self.0 {
            Some(input) => Pin::new(input).poll_flush(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        // Only a pipe that is closed is at its end.
        self.0 = None;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Technology;
    use crate::options::Options;
    use crate::secret::Secret;

    #[tokio::test]
    async fn a_program_is_never_told_a_secret_host() {
        let machine = Resolved::of("m", Options::default(), &Env::default());
        let open = async |command: &str, secret| {
            let program = Program::new(Template::new(command), machine.clone());
            let host = Secret::new("hidden.example".to_owned());
            let (technology, label) = (Technology::DIRECT, "<secret>".to_owned());
            program.open(&Target { technology, host, label, secret, port: 22 }).await.map(|_| ())
        };
        assert!(open("true %h %p %n", false).await.is_ok());
        assert!(open("true %p %n", true).await.is_ok());
        assert_eq!(open("true %h", true).await, Err(ProxyFailure::ShowsSecret));
        let Err(ProxyFailure::Command(why)) = open("true %Z", true).await else { panic!() };
        assert!(why.contains("unknown token"), "{why}");
    }

    #[tokio::test]
    async fn a_program_is_never_told_a_host_that_means_something_to_its_shell() {
        let machine = Resolved::of("m", Options::default(), &Env::default());
        for host in ["$(touch x)", "a;b", "-oProxyCommand=x", "`x`"] {
            let program = Program::new(Template::new("true %h"), machine.clone());
            let (technology, label) = (Technology::DIRECT, "x".to_owned());
            let host = Secret::new(host.to_owned());
            let target = Target { technology, host, label, secret: false, port: 22 };
            let why = program.open(&target).await.map(|_| ()).unwrap_err();
            assert!(matches!(why, ProxyFailure::Unfit(_)), "{why}");
        }
    }

    #[test]
    fn our_own_proxy_is_known_by_its_name() {
        for ours in [
            "clan-connect proxy %h %p",
            "/usr/bin/clan-connect --flake 'a b' proxy %n",
            "exec clan-connect proxy %h",
        ] {
            assert!(is_ours(&Template::new(ours)), "{ours}");
        }
        for other in ["nc %h %p", "clan-connect ssh gate -W %h:%p", "x clan-connect proxy", "'"] {
            assert!(!is_ours(&Template::new(other)), "{other}");
        }
    }
}
