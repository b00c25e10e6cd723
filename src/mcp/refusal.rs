//! What a client is told of a call that did not run: a tool result that a model can read and act on, and the
//! notifications while a call is held.

use super::peek::{Id, Malformed};
use crate::domain::risk::RiskCategory;
use crate::proto::v1::Decision;
use serde_json::{Value, json};

/// Bytes of a reason from elsewhere that are shown.
const REASON_BYTES_MAX: usize = 1_024;

/// Why a call did not run.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// The decision says no.
    Denied(Box<Decision>),
    /// It waits for people, and the time to hold it is over.
    Waits(Box<Decision>),
    /// The daemon could not be asked, and calls of this category do not run unasked.
    Away(RiskCategory, String),
    /// The daemon does not take the call as it is.
    Unacceptable(String),
    /// Too much is open at a time.
    TooMuch(&'static str),
}

impl Refusal {
    /// One word for programs.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Denied(_) => "denied",
            Self::Waits(_) => "review",
            Self::Away(..) => "away",
            Self::Unacceptable(_) => "unacceptable",
            Self::TooMuch(_) => "too_much",
        }
    }

    /// The sentences for the model.
    pub fn text(&self) -> String {
        match self {
            Self::Denied(decision) => format!(
                "This call was not run: askance denied it (risk {} of 100). Reason: {}. Do not try to reach the same by \
                 another way; tell the user what you wanted to do and why.",
                decision.risk,
                sentence(&decision.reason)
            ),
            Self::Waits(decision) if decision.review_id.is_empty() => format!(
                "This call was not run: askance wants a person to look at it (risk {} of 100), and no review could be \
                 opened. Reason: {}. Tell the user.",
                decision.risk,
                sentence(&decision.reason)
            ),
            Self::Waits(decision) => format!(
                "This call was not run yet: it waits for a person to approve review {} (risk {} of 100). Reason: {}. \
                 Tell the user that this review is open. Once it is approved, make exactly the same call again, and it \
                 will run; another call would need a review of its own.",
                decision.review_id,
                decision.risk,
                sentence(&decision.reason)
            ),
            Self::Away(category, why) => format!(
                "This call was not run: askance, which must allow it first, cannot be asked ({}). Calls of {} risk do \
                 not run unasked. Tell the user; the same call may be tried again later.",
                sentence(why),
                category_name(*category)
            ),
            Self::Unacceptable(why) => format!(
                "This call was not run: askance cannot judge it as it is. {}. If this is about the arguments, change them; \
                 else tell the user.",
                sentence(why)
            ),
            Self::TooMuch(what) => {
                format!("This call was not run: {what}. Wait for answers to earlier calls, then try again.")
            }
        }
    }

    /// The decision it comes from, if there is one.
    pub fn decision(&self) -> Option<&Decision> {
        match self {
            Self::Denied(decision) | Self::Waits(decision) => Some(decision),
            _ => None,
        }
    }

    /// The answer with the tool result, whole.
    pub fn answer(&self, id: &Id, is_modern: bool) -> Vec<u8> {
        answer(id, &self.result(is_modern))
    }

    /// The tool result.
    pub fn result(&self, is_modern: bool) -> Value {
        let mut ours = json!({ "refused": self.kind() });
        if let (Some(decision), Some(fields)) = (self.decision(), ours.as_object_mut()) {
            fields.insert("callId".to_owned(), decision.call_id.clone().into());
            fields.insert("risk".to_owned(), decision.risk.into());
            fields.insert("reason".to_owned(), decision.reason_code().as_str_name().into());
            if !decision.review_id.is_empty() {
                fields.insert("reviewId".to_owned(), decision.review_id.clone().into());
            }
        }
        let mut result = json!({
            "content": [{ "type": "text", "text": self.text() }],
            "isError": true,
            "_meta": { "dev.askance/decision": ours },
        });
        if let (true, Some(fields)) = (is_modern, result.as_object_mut()) {
            fields.insert("resultType".to_owned(), "complete".into());
        }
        result
    }
}

/// An answer with this result.
pub fn answer(id: &Id, result: &Value) -> Vec<u8> {
    format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, id.json()).into_bytes()
}

/// An answer to a message that is not let through.
pub fn malformed(fault: &Malformed) -> Vec<u8> {
    let id = fault.id.as_ref().map_or("null", Id::json);
    let message = Value::from(format!("not passed on by askance: {}", fault.why));
    let code = fault.code;
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":{message}}}}}"#).into_bytes()
}

/// Tells that a call is held. The figures are so small that those of the server, which follow, are greater.
pub fn progress(token: &str, tick: u32, decision: &Decision) -> Vec<u8> {
    let (done, message) = (f64::from(tick) / 1e6, waiting(decision));
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":{done},"message":{message}}}}}"#
    )
    .into_bytes()
}

fn waiting(decision: &Decision) -> Value {
    Value::from(format!("waits for a person to approve review {}", decision.review_id))
}

/// A text from elsewhere as the inside of a sentence.
fn sentence(text: &str) -> String {
    let shown = crate::detector::sentence::shown(text);
    let cut = shown.floor_char_boundary(REASON_BYTES_MAX);
    shown.get(..cut).unwrap_or_default().trim_end_matches('.').to_owned()
}

/// A category as people say it.
pub const fn category_name(category: RiskCategory) -> &'static str {
    match category {
        RiskCategory::Low => "low",
        RiskCategory::Medium => "medium",
        RiskCategory::High => "high",
        RiskCategory::Critical => "critical",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1::ReasonCode;

    fn decision() -> Box<Decision> {
        Box::new(Decision {
            risk: 93,
            review_id: "0-17".to_owned(),
            reason: "a floor fired \u{202e}".to_owned(),
            call_id: "c-1".to_owned(),
            reason_code: ReasonCode::FloorFired.into(),
            ..Decision::default()
        })
    }

    #[test]
    fn a_review_is_named_so_that_the_same_call_can_come_again() {
        let id = Id::of_text("a\"b");
        let answer = Refusal::Waits(decision()).answer(&id, false);
        let value: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(value["id"], "a\"b");
        assert_eq!(value["result"]["isError"], true);
        let text = value["result"]["content"][0]["text"].as_str().unwrap();
        assert!(text.contains("review 0-17") && text.contains("exactly the same call"), "{text}");
        assert!(!text.contains('\u{202e}'), "{text}");
        let ours = &value["result"]["_meta"]["dev.askance/decision"];
        assert_eq!((&ours["reviewId"], &ours["refused"]), (&json!("0-17"), &json!("review")));
        assert!(value["result"].get("resultType").is_none());
        let modern: Value = serde_json::from_slice(&Refusal::Denied(decision()).answer(&id, true)).unwrap();
        assert_eq!(modern["result"]["resultType"], "complete");
    }

    #[test]
    fn messages_of_ours_are_json_on_one_line() {
        let fault = Malformed { id: None, code: -32_600, why: "say \"so\"" };
        let away = Refusal::Away(RiskCategory::High, "a\nb".to_owned());
        for text in [
            malformed(&fault),
            progress("\"t\"", 3, &decision()),
            away.answer(&Id::of_text("x"), false),
            Refusal::Unacceptable("x\r\ny.".to_owned()).answer(&Id::of_text("x"), true),
            Refusal::TooMuch("1,024 calls are open").answer(&Id::of_text("x"), true),
        ] {
            assert!(serde_json::from_slice::<Value>(&text).is_ok(), "{}", String::from_utf8_lossy(&text));
            assert!(!text.contains(&b'\n') && !text.contains(&b'\r'));
        }
        let first: Value = serde_json::from_slice(&progress("7", 1, &decision())).unwrap();
        assert_eq!(first["params"]["progressToken"], 7);
        assert!(first["params"]["progress"].as_f64().unwrap() > 0.0);
    }
}
