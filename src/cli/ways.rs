//! The ways of our own that lead into networks of a clan from here, where no machine in
//! particular is meant. Owns which options of ssh_config(5) count then.

use std::sync::Arc;

use super::machine::{MachineRequest, SshOptions};
#[cfg(any(feature = "mycelium", feature = "yggdrasil"))]
use super::overlays;
use super::task::runtime;
use super::{Global, Ui, wireguard};
use crate::dial::{self, OfClan, Settings, Ways};
use crate::error::Result;
use crate::exports::check_machine;
use crate::model::Clan;
use crate::options::Options;

/// Machines whose options of ssh_config(5) are looked at.
const MOST_MACHINES: usize = 32;

/// What ssh_config(5) and `said` say of the keys and peers for networks, for all machines
/// of a clan together. Blocks.
pub(super) fn network_options(clan: &Clan, said: &SshOptions, global: &Global) -> Result<Options> {
    let runtime = runtime()?;
    let mut all = Options::default();
    for machine in clan.machines().into_iter().take(MOST_MACHINES) {
        // Nobody connects to such a one.
        if check_machine(machine).is_err() {
            continue;
        }
        let asked = MachineRequest::of(machine, said)?;
        let invocation = runtime.block_on(asked.invocation(global))?;
        let Options {
            wireguard_key,
            yggdrasil_key,
            yggdrasil_peer,
            mycelium_peer,
            mycelium_public_nodes,
            ..
        } = invocation.resolved.options;
        all.mycelium_public_nodes = all.mycelium_public_nodes.or(mycelium_public_nodes);
        let pairs = [
            (&mut all.wireguard_key, wireguard_key),
            (&mut all.yggdrasil_key, yggdrasil_key),
            (&mut all.yggdrasil_peer, yggdrasil_peer),
            (&mut all.mycelium_peer, mycelium_peer),
        ];
        for (known, more) in pairs {
            let new: Vec<String> = more.into_iter().filter(|it| !known.contains(it)).collect();
            known.extend(new);
        }
    }
    Ok(all)
}

/// The ways of our own that lead into networks of a clan from here. Blocks.
pub(super) fn ways(clan: &Clan, global: &Global, ui: &Arc<Ui>) -> Result<Ways> {
    let options = network_options(clan, &SshOptions::default(), global)?;
    let (of_clan, vars) = (OfClan::of(clan, None), Arc::new(global.vars(ui)?));
    let wireguard = wireguard::settings(global, &options, &of_clan, &vars);
    let underlay = of_clan.underlay;
    #[cfg_attr(
        not(any(feature = "mycelium", feature = "yggdrasil")),
        expect(unused_mut, reason = "nobody is a leaf")
    )]
    let mut settings = Settings { wireguard, underlay, ..Settings::default() };
    #[cfg(any(feature = "mycelium", feature = "yggdrasil"))]
    overlays::settings(&mut settings, global, &options, &vars)?;
    Ok(dial::ways(&settings))
}
