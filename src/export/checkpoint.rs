//! How far an export has come: a small file beside its output, replaced as a whole.
//!
//! It holds the next position and the length of the output at that moment. Whoever goes on cuts the output back to
//! that length, so that every event stands in it once, wherever the export was killed.

use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// Version of the file.
const VERSION: u32 = 1;

/// Where an export stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    version: u32,
    /// What is exported: form, tenant and partition. Another export does not go on here.
    pub of: String,
    /// First position not exported yet.
    pub next: u64,
    /// Bytes of the output up to there.
    pub bytes: u64,
    /// Positions before `next` that wait to be exported, where an export is not in the order of the log.
    #[serde(default)]
    pub held: Vec<u64>,
}

impl Checkpoint {
    /// An export of this that begins.
    pub fn new(of: String) -> Self {
        Self { version: VERSION, of, next: 1, bytes: 0, held: Vec::new() }
    }

    /// Reads the checkpoint of an export; a new one if there is no file yet.
    pub fn read(path: &Path, of: &str) -> io::Result<Self> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Ok(Self::new(of.to_owned())),
            Err(fault) => return Err(fault),
        };
        let wrong = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
        let read: Self =
            serde_json::from_slice(&bytes).map_err(|fault| wrong(format!("is no checkpoint: {fault}")))?;
        if read.version != VERSION {
            return Err(wrong(format!("has version {}, this build reads {VERSION}", read.version)));
        }
        if read.of != of {
            return Err(wrong(format!("belongs to another export ({}); name another file", read.of)));
        }
        Ok(read)
    }

    /// Writes it: whole or not at all, and on the disk.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let partial = path.with_extension("partial");
        let mut file = File::create(&partial)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()?;
        std::fs::rename(&partial, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_on_where_it_was_and_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cp");
        let first = Checkpoint::read(&path, "csv of acme").unwrap();
        assert_eq!((first.next, first.bytes), (1, 0));
        Checkpoint { next: 41, bytes: 900, ..first }.write(&path).unwrap();
        let again = Checkpoint::read(&path, "csv of acme").unwrap();
        assert_eq!((again.next, again.bytes), (41, 900));
        assert!(Checkpoint::read(&path, "ecs of acme").unwrap_err().to_string().contains("another export"));
        std::fs::write(&path, "{").unwrap();
        assert!(Checkpoint::read(&path, "csv of acme").is_err());
    }
}
