//! What must be known from one event of a client to the next: what its user asked for, which comes before any call, and
//! the ids of calls that run, where the client gives them none.
//!
//! Each event may be another process, so it stands in small files of a private directory beside the log: requests masked
//! (with a key that nobody keeps) until the next call takes them to the daemon, ids until the call ends. Losing them
//! loses an outcome or a request, never a refusal.
//!
//! The files are spread over 256 directories by what they are about, and only the one at hand is ever listed:
//! however many notes are open, a hook looks at [`NOTES_MAX`] names at most.

use crate::clock::Clock;
use crate::domain::call::limits::REQUEST_BYTES_MAX;
use crate::domain::hex::hex;
use crate::domain::mask::Masker;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Hex digits of a key that name its directory, so that there are 256.
const SHELF_DIGITS: usize = 2;
/// Notes in a directory at a time, so that there are 16,384 at most; when there are as many, those older than [`AGE_MAX`]
/// go, or else the oldest.
const NOTES_MAX: usize = 64;
/// Age at which a note is worth nothing any more.
const AGE_MAX: Duration = Duration::from_secs(24 * 3_600);
/// What a request's file ends with.
const REQUEST: &str = "request";
/// What a running call's file ends with.
const OPEN: &str = "open";

/// The directory.
#[derive(Clone, Debug)]
pub struct Memory {
    dir: PathBuf,
}

impl Memory {
    /// In this data directory. Nothing is made before there is something to note.
    pub fn beside(data_dir: &Path) -> Self {
        Self { dir: data_dir.join("hooks") }
    }

    /// Notes what a session's user asked for; adds to what was noted and not taken yet.
    pub fn note_request(&self, session: &str, text: &str) -> io::Result<()> {
        let path = self.path(&[session], REQUEST);
        let before = fs::read_to_string(&path).unwrap_or_default();
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(io::Error::other)?;
        let mut masked = Cow::Borrowed(text);
        Masker::new(key).mask_text(&mut masked);
        let joined = if before.is_empty() { masked.into_owned() } else { format!("{before}\n\n{masked}") };
        self.write(&path, clip(&joined))
    }

    /// Takes what a session's user asked for since it was taken last; of several takers one gets it.
    pub fn take_request(&self, session: &str) -> Option<String> {
        let path = self.path(&[session], REQUEST);
        let taken = path.with_extension(format!("{}.taken", unique()));
        fs::rename(&path, &taken).ok()?;
        let text = fs::read_to_string(&taken).ok();
        let _gone = fs::remove_file(&taken);
        text.filter(|text| !text.is_empty())
    }

    /// Notes the id of a call that runs.
    pub fn note_open(&self, call: &[&str], id: &str) -> io::Result<()> {
        let path = self.path(call, &format!("{}.{OPEN}", unique()));
        self.write(&path, id)
    }

    /// Takes the id of the call like this that runs longest.
    pub fn take_open(&self, call: &[&str]) -> Option<String> {
        let key = key(call);
        let start = format!("{key}.");
        let mut found: Vec<PathBuf> = listed(&self.shelf(&key))
            .ok()?
            .into_iter()
            .filter(|path| {
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                name.starts_with(&start) && name.ends_with(OPEN)
            })
            .collect();
        found.sort();
        found.into_iter().find_map(|path| {
            let id = fs::read_to_string(&path).ok()?;
            // Whoever removes it has it.
            fs::remove_file(&path).ok()?;
            Some(id)
        })
    }

    /// The directory of what has this key.
    fn shelf(&self, key: &str) -> PathBuf {
        self.dir.join(key.get(..SHELF_DIGITS).unwrap_or_default())
    }

    fn path(&self, parts: &[&str], end: &str) -> PathBuf {
        let key = key(parts);
        self.shelf(&key).join(format!("{key}.{end}"))
    }

    /// Writes a file whole, for its owner only.
    fn write(&self, path: &Path, text: &str) -> io::Result<()> {
        let shelf = path.parent().unwrap_or(&self.dir);
        DirBuilder::new().recursive(true).mode(0o700).create(shelf)?;
        make_room(shelf)?;
        let new = shelf.join(format!("{}.new", unique()));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        let written = file.write_all(text.as_bytes()).and_then(|()| fs::rename(&new, path));
        if written.is_err() {
            let _left_behind = fs::remove_file(&new);
        }
        written
    }
}

/// The files of a directory; none if it is not there.
fn listed(shelf: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(shelf) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(fault) => Err(fault),
    }
}

fn make_room(shelf: &Path) -> io::Result<()> {
    let all = listed(shelf)?;
    if all.len() < NOTES_MAX {
        return Ok(());
    }
    let mut aged: Vec<(SystemTime, PathBuf)> = all
        .into_iter()
        .filter_map(|path| Some((fs::metadata(&path).and_then(|meta| meta.modified()).ok()?, path)))
        .collect();
    aged.sort();
    let is_old = |at: &SystemTime| at.elapsed().is_ok_and(|age| age > AGE_MAX);
    let old = aged.iter().take_while(|(at, _)| is_old(at)).count();
    let going = old.max((aged.len() + 1).saturating_sub(NOTES_MAX));
    if old < going {
        tracing::warn!(notes = NOTES_MAX, "too many notes of hooks are open; the oldest is given up");
    }
    // One that is gone already was taken.
    aged.iter().take(going).for_each(|(_, path)| drop(fs::remove_file(path)));
    Ok(())
}

/// A name for a file that comes after those made before it, on one machine.
fn unique() -> String {
    let micros = Clock::system().now().as_micros();
    let mut random = [0; 4];
    // Without randomness the process's number has to do.
    if getrandom::fill(&mut random).is_err() {
        random = std::process::id().to_le_bytes();
    }
    format!("{micros:020}-{:08x}", u32::from_le_bytes(random))
}

/// A name that says nothing of what it stands for.
pub(super) fn key(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().get(..16).map_or_else(String::new, hex)
}

/// The end of a text: what the user said last.
fn clip(text: &str) -> &str {
    let from = text.ceil_char_boundary(text.len().saturating_sub(REQUEST_BYTES_MAX));
    text.get(from..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn requests_are_taken_once_and_masked_until_then() {
        let dir = tempfile::tempdir().unwrap();
        let memory = Memory::beside(dir.path());
        assert_eq!(memory.take_request("s"), None);
        memory.note_request("s", "deploy with sk-0123456789abcdef01234567").unwrap();
        memory.note_request("s", "to staging").unwrap();
        memory.note_request("other", "x").unwrap();
        let path = memory.path(&["s"], REQUEST);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let text = memory.take_request("s").unwrap();
        assert!(text.starts_with("deploy with [masked:") && text.ends_with("\n\nto staging"), "{text}");
        assert_eq!(memory.take_request("s"), None);
        assert_eq!(memory.take_request("other").as_deref(), Some("x"));
        memory.note_request("s", &"ä".repeat(REQUEST_BYTES_MAX)).unwrap();
        assert!(memory.take_request("s").unwrap().len() <= REQUEST_BYTES_MAX);
    }

    #[test]
    fn ids_of_equal_calls_come_back_in_their_order() {
        let dir = tempfile::tempdir().unwrap();
        let memory = Memory::beside(dir.path());
        let call = ["s", "client", "Shell", "{}"];
        memory.note_open(&call, "1").unwrap();
        memory.note_open(&["s", "client", "Shell", "{ }"], "other").unwrap();
        memory.note_open(&call, "2").unwrap();
        let taken: Vec<Option<String>> = (0..3).map(|_| memory.take_open(&call)).collect();
        assert_eq!(taken, [Some("1".to_owned()), Some("2".to_owned()), None]);
        assert_ne!(key(&["ab", "c"]), key(&["a", "bc"]));
    }

    #[test]
    fn there_is_an_end_to_notes() {
        let dir = tempfile::tempdir().unwrap();
        let memory = Memory::beside(dir.path());
        let call = ["s", "client", "Shell", "{}"];
        for number in 0..=NOTES_MAX {
            memory.note_open(&call, &number.to_string()).unwrap();
        }
        let shelf = memory.shelf(&key(&call));
        assert_eq!(listed(&shelf).unwrap().len(), NOTES_MAX);
        for path in listed(&shelf).unwrap().iter().take(10) {
            fs::File::open(path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        }
        memory.note_open(&call, "last").unwrap();
        assert_eq!(listed(&shelf).unwrap().len(), NOTES_MAX - 10 + 1, "the old ones go first");
        let others = (0..10_000_u32).map(|number| number.to_string());
        let elsewhere = others.map(|name| key(&[&name])).filter(|name| memory.shelf(name) != shelf);
        assert!(elsewhere.count() > 9_900, "there are 256");
        assert!(memory.take_open(&["nothing"]).is_none(), "a directory that is not there is empty");
    }
}
