//! The tables of what a failure can lose name tests that are there.

use std::fs;
use std::path::Path;

/// The documents with such a table, the heading of its column of tests, and where a name without a file is looked up.
const TABLES: &[(&str, &str, &str)] = &[
    ("README.md", "| Shown by |", ""),
    ("design/vault.md", "| Test |", ""),
    ("design/upload.md", "| Test |", "sim/tests/spool.rs"),
];

#[test]
fn every_test_that_a_loss_table_names_is_in_the_file_that_it_names() {
    let mut wrong = Vec::new();
    for (document, heading, default) in TABLES {
        let text = fs::read_to_string(tidy::root().join(document)).expect("the document is readable");
        let rows = rows_below(&text, heading);
        assert!(rows.len() > 3, "{document} has its table");
        for row in rows {
            wrong.extend(faults_of(row, default).into_iter().map(|fault| format!("{document}: {fault}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_name_that_is_in_no_test_or_in_another_file_is_found() {
    assert_eq!(
        faults_of(
            "| a | b | [`tidy/tests/loss.rs`](x), `every_test_that_a_loss_table_names_is_in_the_file_that_it_names` |",
            ""
        ),
        [""; 0]
    );
    for row in [
        "| a | b | `tidy/tests/loss.rs`, `no_such_test_is_there` |",
        "| a | b | `tidy/tests/words.rs`, `a_name_that_is_in_no_test_or_in_another_file_is_found` |",
        "| a | b | `tidy/tests/lost.rs` |",
        "| a | b | `a_name_without_a_file` |",
    ] {
        assert_eq!(faults_of(row, "").len(), 1, "{row}");
    }
}

/// The rows of the tables with this last column.
fn rows_below<'a>(text: &'a str, heading: &str) -> Vec<&'a str> {
    let tables = text.lines().skip_while(|line| !line.ends_with(heading));
    let rows = tables.skip(2).take_while(|line| line.starts_with('|'));
    rows.collect()
}

/// What is wrong with the last column of a row.
fn faults_of(row: &str, default: &str) -> Vec<String> {
    let cell = row.trim_end_matches('|').rsplit('|').next().unwrap_or_default();
    let mut faults = Vec::new();
    let mut file = default;
    for name in cell.split('`').skip(1).step_by(2) {
        if name.contains('/') {
            file = name;
            if !tidy::root().join(name).exists() {
                faults.push(format!("{name} does not exist"));
            }
        } else if is_test(name) && !has_test(file, name) {
            faults.push(format!("there is no test {name} in {file:?}"));
        }
    }
    faults
}

/// Tests are named by sentences; what else stands in a table, such as a command, is none.
fn is_test(name: &str) -> bool {
    name.contains('_') && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

fn has_test(file: &str, name: &str) -> bool {
    let text = fs::read_to_string(tidy::root().join(Path::new(file))).unwrap_or_default();
    text.contains(&format!("fn {name}("))
}
