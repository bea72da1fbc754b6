//! A machine of a clan with a nix store of its own, and a computer with another that deploys
//! to it, where our `ssh` is before all others. Each sees its own folder as `/nix`.

use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use crate::harness::{BINARY, Home, PROGRAMS, Run, Server, sshd_through, start, wait};

pub(crate) const IP: &str = "127.0.0.1";

/// Starts the rest of the words where `$0` is `/nix`; what is written to the machine's home
/// goes to `$1`.
const APART: &str = "mkdir -p /nix && mount --bind \"$0\" /nix && mount --bind \"$1\" /root && \
                     shift && exec \"$@\"";

/// The clan, its machine `web01` and who deploys to it.
pub(crate) struct Fleet {
    pub(crate) home: Home,
    pub(crate) server: Server,
}

/// Where a folder is `/nix`, and another the home of root.
fn apart(nix: &str, root: &str) -> [String; 7] {
    ["/usr/bin/unshare", "-m", "/bin/sh", "-c", APART, nix, root].map(str::to_owned)
}

/// Programs that the tests need beside those of nix.
const OTHERS: &str = "/usr/bin:/bin:/usr/sbin";

impl Fleet {
    /// The better network of the machine is dead; the clan knows its host key.
    pub(crate) fn new() -> Self {
        let nix = format!("{PROGRAMS}/nix-2.26");
        let program = format!("{nix}/nix");
        let is_there = std::path::Path::new(&program).exists();
        assert!(is_there, "no {program}: run vendor-tests/newer-nix {nix}");
        let home = Home::new();
        let key = home.default_key();
        for dir in ["machine/nix", "machine/root", "nix", "root", "bin", "tmp"] {
            std::fs::create_dir_all(home.path(dir)).unwrap();
        }
        symlink(BINARY, home.path("bin/ssh")).unwrap();
        home.write(
            "etc/nix.conf",
            "build-users-group =\nsandbox = false\nsubstitute = false\n\
             experimental-features = nix-command flakes\n",
        );
        // Stand-ins for what NixOS has and this computer may not.
        home.script("machine/bin/sudo", SUDO);
        home.script("machine/bin/systemd-run", SYSTEMD_RUN);
        let path = |name: &str| home.path(name).to_str().unwrap().to_owned();
        let through = apart(&path("machine/nix"), &path("machine/root"));
        let through: Vec<&str> = through.iter().map(String::as_str).collect();
        let config = format!(
            "SetEnv SHLVL=1 PATH={}:{nix}:{OTHERS} NIX_CONF_DIR={} TMPDIR={} MACHINE=web01\n\
             MaxSessions 20\n",
            path("machine/bin"),
            path("etc"),
            path("tmp")
        );
        let server = sshd_through(&through, &home, IP, &key, &config);
        let fleet = Self { home, server };
        fleet.knows(&format!("sshd-{}/host_key.pub", fleet.server.port()));
        fleet
    }

    /// Has the clan know this host key.
    pub(crate) fn knows(&self, public: &str) {
        let port = self.server.address.port();
        let peers =
            |port: u16| serde_json::json!({ "web01": { "host": { "plain": IP }, "port": port } });
        let snapshot = serde_json::json!({
            "clan_connect_snapshot": 1,
            "machines": { "web01": { "host_keys": [self.home.read(public).trim()] } },
            "exports": {
                "dead": { "priority": 20, "peers": peers(1) },
                "good": { "priority": 10, "peers": peers(port) },
            },
        });
        self.home.write("clan/clan-connect.json", snapshot.to_string());
    }

    /// A program of who deploys.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let path = |name: &str| self.home.path(name).to_str().unwrap().to_owned();
        let [program, through @ ..] = apart(&path("nix"), &path("root"));
        let mut command = Command::new(program);
        command
            .args(through)
            .args(words)
            .env_clear()
            .env("HOME", self.home.path("home"))
            .env("PATH", format!("{}:{PROGRAMS}/nix-2.26:{PROGRAMS}/bin:{OTHERS}", path("bin")))
            .env("CLAN_DIR", self.home.path("clan"))
            .env("NIX_CONF_DIR", self.home.path("etc"))
            .env("TMPDIR", self.home.path("tmp"))
            .env("LC_ALL", "C.UTF-8")
            .current_dir(self.home.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// It runs to its end.
    pub(crate) fn run(&self, words: &[&str]) -> Run {
        Self::done(&mut self.command(words))
    }

    pub(crate) fn done(command: &mut Command) -> Run {
        Run::of(wait(start(command, "util-linux")))
    }

    /// Our `ssh`, as a program would start it.
    pub(crate) fn ssh(&self, words: &[&str]) -> Run {
        self.run(&[&["ssh"], words].concat())
    }

    /// Builds what has the shape of a NixOS system; returns its path.
    pub(crate) fn system(&self, name: &str) -> String {
        self.home.write("system.nix", SYSTEM);
        let args = ["nix-build", "--no-out-link", "system.nix", "--argstr", "name", name];
        self.run(&args).exits(0).text().trim().to_owned()
    }

    /// What a system that was activated wrote.
    pub(crate) fn activated(&self) -> String {
        self.home.read("machine/root/activated")
    }

    /// Which system the machine boots.
    pub(crate) fn booted(&self) -> String {
        let profiles = self.home.path("machine/nix/var/nix/profiles");
        let read = |name: &std::path::Path| std::fs::read_link(profiles.join(name)).unwrap();
        read(&read("system".as_ref())).to_str().unwrap().to_owned()
    }

    /// Whether the machine's store has this path, and that of who deploys.
    pub(crate) fn have(&self, path: &str) -> [bool; 2] {
        let path = path.trim_start_matches('/');
        ["machine", ""].map(|side| self.home.path(side).join(path).exists())
    }

    pub(crate) fn logins(&self) -> usize {
        self.server.log().matches("Accepted publickey").count()
    }
}

/// The derivation of a system that tells what it is asked for.
const SYSTEM: &str = r#"{ name }:
derivation {
  inherit name;
  system = builtins.currentSystem;
  builder = "/bin/sh";
  PATH = "/usr/bin:/bin";
  switch = ''
    #!/bin/sh
    echo "$1 ${name} bootloader=$NIXOS_INSTALL_BOOTLOADER" >> /root/activated
    echo "switching to ${name}"
    test ${name} != broken
  '';
  passAsFile = [ "switch" ];
  args = [
    "-c"
    ''
      mkdir -p $out/bin
      install -m 755 $switchPath $out/bin/switch-to-configuration
      echo 26.05 > $out/nixos-version
    ''
  ];
}
"#;

/// Asks for a password as `--stdin` and `-A` have it, and keeps what it is told.
const SUDO: &str = "#!/bin/sh\n\
    while :; do\n\
    case $1 in\n\
    --prompt=) ;;\n\
    --stdin) read -r line; echo \"$line\" >> /root/passwords;;\n\
    -A) $SUDO_ASKPASS 'password please' >> /root/passwords || exit 1;;\n\
    --) shift; break;;\n\
    -*) echo \"sudo: $1\" >&2; exit 1;;\n\
    *) break;;\n\
    esac\n\
    shift\n\
    done\n\
    exec \"$@\"\n";

/// Runs what it is to run, here and now.
const SYSTEMD_RUN: &str = "#!/bin/sh\n\
    while :; do\n\
    case $1 in\n\
    -E) shift; case $1 in *=*) export \"$1\";; esac;;\n\
    --) shift; break;;\n\
    -*) ;;\n\
    *) break;;\n\
    esac\n\
    shift\n\
    done\n\
    exec \"$@\"\n";
