//! What is fuzzed: one function a target, that panics where a promise is broken. libFuzzer calls them from
//! `fuzz_targets/`, and `tests/fuzz_corpus.rs` with the corpus, without it.

#![allow(clippy::expect_used, clippy::missing_panics_doc, missing_docs, unreachable_pub)]

/// A target: its name, which is its corpus directory's too, and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const ALL: [Target; 5] = [
    ("configuration", configuration::run),
    ("result_conversion", result_conversion::run),
    ("cache_entry", cache_entry::run),
    ("pod_request", pod_request::run),
    ("plugin_output", plugin_output::run),
];

/// A network configuration's text: whatever is accepted can be inlined, injected and read again as the same.
pub mod configuration {
    use cnirt::conf::{NetworkConf, NetworkConfigList, PluginConfig, build_one_config};
    use serde_json::{Map, Value, json};

    pub fn run(bytes: &[u8]) {
        if let Ok(list) = NetworkConfigList::from_bytes(bytes) {
            round_trip(&list);
        }
        if let Ok(list) = NetworkConfigList::from_any(bytes) {
            round_trip(&list);
            with_args(&list);
            for plugin in &list.plugins {
                injected(&list, plugin);
            }
        }
        if let Ok(plugin) = PluginConfig::from_bytes(bytes) {
            let again = PluginConfig::from_bytes(&plugin.bytes).expect("what was read is read again");
            assert_eq!(again.object(), plugin.object());
        }
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        // The parsed form has the texts as strings: it has to be taken for what it was made of.
        match NetworkConf::parse(text) {
            Ok(NetworkConf::List(list)) => {
                let parsed = list.to_value(None).to_string();
                let Ok(NetworkConf::List(again)) = NetworkConf::parse(&parsed) else { panic!("{parsed}") };
                assert_eq!(again.to_value(None).to_string(), parsed);
            }
            Ok(NetworkConf::Single(single)) => {
                let parsed = json!({
                    "type": single.plugin_type,
                    "name": single.name,
                    "cniVersion": single.cni_version,
                    "capabilities": single.capabilities,
                    "bytes": std::str::from_utf8(&single.bytes).expect("it was text"),
                });
                let again = NetworkConf::parse(&parsed.to_string());
                assert_eq!(again.expect("a parsed single network"), NetworkConf::Single(single.clone()));
                let list = NetworkConfigList::from_plugin(&single).expect("a single network is a list of one");
                assert_eq!((&list.name, &list.cni_version), (&single.name, &single.cni_version));
                assert_eq!(list.plugins.len(), 1);
            }
            Err(_) => {}
        }
    }

    fn round_trip(list: &NetworkConfigList) {
        let inlined = list.inlined();
        let again = NetworkConfigList::from_bytes(&inlined).expect("an inlined list is a list");
        assert_eq!(
            NetworkConfigList { bytes: Vec::new(), ..again.clone() },
            NetworkConfigList { bytes: Vec::new(), ..list.clone() }
        );
        assert_eq!(again.inlined(), inlined);
    }

    fn with_args(list: &NetworkConfigList) {
        let Value::Object(args) = json!({"cni": {"ips": ["10.0.0.1"]}}) else { unreachable!() };
        if let Ok(list) = list.with_args(&args) {
            round_trip(&list);
            assert!(list.plugins.iter().all(|plugin| plugin.object()["args"]["cni"]["ips"] == args["cni"]["ips"]));
        }
    }

    fn injected(list: &NetworkConfigList, plugin: &PluginConfig) {
        let prev_result = json!({"cniVersion": "1.1.0"});
        let capability_args: Map<String, Value> =
            plugin.capabilities.keys().map(|name| (name.clone(), json!([name]))).collect();
        let text = build_one_config(&list.name, &list.cni_version, plugin, Some(&prev_result), &capability_args);
        // Not serde_json::Value's own reading, to which some keys mean something.
        let got = PluginConfig::from_bytes(&text).expect("a plugin gets a configuration");
        let got = got.object();
        assert_eq!(got["name"], list.name.as_str());
        assert_eq!(got["prevResult"], prev_result);
        let wanted = plugin.capabilities.values().any(|declared| *declared);
        assert!(!wanted || got["runtimeConfig"].is_object());
    }
}

/// A result: every version converts to every other or says why not; what both versions have survives, and there and back
/// again changes nothing more.
pub mod result_conversion {
    use std::net::IpAddr;

    use cnirt::result::{CniResult, Dns, Route, convert_text};
    use cnirt::version;
    use ipnet::IpNet;

    pub fn run(bytes: &[u8]) {
        let read = CniResult::from_bytes(bytes);
        for version in version::ALL {
            if let Ok(result) = CniResult::create(version, bytes) {
                read_again(&result);
            }
        }
        let Ok(result) = read else { return };
        read_again(&result);
        result.addresses("eth0");
        for version in version::ALL {
            if let Ok(converted) = result.get_as_version(version) {
                assert_eq!(converted.version(), version);
                read_again(&converted);
                survives(&result, &converted);
                settled(&converted, result.version());
            }
            if let Ok(text) = std::str::from_utf8(bytes) {
                assert_eq!(convert_text(text, version).is_ok(), result.get_as_version(version).is_ok());
            }
        }
    }

    /// What libcni would write is read as the same, unless it holds what libcni itself cannot read: `<nil>`.
    pub fn read_again(result: &CniResult) {
        let text = result.to_value().to_string();
        match CniResult::from_bytes(text.as_bytes()) {
            Ok(again) => assert_eq!(again.to_value().to_string(), text),
            Err(error) => assert!(text.contains("<nil>"), "{text}: {error}"),
        }
    }

    /// The second way there and back loses nothing more: what both versions have was kept the first time.
    fn settled(converted: &CniResult, version: &str) {
        let Ok(back) = converted.get_as_version(version) else { return };
        survives(converted, &back);
        let there = back.get_as_version(converted.version()).expect("what came from a version goes to it");
        let again = there.get_as_version(version).expect("what went once goes again");
        assert_eq!(again, back);
        assert_eq!(there.addresses("eth0").len(), back.addresses("eth0").len());
    }

    /// An address and its gateway, and the index of its interface, in the order of the result.
    type Address = (Option<IpNet>, Option<IpAddr>, Option<i64>);

    /// What a result says whatever its version: interfaces by name, mac and sandbox, addresses, routes, resolver.
    #[derive(Debug, PartialEq)]
    struct Common {
        dns: Dns,
        interfaces: Vec<[String; 3]>,
        addresses: Vec<Address>,
        routes: Vec<Route>,
    }

    /// What both have is the same in both. The oldest versions have one address of each family, without an interface, and
    /// the routes of the families that have one.
    fn survives(from: &CniResult, to: &CniResult) {
        let (mut wanted, found) = (common(from), common(to));
        if let CniResult::V020(result) = to {
            let has = [result.ip4.is_some(), result.ip6.is_some()];
            if !matches!(from, CniResult::V020(_)) {
                wanted.interfaces.clear();
                wanted.addresses = first_of_each(from);
                // First those of IPv4, then the others, each with destination and next hop.
                wanted.routes.sort_by_key(|route| !is_v4(route.dst));
                wanted.routes.retain(|route| if is_v4(route.dst) { has[0] } else { has[1] });
                for route in &mut wanted.routes {
                    *route = Route { dst: route.dst, gw: route.gw, ..Route::default() };
                }
            }
        }
        assert_eq!(found, wanted, "{} to {}", from.version(), to.version());
    }

    /// The first address of each family, as the result names it or, where it does not, as the address is.
    fn first_of_each(from: &CniResult) -> Vec<Address> {
        let addresses = common(from).addresses;
        let family = |index: usize| match from {
            CniResult::V040(result) => result.ips.iter().flatten().nth(index).map(|ip| ip.version.clone()),
            _ => Some(if is_v4(addresses[index].0) { "4" } else { "6" }.to_owned()),
        };
        let first = |wanted: &str| (0..addresses.len()).find(|index| family(*index).as_deref() == Some(wanted));
        let found = [first("4"), first("6")].into_iter().flatten();
        found.map(|index| (addresses[index].0, addresses[index].1, None)).collect()
    }

    fn is_v4(net: Option<IpNet>) -> bool {
        matches!(net, Some(IpNet::V4(_)))
    }

    fn common(result: &CniResult) -> Common {
        match result {
            CniResult::V020(result) => {
                let configs = || [&result.ip4, &result.ip6].into_iter().flatten();
                Common {
                    dns: result.dns.clone(),
                    interfaces: Vec::new(),
                    addresses: configs().map(|config| (config.ip, config.gateway, None)).collect(),
                    routes: configs().flat_map(|config| config.routes.clone()).collect(),
                }
            }
            CniResult::V040(result) => Common {
                dns: result.dns.clone(),
                interfaces: result
                    .interfaces
                    .iter()
                    .flatten()
                    .map(|link| [&link.name, &link.mac, &link.sandbox].map(Clone::clone))
                    .collect(),
                addresses: result.ips.iter().flatten().map(|ip| (ip.address, ip.gateway, ip.interface)).collect(),
                routes: result.routes.iter().flatten().cloned().collect(),
            },
            CniResult::V100(result) => Common {
                dns: result.dns.clone(),
                interfaces: result
                    .interfaces
                    .iter()
                    .flatten()
                    .map(|link| [&link.name, &link.mac, &link.sandbox].map(Clone::clone))
                    .collect(),
                addresses: result.ips.iter().flatten().map(|ip| (ip.address, ip.gateway, ip.interface)).collect(),
                routes: result.routes.iter().flatten().cloned().collect(),
            },
        }
    }
}

/// A file of the cache: read, listed, written again and removed, and nothing else is touched.
pub mod cache_entry {
    use std::path::Path;

    use cnirt::store::{Cache, Cached, Durability, Key};

    pub fn run(bytes: &[u8]) {
        thread_local!(static DIR: tempfile::TempDir = tempfile::tempdir().expect("a temporary directory"));
        DIR.with(|dir| on_disk(dir.path(), bytes));
    }

    fn on_disk(dir: &Path, bytes: &[u8]) {
        let key = Key::parse("net1", "pod1", "eth0").expect("good names");
        let results = dir.join("results");
        std::fs::create_dir_all(&results).expect("a directory");
        let file = results.join("net1-pod1-eth0");
        std::fs::write(&file, bytes).expect("a file");
        let cache = Cache::new(dir, Durability::Atomic);
        let listed = cache.attachments(None).expect("a directory that can be read");
        let of_pod = cache.attachments(Some(&key.container_id)).expect("a directory that can be read");
        assert!(of_pod.iter().all(|entry| listed.contains(entry)));
        let broken = cache.broken(&key.container_id).expect("a directory that can be read");
        let held = cache.get(&key);
        match &held {
            Cached::Entry(entry) => {
                assert!(broken.is_empty());
                if cache.add(entry).is_ok() {
                    let Cached::Entry(again) = cache.get(&key) else { panic!("what was written is read") };
                    assert_eq!(without_empty(*again), without_empty((**entry).clone()));
                }
            }
            Cached::Legacy(result) => assert_eq!((result.as_slice(), broken.len()), (bytes, 1)),
            Cached::Unreadable(_) => assert_eq!(broken.len(), 1),
            Cached::Missing => assert!(broken.is_empty()),
        }
        cache.remove(&key).expect("an entry can be removed, whatever it holds");
        assert!(!file.exists() || matches!(held, Cached::Missing));
        std::fs::remove_file(&file).ok();
        assert_eq!(std::fs::read_dir(&results).expect("a directory").count(), 0);
    }

    /// As libcni does, an entry is written without what is empty.
    fn without_empty(mut entry: cnirt::store::CacheEntry) -> cnirt::store::CacheEntry {
        entry.cni_args = entry.cni_args.filter(|args| !args.is_empty());
        entry.result = entry.result.filter(|result| result.as_object().is_some_and(|object| !object.is_empty()));
        entry
    }
}

/// A pod request: what is accepted has checked names, what is refused says why in few words.
pub mod pod_request {
    use cnirt::ErrorClass;
    use cnirt::pod::PodRequest;

    pub fn run(bytes: &[u8]) {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        match PodRequest::from_json(text) {
            Ok(request) => {
                assert!(!request.id.as_str().contains('/'));
                let again = PodRequest::from_json(text).expect("the same text");
                assert_eq!(format!("{again:?}"), format!("{request:?}"));
            }
            Err(error) => {
                assert!(matches!(error.class(), ErrorClass::InvalidArgument | ErrorClass::Config), "{error}");
                assert!(error.to_json().is_object());
            }
        }
    }
}

/// What a plugin printed: a result, its answer to VERSION, or its error object.
pub mod plugin_output {
    use cnirt::result::CniResult;
    use cnirt::version::{self, PluginInfo};
    use cnirt::{Error, invoke};

    use super::result_conversion::read_again;

    pub fn run(bytes: &[u8]) {
        for conf_version in version::ALL {
            if let Ok(result) = CniResult::from_plugin(conf_version, bytes) {
                assert!(version::ALL.contains(&result.version()));
                read_again(&result);
            }
        }
        if let Ok(info) = PluginInfo::decode(bytes) {
            assert!(!info.supported_versions.is_empty() || !info.cni_version.is_empty());
        }
        if let Some(error) = failed(bytes) {
            let shown = error.to_json();
            assert_eq!(shown["code"].as_u64(), Some(error.code()));
            assert!(shown["msg"].is_string());
        }
    }

    /// The error of a plugin that failed and printed this.
    fn failed(stdout: &[u8]) -> Option<Error> {
        invoke::process::failed(stdout, b"").err()
    }
}
