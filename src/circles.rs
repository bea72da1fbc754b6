//! The test that modules depend on each other in one direction only. The files of a
//! folder are the modules of one floor: none may name another that leads back to it,
//! by itself or by what lies below it. A folder's own file and what is in the folder
//! may name each other, as they are one module to all others.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

type Module = Vec<String>;
/// For each module of a floor the others that it names, and where.
type Floor = BTreeMap<String, BTreeMap<String, String>>;

#[test]
fn no_module_leads_back_to_itself() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = BTreeMap::new();
    modules(&source, &mut Vec::new(), &mut files);
    assert!(files.len() > 100, "only {} files below {}", files.len(), source.display());
    let mut found = Vec::new();
    let mut told = String::new();
    for (floor, modules) in floors(&files) {
        for circle in circles(&modules) {
            for one in &circle {
                for (other, place) in modules[one].iter().filter(|(to, _)| circle.contains(*to)) {
                    told.push_str(&format!("{floor}: {one} names {other}: {place}\n"));
                }
            }
            found.push((floor.clone(), circle.into_iter().collect::<Vec<_>>()));
        }
    }
    assert!(found.is_empty(), "{found:?}\n{told}");
}

#[test]
fn a_circle_is_found_whatever_its_length_and_however_it_is_written() {
    let files = |texts: &[(&str, &str)]| {
        let module = |path: &str| path.split("::").map(str::to_owned).collect::<Module>();
        texts.iter().map(|(path, text)| (module(path), (*text).to_owned())).collect()
    };
    let found = |texts: &[(&str, &str)]| {
        let floors = floors(&files(texts));
        floors.values().flat_map(circles).map(|circle| circle.len()).collect::<Vec<_>>()
    };
    assert_eq!(found(&[("a", "use crate::b;"), ("b", "use super::a::X;")]), [2]);
    let three =
        [("a", "fn f() { crate::b::g() }"), ("b", "use crate::{c, d};"), ("c", "super::a;")];
    assert_eq!(found(&three), [3]);
    // By what lies below one of them.
    let below = [("a", ""), ("a::x", "use crate::b::{self, y};"), ("b", "use crate::a;")];
    assert_eq!(found(&below), [2]);
    let inside = [("a", "use x::Y;"), ("a::x", "use super::y::{Z, W};"), ("a::y", "super::x::f()")];
    assert_eq!(found(&inside), [2]);
    // A folder's own file, a comment, and a test are none.
    assert_eq!(found(&[("a", "use x::Y;"), ("a::x", "use super::Z;")]), [0; 0]);
    let comment = "// crate::a\n#[cfg(test)]\nmod tests { use crate::a; }";
    assert_eq!(found(&[("a", "use crate::b;"), ("b", comment)]), [0; 0]);
}

/// Every file below `dir` that is no test, by the module that it is.
fn modules(dir: &Path, above: &mut Module, files: &mut BTreeMap<Module, String>) {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    for path in entries.collect::<BTreeSet<PathBuf>>() {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if ["tests", "test_data", "test_keys", "circles"].contains(&name.as_str()) {
            continue;
        }
        above.push(name);
        if path.is_dir() {
            modules(&path, above, files);
        } else if !matches!(above.join("::").as_str(), "main" | "lib") {
            files.insert(above.clone(), std::fs::read_to_string(&path).unwrap());
        }
        above.pop();
    }
}

fn floors(files: &BTreeMap<Module, String>) -> BTreeMap<String, Floor> {
    let mut floors: BTreeMap<String, Floor> = BTreeMap::new();
    for (from, text) in files {
        for to in named(from, text) {
            // The longest beginning that is a module: the rest is what is in it.
            let Some(to) =
                (1..=to.len()).rev().map(|end| &to[..end]).find(|to| files.contains_key(*to))
            else {
                continue;
            };
            let same = from.iter().zip(to).take_while(|(one, other)| one == other).count();
            let (Some(one), Some(other)) = (from.get(same), to.get(same)) else { continue };
            let modules = floors.entry(from[..same].join("::")).or_default();
            modules.entry(other.clone()).or_default();
            let place = format!("{} uses {}", from.join("::"), to.join("::"));
            modules.entry(one.clone()).or_default().entry(other.clone()).or_insert(place);
        }
    }
    floors
}

/// Everything that a file names by `crate::`, `self::` or `super::`.
fn named(module: &Module, text: &str) -> Vec<Module> {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let code: String =
        text.lines().map(|line| line.split("//").next().unwrap().to_owned() + "\n").collect();
    let mut found = Vec::new();
    let is_word = |char: char| char.is_alphanumeric() || char == '_';
    for root in ["crate::", "self::", "super::"] {
        for (at, _) in code.match_indices(root) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|char| is_word(char) || char == ':') {
                continue;
            }
            let mut rest = &code[at + root.len()..];
            let mut base = if root == "crate::" { Vec::new() } else { module.clone() };
            if root == "super::" {
                base.pop();
                while let Some(further) = rest.strip_prefix("super::") {
                    rest = further;
                    base.pop();
                }
            }
            tree(rest, &base, &mut found);
        }
    }
    found
}

/// The paths of what follows `base::`, and how much of the text they take.
fn tree(text: &str, base: &Module, found: &mut Vec<Module>) -> usize {
    if let Some(inner) = text.strip_prefix('{') {
        let mut at = 0;
        loop {
            let blank = inner[at..].len() - inner[at..].trim_start_matches([' ', '\n', ',']).len();
            at += blank;
            match inner[at..].chars().next() {
                None | Some('}') => return at + 2,
                Some(_) => at += tree(&inner[at..], base, found).max(1),
            }
        }
    }
    let end = text.find(|char: char| !char.is_alphanumeric() && char != '_').unwrap_or(text.len());
    let mut path = base.clone();
    if &text[..end] != "self" {
        path.push(text[..end].to_owned());
    }
    match text[end..].strip_prefix("::") {
        Some(rest) => end + 2 + tree(rest, &path, found),
        None => {
            found.push(path);
            end
        }
    }
}

/// Modules that all lead to each other.
fn circles(floor: &Floor) -> Vec<BTreeSet<String>> {
    let reach = |from: &String| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(one) = next.pop() {
            next.extend(
                floor
                    .get(one)
                    .into_iter()
                    .flat_map(BTreeMap::keys)
                    .filter(|to| seen.insert((*to).clone())),
            );
        }
        seen
    };
    let reached: BTreeMap<&String, BTreeSet<String>> =
        floor.keys().map(|from| (from, reach(from))).collect();
    let mut circles = BTreeSet::new();
    for (from, to) in reached.iter().filter(|(from, to)| to.contains(**from)) {
        let others = to.iter().filter(|other| reached[other].contains(*from));
        circles.insert(others.cloned().collect::<BTreeSet<_>>());
    }
    circles.into_iter().collect()
}
