//! Every version to every other, and what is lost.

use serde_json::{Value, json};

use super::super::convert::Shape;
use super::*;

const SHAPES: [Shape; 3] = [Shape::V020, Shape::V040, Shape::V100];

fn versions(shape: Shape) -> impl Iterator<Item = &'static str> {
    shape.versions().iter().copied().filter(|version| !version.is_empty())
}

#[test]
fn every_version_of_the_specification_has_a_shape() {
    assert_eq!(SHAPES.into_iter().flat_map(versions).collect::<Vec<_>>(), version::ALL);
}

/// A result with every key of the shape.
fn full(shape: Shape) -> Value {
    let dns = json!({"nameservers": ["1.1.1.1"], "domain": "d", "search": ["a", "b"], "options": ["ndots:5"]});
    let routes = json!([
        {"dst": "0.0.0.0/0", "gw": "10.1.2.1", "mtu": 1400, "advmss": 1360, "priority": 7, "table": 0, "scope": 253},
        {"dst": "::/0"},
        {"dst": "192.168.0.1/16", "table": 100}
    ]);
    match shape {
        Shape::V020 => json!({
            "ip4": {"ip": "10.1.2.3/24", "gateway": "10.1.2.1", "routes": routes},
            "ip6": {"ip": "2001:db8::5/64", "routes": [{"dst": "::/0", "gw": "fe80::1"}]},
            "dns": dns
        }),
        Shape::V040 => json!({
            "interfaces": [{"name": "br0", "mac": "00:11"}, {"name": "eth0", "mac": "aa", "sandbox": "/ns"}],
            "ips": [
                {"version": "4", "interface": 1, "address": "10.1.2.3/24", "gateway": "10.1.2.1"},
                {"version": "4", "interface": 0, "address": "10.1.2.4/24"},
                {"version": "6", "address": "2001:db8::5/64", "gateway": "2001:db8::1"}
            ],
            "routes": routes,
            "dns": dns
        }),
        Shape::V100 => json!({
            "interfaces": [
                {"name": "br0", "mac": "00:11", "mtu": 1500, "socketPath": "/s", "pciID": "0000:00:1f.6"},
                {"name": "eth0", "mac": "aa", "sandbox": "/ns", "mtu": 9000}
            ],
            "ips": [
                {"interface": 1, "address": "10.1.2.3/24", "gateway": "10.1.2.1"},
                {"interface": 0, "address": "10.1.2.4/24"},
                {"address": "2001:db8::5/64", "gateway": "2001:db8::1"}
            ],
            "routes": routes,
            "dns": dns
        }),
    }
}

/// What becomes of [`full`] in another shape.
fn full_as(from: Shape, to: Shape) -> Value {
    let mut value = full(to);
    match (from, to) {
        (Shape::V020, Shape::V040 | Shape::V100) => {
            let mut ips = json!([
                {"version": "4", "address": "10.1.2.3/24", "gateway": "10.1.2.1"},
                {"version": "6", "address": "2001:db8::5/64"}
            ]);
            if to == Shape::V100 {
                for ip in ips.as_array_mut().unwrap() {
                    ip.as_object_mut().unwrap().remove("version");
                }
            }
            value["ips"] = ips;
            value["routes"].as_array_mut().unwrap().push(json!({"dst": "::/0", "gw": "fe80::1"}));
            value.as_object_mut().unwrap().remove("interfaces");
        }
        (Shape::V040 | Shape::V100, Shape::V020) => {
            value["ip4"]["routes"] = json!([{"dst": "0.0.0.0/0", "gw": "10.1.2.1"}, {"dst": "192.168.0.1/16"}]);
            value["ip6"] = json!({"ip": "2001:db8::5/64", "gateway": "2001:db8::1", "routes": [{"dst": "::/0"}]});
        }
        (Shape::V040, Shape::V100) => {
            value["interfaces"] = full(Shape::V040)["interfaces"].clone();
        }
        _ => {}
    }
    value
}

#[test]
fn every_version_converts_to_every_other() {
    for from in SHAPES {
        for from_version in versions(from) {
            let mut text = full(from);
            text["cniVersion"] = from_version.into();
            text["unknown"] = json!({"deep": [1.5]});
            let result = read(&text.to_string());
            assert_eq!(result.version(), from_version);
            for to in SHAPES {
                for to_version in versions(to) {
                    let mut expected = full_as(from, to);
                    expected["cniVersion"] = to_version.into();
                    let converted = result.get_as_version(to_version);
                    assert_eq!(shown(converted), Ok(expected), "{from_version} to {to_version}");
                }
            }
        }
    }
}

#[test]
fn what_the_older_version_cannot_hold_is_lost() {
    for (name, text, to, expected) in [
        ("an empty version is the oldest", r#"{"cniVersion":"0.2.0"}"#, "", json!({"cniVersion": "0.1.0", "dns": {}})),
        (
            "empty lists are left out",
            r#"{"cniVersion":"0.4.0","ips":[],"routes":[]}"#,
            "1.0.0",
            json!({"cniVersion": "1.0.0"}),
        ),
        (
            "a plugin's wrong IP version counts on the way down",
            r#"{"cniVersion":"0.4.0","ips":[{"version":"6","address":"10.1.2.3/8"}],"routes":[{"dst":"10.0.0.0/8"},{"dst":"::/0"}]}"#,
            "0.2.0",
            json!({"cniVersion": "0.2.0", "dns": {}, "ip6": {"ip": "10.1.2.3/8", "routes": [{"dst": "::/0"}]}}),
        ),
        (
            "it is lost on the way up",
            r#"{"cniVersion":"0.4.0","ips":[{"version":"6","address":"10.1.2.3/8"}]}"#,
            "1.0.0",
            json!({"cniVersion": "1.0.0", "ips": [{"address": "10.1.2.3/8"}]}),
        ),
        (
            "routes of a family without address are lost",
            r#"{"cniVersion":"1.1.0","ips":[{"address":"::1/128"}],"routes":[{"dst":"10.0.0.0/8"}]}"#,
            "0.1.0",
            json!({"cniVersion": "0.1.0", "dns": {}, "ip6": {"ip": "::1/128"}}),
        ),
        (
            "an absent address counts as IPv6",
            r#"{"cniVersion":"1.0.0","ips":[{}]}"#,
            "0.4.0",
            json!({"cniVersion": "0.4.0", "dns": {}, "ips": [{"version": "6", "address": "<nil>"}]}),
        ),
        (
            "so does an absent destination",
            r#"{"cniVersion":"1.0.0","ips":[{"address":"::1/8"}],"routes":[{"gw":"1.2.3.4"}]}"#,
            "0.2.0",
            json!({"cniVersion": "0.2.0", "dns": {}, "ip6": {"ip": "::1/8", "routes": [{"dst": "<nil>", "gw": "1.2.3.4"}]}}),
        ),
        (
            "a null behind the last address that counts",
            r#"{"cniVersion":"0.4.0","ips":[{"version":"4","address":"1.2.3.4/8"},{"version":"6","address":"::1/8"},null]}"#,
            "0.2.0",
            json!({"cniVersion": "0.2.0", "dns": {}, "ip4": {"ip": "1.2.3.4/8"}, "ip6": {"ip": "::1/8"}}),
        ),
        (
            "nulls stay within a shape",
            r#"{"cniVersion":"1.0.0","interfaces":[null],"ips":[null],"routes":[null]}"#,
            "1.1.0",
            json!({"cniVersion": "1.1.0", "interfaces": [null], "ips": [null], "routes": [null]}),
        ),
        (
            "routes may be null on the way up",
            r#"{"cniVersion":"0.3.1","routes":[null]}"#,
            "1.1.0",
            json!({"cniVersion": "1.1.0", "routes": [null]}),
        ),
    ] {
        assert_eq!(shown(read(text).get_as_version(to)), Ok(expected), "{name}");
    }
}

#[test]
fn impossible_conversions_are_refused() {
    use ErrorClass::{Plugin, Unsupported};
    for (text, to, class, words) in [
        (r#"{"cniVersion":"1.0.0"}"#, "2.0.0", Unsupported, "no converter for CNI result version 1.0.0 to 2.0.0"),
        ("{}", "0.4", Unsupported, "no converter for CNI result version 0.1.0 to 0.4"),
        (r#"{"cniVersion":"1.0.0"}"#, "", Plugin, "cannot convert: no valid IP addresses"),
        (r#"{"cniVersion":"0.4.0","ips":[{"version":"x"}]}"#, "0.2.0", Plugin, "cannot convert: no valid IP addresses"),
        // libcni panics on these.
        (r#"{"cniVersion":"0.4.0","ips":[null]}"#, "0.2.0", Plugin, "cannot convert: ips[0] is null"),
        (r#"{"cniVersion":"0.4.0","routes":[{},null]}"#, "0.2.0", Plugin, "cannot convert: routes[1] is null"),
        (r#"{"cniVersion":"1.0.0","ips":[{},null]}"#, "0.4.0", Plugin, "cannot convert: ips[1] is null"),
        (r#"{"cniVersion":"0.4.0","interfaces":[null]}"#, "1.0.0", Plugin, "cannot convert: interfaces[0] is null"),
    ] {
        assert_eq!(shown(read(text).get_as_version(to)), Err((class, words.to_owned())), "{text} to {to}");
    }
}

#[test]
fn a_text_is_converted_or_said_to_be_wrong_or_not_possible() {
    use crate::error::ErrorClass;
    use crate::result::convert_text;

    let good = r#"{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.2/24"}]}"#;
    assert_eq!(convert_text(good, "0.2.0").unwrap().to_value()["ip4"]["ip"], "10.0.0.2/24");
    assert_eq!(convert_text("{}", "").unwrap().version(), "0.1.0");
    for (text, version, class) in [
        ("{", "1.0.0", ErrorClass::InvalidArgument),
        ("[]", "1.0.0", ErrorClass::InvalidArgument),
        (r#"{"cniVersion":"1.0.0","ips":[{"address":"x"}]}"#, "1.0.0", ErrorClass::InvalidArgument),
        (r#"{"cniVersion":"9.0.0"}"#, "1.0.0", ErrorClass::Unsupported),
        (good, "9.0.0", ErrorClass::Unsupported),
        (r#"{"cniVersion":"1.0.0"}"#, "0.2.0", ErrorClass::Unsupported),
    ] {
        assert_eq!(convert_text(text, version).unwrap_err().class(), class, "{text} {version}");
    }
}
