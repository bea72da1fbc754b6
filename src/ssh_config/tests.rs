use super::*;

fn context(host: &str) -> MatchContext<'_> {
    MatchContext {
        original_host: host,
        host,
        login: "me",
        local_user: "me",
        home: None,
        is_final: false,
        exec: &|_, command| Ok(command == "true"),
        file: &|_, name| Ok(name.replace("%h", "more").replace("${DOT}", ".conf")),
    }
}

fn read(text: &str, context: &MatchContext<'_>) -> Result<Config> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config");
    std::fs::write(&path, text.replace("DIR", &dir.path().to_string_lossy())).unwrap();
    std::fs::write(dir.path().join("more.conf"), "User included\nHost other\nPort 7\n").unwrap();
    let mut config = Config::default();
    config.read_user(&path, true, context)?;
    Ok(config)
}

fn value(text: &str, host: &str, keyword: &str) -> Option<String> {
    let options = read(text, &context(host)).unwrap().options;
    let row = crate::options::find(keyword).unwrap();
    options.is_set(row).then(|| options.shown(row).concat().join(" "))
}

#[test]
fn the_first_value_that_applies_counts() {
    let text = "User all-early\nHost a*.example !ab*\n  Port 1\n  HostName=real.%h\n\
                Host *\nPort 2\nUser late\n";
    assert_eq!(value(text, "ac.example", "port").as_deref(), Some("1"));
    assert_eq!(value(text, "ab.example", "port").as_deref(), Some("2"));
    assert_eq!(value(text, "x", "user").as_deref(), Some("all-early"));
    // As in ssh(1), and unlike in known hosts.
    assert_eq!(value(text, "AC.example", "port").as_deref(), Some("2"));
    let config = read(text, &context("ac.example")).unwrap();
    assert_eq!(host_name(&config.options, "ac.example"), "real.ac.example");
}

#[test]
fn match_knows_its_criteria_and_final_waits() {
    for (criteria, holds) in [
        ("all", true),
        ("host h", true),
        ("host x,h", true),
        ("host x", false),
        ("!host x", true),
        ("originalhost H host H user me", true),
        ("user ME", false),
        ("user you", false),
        ("localuser m*", true),
        ("exec true", true),
        ("exec false", false),
        ("exec \"true\" host x", false),
        ("final", false),
        ("!final", true),
    ] {
        let text = format!("Match {criteria}\nPort 5\n");
        assert_eq!(value(&text, "h", "port").is_some(), holds, "{criteria}");
    }
    let text = "HostName real\nMatch host real\nPort 1\nMatch final host real\nUser late\n";
    let mut config = read(text, &context("h")).unwrap();
    assert!(config.wants_final() && config.options.port.is_some());
    assert_eq!(config.options.user, None);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c");
    std::fs::write(&path, text).unwrap();
    config.read_user(&path, true, &MatchContext { is_final: true, ..context("h") }).unwrap();
    assert_eq!(config.options.user.as_deref(), Some("late"));
}

#[test]
fn includes_end_with_the_state_they_began_with() {
    let text = "Host h\nInclude DIR/*.conf\nPort 9\n";
    assert_eq!(value(text, "h", "user").as_deref(), Some("included"));
    assert_eq!(value(text, "h", "port").as_deref(), Some("9"));
    assert_eq!(value(text, "other", "port"), None, "a Host within counts only within");
    assert_eq!(value("Include DIR/none*\nPort 3", "h", "port").as_deref(), Some("3"));
    assert_eq!(value("Include DIR/%h${DOT}", "h", "user").as_deref(), Some("included"));
    for (line, why) in [
        ("Include", "no argument after keyword"),
        ("Include \"\"", "keyword include empty argument"),
    ] {
        assert!(read(line, &context("h")).unwrap_err().to_string().contains(why), "{line}");
    }
    let error = read("Include DIR/config", &context("h")).unwrap_err().to_string();
    assert!(error.contains("too many includes"), "{error}");
    // Three to the power of the depth would never end.
    let many = "Include DIR/config\n".repeat(3);
    let error = read(&many, &context("h")).unwrap_err().to_string();
    assert_eq!(error.matches("too many includes").count(), 1, "{error}");
}

#[test]
fn mistakes_name_the_file_and_the_line_and_all_of_them() {
    let text =
        "Port 1\nNonsense yes\nHost x\nPort 1 2\nUser\nMatch\nMatch all host x\nMatch foo x\n";
    let error = read(text, &context("h")).unwrap_err();
    let Error::SshConfig { path, line: Some(2), .. } = &error else { panic!("{error:?}") };
    assert!(path.ends_with("config"), "{}", path.display());
    // It is the file's fault, and not that of our command line.
    assert_eq!(error.exit_code(false), crate::error::FAILED);
    let error = error.to_string();
    for words in [
        ": line 2: Bad configuration option: nonsense",
        " line 4: keyword port extra arguments at end of line",
        " line 5: no argument after keyword \"user\"",
        "line 6: no argument after keyword \"match\"",
        "line 7: 'all' cannot be combined",
        "line 8: Unsupported Match attribute foo",
        ": terminating, 6 bad configuration options",
    ] {
        assert!(error.contains(words), "{words}: {error}");
    }
    assert!(read("IgnoreUnknown non*\nNonsense yes\n", &context("h")).is_ok());
    assert!(read("Protocol 2\nUseRoaming no\n", &context("h")).is_ok());
}

#[test]
fn what_may_be_given_often_counts_often_and_commands_stay_whole() {
    let text = "IdentityFile a\nIdentityFile b\nIdentityFile a\nProxyCommand = nc \"%h\" # %p\n\
                UserKnownHostsFile x y\nSendEnv A B\nSendEnv C\n";
    let config = read(text, &context("h")).unwrap();
    let options = config.options;
    let files: Vec<&str> = options.identity_file.iter().map(|file| file.written()).collect();
    assert_eq!(files, ["a", "b"]);
    let shown = |name| options.shown(crate::options::find(name).unwrap());
    assert_eq!(shown("proxycommand"), [["nc \"%h\" # %p"]]);
    assert_eq!(shown("userknownhostsfile"), [["x", "y"]]);
    assert_eq!(shown("sendenv"), [["A"], ["B"], ["C"]]);
}

#[test]
fn a_file_that_others_may_write_to_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config");
    std::fs::write(&path, "Port 1").unwrap();
    let mut config = Config::default();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o622)).unwrap();
    let error = config.read_user(&path, false, &context("h")).unwrap_err().to_string();
    assert!(error.starts_with("Bad owner or permissions on "), "{error}");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    config.read_user(&path, false, &context("h")).unwrap();
    config.read_user(&dir.path().join("missing"), false, &context("h")).unwrap();
    assert!(config.read_user(&dir.path().join("missing"), true, &context("h")).is_err());
}
