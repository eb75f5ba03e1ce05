//! The options of a network plugin, and their defaults.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use serde_json::Value;

use crate::error::{Error, ErrorClass, Result};
use crate::json::Object;
use crate::names::IfName;
use crate::network::{CniConfig, RuntimeOptions};
use crate::store::Durability;

/// Which network plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PluginKind {
    /// CNI plugins.
    Cni,
    /// `kubernetes.io/no-op`: every operation succeeds and does nothing.
    Noop,
}

/// Which address family comes first in `ips`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IpPreference {
    /// The order of the result.
    #[default]
    Cni,
    /// IPv4 first.
    Ipv4,
    /// IPv6 first.
    Ipv6,
}

/// Which plugin types are done in this process instead of by their binary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Builtin {
    /// `loopback`, for the pod's `lo`.
    pub loopback: bool,
}

/// The options of a network plugin. `Default` is what an empty object means.
#[derive(Clone, Debug)]
pub struct PluginOptions {
    /// `plugin`: `cni` or `noop`.
    pub plugin: PluginKind,
    /// `confDir`: where network configurations are.
    pub conf_dir: PathBuf,
    /// `binDirs`: where plugin binaries are, first wins.
    pub bin_dirs: Vec<PathBuf>,
    /// `cacheDir`: where attachments are recorded.
    pub cache_dir: PathBuf,
    /// `defaultNetwork`: the default network's name; else the first valid file.
    pub default_network: Option<String>,
    /// `podCidr`: the node's pod CIDR, for the capability `ipRanges`; an event can set it once.
    pub pod_cidr: Option<String>,
    /// `ifName`: the default network's interface.
    pub if_name: IfName,
    /// `timeoutMs`: the limit of one call; 0 is none.
    pub timeout: Duration,
    /// `killGraceMs`: between TERM and KILL.
    pub kill_grace: Duration,
    /// `rollback`: undo a failed set-up.
    pub rollback: bool,
    /// `rollbackTimeoutMs`: the limit of undoing.
    pub rollback_timeout: Duration,
    /// `loopback`: set the pod's `lo` up.
    pub loopback: bool,
    /// `builtin`: plugin types done in this process.
    pub builtin: Builtin,
    /// `durability`: what a cache entry survives.
    pub durability: Durability,
    /// `maxOutputBytes`: the most that a plugin may print.
    pub max_output: usize,
    /// `env`: exactly this environment for plugins, in place of the process's.
    pub env: Option<BTreeMap<String, String>>,
    /// `pluginEnv`: added to the environment.
    pub plugin_env: BTreeMap<String, String>,
    /// `owner`: a tag on cache entries.
    pub owner: String,
    /// `opThreads`: the most threads that background calls run on, at least 1.
    pub op_threads: NonZeroUsize,
    /// `ipPreference`: the order of `ips`.
    pub ip_preference: IpPreference,
}

impl Default for PluginOptions {
    fn default() -> Self {
        default_engine().into()
    }
}

impl PluginOptions {
    /// Reads the options' JSON. Keys are as in the fields' documentation; an unknown one is an error.
    pub fn from_json(text: &str) -> Result<Self> {
        Object::parse("plugin options", text)?.read(Self::read)
    }

    fn read(object: &mut Object) -> Result<Self> {
        let default = Self::default();
        let pod_cidr: Option<String> = object.optional("podCidr")?;
        if let Some(cidr) = &pod_cidr {
            check_pod_cidr(cidr).map_err(|error| object.refused("podCidr", error))?;
        }
        let if_name = match object.optional::<String>("ifName")? {
            Some(name) => IfName::parse(name).map_err(|error| object.refused("ifName", error))?,
            None => default.if_name,
        };
        let engine = Self::from(default_engine().with(object)?);
        let conf_dir = object.optional("confDir")?.unwrap_or(default.conf_dir);
        let plugin = object.choice("plugin", &[("cni", PluginKind::Cni), ("noop", PluginKind::Noop)])?;
        let bin_dirs = engine.bin_dirs.iter().map(|dir| absolute(object, "binDirs", dir));
        Ok(Self {
            plugin: plugin.unwrap_or(default.plugin),
            conf_dir: absolute(object, "confDir", &conf_dir)?,
            bin_dirs: bin_dirs.collect::<Result<_>>()?,
            cache_dir: absolute(object, "cacheDir", &engine.cache_dir)?,
            default_network: object.optional("defaultNetwork")?,
            pod_cidr,
            if_name,
            loopback: object.optional("loopback")?.unwrap_or(default.loopback),
            builtin: builtin(object)?.unwrap_or(default.builtin),
            owner: object.optional("owner")?.unwrap_or(default.owner),
            ip_preference: object
                .choice(
                    "ipPreference",
                    &[("cni", IpPreference::Cni), ("ipv4", IpPreference::Ipv4), ("ipv6", IpPreference::Ipv6)],
                )?
                .unwrap_or(default.ip_preference),
            ..engine
        })
    }
}

/// What the pod level has in common with libcni's runtime, with defaults of its own.
fn default_engine() -> RuntimeOptions {
    RuntimeOptions { timeout: Duration::from_secs(220), rollback: true, ..RuntimeOptions::default() }
}

impl From<RuntimeOptions> for PluginOptions {
    /// These options, and the defaults of the others.
    fn from(engine: RuntimeOptions) -> Self {
        Self {
            plugin: PluginKind::Cni,
            conf_dir: "/etc/cni/net.d".into(),
            bin_dirs: engine.bin_dirs,
            cache_dir: engine.cache_dir.unwrap_or_else(|| CniConfig::CACHE_DIR.into()),
            default_network: None,
            pod_cidr: None,
            if_name: IfName::eth0(),
            timeout: engine.timeout,
            kill_grace: engine.kill_grace,
            rollback: engine.rollback,
            rollback_timeout: engine.rollback_timeout,
            loopback: true,
            builtin: Builtin { loopback: true },
            durability: engine.durability,
            max_output: engine.max_output,
            env: engine.env,
            plugin_env: engine.plugin_env,
            owner: "cnirt".to_owned(),
            op_threads: engine.op_threads,
            ip_preference: IpPreference::Cni,
        }
    }
}

/// A pod CIDR is a subnet, or for dual stack several with commas between.
pub(super) fn check_pod_cidr(cidr: &str) -> Result<()> {
    for one in cidr.split(',') {
        one.parse::<IpNet>().map_err(|_| Error::invalid(format!("{one:?} is not a CIDR")))?;
    }
    Ok(())
}

/// A directory as an absolute path, so that a host that changes its own does not lose it.
fn absolute(object: &Object, key: &str, path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|error| object.refused(key, format!("{}: {error}", path.display())))
}

fn builtin(object: &mut Object) -> Result<Option<Builtin>> {
    let list = match object.optional::<Value>("builtin")? {
        None => return Ok(None),
        Some(Value::String(word)) if word == "auto" => return Ok(Some(Builtin { loopback: true })),
        Some(Value::Array(list)) => list,
        Some(_) => return Err(object.refused("builtin", "expected a list of plugin types, or \"auto\"")),
    };
    let mut chosen = Builtin { loopback: false };
    for item in list {
        match item.as_str() {
            Some("loopback") => chosen.loopback = true,
            Some(other) => {
                let error = object.refused("builtin", format!("there is no built-in plugin {other:?}"));
                return Err(error.with_class(ErrorClass::Unsupported).with_hint("built in is: loopback"));
            }
            None => return Err(object.refused("builtin", "expected a list of plugin types, or \"auto\"")),
        }
    }
    Ok(Some(chosen))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_object_means_the_documented_defaults() {
        let options = PluginOptions::from_json("{}").unwrap();
        assert_eq!(options.conf_dir.to_str(), Some("/etc/cni/net.d"));
        assert_eq!(options.bin_dirs, ["/opt/cni/bin", "/usr/lib/cni"].map(PathBuf::from));
        assert_eq!(options.cache_dir.to_str(), Some("/var/lib/cni"));
        assert_eq!((options.timeout.as_millis(), options.kill_grace.as_millis()), (220_000, 2_000));
        assert_eq!((options.rollback_timeout.as_millis(), options.max_output), (60_000, 4_194_304));
        assert!(options.rollback && options.loopback && options.builtin.loopback);
        assert_eq!((options.if_name.as_str(), options.owner.as_str()), ("eth0", "cnirt"));
        assert_eq!((options.plugin, options.ip_preference), (PluginKind::Cni, IpPreference::Cni));
        assert_eq!(options.op_threads.get(), 64);
    }

    #[test]
    fn every_key_is_read() {
        let options = PluginOptions::from_json(
            r#"{"plugin":"noop","confDir":"/c","binDirs":["/a","","/b"],"cacheDir":"/k","defaultNetwork":"n",
                "podCidr":"10.0.0.0/24,fd00::/64","ifName":"net1","timeoutMs":1,"killGraceMs":2,"rollback":false,
                "rollbackTimeoutMs":3,"loopback":false,"builtin":[],"durability":"atomic","maxOutputBytes":4,
                "env":{"A":"b"},"pluginEnv":{"C":"d"},"owner":"me","opThreads":7,"ipPreference":"ipv6"}"#,
        )
        .unwrap();
        assert_eq!(options.plugin, PluginKind::Noop);
        assert_eq!((options.conf_dir.to_str(), options.cache_dir.to_str()), (Some("/c"), Some("/k")));
        assert_eq!(options.bin_dirs, ["/a", "/b"].map(PathBuf::from));
        assert_eq!(options.default_network.as_deref(), Some("n"));
        assert_eq!(options.pod_cidr.as_deref(), Some("10.0.0.0/24,fd00::/64"));
        assert_eq!(options.if_name.as_str(), "net1");
        assert_eq!((options.timeout.as_millis(), options.kill_grace.as_millis()), (1, 2));
        assert_eq!((options.rollback_timeout.as_millis(), options.max_output), (3, 4));
        assert!(!options.rollback && !options.loopback && !options.builtin.loopback);
        assert_eq!(options.durability, Durability::Atomic);
        assert_eq!((options.env.unwrap()["A"].as_str(), options.plugin_env["C"].as_str()), ("b", "d"));
        assert_eq!(options.op_threads.get(), 7);
        assert_eq!((options.owner.as_str(), options.ip_preference), ("me", IpPreference::Ipv6));
    }

    #[test]
    fn directories_do_not_follow_the_host() {
        let options = PluginOptions::from_json(r#"{"confDir":"c","binDirs":["b/../b"],"cacheDir":"./k"}"#).unwrap();
        let here = std::env::current_dir().unwrap();
        assert_eq!((options.conf_dir, options.cache_dir), (here.join("c"), here.join("k")));
        assert_eq!(options.bin_dirs, [here.join("b/../b")]);
    }

    #[test]
    fn bad_options_name_their_key() {
        for (text, words) in [
            (r#"{"plugin":"x"}"#, "plugin options, key \"plugin\": \"x\" is none of cni, noop"),
            (r#"{"podCidr":"10.0.0.0"}"#, "plugin options, key \"podCidr\": \"10.0.0.0\" is not a CIDR"),
            (
                r#"{"ifName":"a/b"}"#,
                "plugin options, key \"ifName\": interface name contains / or : or whitespace characters",
            ),
            (r#"{"builtin":["bridge"]}"#, "plugin options, key \"builtin\": there is no built-in plugin \"bridge\""),
            (r#"{"confDir":""}"#, "plugin options, key \"confDir\": : cannot make an empty path absolute"),
            (r#"{"builtin":"all"}"#, "plugin options, key \"builtin\": expected a list of plugin types, or \"auto\""),
            (
                r#"{"opThreads":0}"#,
                "plugin options, key \"opThreads\": invalid value: integer `0`, expected a nonzero usize",
            ),
            (r#"{"timeoutMs":-1}"#, "plugin options, key \"timeoutMs\": invalid number"),
        ] {
            assert_eq!(PluginOptions::from_json(text).unwrap_err().to_string(), words);
        }
        let unknown = PluginOptions::from_json(r#"{"bindirs":[]}"#).unwrap_err();
        assert_eq!(unknown.hint(), Some("the nearest known key is \"binDirs\""));
    }
}
