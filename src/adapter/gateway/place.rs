//! What the address that a gateway sends to says beside its message: `?server=…&session=…&parent=…&principal=…`.
//!
//! For what a gateway has no field for. Whoever configures the gateway writes it; who may ask so is the API's matter.

use super::super::envelope::Whence;
use super::super::fields::Fault;
use super::chain;
use crate::mcp::peek::Meta;
use crate::mcp::scope::{is_name, unescaped};

/// What stands in the query.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::adapter) struct Place {
    /// The server; empty: it is not said.
    pub(super) server: String,
    /// The session; empty: it is not said.
    pub(super) session: String,
    /// The session that started it; empty: it is not said.
    pub(super) parent: String,
    /// Who acts for whom, outermost first: `principal`, once a link.
    pub(super) principals: Vec<String>,
}

impl Place {
    /// Reads a query without its question mark. A parameter that is not known is a fault, since a misspelt `principal`
    /// would have somebody else act.
    pub(in crate::adapter) fn read(query: &str) -> Result<Self, Fault> {
        let mut place = Self::default();
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let value = unescaped(value);
            if !is_name(&value) {
                return Err(Fault(format!("the parameter `{key}` of the address is not fit for a name")));
            }
            match key {
                "server" => place.server = value,
                "session" => place.session = value,
                "parent" => place.parent = value,
                "principal" => place.principals.push(value),
                _ => return Err(Fault(format!("the parameter `{key}` of the address is not known"))),
            }
        }
        place.principals = chain(place.principals)?;
        Ok(place)
    }

    /// Where a call stands that came with this in its request.
    pub(super) fn whence(&self, meta: Meta) -> Whence {
        Whence { named: self.session.clone(), parent: self.parent.clone(), meta, ..Whence::default() }
    }

    /// The server, or another name.
    pub(super) fn server_or(&self, other: &str) -> String {
        if self.server.is_empty() { other.to_owned() } else { self.server.clone() }
    }
}
