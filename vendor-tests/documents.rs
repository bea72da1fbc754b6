//! The documents: what they link to is there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

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
