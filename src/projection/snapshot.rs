//! The whole state as bytes: for snapshots, and for the digest by which two states are compared.

use super::state::State;
use sha2::{Digest, Sha256};

/// Why bytes are no state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the snapshot does not decode: {0}")]
pub struct Error(String);

impl State {
    /// The state as bytes. Equal states give equal bytes: every container has one order.
    pub fn to_bytes(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("writing to memory cannot fail")
    }

    /// Reads what [`State::to_bytes`] wrote with the same `STATE_VERSION`.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let mut state: Self = postcard::from_bytes(bytes).map_err(|fault| Error(fault.to_string()))?;
        state.share_names();
        Ok(state)
    }

    /// SHA-256 of the state's bytes.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.to_bytes()).into()
    }
}
