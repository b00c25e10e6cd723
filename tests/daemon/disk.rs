//! Disks that are full or fail, and directories that are in use.

use super::support::*;
use askance::proto::v1::ListSessionsRequest;
use std::path::{Path, PathBuf};
use std::process::Command;
use tonic::Code;

/// A small file system of its own; needs root. Unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path, megabytes: u32) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let size = format!("size={megabytes}m");
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at).status();
        done.is_ok_and(|status| status.success()).then(|| Self(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _gone = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_calls_and_recovers_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(&dir.path().join("small"), 160) else {
        println!("SKIPPED: mounting a file system needs root");
        return;
    };
    let environment = [
        ("ASKANCE_LOG__BALLAST", "16MiB"),
        ("ASKANCE_LOG__FREE_LOW", "64MiB"),
        ("ASKANCE_LOG__FREE_HARD", "48MiB"),
        ("ASKANCE_LOG__WRITE_BUFFER", "8MiB"),
    ];
    let data = disk.0.join("data");
    let daemon = Daemon::start(&data, &environment).await;
    let mut client = daemon.client().await;
    evaluate(&mut client, call("disk", 1, "s", "get_logs")).await.unwrap();

    // Something else fills the disk.
    let filler = disk.0.join("filler");
    std::fs::write(&filler, vec![7_u8; 90 << 20]).unwrap();
    let mut refused = None;
    for number in 2..2_000 {
        match evaluate(&mut client, call("disk", number, "s", "get_logs")).await {
            Err(status) => {
                refused = Some(status);
                break;
            }
            Ok(_) => tokio::time::sleep(std::time::Duration::from_millis(2)).await,
        }
    }
    let refused = refused.expect("a full disk must refuse");
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert!(refused.message().contains("disk"), "{refused}");

    // What was answered before can still be asked for, by another way than a write: the list of sessions.
    let (code, text) = run(&["verify"], &data);
    assert_eq!(code, 0, "{text}");
    // Whoever asks for our health is sent elsewhere, and reads go on.
    daemon.serving(false).await;
    assert!(listed(&daemon).await > 0);
    assert!(daemon.counter("appends_refused_disk_full").await > 0);

    std::fs::remove_file(&filler).unwrap();
    daemon.serving(true).await;
    let after = evaluate(&mut client, call("disk", 3_000, "s", "get_logs")).await.unwrap();
    assert!(!after.degraded && !after.repeated_call);
    assert_eq!(daemon.stop(), Some(0));
    let (code, text) = run(&["verify"], &data);
    assert_eq!(code, 0, "{text}");
}

/// Sessions that the daemon lists.
async fn listed(daemon: &Daemon) -> usize {
    let mut timeline = daemon.timeline().await;
    let sessions = timeline.list_sessions(ListSessionsRequest::default()).await.unwrap();
    sessions.into_inner().sessions.len()
}

/// Watermarks that never bite, and a disk filled to the last byte: still refused by status, reads go on, and after a
/// kill everything acknowledged is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_filled_to_the_brim_refuses_calls_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(&dir.path().join("small"), 96) else {
        println!("SKIPPED: mounting a file system needs root");
        return;
    };
    let environment = [
        ("ASKANCE_LOG__BALLAST", "0"),
        ("ASKANCE_LOG__FREE_LOW", "0"),
        ("ASKANCE_LOG__FREE_HARD", "0"),
        ("ASKANCE_LOG__WRITE_BUFFER", "8MiB"),
    ];
    let data = disk.0.join("data");
    let daemon = Daemon::start(&data, &environment).await;
    let mut client = daemon.client().await;
    let first = evaluate(&mut client, call("brim", 1, "s", "get_logs")).await.unwrap();
    let filler = disk.0.join("filler");
    assert!(std::fs::write(&filler, vec![7_u8; 96 << 20]).is_err(), "the disk takes more than it is large");
    let mut acknowledged = vec![(1, first)];
    let (mut refused, mut late) = (None, 0);
    for number in 2..20_000 {
        match evaluate(&mut client, call("brim", number, "s", "get_logs")).await {
            Ok(decision) if !decision.degraded => acknowledged.push((number, decision)),
            Ok(_) => {
                late += 1;
                assert!(late < 5, "calls wait for a disk that is full instead of being refused");
            }
            Err(status) => {
                refused = Some(status);
                break;
            }
        }
    }
    let refused = refused.expect("a disk without a free byte must refuse");
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    daemon.serving(false).await;
    assert!(listed(&daemon).await > 0);
    daemon.kill();
    released(&data).await;
    std::fs::remove_file(&filler).unwrap();
    let daemon = Daemon::start(&data, &environment).await;
    let mut client = daemon.client().await;
    for (number, decision) in acknowledged {
        let again = evaluate(&mut client, call("brim", number, "s", "get_logs")).await.unwrap();
        assert!(again.repeated_call && again.position == decision.position, "call {number} is lost");
    }
    assert_eq!(daemon.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_in_use_is_refused_with_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let daemon = Daemon::start(&data, &[]).await;
    let output = program().args(serve_arguments(&data, &dir.path().join("other.sock"))).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("in use"), "{text}");
    assert_eq!(daemon.stop(), Some(0));
}

/// Every fdatasync in turn fails with EIO: the caller gets an error that says "unknown", never a verdict;
/// afterwards writes are off and reads go on; after a restart everything acknowledged is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_sync_never_lies() {
    if Command::new("strace").arg("-V").output().is_err() {
        println!("SKIPPED: strace is not installed");
        return;
    }
    let (mut failed, mut clean) = (0, 0);
    for nth in 1..=24_u32 {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        // A log with something in it, so that opening is not what is tested.
        let daemon = Daemon::start(&data, &[]).await;
        assert_eq!(daemon.stop(), Some(0));
        let mut strace = Command::new("strace");
        let inject = format!("inject=fdatasync:error=EIO:when={}", nth + 8);
        strace.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", &inject]);
        strace.arg(env!("CARGO_BIN_EXE_askance"));
        let daemon = Daemon::start_with(strace, &data, &[]).await;
        let mut client = daemon.client().await;
        let mut acknowledged = Vec::new();
        let mut error = None;
        for number in 0..40 {
            match evaluate(&mut client, call("eio", number, "s", "get_logs")).await {
                Ok(decision) if !decision.degraded => acknowledged.push((number, decision)),
                Ok(_) => {}
                Err(status) => {
                    error.get_or_insert(status);
                }
            }
        }
        match &error {
            Some(status) => {
                failed += 1;
                assert!(matches!(status.code(), Code::Unavailable | Code::Unknown), "{nth}: {status}");
            }
            None => clean += 1,
        }
        daemon.kill();
        let _left = Command::new("pkill").args(["-9", "-f", &data.display().to_string()]).status();
        released(&data).await;
        let daemon = Daemon::start(&data, &[]).await;
        let mut client = daemon.client().await;
        for (number, decision) in acknowledged {
            let again = evaluate(&mut client, call("eio", number, "s", "get_logs")).await.unwrap();
            assert!(again.repeated_call, "call {number} was acknowledged and is lost");
            assert_eq!((again.position, again.risk), (decision.position, decision.risk));
        }
        assert_eq!(daemon.stop(), Some(0));
    }
    println!("{failed} runs met the failing sync, {clean} did not");
    assert!(failed >= 12, "the fault was met in {failed} runs only");
}
