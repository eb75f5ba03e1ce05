//! The options of a runtime, and their defaults, which the pod level shares where it has the same ones.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::Result;
use crate::json::Object;
use crate::store::Durability;

/// The options of a runtime. `Default` is what an empty object means.
#[derive(Clone, Debug)]
pub struct RuntimeOptions {
    /// `binDirs`: where plugin binaries are, first wins.
    pub bin_dirs: Vec<PathBuf>,
    /// `cacheDir`: where attachments are recorded; else each call's, else `/var/lib/cni`.
    pub cache_dir: Option<PathBuf>,
    /// `timeoutMs`: the limit of one call; 0, the default, is none.
    pub timeout: Duration,
    /// `killGraceMs`: between TERM and KILL.
    pub kill_grace: Duration,
    /// `rollback`: undo a failed ADD; libcni does not.
    pub rollback: bool,
    /// `rollbackTimeoutMs`: the limit of undoing.
    pub rollback_timeout: Duration,
    /// `durability`: what a cache entry survives.
    pub durability: Durability,
    /// `maxOutputBytes`: the most that a plugin may print.
    pub max_output: usize,
    /// `env`: exactly this environment for plugins, in place of the process's.
    pub env: Option<BTreeMap<String, String>>,
    /// `pluginEnv`: added to the environment.
    pub plugin_env: BTreeMap<String, String>,
    /// `opThreads`: the most threads that background calls run on, at least 1.
    pub op_threads: NonZeroUsize,
}

/// `opThreads`, unless the options say so.
const OP_THREADS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(63);

impl Default for RuntimeOptions {
    fn default() -> Self {
        Self {
            bin_dirs: vec!["/opt/cni/bin".into(), "/usr/lib/cni".into()],
            cache_dir: None,
            timeout: Duration::ZERO,
            kill_grace: Duration::from_secs(2),
            rollback: false,
            rollback_timeout: Duration::from_secs(60),
            durability: Durability::Full,
            max_output: 4 << 20,
            env: None,
            plugin_env: BTreeMap::new(),
            op_threads: OP_THREADS,
        }
    }
}

impl RuntimeOptions {
    /// Reads the options' JSON. Keys are as in the fields' documentation; an unknown one is an error.
    pub fn from_json(text: &str) -> Result<Self> {
        Object::parse("runtime options", text)?.read(|object| Self::default().with(object))
    }

    /// These options with the object's keys in place of them.
    pub(crate) fn with(self, object: &mut Object) -> Result<Self> {
        const DURABILITIES: [(&str, Durability); 2] = [("full", Durability::Full), ("atomic", Durability::Atomic)];
        let cache_dir = object.optional::<PathBuf>("cacheDir")?.filter(|dir| !dir.as_os_str().is_empty());
        Ok(Self {
            // A list of directories may have empty ones, which the kubelet skips.
            bin_dirs: object
                .optional::<Vec<PathBuf>>("binDirs")?
                .map_or(self.bin_dirs, |dirs| dirs.into_iter().filter(|dir| !dir.as_os_str().is_empty()).collect()),
            cache_dir: cache_dir.or(self.cache_dir),
            timeout: object.milliseconds("timeoutMs")?.unwrap_or(self.timeout),
            kill_grace: object.milliseconds("killGraceMs")?.unwrap_or(self.kill_grace),
            rollback: object.optional("rollback")?.unwrap_or(self.rollback),
            rollback_timeout: object.milliseconds("rollbackTimeoutMs")?.unwrap_or(self.rollback_timeout),
            durability: object.choice("durability", &DURABILITIES)?.unwrap_or(self.durability),
            max_output: object.optional("maxOutputBytes")?.unwrap_or(self.max_output),
            env: object.optional("env")?.or(self.env),
            plugin_env: object.optional("pluginEnv")?.unwrap_or(self.plugin_env),
            op_threads: object.optional("opThreads")?.unwrap_or(self.op_threads),
        })
    }
}
