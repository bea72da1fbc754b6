//! What this process was started with: its variables, its user's home, and the
//! directory that it stands in. Owns the reading of them, once, and the rules by
//! which a directory of the user is found; everybody else is handed an [`Env`].

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::accounts::Accounts;
use crate::encoding;

/// The environment of a process, or one that a test has made. Cheap to clone.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Env(Arc<Read>);

#[derive(Clone, Default, PartialEq, Eq)]
struct Read {
    variables: BTreeMap<OsString, OsString>,
    /// The home of the user's account, for when no variable says another.
    home: Option<PathBuf>,
    /// The name of the user's account.
    user: Option<String>,
    dir: Option<PathBuf>,
}

impl Env {
    /// Reads that of this process.
    #[allow(clippy::disallowed_methods, reason = "the one place that reads them")]
    pub fn read() -> Self {
        let mut variables = BTreeMap::new();
        for (name, value) in std::env::vars_os() {
            // The first of two counts, as for getenv(3).
            variables.entry(name).or_insert(value);
        }
        let (users, uid) = (Accounts::users(), rustix::process::getuid().as_raw());
        let user = users.name_of(uid).map(str::to_owned);
        let home = users.home_of_number(uid).filter(|home| home.starts_with('/'));
        Self(Arc::new(Read {
            variables,
            home: home.map(PathBuf::from),
            user,
            dir: std::env::current_dir().ok(),
        }))
    }

    /// With these variables and nothing else.
    #[cfg(test)]
    pub fn of<K: Into<OsString>, V: Into<OsString>>(
        variables: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into()));
        Self(Arc::new(Read { variables: variables.collect(), ..Read::default() }))
    }

    /// All variables.
    pub fn variables(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.0.variables.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }

    /// A variable; one that is empty counts as unset.
    pub fn var(&self, name: &str) -> Option<&OsStr> {
        let value = self.0.variables.get(OsStr::new(name));
        value.map(OsString::as_os_str).filter(|value| !value.is_empty())
    }

    /// The same, if it is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.var(name)?.to_str()
    }

    /// The same as a path.
    pub fn path(&self, name: &str) -> Option<&Path> {
        self.var(name).map(Path::new)
    }

    /// A variable that is set, even to nothing: `${NAME}` of ssh_config(5).
    pub fn set(&self, name: &str) -> Option<String> {
        self.0.variables.get(OsStr::new(name)).map(encoding::of_os)
    }

    /// The user who has become root by sudo(8).
    pub fn sudo(&self) -> Option<u32> {
        self.text("SUDO_UID")?.parse().ok()
    }

    /// `$HOME`, or else the home of the account (passwd(5)).
    pub fn home(&self) -> Option<&Path> {
        let variable = self.path("HOME").filter(|home| home.is_absolute());
        variable.or(self.0.home.as_deref())
    }

    /// Who runs this: the account's name. `$USER` is not to be trusted for that, but
    /// is better than nothing.
    pub fn user(&self) -> Option<&str> {
        let of_variables = || self.text("USER").or_else(|| self.text("LOGNAME"));
        self.0.user.as_deref().or_else(of_variables)
    }

    /// Where this process stands, if that is still there.
    pub fn dir(&self) -> Option<&Path> {
        self.0.dir.as_deref()
    }

    /// The user's configuration, `$XDG_CONFIG_HOME`.
    pub fn config_dir(&self) -> Option<PathBuf> {
        self.of_user("XDG_CONFIG_HOME", ".config")
    }

    /// What programs may lose, `$XDG_CACHE_HOME`.
    pub fn cache_dir(&self) -> Option<PathBuf> {
        self.of_user("XDG_CACHE_HOME", ".cache")
    }

    /// What programs keep, `$XDG_STATE_HOME`.
    pub fn state_dir(&self) -> Option<PathBuf> {
        self.of_user("XDG_STATE_HOME", ".local/state")
    }

    /// "All paths set in these environment variables must be absolute" (XDG Base
    /// Directory Specification); relative ones are ignored.
    fn of_user(&self, variable: &str, below_home: &str) -> Option<PathBuf> {
        let named = self.path(variable).filter(|dir| dir.is_absolute());
        named.map(Path::to_owned).or_else(|| Some(self.home()?.join(below_home)))
    }

    /// Where temporary files go.
    pub fn temporary_dir(&self) -> &Path {
        self.path("TMPDIR").unwrap_or(Path::new("/tmp"))
    }

    /// The directories of `$PATH`, without those that depend on where we stand.
    pub fn program_dirs(&self) -> impl Iterator<Item = PathBuf> {
        let path = self.var("PATH").unwrap_or_default();
        std::env::split_paths(path).filter(|dir| dir.is_absolute())
    }

    /// The socket of the user's agent.
    pub fn agent(&self) -> Option<PathBuf> {
        self.path("SSH_AUTH_SOCK").map(Path::to_owned)
    }
}

/// Values may be secrets (`$AGE_KEY`).
impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.variables.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_account(variables: &[(&str, &str)]) -> Env {
        let read = Env::of(variables.iter().copied()).0;
        let (home, user) = (Some("/account".into()), Some("me".to_owned()));
        Env(Arc::new(Read { home, user, ..Arc::unwrap_or_clone(read) }))
    }

    #[test]
    fn without_a_home_in_the_environment_that_of_the_account_counts() {
        for (variables, home) in [
            (&[("HOME", "/named")][..], "/named"),
            (&[("HOME", "")], "/account"),
            (&[("HOME", "relative")], "/account"),
            (&[], "/account"),
        ] {
            let env = with_account(variables);
            assert_eq!(env.home(), Some(Path::new(home)), "{variables:?}");
            assert_eq!(env.cache_dir(), Some(Path::new(home).join(".cache")));
        }
        assert_eq!(Env::default().home(), None);
        assert_eq!(Env::default().state_dir(), None);
    }

    #[test]
    fn directories_count_when_they_are_absolute() {
        let env = with_account(&[("XDG_CONFIG_HOME", "/config"), ("XDG_STATE_HOME", "state")]);
        assert_eq!(env.config_dir(), Some("/config".into()));
        assert_eq!(env.state_dir(), Some("/account/.local/state".into()));
        let env = with_account(&[("PATH", "/a:.::b:/c")]);
        let dirs: Vec<PathBuf> = env.program_dirs().collect();
        assert_eq!(dirs, [PathBuf::from("/a"), "/c".into()]);
    }

    #[test]
    fn a_variable_that_is_empty_is_unset_but_for_ssh_config() {
        let env = Env::of([("EMPTY", ""), ("FULL", "x")]);
        assert_eq!((env.var("EMPTY"), env.set("EMPTY").as_deref()), (None, Some("")));
        assert_eq!((env.text("FULL"), env.set("FULL").as_deref()), (Some("x"), Some("x")));
        assert_eq!((env.var("NONE"), env.set("NONE")), (None, None));
    }

    #[test]
    fn the_account_says_who_runs_this_and_the_variables_where_it_does_not() {
        assert_eq!(with_account(&[("USER", "other")]).user(), Some("me"));
        assert_eq!(Env::of([("LOGNAME", "other")]).user(), Some("other"));
        assert_eq!(Env::default().user(), None);
    }

    #[test]
    fn no_value_is_shown_for_debugging() {
        let shown = format!("{:?}", Env::of([("AGE_KEY", "AGE-SECRET-KEY-1X")]));
        assert_eq!(shown, "{\"AGE_KEY\"}");
    }
}
