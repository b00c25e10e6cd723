//! The server's process: in a group of its own, ended with us whatever happens to us.
//!
//! The command is not started by us but by this program once more, which the system tells when its parent dies, so that
//! it ends the group: without that, a proxy that is killed would leave the server behind, or what a shell or `npx`
//! started for it.

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal, getpgrp, getppid, kill_process_group, set_parent_process_death_signal};
use rustix::stdio::{dup2_stdin, dup2_stdout};
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::signal::unix::{SignalKind, signal};

/// Exit code where the command cannot be run, as shells have it.
pub const NOT_RUN: u8 = 127;
/// Added to a signal's number for the exit code of a command that a signal ended, as shells have it.
const SIGNALLED: i32 = 128;
/// Time for a server to end once its proxy was killed.
const ORPHAN_PATIENCE: Duration = Duration::from_millis(1_500);

/// A server that runs.
pub struct Server {
    child: Child,
    group: Option<Pid>,
}

impl Server {
    /// Starts it. To be called on the main thread: the system ends it when the thread that started it is gone.
    pub fn start(command: &[OsString]) -> Result<(Self, ChildStdin, ChildStdout)> {
        let own = std::env::current_exe().context("cannot tell where this program lies")?;
        let mut starting = Command::new(own);
        starting
            .args(["mcp", "keep", "--parent"])
            .arg(std::process::id().to_string())
            .arg("--")
            .args(command);
        starting.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).process_group(0);
        let mut child = starting.kill_on_drop(true).spawn().context("cannot start the server")?;
        let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let stdin = child.stdin.take().context("the server has no standard input")?;
        let stdout = child.stdout.take().context("the server has no standard output")?;
        Ok((Self { child, group }, stdin, stdout))
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> Result<ExitStatus> {
        self.child.wait().await.context("cannot wait for the server")
    }

    /// Sends a signal to it and to all that it started.
    pub fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // Gone already is as good.
            let _gone = kill_process_group(group, signal);
        }
    }

    /// Ends what is left of it: asks, and after `patience` does not ask any more. Tells how it ended.
    pub async fn end(mut self, patience: Duration) -> Result<ExitStatus> {
        let asked = tokio::time::timeout(patience, self.child.wait()).await;
        let status = match asked {
            Ok(status) => status,
            Err(_) => {
                self.signal(Signal::KILL);
                self.child.wait().await
            }
        };
        // The server may have left some of its own behind.
        self.signal(Signal::KILL);
        status.context("cannot wait for the server")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// The exit code that tells how a command ended.
pub fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| SIGNALLED + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// Runs the command in this process' group until it ends, or until the process `parent` does: then the whole group is
/// ended. Tells the exit code. To be run on the main thread.
pub async fn keep(command: &[OsString], parent: u32) -> Result<u8> {
    let mut orphaned = signal(SignalKind::user_defined2())?;
    // What is meant for the group is the server's to follow; this process goes when it does.
    let _heard = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal);
    set_parent_process_death_signal(Some(Signal::USR2)).context("cannot tie the server to the proxy")?;
    let is_orphan = getppid().is_none_or(|now| u32::try_from(now.as_raw_nonzero().get()) != Ok(parent));
    if is_orphan {
        bail!("the proxy is gone");
    }
    let (name, args) = command.split_first().context("no command is given")?;
    let mut server = Command::new(name)
        .args(args)
        .spawn()
        .map_err(|fault| anyhow!("cannot run {}: {fault}", name.display()))?;
    leave_its_pipes()?;
    tokio::select! {
        status = server.wait() => return Ok(code(status.context("cannot wait for the server")?)),
        _gone = orphaned.recv() => {}
    }
    let group = getpgrp();
    // One that is gone already is as good.
    let _gone = kill_process_group(group, Signal::TERM);
    let _ended = tokio::time::timeout(ORPHAN_PATIENCE, server.wait()).await;
    let _gone = kill_process_group(group, Signal::KILL);
    Ok(NOT_RUN)
}

/// Lets go of the server's input and output, so that their ends are seen.
fn leave_its_pipes() -> Result<()> {
    let nothing =
        OpenOptions::new().read(true).write(true).open("/dev/null").context("cannot open /dev/null")?;
    dup2_stdin(&nothing).and_then(|()| dup2_stdout(&nothing)).context("cannot let go of the server's pipes")
}
