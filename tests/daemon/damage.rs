//! Files of a real daemon that were cut or changed: it refuses to start and says how to go on, or `verify` finds it,
//! or nothing that was acknowledged is different. Never silent. Each check is also made on untouched files.

use super::support::*;
use askance::proto::v1::Decision;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Calls on record before the damage.
const CALLS: u64 = 60;

async fn ask(daemon: &Daemon) -> Result<Vec<Decision>, tonic::Status> {
    let mut client = daemon.client().await;
    let mut decisions = Vec::new();
    for number in 0..CALLS {
        let call = call("damage", number, &format!("s-{}", number / 10), "get_logs");
        decisions.push(evaluate(&mut client, call).await?);
    }
    Ok(decisions)
}

/// A directory with decisions in it, and the decisions. `killed`: they are in the write-ahead log alone.
async fn recorded(dir: &Path, killed: bool) -> Vec<Decision> {
    let daemon = Daemon::start(dir, &[]).await;
    let decisions = ask(&daemon).await.unwrap();
    if killed {
        daemon.kill();
        released(dir).await;
    } else {
        assert_eq!(daemon.stop(), Some(0));
    }
    decisions
}

fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.join("p000/db")).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = entries
        .filter(|path| path.extension().is_some_and(|extension| extension == ending))
        .filter(|path| fs::metadata(path).unwrap().len() > 0)
        .collect();
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else if path.is_file() {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// What a start over these files says: its refusal, or whether everything acknowledged is as it was.
async fn start(dir: &Path, decisions: &[Decision]) -> Result<bool, String> {
    let output = program().args(["verify", "--data-dir"]).arg(dir).output().unwrap();
    let found = !output.status.success();
    let socket = dir.with_extension("sock");
    let mut refused = program();
    refused.args(serve_arguments(dir, &socket));
    match Daemon::try_start(refused, socket).await {
        Err(refusal) => Err(refusal),
        Ok(daemon) => {
            let again = match ask(&daemon).await {
                Ok(again) => again,
                // Met while it was read: refused, and said what is damaged.
                Err(status) => {
                    assert_eq!(status.code(), tonic::Code::DataLoss, "{status}");
                    return Ok(false);
                }
            };
            let same = again.iter().zip(decisions).all(|(again, before)| {
                again.repeated_call && (again.position, again.risk) == (before.position, before.risk)
            });
            daemon.kill();
            // Damage that changes answers must have been found.
            assert!(same || found, "acknowledged decisions are other ones and nobody noticed");
            Ok(same && !found)
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_ahead_log_that_was_cut_is_refused_with_the_command_that_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole");
    let decisions = recorded(&whole, true).await;
    let control = dir.path().join("control");
    copy(&whole, &control);
    assert_eq!(start(&control, &decisions).await, Ok(true), "the control: nothing was cut");

    let name = files(&whole, "log").pop().unwrap();
    let name = name.strip_prefix(&whole).unwrap();
    let length = fs::metadata(whole.join(name)).unwrap().len();
    let mut refusals = 0;
    for cut in [1, 7, 8, 100, 700, 1_500, length / 3, length / 2] {
        let copied = dir.path().join(format!("cut-{cut}"));
        copy(&whole, &copied);
        let file = fs::OpenOptions::new().write(true).open(copied.join(name)).unwrap();
        file.set_len(length - cut).unwrap();
        match start(&copied, &decisions).await {
            Err(refusal) => {
                refusals += 1;
                assert!(refusal.contains("--accept-lost-tail"), "{cut}: {refusal}");
            }
            Ok(same) => assert!(same, "{cut} bytes were cut off and nobody noticed"),
        }
    }
    assert!(refusals >= 7, "only {refusals} of 8 cuts were refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_byte_is_refused_or_found_by_verify() {
    let dir = tempfile::tempdir().unwrap();
    let (in_tables, in_wal) = (dir.path().join("tables"), dir.path().join("wal"));
    let (after_stop, after_kill) = (recorded(&in_tables, false).await, recorded(&in_wal, true).await);
    let (mut noticed, mut harmless) = (0, 0);
    for (whole, decisions, ending) in [(&in_tables, &after_stop, "sst"), (&in_wal, &after_kill, "log")] {
        let control = dir.path().join(format!("control-{ending}"));
        copy(whole, &control);
        assert_eq!(start(&control, decisions).await, Ok(true), "the control: nothing was changed");
        for path in files(whole, ending) {
            let name = path.strip_prefix(whole).unwrap();
            let length = fs::metadata(&path).unwrap().len();
            for share in [1, 5, 9] {
                let copied = dir.path().join("flipped");
                let _before = fs::remove_dir_all(&copied);
                copy(whole, &copied);
                let file = fs::OpenOptions::new().read(true).write(true).open(copied.join(name)).unwrap();
                let (at, mut byte) = (length * share / 10, [0]);
                file.read_exact_at(&mut byte, at).unwrap();
                file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
                match start(&copied, decisions).await {
                    Err(_) | Ok(false) => noticed += 1,
                    Ok(true) => harmless += 1,
                }
            }
        }
    }
    println!("{noticed} flips noticed, {harmless} without effect");
    assert!(noticed >= 12, "only {noticed} flips were noticed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_format_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let decisions = recorded(&data, false).await;
    let set = |number: u32| {
        let names = ["default", "log", "payload", "stream", "call", "tool", "directory", "snapshot", "meta"];
        let db = rocksdb::DB::open_cf(&rocksdb::Options::default(), data.join("p000/db"), names).unwrap();
        db.put_cf(db.cf_handle("meta").unwrap(), "storage_format", number.to_le_bytes()).unwrap();
    };
    set(2);
    let refusal = start(&data, &decisions).await.unwrap_err();
    assert!(refusal.contains("newer") && refusal.contains('2'), "{refusal}");
    let (code, text) = run(&["verify"], &data);
    assert_eq!(code, 1, "{text}");
    set(1);
    assert_eq!(start(&data, &decisions).await, Ok(true), "the control: the format that this build writes");
}
