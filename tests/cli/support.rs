//! Runs the binary in a directory of its own.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What a command did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// Its standard output as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|fault| panic!("{fault}: {self:#?}"))
    }

    /// Checks the exit code, and shows everything if it is another.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    /// Checks that a text is in what it said.
    #[track_caller]
    pub(crate) fn says(self, part: &str) -> Self {
        assert!(self.out.contains(part) || self.err.contains(part), "`{part}` is not in {self:#?}");
        self
    }
}

/// A place to run in.
pub(crate) struct Place {
    dir: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file and tells its path.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// The binary, with nothing of this machine's environment but what it needs.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_askance"));
        command.current_dir(self.path()).env_clear();
        for name in ["PATH", "HOME", "TMPDIR"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        // No disk space kept back: many tests run at a time.
        command.env("ASKANCE_LOG__BALLAST", "0").env("ASKANCE_LOG__FREE_LOW", "0");
        command.env("ASKANCE_LOG__FREE_HARD", "0").env("ASKANCE_SERVER__LISTEN", "off");
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        self.run_with(args, b"")
    }

    pub(crate) fn run_with(&self, args: &[&str], input: &[u8]) -> Ran {
        let mut command = self.command();
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A command that does not read its input closes the pipe.
        let _unread = child.stdin.take().unwrap().write_all(input);
        let output = child.wait_with_output().unwrap();
        Ran {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Starts a daemon and waits until it answers.
    pub(crate) fn serve(&self, args: &[&str]) -> Daemon {
        self.serve_at("askance-data/askance.sock", args)
    }

    /// The same with its socket elsewhere.
    pub(crate) fn serve_at(&self, socket: &str, args: &[&str]) -> Daemon {
        let log = std::fs::File::create(self.path().join("serve.log")).unwrap();
        let mut command = self.command();
        command.arg("serve").args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().unwrap();
        let daemon = Daemon { child };
        let started = Instant::now();
        while !self.path().join(socket).exists() {
            assert!(started.elapsed() < Duration::from_secs(20), "the daemon does not start: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        daemon
    }

    /// What the daemon logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path().join("serve.log")).unwrap_or_default()
    }
}

/// A daemon that is ended with the test.
pub(crate) struct Daemon {
    child: Child,
}

impl Daemon {
    /// Asks it to stop and tells its exit code.
    pub(crate) fn stop(mut self) -> i32 {
        self.signal(Signal::TERM);
        self.child.wait().unwrap().code().unwrap_or(-1)
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Ends it at once, as a power cut would.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end and tells its exit code.
    pub(crate) fn wait(mut self) -> i32 {
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// A recorded call.
pub(crate) fn line(session: &str, index: u64, tool: &str) -> String {
    format!(
        r#"{{"dataset":"test","session":"{session}","principal":"p","suite":"s","index":{index},"ts":null,"tool":"{tool}","args":{{"n":{index}}},"result_bytes":3,"outcome":"ok","result":"abc"}}"#
    )
}

/// The data shared between those who work on this, if it is here.
pub(crate) fn shared_data() -> Option<PathBuf> {
    let named = std::env::var_os("ASKANCE_SHARED").map(PathBuf::from);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let candidates = named.into_iter().chain([root.join("../shared")]);
    let found = candidates.map(|dir| dir.join("data/agents/dev")).find(|dir| dir.is_dir());
    if found.is_none() {
        eprintln!("SKIPPED: no shared data; set ASKANCE_SHARED to its directory to run this on real traces");
    }
    found
}
