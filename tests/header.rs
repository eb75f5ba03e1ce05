//! The header is what the sources say, is documented to the last item, and compiles as C99 and C++11.
#![cfg(feature = "capi")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// In the order in which the header shows them.
const SOURCES: [&str; 9] = ["library", "rc", "plugin", "runtime", "op", "conf", "callbacks", "json", "netns"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn generated() -> String {
    let config = cbindgen::Config::from_file(root().join("cbindgen.toml")).unwrap();
    let mut builder = cbindgen::Builder::new().with_config(config);
    for source in SOURCES {
        builder = builder.with_src(root().join(format!("src/capi/{source}.rs")));
    }
    let mut text = Vec::new();
    builder.generate().unwrap().write(&mut text);
    String::from_utf8(text).unwrap()
}

#[test]
fn the_header_is_what_the_sources_say() {
    let path = root().join("include/cnirt.h");
    let generated = generated();
    if std::env::var_os("CNIRT_BLESS").is_some() {
        fs::write(&path, &generated).unwrap();
    }
    let checked_in = fs::read_to_string(&path).unwrap_or_default();
    assert!(generated == checked_in, "include/cnirt.h is old: CNIRT_BLESS=1 cargo test --test header writes it");
}

/// The comment and the declaration of every function.
fn functions(header: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (at, _) in header.match_indices("/**\n") {
        let (comment, rest) = header[at..].split_once("*/\n").unwrap();
        let declaration = rest.split_inclusive(';').next().unwrap();
        if declaration.contains("cni_")
            && declaration.contains('(')
            && !declaration.contains("(*")
            && !declaration.contains('{')
        {
            found.push((comment.to_owned(), declaration.split_whitespace().collect::<Vec<_>>().join(" ")));
        }
    }
    found
}

/// The members of the callback struct are declarations of functions, too.
fn callback_members(header: &str) -> usize {
    header.lines().filter(|line| line.contains("(*") && !line.trim_start().starts_with('*')).count()
}

#[test]
fn every_function_says_all_that_a_caller_asks() {
    let header = fs::read_to_string(root().join("include/cnirt.h")).unwrap();
    let functions = functions(&header);
    let declarations: String = header.lines().filter(|line| !line.starts_with(" *")).collect();
    assert_eq!(
        functions.len(),
        declarations.matches(");").count() - callback_members(&header),
        "a function has no comment"
    );
    for (comment, declaration) in &functions {
        for heading in ["Ownership: ", "NULL: ", "Threads: ", "Errors: ", "Since: 0."] {
            assert!(comment.contains(heading), "{declaration} does not say {heading:?}");
        }
        let looked_at = declaration.contains("CNIRT_MUST_USE");
        assert!(looked_at || declaration.starts_with("void "), "{declaration} may be ignored");
    }
    assert!(header.matches("Since: 0.1.0").count() >= functions.len() + 7, "a type or macro does not say its release");
    for markup in ["[`", "`", "::", "# Safety", "&str", "Option<"] {
        assert!(!header.contains(markup), "the header has {markup:?}");
    }
}

#[test]
fn both_languages_compile_it_without_a_warning() {
    let directory = tempfile::tempdir().unwrap();
    let program = root().join("tests/capi/every_function.c");
    for (compiler, language, standard) in
        [("gcc", "c", "c99"), ("g++", "c++", "c++11"), ("gcc", "c", "c11"), ("g++", "c++", "c++17")]
    {
        let object = directory.path().join(format!("{standard}.o"));
        let output = Command::new(compiler)
            .args([
                "-x",
                language,
                &format!("-std={standard}"),
                "-pedantic",
                "-Wall",
                "-Wextra",
                "-Werror",
                "-Wconversion",
                "-c",
            ])
            .arg(format!("-I{}", root().join("include").display()))
            .arg(&program)
            .arg("-o")
            .arg(&object)
            .output()
            .unwrap();
        assert!(output.status.success(), "{compiler} -std={standard}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(undefined(&object), names(), "every_function.c calls every function once");
    }
}

#[test]
fn an_answer_that_is_ignored_is_warned_of() {
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("ignore.c");
    fs::write(&source, "#include <cnirt.h>\nvoid f(void); void f(void) { cni_json_get(\"1\", \"\", NULL); }\n")
        .unwrap();
    let output = Command::new("gcc")
        .args(["-c", "-Werror=unused-result", "-o"])
        .arg(directory.path().join("ignore.o"))
        .arg(format!("-I{}", root().join("include").display()))
        .arg(&source)
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && words.contains("unused-result"), "{words}");
}

fn names() -> Vec<String> {
    let header = fs::read_to_string(root().join("include/cnirt.h")).unwrap();
    let mut names: Vec<_> = functions(&header)
        .into_iter()
        .map(|(_, declaration)| {
            let name = declaration.split('(').next().unwrap();
            name.rsplit([' ', '*']).next().unwrap().to_owned()
        })
        .collect();
    names.sort();
    names
}

/// The symbols that an object file wants from elsewhere and that are ours.
fn undefined(object: &Path) -> Vec<String> {
    let output = Command::new("nm").arg("--undefined-only").arg(object).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let words = text.split_whitespace().filter(|word| word.starts_with("cni_"));
    let mut names: Vec<_> = words.map(ToOwned::to_owned).collect();
    names.sort();
    names
}
