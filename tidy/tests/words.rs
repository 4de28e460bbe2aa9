//! Words and names that do not belong in the repository, and code that nothing reaches.

use std::path::Path;

/// Names that say nothing. A thing shared by two crates has a name of its own.
const EMPTY_NAMES: &[&str] = &["common", "defs", "helper", "helpers", "misc", "shared", "types", "util", "utils"];

/// quinn is named in one place at each end, so that the transport can be understood, and replaced, there.
const NAMES_QUINN: &[&str] = &["agent/src/uplink/", "server/src/ingest.rs"];

#[test]
fn no_file_or_folder_has_a_name_that_says_nothing() {
    for file in tidy::files() {
        for part in Path::new(&file.path).components() {
            let part = part.as_os_str().to_string_lossy();
            let stem = part.split('.').next().unwrap_or_default();
            assert!(!EMPTY_NAMES.contains(&stem), "{}: {stem:?} says nothing about what it holds", file.path);
        }
    }
}

#[test]
fn nothing_unfinished_is_committed() {
    // Put together here, so that this file does not find itself.
    let words =
        [["todo", "!("].concat(), ["unimplemented", "!("].concat(), ["FIX", "ME"].concat(), ["XX", "X:"].concat()];
    for (file, text) in rust_files() {
        for word in &words {
            assert!(!text.contains(word.as_str()), "{}: {word}", file.path);
        }
    }
}

#[test]
fn quinn_is_named_in_one_place_at_each_end() {
    for (file, text) in rust_files() {
        // Tests and measurements may speak QUIC to the product from outside.
        let outside = ["bench/", "e2e/", "tidy/"].iter().chain(NAMES_QUINN);
        if outside.into_iter().any(|place| file.path.starts_with(place)) || file.path.contains("/tests/") {
            continue;
        }
        let named = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .any(|line| line.contains("quinn::") || line.contains("use quinn"));
        assert!(!named, "{}: quinn belongs in {NAMES_QUINN:?} only", file.path);
    }
}

#[test]
fn aws_is_named_in_one_place_of_the_agent() {
    for (file, text) in rust_files().into_iter().filter(|(file, _)| file.path.starts_with("agent/")) {
        if file.path == "agent/src/aws.rs" || file.path.starts_with("agent/src/aws/") {
            continue;
        }
        for name in ["aws_config::", "aws_sdk_kinesisvideo::", "aws_sigv4::"] {
            assert!(!text.contains(name), "{}: {name} belongs in agent/src/aws only", file.path);
        }
    }
}

#[test]
fn exceptions_from_lints_are_expectations_with_a_reason() {
    for (file, text) in rust_files() {
        let allow = ["#[", "allow("].concat();
        let inner = ["#![", "allow("].concat();
        assert!(
            !text.contains(&allow) && !text.contains(&inner),
            "{}: write #[expect(lint, reason = \"...\")] instead of allow",
            file.path
        );
    }
}

#[test]
fn every_source_file_is_reached_from_its_crate() {
    let files: Vec<_> = rust_files();
    for (file, _) in files.iter().filter(|(file, _)| file.path.contains("/src/")) {
        let path = Path::new(&file.path);
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let folder = path.parent().expect("a source file lies in a folder");
        if matches!(stem.as_str(), "lib" | "main") || folder.ends_with("bin") {
            continue;
        }
        // `mod x;` for x.rs stands in lib.rs, main.rs or mod.rs of the folder, or in the file named
        // as the folder; for x/mod.rs, one folder higher.
        let (module, above) = match stem.as_str() {
            "mod" => (
                folder.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                folder.parent().expect("a module's folder lies below src"),
            ),
            _ => (stem, folder),
        };
        let parents = ["lib.rs", "main.rs", "mod.rs"].map(|name| above.join(name)).into_iter();
        let declared = parents.chain([above.with_extension("rs")]).any(|parent| {
            files.iter().any(|(other, text)| {
                Path::new(&other.path) == parent && text.lines().any(|line| declares(line, &module))
            })
        });
        let by_path = files.iter().any(|(_, text)| {
            text.contains(&format!("#[path = \"{}\"]", path.file_name().unwrap_or_default().to_string_lossy()))
        });
        assert!(declared || by_path, "{}: no `mod {module};` reaches this file", file.path);
    }
}

fn declares(line: &str, module: &str) -> bool {
    line.trim_end().ends_with(&format!("mod {module};"))
}

fn rust_files() -> Vec<(tidy::File, String)> {
    let rust = tidy::files().into_iter().filter(|file| file.has_extension("rs"));
    rust.filter_map(|file| file.text().map(|text| (file, text))).collect()
}
