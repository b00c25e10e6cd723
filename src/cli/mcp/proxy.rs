//! `askance mcp proxy --upstream URL`: an HTTP server with a second look at its calls.

use super::super::Global;
use super::super::output::Output;
use super::Asking;
use crate::mcp::proxy::Bound;
use anyhow::{Result, bail};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `askance mcp proxy`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    asking: Asking,
    /// The server: http://HOST:PORT or https://HOST. Paths pass as they are: a client that used
    /// http://HOST:PORT/mcp uses http://127.0.0.1:4752/mcp.
    #[arg(long, value_name = "URL")]
    upstream: http::Uri,
    /// Certificates (PEM) that the server is believed by, besides those that this machine believes.
    #[arg(long, value_name = "FILE")]
    upstream_ca: Option<PathBuf>,
    /// Address to listen on.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:4752")]
    listen: SocketAddr,
    /// Whether an address beyond this machine may be listened on. The proxy speaks no TLS and asks nobody for a
    /// credential: set this behind something that does.
    #[arg(long)]
    allow_remote: bool,
}

/// Runs the command.
pub(super) async fn run(args: Args, global: &Global, output: &Output) -> Result<ExitCode> {
    if !args.listen.ip().is_loopback() && !args.allow_remote {
        bail!("--listen: {} can be reached from other machines; give --allow-remote to mean it", args.listen);
    }
    let guard = args.asking.guard(global, output)?;
    let bound = Bound::bind(args.listen, &args.upstream, args.upstream_ca.as_deref(), guard).await?;
    let (own, path) = (format!("http://{}", bound.address()), args.upstream.path().trim_end_matches('/'));
    let used = if path.is_empty() { format!("its paths, such as {own}/mcp") } else { format!("{own}{path}") };
    output.note(&format!("listening on {own}"));
    output.note(&format!("in front of {}; clients use {used}", bound.upstream()));
    bound.run().await?;
    Ok(ExitCode::SUCCESS)
}
