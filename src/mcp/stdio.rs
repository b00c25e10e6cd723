//! Standard input and output on threads of their own: whatever they are, a pipe, a socket or a file, reading and
//! writing them may block.

use anyhow::{Context, Result};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use tokio::sync::{mpsc, watch};

/// Bytes read at a time.
const READ_BYTES: usize = 64 * 1024;
/// Chunks read ahead.
const AHEAD: usize = 4;
/// Messages of ours that wait for the end of a line of the server; further ones are dropped.
const WAITING_MAX: usize = 2 * super::book::CALLS_MAX;

/// What goes to the client.
pub(super) enum Out {
    /// Bytes of the server, and whether a line ends with them.
    Server(Vec<u8>, bool),
    /// A line of ours.
    Ours(Vec<u8>),
    /// There is nothing more to come.
    End,
}

/// What comes from standard input, until its end.
pub(super) fn read_stdin() -> Result<mpsc::Receiver<Vec<u8>>> {
    let (sender, chunks) = mpsc::channel(AHEAD);
    let input = std::io::stdin().as_fd().try_clone_to_owned().context("there is no standard input")?;
    let mut input = File::from(input);
    let thread = std::thread::Builder::new().name("askance-stdin".to_owned());
    thread.spawn(move || {
        let mut bytes = vec![0; READ_BYTES];
        loop {
            match input.read(&mut bytes) {
                Ok(count @ 1..) => {
                    let chunk = bytes.get(..count).unwrap_or_default().to_vec();
                    if sender.blocking_send(chunk).is_err() {
                        return;
                    }
                }
                Err(fault) if fault.kind() == std::io::ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => return,
            }
        }
    })?;
    Ok(chunks)
}

/// Writes to standard output until the end is told or nobody reads it; then the receiver says true.
pub(super) fn write_stdout(mut outs: mpsc::Receiver<Out>) -> Result<watch::Receiver<bool>> {
    let (tell, gone) = watch::channel(false);
    let output = std::io::stdout().as_fd().try_clone_to_owned().context("there is no standard output")?;
    let mut between = Between::new(File::from(output));
    let thread = std::thread::Builder::new().name("askance-stdout".to_owned());
    thread.spawn(move || {
        while let Some(out) = outs.blocking_recv() {
            if matches!(out, Out::End) || between.write(out).is_err() {
                break;
            }
        }
        tell.send_replace(true);
    })?;
    Ok(gone)
}

/// Puts lines of ours between those of the server.
struct Between<W> {
    output: W,
    is_inside: bool,
    waiting: Vec<Vec<u8>>,
}

impl<W: Write> Between<W> {
    const fn new(output: W) -> Self {
        Self { output, is_inside: false, waiting: Vec::new() }
    }

    fn write(&mut self, out: Out) -> std::io::Result<()> {
        match out {
            Out::Server(bytes, ends) => {
                self.output.write_all(&bytes)?;
                self.is_inside = !ends;
                if ends {
                    for line in self.waiting.drain(..) {
                        self.output.write_all(&line)?;
                    }
                }
            }
            Out::Ours(line) if self.is_inside => {
                if self.waiting.len() < WAITING_MAX {
                    self.waiting.push(line);
                }
            }
            Out::Ours(line) => self.output.write_all(&line)?,
            Out::End => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_never_go_into_a_line_of_the_server() {
        let mut between = Between::new(Vec::new());
        let ours = |text: &str| Out::Ours(text.as_bytes().to_vec());
        between.write(ours("a\n")).unwrap();
        between.write(Out::Server(b"{\"x\":".to_vec(), false)).unwrap();
        between.write(ours("b\n")).unwrap();
        between.write(ours("c\n")).unwrap();
        between.write(Out::Server(b"1}\n".to_vec(), true)).unwrap();
        between.write(ours("d\n")).unwrap();
        assert_eq!(between.output, b"a\n{\"x\":1}\nb\nc\nd\n");
    }
}
