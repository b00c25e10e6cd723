//! The daemon as a proxy sees it: ask about a call, tell how it ended, tell which tools there are.
//!
//! One envelope for every adapter, the API's own `ToolCall`, and one way to the daemon, its API: over TCP, over its
//! socket, or over a private socket to a daemon in this process. A connection that broke is made again, which may
//! mean to open the data directory here where the daemon that had it is gone. Asking twice is safe: a call keeps
//! its id.

use crate::proto::v1::gateway_service_client::GatewayServiceClient;
use crate::proto::v1::{
    Decision, EndSessionRequest, EndedCall, EvaluateRequest, GetCallReviewRequest, GetCallReviewResponse,
    RecordOutcomeRequest, RegisterToolsRequest, SessionHints, ToolCall, ToolDefinition,
};
use anyhow::Result;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

/// A future that may be sent elsewhere.
pub type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;
/// Makes a connection.
pub type Dial = Box<dyn Fn() -> Boxed<Result<Link>> + Send + Sync>;

/// Time to connect in, where the data directory may have to be opened and folded.
const DIAL_TIMEOUT: Duration = Duration::from_secs(20);
/// Pause before a connection that could not be made is tried again.
const DIAL_PAUSE: Duration = Duration::from_millis(500);
/// Pause before a daemon that is full is asked again.
const FULL_PAUSE: Duration = Duration::from_millis(50);
/// Time to tell an outcome or a list of tools in.
const TELL_TIMEOUT: Duration = Duration::from_secs(5);
/// Time that an answer may come late, so that what the daemon says at its deadline is heard.
const LATE: Duration = Duration::from_millis(100);

/// A connection to a daemon.
pub struct Link {
    /// Where requests go.
    pub channel: Channel,
    /// What is sent with each of them.
    pub bearer: Option<MetadataValue<Ascii>>,
    /// Ends what the connection keeps running, if anything.
    pub close: Option<Boxed<Result<()>>>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The daemon is not there, or has no time.
    Away(String),
    /// It does not take the request.
    Refused(String),
}

/// What is seen of a call's review.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// The review; one without progress is not at hand.
    Review(Box<GetCallReviewResponse>),
    /// There is no such call.
    Unknown,
    /// The daemon does not take the question.
    Barred(Code, String),
    /// The daemon is not there, or has no time.
    Away(String),
}

#[derive(Default)]
struct State {
    link: Option<(u64, Link)>,
    made: u64,
    failed: Option<(Instant, String)>,
}

/// The way to the daemon.
pub struct Gate {
    dial: Dial,
    timeout: Duration,
    state: Mutex<State>,
}

struct Line {
    number: u64,
    client: GatewayServiceClient<Channel>,
    bearer: Option<MetadataValue<Ascii>>,
}

impl Line {
    fn request<T>(&self, message: T, until: Instant) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(until.saturating_duration_since(Instant::now()));
        if let Some(bearer) = &self.bearer {
            request.metadata_mut().insert("authorization", bearer.clone());
        }
        request
    }
}

impl Gate {
    /// A way that is made when it is first needed. `timeout`: time for a decision.
    pub fn new(dial: Dial, timeout: Duration) -> Arc<Self> {
        Arc::new(Self { dial, timeout, state: Mutex::default() })
    }

    /// Makes the connection, so that the first call need not wait for it.
    pub async fn warm(&self) -> Result<(), Trouble> {
        self.line(Instant::now() + DIAL_TIMEOUT).await.map(|_| ())
    }

    async fn line(&self, until: Instant) -> Result<Line, Trouble> {
        let late = |_| Trouble::Away("the connection is not made in time".to_owned());
        let mut state = timeout_at(until, self.state.lock()).await.map_err(late)?;
        if state.link.is_none() {
            if let Some((at, why)) = &state.failed
                && at.elapsed() < DIAL_PAUSE
            {
                return Err(Trouble::Away(why.clone()));
            }
            // Not cut by the caller's time: half a start is worth nothing, and the next caller needs it whole.
            let dialled = tokio::time::timeout(DIAL_TIMEOUT, (self.dial)()).await;
            let link = match dialled {
                Ok(Ok(link)) => link,
                Ok(Err(fault)) => return Err(self.fail(&mut state, format!("{fault:#}"))),
                Err(_) => return Err(self.fail(&mut state, "the connection is not made in time".to_owned())),
            };
            state.made += 1;
            state.link = Some((state.made, link));
        }
        let Some((number, link)) = &state.link else { return Err(Trouble::Away(String::new())) };
        let client = GatewayServiceClient::new(link.channel.clone());
        Ok(Line { number: *number, client, bearer: link.bearer.clone() })
    }

    fn fail(&self, state: &mut State, why: String) -> Trouble {
        state.failed = Some((Instant::now(), why.clone()));
        Trouble::Away(why)
    }

    /// Gives a broken connection up.
    async fn forget(&self, number: u64) {
        let mut state = self.state.lock().await;
        if state.link.as_ref().is_some_and(|(held, _)| *held == number) {
            close(state.link.take()).await;
        }
    }

    /// Runs a request, on a new connection if the one at hand is broken, until the time is over.
    async fn run<T, F>(&self, until: Instant, mut ask: impl FnMut(Line) -> F) -> Result<T, Trouble>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let mut broke = false;
        loop {
            let line = self.line(until).await?;
            let number = line.number;
            let Ok(answer) = timeout_at(until + LATE, ask(line)).await else {
                return Err(Trouble::Away("it does not answer in time".to_owned()));
            };
            let status = match answer {
                Ok(answer) => return Ok(answer),
                Err(status) => status,
            };
            let message = status.message().to_owned();
            match status.code() {
                Code::ResourceExhausted if Instant::now() + FULL_PAUSE < until => sleep(FULL_PAUSE).await,
                Code::Unavailable | Code::Unknown | Code::Cancelled if !broke => {
                    broke = true;
                    self.forget(number).await;
                }
                Code::Unavailable
                | Code::Unknown
                | Code::Cancelled
                | Code::DeadlineExceeded
                | Code::ResourceExhausted
                | Code::Internal => return Err(Trouble::Away(message)),
                // A server of another kind, or a proxy that does not know the way to ours.
                Code::Unimplemented => {
                    let why =
                        format!("whoever answers there is no askance daemon of this version: {message}");
                    return Err(Trouble::Away(why));
                }
                _ => return Err(Trouble::Refused(explained(&status))),
            }
        }
    }

    /// Asks about a call, and waits so long for people if they must look.
    pub async fn evaluate(&self, call: &ToolCall, wait: Duration) -> Result<Decision, Trouble> {
        self.evaluate_after(call, wait, &[]).await.map(|(decision, _)| decision)
    }

    /// Asks about a call and tells how these ended, before it; with the decision come the ids of those that are on
    /// disk.
    pub async fn evaluate_after(
        &self,
        call: &ToolCall,
        wait: Duration,
        earlier: &[EndedCall],
    ) -> Result<(Decision, Vec<String>), Trouble> {
        let until = Instant::now() + self.timeout + wait;
        let wait = (!wait.is_zero()).then(|| span(wait));
        let earlier = earlier.to_vec();
        let request =
            EvaluateRequest { call: Some(call.clone()), wait, earlier, ..EvaluateRequest::default() };
        let answer = self.run(until, |mut line| {
            let request = line.request(request.clone(), until);
            async move { line.client.evaluate(request).await }
        });
        let answer = answer.await?.into_inner();
        let decision =
            answer.decision.ok_or_else(|| Trouble::Away("it answered without a decision".to_owned()))?;
        Ok((decision, answer.recorded))
    }

    /// Looks at the review of a call. `call`: the call once more, to be compared with the one under review.
    pub async fn review(&self, tenant: &str, call_id: &str, call: Option<ToolCall>) -> Seen {
        let until = Instant::now() + self.timeout;
        let message = GetCallReviewRequest { tenant: tenant.to_owned(), call_id: call_id.to_owned(), call };
        let seen = self.run(until, |mut line| {
            let request = line.request(message.clone(), until);
            async move {
                match line.client.get_call_review(request).await {
                    Ok(review) => Ok(Seen::Review(Box::new(review.into_inner()))),
                    Err(status) => match status.code() {
                        Code::NotFound => Ok(Seen::Unknown),
                        code @ (Code::Unauthenticated | Code::PermissionDenied | Code::InvalidArgument) => {
                            Ok(Seen::Barred(code, explained(&status)))
                        }
                        _ => Err(status),
                    },
                }
            }
        });
        match seen.await {
            Ok(seen) => seen,
            Err(Trouble::Refused(why)) => Seen::Barred(Code::Unknown, why),
            Err(Trouble::Away(why)) => Seen::Away(why),
        }
    }

    /// Tells how a call ended.
    pub async fn record(&self, tenant: &str, ended: EndedCall) -> Result<(), Trouble> {
        let until = Instant::now() + TELL_TIMEOUT;
        let EndedCall { call_id, outcome } = ended;
        let message = RecordOutcomeRequest { tenant: tenant.to_owned(), call_id, outcome };
        let told = self.run(until, |mut line| {
            let request = line.request(message.clone(), until);
            async move { line.client.record_outcome(request).await }
        });
        told.await.map(|_| ())
    }

    /// Tells which tools a server offers.
    pub async fn register(
        &self,
        tenant: &str,
        server: &str,
        tools: &[ToolDefinition],
    ) -> Result<(), Trouble> {
        let until = Instant::now() + TELL_TIMEOUT;
        let message = RegisterToolsRequest {
            tenant: tenant.to_owned(),
            server: server.to_owned(),
            tools: tools.to_vec(),
            ..RegisterToolsRequest::default()
        };
        let told = self.run(until, |mut line| {
            let request = line.request(message.clone(), until);
            async move { line.client.register_tools(request).await }
        });
        told.await.map(|_| ())
    }

    /// Ends the session that these hints name.
    pub async fn end_session(
        &self,
        tenant: &str,
        session: SessionHints,
        principals: &[String],
    ) -> Result<(), Trouble> {
        let until = Instant::now() + self.timeout;
        let message = EndSessionRequest {
            tenant: tenant.to_owned(),
            session: Some(session),
            principal_chain: principals.to_vec(),
            ..EndSessionRequest::default()
        };
        let told = self.run(until, |mut line| {
            let request = line.request(message.clone(), until);
            async move { line.client.end_session(request).await }
        });
        told.await.map(|_| ())
    }

    /// Ends the connection, and a daemon in this process with it.
    pub async fn close(&self) {
        let link = self.state.lock().await.link.take();
        close(link).await;
    }
}

async fn close(link: Option<(u64, Link)>) {
    if let Some((_, Link { channel, close: Some(close), .. })) = link {
        drop(channel);
        if let Err(fault) = close.await {
            tracing::warn!(fault = ?fault.to_string(), "the daemon in this process did not end well");
        }
    }
}

/// A refusal with the fields it names.
fn explained(status: &Status) -> String {
    use tonic_types::StatusExt;
    let fields = status.get_details_bad_request().map(|details| details.field_violations).unwrap_or_default();
    let named: Vec<String> =
        fields.iter().map(|fault| format!("{} {}", fault.field, fault.description)).collect();
    if named.is_empty() { status.message().to_owned() } else { named.join("; ") }
}

fn span(time: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(time.subsec_nanos()).unwrap_or(0),
    }
}
