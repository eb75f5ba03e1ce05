//! The README's examples are the files that the bindings' own tests run.

use std::path::Path;

#[test]
fn every_example_is_the_file_that_is_named_above_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let mut examples = 0;
    let mut parts = readme.split("<!-- bindings/");
    parts.next();
    for part in parts {
        let (name, rest) = part.split_once(" -->\n```").unwrap();
        let (_language, rest) = rest.split_once('\n').unwrap();
        let shown = rest.split("```").next().unwrap();
        let file = std::fs::read_to_string(root.join("bindings").join(name)).unwrap();
        assert!(shown == file, "README.md does not show bindings/{name} as it is");
        examples += 1;
    }
    assert_eq!(examples, 3);
}
