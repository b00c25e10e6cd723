//! A call that was made, as composition rules see it.

use super::names::Name;
use crate::detector::features::kind;
use crate::domain::call::{ArgumentFeature, CallFeatures};
use crate::domain::risk::Capabilities;
use crate::domain::time::Timestamp;
use serde::{Deserialize, Serialize, Serializer};
use std::ops::Deref;
use std::sync::Arc;

/// Telling argument values of a call.
pub(super) const VALUES_MAX: usize = 8;

/// Magnitude of texts of 7 letters or more: shorter ones are shared by chance.
const TEXT_TELLS: u8 = 134;
/// Magnitude of numbers of 65,535 or more, and its mirror.
const NUMBER_TELLS: u8 = 160;

/// A call that was made and has no result yet.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "Stored")]
pub struct Made {
    /// Hash of the principal that made it.
    pub principal: u64,
    /// When.
    pub at: Timestamp,
    /// The tool's name and its server's.
    pub name: Arc<Name>,
    /// Hashes of telling argument values.
    pub values: Telling,
    /// Its number among records: tells which call a result belongs to.
    pub call: u32,
    /// What the tool can do.
    pub capabilities: Capabilities,
}

impl Made {
    /// A call of these features.
    pub fn new(call: u32, at: Timestamp, name: Arc<Name>, features: &CallFeatures) -> Self {
        let (principal, capabilities) = (features.principal, features.capabilities);
        Self { principal, at, name, values: telling(&features.arguments), call, capabilities }
    }
}

/// A call in a snapshot.
#[derive(Deserialize)]
pub(super) struct Stored {
    call: u32,
    principal: u64,
    at: Timestamp,
    server: String,
    tool: String,
    capabilities: Capabilities,
    values: Vec<u32>,
    pub(super) brought: Vec<u32>,
}

/// The same, borrowed.
#[derive(Serialize)]
pub(super) struct StoredRef<'a> {
    pub(super) call: u32,
    pub(super) principal: u64,
    pub(super) at: Timestamp,
    pub(super) server: &'a str,
    pub(super) tool: &'a str,
    pub(super) capabilities: Capabilities,
    pub(super) values: &'a [u32],
    pub(super) brought: &'a [u32],
}

impl From<Stored> for Made {
    fn from(stored: Stored) -> Self {
        let Stored { call, principal, at, server, tool, capabilities, values, brought: _ } = stored;
        let name = Arc::new(Name::new(&server, &tool));
        Self { principal, at, name, values: values.into_iter().collect(), call, capabilities }
    }
}

impl Serialize for Made {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { call, principal, at, capabilities, .. } = *self;
        let (server, tool, values) = (self.name.server(), self.name.tool(), &self.values);
        StoredRef { call, principal, at, server, tool, capabilities, values, brought: &[] }
            .serialize(serializer)
    }
}

/// Hashes of the telling values of a call: the first [`VALUES_MAX`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Telling {
    values: [u32; VALUES_MAX],
    length: u8,
}

impl Deref for Telling {
    type Target = [u32];

    fn deref(&self) -> &[u32] {
        self.values.get(..self.length.into()).unwrap_or_default()
    }
}

impl FromIterator<u32> for Telling {
    fn from_iter<I: IntoIterator<Item = u32>>(values: I) -> Self {
        let mut telling = Self::default();
        for (slot, value) in telling.values.iter_mut().zip(values) {
            *slot = value;
            telling.length += 1;
        }
        telling
    }
}

/// Hashes of values long or large enough that two calls hardly share them by chance.
pub fn telling(arguments: &[ArgumentFeature]) -> Telling {
    let tells = |feature: &&ArgumentFeature| match feature.kind {
        kind::TEXT => feature.magnitude >= TEXT_TELLS,
        kind::NUMBER => feature.magnitude >= NUMBER_TELLS || feature.magnitude <= u8::MAX - NUMBER_TELLS,
        _ => false,
    };
    arguments.iter().filter(tells).map(|feature| feature.value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_long_values_tell() {
        let feature = |kind, magnitude| ArgumentFeature { path: 0, value: 9, magnitude, kind };
        let count = |kind, magnitude| telling(&[feature(kind, magnitude)]).len();
        assert_eq!([count(kind::TEXT, 134), count(kind::TEXT, 133), count(1, 200)], [1, 0, 0]);
        assert_eq!([count(kind::NUMBER, 160), count(kind::NUMBER, 159), count(kind::NUMBER, 95)], [1, 0, 1]);
        assert_eq!(telling(&[feature(kind::TEXT, 200); 20]).len(), VALUES_MAX);
    }
}
