//! What all processes of a storm know: its directory, its seed, its length, and what the library is told.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use cnirt::pod::{Hooks, PluginManager, PluginOptions};
use serde_json::{Value, json};

pub(crate) const PODS: u32 = 2000;
/// Several pods share a namespace, by interfaces of their own.
pub(crate) const NAMESPACES: u32 = 128;
pub(crate) const PROCESSES: usize = 8;
pub(crate) const THREADS: usize = 8;
pub(crate) const NETWORK: &str = "storm";
const BRIDGE: &str = "storm0";
/// What the library gives a plugin that was told to end, and a rollback: nothing waits longer beyond its own limit.
pub(crate) const KILL_GRACE_MS: u64 = 50;
pub(crate) const ROLLBACK_TIMEOUT_MS: u64 = 5000;
/// The limit of calls that nothing is done to. None comes near.
pub(crate) const LIMIT_MS: u64 = 120_000;
/// For the GC of everything: hundreds of pods, one after another, on a machine that may be busy.
pub(crate) const TO_REMOVE: Duration = Duration::from_secs(400);

const VARIABLE: &str = "CNIRT_STORM_PLAN";

pub(crate) struct Plan {
    pub(crate) dir: PathBuf,
    pub(crate) seed: u64,
    pub(crate) seconds: u64,
    /// With the plugins of `scripts/plugins`.
    pub(crate) built: bool,
}

impl Plan {
    /// Hands it to a process, and to all that it starts.
    pub(crate) fn tell<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let Self { dir, seed, seconds, built } = self;
        command.env(VARIABLE, json!([dir, seed, seconds, built]).to_string())
    }

    pub(crate) fn told() -> Result<Self, String> {
        let text = std::env::var(VARIABLE).map_err(|error| format!("{VARIABLE}: {error}"))?;
        let told = serde_json::from_str(&text).map_err(|error| format!("{VARIABLE}: {error}"));
        told.map(|(dir, seed, seconds, built)| Self { dir, seed, seconds, built })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// This program.
    pub(crate) fn program(&self) -> PathBuf {
        self.path("storm")
    }

    pub(crate) fn netns(&self, pod: u32) -> PathBuf {
        self.path("ns").join((pod % NAMESPACES).to_string())
    }

    fn plugins(&self) -> PathBuf {
        if self.built {
            Path::new(env!("CARGO_MANIFEST_DIR")).join("target/cni-plugins")
        } else {
            PathBuf::from("/usr/lib/cni")
        }
    }

    /// Makes what the hosts find on their node.
    pub(crate) fn prepare(&self) -> Result<(), String> {
        let failed = |error: std::io::Error| error.to_string();
        for name in ["conf", "cache", "ipam", "bin", "ns"] {
            std::fs::create_dir(self.path(name)).map_err(failed)?;
        }
        // This file may be built anew meanwhile.
        let this = std::env::current_exe().map_err(failed)?;
        std::fs::hard_link(&this, self.program())
            .or_else(|_| std::fs::copy(&this, self.program()).map(drop))
            .map_err(failed)?;
        for name in [LAST, IPAM] {
            std::os::unix::fs::symlink(self.program(), self.path("bin").join(name)).map_err(failed)?;
        }
        // bridge makes it, too, but several at the same time give it one hardware address after another, and CHECK of v1.9.1
        // then misses the one that it had first.
        let bridge = format!("PATH=$PATH:/usr/sbin:/sbin ip link add {BRIDGE} address 02:00:00:00:00:01 type bridge");
        let made = Command::new("sh").args(["-c", &bridge]).status().map_err(failed)?;
        if !made.success() {
            return Err(format!("{bridge}: {made}"));
        }
        for number in 0..NAMESPACES {
            cnirt::netns::create(&self.netns(number)).map_err(|error| error.to_string())?;
        }
        let list = json!({
            "cniVersion": if self.built { "1.1.0" } else { "1.0.0" },
            "name": NETWORK,
            "plugins": [
                {"type": "bridge", "bridge": BRIDGE, "isGateway": true, "ipam": {
                    "type": IPAM, "dataDir": self.path("ipam"), "ranges": [[{"subnet": "10.88.0.0/22"}]],
                }},
                {"type": LAST},
            ],
        });
        std::fs::write(self.path("conf").join("10-storm.conflist"), list.to_string()).map_err(failed)
    }

    pub(crate) fn manager(&self) -> Result<Arc<PluginManager>, String> {
        let options = json!({
            "confDir": self.path("conf"),
            "binDirs": [self.path("bin"), self.plugins()],
            "cacheDir": self.path("cache"),
            // Pods share namespaces.
            "loopback": false,
            "timeoutMs": LIMIT_MS,
            "killGraceMs": KILL_GRACE_MS,
            "rollbackTimeoutMs": ROLLBACK_TIMEOUT_MS,
            "owner": "storm",
        });
        let options = PluginOptions::from_json(&options.to_string()).map_err(|error| error.to_string())?;
        PluginManager::new(options, Hooks::default()).map(Arc::new).map_err(|error| error.to_string())
    }

    pub(crate) fn request(&self, pod: u32) -> Value {
        let name = pod_name(pod);
        json!({"id": name, "namespace": "storm", "name": name, "netns": self.netns(pod), "ifName": if_name(pod)})
    }
}

/// The plugins that hang where they are told to: the last one of the list, and one around host-local.
pub(crate) const LAST: &str = "last";
pub(crate) const IPAM: &str = "ipam";

pub(crate) fn pod_name(pod: u32) -> String {
    format!("pod-{pod}")
}

pub(crate) fn if_name(pod: u32) -> String {
    format!("e{pod}")
}
