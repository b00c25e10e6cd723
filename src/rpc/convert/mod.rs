//! Between the generated messages and the words of the domain: one file a subject, both ways.
//!
//! Deliberately absent: what the engine checks itself (see `decide::ingest`). What it does not look at,
//! but the API promises a limit for, is checked here.

pub(super) mod call;
pub(super) mod decision;
pub(super) mod event;
pub(super) mod finding;
pub(super) mod learning;
pub(super) mod oversight;
pub(super) mod policy;
pub(super) mod review;
pub(super) mod session;
pub(super) mod tool;
mod view;

pub(super) use view::argument_view;

use crate::decide::ingest::Violation;
use crate::domain::hex::{hex, unhex};
use crate::domain::stream::StreamId;
use crate::domain::time::Timestamp;
use prost_types::{Duration, Timestamp as ProtoTimestamp};

/// Seconds of 0001-01-01 and of the end of 9999, the range of a protobuf timestamp.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// An instant as it is sent.
pub(super) fn timestamp(at: Timestamp) -> ProtoTimestamp {
    let micros = at.as_micros();
    ProtoTimestamp {
        seconds: micros.div_euclid(1_000_000),
        nanos: (micros.rem_euclid(1_000_000) * 1_000) as i32,
    }
}

/// An instant as it was sent, microseconds since 1970; finer digits are cut off.
pub(super) fn micros(
    field: &'static str,
    at: Option<&ProtoTimestamp>,
    faults: &mut Vec<Violation>,
) -> Option<i64> {
    let at = at?;
    if !SECONDS.contains(&at.seconds) || !(0..1_000_000_000).contains(&at.nanos) {
        let description = "is not a time of the years 1 to 9999".to_owned();
        faults.push(Violation { field, description });
        return None;
    }
    Some(at.seconds * 1_000_000 + i64::from(at.nanos / 1_000))
}

/// A span as it is sent.
pub(super) fn duration(span: std::time::Duration) -> Duration {
    Duration { seconds: i64::try_from(span.as_secs()).unwrap_or(i64::MAX), nanos: span.subsec_nanos() as i32 }
}

/// A span as it was sent; negative ones and unreadable ones are refused.
pub(super) fn span(
    field: &'static str,
    span: Option<&Duration>,
    faults: &mut Vec<Violation>,
) -> Option<std::time::Duration> {
    let span = span?;
    let parts = (u64::try_from(span.seconds), u32::try_from(span.nanos));
    match parts {
        (Ok(seconds), Ok(nanos)) if nanos < 1_000_000_000 && seconds <= SPAN_SECONDS_MAX => {
            Some(std::time::Duration::new(seconds, nanos))
        }
        _ => {
            let description = "is negative or not a duration".to_owned();
            faults.push(Violation { field, description });
            None
        }
    }
}

/// Longest span of protobuf, seconds.
const SPAN_SECONDS_MAX: u64 = 315_576_000_000;

/// The stream behind a session key: 32 hex digits.
pub(super) fn stream_of_key(key: &str) -> Option<StreamId> {
    Some(StreamId::from_bytes(unhex(key)?.try_into().ok()?))
}

/// The key of a session, empty for none.
pub(super) fn key_of_stream(stream: &StreamId) -> String {
    if stream.is_none() { String::new() } else { hex(stream.as_bytes()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_go_both_ways() {
        for at in [0, 1, -1, 1_763_000_000_123_456, -62_135_596_800_000_000] {
            let mut faults = Vec::new();
            let sent = timestamp(Timestamp::from_micros(at));
            assert_eq!(micros("t", Some(&sent), &mut faults), Some(at));
            assert!(faults.is_empty());
        }
        let bad = [(i64::MAX, 0), (i64::MIN, 0), (0, -1), (0, 1_000_000_000), (253_402_300_800, 0)];
        for (seconds, nanos) in bad {
            let mut faults = Vec::new();
            assert_eq!(micros("t", Some(&ProtoTimestamp { seconds, nanos }), &mut faults), None);
            assert_eq!(faults.len(), 1, "{seconds} {nanos}");
        }
    }

    #[test]
    fn session_keys_go_both_ways() {
        let stream = StreamId::from_bytes([7; 16]);
        assert_eq!(stream_of_key(&key_of_stream(&stream)), Some(stream));
        assert_eq!(key_of_stream(&stream), stream.to_string());
        assert_eq!(key_of_stream(&StreamId::NONE), "");
        for bad in ["", "0707", &"g".repeat(32), &"+7".repeat(16), &"07".repeat(17)] {
            assert_eq!(stream_of_key(bad), None, "{bad}");
        }
    }
}
