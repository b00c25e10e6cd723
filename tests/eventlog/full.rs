//! A full disk, on a small file system of its own. Needs root to mount it; skipped loudly without.

use crate::kit::{Maker, assert_clean, at, options};
use askance::eventlog::{Error, Log, Options, Space};
use std::fs;
use std::path::Path;
use std::process::Command;

/// A mounted tmpfs, unmounted when dropped.
struct Mount(tempfile::TempDir);

impl Mount {
    fn new(mebibytes: u32) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let size = format!("size={mebibytes}m");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(dir.path()).status();
        mounted.is_ok_and(|status| status.success()).then_some(Self(dir))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

fn small() -> Options {
    Options {
        write_buffer_bytes: 4 << 20,
        ballast_bytes: 8 << 20,
        free_bytes_low: 8 << 20,
        free_bytes_hard: 4 << 20,
        ..options()
    }
}

/// Fills what is free with a file of this name.
fn fill(mount: &Path, name: &str) {
    let file = fs::File::create(mount.join(name)).unwrap();
    let stat = rustix::fs::statvfs(mount).unwrap();
    let bytes = stat.f_bavail * stat.f_frsize;
    if bytes > 0 {
        allocate(&file, bytes);
    }
}

fn allocate(file: &fs::File, bytes: u64) {
    rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, bytes).unwrap();
}

#[test]
fn a_full_disk_stops_appends_and_nothing_else() {
    let Some(mount) = Mount::new(40) else {
        eprintln!("SKIPPED a_full_disk_stops_appends_and_nothing_else: no tmpfs can be mounted here");
        return;
    };
    let data = mount.path().join("data");
    let (mut log, mut writer, report) = Log::open(&data, &small()).unwrap();
    assert!(report.ballast && matches!(log.space().unwrap(), Space::Ok { .. }));
    let (mut maker, mut tail) = (Maker::default(), 0);
    for _ in 0..3 {
        maker.append(&mut writer, &[200; 5]);
        tail += 1000;
        fill(mount.path(), "filler");
        assert!(matches!(log.space().unwrap(), Space::Full { free: 0 }));
        let batch = maker.batch(1);
        for _ in 0..3 {
            let error = writer.append(at(tail), &batch).unwrap_err();
            assert!(matches!(error, Error::DiskFull { free: 0, .. }) && error.is_without_effect(), "{error}");
        }
        assert_eq!(log.get(at(tail)).unwrap().unwrap().position(), at(tail));
        assert_clean(&log);
        assert_eq!(log.writes_off(), None);
        drop((log, writer));
        // The control: without ballast a full disk keeps the log from opening, and the refusal says why.
        let ballast = fs::metadata(data.join("ballast")).unwrap().len();
        fs::remove_file(data.join("ballast")).unwrap();
        fill(mount.path(), "more");
        let error = Log::open(&data, &small()).map(|_| ()).unwrap_err();
        assert!(matches!(error, Error::DiskFull { .. }), "{error}");
        fs::remove_file(mount.path().join("more")).unwrap();
        allocate(&fs::File::create(data.join("ballast")).unwrap(), ballast);
        fill(mount.path(), "more");
        let opened = Log::open(&data, &small()).unwrap();
        (log, writer) = (opened.0, opened.1);
        assert!(opened.2.ballast_released && !opened.2.ballast);
        assert_eq!(opened.2.tail, at(tail));
        assert_clean(&log);
        assert!(!matches!(log.housekeep().unwrap(), Space::Ok { .. }) && !data.join("ballast").exists());
        fs::remove_file(mount.path().join("filler")).unwrap();
        fs::remove_file(mount.path().join("more")).unwrap();
        assert!(matches!(log.housekeep().unwrap(), Space::Ok { .. }));
        assert!(data.join("ballast").exists());
        writer.append(at(tail), &batch).unwrap();
        tail += 1;
        assert_clean(&log);
    }
}
