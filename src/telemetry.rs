//! Where log lines go and how they look.
//!
//! They go to standard error; results of commands are on standard output. Texts from outside are logged
//! with `?`, which escapes them. Deliberately absent: metrics and spans, which a later issue brings.

use crate::config::LogFormat;
use anyhow::{Context, Result};
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Sets logging up for this process; a second time does nothing.
pub fn init(format: LogFormat, filter: &str) -> Result<()> {
    let filter = EnvFilter::builder().parse(filter).with_context(|| {
        format!("log_filter: `{filter}` is no level such as `info` and no list of directives")
    })?;
    let terminal = std::io::stderr().is_terminal();
    let json = match format {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // An error only says that logging is set up already, as it is in tests.
    let _set_up_already = if json {
        builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
    } else {
        builder.with_ansi(terminal && std::env::var_os("NO_COLOR").is_none()).try_init()
    };
    Ok(())
}

/// Logs every panic as one escaped line and then calls `then` with the thread's name.
pub fn on_panic(then: impl Fn(&str) + Send + Sync + 'static) {
    std::panic::set_hook(Box::new(move |panic| {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("");
        let message = panic.payload_as_str().unwrap_or("a value that is no text");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(thread = ?name, place = ?place, message = ?message, "a thread panicked");
        then(name);
    }));
}
