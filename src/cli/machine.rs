//! A machine of the clan and the options of ssh(1), as every command of ours takes
//! them. Owns what makes an invocation of them: the command line first, then the
//! clan's own host, port and user, then ssh_config(5), then our defaults.

use std::num::NonZeroU16;
use std::time::Duration;

use clap::{ArgAction, Args};
use clap_complete::engine::ArgValueCompleter;

use super::invocation::{Destination, Front, Invocation, task, warnings};
use super::{Global, complete, shell};
use crate::error::{Error, Result};
use crate::exports::check_machine;
use crate::openssh::arguments::Arguments;
use crate::openssh::{Reading, resolve};
use crate::options::{LogLevel, SendEnv, is_for_addresses};
use crate::plan::{DEFAULT_USER, Overrides, TargetHost};
use crate::printable::Printable;
use crate::race;
use crate::ssh::hostkey::HostKeyCheck;
use crate::ssh_config::host_name;
use crate::tokens;

#[derive(Debug, Default, Args)]
#[command(next_help_heading = "As in ssh(1)")]
pub(super) struct SshOptions {
    /// Set an option of ssh_config(5)
    #[arg(long, num_args = 2, value_names = ["NAME", "VALUE"], action = ArgAction::Append,
          add = ArgValueCompleter::new(complete::ssh_options))]
    ssh_option: Vec<String>,
    /// Set an option of ssh_config(5), written NAME=VALUE
    #[arg(short = 'o', value_name = "NAME=VALUE", action = ArgAction::Append)]
    option: Vec<String>,
    /// Read FILE instead of ~/.ssh/config and /etc/ssh/ssh_config; `none` reads no file
    ///
    /// Its sections for `Host MACHINE` apply to what neither the command line nor the clan
    /// sets.
    #[arg(short = 'F', value_name = "FILE")]
    config_file: Option<String>,
    /// Connect through these jump hosts, which may be machines of the clan
    #[arg(short = 'J', value_name = "HOST,…")]
    jump: Option<String>,
    /// Use IPv4 only
    #[arg(short = '4', conflicts_with = "six")]
    four: bool,
    /// Use IPv6 only
    #[arg(short = '6')]
    six: bool,
    /// What to do about host keys: strict, ask, accept-new, tofu, none [default: tofu]
    #[arg(long, value_name = "CHECK", add = ArgValueCompleter::new(complete::host_key_checks))]
    host_key_check: Option<HostKeyCheck>,
}

impl SshOptions {
    pub(super) fn host_key_check(&self) -> Option<HostKeyCheck> {
        self.host_key_check
    }

    /// Puts them among the letters of a command line.
    pub(super) fn put(&self, arguments: &mut Arguments) -> Result<()> {
        arguments.config_file.clone_from(&self.config_file);
        if let Some(hosts) = &self.jump {
            arguments.with_argument('J', hosts.clone())?;
        }
        for (is_said, letter) in [(self.four, '4'), (self.six, '6')] {
            if is_said {
                arguments.alone(letter)?;
            }
        }
        for line in &self.option {
            arguments.with_argument('o', line.clone())?;
        }
        for pair in self.ssh_option.chunks_exact(2) {
            if let [name, value] = pair {
                arguments.options.pair(name, value, "--ssh-option")?;
            }
        }
        Ok(())
    }
}

/// What a command asks about one machine.
#[derive(Default)]
pub(super) struct MachineRequest {
    /// The machine.
    pub(super) name: String,
    /// The letters of ssh(1).
    pub(super) arguments: Arguments,
    pub(super) host_key_check: Option<HostKeyCheck>,
    pub(super) network: Option<String>,
    pub(super) target_host: Option<String>,
    pub(super) command: Option<String>,
    pub(super) timeout: Option<Duration>,
    pub(super) grace: Option<Duration>,
}

impl MachineRequest {
    /// What is asked about a machine with these options, and nothing else.
    pub(super) fn of(name: &str, options: &SshOptions) -> Result<Self> {
        let mut asked = Self { name: name.to_owned(), ..Self::default() };
        options.put(&mut asked.arguments)?;
        asked.host_key_check = options.host_key_check;
        Ok(asked)
    }

    /// Everything that is said of it, the files of ssh_config(5) included. No name is
    /// looked up.
    pub(super) async fn invocation(self, global: &Global) -> Result<Invocation> {
        let address = |text| TargetHost::parse(text, is_for_addresses);
        let target_host = self.target_host.as_deref().map(address).transpose()?;
        let Arguments { mut options, config_file, stdio_forward, warnings: mut said, .. } =
            self.arguments;
        for (name, value) in target_host.iter().flat_map(|target| &target.options) {
            options.pair(name, value, "--target-host")?;
        }
        options.log_level = options.log_level.or(said_by(global));
        // As clan does.
        let more = std::mem::replace(&mut options.send_env, SendEnv::of(&["LANG", "LC_*"]));
        options.send_env.extend(more);
        if let Err(reason) = check_machine(&self.name) {
            let name = Printable(&self.name);
            return Err(Error::Usage(format!("machine \"{name}\": {reason}")));
        }
        if let Some(why) = options.user.as_deref().and_then(tokens::unfit_user) {
            return Err(Error::Usage(format!("the login name {why}")));
        }
        // Another address, as `--target-host` is.
        let other_host = options.host_name.is_some().then(|| host_name(&options, &self.name));
        let other_host = other_host.as_deref().map(address).transpose()?;
        let named = std::mem::take(&mut options.identity_file);
        let proxy_is_said = options.proxy_jump.is_some() || options.proxy_command.is_some();
        let agent_is_said = options.forward_agent.is_some();
        said.extend(warnings(&options));
        // Of two words that ssh(1) is told the first counts, and Clan tells it the option
        // first. `none` says what `no` does, and more.
        let is_left = |check: &HostKeyCheck| match options.strict_host_key_checking {
            Some(said) => (said, *check) == (HostKeyCheck::No, HostKeyCheck::None),
            None => true,
        };
        let host_key_check = self.host_key_check.filter(is_left);
        let timeout_is_said = options.connect_timeout.is_some();
        let file = config_file.as_deref();
        let exec = |command: &str| shell::holds(command, &global.env);
        let login = Some(DEFAULT_USER);
        let reading = Reading { config_file: file, login, exec: &exec, names: None };
        let mut resolved = resolve(&self.name, &options, &reading, &global.env).await?;
        if stdio_forward.is_some() {
            resolved.carry_stream();
        }
        let identities = resolved.files(&named)?;
        let port = |options: &crate::options::Options| options.port.map(NonZeroU16::get);
        Ok(Invocation {
            front: Front::Clan,
            destination: Destination::Machine,
            overrides: Overrides {
                network: self.network,
                target_host: target_host.or(other_host),
                user: options.user.clone(),
                port: port(&options),
                default_user: resolved.options.user.clone(),
                default_port: port(&resolved.options),
            },
            task: task(stdio_forward.as_deref(), self.command)?,
            resolved,
            config_file,
            proxy_is_said,
            agent_is_said,
            warnings: said,
            host_key_check,
            identities,
            timeout: self.timeout.filter(|_| !timeout_is_said),
            grace: self.grace.unwrap_or(race::DEFAULT_GRACE),
            log_file: None,
            warm: None,
        })
    }
}

/// What `-v` and `-q` mean in ssh_config(5).
fn said_by(global: &Global) -> Option<LogLevel> {
    match (global.quiet, global.verbose) {
        (true, _) => Some(LogLevel::Error),
        (false, 0) => None,
        (false, 1) => Some(LogLevel::Debug1),
        (false, 2) => Some(LogLevel::Debug2),
        (false, _) => Some(LogLevel::Debug3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::Env;

    #[tokio::test]
    async fn an_address_does_not_make_a_name_of_what_no_machine_is_called() {
        let global = Global { env: Env::default(), ..Global::default() };
        let asked = |name: &str| {
            let mut asked = MachineRequest::of(name, &SshOptions::default()).unwrap();
            asked.arguments.config_file = Some("none".to_owned());
            asked.target_host = Some("root@127.0.0.1".to_owned());
            asked.invocation(&global)
        };
        for name in ["web01", "web_1.example", "größe", "*"] {
            assert_eq!(asked(name).await.unwrap().name(), name);
        }
        for (name, why) in [
            ("", "the name is empty"),
            ("a/b", "the name holds '/'"),
            ("..", "the name is that of a directory"),
            ("a\nb", "the name holds a control character"),
            ("a\u{9b}b", "the name holds a control character"),
            ("a\u{202e}b", "the name holds an invisible character"),
            ("a\u{200b}b", "the name holds an invisible character"),
            ("-oX", "the name starts with -"),
            (&"x".repeat(256), "the name is longer than 255 bytes"),
        ] {
            match asked(name).await {
                Err(Error::Usage(text)) => {
                    assert!(text.starts_with("machine \"") && text.ends_with(why), "{text:?}");
                    assert!(!text.chars().any(char::is_control), "{text:?}");
                }
                other => panic!("{name:?}: {other:?}"),
            }
        }
    }
}
