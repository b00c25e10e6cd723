//! What `RecordOutcomeStream` and `ImportCalls` do with each request.

use super::convert::call::{self, Intake, admit};
use super::identity::Identity;
use super::ordered::{Step, TakeUp};
use super::shared::{Shared, tenant_of};
use super::status::Failure;
use crate::decide::ingest::check_name;
use crate::domain::call::limits;
use crate::engine::{Command, Completed, Error, Import, Imported, Reply};
use crate::proto::v1;
use crate::stats::fingerprint::FingerprintKey;
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

/// Bytes of the name of an import's source.
const SOURCE_BYTES_MAX: usize = 1_024;
/// Bytes of the name of an import's data set.
const DATASET_BYTES_MAX: usize = 128;

/// A reply that sends what `make` makes of it.
fn reply_with<T, R: Send + 'static>(
    make: impl FnOnce(Result<T, Error>) -> R + Send + 'static,
) -> (Reply<T>, oneshot::Receiver<R>) {
    let (sender, receiver) = oneshot::channel();
    let reply = move |answer| {
        let _gone = sender.send(make(answer));
    };
    (Box::new(reply), receiver)
}

/// Checks the id of a call that was made before.
pub(super) fn check_call_id(call_id: &str) -> Result<(), Failure> {
    check_name("call_id", call_id, true).map_err(Failure::invalid)?;
    if call_id.len() > limits::CALL_ID_BYTES_MAX {
        let most = limits::CALL_ID_BYTES_MAX;
        return Err(Failure::field("call_id", format!("is {} bytes long, at most {most}", call_id.len())));
    }
    Ok(())
}

/// How a call ended, as it was told.
pub(super) struct Told<'t> {
    pub(super) tenant: &'t str,
    pub(super) call_id: String,
    pub(super) outcome: Option<v1::Outcome>,
}

/// The command that records an outcome.
pub(super) fn complete(
    shared: &Shared,
    told: Told<'_>,
    identity: &Identity,
    reply: Reply<Completed>,
) -> Result<Command, Failure> {
    let Told { tenant, call_id, outcome } = told;
    check_name("tenant", tenant, false).map_err(Failure::invalid)?;
    check_call_id(&call_id)?;
    let mut outcome = call::outcome(&shared.engine, tenant, outcome)?;
    outcome.actor.clone_from(&identity.subject);
    Ok(Command::Complete {
        tenant: tenant.to_owned(),
        call_id,
        outcome: Box::new(outcome),
        now: shared.engine.now(),
        reply,
    })
}

/// Calls that one request tells as ended.
const EARLIER_MAX: usize = 64;

/// Outcomes that came with a later call, on their way to the log.
pub(super) struct Earlier(Vec<(String, oneshot::Receiver<bool>)>);

impl Earlier {
    /// Checks how many there are.
    pub(super) fn check(ended: &[v1::EndedCall]) -> Result<(), Failure> {
        if ended.len() > EARLIER_MAX {
            return Err(Failure::field(
                "earlier",
                format!("has {} calls, at most {EARLIER_MAX}", ended.len()),
            ));
        }
        Ok(())
    }

    /// Puts them into the queue in their order.
    pub(super) fn submit(
        shared: &Shared,
        tenant: &str,
        ended: Vec<v1::EndedCall>,
        identity: &Identity,
    ) -> Self {
        let mut under_way = Vec::with_capacity(ended.len());
        for v1::EndedCall { call_id, outcome } in ended {
            let (reply, receiver) = reply_with(|told: Result<Completed, Error>| told.is_ok());
            let told = Told { tenant, call_id: call_id.clone(), outcome };
            if let Ok(command) = complete(shared, told, identity, reply) {
                shared.engine.submit(tenant, command);
                under_way.push((call_id, receiver));
            }
        }
        Self(under_way)
    }

    /// The calls whose outcome is on disk by then.
    pub(super) async fn recorded(self, by: Instant) -> Vec<String> {
        let mut recorded = Vec::with_capacity(self.0.len());
        for (call_id, receiver) in self.0 {
            if let Ok(Ok(true)) = timeout_at(by, receiver).await {
                recorded.push(call_id);
            }
        }
        recorded
    }
}

/// Records outcomes.
pub(super) struct Outcomes(pub(super) Arc<Shared>, pub(super) Arc<Identity>);

impl TakeUp for Outcomes {
    type Request = v1::RecordOutcomeStreamRequest;
    type Answer = v1::RecordOutcomeStreamResponse;

    async fn take_up(&mut self, request: Self::Request) -> Step<Self::Answer> {
        let tag = request.tag;
        let answer = move |position, error| v1::RecordOutcomeStreamResponse { tag, position, error };
        let (reply, receiver) = reply_with(move |outcome: Result<Completed, Error>| match outcome {
            Ok(completed) => answer(completed.position.get(), None),
            Err(error) => answer(0, Some(Failure::from(error).into())),
        });
        let tenant = tenant_of(&request.tenant);
        let told = Told { tenant, call_id: request.call_id, outcome: request.outcome };
        match complete(&self.0, told, &self.1, reply) {
            Ok(command) => {
                self.0.engine.submit_waiting(tenant, command).await;
                Step::Later(receiver)
            }
            Err(failure) => Step::Now(answer(0, Some(failure.into()))),
        }
    }
}

/// Records history.
pub(super) struct Imports(pub(super) Arc<Shared>, pub(super) Arc<Identity>);

impl Imports {
    fn import(&self, request: v1::ImportCallsRequest) -> Result<(String, Import), Failure> {
        let mut call = request.call.unwrap_or_default();
        if request.source.len() > SOURCE_BYTES_MAX {
            return Err(Failure::field("source", format!("is over {SOURCE_BYTES_MAX} bytes long")));
        }
        if request.dataset.len() > DATASET_BYTES_MAX {
            return Err(Failure::field("dataset", format!("is over {DATASET_BYTES_MAX} bytes long")));
        }
        if call.call_id.is_empty() {
            let source = FingerprintKey::new([0; 16]).text(&request.source);
            call.call_id = format!("import-{source:016x}-{}", request.line);
        }
        let engine = &self.0.engine;
        let (mut call, echo) = admit(engine, Some(call), false, Intake::History)?;
        call.actor.clone_from(&self.1.subject);
        let outcome = match request.outcome {
            Some(outcome) => {
                let mut outcome = call::outcome(engine, &echo.tenant, Some(outcome))?;
                outcome.actor.clone_from(&self.1.subject);
                Some(outcome)
            }
            None => None,
        };
        Ok((echo.tenant, Import { call: *call, outcome, ends_session: request.ends_session }))
    }
}

impl TakeUp for Imports {
    type Request = v1::ImportCallsRequest;
    type Answer = v1::ImportCallsResponse;

    async fn take_up(&mut self, request: Self::Request) -> Step<Self::Answer> {
        let line = request.line;
        let (tenant, import) = match self.import(request) {
            Ok(ready) => ready,
            Err(failure) => return Step::Now(refused(line, failure)),
        };
        let (reply, receiver) = reply_with(move |outcome: Result<Imported, Error>| match outcome {
            Ok(imported) => v1::ImportCallsResponse {
                line,
                disposition: if imported.duplicate {
                    v1::ImportDisposition::Duplicate.into()
                } else {
                    v1::ImportDisposition::Imported.into()
                },
                error: None,
                position: imported.position.get(),
            },
            Err(error) => refused(line, error.into()),
        });
        self.0.engine.submit_waiting(&tenant, Command::Import(Box::new(import), reply)).await;
        Step::Later(receiver)
    }
}

fn refused(line: u64, failure: Failure) -> v1::ImportCallsResponse {
    v1::ImportCallsResponse {
        line,
        disposition: v1::ImportDisposition::Refused.into(),
        error: Some(failure.into()),
        position: 0,
    }
}
