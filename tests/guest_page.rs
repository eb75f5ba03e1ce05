//! The page of promises names tests that there are.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

/// The text of all files below a directory that are written in a language of the tests.
fn sources(directory: &Path, text: &mut String) {
    for entry in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            sources(&entry, text);
        } else if entry.extension().is_some_and(|kind| ["rs", "go", "py", "c"].iter().any(|known| kind == *known)) {
            text.push_str(&fs::read_to_string(&entry).unwrap());
        }
    }
}

/// What is between backticks in a table's cells, the first one, which is the promise, aside.
fn tests_of(row: &str) -> impl Iterator<Item = &str> {
    row.split('|').skip(2).flat_map(|cell| cell.split('`').skip(1).step_by(2))
}

#[test]
fn every_test_that_the_page_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut text = String::new();
    for directory in ["src", "tests", "bindings"] {
        sources(&root.join(directory), &mut text);
    }
    let page = fs::read_to_string(root.join("docs/guest.md")).unwrap();
    let is_there = |name: &str| {
        text.match_indices(name).any(|(at, _)| {
            let ends = |neighbour: Option<char>| !neighbour.is_some_and(|next| next.is_alphanumeric() || next == '_');
            ends(text[..at].chars().next_back()) && ends(text[at + name.len()..].chars().next())
        })
    };
    let missing: Vec<_> =
        page.lines().filter(|line| line.starts_with('|')).flat_map(tests_of).filter(|name| !is_there(name)).collect();
    assert_eq!(missing, [""; 0]);
}
