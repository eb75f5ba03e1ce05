//! One plugin of a list, run once with one command.

use std::path::PathBuf;
use std::time::Instant;

use crate::call::Call;
use crate::conf::{PluginConfig, build_one_config};
use crate::error::Result;
use crate::invoke::Args;
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

impl CniConfig {
    /// Finds the plugin and makes its configuration; nothing has run yet.
    pub(super) fn prepare<'a>(
        &self,
        call: &Call,
        network: Network<'_>,
        plugin: &'a PluginConfig,
        prev_result: Option<&CniResult>,
        rt: &RuntimeConf,
    ) -> Result<Prepared<'a>> {
        let path = self.exec.find_in_path(call, &plugin.plugin_type, &self.path)?;
        let prev_result = prev_result.map(CniResult::to_value);
        let stdin =
            build_one_config(network.name, network.cni_version, plugin, prev_result.as_ref(), &rt.capability_args);
        Ok(Prepared { plugin, path, stdin })
    }

    /// Runs it; answers what it printed.
    pub(super) fn run(
        &self,
        call: &Call,
        network: Network<'_>,
        prepared: &Prepared<'_>,
        command: Command,
        rt: &RuntimeConf,
    ) -> Result<Vec<u8>> {
        let args = Args {
            command: command.as_str().to_owned(),
            container_id: rt.container_id.clone(),
            netns: rt.netns.clone(),
            plugin_args: rt.args.clone(),
            if_name: rt.if_name.clone(),
            path: self.path.clone(),
        };
        let env = self.environ.for_plugin(call, &args)?;
        call.check()?;
        let begun = Instant::now();
        let output = self.exec.exec_plugin(call, &prepared.path, &prepared.stdin, &env);
        let run = PluginRun {
            network: network.name,
            plugin_type: &prepared.plugin.plugin_type,
            command: command.as_str(),
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
        if let Some(observer) = &self.observer {
            observer.plugin_ran(&run);
        }
        output
    }

    /// [`prepare`](Self::prepare) and [`run`](Self::run), for the commands whose output does not matter.
    pub(super) fn run_plugin(
        &self,
        call: &Call,
        network: Network<'_>,
        plugin: &PluginConfig,
        prev_result: Option<&CniResult>,
        command: Command,
        rt: &RuntimeConf,
    ) -> Result<()> {
        let run = || {
            let prepared = self.prepare(call, network, plugin, prev_result, rt)?;
            self.run(call, network, &prepared, command, rt)
        };
        run().map(drop).map_err(|error| network.describe(error, plugin, command, rt))
    }

    /// Finds a plugin whose configuration is ready, and runs it: for the commands that know no container.
    pub(super) fn run_injected(
        &self,
        call: &Call,
        network: Network<'_>,
        plugin: &PluginConfig,
        command: Command,
    ) -> Result<()> {
        let rt = RuntimeConf::default();
        let run = || {
            let path = self.exec.find_in_path(call, &plugin.plugin_type, &self.path)?;
            let prepared = Prepared { plugin, path, stdin: plugin.bytes.clone() };
            self.run(call, network, &prepared, command, &rt)
        };
        run().map(drop).map_err(|error| network.describe(error, plugin, command, &rt))
    }
}

/// What an ADD printed, as a result; an absent version is the configuration's.
pub(super) fn read_result(conf_version: &str, stdout: &[u8]) -> Result<CniResult> {
    let conf_version = if conf_version.is_empty() { version::OLDEST } else { conf_version };
    CniResult::from_plugin(conf_version, stdout)
}
