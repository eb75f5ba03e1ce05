//! The README's examples are the files that the bindings' own tests run.
//!
//! After a change of an example `CNIRT_BLESS=1 cargo test --test readme` writes the README anew.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::path::Path;

const MARK: &str = "<!-- bindings/";

/// The README with every example taken from the file that is named above it; how many those are.
fn with_examples(root: &Path, readme: &str) -> (String, usize) {
    let mut parts = readme.split(MARK);
    let mut text = parts.next().unwrap().to_owned();
    let mut examples = 0;
    for part in parts {
        let (name, rest) = part.split_once(" -->\n```").expect("a fence below the name of an example");
        let (language, rest) = rest.split_once('\n').unwrap();
        let (_shown, rest) = rest.split_once("```").expect("the end of a fence");
        let file = std::fs::read_to_string(root.join("bindings").join(name)).unwrap();
        text.extend([MARK, name, " -->\n```", language, "\n", &file, "```", rest]);
        examples += 1;
    }
    (text, examples)
}

#[test]
fn every_example_is_the_file_that_is_named_above_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = root.join("README.md");
    let readme = std::fs::read_to_string(&path).unwrap();
    let (expected, examples) = with_examples(root, &readme);
    if std::env::var_os("CNIRT_BLESS").is_some() {
        std::fs::write(&path, &expected).unwrap();
    } else {
        assert!(readme == expected, "README.md does not show the examples as they are");
    }
    assert_eq!(examples, 3);
}
