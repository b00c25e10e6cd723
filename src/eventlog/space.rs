//! Room on the disk: watermarks, and a ballast file that keeps the log openable.
//!
//! A store whose disk is full cannot even be opened, because opening writes the replayed write-ahead log into table
//! files. So appends stop while there is still room, and a ballast file of really allocated blocks is given up when
//! opening needs it. On file systems that compress or copy on write (btrfs, ZFS) the ballast may hold less.
//!
//! Deliberately absent: deleting anything else to make room.

use super::Error;
use rustix::fs::FallocateFlags;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Name of the ballast file in the data directory.
pub const BALLAST_NAME: &str = "ballast";

/// How much room there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// Enough.
    Ok {
        /// Bytes free.
        free: u64,
    },
    /// Under the low watermark: tell the operator.
    Low {
        /// Bytes free.
        free: u64,
    },
    /// Under the hard watermark: appends are refused.
    Full {
        /// Bytes free.
        free: u64,
    },
}

/// Watches the room on the disk that holds one data directory.
#[derive(Clone, Debug)]
pub struct SpaceGuard {
    dir: PathBuf,
    ballast: PathBuf,
    ballast_bytes: u64,
    low: u64,
    hard: u64,
}

impl SpaceGuard {
    /// A guard over `dir` with the watermarks and ballast size of `options`.
    pub fn new(dir: &Path, options: &super::Options) -> Self {
        Self {
            dir: dir.to_owned(),
            ballast: dir.join(BALLAST_NAME),
            ballast_bytes: options.ballast_bytes,
            low: options.free_bytes_low,
            hard: options.free_bytes_hard,
        }
    }

    /// Bytes free for this process's user.
    pub fn free(&self) -> Result<u64, Error> {
        let stat = rustix::fs::statvfs(&self.dir)
            .map_err(|error| Error::file("asking for free space in", &self.dir, error))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// How much room there is.
    pub fn check(&self) -> Result<Space, Error> {
        let free = self.free()?;
        Ok(match free {
            free if free < self.hard => Space::Full { free },
            free if free < self.low => Space::Low { free },
            free => Space::Ok { free },
        })
    }

    /// Refuses with [`Error::DiskFull`] unless `bytes` can be written twice (write-ahead log and table file) without
    /// falling under the hard watermark.
    pub(super) fn admit(&self, bytes: usize) -> Result<(), Error> {
        let (free, needed) = (self.free()?, self.hard.saturating_add(2 * bytes as u64));
        if free < needed { Err(Error::DiskFull { free, needed }) } else { Ok(()) }
    }

    /// Whether the ballast is there with all its blocks.
    pub fn has_ballast(&self) -> bool {
        let whole = |meta: std::fs::Metadata| {
            meta.len() == self.ballast_bytes && meta.blocks().saturating_mul(512) >= self.ballast_bytes
        };
        self.ballast_bytes > 0 && std::fs::metadata(&self.ballast).is_ok_and(whole)
    }

    /// Gives the ballast up. Returns whether there was any.
    pub(super) fn release_ballast(&self) -> bool {
        std::fs::remove_file(&self.ballast).is_ok()
    }

    /// Creates the ballast if it is missing and the disk stays over the low watermark with it.
    /// Returns whether the ballast is there now.
    pub fn ensure_ballast(&self) -> Result<bool, Error> {
        if self.ballast_bytes == 0 || self.has_ballast() {
            return Ok(self.ballast_bytes > 0);
        }
        self.release_ballast();
        if self.free()? < self.low.saturating_add(self.ballast_bytes) {
            return Ok(false);
        }
        let made = self.create_ballast();
        if made.is_err() {
            self.release_ballast();
        }
        match made {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => Ok(false),
            Err(error) => Err(Error::file("creating the ballast", &self.ballast, error)),
        }
    }

    fn create_ballast(&self) -> std::io::Result<()> {
        let mut file =
            OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&self.ballast)?;
        match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, self.ballast_bytes) {
            Err(rustix::io::Errno::OPNOTSUPP) => fill_with_zeros(&mut file, self.ballast_bytes)?,
            other => other?,
        }
        file.sync_all()
    }
}

fn fill_with_zeros(file: &mut File, bytes: u64) -> std::io::Result<()> {
    let zeros = vec![0; 1 << 16];
    let mut left = bytes;
    while left > 0 {
        let part = left.min(zeros.len() as u64);
        file.write_all(&zeros[..part as usize])?;
        left -= part;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eventlog::Options;

    fn guard(dir: &Path, low: u64, hard: u64) -> SpaceGuard {
        let options = Options {
            ballast_bytes: 1 << 20,
            free_bytes_low: low,
            free_bytes_hard: hard,
            ..Options::default()
        };
        SpaceGuard::new(dir, &options)
    }

    #[test]
    fn watermarks() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(guard(dir.path(), 1, 1).check().unwrap(), Space::Ok { .. }));
        assert!(matches!(guard(dir.path(), u64::MAX, 1).check().unwrap(), Space::Low { .. }));
        let full = guard(dir.path(), u64::MAX, u64::MAX);
        assert!(matches!(full.check().unwrap(), Space::Full { .. }));
        assert!(matches!(full.admit(1), Err(Error::DiskFull { .. })));
        assert!(guard(dir.path(), 1, 1).admit(1).is_ok());
    }

    #[test]
    fn ballast_comes_and_goes() {
        let dir = tempfile::tempdir().unwrap();
        let space = guard(dir.path(), 1, 1);
        assert!(!space.has_ballast());
        assert!(space.ensure_ballast().unwrap() && space.has_ballast());
        assert!(space.release_ballast() && !space.has_ballast() && !space.release_ballast());
        std::fs::write(dir.path().join(BALLAST_NAME), b"short").unwrap();
        assert!(!space.has_ballast());
        assert!(space.ensure_ballast().unwrap() && space.has_ballast());
        space.release_ballast();
        assert!(!guard(dir.path(), u64::MAX, 1).ensure_ballast().unwrap());
    }
}
