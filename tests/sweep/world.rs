//! A node for a sweep, with plugins that record or with real ones; and what must be gone from it after a recovery.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::fs::{FlockOperation, fcntl_lock};
use serde_json::{Value, json};

use super::node_state::{self, State, shell};

pub(crate) const NODE: &str = "/run/node";
/// Where [`State`] does not look.
pub(crate) const CACHE: &str = "/run/cache";
/// The only one that host-local has to give: a reservation that is left makes the next set-up fail.
const ADDRESS: &str = "10.77.0.10";
/// The options of a host whose network is configured, and of one that has nothing but what others recorded.
const CONFIGURED: &str = "configured.json";
const UNCONFIGURED: &str = "unconfigured.json";
const NAMES: [&str; RECORDING] = ["one", "two", "three", "four", "five"];
/// How many recording plugins a network has at most.
pub(crate) const RECORDING: usize = 5;

/// Whose plugins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plugins {
    Recording,
    Real,
}

impl fmt::Display for Plugins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Recording => "recording",
            Self::Real => "real",
        })
    }
}

/// How the library starts plugins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spawn {
    Nanny,
    Direct,
}

/// What a host does in its watched step, and how somebody else makes good what it left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    SetUp,
    TearDown,
    Gc,
}

impl Step {
    pub(crate) const ALL: [Self; 3] = [Self::SetUp, Self::TearDown, Self::Gc];

    /// The host's word for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::SetUp => "setup",
            Self::TearDown => "teardown",
            Self::Gc => "gc",
        }
    }

    /// The host's steps: what has to be there first, and this one, watched.
    pub(crate) fn watched(self) -> &'static [&'static str] {
        match self {
            Self::SetUp => &["@setup"],
            Self::TearDown => &["setup", "@teardown"],
            Self::Gc => &["setup", "@gc"],
        }
    }

    /// The steps that make good what was left, where this is how.
    pub(crate) fn recovery(self) -> &'static [&'static str] {
        match self {
            Self::SetUp => &["setup", "teardown"],
            Self::TearDown => &["teardown"],
            Self::Gc => &["gc"],
        }
    }
}

/// What a host says of one step.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) step: String,
    pub(crate) rc: String,
    pub(crate) out: Value,
    /// What the recording plugins have claimed then.
    pub(crate) claims: usize,
    /// Descriptors, threads and mappings.
    pub(crate) before: [i64; 3],
    pub(crate) after: [i64; 3],
}

impl Said {
    /// Every step of a host's output.
    pub(crate) fn all(output: &str) -> Result<Vec<Self>, String> {
        output.lines().map(|line| Self::one(line).ok_or_else(|| format!("the host said {line}"))).collect()
    }

    fn one(line: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(line).ok()?;
        let held = |key: &str| -> Option<[i64; 3]> {
            let list: Vec<i64> = value[key].as_array()?.iter().filter_map(Value::as_i64).collect();
            list.try_into().ok()
        };
        Some(Self {
            step: value["step"].as_str()?.to_owned(),
            rc: value["rc"].as_str()?.to_owned(),
            out: value["out"].clone(),
            claims: usize::try_from(value["claims"].as_u64()?).ok()?,
            before: held("before")?,
            after: held("after")?,
        })
    }
}

/// A node, made in the namespaces that this process has for itself.
pub(crate) struct World {
    /// How many recording plugins its network has.
    pub(crate) recording: usize,
    spawn: Spawn,
    host: PathBuf,
    /// The node with nothing on it, but for what plugins make once.
    clean: Option<State>,
}

impl World {
    /// With so many recording plugins, unless they are real. `programs` has the host and the recording plugin.
    pub(crate) fn make(plugins: Plugins, recording: usize, spawn: Spawn, programs: &Path) -> Result<Self, String> {
        node_state::make_node()?;
        for directory in ["conf", "bin", "claims"] {
            fs::create_dir_all(Path::new(NODE).join(directory)).map_err(|error| format!("{directory}: {error}"))?;
        }
        for name in NAMES {
            let to = Path::new(NODE).join("bin").join(name);
            fs::copy(programs.join("plugin"), to).map_err(|error| format!("{name}: {error}"))?;
        }
        let real = plugins == Plugins::Real;
        let list = if real {
            let ipam = json!({"type": "host-local", "dataDir": "/run/ipam", "ranges": [[{"subnet": "10.77.0.0/24",
                "rangeStart": ADDRESS, "rangeEnd": ADDRESS}]]});
            json!({"cniVersion": "1.0.0", "name": "net", "plugins": [
                {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "ipam": ipam},
                {"type": "portmap", "capabilities": {"portMappings": true}}]})
        } else {
            let plugins: Vec<_> = NAMES[..recording].iter().map(|name| json!({"type": name})).collect();
            json!({"cniVersion": "1.1.0", "name": "net", "plugins": plugins})
        };
        let options = |configured: &str| {
            json!({"confDir": format!("{NODE}/{configured}"), "cacheDir": CACHE,
                "binDirs": [if real { "/usr/lib/cni".to_owned() } else { format!("{NODE}/bin") }], "timeoutMs": 30000,
                "pluginEnv": {"CNIRT_SWEEP_CLAIMS": format!("{NODE}/claims"), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}})
        };
        let ports = if real { json!([{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]) } else { json!([]) };
        let pod =
            json!({"id": "pod", "name": "a", "namespace": "b", "netns": node_state::NETNS, "portMappings": ports});
        for (name, content) in [
            ("conf/net.conflist", list),
            (CONFIGURED, options("conf")),
            (UNCONFIGURED, options("none")),
            ("pod.json", pod),
            ("gc.json", json!({"validPods": []})),
        ] {
            fs::write(Path::new(NODE).join(name), content.to_string()).map_err(|error| format!("{name}: {error}"))?;
        }
        let mut world = Self { recording, spawn, host: programs.join("program"), clean: None };
        if real {
            // What the plugins make once, and leave: the bridge, the tables and their first chains.
            world.recover(Step::SetUp)?;
            world.clean = Some(Self::state()?);
            world.check().map_err(|why| format!("before any fault: {why}"))?;
        }
        Ok(world)
    }

    fn state() -> Result<State, String> {
        // Which of the two it is depends on how far the pod got, and nobody is harmed.
        shell("ip -n pod link set lo up")?;
        State::read()
    }

    /// No call of an earlier host has left anything; nor has the directory.
    pub(crate) fn begin() -> Result<(), String> {
        match fs::remove_dir_all(CACHE) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(format!("{CACHE}: {error}")),
            _ => Ok(()),
        }
    }

    fn command(&self, options: &str, steps: &[&str]) -> Command {
        let mut command = Command::new(&self.host);
        command.args([NODE, options]).args(steps).stdin(Stdio::null()).stdout(Stdio::piped()).env_remove("CNIRT_SPAWN");
        if self.spawn == Spawn::Direct {
            command.env("CNIRT_SPAWN", "direct");
        }
        command
    }

    pub(crate) fn start(&self, steps: &[&str]) -> Result<Child, String> {
        self.command(CONFIGURED, steps).spawn().map_err(|error| format!("{}: {error}", self.host.display()))
    }

    /// A fresh host makes good what another one left; a teardown does it without a configuration.
    pub(crate) fn recover(&self, by: Step) -> Result<(), String> {
        let attached = entries(&format!("{CACHE}/results"))?;
        let unfinished = entries(&format!("{CACHE}/cnirt/intents"))?;
        let options = if by == Step::TearDown { UNCONFIGURED } else { CONFIGURED };
        let output = self.command(options, by.recovery()).output().map_err(|error| format!("a host: {error}"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            return Err(format!("the recovering host: {}\n{text}", output.status));
        }
        for said in Said::all(&text)? {
            // Only of a pod that is whole, or whose teardown has not come to its end.
            let exists =
                said.step == "setup" && said.rc == "CNI_E_EXISTS" && !attached.is_empty() && unfinished.is_empty();
            if said.rc != "CNI_OK" && !exists {
                return Err(format!("recovery by {by:?}: {} says {}: {}", said.step, said.rc, said.out));
            }
        }
        Ok(())
    }

    /// Nothing is left of any pod.
    pub(crate) fn check(&self) -> Result<(), String> {
        super::trace::nothing_runs()?;
        let mut left = Vec::new();
        for (directory, may_stay) in [
            ("results", &[] as &[&str]),
            ("cnirt", &["lock", "holders", "intents", "progress"]),
            ("cnirt/holders", &[]),
            ("cnirt/intents", &[]),
            ("cnirt/progress", &[]),
        ] {
            let found = entries(&format!("{CACHE}/{directory}"))?;
            left.extend(
                found
                    .iter()
                    .filter(|name| !may_stay.contains(&name.as_str()))
                    .map(|name| format!("{CACHE}/{directory}/{name}")),
            );
        }
        left.extend(entries(&format!("{NODE}/claims"))?.iter().map(|name| format!("claim {name}")));
        left.extend(held_lock().err());
        if !left.is_empty() {
            return Err(format!("left behind: {left:?}"));
        }
        let Some(clean) = &self.clean else { return Ok(()) };
        let now = Self::state()?;
        now.expect_as(clean, &[], "after the recovery")?;
        now.expect_nothing_of(&[ADDRESS.to_owned()], "pod", "after the recovery")
    }
}

/// The names in a directory, none where it is missing.
fn entries(directory: &str) -> Result<Vec<String>, String> {
    match fs::read_dir(directory) {
        Ok(list) => Ok(list.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(format!("{directory}: {error}")),
    }
}

/// Nobody holds a byte of the lock file: a lock of this process on all of it would not be had beside another's.
fn held_lock() -> Result<(), String> {
    let path = format!("{CACHE}/cnirt/lock");
    let Ok(file) = fs::OpenOptions::new().read(true).write(true).open(&path) else { return Ok(()) };
    fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|errno| format!("{path} is held: {errno}"))
}
