//! The expectations are what libcni v1.3.1 answers to the same input; only the key before the words of a message is ours,
//! and what a comment says.

mod conversion;

use serde_json::{Value, json};

use super::*;

/// The JSON that a result becomes, or the error's class and words.
fn shown(result: Result<CniResult>) -> Result<Value, (ErrorClass, String)> {
    result.map(|result| result.to_value()).map_err(|error| (error.class(), error.to_string()))
}

fn read(text: &str) -> CniResult {
    CniResult::from_bytes(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refused(text: &str) -> String {
    let error = CniResult::from_bytes(text.as_bytes()).expect_err(text);
    assert_eq!(error.class(), ErrorClass::Plugin, "{text}");
    error.to_string()
}

#[test]
fn json_is_read_as_go_reads_it() {
    for (name, text, expected) in [
        ("null is an empty result", "null", json!({"cniVersion": "0.1.0", "dns": {}})),
        ("0.x writes an empty dns", r#"{"cniVersion":"0.4.0"}"#, json!({"cniVersion": "0.4.0", "dns": {}})),
        ("1.x does not", r#"{"cniVersion":"1.0.0","dns":{"search":[],"domain":""}}"#, json!({"cniVersion": "1.0.0"})),
        (
            "a key in any case",
            r#"{"CNIVersion":"0.4.0","DNS":{"Domain":"x"},"IPS":[{"VERSION":"4","Address":"1.2.3.4/8","InterFace":0}]}"#,
            json!({"cniVersion": "0.4.0", "dns": {"domain": "x"},
                "ips": [{"version": "4", "address": "1.2.3.4/8", "interface": 0}]}),
        ),
        (
            "letters that fold into ASCII",
            r#"{"dnſ":{"domain":"x"}}"#,
            json!({"cniVersion": "0.1.0", "dns": {"domain": "x"}}),
        ),
        (
            "of one key in two cases the last",
            r#"{"cniVersion":"0.4.0","CNIVersion":"0.3.0"}"#,
            json!({"cniVersion": "0.3.0", "dns": {}}),
        ),
        (
            "also where the sorted order differs",
            r#"{"CNIVersion":"0.4.0","cniVersion":"0.3.0"}"#,
            json!({"cniVersion": "0.3.0", "dns": {}}),
        ),
        (
            "of a repeated key the last",
            r#"{"cniVersion":"1.0.0","cniVersion":"1.1.0"}"#,
            json!({"cniVersion": "1.1.0"}),
        ),
        (
            "null is zero",
            r#"{"cniVersion":"1.1.0","interfaces":[{"name":null,"mac":null,"mtu":null}],"ips":null,"routes":[{"dst":"::/0","gw":null,"table":null}],"dns":null}"#,
            json!({"cniVersion": "1.1.0", "interfaces": [{"name": ""}], "routes": [{"dst": "::/0"}]}),
        ),
        (
            "a null in a list of texts is empty",
            r#"{"dns":{"search":[null]}}"#,
            json!({"cniVersion": "0.1.0", "dns": {"search": [""]}}),
        ),
        (
            "a null route of 0.2.0 has no destination",
            r#"{"ip4":{"ip":"1.2.3.4/8","routes":[null]}}"#,
            json!({"cniVersion": "0.1.0", "dns": {}, "ip4": {"ip": "1.2.3.4/8", "routes": [{"dst": "<nil>"}]}}),
        ),
        (
            "an absent address",
            r#"{"ip4":{},"ip6":null}"#,
            json!({"cniVersion": "0.1.0", "dns": {}, "ip4": {"ip": "<nil>"}}),
        ),
        (
            "what is always written",
            r#"{"cniVersion":"0.3.0","ips":[{"address":"::/0"}],"interfaces":[{}]}"#,
            json!({"cniVersion": "0.3.0", "dns": {}, "ips": [{"version": "", "address": "::/0"}], "interfaces": [{"name": ""}]}),
        ),
        (
            "keys of other shapes are dropped",
            r#"{"cniVersion":"1.0.0","ip4":{"ip":5},"x":[{}]}"#,
            json!({"cniVersion": "1.0.0"}),
        ),
        (
            "0.4.0 has no mtu",
            r#"{"cniVersion":"0.4.0","interfaces":[{"name":"a","mtu":"x"}]}"#,
            json!({"cniVersion": "0.4.0", "dns": {}, "interfaces": [{"name": "a"}]}),
        ),
        (
            "1.0.0 has one as 1.1.0 has",
            r#"{"cniVersion":"1.0.0","interfaces":[{"name":"a","mtu":-1}]}"#,
            json!({"cniVersion": "1.0.0", "interfaces": [{"name": "a", "mtu": -1}]}),
        ),
        (
            "texts keep every letter",
            r#"{"cniVersion":"1.0.0","interfaces":[{"name":"<&>\u2028é\u0000"}]}"#,
            json!({"cniVersion": "1.0.0", "interfaces": [{"name": "<&>\u{2028}é\0"}]}),
        ),
    ] {
        assert_eq!(read(text).to_value(), expected, "{name}");
    }
    let latin1 = CniResult::from_bytes(b"{\"dns\":{\"domain\":\"\xe9\"}}").unwrap();
    assert_eq!(latin1.to_value()["dns"]["domain"], "\u{fffd}", "bytes that are no UTF-8");
}

#[test]
fn every_refusal_names_the_key() {
    let of = |words: &str| words.to_owned();
    for (text, words) in [
        ("", "decoding version from network config: unexpected end of JSON input"),
        ("{}x", "decoding version from network config: result is not JSON: trailing characters at line 1 column 3"),
        ("[]", "decoding version from network config: result: expected an object, found a list"),
        (r#"{"cniVersion":5}"#, "decoding version from network config: cniVersion: expected a string, found 5"),
        (r#"{"cniVersion":"0.4.0","ips":{}}"#, "ips: expected a list, found an object"),
        (r#"{"cniVersion":"0.4.0","ips":[{},[]]}"#, "ips[1]: expected an object, found a list"),
        (r#"{"cniVersion":"1.0.0","ips":[{"address":"10.1.2.3"}]}"#, "ips[0].address: invalid CIDR address: 10.1.2.3"),
        (r#"{"cniVersion":"1.0.0","ips":[{"address":null}]}"#, "ips[0].address: invalid CIDR address: "),
        (
            r#"{"cniVersion":"1.0.0","ips":[{"gateway":"10.1.2.3/8"}]}"#,
            "ips[0].gateway: invalid IP address: 10.1.2.3/8",
        ),
        (r#"{"cniVersion":"1.0.0","ips":[{"gateway":[10,1,2,3]}]}"#, "ips[0].gateway: expected a string, found a list"),
        (
            r#"{"cniVersion":"1.0.0","interfaces":[{"mtu":"1500"}]}"#,
            "interfaces[0].mtu: expected a 64-bit integer, found a string",
        ),
        (r#"{"ip4":{"routes":[{"dst":true}]}}"#, "ip4.routes[0].dst: expected a string, found a boolean"),
        (r#"{"IP6":5}"#, "ip6: expected an object, found 5"),
        (r#"{"dns":5,"dns":{}}"#, "dns: expected an object, found 5"),
        (r#"{"dns":[]}"#, "dns: expected an object, found a list"),
        (r#"{"dns":{"nameservers":["a",{}]}}"#, "dns.nameservers[1]: expected a string, found an object"),
    ] {
        assert_eq!(refused(text), of(words), "{text}");
    }
}

#[test]
fn addresses_are_read_and_written_as_go_does() {
    for (text, expected) in [
        ("10.1.2.3/24", Some("10.1.2.3/24")),
        ("1.2.3.4/0", Some("1.2.3.4/0")),
        ("1.2.3.4/32", Some("1.2.3.4/32")),
        ("1.2.3.4/08", Some("1.2.3.4/8")),
        ("1.2.3.4/00000000000000008", Some("1.2.3.4/8")),
        ("::/0", Some("::/0")),
        ("2001:DB8:0:0:1:0:0:1/64", Some("2001:db8::1:0:0:1/64")),
        ("1:0:2:0:3:0:4:0/64", Some("1:0:2:0:3:0:4:0/64")),
        ("1:2:3:4:5:6:7::/64", Some("1:2:3:4:5:6:7:0/64")),
        ("::1.2.3.4/64", Some("::102:304/64")),
        ("64:ff9b::1.2.3.4/96", Some("64:ff9b::102:304/96")),
        ("::ffff:0:1.2.3.4/64", Some("::ffff:0:102:304/64")),
        ("::ffff:1.2.3.4/120", Some("1.2.3.4/24")),
        ("::ffff:102:304/128", Some("1.2.3.4/32")),
        ("::ffff:1.2.3.4/64", Some("1.2.3.4/0")),
        ("", None),
        ("/", None),
        ("<nil>", None),
        ("1.2.3.4/", None),
        ("1.2.3.4/33", None),
        ("::1/129", None),
        ("1.2.3.4/-1", None),
        ("1.2.3.4/+8", None),
        ("1.2.3.4/256", None),
        ("1.2.3.4/8/8", None),
        ("1.2.3.4/8 ", None),
        (" 1.2.3.4/8", None),
        ("01.2.3.4/8", None),
        ("1.2.3/8", None),
        ("256.1.1.1/8", None),
        ("fe80::1%eth0/64", None),
        ("[::1]/64", None),
        ("1::2::3/64", None),
        ("00001::/64", None),
        ("1:2:3:4::5:6:7:8/64", None),
    ] {
        let result = json!({"cniVersion": "1.0.0", "ips": [{"address": text}]}).to_string();
        match expected {
            Some(expected) => assert_eq!(read(&result).to_value()["ips"][0]["address"], expected, "{text}"),
            None => assert_eq!(refused(&result), format!("ips[0].address: invalid CIDR address: {text}")),
        }
    }
    for (text, expected) in [
        ("", Ok(Value::Null)),
        ("10.1.2.1", Ok(json!("10.1.2.1"))),
        ("::ffff:10.1.2.1", Ok(json!("10.1.2.1"))),
        ("FE80::1", Ok(json!("fe80::1"))),
        ("fe80::1%eth0", Err("ip4.gateway: invalid IP address: fe80::1%eth0")),
        ("10.1.2.01", Err("ip4.gateway: invalid IP address: 10.1.2.01")),
    ] {
        let result = json!({"ip4": {"ip": "1.1.1.1/1", "gateway": text}}).to_string();
        match expected {
            Ok(expected) => assert_eq!(read(&result).to_value()["ip4"]["gateway"], expected, "{text}"),
            Err(words) => assert_eq!(refused(&result), words),
        }
    }
}

#[test]
fn integers_are_whole_and_in_range() {
    for (number, expected) in [
        ("-1", Some(-1)),
        ("-0", Some(0)),
        ("9223372036854775807", Some(i64::MAX)),
        ("-9223372036854775808", Some(i64::MIN)),
        ("9223372036854775808", None),
        ("-9223372036854775809", None),
        ("12345678901234567890123", None),
        ("1.0", None),
        ("1.5", None),
        ("1e3", None),
        ("1e400", None),
    ] {
        let text = format!(r#"{{"cniVersion":"1.1.0","routes":[{{"dst":"::/0","table":{number}}}]}}"#);
        match expected {
            Some(expected) => assert_eq!(read(&text).to_value()["routes"][0]["table"], json!(expected), "{number}"),
            None => {
                assert!(refused(&text).starts_with("routes[0].table: expected a 64-bit integer, found "), "{number}");
            }
        }
    }
}

#[test]
fn a_plugin_may_leave_its_version_to_the_configuration() {
    use ErrorClass::{Plugin, Unsupported};
    let no = |class, words: &str| Err((class, words.to_owned()));
    for (name, conf, stdout, expected) in [
        ("absent", "0.3.1", "{}", Ok(json!({"cniVersion": "0.3.1", "dns": {}}))),
        ("absent on both sides", "", "{}", Ok(json!({"cniVersion": "0.1.0", "dns": {}}))),
        ("empty", "1.0.0", r#"{"cniVersion":""}"#, Ok(json!({"cniVersion": "1.0.0"}))),
        ("not a string", "1.0.0", r#"{"cniVersion":5}"#, Ok(json!({"cniVersion": "1.0.0"}))),
        ("null", "1.0.0", "null", Ok(json!({"cniVersion": "1.0.0"}))),
        ("its own", "1.0.0", r#"{"cniVersion":"0.2.0"}"#, Ok(json!({"cniVersion": "0.2.0", "dns": {}}))),
        (
            "in another case it is none, and sorts first",
            "0.4.0",
            r#"{"CNIVersion":"1.0.0"}"#,
            Ok(json!({"cniVersion": "0.4.0", "dns": {}})),
        ),
        ("or last", "1.0.0", r#"{"cniversion":"1.1.0"}"#, Ok(json!({"cniVersion": "1.1.0"}))),
        (
            "the re-encoded text has sorted keys",
            "1.0.0",
            r#"{"dns":{"domain":"a"},"DNS":{"domain":"b"}}"#,
            Ok(json!({"cniVersion": "1.0.0", "dns": {"domain": "a"}})),
        ),
        (
            "none twice",
            "1.0.0",
            r#"{"dns":5,"dns":{"domain":"a"}}"#,
            Ok(json!({"cniVersion": "1.0.0", "dns": {"domain": "a"}})),
        ),
        (
            "and integers for whole floats",
            "1.0.0",
            r#"{"interfaces":[{"name":"a","mtu":1.5e3}]}"#,
            Ok(json!({"cniVersion": "1.0.0", "interfaces": [{"name": "a", "mtu": 1500}]})),
        ),
        (
            "a text with a version is not re-encoded",
            "1.0.0",
            r#"{"cniVersion":"1.0.0","interfaces":[{"mtu":1.5e3}]}"#,
            no(Plugin, "interfaces[0].mtu: expected a 64-bit integer, found 1.5e+3"),
        ),
        (
            "a fraction stays one",
            "1.0.0",
            r#"{"interfaces":[{"mtu":1.5}]}"#,
            no(Plugin, "interfaces[0].mtu: expected a 64-bit integer, found 1.5"),
        ),
        ("the configuration's is unknown", "9.9", "{}", no(Unsupported, "unsupported CNI result version \"9.9\"")),
        (
            "its own is unknown",
            "1.0.0",
            r#"{"cniVersion":"9.9"}"#,
            no(Unsupported, "unsupported CNI result version \"9.9\""),
        ),
        (
            "two in the text",
            "1.0.0",
            r#"{"cniVersion":"1.0.0","CNIVersion":"0.4.0"}"#,
            no(Plugin, "result type supports [1.0.0 1.1.0] but unmarshalled CNIVersion is \"0.4.0\""),
        ),
        ("nothing", "1.0.0", "", no(Plugin, "failed to unmarshal raw result: unexpected end of JSON input")),
        (
            "not an object",
            "1.0.0",
            "[]",
            no(Plugin, "failed to unmarshal raw result: result: expected an object, found a list"),
        ),
    ] {
        assert_eq!(shown(CniResult::from_plugin(conf, stdout.as_bytes())), expected, "{name}");
    }
}

#[test]
fn create_takes_the_versions_of_one_shape() {
    let mismatch = |supported: &str, own: &str| {
        let words = format!("result type supports [{supported}] but unmarshalled CNIVersion is \"{own}\"");
        Err((ErrorClass::Plugin, words))
    };
    for (version, text, expected) in [
        ("", "{}", Ok(json!({"cniVersion": "0.1.0", "dns": {}}))),
        ("0.2.0", "null", Ok(json!({"cniVersion": "0.1.0", "dns": {}}))),
        ("1.0.0", r#"{"cniVersion":"1.1.0"}"#, Ok(json!({"cniVersion": "1.1.0"}))),
        ("0.2.0", r#"{"cniVersion":"1.0.0"}"#, mismatch(" 0.1.0 0.2.0", "1.0.0")),
        ("0.4.0", "{}", mismatch("0.3.0 0.3.1 0.4.0", "")),
        ("1.1.0", r#"{"cniVersion":"0.4.0"}"#, mismatch("1.0.0 1.1.0", "0.4.0")),
        ("1.2.0", "{}", Err((ErrorClass::Unsupported, "unsupported CNI result version \"1.2.0\"".to_owned()))),
    ] {
        assert_eq!(shown(CniResult::create(version, text.as_bytes())), expected, "{version} {text}");
    }
}

/// Rules of this library, not of libcni.
#[test]
fn addresses_are_those_of_the_interface_inside() {
    let lists = r#""interfaces":[{"name":"eth0"},{"name":"eth0","sandbox":"/ns"},{"name":"net1","sandbox":"/ns"},null],"ips":[
        {"address":"10.0.0.1/8","interface":0},
        {"address":"10.0.0.2/8","interface":1},
        {"address":"10.0.0.3/8","interface":2},
        {"address":"10.0.0.4/8","interface":3},
        {"address":"10.0.0.5/8","interface":4},
        {"address":"10.0.0.6/8","interface":-1},
        {"interface":1},
        null,
        {"address":"fe80::1/64"},
        {"address":"10.0.0.7/8","interface":1}]"#;
    for (version, rest, if_name, expected) in [
        ("1.1.0", lists, "eth0", &["10.0.0.2", "fe80::1", "10.0.0.7"][..]),
        ("0.3.0", lists, "eth0", &["10.0.0.2", "fe80::1", "10.0.0.7"]),
        ("1.0.0", lists, "net1", &["10.0.0.3", "fe80::1"]),
        ("0.4.0", lists, "", &["fe80::1"]),
        ("0.2.0", r#""ip6":{"ip":"fe80::1/64"},"ip4":{"ip":"10.0.0.1/8"}"#, "any", &["10.0.0.1", "fe80::1"]),
        ("0.1.0", r#""ip4":{}"#, "any", &[]),
    ] {
        let result = read(&format!(r#"{{"cniVersion":"{version}",{rest}}}"#));
        let addresses: Vec<String> = result.addresses(if_name).iter().map(ToString::to_string).collect();
        assert_eq!(addresses, expected, "{version} {if_name:?}");
    }
}

#[test]
fn hostile_documents_are_refused_or_ignored() {
    assert!(refused(&"[".repeat(100_000)).contains("recursion limit exceeded"));
    // serde_json's own keys mean nothing here: the text inside is not read.
    let nested = json!({"$serde_json::private::RawValue": "[".repeat(100_000)});
    let inside = |dns: &Value| json!({"cniVersion": "1.0.0", "dns": dns}).to_string();
    assert_eq!(read(&inside(&nested)).to_value(), json!({"cniVersion": "1.0.0"}));
    let number = r#"{"cniVersion":"1.0.0","interfaces":[{"mtu":{"$serde_json::private::Number":"5"}}]}"#;
    assert_eq!(refused(number), "interfaces[0].mtu: expected a 64-bit integer, found an object");
    assert!(refused(r#"{"dns":{"domain":"\ud800"}}"#).contains("hex escape"), "half a surrogate pair");
}
