//! `askance serve`: runs the daemon until it is told to stop.

use super::Global;
use crate::app::{App, Signals, Start};
use crate::domain::position::Position;
use crate::export::otlp::own;
use crate::telemetry;
use anyhow::Result;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Time for what is left of the runtime to end, once everything is on disk.
const LAST_MOMENTS: Duration = Duration::from_millis(200);

/// Arguments of `askance serve`. Each stands for a setting of the same meaning.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// TCP address to listen on, or `off`.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Unix socket to listen on, or `off`.
    #[arg(long, value_name = "PATH")]
    unix: Option<String>,
    /// Policy file.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// `enforce` or `observe`.
    #[arg(long)]
    mode: Option<String>,
    /// `text`, `json` or `auto`.
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// A level, or directives such as `info,askance::rpc=debug`.
    #[arg(long, value_name = "FILTER")]
    log_filter: Option<String>,
    /// Go on without the acknowledged records behind what is left, up to this position: the one that the
    /// refusal to start named.
    #[arg(long, value_name = "POSITION")]
    accept_lost_tail: Option<u64>,
    /// Drop the log's indexes and build them anew from its records, as `askance verify` may advise.
    #[arg(long)]
    rebuild_index: bool,
}

impl Args {
    fn flags(&self) -> Vec<(String, String)> {
        let policy = self.policy.as_ref().map(|path| path.display().to_string());
        let given = [
            ("server.listen", &self.listen),
            ("server.unix", &self.unix),
            ("engine.policy", &policy),
            ("engine.mode", &self.mode),
            ("log_format", &self.log_format),
            ("log_filter", &self.log_filter),
        ];
        given.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value.clone()?))).collect()
    }
}

/// Runs the command.
pub(super) fn run(args: &Args, global: &Global) -> Result<ExitCode> {
    let loaded = global.sources(args.flags())?.load()?;
    let config = loaded.config;
    let sampled = config.otlp.endpoint.0.is_some() && config.otlp.own_spans_ppm > 0;
    let (tracer, own_spans) = sampled.then(|| own::sample(config.otlp.own_spans_ppm)).unzip();
    telemetry::init(config.general.log_format, &config.general.log_filter, tracer)?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        data_dir = %config.data_dir().display(),
        config = loaded.file.as_deref().map(|file| tracing::field::display(file.display())),
        mode = ?config.engine.mode,
        policy = config.engine.policy.0.as_deref().map(|file| tracing::field::display(file.display())),
        "starting"
    );
    for remark in loaded.remarks {
        tracing::warn!(remark = ?remark, "in the configuration");
    }
    let runtime = super::runtime()?;
    // Before anything is opened, so that no signal finds nobody listening.
    let signals = runtime.block_on(async { Signals::listen() })?;
    let accept_lost_tail = args.accept_lost_tail.map(Position::new);
    let app = App::open(&config, Start { accept_lost_tail, rebuild_index: args.rebuild_index })?;
    let app = app.with_own_spans(own_spans);
    let served = runtime.block_on(async { app.bind()?.run(signals.first()).await });
    runtime.shutdown_timeout(LAST_MOMENTS);
    served.map(|()| ExitCode::SUCCESS)
}
