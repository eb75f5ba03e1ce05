//! One plugin of a list, run once with one command.

use std::path::PathBuf;
use std::time::Instant;

use crate::call::Call;
use crate::conf::{PluginConfig, build_one_config};
use crate::error::{Error, Result};
use crate::invoke::{Args, Nursery};
use crate::network::{CniConfig, Network, PluginRun, RuntimeConf};
use crate::result::CniResult;
use crate::version;

/// The CNI commands that take a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Add,
    Del,
    Check,
    Status,
    Gc,
}

impl Command {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
            Self::Status => "STATUS",
            Self::Gc => "GC",
        }
    }
}

/// A plugin that is found, with the text that it will get.
pub(super) struct Prepared<'a> {
    plugin: &'a PluginConfig,
    path: PathBuf,
    stdin: Vec<u8>,
}

/// One command for plugins of one network, one after another.
pub(super) struct ListRun<'a> {
    pub(super) cni: &'a CniConfig,
    pub(super) network: Network<'a>,
    command: Command,
    pub(super) rt: &'a RuntimeConf,
    /// How many have not run yet.
    pub(super) left: usize,
    nursery: Nursery,
}

impl CniConfig {
    pub(super) fn list_run<'a>(&'a self, network: Network<'a>, command: Command, rt: &'a RuntimeConf) -> ListRun<'a> {
        ListRun { cni: self, network, command, rt, left: network.plugins.len(), nursery: Nursery::default() }
    }
}

impl ListRun<'_> {
    /// Finds the plugin and makes its configuration; nothing has run yet.
    pub(super) fn prepare<'p>(
        &self,
        call: &Call,
        plugin: &'p PluginConfig,
        prev_result: Option<&CniResult>,
    ) -> Result<Prepared<'p>> {
        let path = self.cni.exec.find_in_path(call, &plugin.plugin_type, &self.cni.path)?;
        let prev_result = prev_result.map(CniResult::to_value);
        let Network { name, cni_version, .. } = self.network;
        let stdin = build_one_config(name, cni_version, plugin, prev_result.as_ref(), &self.rt.capability_args);
        Ok(Prepared { plugin, path, stdin })
    }

    /// Runs it; answers what it printed.
    pub(super) fn run(&mut self, call: &Call, prepared: &Prepared<'_>) -> Result<Vec<u8>> {
        let Self { cni, rt, .. } = *self;
        let args = Args {
            command: self.command.as_str().to_owned(),
            container_id: rt.container_id.clone(),
            netns: rt.netns.clone(),
            plugin_args: rt.args.clone(),
            if_name: rt.if_name.clone(),
            path: cni.path.clone(),
        };
        let env = cni.environ.for_plugin(call, &args).map_err(Error::with_never_ran)?;
        call.check().map_err(Error::with_never_ran)?;
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            self.nursery.none_follows();
        }
        let begun = Instant::now();
        let output = cni.exec.exec_plugin(call, &mut self.nursery, &prepared.path, &prepared.stdin, &env);
        let run = PluginRun {
            network: self.network.name,
            plugin_type: &prepared.plugin.plugin_type,
            command: self.command.as_str(),
            duration: begun.elapsed(),
            ok: output.is_ok(),
        };
        tracing::debug!(
            target: "cnirt::network",
            network = run.network,
            plugin = run.plugin_type,
            command = run.command,
            ms = run.duration.as_millis(),
            ok = run.ok,
            "plugin ran"
        );
        if let Some(observer) = &cni.observer {
            observer.plugin_ran(&run);
        }
        output
    }

    /// [`prepare`](Self::prepare) and [`run`](Self::run), for the commands whose output does not matter.
    pub(super) fn run_plugin(
        &mut self,
        call: &Call,
        plugin: &PluginConfig,
        prev_result: Option<&CniResult>,
    ) -> Result<()> {
        let prepared = self.prepare(call, plugin, prev_result);
        self.run_prepared(call, plugin, prepared)
    }

    /// Finds a plugin whose configuration is ready, and runs it: for the commands that know no container.
    pub(super) fn run_injected(&mut self, call: &Call, plugin: &PluginConfig) -> Result<()> {
        let path = self.cni.exec.find_in_path(call, &plugin.plugin_type, &self.cni.path);
        let prepared = path.map(|path| Prepared { plugin, path, stdin: plugin.bytes.clone() });
        self.run_prepared(call, plugin, prepared)
    }

    fn run_prepared(&mut self, call: &Call, plugin: &PluginConfig, prepared: Result<Prepared<'_>>) -> Result<()> {
        let done = prepared.and_then(|prepared| self.run(call, &prepared));
        done.map(drop).map_err(|error| self.describe(error, plugin))
    }

    /// An error with what it belongs to.
    pub(super) fn describe(&self, error: Error, plugin: &PluginConfig) -> Error {
        self.network.describe(error, plugin, self.command, self.rt)
    }
}

/// What an ADD printed, as a result; an absent version is the configuration's.
pub(super) fn read_result(conf_version: &str, stdout: &[u8]) -> Result<CniResult> {
    let conf_version = if conf_version.is_empty() { version::OLDEST } else { conf_version };
    CniResult::from_plugin(conf_version, stdout)
}
