//! Places to run in, and a client that speaks raw lines.

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Time for anything that should happen at once, on a machine that is busy.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// The policy of most tests: what only reads passes, one tool waits for people, one is denied.
pub(crate) const POLICY: &str = r#"version: 1
defaults: {low: allow, medium: allow, high: review, critical: review}
rules:
  - {id: reads, tool: "get_*", effect: allow, risk: low}
  - {id: echoes, tool: "echo", effect: allow, risk: low}
  - {id: never, tool: "drop_*", effect: deny}
  - {id: asks, tool: "delete_*", effect: review}
"#;

pub(crate) struct Place {
    dir: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        std::fs::write(place.path().join("policy.yaml"), POLICY).unwrap();
        place
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The binary, with nothing of this machine's environment but what it needs.
    pub(crate) fn askance(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_askance"));
        command.current_dir(self.path()).env_clear().env("USER", "ann");
        for name in ["PATH", "HOME", "TMPDIR"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.env("ASKANCE_LOG__BALLAST", "0").env("ASKANCE_LOG__FREE_LOW", "0");
        command.env("ASKANCE_LOG__FREE_HARD", "0").env("ASKANCE_SERVER__LISTEN", "off");
        command.env("ASKANCE_ENGINE__POLICY", self.path().join("policy.yaml"));
        command
    }

    /// `askance mcp wrap FLAGS -- python3 scripted.py`.
    pub(crate) fn wrap(&self, flags: &[&str]) -> Client {
        self.wrap_with(flags, |_| {})
    }

    pub(crate) fn wrap_with(&self, flags: &[&str], change: impl FnOnce(&mut Command)) -> Client {
        let mut command = self.askance();
        command.args(["mcp", "wrap"]).args(flags).arg("--").args(scripted());
        command.env("SEEN", self.path().join("seen"));
        change(&mut command);
        Client::start(command, &self.path().join("wrap.log"))
    }

    /// What the server was sent.
    pub(crate) fn seen(&self) -> String {
        std::fs::read_to_string(self.path().join("seen")).unwrap_or_default()
    }

    /// Runs a command and tells its exit code and what it said.
    pub(crate) fn run(&self, args: &[&str]) -> (i32, String) {
        let output = self.askance().args(args).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&said).into_owned())
    }

    /// Every call in the log: exported once nothing has it open.
    pub(crate) fn calls(&self) -> Vec<Value> {
        let output = self.askance().args(["export", "jsonl", "--payloads"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// A daemon over the place's data directory.
    pub(crate) fn serve(&self) -> Daemon {
        self.serve_with(|_| {})
    }

    pub(crate) fn serve_with(&self, change: impl FnOnce(&mut Command)) -> Daemon {
        let log = std::fs::File::create(self.path().join("serve.log")).unwrap();
        let mut command = self.askance();
        command.arg("serve").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        change(&mut command);
        let daemon = Daemon(command.spawn().unwrap());
        eventually("the daemon's socket", || self.path().join("askance-data/askance.sock").exists());
        daemon
    }
}

/// The command of the scripted server.
pub(crate) fn scripted() -> [String; 3] {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mcp/servers/scripted.py");
    ["python3".to_owned(), "-u".to_owned(), path.display().to_string()]
}

/// A daemon that is ended with the test.
pub(crate) struct Daemon(pub(crate) Child);

impl Daemon {
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.0.kill();
        let _ended = self.0.wait();
    }
}

#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < SOON, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether a process is there and no zombie.
pub(crate) fn lives(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().and_then(|rest| rest.trim().chars().next()).is_some_and(|state| state != 'Z')
}

/// The processes that a process started.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// A client over raw lines.
pub(crate) struct Client {
    pub(crate) child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<Vec<u8>>,
    log: PathBuf,
}

impl Client {
    pub(crate) fn start(mut command: Command, log: &Path) -> Self {
        let errors = std::fs::File::create(log).unwrap();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors);
        let mut child = command.spawn().unwrap();
        let stdin = child.stdin.take();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            loop {
                let mut line = Vec::new();
                if stdout.read_until(b'\n', &mut line).unwrap_or(0) == 0 || sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, stdin, lines, log: log.to_owned() }
    }

    /// Sends a line.
    pub(crate) fn send(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(line.as_bytes()).unwrap();
        stdin.write_all(b"\n").unwrap();
    }

    /// The next line, whole.
    #[track_caller]
    pub(crate) fn line(&self) -> Vec<u8> {
        self.lines.recv_timeout(SOON).unwrap_or_else(|_| panic!("no line comes; {}", self.log()))
    }

    /// The next line as JSON.
    #[track_caller]
    pub(crate) fn next(&self) -> Value {
        let line = self.line();
        serde_json::from_slice(&line)
            .unwrap_or_else(|fault| panic!("{fault}: {}", String::from_utf8_lossy(&line)))
    }

    /// The next line, if one comes within this time.
    pub(crate) fn within(&self, time: Duration) -> Option<Vec<u8>> {
        self.lines.recv_timeout(time).ok()
    }

    /// Begins a session as older clients do.
    #[track_caller]
    pub(crate) fn greet(&mut self) {
        self.send(
            r#"{"jsonrpc":"2.0","id":"hello","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"raw","version":"1"}}}"#,
        );
        assert_eq!(self.next()["id"], "hello");
        self.send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    }

    /// Asks for a call.
    pub(crate) fn call(&mut self, id: u64, tool: &str, arguments: &str) {
        self.send(&format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments}}}}}"#
        ));
    }

    /// Ends the input.
    pub(crate) fn hang_up(&mut self) {
        self.stdin = None;
    }

    /// Waits for the end; what was not read comes with it.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> (ExitStatus, Vec<Vec<u8>>) {
        let since = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, self.lines.iter().collect());
            }
            assert!(since.elapsed() < SOON, "it does not end; {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn log(&self) -> String {
        let mut text = String::new();
        if let Ok(mut file) = std::fs::File::open(&self.log) {
            let _unread = file.read_to_string(&mut text);
        }
        text
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}
