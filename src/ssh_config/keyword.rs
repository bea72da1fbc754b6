//! The keywords of ssh_config(5), and how the arguments of each are counted.

/// How often a keyword may count, and with how many arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// One argument; the first line counts.
    One,
    /// Any number of arguments; the first line counts.
    List,
    /// The rest of the line as it stands; the first line counts.
    Rest,
    /// Every line counts.
    Each,
    /// Of the past: read over.
    Dead,
}

use Kind::{Dead, Each, List, One, Rest};

/// In lower case, with the name that it goes by now.
const KEYWORDS: [(&str, &str, Kind); 131] = [
    ("addkeystoagent", "addkeystoagent", List),
    ("addressfamily", "addressfamily", One),
    ("afstokenpassing", "", Dead),
    ("batchmode", "batchmode", One),
    ("bindaddress", "bindaddress", One),
    ("bindinterface", "bindinterface", One),
    ("canonicaldomains", "canonicaldomains", List),
    ("canonicalizefallbacklocal", "canonicalizefallbacklocal", One),
    ("canonicalizehostname", "canonicalizehostname", One),
    ("canonicalizemaxdots", "canonicalizemaxdots", One),
    ("canonicalizepermittedcnames", "canonicalizepermittedcnames", List),
    ("casignaturealgorithms", "casignaturealgorithms", One),
    ("certificatefile", "certificatefile", Each),
    ("challengeresponseauthentication", "kbdinteractiveauthentication", One),
    ("channeltimeout", "channeltimeout", List),
    ("checkhostip", "checkhostip", One),
    ("cipher", "", Dead),
    ("ciphers", "ciphers", One),
    ("clearallforwardings", "clearallforwardings", One),
    ("compression", "compression", One),
    ("compressionlevel", "", Dead),
    ("connectionattempts", "connectionattempts", One),
    ("connecttimeout", "connecttimeout", One),
    ("controlmaster", "controlmaster", One),
    ("controlpath", "controlpath", One),
    ("controlpersist", "controlpersist", One),
    ("dnssecanchor", "dnssecanchor", One),
    ("dsaauthentication", "pubkeyauthentication", One),
    ("dynamicforward", "dynamicforward", Each),
    ("enableescapecommandline", "enableescapecommandline", One),
    ("enablesshkeysign", "enablesshkeysign", One),
    ("escapechar", "escapechar", One),
    ("exitonforwardfailure", "exitonforwardfailure", One),
    ("fallbacktorsh", "", Dead),
    ("fingerprinthash", "fingerprinthash", One),
    ("forkafterauthentication", "forkafterauthentication", One),
    ("forwardagent", "forwardagent", One),
    ("forwardx11", "forwardx11", One),
    ("forwardx11timeout", "forwardx11timeout", One),
    ("forwardx11trusted", "forwardx11trusted", One),
    ("gatewayports", "gatewayports", One),
    ("globalknownhostsfile", "globalknownhostsfile", List),
    ("globalknownhostsfile2", "", Dead),
    ("gssapiauthentication", "gssapiauthentication", One),
    ("gssapiclientidentity", "gssapiclientidentity", One),
    ("gssapidelegatecredentials", "gssapidelegatecredentials", One),
    ("gssapikexalgorithms", "gssapikexalgorithms", One),
    ("gssapikeyexchange", "gssapikeyexchange", One),
    ("gssapirenewalforcesrekey", "gssapirenewalforcesrekey", One),
    ("gssapiserveridentity", "gssapiserveridentity", One),
    ("gssapitrustdns", "gssapitrustdns", One),
    ("hashknownhosts", "hashknownhosts", One),
    ("hostbasedacceptedalgorithms", "hostbasedacceptedalgorithms", One),
    ("hostbasedauthentication", "hostbasedauthentication", One),
    ("hostbasedkeytypes", "hostbasedacceptedalgorithms", One),
    ("hostkeyalgorithms", "hostkeyalgorithms", One),
    ("hostkeyalias", "hostkeyalias", One),
    ("hostname", "hostname", One),
    ("identitiesonly", "identitiesonly", One),
    ("identityagent", "identityagent", One),
    ("identityfile", "identityfile", Each),
    ("identityfile2", "identityfile", Each),
    ("ignoreunknown", "ignoreunknown", One),
    ("ipqos", "ipqos", List),
    ("kbdinteractiveauthentication", "kbdinteractiveauthentication", One),
    ("kbdinteractivedevices", "kbdinteractivedevices", One),
    ("keepalive", "tcpkeepalive", One),
    ("kexalgorithms", "kexalgorithms", One),
    ("knownhostscommand", "knownhostscommand", Rest),
    ("localcommand", "localcommand", Rest),
    ("localforward", "localforward", Each),
    ("loglevel", "loglevel", One),
    ("logverbose", "logverbose", List),
    ("macs", "macs", One),
    ("nohostauthenticationforlocalhost", "nohostauthenticationforlocalhost", One),
    ("numberofpasswordprompts", "numberofpasswordprompts", One),
    ("obscurekeystroketiming", "obscurekeystroketiming", List),
    ("passwordauthentication", "passwordauthentication", One),
    ("permitlocalcommand", "permitlocalcommand", One),
    ("permitremoteopen", "permitremoteopen", List),
    ("pkcs11provider", "pkcs11provider", One),
    ("port", "port", One),
    ("preferredauthentications", "preferredauthentications", One),
    ("protocol", "", Dead),
    ("proxycommand", "proxycommand", Rest),
    ("proxyjump", "proxyjump", One),
    ("proxyusefdpass", "proxyusefdpass", One),
    ("pubkeyacceptedalgorithms", "pubkeyacceptedalgorithms", One),
    ("pubkeyacceptedkeytypes", "pubkeyacceptedalgorithms", One),
    ("pubkeyauthentication", "pubkeyauthentication", One),
    ("rekeylimit", "rekeylimit", List),
    ("remotecommand", "remotecommand", Rest),
    ("remoteforward", "remoteforward", Each),
    ("requesttty", "requesttty", One),
    ("requiredrsasize", "requiredrsasize", One),
    ("revokedhostkeys", "revokedhostkeys", One),
    ("rhostsrsaauthentication", "", Dead),
    ("rsaauthentication", "", Dead),
    ("securitykeyprovider", "securitykeyprovider", One),
    ("sendenv", "sendenv", Each),
    ("serveralivecountmax", "serveralivecountmax", One),
    ("serveraliveinterval", "serveraliveinterval", One),
    ("sessiontype", "sessiontype", One),
    ("setenv", "setenv", List),
    ("skeyauthentication", "kbdinteractiveauthentication", One),
    ("smartcarddevice", "pkcs11provider", One),
    ("stdinnull", "stdinnull", One),
    ("streamlocalbindmask", "streamlocalbindmask", One),
    ("streamlocalbindunlink", "streamlocalbindunlink", One),
    ("stricthostkeychecking", "stricthostkeychecking", One),
    ("syslogfacility", "syslogfacility", One),
    ("tag", "tag", One),
    ("tcpkeepalive", "tcpkeepalive", One),
    ("tisauthentication", "kbdinteractiveauthentication", One),
    ("torauth", "torauth", Each),
    ("tunnel", "tunnel", One),
    ("tunneldevice", "tunneldevice", One),
    ("updatehostkeys", "updatehostkeys", One),
    ("useblacklistedkeys", "", Dead),
    ("usekeychain", "", Dead),
    ("useprivilegedport", "", Dead),
    ("user", "user", One),
    ("userknownhostsfile", "userknownhostsfile", List),
    ("userknownhostsfile2", "", Dead),
    ("useroaming", "", Dead),
    ("usersh", "", Dead),
    ("verifyhostkeydns", "verifyhostkeydns", One),
    ("versionaddendum", "versionaddendum", Rest),
    ("visualhostkey", "visualhostkey", One),
    ("warnweakcrypto", "warnweakcrypto", One),
    ("xauthlocation", "xauthlocation", One),
];

/// The present name of a keyword, in whatever case it is written.
pub(super) fn find(name: &str) -> Option<(&'static str, Kind)> {
    let name = name.to_ascii_lowercase();
    let at = KEYWORDS.binary_search_by(|(known, ..)| (*known).cmp(&name)).ok()?;
    KEYWORDS.get(at).map(|(_, now, kind)| (*now, *kind))
}

/// Those that are either `yes` or `no`.
const FLAGS: [&str; 25] = [
    "batchmode",
    "canonicalizefallbacklocal",
    "checkhostip",
    "clearallforwardings",
    "compression",
    "enableescapecommandline",
    "enablesshkeysign",
    "exitonforwardfailure",
    "forkafterauthentication",
    "forwardx11",
    "forwardx11trusted",
    "gatewayports",
    "hashknownhosts",
    "hostbasedauthentication",
    "identitiesonly",
    "kbdinteractiveauthentication",
    "nohostauthenticationforlocalhost",
    "passwordauthentication",
    "permitlocalcommand",
    "proxyusefdpass",
    "stdinnull",
    "streamlocalbindunlink",
    "tcpkeepalive",
    "visualhostkey",
    "warnweakcrypto",
];

/// Those that are one of a few words; `yes` and `no` stand for `true` and `false`.
const CHOICES: [(&str, &[&str]); 11] = [
    ("addressfamily", &["any", "inet", "inet6"]),
    ("canonicalizehostname", &["yes", "no", "always"]),
    ("controlmaster", &["yes", "no", "ask", "auto", "autoask"]),
    ("fingerprinthash", &["md5", "sha256"]),
    ("pubkeyauthentication", &["yes", "no", "unbound", "host-bound"]),
    ("requesttty", &["yes", "no", "force", "auto"]),
    ("sessiontype", &["none", "subsystem", "default"]),
    ("stricthostkeychecking", &["yes", "no", "ask", "off", "accept-new"]),
    ("tunnel", &["yes", "no", "ethernet", "point-to-point"]),
    ("updatehostkeys", &["yes", "no", "ask"]),
    ("verifyhostkeydns", &["yes", "no", "ask"]),
];

/// What is wrong with the first argument of a keyword, as far as that can be told
/// without knowing what it is for.
pub(super) fn mistake(keyword: &str, value: &str) -> Option<&'static str> {
    let value = value.to_ascii_lowercase();
    let value = match value.as_str() {
        "true" => "yes",
        "false" => "no",
        other => other,
    };
    if FLAGS.contains(&keyword) && !["yes", "no"].contains(&value) {
        return Some("neither yes nor no");
    }
    let choice = CHOICES.iter().find(|(known, _)| *known == keyword);
    let is_wrong = choice.is_some_and(|(_, allowed)| !allowed.contains(&value));
    is_wrong.then_some("unsupported option")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_finds_names_in_any_case() {
        assert!(KEYWORDS.is_sorted_by_key(|(name, ..)| *name));
        assert_eq!(find("HostName"), Some(("hostname", One)));
        assert_eq!(
            find("ChallengeResponseAuthentication").unwrap().0,
            "kbdinteractiveauthentication"
        );
        assert_eq!(find("nonsense"), None);
        let known = |name: &str| find(name).is_some();
        assert!(FLAGS.iter().all(|name| known(name)));
        assert!(CHOICES.iter().all(|(name, _)| known(name)));
        assert_eq!(mistake("compression", "True"), None);
        assert_eq!(mistake("controlmaster", "autoask"), None);
        assert!(mistake("compression", "auto").is_some());
        assert!(mistake("requesttty", "perhaps").is_some());
    }
}
