//! A review carried by the client: it is asked to open the review's page for its user, and brings the call back.
//!
//! Only for clients of revision 2026-07-28 that say they open URLs, and only where the operator gave the page's
//! address. What the client brings back names the call that was asked about; it is keyed, so that no client can take
//! up another's. The daemon checks that it is the very same call.

use super::peek::{Call, Id};
use super::refusal::answer;
use crate::domain::hex::{hex, unhex};
use crate::proto::v1::Decision;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;

/// What our states begin with.
const OURS: &str = "askance-1.";
/// What stands for the review in the page's address.
const PLACE: &str = "{review}";
/// The name under which the client's answer comes back.
pub const ASKED: &str = "askance";

/// Makes and reads states.
pub struct Carrier {
    key: [u8; 32],
    /// Address of a review's page, with a place for its id.
    page: String,
}

/// What a call brings back.
#[derive(Debug, PartialEq, Eq)]
pub enum Brought {
    /// Nothing of ours.
    Nothing,
    /// A state that we did not make, or not in this run.
    Foreign,
    /// The call that was asked about.
    Call(String),
}

impl Carrier {
    /// A carrier to this page; an error if the address has no place for the review.
    pub fn new(key: [u8; 32], page: String) -> Result<Self, &'static str> {
        if page.contains(PLACE) { Ok(Self { key, page }) } else { Err("the address holds no {review}") }
    }

    /// Whether the client of this call can be asked.
    pub fn can_ask(call: &Call<'_>) -> bool {
        let meta = &call.meta;
        call.id.is_some()
            && meta.is_modern()
            && meta.abilities.is_some_and(|abilities| abilities.elicits_urls)
    }

    /// Asks the client to open the review's page.
    pub fn ask(&self, id: &Id, decision: &Decision) -> Vec<u8> {
        let message = format!(
            "A person must approve this call before it runs (review {}). Open the page, and continue once it is decided.",
            decision.review_id
        );
        let url = self.page.replace(PLACE, &decision.review_id);
        answer(
            id,
            &json!({
                "resultType": "input_required",
                "inputRequests": { ASKED: {
                    "method": "elicitation/create",
                    "params": { "mode": "url", "message": message, "url": url },
                } },
                "requestState": self.state(&decision.call_id),
            }),
        )
    }

    fn mac(&self, call_id: &str) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).ok()?;
        mac.update(call_id.as_bytes());
        Some(mac)
    }

    fn state(&self, call_id: &str) -> String {
        let digest = self.mac(call_id).map(|mac| mac.finalize().into_bytes());
        let digits = digest.map_or_else(String::new, |digest| hex(&digest));
        format!("{OURS}{call_id}.{digits}")
    }

    /// What a call brings back.
    pub fn brought(&self, state: Option<&str>) -> Brought {
        let Some(rest) = state.and_then(|state| state.strip_prefix(OURS)) else { return Brought::Nothing };
        let Some((call_id, digits)) = rest.rsplit_once('.') else { return Brought::Foreign };
        let genuine = unhex(digits)
            .zip(self.mac(call_id))
            .is_some_and(|(digest, mac)| mac.verify_slice(&digest).is_ok());
        if genuine { Brought::Call(call_id.to_owned()) } else { Brought::Foreign }
    }
}

#[cfg(test)]
mod tests {
    use super::super::peek::{Peek, peek};
    use super::*;

    fn carrier() -> Carrier {
        Carrier::new([3; 32], "https://desk.example/r/{review}".to_owned()).unwrap()
    }

    #[test]
    fn a_state_names_its_call_and_cannot_be_made_up() {
        let state = carrier().state("mcp-1-2");
        assert_eq!(carrier().brought(Some(&state)), Brought::Call("mcp-1-2".to_owned()));
        for foreign in [
            state.replace("1-2", "1-3"),
            format!("{state}00"),
            "askance-1.x".to_owned(),
            "askance-1.x.é0".to_owned(),
        ] {
            assert_eq!(carrier().brought(Some(&foreign)), Brought::Foreign, "{foreign}");
        }
        let other = Carrier::new([4; 32], "{review}".to_owned()).unwrap();
        assert_eq!(other.brought(Some(&state)), Brought::Foreign);
        assert_eq!(carrier().brought(Some("the server's own")), Brought::Nothing);
        assert_eq!(carrier().brought(None), Brought::Nothing);
        assert!(Carrier::new([0; 32], "https://desk.example".to_owned()).is_err());
    }

    #[test]
    fn only_clients_that_open_pages_are_asked() {
        let call = |revision: &str, ability: &str| {
            format!(
                r#"{{"id":1,"method":"tools/call","params":{{"name":"t","_meta":{{"io.modelcontextprotocol/protocolVersion":"{revision}",
                "io.modelcontextprotocol/clientCapabilities":{{"elicitation":{{"{ability}":{{}}}}}}}}}}}}"#
            )
        };
        let can = |text: String| match peek(text.as_bytes()) {
            Peek::Call(call) => Carrier::can_ask(&call),
            other => panic!("{other:?}"),
        };
        assert!(can(call("2026-07-28", "url")));
        assert!(!can(call("2026-07-28", "form")) && !can(call("2025-11-25", "url")));
    }

    #[test]
    fn the_client_is_shown_the_page() {
        let decision =
            Decision { review_id: "0-7".to_owned(), call_id: "c".to_owned(), ..Decision::default() };
        let asked = carrier().ask(&Id::of_text("x"), &decision);
        let value: serde_json::Value = serde_json::from_slice(&asked).unwrap();
        assert_eq!(
            value["result"]["inputRequests"]["askance"]["params"]["url"],
            "https://desk.example/r/0-7"
        );
        assert_eq!(value["result"]["resultType"], "input_required");
        let state = value["result"]["requestState"].as_str();
        assert_eq!(carrier().brought(state), Brought::Call("c".to_owned()));
    }
}
