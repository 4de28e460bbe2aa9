//! The table of the configuration's keys has each key that the agent knows, and no other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use agent::config::Config;

/// Each part of the table, and where its keys stand in a configuration.
const PARTS: [(&str, &str); 9] = [
    ("At the top", ""),
    ("`[server]`", "[server]\n"),
    ("`[aws]`", "[aws]\n"),
    ("`[spool]`", "[spool]\n"),
    ("`[metrics]`", "[metrics]\n"),
    ("`[uplink]`", "[uplink]\n"),
    ("`[fleet]`", "[fleet]\n"),
    ("`[[camera]]`", "[[camera]]\n"),
    ("`[camera.sub]`", "[[camera]]\n[camera.sub]\n"),
];

#[test]
fn each_key_that_is_known_is_in_the_table_and_each_in_the_table_is_known() {
    let table = table();
    assert!(
        table.keys().copied().eq(PARTS.map(|(part, _)| part).into_iter().collect::<BTreeSet<_>>()),
        "{:?}",
        table.keys()
    );
    for (part, section) in PARTS {
        assert_eq!(table[part], known(section), "docs/agent-configuration.md, {part}");
    }
}

/// The keys that a section may have, by what the parser says to one that it may not have.
fn known(section: &str) -> BTreeSet<String> {
    let message =
        Config::parse(&format!("{section}no-such-key = 1\n"), Path::new("/")).expect_err("it is no key").to_string();
    let (_, list) = message.split_once("expected ").unwrap_or_else(|| panic!("{message}"));
    let quoted = list.lines().next().unwrap_or_default().split('`').skip(1).step_by(2);
    let keys: BTreeSet<String> = quoted.map(str::to_owned).collect();
    assert!(!keys.is_empty(), "{message}");
    keys
}

/// The keys in the first column, by heading.
fn table() -> BTreeMap<&'static str, BTreeSet<String>> {
    let mut parts: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
    let mut part = "";
    for line in include_str!("../../docs/agent-configuration.md").lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            part = heading;
        }
        if let Some((key, _)) = line.strip_prefix("| `").and_then(|rest| rest.split_once('`')) {
            assert!(parts.entry(part).or_default().insert(key.to_owned()), "{key} is there twice");
        }
    }
    parts
}
