//! What the clan itself says of its machines' host keys (`clanServices/sshd` of
//! clan-core). Owns where that is written, and its reading.

use crate::error::{Error, Result};
use crate::model::{HostKeys, Stated, VarRef};
use crate::printable;
use crate::vars::Vars;

/// Generator and file of the host key that every machine has.
const KEY: (&str, &str) = ("openssh", "ssh.id_ed25519.pub");
/// The same of all host keys of a machine.
const KEYS: [(&str, &str); 2] = [KEY, ("openssh-rsa", "ssh.id_rsa.pub")];
/// The certificate for the first of them.
const CERTIFICATE: (&str, &str) = ("openssh-cert", "ssh.id_ed25519-cert.pub");
/// The key that signs the certificates of all machines.
const AUTHORITY: (&str, &str) = ("openssh-ca", "id_ed25519.pub");
/// Longest of these files, in bytes.
const MAX_FILE: usize = 16 << 10;

/// What the vars of the clan say of `machine`. Blocks.
///
/// # Errors
/// [`Error::VarName`], [`Error::VarBroken`], [`Error::TooLarge`] and
/// [`Error::File`]: a key that is there must not be overlooked.
pub fn read(vars: &Vars, machine: &str) -> Result<HostKeys> {
    let stated = |name| Ok::<_, Error>(lines(vars, machine, name)?.into_iter().flatten());
    let mut keys = Vec::new();
    for name in KEYS {
        keys.extend(stated(name)?);
    }
    let certificate = stated(CERTIFICATE)?.next();
    let authorities = stated(AUTHORITY)?.collect();
    Ok(HostKeys { keys, certificate, authorities, domain: None })
}

/// That `keys`, which are all that is known of `machine`, lack nothing that the clan has
/// generated: whoever has lost a key would be connected to anybody as if it were the first
/// time. Opens no secret. Blocks.
///
/// # Errors
/// [`Error::VarBroken`], which names what is missing, and those of [`read`].
pub fn none_is_lost(vars: &Vars, machine: &str, keys: &HostKeys) -> Result<()> {
    if !keys.keys.is_empty() {
        return Ok(());
    }
    for name in KEYS {
        secret_half_is_not_alone(vars, machine, name)?;
    }
    if !keys.authorities.is_empty() {
        return Ok(());
    }
    secret_half_is_not_alone(vars, machine, AUTHORITY)?;
    let Some(certificate) = &keys.certificate else { return Ok(()) };
    let ((keys, key), (authorities, authority)) = (KEY, AUTHORITY);
    Err(Error::VarBroken {
        path: certificate.place.clone(),
        reason: format!(
            "it has a certificate of the machine {machine:?}, but neither its host key \
             ({keys}/{key}) nor the authority that has signed it ({authorities}/{authority}) is \
             there; {}",
            put_back(machine)
        ),
    })
}

/// That a public key is not missing whose secret half the clan has.
fn secret_half_is_not_alone(
    vars: &Vars,
    machine: &str,
    (generator, file): (&str, &str),
) -> Result<()> {
    let secret = file.strip_suffix(".pub").unwrap_or(file);
    let Some(path) = vars.place_beside_secret(
        &VarRef::new(machine, generator, secret)?,
        &VarRef::new(machine, generator, file)?,
    ) else {
        return Ok(());
    };
    let reason = format!(
        "it is missing, and the clan has the secret half of this key, {generator}/{secret}; {}",
        put_back(machine)
    );
    Err(Error::VarBroken { path, reason })
}

fn put_back(machine: &str) -> String {
    format!(
        "put back what was there (git log -- vars), or generate it anew and update the machine: \
         clan vars generate {}",
        printable::argument(machine, "MACHINE")
    )
}

/// The lines of a public var; none where there is no such var.
fn lines(
    vars: &Vars,
    machine: &str,
    (generator, file): (&str, &str),
) -> Result<Option<Vec<Stated>>> {
    let var = VarRef::new(machine, generator, file)?;
    if let Some(path) = vars.emptied(&var) {
        // Nor is a folder that has lost its file one that is not there.
        let reason = format!("there is no file `value` in it; {}", put_back(machine));
        return Err(Error::VarBroken { path, reason });
    }
    let Some((bytes, place)) = vars.public_value(&var)? else { return Ok(None) };
    let broken = |reason: &str| Error::VarBroken { path: place.clone(), reason: reason.to_owned() };
    if bytes.len() > MAX_FILE {
        return Err(broken("too large for a public key"));
    }
    let text = String::from_utf8(bytes).map_err(|_| broken("not the text of a public key"))?;
    let lines =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let stated = |line: &str| Stated { text: line.to_owned(), place: place.clone() };
    let lines: Vec<Stated> = lines.map(stated).collect();
    // A file that was cut short is not one that is not there: any key would be trusted then.
    if lines.is_empty() {
        return Err(broken("there is no public key in it"));
    }
    Ok(Some(lines))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use super::*;
    use crate::prompter::Nobody;
    use crate::vars::Environment;

    /// A clan, and its user.
    struct Place {
        dir: tempfile::TempDir,
    }

    impl Place {
        fn new() -> Self {
            Self { dir: tempfile::tempdir().unwrap() }
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }

        fn vars(&self) -> Vars {
            let environment = Environment {
                password_store_dir: Some(self.dir.path().join("passwords")),
                ..Environment::default()
            };
            let flake = self.dir.path().join("clan");
            Vars::new(Some(flake), Vec::new(), environment, Arc::new(Nobody))
        }

        /// What is missing of machine `m`, and what is said of it.
        fn lost(&self) -> Option<(PathBuf, String)> {
            let vars = self.vars();
            let keys = read(&vars, "m").unwrap();
            match none_is_lost(&vars, "m", &keys) {
                Ok(()) => None,
                Err(Error::VarBroken { path, reason }) => Some((path, reason)),
                Err(other) => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_secret_half_without_its_public_one_is_a_loss() {
        for (secret, public) in [
            (
                "clan/vars/per-machine/m/openssh/ssh.id_ed25519/secret",
                "clan/vars/per-machine/m/openssh/ssh.id_ed25519.pub/value",
            ),
            (
                "clan/secrets/clan-vars/per-machine/m/openssh-rsa/ssh.id_rsa/ssh.id_rsa.age",
                "clan/vars/per-machine/m/openssh-rsa/ssh.id_rsa.pub/value",
            ),
            (
                "clan/vars/shared/openssh-ca/id_ed25519/secret",
                "clan/vars/shared/openssh-ca/id_ed25519.pub/value",
            ),
        ] {
            let place = Place::new();
            place.write("clan/vars/per-machine/n/openssh/ssh.id_ed25519/secret", "");
            place.write("clan/vars/per-machine/m/user-password/user-password/secret", "");
            assert_eq!(place.lost(), None, "{secret}");
            place.write(secret, "");
            let (path, reason) = place.lost().unwrap();
            assert_eq!(path, place.dir.path().canonicalize().unwrap().join(public));
            assert!(reason.contains("clan vars generate m"), "{reason}");
            place.write(public, "ssh-ed25519 AAAA");
            assert_eq!(place.lost(), None, "{secret}");
        }
    }

    #[test]
    fn whoever_is_known_by_another_key_has_lost_none_that_is_needed() {
        let place = Place::new();
        place.write("clan/vars/per-machine/m/openssh-rsa/ssh.id_rsa/secret", "");
        place.write("clan/vars/shared/openssh-ca/id_ed25519/secret", "");
        place.write("clan/vars/per-machine/m/openssh/ssh.id_ed25519.pub/value", "ssh-ed25519 AAAA");
        assert_eq!(place.lost(), None);
    }

    #[test]
    fn a_certificate_says_that_there_was_a_key() {
        let place = Place::new();
        let certificate = "clan/vars/per-machine/m/openssh-cert/ssh.id_ed25519-cert.pub/value";
        place.write(certificate, "cert AAAA");
        let (path, reason) = place.lost().unwrap();
        assert!(path.ends_with(certificate), "{path:?}");
        for part in ["openssh/ssh.id_ed25519.pub", "openssh-ca/id_ed25519.pub", "generate m"] {
            assert!(reason.contains(part), "{reason}");
        }
        // Whoever has the authority asks about what it has not signed.
        place.write("clan/vars/shared/openssh-ca/id_ed25519.pub/value", "ssh-ed25519 AAAA");
        assert_eq!(place.lost(), None);
    }

    #[test]
    fn a_password_store_may_be_another_clans() {
        let place = Place::new();
        let secret = "passwords/clan-vars/per-machine/m/openssh/ssh.id_ed25519.gpg";
        place.write(secret, "");
        place.write("clan/vars/per-machine/m/state-version/version/value", "26.05");
        assert_eq!(place.lost(), None);
    }

    #[test]
    fn a_folder_that_has_lost_its_value_is_broken() {
        for (at, file) in [
            ("per-machine/m/openssh/ssh.id_ed25519.pub", ""),
            ("per-machine/m/openssh-rsa/ssh.id_rsa.pub", "secret"),
            ("per-machine/m/openssh-cert/ssh.id_ed25519-cert.pub", "Value"),
            ("shared/openssh-ca/id_ed25519.pub", "value/value"),
        ] {
            let place = Place::new();
            place.write("clan/vars/per-machine/m/openssh-rsa/other/value", "x");
            let folder = format!("clan/vars/{at}");
            std::fs::create_dir_all(place.dir.path().join(&folder)).unwrap();
            if !file.is_empty() {
                place.write(&format!("{folder}/{file}"), "ssh-ed25519 AAAA");
            }
            let error = read(&place.vars(), "m").unwrap_err().to_string();
            assert!(error.contains(at), "{error}");
            let is_folder = file.starts_with("value");
            assert_eq!(error.contains("there is no file `value` in it"), !is_folder, "{error}");
        }
    }

    #[test]
    fn what_the_vars_say_of_a_machine_is_found_and_of_others_not() {
        let place = Place::new();
        let write = |path: &str, text: &str| place.write(&format!("clan/vars/{path}/value"), text);
        write("per-machine/m/other/name", "x");
        let vars = place.vars();
        assert!(read(&vars, "m").unwrap().is_empty());
        write("per-machine/m/openssh/ssh.id_ed25519.pub", "\nssh-ed25519 AAAA x\n");
        write("per-machine/m/openssh-rsa/ssh.id_rsa.pub", "ssh-rsa BBBB\n");
        write("per-machine/m/openssh-cert/ssh.id_ed25519-cert.pub", "cert CCCC\n");
        write("shared/openssh-ca/id_ed25519.pub", "ssh-ed25519 DDDD");
        let found = read(&vars, "m").unwrap();
        let texts: Vec<&str> = found.keys.iter().map(|key| key.text.as_str()).collect();
        assert_eq!(texts, ["ssh-ed25519 AAAA x", "ssh-rsa BBBB"]);
        assert!(found.keys[0].place.ends_with("m/openssh/ssh.id_ed25519.pub/value"));
        assert_eq!(found.certificate.unwrap().text, "cert CCCC");
        assert_eq!(found.authorities[0].text, "ssh-ed25519 DDDD");
        let other = read(&vars, "other").unwrap();
        assert!(other.keys.is_empty() && other.authorities.len() == 1);
        assert!(read(&vars, "../m").is_err());
        write("per-machine/bad/openssh/ssh.id_ed25519.pub", &"x".repeat(MAX_FILE + 1));
        assert!(read(&vars, "bad").is_err());
        // One that is there and says nothing is broken, and not none.
        for text in ["", "\n \n", "# of m\n"] {
            write("per-machine/cut/openssh/ssh.id_ed25519.pub", text);
            let error = read(&vars, "cut").unwrap_err().to_string();
            assert!(error.contains("there is no public key in it"), "{error}");
        }
    }
}
