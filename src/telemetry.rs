//! Where log lines go and how they look.
//!
//! They go to standard error; results of commands are on standard output. Texts from outside are logged
//! with `?`, which escapes them. Spans of target [`SPANS`] go to a tracer, if there is one, and never to the log.
//! Deliberately absent: where the tracer's spans go, and metrics.

use opentelemetry_sdk::trace::SdkTracer;
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// Target of the daemon's own spans: without a tracer they cost a look at a flag.
pub const SPANS: &str = "askance_spans";

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// One line of text.
    Text,
    /// One JSON object a line.
    Json,
}

/// Why logging cannot be set up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("log_filter: `{0}` is no level such as `info` and no list of directives")]
pub struct Error(String);

/// Sets logging up for this process; a second time does nothing. The tracer gets the daemon's own spans.
pub fn init(format: LogFormat, filter: &str, tracer: Option<SdkTracer>) -> Result<(), Error> {
    let filter = EnvFilter::builder().parse(filter).map_err(|_| Error(filter.to_owned()))?;
    let terminal = std::io::stderr().is_terminal();
    let json = match format {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = if json {
        lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
    } else {
        lines.with_ansi(terminal && std::env::var_os("NO_COLOR").is_none()).boxed()
    };
    let own = tracer.map(|tracer| {
        let only = Targets::new().with_target(SPANS, LevelFilter::TRACE);
        let layer = tracing_opentelemetry::layer().with_tracer(tracer).with_location(false);
        layer.with_threads(false).with_tracked_inactivity(false).with_filter(only)
    });
    // An error only says that logging is set up already, as it is in tests.
    let _set_up_already = tracing_subscriber::registry().with(lines.with_filter(filter)).with(own).try_init();
    Ok(())
}

/// Logs every panic as one escaped line and then calls `then` with the thread's name.
pub fn on_panic(then: impl Fn(&str) + Send + Sync + 'static) {
    std::panic::set_hook(Box::new(move |panic| {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("");
        let payload = panic.payload();
        let owned = payload.downcast_ref::<String>().map(String::as_str);
        let message = payload.downcast_ref::<&str>().copied().or(owned).unwrap_or("a value that is no text");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(thread = ?name, place = ?place, message = ?message, "a thread panicked");
        then(name);
    }));
}
