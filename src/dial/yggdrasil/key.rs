//! Whose key we use in Yggdrasil. Owns where it is looked for: where the user says, else
//! among what is deployed here, whose daemon is down, else where we keep one of our own.

use std::path::PathBuf;
use std::sync::Arc;

use super::identity::Identity;
use super::kept;
use crate::dial::key_place::{Place, Reading};
use crate::env::Env;
use crate::error::{BadKey, KeyFault};
use crate::host_name;
use crate::model::VarRef;
use crate::vars::Vars;

/// Clan's generator of the service, and the file with the key.
const GENERATOR: &str = "yggdrasil";
const FILE: &str = "privateKey";
/// A key in PEM is not longer.
const MAX_FILE: u64 = 4096;

/// Where keys are.
#[derive(Clone)]
pub(super) struct Keys {
    named: Option<Place>,
    /// Where ours is, if there is one.
    kept: Option<PathBuf>,
    /// The machine that we run on.
    host: Option<String>,
    sudo: Option<u32>,
    vars: Arc<Vars>,
}

impl Keys {
    pub(super) fn of(named: Option<&str>, vars: Arc<Vars>, env: &Env) -> Self {
        Self {
            named: named.map(|text| Place::parse(text, env)),
            kept: kept::place(env),
            host: host_name::short(),
            sudo: env.sudo(),
            vars,
        }
    }

    /// Ours; none where nobody has said which, none is deployed here and none is kept.
    /// Blocks: a var may take a token.
    pub(super) fn find(&self) -> Result<Option<Identity>, BadKey> {
        for place in self.places() {
            let reading = Reading { vars: &self.vars, limit: MAX_FILE, sudo: self.sudo };
            if let Some(text) = place.read(var, reading)? {
                let identity = Identity::parse(&text);
                return identity.map(Some).map_err(|why| place.bad(KeyFault::Wrong(why)));
            }
        }
        Ok(None)
    }

    fn places(&self) -> Vec<Place> {
        if let Some(named) = &self.named {
            return vec![named.clone()];
        }
        let deployed = self.host.iter().cloned().map(Place::Deployed);
        let kept = self.kept.iter().filter(|path| path.symlink_metadata().is_ok());
        deployed.chain(kept.cloned().map(Place::Kept)).collect()
    }
}

fn var(machine: &str) -> Option<VarRef> {
    VarRef::new(machine, GENERATOR, FILE).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompter::Nobody;
    use crate::vars::Environment;

    /// The address of the key that is found in this home, on a computer of this name.
    fn found(home: &std::path::Path, named: Option<&str>) -> Result<Option<String>, BadKey> {
        let environment = Environment {
            root: Some(home.to_owned()),
            host_name: Some("web".to_owned()),
            ..Environment::default()
        };
        let vars = Vars::new(None, Vec::new(), environment, Arc::new(Nobody));
        let env = Env::of([("HOME", home.to_str().unwrap())]);
        let keys = Keys { host: Some("web".to_owned()), ..Keys::of(named, Arc::new(vars), &env) };
        Ok(keys.find()?.map(|identity| identity.address.to_string()))
    }

    #[test]
    fn what_is_named_comes_before_what_is_deployed_and_that_before_ours() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path();
        let write = |path: &str, byte: u8| {
            let hex = data_encoding::HEXLOWER.encode(&[byte; 32]);
            crate::file::write_whole(&home.join(path), hex.as_bytes(), 0o600).unwrap();
            Some(Identity::new(&[byte; 32]).address.to_string())
        };
        assert_eq!(found(home, None), Ok(None));
        let env = Env::of([("HOME", home.to_str().unwrap())]);
        let ours = kept::kept(&env).unwrap().address.to_string();
        assert_eq!(found(home, None), Ok(Some(ours)));
        let deployed = write("run/secrets/vars/yggdrasil/privateKey", 1);
        assert_eq!(found(home, None), Ok(deployed));
        let named = write("named", 2);
        assert_eq!(found(home, Some("~/named")), Ok(named));
    }

    #[test]
    fn what_is_wrong_with_a_key_is_said_with_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path();
        let failed = |named: &str| found(home, Some(named)).unwrap_err();
        let absent = failed("~/absent");
        assert!(absent.origin.ends_with("/absent"), "{absent:?}");
        assert!(matches!(absent.fault, KeyFault::Unread(_)), "{absent:?}");
        crate::file::write_whole(&home.join("bad"), b"hunter2", 0o600).unwrap();
        assert!(matches!(failed("~/bad").fault, KeyFault::Wrong(_)));
        crate::file::write_whole(&home.join("open"), b"hunter2", 0o644).unwrap();
        assert!(matches!(failed("~/open").fault, KeyFault::Exposed { .. }));
        assert!(matches!(failed("var:a/b").fault, KeyFault::Wrong(_)));
        assert!(matches!(failed("var:admin").fault, KeyFault::Unread(_)));
    }
}
