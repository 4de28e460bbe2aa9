//! Which crate may know which: the arrows of ARCHITECTURE.md, held over `cargo metadata`.
//!
//! A new arrow is a design decision. It is made in ARCHITECTURE.md and in the table below, together.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, PackageId};

/// Every crate of the workspace and the crates of the workspace that it may build on.
const ARROWS: &[(&str, &[&str])] = &[
    ("fragment", &[]),
    ("upload", &["fragment"]),
    ("hls", &["fragment"]),
    ("pipelines", &["fragment"]),
    ("disk", &[]),
    ("vault", &["disk"]),
    ("archive", &["vault", "fragment"]),
    ("millrace", &["vault", "archive", "sigv4", "upload", "hls", "fragment", "pipelines"]),
    ("sigv4", &[]),
    ("spool", &["disk", "upload", "fragment"]),
    ("onvif", &[]),
    ("millrace-agent", &["pipelines", "onvif", "spool", "disk", "upload", "fragment"]),
    ("samples", &[]),
    ("services", &[]),
    ("tidy", &[]),
    ("sim", &["vault", "spool", "upload", "fragment", "disk"]),
    // These two stand outside the product and look at it from all sides.
    ("e2e", &["samples", "fragment", "upload", "hls"]),
    (
        "bench",
        &[
            "e2e",
            "samples",
            "disk",
            "fragment",
            "upload",
            "hls",
            "archive",
            "vault",
            "pipelines",
            "spool",
            "millrace-agent",
        ],
    ),
];

/// What tests alone may use, in every crate: the clips and the simulated camera, the services of others, a disk.
const FOR_TESTS: &[&str] = &["samples", "services", "disk"];

/// Crates that decide and do no I/O.
const PURE: &[&str] = &["fragment", "upload", "hls", "sigv4"];

/// A runtime, a socket, a clock or GStreamer: the beginnings of names that a pure crate must not reach.
const IMPURE: &[&str] = &[
    "async-io",
    "async-std",
    "axum",
    "chrono",
    "glib",
    "gstreamer",
    "hyper",
    "jiff",
    "mio",
    "polling",
    "quanta",
    "quinn",
    "reqwest",
    "smol",
    "socket2",
    "time",
    "tokio",
    "ureq",
    "web-time",
];

/// Crates that may name GStreamer. `samples` simulates the camera, which is no part of the product.
const KNOWS_GSTREAMER: &[&str] = &["pipelines", "samples", "bench"];

#[test]
fn crates_build_only_on_those_that_the_architecture_allows() {
    let metadata = metadata();
    let ours = names(&metadata);
    for package in metadata.workspace_packages() {
        let allowed = ARROWS
            .iter()
            .find(|(name, _)| *name == package.name.as_str())
            .unwrap_or_else(|| panic!("{} is new: give it a line in tidy/tests/arrows.rs", package.name))
            .1;
        for dependency in &package.dependencies {
            let name = dependency.name.as_str();
            if !ours.contains(name) {
                continue;
            }
            let for_tests = dependency.kind == DependencyKind::Development && FOR_TESTS.contains(&name);
            assert!(
                allowed.contains(&name) || for_tests,
                "{} must not build on {name}: ARCHITECTURE.md has no such arrow",
                package.name
            );
        }
    }
}

#[test]
fn pure_crates_reach_no_runtime_socket_clock_or_gstreamer() {
    let metadata = metadata();
    for pure in PURE {
        let package = metadata
            .workspace_packages()
            .into_iter()
            .find(|package| package.name.as_str() == *pure)
            .unwrap_or_else(|| panic!("the workspace has no {pure}"));
        for (name, path) in closure(&metadata, package) {
            let impure = IMPURE
                .iter()
                .any(|begin| name.strip_prefix(begin).is_some_and(|rest| rest.is_empty() || rest.starts_with('-')));
            assert!(!impure, "{pure} is pure but reaches {name}: {path}");
        }
    }
}

#[test]
fn only_pipelines_and_the_samples_build_on_gstreamer() {
    for package in metadata().workspace_packages() {
        let knows = package.dependencies.iter().any(|d| d.name.starts_with("gstreamer"));
        assert!(
            !knows || KNOWS_GSTREAMER.contains(&package.name.as_str()),
            "{} must not know GStreamer: that is the job of pipelines",
            package.name
        );
    }
}

#[test]
fn versions_of_dependencies_stand_in_one_place() {
    for file in tidy::files().into_iter().filter(|file| file.path.ends_with("/Cargo.toml")) {
        // fuzz/ is a workspace of its own and cannot inherit.
        if file.path.starts_with("fuzz/") {
            continue;
        }
        let manifest: toml::Table = file.text().unwrap_or_default().parse().expect("cargo has read this manifest");
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let Some(dependencies) = manifest.get(section).and_then(toml::Value::as_table) else {
                continue;
            };
            for (name, value) in dependencies {
                let inherited = value.get("workspace").and_then(toml::Value::as_bool) == Some(true);
                assert!(inherited, "{}: {name} belongs in [workspace.dependencies] of the root", file.path);
            }
        }
    }
}

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(tidy::root().join("Cargo.toml"))
        .other_options(vec!["--locked".to_owned()])
        .exec()
        .expect("cargo metadata reads the workspace, and Cargo.lock is up to date")
}

fn names(metadata: &Metadata) -> BTreeSet<String> {
    metadata.workspace_packages().iter().map(|package| package.name.to_string()).collect()
}

/// Everything that `package` builds on outside tests, by name, with one way that leads there.
fn closure(metadata: &Metadata, package: &Package) -> BTreeMap<String, String> {
    let resolve = metadata.resolve.as_ref().expect("cargo metadata resolves unless told not to");
    let mut seen: BTreeSet<&PackageId> = BTreeSet::new();
    let mut open = vec![(&package.id, package.name.to_string())];
    let mut found = BTreeMap::new();
    while let Some((id, path)) = open.pop() {
        if !seen.insert(id) {
            continue;
        }
        found.insert(metadata[id].name.to_string(), path.clone());
        let Some(node) = resolve.nodes.iter().find(|node| node.id == *id) else {
            continue;
        };
        for dependency in &node.deps {
            let normal = dependency.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal);
            if normal {
                open.push((&dependency.pkg, format!("{path} → {}", metadata[&dependency.pkg].name)));
            }
        }
    }
    found
}
