//! The official SDKs and servers, installed once a machine outside the clone, in the versions that are committed.

use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Where the packages lie.
pub(crate) struct Packages {
    pub(crate) node: PathBuf,
    pub(crate) python: PathBuf,
}

impl Packages {
    /// A file of an npm package.
    pub(crate) fn module(&self, path: &str) -> String {
        self.node.join("node_modules").join(path).display().to_string()
    }
}

/// The committed file of this name.
pub(crate) fn file(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mcp").join(name).display().to_string()
}

/// The packages; none, with a loud word, where the registries cannot be reached.
pub(crate) fn packages() -> Option<&'static Packages> {
    static FOUND: OnceLock<Option<Packages>> = OnceLock::new();
    FOUND.get_or_init(|| install().inspect_err(|why| eprintln!("SKIPPED: {why}")).ok()).as_ref()
}

fn cache() -> PathBuf {
    let home = std::env::var_os("HOME").map_or_else(std::env::temp_dir, PathBuf::from);
    std::env::var_os("XDG_CACHE_HOME").map_or(home.join(".cache"), PathBuf::from).join("askance/mcp")
}

/// Python with what the example in `examples/python` needs, its client of the API made from `proto`.
pub(crate) fn example_python() -> Option<PathBuf> {
    let protos = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto/askance/v1");
    let mut files: Vec<String> = std::fs::read_dir(protos)
        .unwrap()
        .map(|entry| format!("../../proto/askance/v1/{}", entry.unwrap().file_name().display()))
        .collect();
    files.sort();
    files.extend(["requirements.txt", "setup.sh"].map(|name| format!("../../examples/python/{name}")));
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let made =
        at("example", &files, |dir| run(Command::new(file("../../examples/python/setup.sh")).arg(dir)));
    made.inspect_err(|why| eprintln!("SKIPPED: {why}")).ok().map(|dir| dir.join("bin/python"))
}

/// The program in `packages/rust`: the Rust SDK as client and server.
pub(crate) fn rust() -> Option<PathBuf> {
    let made = at(
        "rust",
        &["packages/rust/Cargo.toml", "packages/rust/Cargo.lock", "packages/rust/src/main.rs"],
        |dir| {
            let mut cargo = Command::new(env!("CARGO"));
            cargo.args([
                "build",
                "--locked",
                "--manifest-path",
                &file("packages/rust/Cargo.toml"),
                "--target-dir",
            ]);
            run(cargo.arg(dir))
        },
    );
    made.inspect_err(|why| eprintln!("SKIPPED: {why}")).ok().map(|dir| dir.join("debug/askance-mcp-rust"))
}

fn install() -> Result<Packages, String> {
    let node = at("node", &["packages/package.json", "packages/package-lock.json"], |dir| {
        std::fs::copy(file("packages/package.json"), dir.join("package.json")).unwrap();
        std::fs::copy(file("packages/package-lock.json"), dir.join("package-lock.json")).unwrap();
        run(Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(dir))
    })?;
    let venv = at("python", &["packages/requirements.txt"], |dir| {
        run(Command::new("python3").args(["-m", "venv"]).arg(dir))?;
        let pip = ["-m", "pip", "install", "--disable-pip-version-check", "-q", "-r"];
        run(Command::new(dir.join("bin/python")).args(pip).arg(file("packages/requirements.txt")))
    })?;
    Ok(Packages { node, python: venv.join("bin/python") })
}

/// The directory for these files' contents; made by `fill` if it is not there whole.
fn at(name: &str, files: &[&str], fill: impl FnOnce(&Path) -> Result<(), String>) -> Result<PathBuf, String> {
    let mut hash = Sha256::new();
    files.iter().for_each(|name| hash.update(std::fs::read(file(name)).unwrap()));
    let digest: String = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let dir = cache().join(format!("{name}-{digest}"));
    let done = dir.join("askance-done");
    std::fs::create_dir_all(&dir).map_err(|fault| format!("{}: {fault}", dir.display()))?;
    // Other test binaries and other clones may be at the same.
    let lock = std::fs::File::create(cache().join(format!("{name}-{digest}.lock"))).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    if !done.exists() {
        fill(&dir)?;
        std::fs::write(done, "").unwrap();
    }
    Ok(dir)
}

fn run(command: &mut Command) -> Result<(), String> {
    let ran = command.output().map_err(|fault| format!("{command:?}: {fault}"))?;
    let said = String::from_utf8_lossy(&ran.stderr);
    if ran.status.success() { Ok(()) } else { Err(format!("{command:?}: {said}")) }
}
