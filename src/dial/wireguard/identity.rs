//! Whose key makes us a member. Owns where keys are looked for and in which order, and that
//! a key is used by one process at a time: to the controllers two would be one member that
//! moves from place to place with each packet.

use std::path::PathBuf;

use super::key;
use super::members::{Members, key_of};
use super::membership::Membership;
use crate::dial::key_lock::{Hold, InUse, KeyLocks};
use crate::dial::key_place::{Place, Reading};
use crate::env::Env;
use crate::error::{KeyFault, MemberFailure};
use crate::host_name;
use crate::printable::Printable;
use crate::secret::Secret;
use crate::vars::Vars;

/// Where a key lies that nobody has named, in the user's configuration.
const DEFAULT: &str = "clan-connect/wireguard-key";
/// What the locks are of, and where their files lie.
const LOCKS: &str = "clan-connect/wireguard";

/// A member that we may be.
pub(super) struct Identity {
    pub(super) membership: Membership,
    /// The member's name.
    pub(super) machine: String,
    /// Held as long as we are it, unless another process is.
    pub(super) alone: Result<Hold, InUse>,
    /// Whether it is a machine that may run elsewhere at the same time.
    pub(super) is_borrowed: bool,
}

/// A private key and its public half.
type Pair = (Secret<[u8; 32]>, [u8; 32]);

/// Where keys are.
pub(super) struct Keys {
    named: Vec<Place>,
    /// In the user's configuration, if there is one.
    default: Option<PathBuf>,
    /// The machine that we run on.
    host: Option<String>,
    locks: KeyLocks,
    /// The user who has become root.
    sudo: Option<u32>,
}

/// Where a key lies that nobody has named.
pub(crate) fn default_key(env: &Env) -> Option<PathBuf> {
    env.config_dir().map(|dir| dir.join(DEFAULT))
}

impl Keys {
    /// Those that the user has named, else what there is.
    pub(super) fn of(named: &[String], env: &Env) -> Self {
        Self {
            named: named.iter().map(|text| Place::parse(text, env)).collect(),
            default: default_key(env),
            host: host_name::short(),
            locks: KeyLocks::of(env, LOCKS),
            sudo: env.sudo(),
        }
    }

    /// The first that is a member's and in nobody else's use, or else the first that is a
    /// member's. Blocks: a var may take a passphrase.
    pub(super) fn find(&self, members: &Members, vars: &Vars) -> Result<Identity, MemberFailure> {
        let instance = || Printable(&members.instance).to_string();
        let (mut busy, mut failure) = (None, None);
        for place in self.places() {
            let identity = self.at(&place, members, vars);
            match identity {
                Ok(Some(identity)) if identity.alone.is_ok() => return Ok(identity),
                Ok(Some(identity)) => {
                    busy.get_or_insert(identity);
                }
                Ok(None) => {}
                Err(why) => {
                    failure.get_or_insert(why);
                }
            }
        }
        // What is in use would do.
        busy.ok_or_else(|| failure.unwrap_or_else(|| MemberFailure::NoKey { instance: instance() }))
    }

    /// Whether there is one to try, as far as that can be told without opening any.
    pub(super) fn are_at_hand(&self) -> bool {
        !self.named.is_empty() || self.default.as_ref().is_some_and(|path| path.exists())
    }

    fn places(&self) -> Vec<Place> {
        if !self.named.is_empty() {
            return self.named.clone();
        }
        let default = self.default.iter().filter(|path| path.exists()).cloned().map(Place::Kept);
        default.chain(self.host.iter().cloned().map(Place::Deployed)).collect()
    }

    /// The identity at one place; `None` where there is no key.
    fn at(
        &self,
        place: &Place,
        members: &Members,
        vars: &Vars,
    ) -> Result<Option<Identity>, MemberFailure> {
        let Some((private, public)) = self.pair(place, &members.instance, vars)? else {
            return Ok(None);
        };
        let (machine, membership) = Membership::of(members, private, &place.to_string())?;
        let alone = self.locks.take(&public);
        let is_borrowed = members.is_deployed(&machine) && self.host.as_ref() != Some(&machine);
        Ok(Some(Identity { membership, machine, alone, is_borrowed }))
    }

    /// The private key at one place, and its public half.
    fn pair(
        &self,
        place: &Place,
        instance: &str,
        vars: &Vars,
    ) -> Result<Option<Pair>, MemberFailure> {
        let reading = Reading { vars, limit: key::MAX_FILE, sudo: self.sudo };
        let text = place.read(|machine| key_of(machine, instance), reading);
        let Some(text) = text.map_err(MemberFailure::BadKey)? else { return Ok(None) };
        let bad = |why| MemberFailure::BadKey(place.bad(KeyFault::Wrong(why)));
        let private = key::private(&text).map_err(bad)?;
        let public = key::public_of(&private);
        Ok(Some((private, public)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use data_encoding::BASE64;

    use super::*;
    use crate::dial::wireguard::members::tests::members;
    use crate::prompter::Nobody;
    use crate::vars::Environment;

    /// A home with a clan's vars and a place for locks.
    struct Home(tempfile::TempDir);

    impl Home {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn write(&self, path: &str, text: &str) -> String {
            let path = self.0.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            crate::file::write_whole(&path, text.as_bytes(), 0o600).unwrap();
            path.to_str().unwrap().to_owned()
        }

        fn keys(&self, named: &[&str], host: Option<&str>) -> Keys {
            let home = self.0.path().to_str().unwrap();
            let env = Env::of([("HOME", home)]);
            let named: Vec<String> = named.iter().map(|it| (*it).to_owned()).collect();
            let locks = KeyLocks::apart(&env, self.0.path());
            Keys { host: host.map(str::to_owned), locks, ..Keys::of(&named, &env) }
        }

        fn find(&self, keys: &Keys, host: &str) -> Result<Identity, MemberFailure> {
            let environment = Environment {
                root: Some(self.0.path().to_owned()),
                host_name: Some(host.to_owned()),
                ..Environment::default()
            };
            let vars = Vars::new(None, Vec::new(), environment, Arc::new(Nobody));
            keys.find(&members(), &vars)
        }
    }

    fn text(byte: u8) -> String {
        format!("{}\n", BASE64.encode(&[byte; 32]))
    }

    #[test]
    fn a_key_that_is_named_is_the_one_that_counts() {
        let home = Home::new();
        home.write(".config/clan-connect/wireguard-key", &text(3));
        let stranger = home.write("stranger", &text(9));
        let web = home.write("web.conf", &format!("[Interface]\nPrivateKey = {}", text(4)));
        let found = |named: &[&str]| {
            let found = home.find(&home.keys(named, None), "x");
            found.map(|it| (it.machine, it.is_borrowed))
        };
        assert_eq!(found(&[]), Ok(("admin".to_owned(), false)));
        // It runs elsewhere, too, as its place in the internet shows.
        assert_eq!(found(&[&web]), Ok(("web".to_owned(), true)));
        assert_eq!(found(&[&stranger, &web]), Ok(("web".to_owned(), true)));
        let failed = found(&[&stranger]).unwrap_err().to_string();
        assert!(
            failed.contains(&stranger) && failed.contains("not belong to a member of vpn"),
            "{failed}"
        );
        let absent = home.0.path().join("absent");
        let failed = found(&[absent.to_str().unwrap()]).unwrap_err();
        assert!(matches!(failed, MemberFailure::BadKey { .. }), "{failed}");
    }

    #[test]
    fn what_is_deployed_here_makes_this_computer_its_machine() {
        let home = Home::new();
        home.write("run/secrets/vars/wireguard-keys-vpn/privatekey", &text(4));
        let found = home.find(&home.keys(&[], Some("web")), "web").unwrap();
        assert_eq!((found.machine.as_str(), found.is_borrowed), ("web", false));
        drop(found);
        let none = Home::new();
        let none = none.find(&none.keys(&[], Some("web")), "web").map(|_| ()).unwrap_err();
        assert_eq!(none, MemberFailure::NoKey { instance: "vpn".to_owned() });
    }

    #[test]
    fn a_key_is_used_by_one_at_a_time() {
        let home = Home::new();
        let admin = home.write("admin", &text(3));
        let web = home.write("web", &text(4));
        let keys = home.keys(&[&admin], None);
        let first = home.find(&keys, "x").unwrap();
        assert!(first.alone.as_ref().unwrap().is_held());
        let second = home.find(&keys, "x").unwrap();
        assert_eq!(second.machine, "admin");
        // There is somebody to ask.
        assert!(second.alone.unwrap_err().0.is_some());
        // Another of the user's keys will do.
        let other = home.find(&home.keys(&[&admin, &web], None), "x").unwrap();
        assert_eq!(other.machine, "web");
        drop(first);
        assert!(home.find(&keys, "x").unwrap().alone.is_ok());
    }
}
