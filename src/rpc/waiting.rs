//! Waiting for the final decision about a call under review: `AwaitDecision`, and `Evaluate` with a wait.
//!
//! Whoever waits is woken when the review changes, and asks the engine how the call stands; an approval that
//! is there is used up by that. A wait that nobody reads any more ends with its stream.

use super::convert::call::Echo;
use super::convert::review::review_id;
use super::convert::{decision, timestamp};
use super::shared::{Shared, tenant_of};
use super::status::Failure;
use crate::decide::ingest::check_name;
use crate::domain::decision::Verdict;
use crate::domain::event::Event;
use crate::domain::position::Position;
use crate::engine::{Decided, Engine, Error, EventView};
use crate::proto::v1::{self, await_decision_response::Step};
use prost::bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Steps that wait for a reader.
const STEPS: usize = 4;

/// The stream of steps.
pub(super) type Steps = ReceiverStream<Result<v1::AwaitDecisionResponse, Status>>;

/// Whether nothing more can come of a decision.
pub(super) fn is_final(decided: &Decided) -> bool {
    decided.decision.answer() != Verdict::Review
        || decided.settled.is_some()
        || decided.review == Position::ZERO
}

/// The review of a decision, to be told of its changes. Taken before the call's standing is asked for.
fn notice(engine: &Engine, tenant: &str, review: Position) -> Option<Arc<Notify>> {
    engine.hub(engine.partition_of(tenant)).map(|hub| hub.wait(review))
}

/// Waits until the call is settled or the time is over; tells how it stands then.
pub(super) async fn settled_by(
    shared: &Shared,
    tenant: &str,
    call_id: &str,
    decided: Arc<Decided>,
    until: Instant,
) -> Result<Arc<Decided>, Failure> {
    let Ok(_place) = shared.waits.try_acquire() else { return Ok(decided) };
    let Some(notify) = notice(&shared.engine, tenant, decided.review) else { return Ok(decided) };
    let mut decided = decided;
    let mut stopping = std::pin::pin!(shared.stopping());
    while !is_final(&decided) {
        let changed = notify.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        decided = shared.engine.stand(tenant, call_id).await?;
        if is_final(&decided) {
            break;
        }
        tokio::select! {
            () = changed => {}
            () = sleep_until(until) => break,
            () = &mut stopping => break,
        }
    }
    let decided = Decided { repeated: false, ..Arc::unwrap_or_clone(decided) };
    Ok(Arc::new(decided))
}

/// Begins `AwaitDecision`.
pub(super) async fn begin(
    shared: &Arc<Shared>,
    request: v1::AwaitDecisionRequest,
    wait: Option<Duration>,
) -> Result<Steps, Failure> {
    let tenant = tenant_of(&request.tenant).to_owned();
    check_name("tenant", &tenant, false).map_err(Failure::invalid)?;
    super::intake::check_call_id(&request.call_id)?;
    let decided = shared.engine.stand(&tenant, &request.call_id).await?;
    let echo = echo_of(shared, &tenant, &request.call_id, &decided).await?;
    let permit = Arc::clone(&shared.waits).try_acquire_owned();
    let permit = permit.map_err(|_| Shared::waits_full())?;
    let (sender, receiver) = mpsc::channel(STEPS);
    let until = wait.and_then(|wait| Instant::now().checked_add(wait));
    let task = Task { shared: Arc::clone(shared), tenant, call_id: request.call_id, echo, until, sender };
    tokio::spawn(async move {
        let _permit = permit;
        task.run(decided).await;
    });
    Ok(ReceiverStream::new(receiver))
}

/// What the answer to a recorded call is put into words with.
async fn echo_of(shared: &Shared, tenant: &str, call_id: &str, decided: &Decided) -> Result<Echo, Failure> {
    let name = tenant.to_owned();
    let proposed_at = Position::new(decided.position.get().saturating_sub(1));
    let read = shared.read(move |engine| engine.log_events(&name, proposed_at, 1, EventView::Full));
    let recorded = read.await?.pop().map(|event| event.recorded.record);
    let Some((Event::CallProposed(proposed), payload)) =
        recorded.map(|record| (record.event, record.payload))
    else {
        return Err(Error::NotFound(format!("call_id `{call_id}`")).into());
    };
    Ok(Echo {
        call_id: proposed.call_id,
        partition: shared.engine.partition_of(tenant),
        tenant: proposed.tenant,
        tool: proposed.tool,
        principal: { proposed.principal_chain }.pop().unwrap_or_default(),
        arguments: Bytes::from(payload.arguments),
        explain: false,
    })
}

struct Task {
    shared: Arc<Shared>,
    tenant: String,
    call_id: String,
    echo: Echo,
    until: Option<Instant>,
    sender: mpsc::Sender<Result<v1::AwaitDecisionResponse, Status>>,
}

impl Task {
    async fn run(self, decided: Arc<Decided>) {
        if let Err(failure) = self.follow(decided).await {
            // The reader may be gone.
            let _gone = self.sender.send(Err(failure.into())).await;
        }
    }

    async fn follow(&self, mut decided: Arc<Decided>) -> Result<(), Failure> {
        let review = decided.review;
        if !self.tell(&decided).await || is_final(&decided) {
            return Ok(());
        }
        let Some(notify) = notice(&self.shared.engine, &self.tenant, review) else { return Ok(()) };
        let mut stopping = std::pin::pin!(self.shared.stopping());
        loop {
            let changed = notify.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            decided = self.shared.engine.stand(&self.tenant, &self.call_id).await?;
            if is_final(&decided) {
                self.tell(&decided).await;
                return Ok(());
            }
            if !self.progress(review).await? {
                return Ok(());
            }
            let beat = Instant::now() + self.shared.options.heartbeat;
            let woken = tokio::select! {
                () = &mut changed => true,
                () = sleep_until(beat) => self.beat().await,
                () = self.over() => return Ok(()),
                () = self.sender.closed() => return Ok(()),
                () = &mut stopping => return Err(Error::Stopping.into()),
            };
            if !woken {
                return Ok(());
            }
        }
    }

    async fn over(&self) {
        match self.until {
            Some(until) => sleep_until(until).await,
            None => std::future::pending().await,
        }
    }

    async fn tell(&self, decided: &Decided) -> bool {
        let answer = decision::decided(decided, self.echo.clone());
        self.send(Step::Decision(answer)).await
    }

    async fn beat(&self) -> bool {
        let engine = &self.shared.engine;
        let tail = engine.partition_tail(self.echo.partition).map_or(0, |tail| tail.borrow().get());
        let beat = v1::Heartbeat { send_time: Some(timestamp(engine.now())), tail_position: tail };
        self.send(Step::Heartbeat(beat)).await
    }

    async fn progress(&self, review: Position) -> Result<bool, Failure> {
        let partition = self.echo.partition;
        let found =
            self.shared.engine.ask_of_partition(partition, move |state| state.reviews.get(review).cloned());
        let Some(review) = found.await? else { return Ok(false) };
        let progress = v1::ReviewProgress {
            review_id: review_id(partition, review.id),
            approvals: u32::try_from(review.approvals_given()).unwrap_or(u32::MAX),
            approvals_needed: review.approvals.into(),
            deadline: Some(timestamp(review.deadline)),
            escalated: review.state == crate::domain::review::ReviewState::Escalated,
        };
        Ok(self.send(Step::Progress(progress)).await)
    }

    async fn send(&self, step: Step) -> bool {
        self.sender.send(Ok(v1::AwaitDecisionResponse { step: Some(step) })).await.is_ok()
    }
}
