//! The documents: what they link to and name is there, and what is printed for programs is
//! described.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::{Home, sshd};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Every document, by its path from here.
fn documents() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for dir in ["", "docs", "fixtures"] {
        for entry in fs::read_dir(Path::new(ROOT).join(dir)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|end| end == "md") {
                found.push(path);
            }
        }
    }
    found
}

/// What stands between the brackets of `](…)`, outside of code.
fn links(text: &str) -> Vec<String> {
    let mut links = Vec::new();
    let mut is_code = false;
    for line in text.lines() {
        if line.starts_with("```") {
            is_code = !is_code;
        }
        if is_code || line.starts_with("    ") {
            continue;
        }
        for after in line.split("](").skip(1) {
            links.push(after.split(')').next().unwrap().to_owned());
        }
    }
    links
}

/// The anchors of a document's headings, as GitHub and Forgejo make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |line: &str| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.collect::<String>().replace(' ', "-")
    };
    headings.map(anchor).collect()
}

#[test]
fn every_link_leads_to_a_file_and_a_heading_that_are_there() {
    let (mut seen, mut broken) = (0, Vec::new());
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for link in links(&text).iter().filter(|link| !link.contains("://")) {
            seen += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => document.clone(),
                file => document.parent().unwrap().join(file),
            };
            let is_there = match fs::read_to_string(&target) {
                Ok(text) => anchor.is_empty() || anchors(&text).contains(anchor),
                Err(_) => false,
            };
            if !is_there {
                broken.push(format!("{}: {link}", document.display()));
            }
        }
    }
    assert!(seen > 30, "only {seen} links are found");
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_page_is_reached_from_the_first() {
    let first = Path::new(ROOT).join("README.md");
    let mut reached = BTreeSet::from([first.canonicalize().unwrap()]);
    let mut open = vec![first];
    while let Some(document) = open.pop() {
        for link in links(&fs::read_to_string(&document).unwrap()) {
            let file = document.parent().unwrap().join(link.split('#').next().unwrap());
            let Ok(file) = file.canonicalize() else { continue };
            if file.extension().is_some_and(|end| end == "md") && reached.insert(file.clone()) {
                open.push(file);
            }
        }
    }
    let pages = documents().into_iter().map(|page| page.canonicalize().unwrap());
    let lost: Vec<_> = pages.filter(|page| !reached.contains(page)).collect();
    assert!(lost.is_empty(), "no link leads to {lost:?}");
}

/// All names of fields in a document of JSON.
fn fields(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Array(all) => all.iter().for_each(|value| fields(value, into)),
        Value::Object(all) => {
            for (name, value) in all {
                into.insert(name.clone());
                // Its fields are machines.
                if name != "target_hosts" {
                    fields(value, into);
                }
            }
        }
        _ => {}
    }
}

#[test]
fn every_field_that_is_printed_as_json_is_described() {
    let home = Home::new();
    let public = home.default_key();
    let server = sshd(&home, "127.0.0.1", &public, "");
    let key = home.read(&format!("sshd-{}/host_key.pub", server.port()));
    let peer = |host: &str, port: u16| json!({ "host": { "plain": host }, "port": port });
    let direct = |host, port| {
        json!({ "priority": 10, "module": "clan_lib.network.direct",
            "peers": { "m": peer(host, port) } })
    };
    let snapshot = json!({ "clan_connect_snapshot": 1,
        "machines": { "m": { "host_keys": [key.trim()] } },
        "exports": { "net": direct("127.0.0.1", server.address.port()),
            "down": direct("127.0.0.1", 1), "ygg": direct("200::1", 22) } });
    home.write("clan/.clan-flake", "");
    home.write("clan/clan-connect.json", snapshot.to_string());
    home.write("clan/vars/per-machine/m/text/bytes/value", [0xff, 0]);
    home.write("clan/vars/per-machine/m/text/line/value", "text");
    home.write("clan/secrets/clan-vars/per-machine/m/a/b/b.age", "x");
    let run = |args: &[&str]| {
        home.run(&[&["--flake", "clan", "--events", "events"], args].concat()).text()
    };
    let mut printed = BTreeSet::new();
    for words in [
        &["network", "list"][..],
        &["exports", "show"],
        &["network", "ping", "m"],
        &["network", "overview"],
        &["network", "identity", "yggdrasil"],
        &["network", "trust", "list", "m"],
        &["vars", "list", "m"],
    ] {
        let text = run(&[words, &["--json"]].concat());
        let value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{words:?}: {text}"));
        fields(&value, &mut printed);
    }
    for network in ["net", "down"] {
        run(&["ssh", "m", "-l", "root", "--network", network, "-c", "true"]);
    }
    for line in home.read("events").lines() {
        fields(&serde_json::from_str(line).unwrap(), &mut printed);
    }
    let page = fs::read_to_string(Path::new(ROOT).join("docs/json.md")).unwrap();
    let is_there =
        |name: &str| page.contains(&format!("\"{name}\"")) || page.contains(&format!("`{name}`"));
    let missing: Vec<&String> = printed.iter().filter(|name| !is_there(name)).collect();
    assert!(printed.len() > 40 && missing.is_empty(), "{missing:?} of {printed:?}");
}

#[test]
fn every_file_of_the_source_that_is_named_is_there_and_every_module_is_named() {
    let root = Path::new(ROOT);
    let mut gone = Vec::new();
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        let named = text.split('`').skip(1).step_by(2).filter(|word| !word.contains([' ', '*']));
        let starts = ["src/", "nix/", "vendor-tests/", "fixtures/", "docs/"];
        for path in named.filter(|word| starts.iter().any(|start| word.starts_with(start))) {
            let is_pattern = path.contains(['{', '…']) || path.contains("NAME");
            if !is_pattern && !root.join(path).exists() {
                gone.push(format!("{}: {path}", document.display()));
            }
        }
    }
    assert!(gone.is_empty(), "{gone:#?}");
    let page = fs::read_to_string(root.join("docs/architecture.md")).unwrap();
    let modules = fs::read_dir(root.join("src")).unwrap().map(|entry| entry.unwrap().path());
    let modules = modules.filter(|path| path.extension().is_some_and(|end| end == "rs"));
    let names = modules.map(|path| format!("`src/{}`", path.file_name().unwrap().display()));
    let unnamed: Vec<String> = names.filter(|name| !page.contains(name)).collect();
    assert!(unnamed.is_empty(), "{unnamed:#?}");
}
