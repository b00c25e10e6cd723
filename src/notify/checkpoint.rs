//! The position that an endpoint was told last, on disk: `notify/NAME.PARTITION` in the data directory, a
//! decimal number. Written whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// One subscription's checkpoint.
#[derive(Clone, Debug)]
pub(super) struct Checkpoint {
    dir: PathBuf,
    path: PathBuf,
}

impl Checkpoint {
    /// Of this endpoint and partition.
    pub(super) fn new(data_dir: &Path, name: &str, partition: usize) -> Self {
        let dir = data_dir.join("notify");
        let path = dir.join(format!("{name}.{partition}"));
        Self { dir, path }
    }

    /// The position; none if nothing was ever told.
    pub(super) fn read(&self) -> std::io::Result<Option<u64>> {
        match fs::read_to_string(&self.path) {
            Ok(text) => text.trim().parse().map(Some).map_err(|_| {
                let message = format!("{} is no position; remove it to begin anew", self.path.display());
                std::io::Error::new(std::io::ErrorKind::InvalidData, message)
            }),
            Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// Notes the position.
    pub(super) fn write(&self, position: u64) -> std::io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        let partial = self.path.with_extension("partial");
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
        file.write_all(position.to_string().as_bytes())?;
        file.sync_all()?;
        fs::rename(&partial, &self.path)?;
        File::open(&self.dir)?.sync_all()
    }
}
