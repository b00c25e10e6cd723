//! Reviews that are open, and those who watch them, beside a load.

use crate::proto::v1::gateway_service_client::GatewayServiceClient;
use crate::proto::v1::review_service_client::ReviewServiceClient;
use crate::proto::v1::{
    EvaluateRequest, SessionHints, ToolCall, Verdict, WatchReviewsRequest, WatchReviewsResponse,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

/// The tool that every call of is reviewed.
pub const HELD: &str = "bench_held";
/// Reviews that are opened at a time.
const OPENING: usize = 128;
/// Reviewed calls of one session.
const PER_SESSION: u64 = 50;
/// Watchers that share a connection.
pub const PER_CONNECTION: usize = 100;
/// So long nothing comes to a watcher that knows all there is.
const SILENCE: Duration = Duration::from_millis(500);

fn held(name: &str, number: u64) -> EvaluateRequest {
    let call = ToolCall {
        call_id: format!("{name}-{number}"),
        tool: HELD.to_owned(),
        arguments_json: format!(r#"{{"for":"{name}-{number}"}}"#).into_bytes().into(),
        principal_chain: vec!["user:bench".to_owned(), "agent:bench".to_owned()],
        session: Some(SessionHints {
            session_id: format!("{name}-{}", number / PER_SESSION),
            ..SessionHints::default()
        }),
        ..ToolCall::default()
    };
    EvaluateRequest { call: Some(call), ..EvaluateRequest::default() }
}

/// Opens reviews until there are so many.
pub async fn open_reviews(channel: &Channel, name: &str, count: u64) -> Result<(), Status> {
    let mut opening = tokio::task::JoinSet::new();
    for number in 0..count {
        let (mut gateway, request) = (GatewayServiceClient::new(channel.clone()), held(name, number));
        opening.spawn(async move { gateway.evaluate(request).await });
        if opening.len() >= OPENING {
            settle(opening.join_next().await)?;
        }
    }
    while let Some(opened) = opening.join_next().await {
        settle(Some(opened))?;
    }
    Ok(())
}

type Opened =
    Result<Result<tonic::Response<crate::proto::v1::EvaluateResponse>, Status>, tokio::task::JoinError>;

fn settle(opened: Option<Opened>) -> Result<(), Status> {
    let Some(Ok(answer)) = opened else { return Err(Status::internal("a call was lost")) };
    let decision = answer?.into_inner().decision.unwrap_or_default();
    if decision.verdict() == Verdict::Review {
        Ok(())
    } else {
        Err(Status::internal(format!("not reviewed: {}", decision.reason)))
    }
}

/// Watchers of a tenant's reviews who know what is open; each counts what it is told.
pub async fn watch(channels: &[Channel], tenant: &str, count: usize) -> Result<Arc<AtomicU64>, Status> {
    let told = Arc::new(AtomicU64::new(0));
    let Some(first) = channels.first() else { return Ok(told) };
    let mut request = WatchReviewsRequest { tenant: tenant.to_owned(), ..WatchReviewsRequest::default() };
    request.resume_token = resume_token(first, request.clone()).await?;
    for number in 0..count {
        let channel = &channels[number / PER_CONNECTION % channels.len()];
        let mut reviews = ReviewServiceClient::new(channel.clone());
        let mut stream = reviews.watch_reviews(request.clone()).await?.into_inner();
        let told = Arc::clone(&told);
        tokio::spawn(async move {
            while let Ok(Some(_)) = stream.message().await {
                told.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    Ok(told)
}

/// The token of somebody who was told everything; empty if there is nothing to tell. What comes at first is told up to
/// no position, the next change is.
async fn resume_token(channel: &Channel, request: WatchReviewsRequest) -> Result<String, Status> {
    let mut stream = ReviewServiceClient::new(channel.clone()).watch_reviews(request).await?.into_inner();
    if last(&mut stream).await?.is_none() {
        return Ok(String::new());
    }
    open_reviews(channel, "token", 1).await?;
    Ok(last(&mut stream).await?.unwrap_or_default().resume_token)
}

/// The last message before nothing comes for a while.
async fn last(stream: &mut Streaming<WatchReviewsResponse>) -> Result<Option<WatchReviewsResponse>, Status> {
    let mut found = None;
    while let Ok(message) = tokio::time::timeout(SILENCE, stream.message()).await {
        found = message?;
    }
    Ok(found)
}

/// Opens so many reviews a second for this time.
pub async fn reviews(channel: Channel, time: Duration, per_second: f64, name: String) -> Result<(), Status> {
    let count = (time.as_secs_f64() * per_second).round();
    for number in 0..count as u64 {
        // In the middle of equal parts of the time.
        tokio::time::sleep(time.div_f64(count * if number == 0 { 2.0 } else { 1.0 })).await;
        let answer = GatewayServiceClient::new(channel.clone()).evaluate(held(&name, number)).await;
        settle(Some(Ok(answer)))?;
    }
    Ok(())
}
