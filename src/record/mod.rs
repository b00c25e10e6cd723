//! Events as stored bytes: one encoding, one decoding, golden bytes in the tests.
//!
//! The body of a record is a protobuf message documented in `proto/askance/store/v1/event.proto`. Field
//! numbers are never reused; unknown fields are skipped, so that an older build reads what it knows.
//! Deliberately absent: frames, checksums, chains and keys, which are the event log's.

mod decision;
mod decode;
mod encode;
mod oversight;
mod payload;
mod policy;
mod tokens;
pub mod wire;

pub use decode::{decode, decode_for_fold};
pub use encode::{encode, encode_into};
pub use payload::{decode_payload, encode_payload, encode_payload_into};

/// Why a stored body cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes are no protobuf message.
    #[error("{0}")]
    Wire(#[from] wire::Error),
    /// A kind of event this build does not know.
    #[error("event kind {0} is unknown to this build")]
    UnknownKind(u8),
    /// A number that names nothing.
    #[error("field {field} holds {value}, which names nothing")]
    Unnamed {
        /// The field's number.
        field: u32,
        /// What it holds.
        value: u64,
    },
}

/// Looks a stored number up.
fn named<T>(field: &wire::Field<'_>, find: impl FnOnce(u8) -> Option<T>) -> Result<T, Error> {
    let value = field.uint();
    u8::try_from(value).ok().and_then(find).ok_or(Error::Unnamed { field: field.number, value })
}
