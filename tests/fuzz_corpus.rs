//! The fuzz targets without libFuzzer: every file of their corpus, and seeded mutations of it, the same on every run.

#![allow(clippy::expect_used, reason = "a test's helpers are no test functions for clippy")]

use std::fs;
use std::path::Path;

#[path = "../fuzz/targets.rs"]
mod targets;

/// Per target; `scripts/fuzz` tries far more.
const MUTATIONS: usize = 3000;

/// What a mutation puts in: JSON's own words, and what the readers look for.
const WORDS: [&str; 24] = [
    "{}",
    "[]",
    "null",
    "true",
    "\"\"",
    "\"true\"",
    ",",
    ":",
    "\"",
    "{",
    "]",
    "0",
    "-1",
    "1e400",
    "18446744073709551616",
    "\\u0000",
    "\"name\":",
    "\"plugins\":",
    "\"cniVersion\":",
    "\"1.1.0\"",
    "\"0.2.0\"",
    "\"address\":",
    "\"::1/128\"",
    "\u{ff}",
];

#[test]
fn configuration() {
    replay("configuration");
}

#[test]
fn result_conversion() {
    replay("result_conversion");
}

#[test]
fn cache_entry() {
    replay("cache_entry");
}

#[test]
fn pod_request() {
    replay("pod_request");
}

#[test]
fn plugin_output() {
    replay("plugin_output");
}

fn replay(name: &str) {
    let (_, run) = targets::ALL.into_iter().find(|(target, _)| *target == name).expect("a target of this name");
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut paths: Vec<_> = fs::read_dir(dir).expect("a corpus").map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    let corpus: Vec<_> = paths.iter().map(|path| fs::read(path).expect("a file")).collect();
    assert!(!corpus.is_empty());
    let run = |what: &dyn Fn() -> String, bytes: &[u8]| {
        let outcome = std::panic::catch_unwind(|| run(bytes));
        assert!(outcome.is_ok(), "{}: {:?}", what(), String::from_utf8_lossy(bytes));
    };
    for (path, bytes) in paths.iter().zip(&corpus) {
        run(&|| path.display().to_string(), bytes);
    }
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for number in 0..MUTATIONS {
        let mut bytes = corpus[random.below(corpus.len())].clone();
        for _ in 0..=random.below(4) {
            let other = &corpus[random.below(corpus.len())];
            mutate(&mut random, &mut bytes, other);
        }
        run(&|| format!("mutation {number}"), &bytes);
    }
}

fn mutate(random: &mut Random, bytes: &mut Vec<u8>, other: &[u8]) {
    let at = random.below(bytes.len() + 1);
    let to = (at + random.below(16)).min(bytes.len());
    match random.below(5) {
        0 => drop(bytes.drain(at..to)),
        1 => bytes.insert(at, u8::try_from(random.below(256)).unwrap_or_default()),
        2 => drop(bytes.splice(at..to, WORDS[random.below(WORDS.len())].bytes())),
        3 => {
            let again = bytes[at..to].to_vec();
            drop(bytes.splice(at..at, again));
        }
        _ => {
            let from = random.below(other.len() + 1);
            let until = (from + random.below(64)).min(other.len());
            drop(bytes.splice(at..to, other[from..until].iter().copied()));
        }
    }
}

/// xorshift64: the same mutations on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap_or_default() % limit
    }
}
