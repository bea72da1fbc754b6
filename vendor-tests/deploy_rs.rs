//! The real deploy-rs, which builds a profile, copies it, activates it over ssh, waits over a
//! second connection and confirms over a third, and goes back where nobody can confirm.

use crate::fleet::Fleet;
use crate::harness::{PROGRAMS, Run, until};

/// A flake without nixpkgs. What deploy-rs's own library puts into a profile is there: its
/// program, and what is run at the activation.
fn flake(fleet: &Fleet, version: &str, activate: &str) {
    let text = FLAKE
        .replace("ACTIVATE_RS", &format!("{PROGRAMS}/bin/activate"))
        .replace("SYSTEM", &format!("{}-linux", std::env::consts::ARCH))
        .replace("VERSION", version)
        .replace("ACTIVATE", activate);
    fleet.home.write("flake/flake.nix", text);
}

fn deploy(fleet: &Fleet, args: &[&str]) -> Run {
    let program = format!("{PROGRAMS}/bin/deploy");
    assert!(std::path::Path::new(&program).exists(), "no {program}: vendor-tests/run");
    let temp = fleet.home.path("tmp").display().to_string();
    let fixed = [program.as_str(), "--no-progress", "--temp-path", &temp];
    fleet.run(&[&fixed, args, &["./flake#web01"]].concat())
}

/// All that was said, without the colours.
fn said(run: &Run) -> String {
    run.text() + &run.stderr
}

#[test]
fn a_profile_is_activated_confirmed_and_taken_back() {
    let fleet = Fleet::new();
    flake(&fleet, "one", "echo one-dry=$DRY_ACTIVATE >> /root/activated");
    let dry = deploy(&fleet, &["--dry-activate"]).exits(0);
    assert!(said(&dry).contains("Completed dry-activate!"), "{dry:?}");
    assert_eq!(fleet.activated(), "one-dry=1\n");
    let before = fleet.logins();
    let done = deploy(&fleet, &[]).exits(0);
    // Who waits says so only where the activation was not faster.
    assert!(said(&done).contains("Deployment confirmed."), "{done:?}");
    assert_eq!(fleet.activated(), "one-dry=1\none-dry=0\n");
    let one = fleet.booted();
    assert!(one.ends_with("-one") && fleet.have(&one) == [true, true], "{one}");
    // Copying, activating, waiting, confirming.
    assert_eq!(fleet.logins() - before, 4);

    // An activation that fails is taken back at once.
    flake(&fleet, "two", "exit 5");
    let failed = deploy(&fleet, &[]).exits(1);
    assert!(said(&failed).contains("De-activating due to error"), "{failed:?}");
    // It says so before it is done.
    let back = "one-dry=1\none-dry=0\none-dry=\n";
    until("the way back", || fleet.activated() == back);
    assert_eq!(fleet.booted(), one);

    // One that locks everybody out is taken back when nobody has confirmed it.
    let keys = fleet.home.path(&format!("sshd-{}/authorized_keys", fleet.server.port()));
    let public = fleet.home.read("home/.ssh/id_ed25519.pub");
    flake(&fleet, "three", &format!("mv {0} {0}.away", keys.display()));
    let locked = deploy(&fleet, &["--confirm-timeout", "2"]).exits(1);
    assert!(said(&locked).contains("the server should roll back"), "{locked:?}");
    until("the way back", || fleet.activated() == format!("{back}one-dry=\n"));
    assert_eq!(fleet.booted(), one);
    std::fs::write(&keys, public).unwrap();

    // Built on the machine, of which only the derivation is known here; with a master that is
    // shared.
    flake(&fleet, "four", "echo four >> /root/activated");
    let path = format!("ControlPath={}", fleet.home.path("tmp/socket").display());
    let options = format!("-o ControlMaster=auto -o ControlPersist=20 -o {path}");
    let before = fleet.logins();
    let built = deploy(&fleet, &["--remote-build", "--ssh-opts", &options]).exits(0);
    assert!(said(&built).contains("Deployment confirmed."), "{built:?}");
    let four = fleet.booted();
    assert!(four.ends_with("-four") && fleet.have(&four) == [true, false], "{four}");
    assert_eq!(fleet.logins() - before, 1);
    fleet.ssh(&["-o", &path, "-O", "exit", "root@web01"]).exits(0);
}

const FLAKE: &str = r#"{
  outputs = _: {
    deploy.nodes.web01 = {
      hostname = "web01";
      sshUser = "root";
      profiles.system.user = "root";
      profiles.system.path = derivation {
        name = "VERSION";
        system = "SYSTEM";
        builder = "/bin/sh";
        PATH = "/usr/bin:/bin";
        activate = ''
          #!/bin/sh
          ACTIVATE
        '';
        program = ''
          #!/bin/sh
          exec ACTIVATE_RS "$@"
        '';
        passAsFile = [ "activate" "program" ];
        args = [
          "-c"
          ''
            mkdir $out
            install -m 755 $activatePath $out/deploy-rs-activate
            install -m 755 $programPath $out/activate-rs
          ''
        ];
      };
    };
  };
}
"#;
