//! The CNI network plugin: which network is the default one, and what every operation needs.
//!
//! The configuration is a snapshot, built aside and swapped; no lock is held while a plugin runs.

use std::ffi::CStr;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use once_cell::sync::OnceCell;
use serde_json::json;

use crate::call::Call;
use crate::conf::{NetworkConfigList, PluginConfig, conf_files};
use crate::error::{Error, ErrorClass, Result};
use crate::invoke::{self, Environ};
use crate::json::Object;
use crate::network::{Cni, CniConfig, Observer};
use crate::pod::notify::Notifier;
use crate::pod::options::check_pod_cidr;
use crate::pod::watch::Fingerprint;
use crate::pod::{
    Collected, GcRequest, Hooks, Host, KnownPod, LastLoad, NetworkPlugin, NetworkStatus, PluginOptions, PodAttachments,
    PodChecks, PodRequest, PodResult, PodStatus, Status,
};

/// The extensions of network files, lists and single configurations alike.
const EXTENSIONS: [&str; 3] = [".conf", ".conflist", ".json"];
/// How long the plugins of one list may take to answer VERSION or STATUS; real ones take milliseconds.
pub(super) const PROBE_LIMIT: Duration = Duration::from_secs(10);
/// How soon a default network is looked for again where a plugin failed to answer.
const RETRY: Duration = Duration::from_secs(1);
/// How often the files are read again that change while they are read; the next call goes on.
const READINGS: usize = 8;
/// The capability that needs the pod CIDR.
const IP_RANGES: &str = "ipRanges";

/// A network that is fit to be the default one.
#[derive(Clone, Debug)]
pub struct CniNetwork {
    /// Its file.
    pub file: PathBuf,
    /// Its list.
    pub list: NetworkConfigList,
    /// The capabilities that its plugins declare, sorted.
    pub capabilities: Vec<String>,
}

/// The kubelet's `cniNetworkPlugin`.
pub struct CniNetworkPlugin {
    pub(super) options: PluginOptions,
    pub(super) host: Option<Arc<dyn Host>>,
    pub(super) cni: CniConfig,
    host_finds_plugins: bool,
    /// Set by an option or once by an event.
    pod_cidr: Mutex<Option<String>>,
    /// Held for reading or swapping the pointer only.
    loaded: RwLock<Arc<Loaded>>,
    /// Numbers the readings: an older one never replaces a newer.
    readings: AtomicU64,
    /// Made when the host first asks for its descriptor.
    notifier: OnceCell<Notifier>,
    /// What killed processes left of their writing is removed when this handle first works on a pod.
    pub(super) swept: AtomicBool,
}

/// One reading of the configuration directory.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    reading: u64,
    fingerprint: Fingerprint,
    /// All of them as they were at one time, so that no answer is made of two states.
    pub(super) files: Vec<NetworkFile>,
    /// The last good one, even where this reading found none.
    pub(super) default: Option<Arc<CniNetwork>>,
    pub(super) error: Option<Error>,
    /// When to read again although no file changed: a plugin of an earlier file failed to answer.
    retry: Option<Instant>,
    /// Every file, made when a status first asks.
    pub(super) networks: OnceLock<Vec<NetworkStatus>>,
}

/// A network file as it was read.
#[derive(Debug)]
pub(super) struct NetworkFile {
    pub(super) path: PathBuf,
    pub(super) list: Result<NetworkConfigList>,
    /// Where the last plugins of the list came from, in their order.
    pub(super) plugin_files: Vec<PathBuf>,
}

impl NetworkFile {
    fn read(path: PathBuf) -> Self {
        let list = read_file(&path);
        let plugin_files = list.as_ref().map(|list| plugin_files(&path, list)).unwrap_or_default();
        Self { path, list, plugin_files }
    }

    /// Whether it could not be read for a reason that `stat` does not see the end of: no descriptor, no memory, the disk.
    fn may_be_fine(&self) -> bool {
        let error = self.list.as_ref().err().and_then(Error::os_error);
        error.is_some_and(|error| [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::EIO].contains(&error))
    }
}

impl Loaded {
    pub(super) fn last_load(&self) -> LastLoad {
        LastLoad { ok: self.error.is_none(), error: self.error.as_ref().map(ToString::to_string) }
    }
}

/// What the host is still to be told, also after a panic.
struct Untold<'a>(&'a Notifier);

impl Drop for Untold<'_> {
    fn drop(&mut self) {
        self.0.wake();
    }
}

impl CniNetworkPlugin {
    /// Makes the plugin and reads the configuration once; a node without one is no error.
    pub fn new(options: PluginOptions, hooks: Hooks, observer: Option<Arc<dyn Observer>>) -> Result<Self> {
        let host_finds_plugins = hooks.plugins.is_some();
        let pairs = |map: &std::collections::BTreeMap<String, String>| map.clone().into_iter().collect();
        let cni = CniConfig {
            path: options.bin_dirs.clone(),
            cache_dir: Some(options.cache_dir.clone()),
            durability: options.durability,
            owner: Some(options.owner.clone()),
            // A pod is undone as a whole, by the pod level.
            rollback: None,
            exec: invoke::engine(options.kill_grace, options.max_output, hooks.plugins),
            environ: Environ::new(options.env.as_ref().map(pairs), pairs(&options.plugin_env))?,
            observer,
        };
        let plugin = Self {
            host: hooks.host,
            cni,
            host_finds_plugins,
            pod_cidr: Mutex::new(options.pod_cidr.clone()),
            loaded: RwLock::default(),
            readings: AtomicU64::new(0),
            notifier: OnceCell::new(),
            swept: AtomicBool::new(false),
            options,
        };
        if let Err(error) = plugin.read_configuration(&Call::with_timeout(Some(plugin.options.timeout))) {
            tracing::warn!(target: "cnirt::pod", %error, "the configuration will be read by the next call");
        }
        Ok(plugin)
    }

    pub(super) fn pod_cidr(&self) -> Option<String> {
        self.pod_cidr.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The configuration as it is now: read again where `stat` sees a difference, or where the last reading found nothing.
    pub(super) fn configuration(&self, call: &Call) -> Result<Arc<Loaded>> {
        let loaded = self.snapshot();
        let settled = loaded.error.is_none() && loaded.retry.is_none_or(|retry| Instant::now() < retry);
        let unchanged = || loaded.fingerprint.holds(&self.fingerprint());
        if settled && unchanged() { Ok(loaded) } else { self.read_configuration(call) }
    }

    fn snapshot(&self) -> Arc<Loaded> {
        self.loaded.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The default network as it was last read, ready or not.
    pub(super) fn loaded_default(&self) -> Option<Arc<CniNetwork>> {
        self.snapshot().default.clone()
    }

    fn fingerprint(&self) -> Fingerprint {
        Fingerprint::take(&self.options.conf_dir, &self.options.bin_dirs)
    }

    /// The kubelet's `syncNetworkConfig`.
    pub(super) fn read_configuration(&self, call: &Call) -> Result<Arc<Loaded>> {
        let reading = self.readings.fetch_add(1, Ordering::Relaxed) + 1;
        let (fingerprint, files) = self.read_files();
        let mut retry = None;
        let found = files.as_ref().map_err(Clone::clone);
        let (default, error) = match found.and_then(|files| self.find_default_network(call, files, &mut retry)) {
            Ok(network) => (Some(Arc::new(network)), None),
            // The call is over, which says nothing about the files.
            Err(error) if error.class().is_end_of_call() => return Err(error),
            Err(error) => {
                tracing::info!(target: "cnirt::pod", %error, "unable to update the CNI configuration");
                (self.snapshot().default.clone(), Some(error))
            }
        };
        let files = files.unwrap_or_default();
        if files.iter().any(NetworkFile::may_be_fine) {
            retry = Some(Instant::now());
        }
        let networks = OnceLock::new();
        let loaded = Arc::new(Loaded { reading, fingerprint, files, default, error, retry, networks });
        let mut current = self.loaded.write().unwrap_or_else(PoisonError::into_inner);
        if current.reading < reading {
            *current = loaded.clone();
        }
        Ok(loaded)
    }

    /// Every network file, and what `stat` said of them before. Read again where they changed meanwhile: a directory is
    /// swapped at once, but is not read at once.
    fn read_files(&self) -> (Fingerprint, Result<Vec<NetworkFile>>) {
        let mut before = self.fingerprint();
        for _ in 1..READINGS {
            let files = self.read_files_once();
            let after = self.fingerprint();
            if before.equals(&after) {
                return (before, files);
            }
            before = after;
        }
        (before, self.read_files_once())
    }

    fn read_files_once(&self) -> Result<Vec<NetworkFile>> {
        Ok(conf_files(&self.options.conf_dir, &EXTENSIONS)?.into_iter().map(NetworkFile::read).collect())
    }

    /// Answers a host that asks how things are: its descriptor is quiet then, unless that fails. A set-up does not, or the
    /// event loop would not learn what a set-up on another thread has seen first.
    fn told<T>(&self, ask: impl FnOnce() -> Result<T>) -> Result<T> {
        let Some(notifier) = self.notifier.get() else { return ask() };
        let untold = Untold(notifier);
        notifier.renew();
        let answer = ask()?;
        std::mem::forget(untold);
        Ok(answer)
    }

    /// The kubelet's `getDefaultCNINetwork`: the first file, sorted, that can be used. Sets `retry` where an earlier one
    /// may be usable a moment later.
    fn find_default_network(
        &self,
        call: &Call,
        files: &[NetworkFile],
        retry: &mut Option<Instant>,
    ) -> Result<CniNetwork> {
        let dir = self.options.conf_dir.display();
        if files.is_empty() {
            return Err(Error::new(ErrorClass::NotReady, format!("no networks found in {dir}")));
        }
        let mut skipped = Vec::new();
        for file in files {
            match self.check_file(call, file) {
                Ok(network) => match &self.options.default_network {
                    Some(wanted) if *wanted != network.list.name => {}
                    _ => return Ok(network),
                },
                Err(error) => {
                    if error.class().is_end_of_call() {
                        call.check()?;
                    }
                    if self.may_pass(&error) {
                        *retry = Instant::now().checked_add(RETRY);
                    }
                    skipped.push((&file.path, error));
                }
            }
        }
        for (file, error) in &skipped {
            tracing::error!(target: "cnirt::pod", file = %file.display(), %error, "skipping a network configuration");
        }
        let words = match &self.options.default_network {
            Some(name) => format!("no valid network {name:?} found in {dir}"),
            None => format!("no valid networks found in {dir}"),
        };
        let error = Error::new(ErrorClass::NotReady, words);
        let reasons = skipped.iter().map(|(file, error)| format!("{}: {error}", file.display()));
        let hint = reasons.collect::<Vec<_>>().join("\n");
        Err(if hint.is_empty() { error } else { error.with_hint(hint) })
    }

    /// Whether a file that was refused may be fine a moment later, with nothing to see on disk: its plugin ran and failed,
    /// or the host finds plugins itself.
    fn may_pass(&self, error: &Error) -> bool {
        match error.class() {
            ErrorClass::Config | ErrorClass::Unsupported | ErrorClass::InvalidArgument => false,
            ErrorClass::PluginNotFound => self.host_finds_plugins,
            _ => true,
        }
    }

    /// Asks the plugins of a file whether they can serve it.
    fn check_file(&self, call: &Call, file: &NetworkFile) -> Result<CniNetwork> {
        let list = file.list.clone()?;
        let capabilities = self.validate(call, &list)?;
        Ok(CniNetwork { file: file.path.clone(), list, capabilities })
    }

    /// Asks the list's plugins whether they can serve it; one that hangs does not hold the call.
    pub(super) fn validate(&self, call: &Call, list: &NetworkConfigList) -> Result<Vec<String>> {
        self.cni.validate_network_list(&call.limited(PROBE_LIMIT), list)
    }

    /// The default network, where pods can be set up on it (the kubelet's `checkInitialized`).
    pub(super) fn ready_network(&self, loaded: &Loaded) -> Result<Arc<CniNetwork>> {
        let Some(network) = &loaded.default else {
            let error = Error::new(ErrorClass::NotReady, "cni config uninitialized");
            let why = loaded.error.as_ref().map(|why| match why.hint() {
                Some(hint) => format!("{why}: {hint}"),
                None => why.to_string(),
            });
            return Err(why.map_or(error.clone(), |why| error.with_hint(why)));
        };
        if self.pod_cidr().is_none() && network.capabilities.iter().any(|capability| capability == IP_RANGES) {
            let error = Error::new(ErrorClass::NotReady, "cni config needs ipRanges but no PodCIDR set");
            return Err(error.with_hint("set the option \"podCidr\", or send the event \"pod-cidr-change\""));
        }
        Ok(network.clone())
    }

    /// The request's namespace, or what the host says; `None` where neither knows.
    pub(super) fn netns(&self, request: &PodRequest) -> Result<Option<String>> {
        if let Some(netns) = &request.netns {
            return Ok(Some(netns.clone()));
        }
        let asked = self.host.as_ref().and_then(|host| host.get_netns(&pod_for_host(request)));
        let answer =
            asked.transpose().map_err(|error| error.context("CNI failed to retrieve network namespace path"))?;
        Ok(answer.filter(|path| !path.is_empty()))
    }
}

/// What a callback about a pod is told.
pub(super) fn pod_for_host(request: &PodRequest) -> String {
    let mut pod = json!({
        "id": request.id.as_str(), "namespace": request.namespace, "name": request.name, "uid": request.uid
    });
    if let Some(call_id) = &request.call_id {
        pod["callId"] = json!(call_id);
    }
    pod.to_string()
}

/// Reads one network file: a list, or a single configuration that becomes one. Plugins from files of their own are
/// inlined, so that the cached text needs no directory.
fn read_file(file: &Path) -> Result<NetworkConfigList> {
    let is_list = file.extension().is_some_and(|extension| extension == "conflist");
    let list = if is_list {
        NetworkConfigList::from_file(file)?
    } else {
        NetworkConfigList::from_plugin(&PluginConfig::from_file(file)?)?
    };
    Ok(self_contained(list))
}

/// The plugins' own files beside a list.
fn plugin_files(file: &Path, list: &NetworkConfigList) -> Vec<PathBuf> {
    if list.load_only_inlined_plugins {
        return Vec::new();
    }
    let dir = file.parent().unwrap_or(Path::new("")).join(&list.name);
    conf_files(&dir, &[".conf"]).unwrap_or_default()
}

/// The list with a text that has all of its plugins.
pub(super) fn self_contained(mut list: NetworkConfigList) -> NetworkConfigList {
    let inlined = NetworkConfigList::from_bytes(&list.bytes).map_or(0, |inlined| inlined.plugins.len());
    if inlined != list.plugins.len() {
        list.bytes = list.inlined();
    }
    list
}

impl NetworkPlugin for CniNetworkPlugin {
    fn name(&self) -> &'static CStr {
        c"cni"
    }

    fn setup_pod(&self, call: &Call, request: &PodRequest) -> Result<PodResult> {
        self.set_up(call, request)
    }

    fn teardown_pod(&self, call: &Call, request: &PodRequest) -> Result<PodAttachments> {
        self.tear_down(call, request)
    }

    fn check_pod(&self, call: &Call, request: &PodRequest) -> Result<PodChecks> {
        self.check(call, request)
    }

    fn pod_status(&self, _call: &Call, request: &PodRequest) -> Result<PodStatus> {
        self.addresses_of(request)
    }

    fn list_pods(&self) -> Result<Vec<KnownPod>> {
        self.known_pods()
    }

    fn status(&self, call: &Call) -> Result<Status> {
        self.told(|| self.configuration(call).and_then(|loaded| self.status_of(call, &loaded)))
    }

    fn reload(&self, call: &Call) -> Result<Status> {
        self.told(|| self.read_configuration(call).and_then(|loaded| self.status_of(call, &loaded)))
    }

    fn changes(&self) -> Result<BorrowedFd<'_>> {
        let options = &self.options;
        self.notifier.get_or_try_init(|| Notifier::new(&options.conf_dir, &options.bin_dirs)).map(Notifier::fd)
    }

    fn capabilities(&self, call: &Call) -> Result<Vec<String>> {
        let default = self.configuration(call)?.default.clone();
        Ok(default.map(|network| network.capabilities.clone()).unwrap_or_default())
    }

    fn gc(&self, call: &Call, request: &GcRequest) -> Result<Collected> {
        self.collect(call, request)
    }

    fn event(&self, name: &str, details: &str) -> Result<()> {
        if name != "pod-cidr-change" {
            return Ok(());
        }
        let cidr: String = Object::parse("event details", details)?.read(|details| details.required("pod-cidr"))?;
        check_pod_cidr(&cidr).map_err(|error| error.context("event details, key \"pod-cidr\""))?;
        let mut pod_cidr = self.pod_cidr.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = pod_cidr.clone() else {
            *pod_cidr = Some(cidr);
            return Ok(());
        };
        // No log under the lock: its callback may wait for a thread that is in another call.
        drop(pod_cidr);
        tracing::debug!(target: "cnirt::pod", known, ignored = cidr, "the pod CIDR is set once");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_without_a_trace_on_disk_is_read_again_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("10.conflist"), "{").unwrap();
        let file = |path: &Path| NetworkFile::read(path.to_owned()).may_be_fine();
        // Reading one's own memory from its begin is EIO.
        assert!(file(Path::new("/proc/self/mem")));
        for path in ["10.conflist", "missing"] {
            assert!(!file(&dir.path().join(path)), "{path}");
        }
        std::os::unix::fs::symlink("/proc/self/mem", dir.path().join("20.conflist")).unwrap();
        let options = json!({"confDir": dir.path(), "binDirs": []}).to_string();
        let options = PluginOptions::from_json(&options).unwrap();
        let loaded = CniNetworkPlugin::new(options, Hooks::default(), None).unwrap().snapshot();
        assert!(loaded.retry.is_some_and(|retry| retry <= Instant::now()));
    }

    #[test]
    fn locks_that_a_panic_left_are_taken_over() {
        let options = PluginOptions::from_json(r#"{"confDir": "/nowhere", "binDirs": []}"#).unwrap();
        let plugin = CniNetworkPlugin::new(options, Hooks::default(), None).unwrap();
        let (loaded, pod_cidr) = (plugin.loaded.write(), plugin.pod_cidr.lock());
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _held = (loaded, pod_cidr);
            panic!("injected");
        }))
        .unwrap_err();
        assert!(plugin.loaded.is_poisoned() && plugin.pod_cidr.is_poisoned());
        plugin.event("pod-cidr-change", r#"{"pod-cidr": "10.1.0.0/24"}"#).unwrap();
        assert_eq!(plugin.pod_cidr().as_deref(), Some("10.1.0.0/24"));
        plugin.configuration(&Call::default()).unwrap();
    }
}
