//! The erasable part of a record.

use super::Error;
use super::wire::{Reader, Writer};
use crate::domain::event::Payload;

/// The bytes a payload is committed to.
pub fn encode_payload(payload: &Payload) -> Vec<u8> {
    let mut out = Vec::new();
    encode_payload_into(payload, &mut out);
    out
}

/// The same, in the place of what `out` held.
pub fn encode_payload_into(payload: &Payload, out: &mut Vec<u8>) {
    let mut writer = Writer::over(std::mem::take(out));
    writer.reserve(payload.arguments.len() + payload.user_request.len() + payload.result.len() + 16);
    writer.bytes(1, &payload.arguments);
    writer.bytes(2, &payload.user_request);
    writer.bytes(3, &payload.result);
    *out = writer.finish();
}

/// Reads a payload.
pub fn decode_payload(bytes: &[u8]) -> Result<Payload, Error> {
    let mut payload = Payload::default();
    for field in Reader::new(bytes) {
        let field = field?;
        match field.number {
            1 => payload.arguments = field.bytes().to_vec(),
            2 => payload.user_request = field.bytes().to_vec(),
            3 => payload.result = field.bytes().to_vec(),
            _ => {}
        }
    }
    Ok(payload)
}
