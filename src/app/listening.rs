//! Where a daemon listens, noted in its data directory.

use super::{is_idle, partition_dirs};
use crate::config::Config;
use crate::rpc;
use anyhow::{Result, anyhow};
use std::net::TcpListener;
use std::path::{Path, PathBuf};

/// A file in the data directory that says where its daemon listens, for whoever finds the directory in use.
/// Gone with the daemon; one that was killed leaves it behind.
pub(super) struct Listening(PathBuf);

impl Listening {
    const FILE: &str = "listening";

    pub(super) fn tell(dir: &Path, addresses: &rpc::server::Addresses) -> Self {
        let path = dir.join(Self::FILE);
        let unix = addresses.unix.iter().map(|path| {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            format!("unix:{}\n", path.display())
        });
        let lines: String =
            unix.chain(addresses.tcp.iter().map(|address| format!("http://{address}\n"))).collect();
        if let Err(fault) = std::fs::write(&path, lines) {
            tracing::warn!(path = ?path, fault = %fault, "cannot note where we listen");
        }
        Self(path)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let _gone_already = std::fs::remove_file(&self.0);
    }
}

/// Where the daemon that has this data directory open listens; empty: none has, or it did not say.
pub fn listening(dir: &Path) -> Vec<String> {
    if is_idle(dir) {
        return Vec::new();
    }
    let text = std::fs::read_to_string(dir.join(Listening::FILE)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Whether every TCP address can be listened on, before anything is created or opened. The error says which setting
/// changes the one that cannot.
pub(super) fn check_addresses(config: &Config) -> Result<()> {
    let wanted = [
        (config.server.listen.0, "--listen ADDRESS"),
        (config.admin.listen.0, "--set admin.listen=ADDRESS"),
        (config.http.listen.0, "--set http.listen=ADDRESS"),
    ];
    let dir = config.data_dir();
    if !partition_dirs(dir)?.is_empty() && !is_idle(dir) {
        // A daemon has the directory open, and perhaps the address with it: opening the directory says more.
        return Ok(());
    }
    for (address, setting) in wanted {
        let Some(address) = address else { continue };
        TcpListener::bind(address).map_err(|fault| {
            anyhow!("cannot listen on {address}: {fault}; take another address with `{setting}`, or `off`")
        })?;
    }
    Ok(())
}
