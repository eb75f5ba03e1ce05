//! One process that sets up and tears down pods without end stays as it was after the first thousand: memory,
//! descriptors, threads, mappings.
//!
//! `CNIRT_SOAK` says how many (2 000), and `CNIRT_SOAK_CSV` where the samples are kept; `scripts/soak` sets both.
#![cfg(feature = "capi")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "capi/mod.rs"]
mod common;

use std::fs::File;
use std::path::PathBuf;
use std::process::Command;

const NETWORK: &str = r#"{"cniVersion": "1.1.0", "name": "net", "plugins": [{"type": "fake"}]}"#;
/// Until then caches fill, the allocator's too.
const WARM: u64 = 1_000;
/// The most that memory may differ by: the allocator gives pages back and takes them again. 100 000 pods that leave
/// three bytes each are more.
const SLACK_KIB: u64 = 256;

#[derive(Debug)]
struct Sample {
    calls: u64,
    resident_kib: u64,
    /// Descriptors, threads, mappings.
    counts: [u64; 3],
}

fn samples(csv: &str) -> Vec<Sample> {
    let lines = csv.lines().skip(1);
    let sample = |line: &str| {
        let fields: Vec<u64> = line.split(',').take(5).map(|field| field.parse().unwrap()).collect();
        let [calls, resident_kib, ref counts @ ..] = fields[..] else { panic!("{line}") };
        Sample { calls, resident_kib, counts: counts.try_into().unwrap() }
    };
    lines.map(sample).collect()
}

/// What has grown since the host was warm, judged by the samples of the last tenth: all of them have more, and so it is
/// no matter of the moment.
fn grown(samples: &[Sample]) -> Vec<String> {
    let warm = samples.iter().find(|sample| sample.calls >= WARM).unwrap();
    let end = &samples[samples.len() - samples.len() / 10..];
    assert!(!end.is_empty() && end[0].calls > warm.calls, "too few samples");
    let least = |of: &dyn Fn(&Sample) -> u64| end.iter().map(of).min().unwrap();
    let mut grown = Vec::new();
    for (index, name) in ["descriptors", "threads", "mappings"].into_iter().enumerate() {
        let (before, after) = (warm.counts[index], least(&|sample| sample.counts[index]));
        if after > before {
            grown.push(format!("{name}: {before}, then {after}"));
        }
    }
    let (before, after) = (warm.resident_kib, least(&|sample| sample.resident_kib));
    if after > before + SLACK_KIB {
        grown.push(format!("KiB of memory: {before}, then {after}"));
    }
    grown
}

#[test]
fn nothing_grows_in_a_host_that_goes_on() {
    let calls = std::env::var("CNIRT_SOAK").unwrap_or_else(|_| "2000".to_owned());
    // In memory, where the system has such a directory: the disk is not what is asked about.
    let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let place = |name: &str| directory.path().join(name);
    let host = common::compile("../soak/host.c", directory.path());
    for name in ["conf", "bin", "claims"] {
        std::fs::create_dir(place(name)).unwrap();
    }
    std::fs::write(place("conf/net.conflist"), NETWORK).unwrap();
    let plugin = common::root().join("tests/sweep/plugin.c");
    common::run(Command::new("gcc").args(["-O1", "-static", "-o"]).arg(place("bin/fake")).arg(plugin));

    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    // Into a file at once: who watches a long run sees how far it is.
    let csv = std::env::var_os("CNIRT_SOAK_CSV").map_or_else(|| place("samples.csv"), PathBuf::from);
    let command = command.args(["--net", "--mount"]).arg(host).arg(directory.path()).arg(calls);
    assert!(command.stdout(File::create(&csv).unwrap()).status().unwrap().success());
    let samples = samples(&std::fs::read_to_string(csv).unwrap());
    assert_eq!(grown(&samples), Vec::<String>::new(), "{:?}", samples.last());
    let left = |name: &str| std::fs::read_dir(place(name)).map_or(0, Iterator::count);
    assert_eq!(["claims", "cache/results", "cache/cnirt/intents"].map(left), [0; 3]);
    assert!(left("cache/cnirt/holders") < 10, "notes of locks that nobody holds");
}

#[test]
fn growth_is_seen() {
    let flat = || (0..40).map(|at| Sample { calls: at * 50, resident_kib: 9_000 + at % 3, counts: [9, 1, 40] });
    let with = |change: fn(&mut Sample)| {
        let mut samples: Vec<_> = flat().collect();
        samples.iter_mut().filter(|sample| sample.calls > WARM).for_each(change);
        grown(&samples).join("; ")
    };
    for (words, change) in [
        ("", (|_| {}) as fn(&mut Sample)),
        ("descriptors: 9, then 10", |sample| sample.counts[0] += 1),
        ("threads: 1, then 2", |sample| sample.counts[1] += 1),
        ("mappings: 40, then 41", |sample| sample.counts[2] += 1),
        ("KiB of memory: 9002, then 9300", |sample| sample.resident_kib = 9_300),
    ] {
        assert_eq!(with(change), words);
    }
}
