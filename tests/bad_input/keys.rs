//! Every key of every request, with values of every wrong type.

use serde_json::{Map, Value, json};

use crate::face::{GC, Handle, ON_POD, refused};

/// An object that a caller hands over.
struct Place {
    name: &'static str,
    /// What comes before the key in a message.
    path: &'static str,
    /// What it needs besides the key in question.
    base: fn() -> Value,
    /// Key; the one JSON type that it takes; further values that are wrong, mostly inside.
    keys: &'static [(&'static str, &'static str, &'static [&'static str])],
}

const NUMBERS: &[&str] = &["-1", "1.5", "1e30"];
const STRING: &[&str] = &[];
const STRINGS: &[&str] = &["[1]", "[[]]", "[null]"];
const MAP_OF_STRINGS: &[&str] = &[r#"{"a":1}"#, r#"{"a":null}"#];
const PAIRS: &[&str] = &[r#"["a"]"#, r#"[["a"]]"#, r#"[["a","b","c"]]"#, r#"[["a",1]]"#, r#"{"a":"b"}"#];
const IPS: &[&str] = &["[1]", r#"["x"]"#, r#"["10.0.0.1/33"]"#, r#"["10.0.0.256"]"#];
const MACS: &[&str] = &[r#""x""#, r#""""#, r#""00:00:00:00:00""#, r#""00:00:00:00:00:0g""#];
const NETWORKS: &[&str] = &["null", r#""""#, r#""..""#, r#""a/b""#];
const IF_NAMES: &[&str] = &[r#""""#, r#""..""#, r#""a/b""#, r#""0123456789abcdef""#, r#""a\u0000""#];

const PLACES: [Place; 10] = [
    Place {
        name: "options",
        path: "",
        base: || json!({"confDir": "/nowhere/conf", "cacheDir": "/nowhere/cache", "binDirs": []}),
        keys: &[
            ("plugin", "string", &[r#""x""#]),
            ("confDir", "string", STRING),
            ("binDirs", "list", STRINGS),
            ("cacheDir", "string", STRING),
            ("defaultNetwork", "string", STRING),
            ("podCidr", "string", &[r#""10.0.0.0""#, r#""10.0.0.0/24,""#]),
            ("ifName", "string", IF_NAMES),
            ("timeoutMs", "number", NUMBERS),
            ("killGraceMs", "number", NUMBERS),
            ("rollback", "boolean", &[]),
            ("rollbackTimeoutMs", "number", NUMBERS),
            ("loopback", "boolean", &[]),
            ("builtin", "list", &["[1]", r#""all""#]),
            ("durability", "string", &[r#""none""#]),
            ("maxOutputBytes", "number", NUMBERS),
            ("opThreads", "number", NUMBERS),
            ("env", "object", MAP_OF_STRINGS),
            ("pluginEnv", "object", MAP_OF_STRINGS),
            ("owner", "string", STRING),
            ("opThreads", "number", NUMBERS),
            ("ipPreference", "string", &[r#""ipv5""#]),
        ],
    },
    Place {
        name: "request",
        path: "",
        base: || json!({"id": "pod"}),
        keys: &[
            ("id", "string", &["null", r#""""#]),
            ("namespace", "string", STRING),
            ("name", "string", STRING),
            ("uid", "string", STRING),
            ("netns", "string", STRING),
            ("ifName", "string", IF_NAMES),
            ("annotations", "object", MAP_OF_STRINGS),
            ("portMappings", "list", &["[1]", "[[1,2]]"]),
            ("bandwidth", "object", &[]),
            ("ipRanges", "list", &["[1]", "[{}]", "[[1]]"]),
            ("dns", "object", &[]),
            ("ips", "list", IPS),
            ("mac", "string", MACS),
            ("aliases", "list", STRINGS),
            ("cgroupPath", "string", STRING),
            ("cniArgs", "list", PAIRS),
            ("capabilityArgs", "object", &[]),
            ("networks", "list", &["[1]", "[[]]", "[{}]"]),
            ("timeoutMs", "number", NUMBERS),
            ("env", "object", MAP_OF_STRINGS),
            ("callId", "string", STRING),
            ("replace", "boolean", &[]),
            ("force", "boolean", &[]),
        ],
    },
    Place {
        name: "networks",
        path: "networks[0].",
        base: || json!({"default": true}),
        keys: &[
            ("name", "string", &[r#""both""#]),
            ("default", "boolean", &["false"]),
            ("config", "object", &[]),
            ("ifName", "string", IF_NAMES),
            ("ips", "list", IPS),
            ("mac", "string", MACS),
            ("args", "object", &[]),
            ("cniArgs", "list", PAIRS),
            ("capabilityArgs", "object", &[]),
        ],
    },
    Place {
        name: "portMappings",
        path: "portMappings[0].",
        base: || json!({"hostPort": 1, "containerPort": 1}),
        keys: &[
            ("hostPort", "number", &["65536", "1.5", "99999999999"]),
            ("containerPort", "number", &["0", "-1", "65536", "1.5"]),
            ("protocol", "string", STRING),
            ("hostIP", "string", &[r#""x""#]),
        ],
    },
    Place {
        name: "bandwidth",
        path: "bandwidth.",
        base: || json!({}),
        keys: &[
            ("ingressRate", "number", NUMBERS),
            ("ingressBurst", "number", NUMBERS),
            ("egressRate", "number", NUMBERS),
            ("egressBurst", "number", NUMBERS),
        ],
    },
    Place {
        name: "dns",
        path: "dns.",
        base: || json!({}),
        keys: &[("servers", "list", STRINGS), ("searches", "list", STRINGS), ("options", "list", STRINGS)],
    },
    Place {
        name: "event details",
        path: "",
        base: || json!({"pod-cidr": "10.0.0.0/24"}),
        keys: &[("pod-cidr", "string", &["null", r#""""#, r#""10.0.0.0""#])],
    },
    Place {
        name: "GC request",
        path: "",
        base: || json!({"validPods": []}),
        keys: &[
            ("validPods", "list", &["null", "[1]", "[[]]", "[{}]", r#"[{"id":"a"},{"id":"a"}]"#]),
            ("timeoutMs", "number", NUMBERS),
            ("callId", "string", STRING),
        ],
    },
    Place {
        name: "valid pod",
        path: "validPods[0].",
        base: || json!({"id": "pod"}),
        keys: &[("id", "string", &["null", r#""""#, r#""a/b""#]), ("networks", "list", &["[1]", "[[]]", "[{}]"])],
    },
    Place {
        name: "valid network",
        path: "validPods[0].networks[0].",
        base: || json!({"network": "net", "ifName": "eth0"}),
        keys: &[
            ("network", "string", NETWORKS),
            ("ifName", "string", &["null", r#""""#, r#""..""#, r#""a/b""#, r#""0123456789abcdef""#]),
        ],
    },
];

/// A value of each JSON type; null counts as absent.
const VALUES: [(&str, &str); 5] =
    [("number", "7"), ("string", "\"x\""), ("list", "[]"), ("object", "{}"), ("boolean", "true")];

impl Place {
    /// Hands it over, in every function that takes it, with `key` set to this JSON.
    fn answers(&self, key: &str, value: &str) -> Vec<(String, Result<Value, Value>)> {
        let mut object = (self.base)();
        object[key] = serde_json::from_str(value).unwrap();
        let what = |function: &str| format!("{function}, {} {object}", self.name);
        if self.name == "options" {
            return vec![(what("cni_plugin_new"), Handle::new(&object.to_string()).map(|_| Value::Null))];
        }
        if self.name == "event details" {
            let handle = Handle::new(&(PLACES[0].base)().to_string()).unwrap();
            return vec![(what("cni_plugin_event"), handle.event(&object.to_string()))];
        }
        let gc = match self.name {
            "GC request" => Some(object.clone()),
            "valid pod" => Some(json!({"validPods": [object]})),
            "valid network" => Some(json!({"validPods": [{"id": "pod", "networks": [object]}]})),
            _ => None,
        };
        if let Some(request) = gc {
            let handle = Handle::new(r#"{"plugin":"noop"}"#).unwrap();
            return vec![(what(GC.0), handle.call(GC.1, &request.to_string()))];
        }
        let request = match self.name {
            "request" => object.clone(),
            "networks" | "portMappings" => json!({"id": "pod", self.name: [object]}),
            name => json!({"id": "pod", name: object}),
        };
        let handle = Handle::new(r#"{"plugin":"noop"}"#).unwrap();
        let calls = ON_POD.iter();
        calls.map(|(name, function)| (what(name), handle.call(*function, &request.to_string()))).collect()
    }
}

#[test]
fn a_value_of_the_wrong_type_is_refused_by_the_name_of_its_key() {
    for place in &PLACES {
        for (key, takes, further) in place.keys {
            let others = VALUES.iter().filter(|(kind, _)| kind != takes).map(|(_, value)| value);
            for value in others.chain(*further) {
                for (what, answer) in place.answers(key, value) {
                    // Either the key itself, a place within its value, or that it is missing.
                    let error = refused(&what, answer, "CNI_E_INVALID_ARGUMENT", &[]);
                    let said = error["msg"].as_str().unwrap();
                    let named =
                        [format!("key \"{}{key}", place.path), format!("key \"{key}\""), format!("\"{key}\": true")];
                    assert!(named.iter().any(|name| said.contains(name)), "{what}: {said}");
                }
            }
        }
    }
}

#[test]
fn null_is_an_absent_key() {
    for place in &PLACES {
        for (key, _, further) in place.keys {
            let needed = further.contains(&"null") || matches!(*key, "default" | "containerPort");
            for (what, answer) in place.answers(key, "null") {
                assert_eq!(answer.is_ok(), !needed, "{what}: {answer:?}");
            }
        }
    }
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_known_one() {
    for place in &PLACES {
        for (key, ..) in place.keys {
            // A letter too much, another case.
            for unknown in [format!("{key}x"), key.to_uppercase()] {
                for (what, answer) in place.answers(&unknown, "1") {
                    let (unknown, nearest) =
                        (format!("unknown key {unknown:?}"), format!("the nearest known key is {key:?}"));
                    refused(&what, answer, "CNI_E_INVALID_ARGUMENT", &[&unknown, &nearest]);
                }
            }
        }
    }
}

/// Every string in the library's sources is tried as a key: the ones that are taken are those of the table above.
#[test]
fn the_table_has_every_key() {
    let mut words = Map::new();
    let mut directories = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let text = std::fs::read_to_string(path).unwrap();
            let is_key = |word: &&str| {
                !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
            };
            words.extend(text.split('"').filter(is_key).map(|word| (word.to_owned(), Value::Null)));
        }
    }
    assert!(words.len() > 300, "{}", words.len());
    for place in &PLACES {
        for word in words.keys() {
            let (_, answer) = place.answers(word, "null").remove(0);
            let taken = answer.err().is_none_or(|error| !error["msg"].as_str().unwrap().contains("unknown key"));
            let listed = place.keys.iter().any(|(key, ..)| key == word);
            assert_eq!(taken, listed, "key {word:?} of {}", place.name);
        }
        assert!(
            place.keys.iter().all(|(key, ..)| words.contains_key(*key)),
            "{} has keys that no source names",
            place.name
        );
    }
}
