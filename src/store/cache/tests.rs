use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::Command;

use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::names::{IfName, NetworkName};
use crate::testing;

pub(super) fn key(network: &str, container_id: &str, if_name: &str) -> Key {
    Key {
        network: NetworkName::parse(network).unwrap(),
        container_id: ContainerId::parse(container_id).unwrap(),
        if_name: IfName::parse(if_name).unwrap(),
    }
}

pub(super) fn sample() -> CacheEntry {
    CacheEntry {
        key: key("net", "c1", "eth0"),
        config: b"{\"name\":\"net\"} \xff".to_vec(),
        netns: "/run/netns/x".to_owned(),
        netns_id: None,
        cni_args: Some(vec![("IgnoreUnknown".into(), "1".into()), ("K8S_POD_NAME".into(), "a<b".into())]),
        capability_args: json!({"portMappings": [{"hostPort": 12_345_678_901_234_567_890_u64}]})
            .as_object()
            .unwrap()
            .clone(),
        result: Some(serde_json::from_str(r#"{"cniVersion":"1.0.0","x":1.50}"#).unwrap()),
        owner: Some("cri".into()),
    }
}

pub(super) fn minimal() -> CacheEntry {
    CacheEntry {
        key: key("net", "c1", "eth0"),
        config: Vec::new(),
        netns: String::new(),
        netns_id: None,
        cni_args: None,
        capability_args: Map::new(),
        result: None,
        owner: None,
    }
}

/// A cache whose `results/` is there.
pub(super) fn cache() -> (TempDir, Cache, PathBuf) {
    let temp = tempfile::tempdir().unwrap();
    let results = temp.path().join("results");
    std::fs::create_dir(&results).unwrap();
    let cache = Cache::new(temp.path(), Durability::Full);
    (temp, cache, results)
}

pub(super) fn unreadable(cached: Cached) -> Error {
    match cached {
        Cached::Unreadable(error) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_entry_is_written_in_libcnis_format() {
    let mut full = json!({
        "kind": "cniCacheV1", "networkName": "net", "containerId": "c1", "ifName": "eth0", "owner": "cri",
        "config": "eyJuYW1lIjoibmV0In0g/w==", "netns": "/run/netns/x",
        "cniArgs": [["IgnoreUnknown", "1"], ["K8S_POD_NAME", "a<b"]],
        "capabilityArgs": {"portMappings": [{"hostPort": 12_345_678_901_234_567_890_u64}]},
    });
    full["result"] = serde_json::from_str(r#"{"cniVersion":"1.0.0","x":1.50}"#).unwrap();
    let small = json!({
        "kind": "cniCacheV1", "networkName": "net", "containerId": "c1", "ifName": "eth0", "config": "",
    });
    let empty = CacheEntry { cni_args: Some(vec![]), result: Some(json!({})), ..minimal() };
    for (what, durability, entry, expected, read) in [
        ("everything, numbers untouched", Durability::Full, sample(), &full, sample()),
        ("nothing", Durability::Atomic, minimal(), &small, minimal()),
        ("empty is left out", Durability::Full, empty, &small, minimal()),
        (
            "null is no result",
            Durability::Full,
            CacheEntry { result: Some(Value::Null), ..minimal() },
            &small,
            minimal(),
        ),
    ] {
        let temp = tempfile::tempdir().unwrap();
        let cache = Cache::new(temp.path().join("made"), durability);
        cache.add(&entry).unwrap();
        let file = temp.path().join("made/results/net-c1-eth0");
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(&serde_json::from_str::<Value>(&text).unwrap(), expected, "{what}");
        assert_eq!(file.metadata().unwrap().mode() & 0o7777, 0o600, "{what}");
        assert_eq!(std::fs::read_dir(temp.path().join("made/cnirt")).unwrap().count(), 0, "{what}");
        assert!(matches!(cache.get(&entry.key), Cached::Entry(entry) if *entry == read), "{what}");
    }
}

#[test]
fn what_libcni_writes_is_read() {
    // By libcni 1.3.1's AddNetworkList.
    const TEXT: &str = concat!(
        r#"{"kind":"cniCacheV1","containerId":"c1","config":"eyJuYW1lIjoibmV0In0=","ifName":"eth0","#,
        r#""networkName":"net","netns":"/run/netns/x","cniArgs":[["IgnoreUnknown","1"],["A","\u003cb\u003e\u0026"]],"#,
        r#""capabilityArgs":{"portMappings":[{"hostPort":80}]},"#,
        r#""result":{"cniVersion":"1.0.0","ips":[{"address":"10.1.2.3/24"}]}}"#
    );
    let (_temp, cache, results) = cache();
    std::fs::write(results.join("net-c1-eth0"), TEXT).unwrap();
    let expected = CacheEntry {
        key: key("net", "c1", "eth0"),
        config: b"{\"name\":\"net\"}".to_vec(),
        netns: "/run/netns/x".to_owned(),
        netns_id: None,
        cni_args: Some(vec![("IgnoreUnknown".into(), "1".into()), ("A".into(), "<b>&".into())]),
        capability_args: json!({"portMappings": [{"hostPort": 80}]}).as_object().unwrap().clone(),
        result: Some(json!({"cniVersion": "1.0.0", "ips": [{"address": "10.1.2.3/24"}]})),
        owner: None,
    };
    assert!(matches!(cache.get(&expected.key), Cached::Entry(entry) if *entry == expected));
    assert_eq!(cache.attachments(Some(&expected.key.container_id)).unwrap(), [expected]);
}

#[test]
fn what_other_versions_and_hands_wrote_is_read_leniently() {
    let entry = |text: &str| (text.to_owned(), true);
    let legacy = |text: &str| (text.to_owned(), false);
    for (what, (text, is_entry)) in [
        ("a nil config of Go", entry(r#"{"kind":"cniCacheV1","config":null}"#)),
        (
            "null for everything",
            entry(r#"{"kind":"cniCacheV1","cniArgs":null,"capabilityArgs":null,"result":null,"netns":null}"#),
        ),
        ("unknown keys", entry(r#"{"kind":"cniCacheV1","config":"","later":[1]}"#)),
        ("white space", entry("\n {\"kind\":\"cniCacheV1\"} \n")),
        (
            "names of a file that was copied by hand",
            entry(r#"{"kind":"cniCacheV1","containerId":"other","networkName":"n","ifName":"i"}"#),
        ),
        ("a bare result", legacy(r#"{"cniVersion":"0.2.0","ip4":{"ip":"10.0.0.1/8"}}"#)),
        ("a kind that Go takes for absent", legacy(r#"{"kind":null}"#)),
        ("an empty object", legacy("{}")),
    ] {
        let (_temp, cache, results) = cache();
        std::fs::write(results.join("net-c1-eth0"), &text).unwrap();
        match cache.get(&minimal().key) {
            Cached::Entry(entry) => assert!(is_entry && *entry == minimal(), "{what}: {entry:?}"),
            Cached::Legacy(bytes) => assert!(!is_entry && bytes == text.as_bytes(), "{what}"),
            other => panic!("{what}: {other:?}"),
        }
    }
}

#[test]
fn what_is_torn_is_an_error_that_names_the_file() {
    for (words, text) in [
        ("EOF while parsing a value at line 1 column 0", ""),
        ("EOF while parsing a string at line 1 column 17", r#"{"kind":"cniCache"#),
        ("trailing characters at line 1 column 4", "{} {}"),
        ("not a JSON object", "[\"cniCacheV1\"]"),
        ("wrong kind: cniCacheV9", r#"{"kind":"cniCacheV9"}"#),
        ("key \"kind\": invalid type: number, expected a string", r#"{"kind":1}"#),
        ("key \"config\": Invalid symbol 33, offset 0.", r#"{"kind":"cniCacheV1","config":"!"}"#),
        ("key \"cniArgs\": invalid length 1, expected a tuple of size 2", r#"{"kind":"cniCacheV1","cniArgs":[["a"]]}"#),
        ("key \"result\": not an object", r#"{"kind":"cniCacheV1","result":[]}"#),
    ] {
        let (_temp, cache, results) = cache();
        let file = results.join("net-c1-eth0");
        std::fs::write(&file, text).unwrap();
        let error = unreadable(cache.get(&minimal().key));
        let said = error.to_string();
        assert_eq!(error.class(), ErrorClass::Cache, "{said}");
        assert!(said.ends_with(words) && said.contains(file.to_str().unwrap()), "{said}");
        // It never stops a teardown, nor the next set-up.
        cache.remove(&minimal().key).unwrap();
        assert!(!file.exists(), "{words}");
        std::fs::write(&file, text).unwrap();
        cache.prepare(&minimal().key).unwrap();
        cache.add(&minimal()).unwrap();
        assert!(matches!(cache.get(&minimal().key), Cached::Entry(_)), "{words}");
    }
}

#[test]
fn deep_nesting_is_refused_and_does_not_overflow() {
    let (_temp, cache, results) = cache();
    let deep = format!(r#"{{"kind":"cniCacheV1","result":{}"#, r#"{"a":"#.repeat(100_000));
    std::fs::write(results.join("net-c1-eth0"), deep).unwrap();
    assert!(unreadable(cache.get(&minimal().key)).to_string().contains("recursion limit exceeded"));
}

#[test]
fn missing_is_missing_whatever_is_missing() {
    let temp = tempfile::tempdir().unwrap();
    let long = key("net", &"x".repeat(250), "eth0");
    for dir in [temp.path().join("no/such"), temp.path().to_owned()] {
        let cache = Cache::new(&dir, Durability::Full);
        for key in [&minimal().key, &long] {
            assert!(matches!(cache.get(key), Cached::Missing));
            cache.remove(key).unwrap();
        }
        assert_eq!(cache.attachments(None).unwrap(), []);
        std::fs::create_dir_all(temp.path().join("results")).unwrap();
    }
    assert!(!temp.path().join("no").exists() && !temp.path().join("cnirt").exists());
}

#[test]
fn a_cache_directory_that_is_a_file_is_an_error_everywhere() {
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("file");
    std::fs::write(&file, "").unwrap();
    let cache = Cache::new(&file, Durability::Full);
    let words = format!("open {}: not a directory", file.display());
    for error in [
        unreadable(cache.get(&minimal().key)),
        cache.remove(&minimal().key).unwrap_err(),
        cache.attachments(None).unwrap_err(),
        cache.prepare(&minimal().key).unwrap_err(),
        cache.add(&minimal()).unwrap_err(),
    ] {
        assert_eq!((error.class(), error.to_string()), (ErrorClass::Cache, words.clone()));
    }
}

#[test]
fn prepare_makes_both_directories_and_nothing_else() {
    let temp = tempfile::tempdir().unwrap();
    Cache::new(temp.path().join("a/b"), Durability::Full).prepare(&minimal().key).unwrap();
    for dir in ["a", "a/b", "a/b/results", "a/b/cnirt"] {
        assert_eq!(temp.path().join(dir).metadata().unwrap().mode() & 0o7777, 0o700, "{dir}");
    }
    for dir in ["a/b/results", "a/b/cnirt"] {
        assert_eq!(std::fs::read_dir(temp.path().join(dir)).unwrap().count(), 0, "{dir}");
    }
}

#[test]
fn a_name_beyond_255_bytes_is_refused_by_prepare_and_add() {
    let (_temp, cache, _results) = cache();
    for (length, fits) in [(246, true), (247, false)] {
        let entry = CacheEntry { key: key("net", &"x".repeat(length), "eth0"), ..minimal() };
        assert_eq!(cache.prepare(&entry.key).is_ok(), fits, "{length}");
        match cache.add(&entry) {
            Ok(()) => assert!(fits),
            Err(error) => {
                let words =
                    format!("cache file name net-{}… has 256 bytes; a file name has at most 255", "x".repeat(60));
                assert_eq!((error.class(), error.to_string()), (ErrorClass::InvalidArgument, words));
            }
        }
    }
}

#[test]
fn another_attachment_with_the_same_file_name_is_left_alone() {
    let (_temp, cache, results) = cache();
    let one = CacheEntry { key: key("a-b", "c", "eth0"), ..sample() };
    let other = CacheEntry { key: key("a", "b-c", "eth0"), ..sample() };
    cache.add(&one).unwrap();
    assert!(matches!(cache.get(&other.key), Cached::Missing));
    cache.remove(&other.key).unwrap();
    let words =
        format!("cache file {}/a-b-c-eth0 is that of network a-b, container c, interface eth0", results.display());
    for error in [cache.prepare(&other.key).unwrap_err(), cache.add(&other).unwrap_err()] {
        assert_eq!((error.class(), error.to_string()), (ErrorClass::Cache, words.clone()));
    }
    assert!(matches!(cache.get(&one.key), Cached::Entry(entry) if *entry == one));
}

#[test]
fn what_happens_between_preparing_and_writing_is_seen() {
    let (temp, cache, _) = cache();
    let room = cache.prepare(&minimal().key).unwrap();
    std::fs::remove_dir_all(temp.path()).unwrap();
    room.write(&minimal()).unwrap();
    assert!(matches!(cache.get(&minimal().key), Cached::Entry(_)), "the directory was removed");

    let other = CacheEntry { key: key("a", "b-c", "eth0"), ..sample() };
    let room = cache.prepare(&other.key).unwrap();
    cache.add(&CacheEntry { key: key("a-b", "c", "eth0"), ..sample() }).unwrap();
    let error = room.write(&other).unwrap_err();
    assert!(error.to_string().ends_with("is that of network a-b, container c, interface eth0"), "{error}");
}

#[test]
fn what_could_not_be_read_again_is_not_written() {
    let (_temp, cache, results) = cache();
    for (entry, words) in [
        (CacheEntry { result: Some(json!([])), ..minimal() }, "the result is not a JSON object"),
        (CacheEntry { config: vec![b' '; 13 << 20], ..minimal() }, "larger than 16777216 bytes"),
    ] {
        let error = cache.add(&entry).unwrap_err();
        let words = format!("write cache entry {}/net-c1-eth0: {words}", results.display());
        assert_eq!((error.class(), error.to_string()), (ErrorClass::Cache, words));
    }
    assert!(matches!(cache.get(&minimal().key), Cached::Missing));
}

#[test]
fn attachments_are_sorted_and_what_is_none_is_skipped() {
    let (_temp, cache, results) = cache();
    let entries: Vec<_> = [("b", "c1"), ("a", "c2"), ("a", "c1")]
        .map(|(network, id)| CacheEntry { key: key(network, id, "eth0"), ..sample() })
        .into();
    for entry in &entries {
        cache.add(entry).unwrap();
    }
    for (name, text) in [
        ("a-c1-zero", ""),
        ("a-c1-torn", "{\"kind\":"),
        ("a-c1-legacy", "{\"cniVersion\":\"0.2.0\"}"),
        ("a-c1-names", r#"{"kind":"cniCacheV1","networkName":"../x","containerId":"c1","ifName":"eth0"}"#),
        ("a-c1-none", r#"{"kind":"cniCacheV1","networkName":"a","ifName":"eth0"}"#),
    ] {
        std::fs::write(results.join(name), text).unwrap();
    }
    std::fs::create_dir(results.join("a-c1-dir")).unwrap();
    // Its content says whose it is, and its name that it is not worth reading for c1.
    std::fs::copy(results.join("a-c1-eth0"), results.join("moved")).unwrap();
    let found = |id: Option<&str>| {
        let id = id.map(|id| ContainerId::parse(id).unwrap());
        let found = cache.attachments(id.as_ref()).unwrap();
        found
            .into_iter()
            .map(|entry| (entry.key.network.to_string(), entry.key.container_id.to_string()))
            .collect::<Vec<_>>()
    };
    let list = |list: &[(&str, &str)]| list.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect::<Vec<_>>();
    assert_eq!(found(None), list(&[("a", "c1"), ("a", "c2"), ("b", "c1"), ("a", "c1")]));
    assert_eq!(found(Some("c1")), list(&[("a", "c1"), ("b", "c1")]));
    assert_eq!(found(Some("c")), list(&[]));
    assert_eq!(cache.attachments(None).unwrap()[1], entries[1]);
}

/// Runs the test again in a mount namespace of its own; `true` inside.
fn inside(test: &str) -> bool {
    if std::env::var_os("CNIRT_TEST_INSIDE").is_some() {
        return true;
    }
    let user: &[&str] = if rustix::process::geteuid().is_root() { &[] } else { &["-Ur"] };
    testing::passes(
        Command::new("unshare")
            .args(user)
            .arg("-m")
            .arg(std::env::current_exe().unwrap())
            .args(testing::arguments(&format!("store::cache::tests::{test}")))
            .env("CNIRT_TEST_INSIDE", "1"),
    );
    false
}

#[test]
fn prepare_refuses_directories_on_different_mounts() {
    if !inside("prepare_refuses_directories_on_different_mounts") {
        return;
    }
    // A bind mount has the same device, a tmpfs another one; a rename fails between either.
    for how in ["mount --bind $1/cnirt $1/cnirt", "mount -t tmpfs none $1/cnirt"] {
        let (temp, cache, results) = cache();
        let temporary = temp.path().join("cnirt");
        std::fs::create_dir(&temporary).unwrap();
        cache.prepare(&minimal().key).unwrap();
        let mounted = Command::new("sh").args(["-c", how, "sh"]).arg(temp.path()).status().unwrap();
        assert!(mounted.success(), "{how}");
        let error = cache.prepare(&minimal().key).unwrap_err();
        let words = format!(
            "{} and {} are on different mounts: no file can be renamed between them",
            results.display(),
            temporary.display()
        );
        assert_eq!((error.class(), error.to_string()), (ErrorClass::Cache, words), "{how}");
        assert!(cache.add(&minimal()).is_err());
        assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0, "{how}");
        assert!(Command::new("umount").arg(&temporary).status().unwrap().success());
    }
}

#[test]
fn prepare_refuses_what_cannot_be_written() {
    if !inside("prepare_refuses_what_cannot_be_written") {
        return;
    }
    let (temp, cache, _results) = cache();
    cache.prepare(&minimal().key).unwrap();
    let sh = |command: &str| {
        assert!(Command::new("sh").args(["-ec", command, "sh"]).arg(temp.path()).status().unwrap().success());
    };
    sh("mount --bind $1 $1; mount -o remount,bind,ro $1");
    let error = cache.prepare(&minimal().key).unwrap_err();
    let words = format!("write to {}/results: read-only file system", temp.path().display());
    assert_eq!((error.class(), error.to_string()), (ErrorClass::Cache, words));
    sh("umount $1");
    cache.prepare(&minimal().key).unwrap();
}

#[test]
fn a_reader_never_sees_half_an_entry_while_writers_race() {
    let (temp, cache, _results) = cache();
    cache.add(&sample()).unwrap();
    let other = CacheEntry { config: vec![b'x'; 100_000], ..sample() };
    std::thread::scope(|scope| {
        for entry in [sample(), other.clone()] {
            let cache = Cache::new(temp.path(), Durability::Atomic);
            scope.spawn(move || (0..200).for_each(|_| cache.add(&entry).unwrap()));
        }
        for _ in 0..200 {
            match cache.get(&sample().key) {
                Cached::Entry(entry) => assert!(*entry == sample() || *entry == other),
                wrong => panic!("{wrong:?}"),
            }
        }
    });
    assert_eq!(std::fs::read_dir(temp.path().join("cnirt")).unwrap().count(), 0);
}

#[test]
fn the_cache_directory_may_be_a_link() {
    let temp = tempfile::tempdir().unwrap();
    std::fs::create_dir(temp.path().join("real")).unwrap();
    symlink("real", temp.path().join("link")).unwrap();
    let cache = Cache::new(temp.path().join("link"), Durability::Full);
    cache.prepare(&minimal().key).unwrap();
    cache.add(&minimal()).unwrap();
    let dir = temp.path().join("real/results");
    assert!(dir.join("net-c1-eth0").is_file());
    assert_eq!(dir.metadata().unwrap().permissions().mode() & 0o7777, 0o700);
}
