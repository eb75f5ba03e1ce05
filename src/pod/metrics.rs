//! Counts and durations as Prometheus text, families `cnirt_*`.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::error::{Error, ErrorClass, Result};
use crate::network::{Observer, PluginRun};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Operation {
    operation: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationError {
    operation: &'static str,
    class: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PluginLabels {
    network: String,
    plugin: String,
    command: String,
}

/// What one network plugin counts.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    operations: Family<Operation, Counter>,
    errors: Family<OperationError, Counter>,
    duration: Family<Operation, Histogram>,
    plugin_errors: Family<PluginLabels, Counter>,
    plugin_duration: Family<PluginLabels, Histogram>,
}

/// Prometheus' default buckets, as the kubelet's, in seconds; and 220 s for calls that reach their limit.
fn histogram() -> Histogram {
    Histogram::new([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 220.0])
}

impl Metrics {
    pub(super) fn new() -> Self {
        let mut registry = Registry::with_prefix("cnirt");
        let operations = Family::default();
        let errors = Family::default();
        let duration = Family::new_with_constructor(histogram as fn() -> Histogram);
        let plugin_errors = Family::default();
        let plugin_duration = Family::new_with_constructor(histogram as fn() -> Histogram);
        registry.register("operations", "Operations on pods", operations.clone());
        registry.register("operation_errors", "Operations on pods that failed", errors.clone());
        registry.register("operation_duration_seconds", "Duration of operations on pods", duration.clone());
        registry.register("plugin_errors", "Runs of CNI plugins that failed", plugin_errors.clone());
        registry.register("plugin_duration_seconds", "Duration of runs of CNI plugins", plugin_duration.clone());
        Self { registry, operations, errors, duration, plugin_errors, plugin_duration }
    }

    /// Counts one operation.
    pub(super) fn operation(&self, operation: &'static str, took: Duration, failed: Option<ErrorClass>) {
        self.operations.get_or_create(&Operation { operation }).inc();
        self.duration.get_or_create(&Operation { operation }).observe(took.as_secs_f64());
        if let Some(class) = failed {
            self.errors.get_or_create(&OperationError { operation, class: class.name() }).inc();
        }
    }

    /// Everything as Prometheus text, in the `OpenMetrics` format.
    pub(super) fn text(&self) -> Result<String> {
        let mut text = String::new();
        encode(&mut text, &self.registry).map_err(|error| Error::new(ErrorClass::Io, format!("metrics: {error}")))?;
        Ok(text)
    }
}

impl Observer for Metrics {
    fn plugin_ran(&self, run: &PluginRun<'_>) {
        let labels = PluginLabels {
            network: run.network.to_owned(),
            plugin: run.plugin_type.to_owned(),
            command: run.command.to_owned(),
        };
        self.plugin_duration.get_or_create(&labels).observe(run.duration.as_secs_f64());
        if !run.ok {
            self.plugin_errors.get_or_create(&labels).inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_and_plugin_runs_are_counted_in_our_own_families() {
        let metrics = Metrics::new();
        metrics.operation("setup_pod", Duration::from_millis(3), None);
        metrics.operation("setup_pod", Duration::from_millis(3), Some(ErrorClass::Timeout));
        let run =
            PluginRun { network: "n", plugin_type: "bridge", command: "ADD", duration: Duration::ZERO, ok: false };
        metrics.plugin_ran(&run);
        let text = metrics.text().unwrap();
        for line in [
            "cnirt_operations_total{operation=\"setup_pod\"} 2",
            "cnirt_operation_errors_total{operation=\"setup_pod\",class=\"CNI_E_TIMEOUT\"} 1",
            "cnirt_operation_duration_seconds_count{operation=\"setup_pod\"} 2",
            "cnirt_plugin_errors_total{network=\"n\",plugin=\"bridge\",command=\"ADD\"} 1",
            "cnirt_plugin_duration_seconds_count{network=\"n\",plugin=\"bridge\",command=\"ADD\"} 1",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} is not in:\n{text}");
        }
        assert!(text.lines().all(|line| line.starts_with("cnirt_") || line.starts_with('#')), "{text}");
    }
}
