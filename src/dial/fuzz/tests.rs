//! A fuzzer for a compiler that counts nothing: it changes what is right, and what has led
//! somewhere new, and goes on from there. It runs for a moment in each test;
//! `CLAN_FUZZ_SECONDS` has it run for longer, `CLAN_FUZZ_TARGET` one target alone, and
//! `CLAN_FUZZ_INPUT` (hexadecimal) that input alone.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;

use super::{TARGETS, Target};
use crate::dial::leaf::repeatable;
use crate::dial::leaf::script::Trace;

/// No longer input is made.
const MOST: usize = 4096;
/// No more are kept.
const KEPT: usize = 4096;

#[allow(clippy::disallowed_methods, reason = "a variable of whoever runs the tests")]
fn said(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// What targets begin with: what fixtures have, and what has once broken one.
fn seeds(name: &str) -> Vec<Vec<u8>> {
    let seeds = match name {
        #[cfg(feature = "mycelium")]
        name if name.starts_with("mycelium") => super::super::mycelium::fuzz::seeds(name),
        #[cfg(feature = "yggdrasil")]
        name if name.starts_with("yggdrasil") => super::super::yggdrasil::fuzz::seeds(name),
        name => panic!("no seeds of {name}"),
    };
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/fuzz").join(name);
    let broken = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let broken = broken.map(|file| std::fs::read(file.path()).unwrap());
    seeds.into_iter().chain(broken).chain([Vec::new()]).collect()
}

/// What the input leads to that nothing before has led to.
fn run(name: &str, target: Target, input: &[u8], known: &mut HashSet<u64>) -> bool {
    let mut trace = Trace::default();
    let ran = catch_unwind(AssertUnwindSafe(|| {
        repeatable::restart(0);
        target(input, &mut trace);
    }));
    if let Err(broken) = ran {
        eprintln!("CLAN_FUZZ_TARGET={name} CLAN_FUZZ_INPUT={}", HEXLOWER.encode(input));
        resume_unwind(broken);
    }
    let before = known.len();
    known.extend(trace.seen);
    known.len() > before
}

/// Chance, which targets do not disturb.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        repeatable::restart(self.0);
        let number = repeatable::number();
        self.0 = self.0.wrapping_add(number | 1);
        usize::try_from(number >> 1).unwrap() % limit.max(1)
    }

    fn byte(&mut self) -> u8 {
        const EDGES: [u8; 8] = [0, 1, 0x7f, 0x80, 0xff, 0xfe, 0x40, 0xf8];
        match self.below(3) {
            0 => EDGES[self.below(EDGES.len())],
            _ => u8::try_from(self.below(256)).unwrap(),
        }
    }

    /// The input with some of it changed.
    fn change(&mut self, input: &mut Vec<u8>, other: &[u8]) {
        for _ in 0..=self.below(4) {
            let at = self.below(input.len() + 1);
            let most = 1 << self.below(8);
            let length = self.below(most);
            let end = (at + length).min(input.len());
            match self.below(8) {
                0 if at < input.len() => input[at] ^= 1 << self.below(8),
                1 | 2 if at < input.len() => input[at] = self.byte(),
                3 => {
                    let byte = self.byte();
                    input.insert(at, byte);
                }
                4 => drop(input.drain(at..end)),
                5 => {
                    let part = input[at..end].to_vec();
                    let to = self.below(input.len() + 1);
                    input.splice(to..to, part);
                }
                6 => {
                    let from = self.below(other.len() + 1);
                    let part = &other[from..(from + length).min(other.len())];
                    input.splice(at..end, part.iter().copied());
                }
                7 => {
                    input.truncate(at);
                    input.extend(other.get(self.below(other.len() + 1)..).unwrap_or_default());
                }
                _ => {}
            }
        }
        input.truncate(MOST);
    }
}

fn fuzz(name: &str, target: Target, time: Duration) {
    let mut known = HashSet::new();
    let mut kept = seeds(name);
    for seed in &kept {
        run(name, target, seed, &mut known);
    }
    let mut chance = Chance(getrandom::u64().unwrap());
    let (began, mut runs) = (Instant::now(), 0_u64);
    while began.elapsed() < time {
        let (one, other) = (chance.below(kept.len()), chance.below(kept.len()));
        let mut input = kept[one].clone();
        chance.change(&mut input, &kept[other]);
        runs += 1;
        if run(name, target, &input, &mut known) && kept.len() < KEPT {
            kept.push(input);
        }
    }
    println!("{name}: {runs} inputs, {} kept, {} events", kept.len(), known.len());
    assert!(runs > 0);
}

#[test]
fn what_is_almost_right_breaks_no_decoder() {
    let only = said("CLAN_FUZZ_TARGET");
    let seconds = said("CLAN_FUZZ_SECONDS").map_or(0.5, |seconds| seconds.parse().unwrap());
    let is_wanted = |name: &str| only.as_deref().is_none_or(|only| only == name);
    let targets: Vec<_> = TARGETS.iter().filter(|(name, _)| is_wanted(name)).collect();
    assert!(!targets.is_empty(), "there is no target {only:?}");
    for (name, target) in targets {
        match said("CLAN_FUZZ_INPUT") {
            Some(input) => {
                let input = HEXLOWER.decode(input.as_bytes()).unwrap();
                run(name, *target, &input, &mut HashSet::new());
            }
            None => fuzz(name, *target, Duration::from_secs_f64(seconds)),
        }
    }
}

#[test]
#[cfg(all(feature = "mycelium", feature = "yggdrasil"))]
fn every_target_is_one_of_cargo_fuzz() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    let names = TARGETS.iter().map(|(name, _)| *name);
    let binaries = manifest.lines().filter_map(|line| line.strip_prefix("name = \""));
    let binaries = binaries.filter_map(|line| line.strip_suffix('"'));
    assert_eq!(
        binaries.filter(|name| *name != "clan-connect-fuzz").collect::<Vec<_>>(),
        names.clone().collect::<Vec<_>>()
    );
    for name in names {
        let source = std::fs::read_to_string(folder.join(format!("targets/{name}.rs"))).unwrap();
        assert!(source.contains(&format!("\"{name}\"")), "{source}");
    }
}
