//! Log lines and metrics.

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::options::LogFormat;

/// Seconds; from well below a synced append to well above its deadline.
const LATENCY_BUCKETS: [f64; 12] = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0];

/// Begins to write the log to standard error; `EDGESTACK_LOG` filters it as `RUST_LOG` would.
pub fn start_logging(format: LogFormat) {
    let filter = EnvFilter::try_from_env("EDGESTACK_LOG")
        .unwrap_or_else(|_| EnvFilter::new("info,sled=warn,async_nats=warn,async_nats::connector=off"));
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        LogFormat::Human => registry.with(fmt::layer().with_writer(std::io::stderr).with_target(false)).init(),
        LogFormat::Json => registry.with(fmt::layer().json().with_writer(std::io::stderr)).init(),
    }
}

/// Begins to collect metrics; the handle renders them.
///
/// # Errors
/// When another recorder is installed already, which a process does once.
pub fn start_metrics() -> Result<PrometheusHandle, BuildError> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &LATENCY_BUCKETS)?
        .install_recorder()
}

/// Folds samples into their buckets now and then: without that a site that nobody scrapes would keep them all.
pub async fn keep_up(handle: PrometheusHandle) {
    let mut interval = tokio::time::interval(std::time::Duration::from_secs(5));
    loop {
        interval.tick().await;
        handle.run_upkeep();
    }
}
