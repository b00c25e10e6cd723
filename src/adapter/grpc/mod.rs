//! Gateways that ask over gRPC, on the daemon's own port: `ext_mcp` and `ext_authz` read and write (pure), `wire` has
//! their messages, and the services here stand beside the API's as [`Extra`]s.
//!
//! They ask the API in the caller's name over a way that exists only once the server is bound: until then, and when the
//! daemon stops, they answer UNAVAILABLE, which a gateway that fails closed takes for a no.

mod ext_authz;
mod ext_mcp;
mod value;
mod wire;

use super::desk::{call_id, random_id};
use super::envelope::{About, Envelope, Ruling};
use super::fields::Fault;
use super::hook::MESSAGE_BYTES_MAX;
use super::inward::{Inward, Settings};
use crate::mcp::refusal::Refusal;
use crate::rpc::inside::Inside;
use crate::rpc::{Asker, Extra, asker};
use http::{HeaderMap, Request, Response};
use std::convert::Infallible;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::watch;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::BoxFuture;
use tonic::server::{Grpc, NamedService};
use tonic_prost::ProstCodec;
use wire::{CheckRequest, CheckResponse, McpRequest, McpRequestResult, McpResponse, McpResponseResult};

/// Time that is left for the answer when a call is held.
const ANSWER_TIME: Duration = Duration::from_secs(1);
/// Longest hold where the gateway does not say how long it waits; agentgateway waits 10 s.
const HOLD_MAX: Duration = Duration::from_secs(8);

/// The services, and the way that they ask over.
pub struct Services {
    settings: Settings,
    way: watch::Sender<Option<Arc<Inward>>>,
}

impl Services {
    /// Services that cannot ask yet. `hold`: how long a call that people must look at is held.
    pub fn new(hold: Duration, data_dir: &Path) -> Self {
        Self { settings: Settings::new(hold, data_dir), way: watch::Sender::new(None) }
    }

    /// What the server takes in.
    pub fn extras(&self) -> [Extra; 2] {
        let way = || self.way.subscribe();
        [Extra::new(Service::<MCP>(way())), Extra::new(Service::<AUTHZ>(way()))]
    }

    /// Opens the way. The server holds the services, and the way holds the server: close it at the end.
    pub fn open(&self, inside: Inside) {
        self.way.send_replace(Some(Arc::new(Inward::new(self.settings.clone(), inside))));
    }

    /// Closes the way.
    pub fn close(&self) {
        self.way.send_replace(None);
    }
}

const MCP: u8 = 0;
const AUTHZ: u8 = 1;

/// One of the services.
#[derive(Clone)]
struct Service<const WHICH: u8>(watch::Receiver<Option<Arc<Inward>>>);

impl<const WHICH: u8> NamedService for Service<WHICH> {
    const NAME: &'static str =
        if WHICH == MCP { "agentgateway.dev.ext_mcp.ExtMcp" } else { "envoy.service.auth.v3.Authorization" };
}

impl<const WHICH: u8, B> tower::Service<Request<B>> for Service<WHICH>
where
    B: http_body::Body + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>> + Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let way = self.0.borrow().clone();
        Box::pin(async move {
            let asker = asker(request.extensions());
            let (Some(inward), Some(asker)) = (way, asker) else {
                return Ok(Status::unavailable("the daemon does not answer gateways now").into_http());
            };
            let desk = Asking { inward, asker, headers: request.headers().clone() };
            let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
            Ok(match (WHICH, method.as_str()) {
                (MCP, "CheckRequest") => {
                    let answer = tower::service_fn(move |request| mcp_request(desk.clone(), request));
                    grpc().unary(answer, request).await
                }
                (MCP, "CheckResponse") => {
                    let answer = tower::service_fn(move |request| mcp_response(desk.clone(), request));
                    grpc().unary(answer, request).await
                }
                (AUTHZ, "Check") => {
                    let answer = tower::service_fn(move |request| check(desk.clone(), request));
                    grpc().unary(answer, request).await
                }
                _ => Status::unimplemented("askance does not know this method").into_http(),
            })
        })
    }
}

fn grpc<Q, A>() -> Grpc<ProstCodec<A, Q>>
where
    Q: prost::Message + Default + Send + 'static,
    A: prost::Message + Default + Send + 'static,
{
    Grpc::new(ProstCodec::default()).apply_max_message_size_config(Some(MESSAGE_BYTES_MAX), None)
}

type Answered<T> = Result<tonic::Response<T>, Status>;

async fn mcp_request(desk: Asking, request: tonic::Request<McpRequest>) -> Answered<McpRequestResult> {
    let mut envelope = match ext_mcp::read(request.get_ref()) {
        Ok(envelope) => envelope,
        Err(Fault(why)) => {
            return Ok(tonic::Response::new(ext_mcp::answer(Some(&Refusal::Unacceptable(why)), "")));
        }
    };
    // The gateway names no call, and hands what we call it back with the response if its configuration says so.
    if let About::Before(call) = &mut envelope.about {
        call.id = random_id().map_err(Status::unavailable)?;
    }
    let refusal = desk.refusal(&envelope).await;
    let call = match &envelope.about {
        About::Before(call) => call_id(&envelope, call).unwrap_or_default(),
        _ => String::new(),
    };
    Ok(tonic::Response::new(ext_mcp::answer(refusal.as_ref(), &call)))
}

async fn mcp_response(desk: Asking, request: tonic::Request<McpResponse>) -> Answered<McpResponseResult> {
    let told = ext_mcp::told(request.get_ref());
    if told != ext_mcp::Told::Nothing {
        desk.tell(&told).await;
    }
    let pass = wire::McpResult::Pass(wire::Pass {});
    Ok(tonic::Response::new(McpResponseResult { result: Some(pass) }))
}

async fn check(desk: Asking, request: tonic::Request<CheckRequest>) -> Answered<CheckResponse> {
    let answer = match ext_authz::read(request.get_ref()) {
        Ok(asked) => {
            let refusal = desk.refusal(&asked.envelope).await;
            ext_authz::answer(Some(&asked), refusal.as_ref())
        }
        Err(Fault(why)) => ext_authz::answer(None, Some(&Refusal::Unacceptable(why))),
    };
    Ok(tonic::Response::new(answer))
}

/// One request's way to a ruling.
#[derive(Clone)]
struct Asking {
    inward: Arc<Inward>,
    asker: Asker,
    headers: HeaderMap,
}

impl Asking {
    /// Tells the daemon; what it does not take is logged, and the response goes back all the same.
    async fn tell(&self, told: &ext_mcp::Told) {
        let nobody = Envelope::default();
        let desk = match self.inward.desk(&nobody, &self.headers, self.asker.peer, Duration::ZERO) {
            Ok(desk) => desk,
            Err(why) => return tracing::warn!(why, "a gateway's response is not recorded"),
        };
        match told {
            ext_mcp::Told::Tools(server, tools) => desk.offered(server, tools).await,
            ext_mcp::Told::Ended(id, ending) => desk.ended(id, ending).await,
            ext_mcp::Told::Nothing => {}
        }
        desk.close().await;
    }

    async fn refusal(&self, envelope: &Envelope) -> Option<Refusal> {
        let left =
            self.asker.deadline.map(|until| until.saturating_duration_since(tokio::time::Instant::now()));
        let hold = left.map_or(HOLD_MAX, |left| left.saturating_sub(ANSWER_TIME));
        match self.inward.rule(envelope, &self.headers, self.asker.peer, hold).await {
            Ruling::Pass => None,
            Ruling::Refuse(refusal) => Some(refusal),
        }
    }
}

#[cfg(test)]
mod tests;
