//! The erasable part of a record.

use super::Error;
use super::wire::{Reader, Writer};
use crate::domain::event::Payload;

/// The bytes a payload is committed to.
pub fn encode_payload(payload: &Payload) -> Vec<u8> {
    let room = payload.arguments.len() + payload.user_request.len() + payload.result.len() + 16;
    let mut out = Writer::with_capacity(room);
    out.bytes(1, &payload.arguments);
    out.bytes(2, &payload.user_request);
    out.bytes(3, &payload.result);
    out.finish()
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
