//! Documents stay true: links lead somewhere, and no file depends on one person's machine.

use std::path::{Component, Path, PathBuf};

#[test]
fn links_in_documents_resolve() {
    let root = tidy::root();
    let mut broken = Vec::new();
    for file in tidy::files().into_iter().filter(|file| file.has_extension("md")) {
        let text = file.text().unwrap_or_else(|| panic!("{} is not UTF-8", file.path));
        for link in links(&text) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (target, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let folder = Path::new(&file.path).parent().unwrap_or(Path::new(""));
            let target = if target.is_empty() { PathBuf::from(&file.path) } else { normal(&folder.join(target)) };
            let absolute = root.join(&target);
            if !absolute.exists() {
                broken.push(format!("{}: {link} leads nowhere", file.path));
            } else if !anchor.is_empty() && absolute.extension().is_some_and(|e| e == "md") {
                let other = std::fs::read_to_string(&absolute).expect("a document is readable");
                if !headings(&other).contains(&anchor.to_owned()) {
                    broken.push(format!("{}: {link}: no such heading", file.path));
                }
            }
        }
    }
    assert!(broken.is_empty(), "broken links:\n{}", broken.join("\n"));
}

#[test]
fn no_file_names_a_path_of_one_machine() {
    let mut words = vec![["/ro", "ot/"].concat(), ["/Us", "ers/"].concat(), ["/ho", "me/"].concat()];
    let here = tidy::root();
    // A checkout directly below the root, such as /app, is too short a word to search for.
    if here.components().count() > 2 {
        words.push(here.to_string_lossy().into_owned());
    }
    for file in tidy::files() {
        let Some(text) = file.text() else { continue };
        for word in &words {
            assert!(!text.contains(word.as_str()), "{} names {word}, which only one machine has", file.path);
        }
    }
}

#[test]
fn the_lock_of_the_browser_tests_names_no_registry() {
    let lock = std::fs::read_to_string(tidy::root().join("e2e/browser/package-lock.json")).expect("the lock is there");
    assert!(!lock.contains("\"resolved\""), "strip `resolved`: npm then uses the reader's own registry");
    assert!(lock.contains("\"integrity\""), "the lock must still say what was meant");
}

/// The targets of `[text](target)` outside code.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in outside_code(text) {
        let mut rest = line.as_str();
        while let Some(at) = rest.find("](") {
            rest = &rest[at + 2..];
            let Some(end) = rest.find(')') else { break };
            let target = rest[..end].split_whitespace().next().unwrap_or_default();
            found.push(target.trim_matches(['<', '>']).to_owned());
            rest = &rest[end..];
        }
    }
    found
}

/// The anchors that GitHub gives to headings.
fn headings(text: &str) -> Vec<String> {
    let heading = outside_code(text).into_iter().filter(|line| line.starts_with('#'));
    heading
        .map(|line| {
            let words = line.trim_start_matches('#').trim().to_lowercase();
            let kept = words.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

/// The lines outside fenced blocks, with `code` spans taken out.
fn outside_code(text: &str) -> Vec<String> {
    let mut fenced = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced && line.starts_with('#') {
            lines.push(line.to_owned());
        } else if !fenced {
            lines.push(line.split('`').step_by(2).collect::<Vec<_>>().join(" "));
        }
    }
    lines
}

/// `a/../b` as `b`, without asking the disk.
fn normal(path: &Path) -> PathBuf {
    let mut parts = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                parts.pop();
            }
            Component::CurDir => {}
            other => parts.push(other),
        }
    }
    parts
}
