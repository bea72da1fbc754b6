//! Who gets what, as it is written on a command line.

use super::*;
use crate::flake::snapshot::Machine;
use crate::prompter::Nobody;
use crate::vars::Environment;

/// A clan of web, db and mail, of which db and mail have a secret host, and old, which is
/// in the exports alone.
struct Case {
    dir: tempfile::TempDir,
    snapshot: Snapshot,
    inventory: BTreeSet<String>,
    secret: BTreeSet<VarRef>,
}

const KEY: &str = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj";

impl Case {
    fn new() -> Self {
        let mut snapshot = Snapshot::new(serde_json::json!({}));
        for (name, tags) in [
            ("web", &["front", "all"][..]),
            ("db", &["back", "all"]),
            ("mail", &["all"]),
            ("old", &[]),
        ] {
            let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
            snapshot.machines.insert(name.to_owned(), Machine { tags, ..Machine::default() });
        }
        let inventory = ["web", "db", "mail"].map(str::to_owned).into();
        let host = |machine: &str| VarRef::new(machine, "tor_tor", "hostname").unwrap();
        let secret = ["db", "mail"].map(host).into();
        let case = Self { dir: tempfile::tempdir().unwrap(), snapshot, inventory, secret };
        case.write(
            "sops/machines/web/key.json",
            &format!(r#"[{{"publickey":"{KEY}","type":"age"}}]"#),
        );
        case.write("secrets/age-keys/machines/db/pub", KEY);
        case
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Each with the machines that it may dial.
    fn access(&self, machines: &[&str], keys: &[&str]) -> Result<Vec<(String, Vec<String>)>> {
        let owned = |all: &[&str]| all.iter().map(|it| (*it).to_owned()).collect();
        let asked = Recipients { machines: owned(machines), keys: owned(keys) };
        let dir = Some(self.dir.path().to_owned());
        let nobody = std::sync::Arc::new(Nobody);
        let vars = Vars::new(dir, Vec::new(), Environment::default(), nobody);
        let Self { snapshot, inventory, secret, .. } = self;
        let access = asked.access(&Machines { inventory, snapshot }, secret, &vars)?;
        let hosts = |it: &Access| it.hosts.iter().map(|var| var.machine().to_owned()).collect();
        Ok(access.iter().map(|it| (it.whose.clone(), hosts(it))).collect())
    }

    fn refusal(&self, machines: &[&str], keys: &[&str]) -> String {
        self.access(machines, keys).unwrap_err().to_string()
    }
}

#[test]
fn policies_are_lists_and_tags_and_add_up() {
    let case = Case::new();
    let given = |machines: &[&str], keys: &[&str]| {
        let line = |(whose, hosts): (String, Vec<String>)| format!("{whose}: {}", hosts.join(" "));
        case.access(machines, keys).unwrap().into_iter().map(line).collect::<Vec<_>>()
    };
    // Nobody needs to be led to himself.
    assert_eq!(given(&["web", "db"], &[]), ["db: mail", "web: db mail"]);
    assert_eq!(given(&["web=mail"], &[]), ["web: mail"]);
    assert_eq!(given(&["web=mail", "web=tag:back"], &[]), ["web: db mail"]);
    assert_eq!(given(&["tag:front=db,web"], &[]), ["web: db"]);
    assert_eq!(given(&["db=tag:all"], &[]), ["db: db mail"]);
    assert_eq!(given(&[], &[&format!("{KEY}=db")]), [format!("{KEY}: db")]);
    assert_eq!(given(&[], &[KEY]), [format!("{KEY}: db mail")]);
    // One key, however it is written.
    let capitals = format!("{}=mail", KEY.to_uppercase());
    assert_eq!(given(&[], &[&format!("{KEY}=db"), &capitals]), [format!("{KEY}: db mail")]);
}

#[test]
fn who_has_no_place_no_key_or_no_name_is_refused_with_the_fix() {
    let case = Case::new();
    assert_eq!(
        case.refusal(&["old"], &[]),
        "--for old: it is not a machine of the clan's inventory"
    );
    let no_key = case.refusal(&["mail"], &[]);
    for word in ["sops/machines/mail/key.json", "clan vars generate mail", "--for-recipient"] {
        assert!(no_key.contains(word), "{no_key}");
    }
    let mistyped = case.refusal(&["wbe"], &[]);
    assert_eq!(mistyped, "--for: no machine \"wbe\" in the clan, did you mean \"web\"?");
    for (whom, said) in [
        ("web=dbb", "--for: no machine \"dbb\" in the clan, did you mean \"db\"?"),
        ("web=tag:frnt", "--for: no tag \"frnt\" in the clan, did you mean \"front\"?"),
        ("web=", "--for: no machine \"\" in the clan"),
    ] {
        assert_eq!(case.refusal(&[whom], &[]), said);
    }
    // A machine that is called like a key would share its entry with whoever has that key.
    let mut named = Case::new();
    named.snapshot.machines.insert(KEY.to_owned(), Machine::default());
    named.inventory.insert(KEY.to_owned());
    named.write(&format!("secrets/age-keys/machines/{KEY}/pub"), KEY);
    let policy = [format!("{KEY}=db")];
    assert!(named.refusal(&[&policy[0]], &[&format!("{KEY}=mail")]).contains("something else"));
    // A private key in its place is not repeated.
    let private = case.refusal(&[], &["AGE-SECRET-KEY-1QQQ"]);
    assert!(private.contains("no public key") && !private.contains("SECRET"), "{private}");
    case.write("sops/machines/web/key.json", "{}");
    assert!(case.refusal(&["web"], &[]).contains("web/key.json: it holds no public keys"));
    let pgp = r#"{"publickey":"ABCD","type":"pgp"}"#;
    case.write("sops/machines/web/key.json", pgp);
    assert!(case.refusal(&["web"], &[]).contains("has no public key"));
    case.write("secrets/age-keys/machines/db/pub", "ssh-ed25519 AAAA");
    assert!(case.refusal(&["db"], &[]).contains("age (age1…)"));
}
