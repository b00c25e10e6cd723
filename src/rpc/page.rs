//! Tokens that say where to go on: pages of a list, and watches that broke off.
//!
//! A token is a place in hex and a keyed hash over the place and the request's filters, so that it cannot
//! be made up, nor be used with other filters. It holds nothing secret.

use super::status::Failure;
use crate::domain::hex::{hex, unhex};
use crate::stats::fingerprint::FingerprintKey;
use prost::Message;

/// Makes and reads the tokens of one list.
pub(super) struct Tokens {
    key: FingerprintKey,
    list: String,
}

impl Tokens {
    /// Tokens of the list of this name with these filters.
    pub(super) fn new(key: FingerprintKey, list: &str, filters: &impl Message) -> Self {
        let list = format!("{list} {}", hex(&filters.encode_to_vec()));
        Self { key, list }
    }

    /// The token of a place.
    pub(super) fn seal(&self, place: &[u8]) -> String {
        let place = hex(place);
        let seal = self.key.texts(&["token", &self.list, &place]);
        format!("{place}{seal:016x}")
    }

    /// The place behind a token.
    pub(super) fn open(&self, field: &'static str, token: &str) -> Result<Vec<u8>, Failure> {
        let split = token.len().checked_sub(16).and_then(|at| token.split_at_checked(at));
        let (place, seal) = split.ok_or_else(|| Failure::token(field))?;
        if format!("{:016x}", self.key.texts(&["token", &self.list, place])) != seal {
            return Err(Failure::token(field));
        }
        unhex(place).ok_or_else(|| Failure::token(field))
    }

    /// The token of a number.
    pub(super) fn seal_number(&self, place: u64) -> String {
        self.seal(&place.to_be_bytes())
    }

    /// The number behind a token.
    pub(super) fn open_number(&self, field: &'static str, token: &str) -> Result<u64, Failure> {
        let place = self.open(field, token)?;
        let bytes = place.try_into().map_err(|_| Failure::token(field))?;
        Ok(u64::from_be_bytes(bytes))
    }
}

/// The size of a page: `default` if 0, at most `most`.
pub(super) fn size(asked: u32, default: usize, most: usize) -> usize {
    match asked as usize {
        0 => default,
        asked => asked.min(most),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1::ListToolsRequest;

    #[test]
    fn tokens_hold_for_their_list_and_filters_only() {
        let filters = |tenant: &str| ListToolsRequest { tenant: tenant.to_owned(), ..Default::default() };
        let tokens = |list: &str, tenant: &str, key: u8| {
            Tokens::new(FingerprintKey::new([key; 16]), list, &filters(tenant))
        };
        let ours = tokens("tools", "a", 1);
        let token = ours.seal(b"place");
        assert_eq!(ours.open("t", &token).unwrap(), b"place");
        assert_eq!(ours.open_number("t", &ours.seal_number(7)).unwrap(), 7);
        for other in [tokens("tools", "b", 1), tokens("events", "a", 1), tokens("tools", "a", 2)] {
            assert!(other.open("t", &token).is_err());
        }
        let flipped = format!("00{}", &token[2..]);
        for bad in ["", "x", "0123456789abcdef", flipped.as_str(), "\u{e9}23456789abcdef012345"] {
            assert!(ours.open("t", bad).is_err(), "{bad}");
        }
        assert!(ours.open_number("t", &token).is_err());
    }

    #[test]
    fn page_sizes() {
        assert_eq!([size(0, 50, 1_000), size(7, 50, 1_000), size(9_999, 50, 1_000)], [50, 7, 1_000]);
    }
}
