//! Parquet files by day: `day=2026-11-17/part-<export>-<first position>.parquet`, each written once and as a whole.
//! Several exports may share a directory: each knows its own files by a hash of what it exports.

use super::parquet;
use super::row::CallRow;
use crate::domain::hex::hex;
use crate::domain::time::Timestamp;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Rows of a day that make a file.
const FILE_ROWS: usize = 50_000;
/// Rows of all days that are held at most; then all are written.
const ROWS_MAX: usize = 200_000;

/// Rows that wait for their files.
#[derive(Debug)]
pub struct Days {
    dir: PathBuf,
    /// What the names of its files begin with.
    prefix: String,
    rows: BTreeMap<String, Vec<CallRow>>,
    waiting: usize,
}

impl Days {
    /// Files of an export of `of` in this directory. Those that begin at or behind `next` were left by a run that was
    /// killed before it could note them: they are removed, and written again.
    pub fn open(dir: &Path, of: &str, next: u64) -> io::Result<Self> {
        let prefix = format!("part-{}-", hex(&Sha256::digest(of)[..4]));
        std::fs::create_dir_all(dir)?;
        for day in std::fs::read_dir(dir)? {
            let day = day?.path();
            if !day.file_name().is_some_and(|name| name.to_string_lossy().starts_with("day=")) {
                continue;
            }
            for file in std::fs::read_dir(&day)? {
                let file = file?.path();
                let name =
                    file.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                let first: Option<u64> = name.strip_prefix(&prefix).and_then(|digits| digits.parse().ok());
                if first.is_some_and(|first| first >= next) {
                    std::fs::remove_file(&file)?;
                }
            }
        }
        Ok(Self { dir: dir.to_owned(), prefix, rows: BTreeMap::new(), waiting: 0 })
    }

    /// Takes a row.
    pub fn push(&mut self, row: CallRow) {
        let day = Timestamp::from_micros(row.time_us).to_string().chars().take(10).collect();
        self.rows.entry(day).or_default().push(row);
        self.waiting += 1;
    }

    /// Whether enough waits to be written.
    pub fn is_due(&self) -> bool {
        self.waiting >= ROWS_MAX || self.rows.values().any(|rows| rows.len() >= FILE_ROWS)
    }

    /// Writes everything that waits.
    pub fn write(&mut self) -> io::Result<()> {
        for (day, rows) in std::mem::take(&mut self.rows) {
            let dir = self.dir.join(format!("day={day}"));
            std::fs::create_dir_all(&dir)?;
            for rows in rows.chunks(FILE_ROWS) {
                let first = rows.first().map_or(0, |row| row.position);
                let path = dir.join(format!("{}{first:012}.parquet", self.prefix));
                let partial = path.with_extension("partial");
                let mut file = File::create(&partial)?;
                file.write_all(&parquet::file(rows)?)?;
                file.sync_all()?;
                std::fs::rename(&partial, &path)?;
            }
        }
        self.waiting = 0;
        Ok(())
    }
}
