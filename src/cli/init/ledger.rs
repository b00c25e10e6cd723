//! What was changed on this machine: the files as they were, so that everything can be undone.

use crate::domain::hex::hex;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Version of the file's form.
const VERSION: u32 = 1;
/// What a backup's name ends with.
const BACKUP: &str = "askance-backup";

/// Everything that was changed.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Ledger {
    version: u32,
    /// The files.
    pub(super) files: Vec<Changed>,
}

/// A file that was changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Changed {
    /// The file.
    pub(super) path: PathBuf,
    /// As it was; none: it was not there.
    pub(super) backup: Option<PathBuf>,
    /// SHA-256 of what we wrote last.
    pub(super) written: String,
    /// Directories that were made for it, outermost first.
    pub(super) made: Vec<PathBuf>,
}

impl Ledger {
    /// Reads it; an empty one if nothing was changed yet.
    pub(super) fn read(path: &Path) -> Result<Self> {
        match fs::read(path) {
            Ok(bytes) => {
                let read =
                    serde_json::from_slice::<Self>(&bytes).ok().filter(|ledger| ledger.version == VERSION);
                read.with_context(|| format!("{} is not as `askance init` wrote it", path.display()))
            }
            Err(fault) if fault.kind() == ErrorKind::NotFound => {
                Ok(Self { version: VERSION, files: Vec::new() })
            }
            Err(fault) => Err(fault).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Writes it; removes it if there is nothing in it.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        if self.files.is_empty() {
            let _was_not_there = fs::remove_file(path);
            return Ok(());
        }
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        }
        write_whole(path, &serde_json::to_vec_pretty(self)?)
    }

    /// Writes a file's new text, and keeps the old one where none is kept yet.
    pub(super) fn change(&mut self, path: &Path, old: Option<&str>, new: &str) -> Result<()> {
        let known = self.files.iter().position(|changed| changed.path == path);
        let mut changed = match known {
            Some(at) => self.files.remove(at),
            None => {
                Changed { path: path.to_owned(), backup: None, written: String::new(), made: missing(path) }
            }
        };
        if let (None, Some(old)) = (known, old) {
            let mut name = path.as_os_str().to_owned();
            name.push(format!(".{BACKUP}"));
            let backup = PathBuf::from(name);
            write_whole(&backup, old.as_bytes())?;
            copy_rights(path, &backup);
            changed.backup = Some(backup);
        }
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        }
        changed.written = digest(new.as_bytes());
        self.files.push(changed);
        write_whole(path, new.as_bytes())
    }
}

impl Changed {
    /// The file as it was, if it is still as we left it: none inside means that it was not there.
    pub(super) fn as_it_was(&self, now: &[u8]) -> Result<Option<Option<String>>> {
        if digest(now) != self.written {
            return Ok(None);
        }
        let old = self.backup.as_ref().map(|backup| {
            fs::read_to_string(backup).with_context(|| format!("cannot read the backup {}", backup.display()))
        });
        Ok(Some(old.transpose()?))
    }

    /// Lets go of what was kept and made for the file. Directories go if nothing else is in them.
    pub(super) fn forget(&self) {
        if let Some(backup) = &self.backup {
            let _gone_already = fs::remove_file(backup);
        }
        self.made.iter().rev().for_each(|dir| {
            let _not_empty = fs::remove_dir(dir);
        });
    }
}

/// Writes a file in one step, with the rights that it has; a new one is for its owner only.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut random = [0; 4];
    getrandom::fill(&mut random).map_err(|fault| anyhow::anyhow!("no random bytes: {fault}"))?;
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{:08x}.new", u32::from_le_bytes(random)));
    let new = PathBuf::from(name);
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(bytes)?;
        copy_rights(path, &new);
        file.sync_all()?;
        fs::rename(&new, path)
    })();
    if written.is_err() {
        let _left_behind = fs::remove_file(&new);
    }
    written.with_context(|| format!("cannot write {}", path.display()))
}

fn copy_rights(from: &Path, to: &Path) {
    if let Ok(meta) = fs::metadata(from) {
        // Rights that cannot be copied stay the stricter ones.
        let _stricter =
            fs::set_permissions(to, fs::Permissions::from_mode(meta.permissions().mode() & 0o777));
    }
}

/// The directories above a file that are not there, outermost first.
fn missing(path: &Path) -> Vec<PathBuf> {
    let mut dirs: Vec<PathBuf> =
        path.ancestors().skip(1).take_while(|dir| !dir.exists()).map(Path::to_owned).collect();
    dirs.reverse();
    dirs
}

fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}
