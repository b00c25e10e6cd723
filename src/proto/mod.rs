//! The gRPC API: messages, client and server, generated from `proto/askance/v1/*.proto`.
//!
//! Read the proto files' comments: they are the manual, and stand on the items here too. Nothing
//! in this folder is written by hand but this file; `tests/proto.rs` compares, and rewrites with
//! `ASKANCE_REGENERATE=1 cargo test --test proto`. Deliberately absent: conversions to the words
//! of the domain, which live in `rpc`.

/// Package `askance.v1`. Fields of type `bytes` are [`prost::bytes::Bytes`], so that decoding a
/// message does not copy them.
#[allow(
    missing_docs,
    reason = "every message, field and RPC is documented; prost's own helper items are not"
)]
#[allow(unused_qualifications, reason = "generated code names everything in full")]
#[allow(clippy::all, reason = "generated code")]
#[allow(clippy::allow_attributes_without_reason, reason = "generated code has attributes of its own")]
#[rustfmt::skip]
#[path = "askance.v1.rs"]
pub mod v1;

/// Encoded `FileDescriptorSet` of the package and all it imports, without comments: for the
/// reflection service.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("askance.v1.bin");
