//! The manager around a network plugin: one operation at a time for each pod, limits, cancellation, counts.

use std::ffi::CStr;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::call::Call;
use crate::error::{Error, Result};
use crate::invoke::callback::PluginCallbacks;
use crate::op::{Op, Pool};
use crate::pod::calls::{Calls, Place};
use crate::pod::metrics::Metrics;
use crate::pod::{
    CniNetworkPlugin, Collected, GcRequest, Host, KnownPod, NetworkPlugin, NoopNetworkPlugin, Operation, PluginKind,
    PluginOptions, PodAttachments, PodChecks, PodRequest, PodResult, PodStatus, Status,
};

/// What a host can do itself instead of the built-in way.
#[derive(Clone, Default)]
pub struct Hooks {
    /// Answers about pods.
    pub host: Option<Arc<dyn Host>>,
    /// Finds and runs plugins.
    pub plugins: Option<Arc<dyn PluginCallbacks>>,
}

/// The kubelet's `PluginManager`: any number of threads may call it.
pub struct PluginManager {
    plugin: Box<dyn NetworkPlugin>,
    timeout: Duration,
    calls: Calls,
    metrics: Arc<Metrics>,
    pool: Pool,
}

impl PluginManager {
    /// Makes the network plugin and reads the configuration; a node without one is no error.
    pub fn new(options: PluginOptions, hooks: Hooks) -> Result<Self> {
        let metrics = Arc::new(Metrics::new());
        let (timeout, pool) = (options.timeout, Pool::new(options.op_threads));
        let plugin: Box<dyn NetworkPlugin> = match options.plugin {
            PluginKind::Noop => Box::new(NoopNetworkPlugin),
            PluginKind::Cni => Box::new(CniNetworkPlugin::new(options, hooks, Some(metrics.clone()))?),
        };
        Ok(Self { plugin, timeout, calls: Calls::default(), metrics, pool })
    }

    /// `cni` or `kubernetes.io/no-op`.
    pub fn plugin_name(&self) -> &'static CStr {
        self.plugin.name()
    }

    /// A descriptor for event loops: it is readable where the configuration may have changed, until a
    /// [`status`](Self::status) or a [`reload`](Self::reload) succeeds. Do not read it.
    pub fn changes(&self) -> Result<BorrowedFd<'_>> {
        self.plugin.changes()
    }

    /// Attaches a pod to its networks.
    pub fn setup_pod(&self, request: &PodRequest) -> Result<PodResult> {
        self.on_pod("setup_pod", request, true, |call| self.plugin.setup_pod(call, request))
    }

    /// Detaches a pod from all its networks.
    pub fn teardown_pod(&self, request: &PodRequest) -> Result<PodAttachments> {
        self.on_pod("teardown_pod", request, true, |call| self.plugin.teardown_pod(call, request))
    }

    /// Asks the plugins whether the pod's networks are as they were made.
    pub fn check_pod(&self, request: &PodRequest) -> Result<PodChecks> {
        self.on_pod("check_pod", request, true, |call| self.plugin.check_pod(call, request))
    }

    /// A pod's addresses. Does not wait for an operation on the pod.
    pub fn pod_status(&self, request: &PodRequest) -> Result<PodStatus> {
        self.on_pod("pod_status", request, false, |call| self.plugin.pod_status(call, request))
    }

    /// Every pod that is recorded.
    pub fn list_pods(&self) -> Result<Vec<KnownPod>> {
        self.count("list_pods", Instant::now(), || self.plugin.list_pods())
    }

    /// Whether pods can be set up, and what is configured.
    pub fn status(&self) -> Result<Status> {
        self.on_node("status", |call| self.plugin.status(call))
    }

    /// Reads the configuration again whether it changed or not, then as [`status`](Self::status).
    pub fn reload(&self) -> Result<Status> {
        self.on_node("reload", |call| self.plugin.reload(call))
    }

    /// The capabilities that the default network's plugins declare, sorted.
    pub fn capabilities(&self) -> Result<Vec<String>> {
        self.on_node("capabilities", |call| self.plugin.capabilities(call))
    }

    /// Deletes what no valid pod has, and runs the plugins' own GC.
    pub fn gc(&self, request: &GcRequest) -> Result<Collected> {
        self.count("gc", Instant::now(), || {
            let call = self.call_for_gc(request);
            let _registered = self.calls.register(&call, None);
            self.plugin.gc(&call, request)
        })
    }

    /// Tells of an event (`pod-cidr-change` with `{"pod-cidr": …}`); unknown names are ignored.
    pub fn event(&self, name: &str, details: &str) -> Result<()> {
        self.count("event", Instant::now(), || self.plugin.event(name, details))
    }

    /// Counts and durations as Prometheus text.
    pub fn metrics(&self) -> Result<String> {
        self.metrics.text()
    }

    /// Cancels the running and waiting calls whose call id or pod id is `id`; `None`: all. Answers how many.
    pub fn cancel(&self, id: Option<&str>) -> usize {
        self.calls.cancel(id)
    }

    /// Starts an operation in the background; `owner` is kept until it has ended. What it logs goes where the calling
    /// thread logs now. `E_IO` where no thread can be started; what the operation itself does is [`Op::finish`]'s to say.
    pub fn start(owner: impl AsRef<Self> + Send + 'static, operation: Operation) -> Result<Op> {
        let manager = owner.as_ref();
        let begun = Instant::now();
        let call = match (&operation, operation.pod_request()) {
            (_, Some(request)) => manager.call_on_pod(request),
            (Operation::PluginGc(request), _) => manager.call_for_gc(request),
            _ => manager.call_on_node(),
        };
        let calls = manager.calls.clone();
        let registered = calls.register(&call, operation.pod_request().map(|request| &request.id));
        let place = operation.in_turn().map(|(request, name)| calls.line_up(&request.id, name));
        let (number, key) = (registered.number(), place.as_ref().map(Place::key));
        let entry = manager.pool.entry();
        let op = entry.call(call, move |call, verdict| {
            let manager = owner.as_ref();
            let answer = manager.count_if(operation.counter(), begun, || {
                verdict.map_err(|error| place.as_ref().map_or_else(|| error.clone(), |place| place.refused(&error)))?;
                operation.run(call, &*manager.plugin, &manager.metrics)
            });
            // The owner last: what it owns may end with it.
            drop((place, registered));
            drop(owner);
            answer
        })?;
        calls.attach(number, op.job());
        match key {
            None => op.job().queue()?,
            Some(key) => {
                let (answer, job) = (Arc::new(OnceLock::new()), Arc::clone(op.job()));
                let said = Arc::clone(&answer);
                calls.when_first(&key, move || drop(said.set(job.queue())));
                if let Some(Err(error)) = answer.get() {
                    return Err(error.clone());
                }
            }
        }
        Ok(op)
    }

    fn on_pod<T>(
        &self,
        operation: &'static str,
        request: &PodRequest,
        in_turn: bool,
        run: impl FnOnce(&Call) -> Result<T>,
    ) -> Result<T> {
        self.count(operation, Instant::now(), || {
            let call = self.call_on_pod(request);
            let _registered = self.calls.register(&call, Some(&request.id));
            let _turn = if in_turn { Some(self.calls.pod_turn(&call, &request.id, operation)?) } else { None };
            run(&call)
        })
    }

    fn call_on_pod(&self, request: &PodRequest) -> Call {
        let env = request.env.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        let limits = Call::with_timeout(Some(request.timeout.unwrap_or(self.timeout)));
        Call { id: request.call_id.clone(), env, ..limits }
    }

    fn on_node<T>(&self, operation: &'static str, run: impl FnOnce(&Call) -> Result<T>) -> Result<T> {
        self.count(operation, Instant::now(), || {
            let call = self.call_on_node();
            let _registered = self.calls.register(&call, None);
            run(&call)
        })
    }

    fn call_for_gc(&self, request: &GcRequest) -> Call {
        let limits = Call::with_timeout(Some(request.timeout.unwrap_or(self.timeout)));
        Call { id: request.call_id.clone(), ..limits }
    }

    fn call_on_node(&self) -> Call {
        Call::with_timeout(Some(self.timeout))
    }

    /// Counts an operation that is one of those that are counted.
    fn count_if<T>(
        &self,
        operation: Option<&'static str>,
        begun: Instant,
        run: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        match operation {
            Some(operation) => self.count(operation, begun, run),
            None => run(),
        }
    }

    fn count<T>(&self, operation: &'static str, begun: Instant, run: impl FnOnce() -> Result<T>) -> Result<T> {
        let answer = run();
        self.metrics.operation(operation, begun.elapsed(), answer.as_ref().err().map(Error::class));
        answer
    }
}

#[cfg(test)]
#[path = "manager_tests.rs"]
mod tests;
