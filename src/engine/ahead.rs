//! Reading ahead: one thread reads and decodes records, the caller folds them.
//!
//! The two take about as much time each. What is read and not taken yet is bounded: [`CHUNKS_MAX`] chunks of
//! [`CHUNK_RECORDS`] records, and one more on either side.

use super::Error;
use crate::domain::event::Recorded;
use crate::domain::position::Position;
use crate::eventlog::{Log, RecordView};
use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Records that go from one thread to the other at once.
const CHUNK_RECORDS: usize = 256;
/// Chunks that may wait between the two.
const CHUNKS_MAX: usize = 4;
/// Records for which a thread is not worth its start.
const FEW: u64 = 1_024;

type Chunk = Result<Vec<Recorded>, Error>;

/// Calls `f` with every record from `from` to `to`, in order, until it breaks or fails. It may take parts out.
pub(super) fn each(
    log: &Log,
    from: Position,
    to: Position,
    decode: impl Fn(&RecordView<'_>) -> Result<Recorded, Error> + Send,
    mut f: impl FnMut(&mut Recorded) -> Result<ControlFlow<()>, Error>,
) -> Result<(), Error> {
    if to.get().saturating_sub(from.get()) < FEW {
        let mut outcome = Ok(());
        log.scan(from, to, |view| match decode(&view).and_then(|mut recorded| f(&mut recorded)) {
            Ok(flow) => flow,
            Err(error) => {
                outcome = Err(error);
                ControlFlow::Break(())
            }
        })?;
        return outcome;
    }
    std::thread::scope(|scope| {
        let (sender, chunks) = sync_channel(CHUNKS_MAX);
        // Records go back to be freed where they were made: that is cheaper, and their memory is used again at once.
        let (back, used) = sync_channel(CHUNKS_MAX);
        let reading = move || {
            // A receiver that is gone has no use for more, nor for the fault.
            if let Err(error) = read(log, from, to, decode, &sender, &used) {
                let _gone = sender.send(Err(error));
            }
        };
        std::thread::Builder::new()
            .name("askance-ahead".to_owned())
            .spawn_scoped(scope, reading)
            .map_err(|fault| Error::Storage(format!("cannot start a thread to read ahead: {fault}")))?;
        for chunk in chunks {
            let mut chunk = chunk?;
            for recorded in &mut chunk {
                if f(recorded)?.is_break() {
                    return Ok(());
                }
            }
            // Where there is no room for it, or nobody any more, it is freed here.
            let _freed = back.try_send(chunk);
        }
        Ok(())
    })
}

fn read(
    log: &Log,
    from: Position,
    to: Position,
    decode: impl Fn(&RecordView<'_>) -> Result<Recorded, Error>,
    sender: &SyncSender<Chunk>,
    used: &Receiver<Vec<Recorded>>,
) -> Result<(), Error> {
    let next = || {
        let used = used.try_recv().map(|mut chunk| {
            chunk.clear();
            chunk
        });
        used.unwrap_or_else(|_| Vec::with_capacity(CHUNK_RECORDS))
    };
    let (mut chunk, mut fault) = (next(), None);
    log.scan(from, to, |view| match decode(&view) {
        Ok(recorded) => {
            chunk.push(recorded);
            if chunk.len() < CHUNK_RECORDS {
                return ControlFlow::Continue(());
            }
            let full = std::mem::replace(&mut chunk, next());
            if sender.send(Ok(full)).is_err() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
        Err(error) => {
            fault = Some(error);
            ControlFlow::Break(())
        }
    })?;
    // What came before a fault is still told.
    let _gone = sender.send(Ok(chunk));
    fault.map_or(Ok(()), Err)
}
