//! The caller's directory: small entries written together with records, listed in key order.
//!
//! Deliberately absent: what keys and values mean.

use super::Error;
use super::keys::Family;
use super::log::Log;
use super::store::{point_reads, read_error};

/// A directory entry: key and value.
pub type DirectoryEntry = (Vec<u8>, Vec<u8>);

impl Log {
    /// The value of a directory key.
    pub fn directory_get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.shared.store.get(Family::Directory, key, 0)?.map(|value| value.to_vec()))
    }

    /// Up to `max` entries whose key begins with `prefix`, in key order or, with `reverse`, against it. With `after`,
    /// only those behind that key in the direction of the listing, so the last key of one page asks for the next.
    pub fn directory(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        reverse: bool,
        max: usize,
    ) -> Result<Vec<DirectoryEntry>, Error> {
        let mut options = point_reads();
        options.set_iterate_range(rocksdb::PrefixRange(prefix));
        let mut iter = self.shared.store.iter(Family::Directory, options);
        match (after, reverse) {
            (None, false) => iter.seek_to_first(),
            (None, true) => iter.seek_to_last(),
            (Some(key), false) => iter.seek(key),
            (Some(key), true) => iter.seek_for_prev(key),
        }
        let mut entries = Vec::new();
        while entries.len() < max {
            let Some((key, value)) = iter.item() else { break };
            // Bounds do not bind a seek beyond them, in either direction.
            let within = key.starts_with(prefix);
            if within && after != Some(key) {
                entries.push((key.to_vec(), value.to_vec()));
            }
            if reverse { iter.prev() } else { iter.next() }
        }
        iter.status().map_err(|source| read_error(Family::Directory, 0, source))?;
        Ok(entries)
    }
}
