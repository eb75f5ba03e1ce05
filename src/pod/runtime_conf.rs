//! From a pod request to what one network list is told (the kubelet's `buildCNIRuntimeConf`).

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::conf::NetworkConfigList;
use crate::error::{Error, Result};
use crate::names::IfName;
use crate::network::RuntimeConf;
use crate::pod::{Bandwidth, NetworkRequest, PodRequest, PortMapping, bandwidth};

/// Containerd's name for a pod's annotations as a capability.
const ANNOTATIONS: &str = "io.kubernetes.cri.pod-annotations";

/// What a pod's networks have in common.
pub(super) struct PodFacts<'a> {
    /// The request.
    pub request: &'a PodRequest,
    /// The path of the namespace, or empty.
    pub netns: String,
    /// Which namespace that is, where it is about to be recorded.
    pub netns_id: Option<String>,
    /// The request's, or the host's.
    pub port_mappings: Vec<PortMapping>,
    /// The node's pod CIDR.
    pub pod_cidr: Option<String>,
}

impl PodFacts<'_> {
    /// What one network is told. `first` says whether the pod's own `ips` and `mac` are meant for it.
    pub(super) fn build_runtime_conf(
        &self,
        list: &NetworkConfigList,
        network: Option<&NetworkRequest>,
        if_name: &IfName,
        first: bool,
    ) -> Result<RuntimeConf> {
        let request = self.request;
        let own_ips = network.map(|network| &network.ips).filter(|ips| !ips.is_empty());
        let ips = own_ips.or(first.then_some(&request.ips)).filter(|ips| !ips.is_empty());
        let own_mac = network.and_then(|network| network.mac.as_ref());
        let mac = own_mac.or(request.mac.as_ref().filter(|_| first));

        let mut capability_args = self.capability_args()?;
        let mut args = kubelet_args(request);
        if let Some(ips) = ips {
            capability_args.insert("ips".to_owned(), json!(ips));
            if !declares(list, "ips") {
                args.push(("IP".to_owned(), ips.join(",")));
            }
        }
        if let Some(mac) = mac {
            capability_args.insert("mac".to_owned(), json!(mac));
            if !declares(list, "mac") {
                args.push(("MAC".to_owned(), mac.clone()));
            }
        }
        capability_args.extend(request.capability_args.clone());
        args.extend(request.cni_args.iter().cloned());
        if let Some(network) = network {
            capability_args.extend(network.capability_args.clone());
            args.extend(network.cni_args.iter().cloned());
        }
        check_args(&args)?;
        Ok(RuntimeConf {
            container_id: request.id.to_string(),
            netns: self.netns.clone(),
            netns_id: self.netns_id.clone(),
            if_name: if_name.to_string(),
            args,
            capability_args,
            cache_dir: None,
        })
    }

    /// What the pod's loopback is told.
    pub(super) fn pod_conf(&self) -> RuntimeConf {
        RuntimeConf {
            container_id: self.request.id.to_string(),
            netns: self.netns.clone(),
            netns_id: self.netns_id.clone(),
            args: kubelet_args(self.request),
            ..RuntimeConf::default()
        }
    }

    /// The capabilities that the request's own keys stand for; shapes as in the specification's CONVENTIONS.md.
    fn capability_args(&self) -> Result<Map<String, Value>> {
        let request = self.request;
        let mut capabilities = Map::new();
        let mut insert = |key: &str, value: Value| capabilities.insert(key.to_owned(), value);
        if !self.port_mappings.is_empty() {
            insert("portMappings", to_value(&self.port_mappings)?);
        }
        let annotated = || bandwidth::from_annotations(&request.annotations);
        let bandwidth: Option<Bandwidth> = request.bandwidth.map_or_else(annotated, |limits| Ok(Some(limits)))?;
        if let Some(bandwidth) = bandwidth {
            insert("bandwidth", to_value(&bandwidth)?);
        }
        match (&request.ip_ranges, &self.pod_cidr) {
            (Some(ranges), _) => drop(insert("ipRanges", to_value(ranges)?)),
            (None, Some(cidr)) => {
                let ranges: Vec<Value> = cidr.split(',').map(|subnet| json!([{"subnet": subnet}])).collect();
                insert("ipRanges", ranges.into());
            }
            (None, None) => {}
        }
        if let Some(dns) = &request.dns {
            insert("dns", to_value(dns)?);
        }
        if let Some(aliases) = &request.aliases {
            insert("aliases", aliases.clone());
        }
        if let Some(path) = &request.cgroup_path {
            insert("cgroupPath", json!(path));
        }
        if !request.annotations.is_empty() {
            insert(ANNOTATIONS, json!(request.annotations));
        }
        Ok(capabilities)
    }
}

fn to_value(value: &impl Serialize) -> Result<Value> {
    serde_json::to_value(value).map_err(|error| Error::invalid(format!("pod request: {error}")))
}

/// The kubelet's arguments, in its order; those without a value are left out.
fn kubelet_args(request: &PodRequest) -> Vec<(String, String)> {
    let pairs = [
        ("IgnoreUnknown", "1"),
        ("K8S_POD_NAMESPACE", &request.namespace),
        ("K8S_POD_NAME", &request.name),
        ("K8S_POD_INFRA_CONTAINER_ID", request.id.as_str()),
        ("K8S_POD_UID", &request.uid),
    ];
    let given = pairs.into_iter().filter(|(_, value)| !value.is_empty());
    given.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn declares(list: &NetworkConfigList, capability: &str) -> bool {
    list.plugins.iter().any(|plugin| plugin.capabilities.get(capability) == Some(&true))
}

/// Refuses what would change the meaning of `CNI_ARGS`, which knows no quoting.
fn check_args(args: &[(String, String)]) -> Result<()> {
    let separator = |text: &str| text.contains([';', '=', '\0']);
    for (index, (key, value)) in args.iter().enumerate() {
        let why = if key.is_empty() {
            "the key is empty"
        } else if separator(key) {
            "the key has a ';', a '=' or a NUL"
        } else if separator(value) {
            "the value has a ';', a '=' or a NUL"
        } else if args[..index].iter().any(|(earlier, _)| earlier == key) {
            "the key is given twice"
        } else {
            continue;
        };
        return Err(Error::invalid(format!("CNI_ARGS, key {key:?}: {why}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conf(request: &str, plugins: &str, network: Option<usize>) -> Result<RuntimeConf> {
        let request = PodRequest::from_json(request)?;
        let list = format!(r#"{{"name":"n","cniVersion":"1.0.0","plugins":{plugins}}}"#);
        let list = NetworkConfigList::from_bytes(list.as_bytes())?;
        let port_mappings = request.port_mappings.clone().unwrap_or_default();
        let facts = PodFacts { request: &request, netns: "/ns".into(), netns_id: None, port_mappings, pod_cidr: None };
        let network = network.map(|index| &request.networks.as_ref().unwrap()[index]);
        facts.build_runtime_conf(&list, network, &IfName::eth0(), true)
    }

    fn args(conf: &RuntimeConf) -> String {
        conf.args.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(";")
    }

    #[test]
    fn the_kubelets_arguments_come_first_and_empty_ones_not_at_all() {
        let bare = conf(r#"{"id":"c"}"#, r#"[{"type":"x"}]"#, None).unwrap();
        assert_eq!(args(&bare), "IgnoreUnknown=1;K8S_POD_INFRA_CONTAINER_ID=c");
        assert_eq!((bare.container_id.as_str(), bare.netns.as_str(), bare.if_name.as_str()), ("c", "/ns", "eth0"));
        assert!(bare.capability_args.is_empty());
        let full = r#"{"id":"c","namespace":"ns","name":"po","uid":"u","cniArgs":[["B","2"],["A","1"]]}"#;
        assert_eq!(
            args(&conf(full, r#"[{"type":"x"}]"#, None).unwrap()),
            "IgnoreUnknown=1;K8S_POD_NAMESPACE=ns;K8S_POD_NAME=po;K8S_POD_INFRA_CONTAINER_ID=c;K8S_POD_UID=u;B=2;A=1"
        );
    }

    #[test]
    fn arguments_that_would_break_the_format_are_refused_by_name() {
        for (request, words) in [
            (r#"{"id":"c","cniArgs":[["","1"]]}"#, "CNI_ARGS, key \"\": the key is empty"),
            (r#"{"id":"c","cniArgs":[["A;B","1"]]}"#, "CNI_ARGS, key \"A;B\": the key has a ';', a '=' or a NUL"),
            (r#"{"id":"c","cniArgs":[["A","1=2"]]}"#, "CNI_ARGS, key \"A\": the value has a ';', a '=' or a NUL"),
            (r#"{"id":"c","cniArgs":[["A","1\u0000"]]}"#, "CNI_ARGS, key \"A\": the value has a ';', a '=' or a NUL"),
            (
                r#"{"id":"c","cniArgs":[["IgnoreUnknown","0"]]}"#,
                "CNI_ARGS, key \"IgnoreUnknown\": the key is given twice",
            ),
            (r#"{"id":"c","name":"a;b"}"#, "CNI_ARGS, key \"K8S_POD_NAME\": the value has a ';', a '=' or a NUL"),
        ] {
            assert_eq!(conf(request, r#"[{"type":"x"}]"#, None).unwrap_err().to_string(), words);
        }
    }

    #[test]
    fn capabilities_have_the_conventions_shapes() {
        let request = r#"{"id":"c","annotations":{"kubernetes.io/egress-bandwidth":"1M"},
            "portMappings":[{"hostPort":80,"containerPort":8080,"protocol":"TCP"},{"hostPort":0,"containerPort":1},
                            {"hostPort":81,"containerPort":81,"protocol":"UDP","hostIP":"127.0.0.1"}],
            "ipRanges":[[{"subnet":"10.0.0.0/24"}]],"dns":{"servers":["1.1.1.1"]},"aliases":["a"],"cgroupPath":"/x",
            "capabilityArgs":{"custom":{"n":12345678901234567890}}}"#;
        assert_eq!(
            Value::Object(conf(request, r#"[{"type":"x"}]"#, None).unwrap().capability_args),
            json!({
                "portMappings": [
                    {"hostPort": 80, "containerPort": 8080, "protocol": "tcp", "hostIP": ""},
                    {"hostPort": 81, "containerPort": 81, "protocol": "udp", "hostIP": "127.0.0.1"}
                ],
                "bandwidth": {"egressRate": 1_000_000, "egressBurst": 2_147_483_647},
                "ipRanges": [[{"subnet": "10.0.0.0/24"}]],
                "dns": {"servers": ["1.1.1.1"]},
                "aliases": ["a"],
                "cgroupPath": "/x",
                "io.kubernetes.cri.pod-annotations": {"kubernetes.io/egress-bandwidth": "1M"},
                "custom": {"n": 12_345_678_901_234_567_890_u64}
            })
        );
    }

    #[test]
    fn wanted_addresses_go_as_capability_and_where_none_is_declared_as_arguments() {
        let request = r#"{"id":"c","ips":["10.0.0.7/24","fd00::7"],"mac":"02:00:00:00:00:07"}"#;
        let undeclared = conf(request, r#"[{"type":"x"}]"#, None).unwrap();
        assert!(args(&undeclared).ends_with(";IP=10.0.0.7/24,fd00::7;MAC=02:00:00:00:00:07"), "{}", args(&undeclared));
        let declared = conf(request, r#"[{"type":"x","capabilities":{"ips":true,"mac":true}}]"#, None).unwrap();
        assert_eq!(args(&declared), "IgnoreUnknown=1;K8S_POD_INFRA_CONTAINER_ID=c");
        for conf in [undeclared, declared] {
            assert_eq!(conf.capability_args["ips"], json!(["10.0.0.7/24", "fd00::7"]));
            assert_eq!(conf.capability_args["mac"], json!("02:00:00:00:00:07"));
        }
    }

    #[test]
    fn a_networks_own_wishes_win_over_the_pods_and_explicit_capabilities_over_all() {
        let request = r#"{"id":"c","ips":["10.0.0.7"],"capabilityArgs":{"k":1,"l":1},
            "networks":[{"name":"n","ips":["10.0.0.8"],"capabilityArgs":{"k":2},"cniArgs":[["Z","9"]]}]}"#;
        let conf = conf(request, r#"[{"type":"x","capabilities":{"ips":true}}]"#, Some(0)).unwrap();
        assert_eq!(Value::Object(conf.capability_args.clone()), json!({"ips": ["10.0.0.8"], "k": 2, "l": 1}));
        assert!(args(&conf).ends_with(";Z=9"));
    }
}
