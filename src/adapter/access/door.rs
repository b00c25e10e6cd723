//! Answers what comes in at the profile's addresses.

use super::super::desk::Desk;
use super::super::envelope::Ruling;
use super::super::fields::{Fault, Fields};
use super::super::gateway::{Gateway, Place as Query, authzen};
use super::super::hook::MESSAGE_BYTES_MAX;
use super::super::inward::Inward;
use super::evaluation::{self, Asked, Evaluation, Presented};
use super::keys::{Keyed, Keys, Known};
use super::problem::{Kind, Problem};
use super::request;
use super::task::{self, Standing};
use super::{EVALUATION, EVALUATIONS, Handle, METADATA, Place, REQUESTS};
use crate::clock::Clock;
use crate::mcp::gate::Seen;
use crate::mcp::refusal::Refusal;
use crate::proto::v1::GetCallReviewResponse;
use crate::rpc::Peer;
use http::header::{AUTHORIZATION, HOST, HeaderMap};
use http::{Method, Uri};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tonic::Code;

/// Header that makes a repeated request for access be known again.
const KEY: &str = "idempotency-key";
/// Header that names the tenant; a part of who asks.
const TENANT: &str = "askance-tenant";
/// Time for all evaluations of a message.
const EVALUATIONS_TIMEOUT: Duration = Duration::from_secs(30);
/// Seconds between two looks at a task.
const POLL_SECONDS: u32 = 5;
/// What it can do beyond evaluations.
const CAPABILITY: &str = "urn:openid:authzen:capability:access-request";

/// What a request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::adapter) enum Route {
    /// One evaluation.
    Evaluation,
    /// Several.
    Evaluations,
    /// The metadata.
    Metadata,
    /// A request for access.
    Request,
    /// The task of this id.
    Task(String),
    /// Something that is there, by another method.
    OtherMethod,
}

impl Route {
    /// What is asked for; none: nothing of ours.
    pub(in crate::adapter) fn of(method: &Method, path: &str) -> Option<Self> {
        let (wanted, route) = match path {
            EVALUATION => (Method::POST, Self::Evaluation),
            EVALUATIONS => (Method::POST, Self::Evaluations),
            METADATA => (Method::GET, Self::Metadata),
            REQUESTS => (Method::POST, Self::Request),
            _ => {
                let id = path.strip_prefix(REQUESTS)?.strip_prefix('/')?;
                // Beneath a task would be its cancellation, which is not offered.
                let wanted = if id.contains('/') { Method::OPTIONS } else { Method::GET };
                (wanted, Self::Task(id.to_owned()))
            }
        };
        let is_wanted = *method == wanted && wanted != Method::OPTIONS;
        Some(if is_wanted { route } else { Self::OtherMethod })
    }

    /// Whether a body is waited for.
    pub(in crate::adapter) const fn has_body(&self) -> bool {
        matches!(self, Self::Evaluation | Self::Evaluations | Self::Request)
    }
}

/// An answer over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::adapter) struct Answer {
    /// The status.
    pub(in crate::adapter) status: u16,
    /// The body's type.
    pub(in crate::adapter) kind: &'static str,
    /// Where what was made is; empty: nothing was.
    pub(in crate::adapter) location: String,
    /// Seconds to wait before asking again; 0: not said.
    pub(in crate::adapter) retry_after: u32,
    /// The body.
    pub(in crate::adapter) body: String,
}

impl Answer {
    fn of(status: u16, body: &Value) -> Self {
        let (kind, location) = ("application/json", String::new());
        Self { status, kind, location, retry_after: 0, body: body.to_string() }
    }

    fn unreadable(why: &str) -> Self {
        let said = authzen::unreadable(why);
        Self { body: said.body, ..Self::of(said.status, &Value::Null) }
    }
}

impl From<Problem> for Answer {
    fn from(problem: Problem) -> Self {
        let kind = "application/problem+json";
        Self { kind, body: problem.body(), ..Self::of(problem.status(), &Value::Null) }
    }
}

/// A request as it came in.
pub(in crate::adapter) struct Arrived<'a> {
    /// Where it was sent to.
    pub(in crate::adapter) uri: &'a Uri,
    /// Its headers.
    pub(in crate::adapter) headers: &'a HeaderMap,
    /// Where it came from.
    pub(in crate::adapter) from: SocketAddr,
    /// Its body, if one is waited for.
    pub(in crate::adapter) body: &'a [u8],
}

/// The door.
pub(in crate::adapter) struct Door {
    /// Scheme and authority that callers find it by; empty: as each of them named it.
    url: String,
    own: SocketAddr,
    keys: Keys,
}

impl Door {
    /// A door at this address. `url`: where callers find it, if that is told.
    pub(in crate::adapter) fn new(url: Option<String>, own: SocketAddr) -> Self {
        Self { url: url.unwrap_or_default(), own, keys: Keys::default() }
    }

    fn place(&self, arrived: &Arrived<'_>) -> Place {
        let host = arrived.headers.get(HOST).and_then(|host| host.to_str().ok());
        let url = match (self.url.as_str(), host) {
            ("", Some(host)) => format!("http://{host}"),
            ("", None) => format!("http://{}", self.own),
            (url, _) => url.to_owned(),
        };
        Place { url, query: arrived.uri.query().unwrap_or_default().to_owned() }
    }

    /// Answers a request.
    pub(in crate::adapter) async fn answer(
        &self,
        route: &Route,
        arrived: &Arrived<'_>,
        inward: &Inward,
    ) -> Answer {
        match route {
            Route::Evaluation | Route::Evaluations => self.evaluate(route, arrived, inward).await,
            Route::Metadata => Answer::of(200, &metadata(&self.place(arrived))),
            Route::Request => self.request(arrived, inward).await.unwrap_or_else(Answer::from),
            Route::Task(id) => self.task(id, arrived, inward).await.unwrap_or_else(Answer::from),
            Route::OtherMethod => Problem::new(Kind::Method, "it is not offered by this method").into(),
        }
    }

    async fn evaluate(&self, route: &Route, arrived: &Arrived<'_>, inward: &Inward) -> Answer {
        let (fields, fault) = Fields::read(arrived.body);
        let query = Query::read(arrived.uri.query().unwrap_or_default());
        let asked = match (fault, query) {
            _ if arrived.body.len() > MESSAGE_BYTES_MAX => {
                Err(Fault("the message is over 16 MiB long".to_owned()))
            }
            (Some(fault), _) | (None, Err(fault)) => Err(fault),
            (None, Ok(query)) if *route == Route::Evaluation => {
                evaluation::read(&fields, &query).map(|one| Asked::One(Box::new(one)))
            }
            (None, Ok(query)) => evaluation::several(&fields, &query),
        };
        let place = self.place(arrived);
        match asked {
            Err(Fault(why)) => Answer::unreadable(&why),
            Ok(Asked::One(one)) => {
                let by = Instant::now() + EVALUATIONS_TIMEOUT;
                let desk = desk(inward, &one, arrived, Gateway::AuthZen.hold_max());
                let answer = evaluated(desk.as_ref(), &one, &place, by).await;
                close(desk).await;
                Answer::of(200, &answer)
            }
            Ok(Asked::Several(all, semantic)) => {
                let by = Instant::now() + EVALUATIONS_TIMEOUT;
                // Nobody is waited for: one that people must look at would hold up those behind it.
                let first = all.iter().find_map(|one| one.as_ref().ok());
                let desk = first.map(|one| desk(inward, one, arrived, Duration::ZERO));
                let mut answers = Vec::with_capacity(all.len());
                for one in &all {
                    let answer = match (one, &desk) {
                        (Ok(one), Some(desk)) => evaluated(desk.as_ref(), one, &place, by).await,
                        (Err(fault), _) => evaluation::unreadable(fault),
                        (Ok(_), None) => evaluation::unreadable(&Fault(String::new())),
                    };
                    let decision = answer["decision"] == true;
                    answers.push(answer);
                    if semantic.ends_with(decision) {
                        break;
                    }
                }
                if let Some(desk) = desk {
                    close(desk).await;
                }
                Answer::of(200, &json!({ "evaluations": answers }))
            }
        }
    }

    async fn request(&self, arrived: &Arrived<'_>, inward: &Inward) -> Result<Answer, Problem> {
        let asked = request::read(arrived.body, arrived.uri.query().unwrap_or_default())?;
        let keyed = arrived.headers.get(KEY).map(|key| {
            let caller = [AUTHORIZATION.as_str(), TENANT]
                .map(|name| arrived.headers.get(name).map(http::HeaderValue::as_bytes).unwrap_or_default());
            Keyed::new(&caller, key.as_bytes(), arrived.body)
        });
        let known = keyed.as_ref().map_or(Known::New, |keyed| self.keys.known(keyed, Instant::now()));
        if known == Known::Other {
            let detail = "this `Idempotency-Key` came with another request before";
            return Err(Problem::new(Kind::DuplicateRequest, detail));
        }
        let desk = inward.desk(&asked.envelope, arrived.headers, Peer::Tcp(arrived.from), Duration::ZERO);
        let desk = desk.map_err(|why| Problem::new(Kind::Malformed, why))?;
        let seen = desk.review(&asked.handle.call_id(), Some(&asked.envelope)).await;
        desk.close().await;
        let unbound = || Problem::new(Kind::InvalidDenialBinding, "no evaluation of this id was denied");
        let review = found(seen, unbound)?;
        if review.progress.is_none() {
            let detail = "that evaluation was not left to people, or too long ago";
            return Err(Problem::new(Kind::NotRequestable, detail));
        }
        if !review.same_call {
            let detail = "subject, resource, action or arguments are not those of the denied evaluation";
            return Err(Problem::new(Kind::InvalidDenialBinding, detail));
        }
        if task::status(&review) == "expired" && known == Known::New {
            return Err(Problem::new(Kind::ExpiredDenial, "nobody looked at it in time; evaluate again"));
        }
        let place = self.place(arrived);
        let answer = self.told(&review, &asked.handle, &place)?;
        if let Some(keyed) = keyed {
            self.keys.note(&keyed, Instant::now());
        }
        let status = if task::status(&review) == "pending" { 202 } else { 201 };
        Ok(Answer { status, location: place.status_of(&asked.handle), ..answer })
    }

    async fn task(&self, id: &str, arrived: &Arrived<'_>, inward: &Inward) -> Result<Answer, Problem> {
        let unknown = || Problem::new(Kind::UnknownTask, "no task of this id is at hand");
        let handle = Handle::of_task(id).ok_or_else(unknown)?;
        let envelope = super::super::envelope::Envelope::default();
        let desk = inward.desk(&envelope, arrived.headers, Peer::Tcp(arrived.from), Duration::ZERO);
        let desk = desk.map_err(|why| Problem::new(Kind::Malformed, why))?;
        let seen = desk.review(&handle.call_id(), None).await;
        desk.close().await;
        let review = found(seen, unknown)?;
        if review.progress.is_none() {
            return Err(unknown());
        }
        self.told(&review, &handle, &self.place(arrived))
    }

    fn told(
        &self,
        review: &GetCallReviewResponse,
        handle: &Handle,
        place: &Place,
    ) -> Result<Answer, Problem> {
        let told = task::task(review, handle, place, Clock::system().now())?;
        let retry_after = if task::status(review) == "pending" { POLL_SECONDS } else { 0 };
        Ok(Answer { retry_after, ..Answer::of(200, &told) })
    }
}

fn desk(
    inward: &Inward,
    one: &Evaluation,
    arrived: &Arrived<'_>,
    hold_max: Duration,
) -> Result<Desk, &'static str> {
    inward.desk(&one.envelope, arrived.headers, Peer::Tcp(arrived.from), hold_max)
}

async fn close(desk: Result<Desk, &'static str>) {
    if let Ok(desk) = desk {
        desk.close().await;
    }
}

/// The decision point's metadata.
fn metadata(place: &Place) -> Value {
    json!({
        "policy_decision_point": place.url,
        "access_evaluation_endpoint": place.at(EVALUATION),
        "access_evaluations_endpoint": place.at(EVALUATIONS),
        "access_request_endpoint": place.at(REQUESTS),
        "capabilities": [CAPABILITY],
    })
}

/// One evaluation, by this time.
async fn evaluated(
    desk: Result<&Desk, &&'static str>,
    one: &Evaluation,
    place: &Place,
    by: Instant,
) -> Value {
    let referred = one.approval.as_ref();
    let refused = |why: String| {
        let ruling = Ruling::Refuse(Refusal::Unacceptable(why));
        evaluation::decision(&ruling, referred, &Presented::Nothing, None, place)
    };
    let desk = match desk {
        Ok(desk) => desk,
        Err(why) => return refused((*why).to_owned()),
    };
    let ruled = async {
        let presented = match referred.map(|referred| &referred.handle) {
            None => Presented::Nothing,
            Some(None) => Presented::Unknown,
            Some(Some(handle)) => match desk.review(&handle.call_id(), Some(&one.envelope)).await {
                Seen::Review(review) => Presented::Of(review),
                Seen::Unknown | Seen::Barred(..) | Seen::Away(_) => Presented::Unknown,
            },
        };
        let ruling = desk.rule(&one.envelope).await;
        let waits = match &ruling {
            Ruling::Refuse(Refusal::Waits(decision))
                if Handle::of_evaluation(&decision.call_id).is_some() =>
            {
                match desk.review(&decision.call_id, None).await {
                    Seen::Review(review) if review.asked_until().is_some() => Some(review),
                    _ => None,
                }
            }
            _ => None,
        };
        evaluation::decision(&ruling, referred, &presented, waits.as_deref(), place)
    };
    match tokio::time::timeout_at(by.into(), ruled).await {
        Ok(decision) => decision,
        Err(_) => refused("there was no time left to judge it".to_owned()),
    }
}

/// The review that was looked for, or why there is none.
fn found(seen: Seen, unknown: impl Fn() -> Problem) -> Result<Box<GetCallReviewResponse>, Problem> {
    match seen {
        Seen::Review(review) => Ok(review),
        Seen::Unknown => Err(unknown()),
        Seen::Barred(Code::Unauthenticated, why) => Err(Problem::new(Kind::Unauthorized, why)),
        Seen::Barred(Code::PermissionDenied, why) => Err(Problem::new(Kind::Forbidden, why)),
        Seen::Barred(_, why) => Err(Problem::new(Kind::Malformed, why)),
        Seen::Away(why) => Err(Problem::new(Kind::Away, why)),
    }
}
