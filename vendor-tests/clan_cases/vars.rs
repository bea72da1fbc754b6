//! `clan vars get` and `list`: the cases of `clan_cli/tests/test_vars_*.py`.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{NOWHERE, in_clan, known};
use crate::clan_command::{clan, home};
use crate::harness::{Home, run};

/// A copy of one of Clan's own flakes of test data.
fn copied(home: &Home, data: &Path, flake: &str) {
    let from = data.join("flakes").join(flake);
    let to = home.path("clan");
    run("cp", &["-a", from.to_str().unwrap(), to.to_str().unwrap()], "coreutils");
    run("chown", &["-R", "0:0", to.to_str().unwrap()], "coreutils");
}

fn key(data: &Path, name: &str) -> String {
    data.join("keys").join(name).display().to_string()
}

/// `clan_cli/tests/test_vars_age.py`, those that `vars get` decides and that need no generator:
/// `test_age_get_identity_env_vars`, `…_fallback_paths` and `…_none_found`,
/// `test_age_set_and_get_per_machine` and `…_shared`, `test_age_get_shared_finds_any_machine_key`,
/// `test_age_error_get_nonexistent` and `…_no_machine_key`, and
/// `test_age_get_works_for_deploy_false_per_machine` and `…_shared`; the flake is written by the
/// same store. A file in `$AGE_KEYFILE` that is not there ends Clan; here it is named in the
/// error when nothing else opens the var.
#[test]
fn vars_of_the_age_store_open_with_the_identities_that_clan_takes() {
    let Some(data) = crate::test_data::clan() else { return };
    let home = home();
    copied(&home, &data, "age-flake");
    let file = key(&data, "admin-0.txt");
    let text = fs::read_to_string(&file).unwrap();
    let identity = text.lines().find(|line| line.starts_with("AGE-SECRET-KEY")).unwrap();
    let get = |machine: &str, var: &str, env: &[(&str, &str)]| {
        clan(&home, NOWHERE, &["vars", "get", machine, var, "--flake", "clan"], env)
    };
    let by_file = [("AGE_KEYFILE", file.as_str())];
    let shared = |env: &[(&str, &str)]| get("alpha", "shared-both/token", env);
    assert_eq!(shared(&by_file).exits(0).text(), "shared by both");
    assert_eq!(shared(&[("AGE_KEY", identity)]).exits(0).text(), "shared by both");
    let both = [("AGE_KEY", identity), ("AGE_KEYFILE", "/nonexistent/path")];
    assert_eq!(shared(&both).exits(0).text(), "shared by both");
    let done = shared(&both[1..]).exits(1).says(&["$AGE_KEYFILE (/nonexistent/path)"]);
    assert!(done.stdout.is_empty());
    for place in [".config/age/identities", ".config/sops/age/keys.txt", ".age/key.txt"] {
        let place = home.secret(&format!("home/{place}"), &text);
        assert_eq!(shared(&[]).exits(0).text(), "shared by both", "{place:?}");
        fs::remove_file(place).unwrap();
    }
    let done = shared(&[]).exits(1);
    done.says(&["there is no identity to open it with", "$AGE_KEYFILE"]);
    // One of a machine, one of the other machine, and those that no machine gets.
    assert_eq!(get("beta", "text/trailing-newline", &by_file).exits(0).stdout.len(), 6);
    get("beta", "shared-beta/token", &by_file).exits(0);
    assert_eq!(get("alpha", "root-password/password", &by_file).exits(0).stdout.len(), 12);
    assert_eq!(get("alpha", "openssh-ca/id_ed25519", &by_file).exits(0).stdout.len(), 20);
    let done = get("alpha", "nonexistent/missing_secret", &by_file).exits(1);
    done.says(&["has no var \"nonexistent/missing_secret\""]);
    // Any machine's key opens what is shared, and none of them is no key.
    let keys = home.path("clan/secrets/age-keys/machines");
    fs::remove_dir_all(keys.join("alpha")).unwrap();
    assert_eq!(shared(&by_file).exits(0).text(), "shared by both");
    fs::remove_dir_all(keys.join("beta")).unwrap();
    shared(&by_file).exits(1).says(&["cannot decrypt var shared-both/token"]);
}

/// `clan_cli/tests/test_vars_generate.py`, `test_binary_secret_roundtrip`, with the flakes that
/// Clan's sops and age stores have written.
#[test]
fn binary_secrets_come_out_byte_for_byte() {
    let Some(data) = crate::test_data::clan() else { return };
    let text = fs::read_to_string(data.join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_str(&text).unwrap();
    let file = key(&data, "admin-0.txt");
    let env = [("AGE_KEYFILE", file.as_str()), ("SOPS_AGE_KEY_FILE", &file)];
    let mut seen = 0;
    for entry in manifest["secrets"].as_array().unwrap() {
        let text = |name: &str| entry[name].as_str().unwrap_or_default();
        let is_meant = ["sops-flake", "age-flake"].contains(&text("flake"));
        if !is_meant || text("generator") != "binary" {
            continue;
        }
        let home = home();
        copied(&home, &data, text("flake"));
        let var = format!("binary/{}", text("file"));
        let args = ["vars", "get", text("machine"), &var, "--flake", "clan"];
        let done = clan(&home, NOWHERE, &args, &env).exits(0);
        let digest: String =
            Sha256::digest(&done.stdout).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest, text("sha256"), "{var}");
        seen += 1;
    }
    assert_eq!(seen, 6);
}

/// `clan_cli/tests/test_vars_generate.py`, `test_generate_public_and_secret_vars` and
/// `test_generate_secret_var_password_store`, and `clan_cli/tests/test_vars_age.py`,
/// `test_generate_secret_var_age`: what `vars list` and `vars get` say of the vars that were
/// generated. What is not yet generated is in no list here: only nix could tell.
#[test]
fn public_vars_are_listed_with_their_value_and_secret_ones_with_stars() {
    let home = home();
    known(&home, &json!({ "my_machine": {} }), &json!({}));
    let vars = "clan/vars/per-machine/my_machine";
    home.write(&format!("{vars}/my_generator/my_value/value"), "public\n");
    home.write("clan/vars/shared/my_shared_generator/my_shared_value/value", "shared\n");
    home.write(&format!("{vars}/my_generator/my_secret/secret"), "{}");
    let age = "clan/secrets/clan-vars/per-machine/my_machine/my_generator/of_age/of_age.age";
    home.write(age, "x");
    let listed = in_clan(&home, &["vars", "list", "my_machine"]).exits(0).text();
    for line in [
        "my_generator/my_secret: ********\n",
        "my_generator/my_value: public\n",
        "my_generator/of_age: ********\n",
        "my_shared_generator/my_shared_value: shared\n",
    ] {
        assert!(listed.contains(line), "{line} is not in {listed}");
    }
    let get = |var: &str| in_clan(&home, &["vars", "get", "my_machine", var]);
    assert_eq!(get("my_generator/my_value").exits(0).text(), "public\n");
    assert_eq!(get("my_shared_generator/my_shared_value").exits(0).text(), "shared\n");
    get("my_generator/none").exits(1).says(&["clan vars generate my_machine"]);
}
