//! The packages agree with the repository, as far as can be told without building them.

use std::path::Path;
use std::process::Command;

const PACKAGES: [&str; 2] = ["millrace-agent", "millrace"];

#[test]
fn packages_have_the_version_of_the_workspace() {
    let manifest: toml::Table = text("Cargo.toml").parse().expect("cargo has read this manifest");
    let version = manifest["workspace"]["package"]["version"].as_str().expect("the workspace has a version").to_owned();
    let changelog = text("packaging/debian/changelog");
    assert!(changelog.starts_with(&format!("millrace ({version})")), "packaging/debian/changelog lacks {version}");
    let page = text("docs/raspberry-pi.md");
    let named: Vec<_> = page.split_whitespace().filter(|word| word.contains(".deb")).collect();
    assert!(!named.is_empty() && named.iter().all(|word| word.contains(&format!("_{version}_"))), "{named:?}");
}

#[test]
fn everything_that_a_package_lists_is_there_and_is_put_on_the_stage() {
    let wrap = text("packaging/wrap.sh");
    for package in PACKAGES {
        for list in ["install", "manpages", "docs"] {
            let path = format!("packaging/debian/{package}.{list}");
            if !tidy::root().join(&path).exists() {
                continue;
            }
            for line in text(&path).lines() {
                let file = line.split_whitespace().next().unwrap_or_default();
                let (folder, staged) = match (list, file.strip_prefix("bin/")) {
                    (_, Some(binary)) => {
                        assert!(PACKAGES.contains(&binary), "{path}: no binary is called {binary}");
                        continue;
                    }
                    ("docs", None) => ("docs", file),
                    ("manpages", None) => ("packaging", "*.1"),
                    (_, None) => ("packaging", file),
                };
                assert!(tidy::root().join(folder).join(file).is_file(), "{path}: there is no {folder}/{file}");
                assert!(wrap.contains(&format!("/{staged}")), "packaging/wrap.sh does not copy {file}");
            }
        }
    }
}

#[test]
fn a_unit_its_user_and_its_folder_have_one_name() {
    for package in PACKAGES {
        let unit = text(&format!("packaging/debian/{package}.service"));
        for line in [format!("User={package}"), format!("StateDirectory={package}")] {
            assert!(unit.lines().any(|found| found == line), "{package}.service lacks {line}");
        }
        assert!(unit.contains(&format!("ExecStart=/usr/bin/{package} ")));
        assert!(text(&format!("packaging/debian/{package}.sysusers")).contains(&format!("\nu {package} ")));
        assert!(
            text(&format!("packaging/debian/{package}.tmpfiles"))
                .contains(&format!("\nd /var/lib/{package} 0700 {package} {package}"))
        );
    }
}

#[test]
fn systemd_understands_the_units() {
    for package in PACKAGES {
        let folder = tempfile::tempdir().expect("a temporary folder");
        // The binary and its manual are not installed here.
        let unit = text(&format!("packaging/debian/{package}.service"));
        let unit = unit.replace(&format!("/usr/bin/{package} "), "/bin/sh ");
        let path = folder.path().join(format!("{package}.service"));
        std::fs::write(&path, unit).expect("a file can be written");
        if let Some(said) = complaints(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&path)) {
            // Units of this machine that ours are ordered by may have faults of their own.
            let ours: Vec<_> = said.lines().filter(|line| line.contains(package)).collect();
            assert!(ours.is_empty(), "{ours:#?}");
        }
    }
}

#[test]
fn scripts_of_the_packages_are_sound() {
    let scripts = tidy::files().into_iter().filter(|file| {
        let below = file.path.strip_prefix("packaging/");
        below.is_some_and(|name| name.ends_with(".sh") || name.ends_with(".postinst") || name.ends_with(".postrm"))
    });
    let mut seen = 0;
    for script in scripts {
        seen += 1;
        let shell = if script.text().unwrap_or_default().contains("bash") { "bash" } else { "sh" };
        let said = complaints(Command::new(shell).arg("-n").arg(&script.absolute)).expect("there is a shell");
        assert_eq!(said, "", "{}", script.path);
        let mut shellcheck = Command::new("shellcheck");
        let shellcheck = shellcheck.args(["--external-sources", "--format=gcc"]).arg(&script.path);
        if let Some(said) = complaints(shellcheck.current_dir(tidy::root())) {
            assert_eq!(said, "", "{}", script.path);
        }
    }
    assert!(seen >= 4, "the scripts have moved");
}

/// What a tool prints, or `None` where it is not installed.
fn complaints(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() || !said.is_empty(), "{command:?}: {}", output.status);
    Some(said)
}

fn text(path: &str) -> String {
    std::fs::read_to_string(tidy::root().join(Path::new(path))).unwrap_or_else(|error| panic!("{path}: {error}"))
}
