//! Ids of traces and spans: hashes of what the log says, so that the same log gives the same ids for ever.

use crate::domain::hex::unhex;
use crate::proto::v1;
use sha2::{Digest, Sha256};

/// The id of a call's span. `position`: of its `CallProposed`.
pub(super) fn call(event: &v1::Event) -> [u8; 8] {
    at_position("call", event)
}

/// The id of a review's span, from its `ReviewOpened`.
pub(super) fn review(event: &v1::Event) -> [u8; 8] {
    at_position("review", event)
}

fn at_position(kind: &str, event: &v1::Event) -> [u8; 8] {
    let (partition, position) = (event.partition.to_string(), event.position.to_string());
    id(&[kind, &event.tenant, &event.session_key, &partition, &position])
}

/// The id of the span of a session that was opened again and ended at a position.
pub(super) fn again(tenant: &str, session_key: &str, position: u64) -> [u8; 8] {
    id(&["again", tenant, session_key, &position.to_string()])
}

/// The id of a session's first span, which its calls hang under.
pub(super) fn root_of(tenant: &str, session_key: &str) -> [u8; 8] {
    id(&["session", tenant, session_key])
}

/// The trace of a session.
pub(super) fn trace_of(tenant: &str, session_key: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash(&["trace", tenant, session_key])[..16]);
    bytes
}

/// 8 bytes of a hash over texts; never zero, which the protocol forbids.
fn id(parts: &[&str]) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&hash(parts)[..8]);
    bytes[7] |= u8::from(bytes == [0; 8]);
    bytes
}

fn hash(parts: &[&str]) -> [u8; 32] {
    let mut hash = Sha256::new_with_prefix("askance otlp 1");
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// Trace id and span id of a W3C `traceparent`, if it is one.
pub(super) fn parse(traceparent: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut parts = traceparent.split('-');
    let (version, trace, parent) = (parts.next()?, parts.next()?, parts.next()?);
    let bytes = |text: &str, length: usize| {
        unhex(text).filter(|bytes| bytes.len() == length && bytes.iter().any(|byte| *byte != 0))
    };
    (version.len() == 2 && version != "ff").then_some(())?;
    Some((bytes(trace, 16)?, bytes(parent, 8)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::hex::hex;

    #[test]
    fn only_a_whole_traceparent_counts() {
        let (trace, parent) = parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
        assert_eq!((trace.len(), hex(&parent).as_str()), (16, "00f067aa0ba902b7"));
        for bad in [
            "",
            "00-0-0-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "zz",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
