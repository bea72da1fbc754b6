//! What a member of a clan's WireGuard network is: its key, its addresses, and the
//! controllers that it speaks to. Owns how these follow from the clan's public vars and
//! settings (clan-core's `clanServices/wireguard`); opens no socket and reads no file.

use std::net::Ipv6Addr;

use super::addresses::{PREFIX, peer_address};
use super::key;
use super::members::{Member, Members, Role};
use crate::dial::holder::Terms;
use crate::error::MemberFailure;
use crate::parts::Parts;
use crate::printable::Printable;
use crate::secret::Secret;

/// Where nothing is said of the way there: every link that carries IPv6 carries this much.
const DEFAULT_MTU: u16 = 1280;
/// More is no use on any link.
const MAX_MTU: u16 = 9000;
/// Most controllers that are spoken to.
const MAX_CONTROLLERS: usize = 16;
/// Where controllers listen, unless they say.
const DEFAULT_PORT: u16 = 51820;

/// All that a tunnel needs.
pub(super) struct Membership {
    pub key: Secret<[u8; 32]>,
    /// Ours, one in the network of each controller.
    pub addresses: Vec<Ipv6Addr>,
    pub controllers: Vec<Controller>,
    pub mtu: u16,
}

/// A controller, which leads to all members.
pub(super) struct Controller {
    pub name: String,
    pub key: [u8; 32],
    /// What is sent to it and taken from it.
    pub network: (Ipv6Addr, u8),
    /// A name or an address, and the port.
    pub endpoint: (String, u16),
}

impl Membership {
    /// That of whoever among `members` the key belongs to, and the member's name.
    /// `origin` says where the key is.
    ///
    /// # Errors
    /// What the key is not, or what the clan does not say.
    pub(super) fn of(
        members: &Members,
        key: Secret<[u8; 32]>,
        origin: &str,
    ) -> Result<(String, Self), MemberFailure> {
        let public = key::public_of(&key);
        let Some(own) = members.all.iter().find(|member| member.key == public) else {
            return Err(MemberFailure::Stranger {
                origin: origin.to_owned(),
                instance: Printable(&members.instance).to_string(),
            });
        };
        let shown = Printable(&own.machine).to_string();
        let Role::Peer { suffix } = own.role else {
            // Its peers look for it at its endpoint, and it cannot be here as well.
            let origin = origin.to_owned();
            return Err(MemberFailure::Controller { origin, machine: shown });
        };
        let found: Vec<(&Member, Ipv6Addr)> = members.controllers().take(MAX_CONTROLLERS).collect();
        if found.is_empty() {
            let instance = Printable(&members.instance).to_string();
            return Err(MemberFailure::NoController { instance });
        }
        let addresses = found.iter().map(|(_, prefix)| peer_address(*prefix, suffix)).collect();
        let known = found.iter().map(|(member, prefix)| controller(members, member, *prefix));
        // One of several whose place is not known may still be reached by way of another.
        let (known, mut unknown): (Vec<_>, Vec<_>) = known.partition(Result::is_ok);
        let controllers: Vec<Controller> = known.into_iter().flatten().collect();
        if controllers.is_empty()
            && let Some(Err(failure)) = unknown.pop()
        {
            return Err(failure);
        }
        let mtu = own.mtu.unwrap_or(DEFAULT_MTU).clamp(DEFAULT_MTU, MAX_MTU);
        Ok((own.machine.clone(), Self { key, addresses, controllers, mtu }))
    }

    /// All of it but the key: another process that is the same member has the same.
    pub(super) fn terms(&self) -> Terms {
        let mut parts = Parts::default();
        parts.put(&self.mtu.to_be_bytes());
        self.addresses.iter().for_each(|address| parts.put(&address.octets()));
        for Controller { name, key, network, endpoint } in &self.controllers {
            parts.put(name.as_bytes());
            parts.put(key);
            parts.put(format!("{network:?} {endpoint:?}").as_bytes());
        }
        Terms::of(std::iter::once(parts))
    }
}

fn controller(
    members: &Members,
    member: &Member,
    prefix: Ipv6Addr,
) -> Result<Controller, MemberFailure> {
    let Some(host) = &member.endpoint else {
        return Err(MemberFailure::NoEndpoint {
            machine: Printable(&member.machine).to_string(),
            is_unknown: !members.has_settings,
        });
    };
    Ok(Controller {
        name: member.machine.clone(),
        key: member.key,
        network: (prefix, PREFIX),
        endpoint: (host.clone(), member.port.unwrap_or(DEFAULT_PORT)),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use data_encoding::BASE64;

    use super::*;
    use crate::advice::{Caller, of_member};
    use crate::dial::wireguard::members::key_of;
    use crate::dial::wireguard::members::tests::{members, outline};
    use crate::model::{Clan, Member as InRole, Service, Setting};
    use crate::prompter::Nobody;
    use crate::test_data;
    use crate::vars::{Environment, Vars};

    fn hint(failure: &MemberFailure) -> String {
        of_member(failure, Caller::Library)
    }

    fn ip(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    #[test]
    fn a_key_makes_its_owner_and_nobody_else() {
        let key = |byte| Secret::new([byte; 32]);
        let (name, own) = Membership::of(&members(), key(3), "FILE").unwrap();
        assert_eq!(name, "admin");
        assert_eq!(own.addresses, [ip("fd11:0:0:100::a:1"), ip("fd11:0:0:200::a:1")]);
        assert_eq!(own.mtu, 1380);
        let [one, two] = own.controllers.as_slice() else { panic!("two") };
        assert_eq!((one.name.as_str(), two.name.as_str()), ("one", "two"));
        assert_eq!(one.network, (ip("fd11:0:0:100::"), 56));
        assert_eq!(one.endpoint, ("one.example".to_owned(), 51820));
        assert_eq!(two.endpoint, ("192.0.2.2".to_owned(), 7));
        assert_eq!(one.key, key::public_of(&key(1)));
        let failed = |key| Membership::of(&members(), key, "FILE").map(|_| ()).unwrap_err();
        let stranger = failed(key(9));
        assert_eq!(
            stranger.to_string(),
            "the WireGuard key FILE does not belong to a member of vpn"
        );
        assert!(hint(&stranger).contains("never deployed"));
        assert!(matches!(failed(key(1)), MemberFailure::Controller { .. }));
        let shown = BASE64.encode(key(9).expose());
        assert!(!format!("{stranger:?}").contains(&shown));
    }

    #[test]
    fn what_the_clan_does_not_say_is_named() {
        let mut without = members();
        without.has_settings = false;
        for member in &mut without.all {
            member.endpoint = None;
        }
        let failed = |members: &Members| {
            Membership::of(members, Secret::new([3; 32]), "FILE").map(|_| ()).unwrap_err()
        };
        let unknown = failed(&without);
        assert!(unknown.to_string().contains("the WireGuard controller two"), "{unknown}");
        assert!(hint(&unknown).contains("snapshot"), "{unknown:?}");
        without.has_settings = true;
        assert!(hint(&failed(&without)).contains("roles.controller"));
        without.all.retain(|member| member.endpoint.is_some() || member.machine == "admin");
        assert!(matches!(failed(&without), MemberFailure::NoController { .. }));
        // One of them is enough.
        let mut one = members();
        one.all[0].endpoint = None;
        let (_, own) = Membership::of(&one, Secret::new([3; 32]), "FILE").unwrap();
        assert_eq!((own.controllers.len(), own.addresses.len()), (1, 2));
    }

    #[test]
    #[ignore = "needs Clan's data, see CLAN_TEST_DATA"]
    fn clans_own_vars_make_its_peer_a_member() {
        let Some(data) = test_data::clan() else { return };
        let exports = std::fs::read(data.join("exports/real.json")).unwrap();
        let mut clan = Clan::parse("x", &exports).unwrap();
        let endpoint = Setting::Text("peer1.example".to_owned());
        clan.set_services(vec![Service {
            instance: "wireguard".to_owned(),
            name: "wireguard".to_owned(),
            members: vec![InRole {
                machine: "peer1".to_owned(),
                role: "controller".to_owned(),
                settings: [("endpoint".to_owned(), endpoint)].into(),
            }],
        }]);
        let flake = data.join("flakes/clanServices__yggdrasil__tests__vm");
        let identity = vec![data.join("keys/test-age-key.txt")];
        let vars = Vars::new(Some(flake), identity, Environment::default(), Arc::new(Nobody));
        let outline = outline(&clan);
        let members = outline.members(&vars);
        assert_eq!(outline.machine_of("peer2.wireguard"), Some("peer2"));
        let address = ip("fd28:387a:69:8700:3b21:3ced:3e:89b3");
        assert_eq!(members.addresses("peer2"), Ok(vec![address]));
        assert_eq!(members.addresses("peer1"), Ok(vec![ip("fd28:387a:69:8700::1")]));
        let own = vars.reveal(&key_of("peer2", "wireguard").unwrap()).unwrap();
        let own = key::private(own.text().unwrap().expose()).unwrap();
        let (name, own) = Membership::of(&members, own, "var:peer2").unwrap();
        assert_eq!((name.as_str(), own.addresses), ("peer2", vec![address]));
        assert_eq!(own.controllers[0].endpoint, ("peer1.example".to_owned(), 51820));
        assert_eq!(own.controllers[0].network.0, ip("fd28:387a:69:8700::"));
    }
}
