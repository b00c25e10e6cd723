//! Erasing payloads.

use crate::kit::{Maker, assert_clean, at, dir, open, payload};
use askance::eventlog::{Error, PayloadRef, PayloadState};
use std::ops::ControlFlow;
use std::path::Path;

fn files_with(dir: &Path, needle: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, needle));
        } else if std::fs::read(&path).unwrap().windows(needle.len()).any(|window| window == needle) {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn an_erased_payload_is_gone_from_the_files_and_the_chain_holds() {
    let dir = dir();
    let (log, mut writer) = open(dir.path());
    let mut maker = Maker::default();
    maker.append(&mut writer, &[3, 3]);
    // Too noisy to be compressed, so that it could be found.
    let secret: Vec<u8> = (0..64_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let mut batch = maker.batch(4);
    batch.records[1].payload.as_mut().unwrap().bytes = secret.clone();
    writer.append(at(6), &batch).unwrap();
    maker.append(&mut writer, &[3]);
    let head = log.tail();
    assert!(!files_with(dir.path(), &secret[..32]).is_empty(), "the search would not find it");
    drop((log, writer));
    let (log, mut writer) = open(dir.path());
    assert!(writer.erase_payload(at(8)).unwrap());
    assert!(!writer.erase_payload(at(8)).unwrap());
    assert!(matches!(writer.erase_payload(at(7)), Err(Error::NoPayload { .. })));
    assert!(matches!(writer.erase_payload(at(99)), Err(Error::NoPayload { .. })));
    assert_eq!(log.payload(at(8)).unwrap(), PayloadState::Erased);
    log.purge_erased(at(8), at(8)).unwrap();
    assert_eq!(files_with(dir.path(), &secret[..32]), [""; 0]);
    drop((log, writer));
    let (log, _writer) = open(dir.path());
    assert_eq!(files_with(dir.path(), &secret[..32]), [""; 0]);
    assert_eq!(log.tail(), head);
    assert_eq!(log.payload(at(10)).unwrap(), PayloadState::Present(payload(10)));
    let report = assert_clean(&log);
    assert_eq!((report.payloads, report.payloads_erased), (5, 1));
    let mut erased = Vec::new();
    log.scan_payloads(at(1), at(13), |record, payload| {
        if payload == PayloadRef::Erased {
            erased.push(record.position());
        }
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(erased, [at(8)]);
}
