//! Files of JSON lines, plain or zstd-compressed, line by line with their numbers.
//!
//! Deliberately absent: what the lines mean (see `trace_line`).

use super::output::Output;
use super::refused::Refusals;
use super::trace_line::LineFault;
use anyhow::{Context, Result};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Longest line, bytes.
pub const LINE_BYTES_MAX: usize = 4 << 20;
/// How zstd frames begin.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Largest zstd window that is accepted, as a power of two: 128 MiB.
const WINDOW_LOG_MAX: u32 = 27;

/// A file of lines.
pub struct TraceFile {
    name: String,
    reader: Box<dyn BufRead + Send>,
    buffer: Vec<u8>,
    number: u64,
    read: Arc<AtomicU64>,
}

/// What reading a line gave.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// A line with its number, from 1.
    Text(u64, &'a [u8]),
    /// A line over [`LINE_BYTES_MAX`]; it was passed over.
    TooLong(u64),
}

/// What is wrong with a line that was passed over.
pub fn too_long() -> LineFault {
    LineFault { field: "line".to_owned(), why: format!("is longer than {} MiB", LINE_BYTES_MAX >> 20) }
}

/// Hands every line of a file to `take`; what it refuses is noted, and the rest goes on.
pub fn each_line(
    path: &Path,
    output: &Output,
    refusals: &mut Refusals,
    mut take: impl FnMut(u64, &[u8]) -> Result<(), LineFault>,
) -> Result<()> {
    let mut file = TraceFile::open(path)?;
    let name = file.name().to_owned();
    while let Some(line) = file.next_line()? {
        let (number, taken) = match line {
            Line::Text(number, text) => (number, take(number, text)),
            Line::TooLong(number) => (number, Err(too_long())),
        };
        if let Err(fault) = taken {
            refusals.add(output, &name, number, &fault);
        }
    }
    Ok(())
}

/// Counts the bytes read from the file itself, for progress.
struct Counted<R> {
    inner: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

impl TraceFile {
    /// Opens a file; `-` is standard input.
    pub fn open(path: &Path) -> Result<Self> {
        if path == Path::new("-") {
            return Self::over("standard input".to_owned(), Box::new(io::stdin()));
        }
        let name = path.display().to_string();
        let file = File::open(path).with_context(|| format!("cannot open {name}"))?;
        Self::over(name, Box::new(file))
    }

    fn over(name: String, input: Box<dyn Read + Send>) -> Result<Self> {
        let read = Arc::new(AtomicU64::new(0));
        let mut input = BufReader::with_capacity(1 << 16, Counted { inner: input, read: Arc::clone(&read) });
        // The first bytes may come in pieces from a pipe; whatever is there first is enough in practice,
        // but a pipe that gives less than four bytes is asked again.
        let mut head = Vec::with_capacity(4);
        while head.len() < 4 {
            let mut byte = [0];
            let count = input.read(&mut byte).with_context(|| format!("cannot read {name}"))?;
            if count == 0 {
                break;
            }
            head.push(byte[0]);
        }
        let compressed = head == ZSTD_MAGIC;
        let whole = io::Cursor::new(head).chain(input);
        let reader: Box<dyn BufRead + Send> = if compressed {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(whole)
                .with_context(|| format!("cannot read {name}"))?;
            decoder.window_log_max(WINDOW_LOG_MAX).context("cannot set up zstd")?;
            Box::new(BufReader::with_capacity(1 << 18, decoder))
        } else {
            Box::new(whole)
        };
        Ok(Self { name, reader, buffer: Vec::new(), number: 0, read })
    }

    /// The file's name as shown.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes read from the file so far (compressed, if it is).
    pub fn bytes_read(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.read)
    }

    /// The next line that is not empty, without its end; none at the end of the file.
    pub fn next_line(&mut self) -> Result<Option<Line<'_>>> {
        loop {
            self.buffer.clear();
            let limit = LINE_BYTES_MAX as u64 + 1;
            let after = self.number;
            let failed = |name: &str| format!("cannot read {name} after line {after}");
            let count = (&mut self.reader)
                .take(limit)
                .read_until(b'\n', &mut self.buffer)
                .with_context(|| failed(&self.name))?;
            if count == 0 {
                return Ok(None);
            }
            self.number += 1;
            if count > LINE_BYTES_MAX && self.buffer.last() != Some(&b'\n') {
                self.skip_line().with_context(|| failed(&self.name))?;
                return Ok(Some(Line::TooLong(self.number)));
            }
            if self.number == 1 && self.buffer.starts_with(b"\xef\xbb\xbf") {
                self.buffer.drain(..3);
            }
            if !self.buffer.trim_ascii().is_empty() {
                return Ok(Some(Line::Text(self.number, self.buffer.trim_ascii())));
            }
        }
    }

    fn skip_line(&mut self) -> io::Result<()> {
        loop {
            let available = self.reader.fill_buf()?;
            let (used, ended) = match available.iter().position(|byte| *byte == b'\n') {
                Some(at) => (at + 1, true),
                None => (available.len(), available.is_empty()),
            };
            self.reader.consume(used);
            if ended {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: Vec<u8>) -> Vec<(u64, usize)> {
        let mut file = TraceFile::over("test".to_owned(), Box::new(io::Cursor::new(bytes))).unwrap();
        let mut found = Vec::new();
        while let Some(line) = file.next_line().unwrap() {
            found.push(match line {
                Line::Text(number, text) => (number, text.len()),
                Line::TooLong(number) => (number, usize::MAX),
            });
        }
        found
    }

    #[test]
    fn lines_plain_and_compressed_keep_their_numbers() {
        let text = b"\xef\xbb\xbf{}\r\n\n  \n{\"a\":1}\n{}".to_vec();
        let expected = [(1, 2), (4, 7), (5, 2)];
        assert_eq!(lines(text.clone()), expected);
        let mut compressed = zstd::encode_all(&text[..9], 3).unwrap();
        compressed.extend(zstd::encode_all(&text[9..], 3).unwrap());
        assert_eq!(lines(compressed), expected, "two frames, one after another");
        assert!(lines(Vec::new()).is_empty());
        assert_eq!(lines(b"{}".to_vec()), [(1, 2)]);
    }

    #[test]
    fn a_line_too_long_is_passed_over() {
        let mut text = vec![b'x'; LINE_BYTES_MAX + 10];
        text.extend(b"\n{}\n");
        assert_eq!(lines(text), [(1, usize::MAX), (2, 2)]);
    }

    #[test]
    fn a_torn_compressed_file_is_an_error_after_its_good_lines() {
        let text = "{\"a\":1}\n".repeat(100_000);
        let mut compressed = zstd::encode_all(text.as_bytes(), 1).unwrap();
        compressed.truncate(compressed.len() - 6);
        let mut file = TraceFile::over("torn".to_owned(), Box::new(io::Cursor::new(compressed))).unwrap();
        let mut good = 0;
        let fault = loop {
            match file.next_line() {
                Ok(Some(_)) => good += 1,
                Ok(None) => panic!("a torn file must not end well"),
                Err(fault) => break fault,
            }
        };
        assert!(
            format!("{fault:#}").starts_with(&format!("cannot read torn after line {good}")),
            "{fault:#}"
        );
    }
}
