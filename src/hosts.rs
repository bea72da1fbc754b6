//! Addresses of a name in /etc/hosts (hosts(5)). Owns that file's format; asks
//! no resolver.

use std::net::IpAddr;
use std::path::Path;

use crate::file;

/// Bound on the file, in bytes.
const MAX_FILE: u64 = 16 << 20;
/// More addresses than any honest name has; the rest are left out.
const MAX_ADDRESSES: usize = 32;

/// The addresses, in the order of the file. An unreadable file is no reason to
/// fail: getaddrinfo goes on to the DNS too. Blocks, for as long as a small
/// file takes.
pub fn addresses(name: &str) -> Vec<IpAddr> {
    lookup(&read(), name)
}

fn read() -> String {
    let text = file::read(Path::new("/etc/hosts"), MAX_FILE).unwrap_or_default();
    String::from_utf8_lossy(&text).into_owned()
}

/// The first name on the line that has `name`, which is the canonical one. Blocks
/// as [`addresses`] does.
pub fn canonical_name(name: &str) -> Option<String> {
    canonical(&read(), name)
}

fn canonical(text: &str, name: &str) -> Option<String> {
    let name = name.trim_end_matches('.');
    text.lines().find_map(|line| {
        let mut words = line.split('#').next()?.split_whitespace();
        words.next()?.parse::<IpAddr>().ok()?;
        let names: Vec<&str> = words.collect();
        let has = names.iter().any(|word| word.trim_end_matches('.').eq_ignore_ascii_case(name));
        names.first().filter(|_| has).map(|first| (*first).to_owned())
    })
}

fn lookup(text: &str, name: &str) -> Vec<IpAddr> {
    let name = name.trim_end_matches('.');
    let mut found = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let Some(Ok(ip)) = words.next().map(str::parse::<IpAddr>) else { continue };
        if words.any(|word| word.trim_end_matches('.').eq_ignore_ascii_case(name))
            && !found.contains(&ip)
            && found.len() < MAX_ADDRESSES
        {
            found.push(ip);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_match_any_name_in_any_case() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let text = "# 1.1.1.1 m\n127.0.0.1 localhost\n10.0.0.1\tm M.example # n\n\
                    2001:db8::1 m\nbad m\n10.0.0.2 n\n10.0.0.1 m\n";
        assert_eq!(lookup(text, "m"), [ip("10.0.0.1"), ip("2001:db8::1")]);
        assert_eq!(lookup(text, "m.example."), [ip("10.0.0.1")]);
        assert_eq!(lookup(text, "n"), [ip("10.0.0.2")]);
        assert_eq!(lookup(text, "o"), Vec::<IpAddr>::new());
        assert_eq!(canonical(text, "M.example").as_deref(), Some("m"));
        assert_eq!(canonical(text, "n.").as_deref(), Some("n"));
        assert_eq!(canonical(text, "bad"), None);
    }
}
