//! A service of the test's own on the same server: answers every call with the same decision, at once.

use askance::proto::v1;
use http::{Request, Response};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio_stream::{Stream, StreamExt};
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service};
use tonic::server::{Grpc, NamedService, StreamingService, UnaryService};
use tonic::{Status, Streaming};
use tonic_prost::ProstCodec;

#[derive(Clone)]
pub(crate) struct Echo;

impl NamedService for Echo {
    const NAME: &'static str = "test.Echo";
}

fn decision(call: Option<v1::ToolCall>) -> v1::Decision {
    v1::Decision { call_id: call.unwrap_or_default().call_id, risk: 10, ..Default::default() }
}

impl UnaryService<v1::EvaluateRequest> for Echo {
    type Response = v1::EvaluateResponse;
    type Future = BoxFuture<tonic::Response<v1::EvaluateResponse>, Status>;

    fn call(&mut self, request: tonic::Request<v1::EvaluateRequest>) -> Self::Future {
        let decision = Some(decision(request.into_inner().call));
        Box::pin(
            async move { Ok(tonic::Response::new(v1::EvaluateResponse { decision, ..Default::default() })) },
        )
    }
}

type Answers = Pin<Box<dyn Stream<Item = Result<v1::EvaluateStreamResponse, Status>> + Send>>;

impl StreamingService<v1::EvaluateStreamRequest> for Echo {
    type Response = v1::EvaluateStreamResponse;
    type ResponseStream = Answers;
    type Future = BoxFuture<tonic::Response<Answers>, Status>;

    fn call(&mut self, request: tonic::Request<Streaming<v1::EvaluateStreamRequest>>) -> Self::Future {
        let answer = |request: v1::EvaluateStreamRequest| v1::EvaluateStreamResponse {
            tag: request.tag,
            result: Some(v1::evaluate_stream_response::Result::Decision(decision(request.call))),
        };
        let answers = request.into_inner().map(move |request| request.map(answer));
        Box::pin(async move { Ok(tonic::Response::new(Box::pin(answers) as Answers)) })
    }
}

impl<B> Service<Request<B>> for Echo
where
    B: http_body::Body + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        Box::pin(async move {
            let stream = request.uri().path().ends_with("Stream");
            Ok(if stream {
                let codec = ProstCodec::<v1::EvaluateStreamResponse, v1::EvaluateStreamRequest>::default();
                Grpc::new(codec).streaming(Echo, request).await
            } else {
                let codec = ProstCodec::<v1::EvaluateResponse, v1::EvaluateRequest>::default();
                Grpc::new(codec).unary(Echo, request).await
            })
        })
    }
}
