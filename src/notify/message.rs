//! What an endpoint is told of an event: names and reasons, never arguments.

use super::endpoint::{Endpoint, Kind};
use crate::detector::sentence::shown;
use crate::domain::event::{Event, Recorded};
use crate::domain::position::Position;
use crate::domain::time::Timestamp;
use serde_json::{Value, json};

/// A message for an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// Its id: partition and position, the same for every try.
    pub(super) id: String,
    /// Its body.
    pub(super) body: Vec<u8>,
    /// What the body is.
    pub(super) content_type: &'static str,
}

/// What of an event is told.
struct Told {
    kind: &'static str,
    tenant: String,
    subject: String,
    words: String,
    data: Value,
}

/// The message about an event; none if the endpoint is not told of it.
pub(super) fn message(endpoint: &Endpoint, partition: usize, recorded: &Recorded) -> Option<Message> {
    let told = told(partition, &recorded.record.event)?;
    let is_meant =
        told.tenant.is_empty() || endpoint.tenants.is_empty() || endpoint.tenants.contains(&told.tenant);
    if !is_meant {
        return None;
    }
    let id = format!("askance-{partition}-{}", recorded.position);
    let link = link(endpoint, &told);
    let (body, content_type) = match endpoint.kind {
        Kind::Webhook => {
            (cloud_event(&id, &told, &link, recorded.record.receive_time), "application/cloudevents+json")
        }
        Kind::Slack => (slack(&told, &link), "application/json"),
    };
    Some(Message { id, body: body.to_string().into_bytes(), content_type })
}

fn told(partition: usize, event: &Event) -> Option<Told> {
    let review = |position: Position| format!("r{partition}-{position}");
    Some(match event {
        Event::LockPlaced(event) => {
            let lock = &event.lock;
            let what = format!("{} {}", lock.on.scope.name(), lock.on.target);
            Told {
                kind: "askance.lock.placed.v1",
                tenant: lock.on.tenant.clone(),
                subject: lock.id.clone(),
                words: format!("locked: {} by {}: {}", what.trim_end(), lock.actor, lock.reason),
                data: json!({
                    "lock_id": lock.id, "scope": lock.on.scope.name(), "target": lock.on.target,
                    "server": lock.on.server, "reason": lock.reason, "actor": lock.actor,
                    "expire_time": lock.expires.map(|at| at.to_string()),
                }),
            }
        }
        Event::LockLifted(event) => Told {
            kind: "askance.lock.lifted.v1",
            tenant: event.tenant.clone(),
            subject: event.lock_id.clone(),
            words: format!("lock {} lifted by {}: {}", event.lock_id, event.actor, event.reason),
            data: json!({
                "lock_id": event.lock_id, "reason": event.reason, "actor": event.actor,
                "expired": event.expired,
            }),
        },
        Event::ReviewResolved(event) => {
            let state = format!("{:?}", event.state).to_lowercase();
            let id = review(event.review);
            Told {
                kind: "askance.review.resolved.v1",
                tenant: event.tenant.clone(),
                words: format!("review {id} is {state}: {}", event.why.sentence()),
                data: json!({
                    "review_id": id, "state": state, "reason": event.why.sentence(), "groups": event.groups,
                    "deadline": event.deadline.map(|at| at.to_string()),
                }),
                subject: id,
            }
        }
        _ => return None,
    })
}

/// The message about a review just opened, whose id is its position.
pub(super) fn of_opened(endpoint: &Endpoint, partition: usize, recorded: &Recorded) -> Option<Message> {
    let Event::ReviewOpened(event) = &recorded.record.event else {
        return message(endpoint, partition, recorded);
    };
    if !endpoint.tenants.is_empty() && !endpoint.tenants.contains(&event.tenant) {
        return None;
    }
    let review = format!("r{partition}-{}", recorded.position);
    let actor = event.principal_chain.join(" > ");
    let told = Told {
        kind: "askance.review.opened.v1",
        tenant: event.tenant.clone(),
        words: format!(
            "review {review}: {actor} wants to call {} ({}), {} of {} needed before {}",
            event.tool,
            event.category,
            event.terms.approvals,
            if event.terms.groups.is_empty() {
                "any reviewer".to_owned()
            } else {
                event.terms.groups.join(", ")
            },
            event.terms.deadline,
        ),
        data: json!({
            "review_id": review, "tool": event.tool, "server": event.server,
            "principal_chain": event.principal_chain, "category": event.category.to_string(),
            "rule_id": event.rule_id, "groups": event.terms.groups,
            "approvals_needed": event.terms.approvals, "deadline": event.terms.deadline.to_string(),
        }),
        subject: review,
    };
    let id = format!("askance-{partition}-{}", recorded.position);
    let link = link(endpoint, &told);
    let at = recorded.record.receive_time;
    let (body, content_type) = match endpoint.kind {
        Kind::Webhook => (cloud_event(&id, &told, &link, at), "application/cloudevents+json"),
        Kind::Slack => (slack(&told, &link), "application/json"),
    };
    Some(Message { id, body: body.to_string().into_bytes(), content_type })
}

fn link(endpoint: &Endpoint, told: &Told) -> String {
    if endpoint.link.is_empty() || !told.subject.starts_with('r') {
        return String::new();
    }
    endpoint.link.replace("{review}", &told.subject).replace("{tenant}", &told.tenant)
}

/// CloudEvents 1.0, structured JSON.
fn cloud_event(id: &str, told: &Told, link: &str, at: Timestamp) -> Value {
    let mut data = told.data.clone();
    if let Some(members) = data.as_object_mut() {
        members.insert("tenant".to_owned(), told.tenant.clone().into());
        members.insert("summary".to_owned(), shown(&told.words).into());
        if !link.is_empty() {
            members.insert("link".to_owned(), link.into());
        }
    }
    json!({
        "specversion": "1.0", "id": id, "source": "/askance", "type": told.kind, "subject": told.subject,
        "time": at.to_string(), "datacontenttype": "application/json", "data": data,
    })
}

/// A Slack message; what came from outside can neither link nor mention anybody.
fn slack(told: &Told, link: &str) -> Value {
    let mut text = escape(&shown(&told.words));
    if !link.is_empty() {
        text.push_str(&format!("\n<{}|open the review>", escape(link).replace('|', "%7C")));
    }
    json!({ "text": text, "unfurl_links": false })
}

/// As Slack wants it: three characters, and no formatting of its own.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::{LockLifted, Payload, Pending};
    use crate::domain::position::Revision;
    use crate::domain::stream::{CallKey, StreamId};

    fn lifted(reason: &str) -> Recorded {
        let event = LockLifted {
            tenant: "acme".to_owned(),
            lock_id: "lk_1".to_owned(),
            reason: reason.to_owned(),
            actor: "user:bob".to_owned(),
            expired: false,
        };
        let record = Pending {
            stream: StreamId::NONE,
            revision: Revision::new(1),
            event_time: Timestamp::default(),
            receive_time: Timestamp::default(),
            call: CallKey::NONE,
            causation: Position::ZERO,
            event: Event::LockLifted(event),
            payload: Payload::default(),
        };
        Recorded { position: Position::new(7), record }
    }

    fn endpoint(kind: Kind, tenants: &[&str]) -> Endpoint {
        Endpoint {
            name: "x".to_owned(),
            kind,
            url: "http://x".to_owned(),
            key: vec![1; 24],
            tenants: tenants.iter().map(|name| (*name).to_owned()).collect(),
            link: String::new(),
        }
    }

    #[test]
    fn slack_text_can_neither_link_nor_mention() {
        let recorded = lifted("<!channel> & <http://evil|click>\u{202e}");
        let message = of_opened(&endpoint(Kind::Slack, &[]), 0, &recorded).unwrap();
        let text = String::from_utf8(message.body).unwrap();
        assert!(!text.contains("<!channel>") && !text.contains("<http"), "{text}");
        assert!(text.contains("&lt;!channel&gt; &amp; ") && !text.contains('\u{202e}'), "{text}");
    }

    #[test]
    fn cloud_events_are_named_by_their_position_and_kept_to_their_tenant() {
        let message = of_opened(&endpoint(Kind::Webhook, &["acme"]), 3, &lifted("done")).unwrap();
        let body: Value = serde_json::from_slice(&message.body).unwrap();
        assert_eq!((message.id.as_str(), body["id"].as_str()), ("askance-3-7", Some("askance-3-7")));
        assert_eq!(
            (body["specversion"].as_str(), body["type"].as_str()),
            (Some("1.0"), Some("askance.lock.lifted.v1"))
        );
        assert_eq!(of_opened(&endpoint(Kind::Webhook, &["other"]), 3, &lifted("done")), None);
    }
}
