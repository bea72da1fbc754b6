//! What the clan itself says of its machines' host keys (`clanServices/sshd` of
//! clan-core). Owns where that is written, and its reading.

use crate::error::{Error, Result};
use crate::model::{HostKeys, Stated, VarRef};
use crate::vars::Vars;

/// Generator and file of the host keys of a machine.
const KEYS: [(&str, &str); 2] =
    [("openssh", "ssh.id_ed25519.pub"), ("openssh-rsa", "ssh.id_rsa.pub")];
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
    let certificate = stated(CERTIFICATE)?.next().map(|stated| stated.text);
    let authorities = stated(AUTHORITY)?.collect();
    Ok(HostKeys { keys, certificate, authorities, domain: None })
}

/// The lines of a public var; none where there is no such var.
fn lines(
    vars: &Vars,
    machine: &str,
    (generator, file): (&str, &str),
) -> Result<Option<Vec<Stated>>> {
    let var = VarRef::new(machine, generator, file)?;
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
    use std::sync::Arc;

    use super::*;
    use crate::prompter::Nobody;

    #[test]
    fn what_the_vars_say_of_a_machine_is_found_and_of_others_not() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join("vars").join(path).join("value");
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let vars = Vars::new(
            Some(dir.path().to_owned()),
            Vec::new(),
            crate::vars::Environment::default(),
            Arc::new(Nobody),
        );
        assert!(read(&vars, "m").unwrap().is_empty());
        write("per-machine/m/openssh/ssh.id_ed25519.pub", "\nssh-ed25519 AAAA x\n");
        write("per-machine/m/openssh-rsa/ssh.id_rsa.pub", "ssh-rsa BBBB\n");
        write("per-machine/m/openssh-cert/ssh.id_ed25519-cert.pub", "cert CCCC\n");
        write("shared/openssh-ca/id_ed25519.pub", "ssh-ed25519 DDDD");
        let found = read(&vars, "m").unwrap();
        let texts: Vec<&str> = found.keys.iter().map(|key| key.text.as_str()).collect();
        assert_eq!(texts, ["ssh-ed25519 AAAA x", "ssh-rsa BBBB"]);
        assert!(found.keys[0].place.ends_with("m/openssh/ssh.id_ed25519.pub/value"));
        assert_eq!(found.certificate.as_deref(), Some("cert CCCC"));
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
