//! Errors as clients see them: one table from reasons to gRPC codes, one from the engine's errors to
//! reasons, and the same facts as a status with google.rpc details or as a [`CallError`] in a stream.
//!
//! The text of an error is for a developer and holds no values from a request but names and ids.

use crate::decide::ingest::Violation;
use crate::decide::lock::Fault as LockFault;
use crate::decide::review::VoteFault;
use crate::decide::ruling::Refusal;
use crate::engine::Error;
use crate::proto::v1::{self, CallError, ErrorCode};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// The domain of our `ErrorInfo`.
const DOMAIN: &str = "askance";
/// Faulty fields told of one request.
const VIOLATIONS_MAX: usize = 32;
/// Pause before a request that found the queue full is sent again.
const QUEUE_PAUSE: Duration = Duration::from_millis(20);
/// Pause before a request that found a quota used up or the disk full is sent again.
const SPACE_PAUSE: Duration = Duration::from_secs(1);

/// Why a request failed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Failure {
    /// The reason, which settles the gRPC code.
    pub(super) reason: ErrorCode,
    /// One sentence for a developer.
    pub(super) message: String,
    /// Faulty fields.
    pub(super) violations: Vec<Violation>,
    /// Least time to wait before the same request is sent again.
    pub(super) retry: Option<Duration>,
    /// Facts by name, such as a resume token.
    pub(super) facts: Vec<(&'static str, String)>,
}

impl Failure {
    /// A failure of this reason.
    pub(super) fn new(reason: ErrorCode, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), violations: Vec::new(), retry: None, facts: Vec::new() }
    }

    /// The request is wrong.
    pub(super) fn invalid(violations: Vec<Violation>) -> Self {
        let message = Error::Invalid(violations.clone()).to_string();
        Self { violations, ..Self::new(ErrorCode::InvalidRequest, message) }
    }

    /// One field of the request is wrong.
    pub(super) fn field(field: &'static str, description: impl Into<String>) -> Self {
        Self::invalid(vec![Violation { field, description: description.into() }])
    }

    /// The deadline passed.
    pub(super) fn deadline(message: &str) -> Self {
        Self::new(ErrorCode::DeadlineExceeded, message)
    }

    /// An option that this version does not know how to follow.
    pub(super) fn unavailable_option(field: &'static str, what: &str) -> Self {
        let message = format!("`{field}` {what}; not available in this version");
        Self { facts: vec![("field", field.to_owned())], ..Self::new(ErrorCode::NotImplemented, message) }
    }

    /// A page or resume token that is not ours.
    pub(super) fn token(field: &'static str) -> Self {
        let message = "is not a token of this daemon, or belongs to a request with other filters";
        let violations = vec![Violation { field, description: message.to_owned() }];
        Self { violations, ..Self::new(ErrorCode::InvalidToken, format!("{field} {message}")) }
    }

    /// A fault of ours. `details` go to the log under the id that the client is told.
    pub(super) fn internal(details: &str) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        tracing::error!(id, details = ?details, "an internal error was answered");
        let message = format!("an internal error; the daemon's log has the details under id {id}");
        Self { facts: vec![("id", id.to_string())], ..Self::new(ErrorCode::Internal, message) }
    }

    /// The same with a least time to wait.
    pub(super) fn retry_after(mut self, pause: Duration) -> Self {
        self.retry = Some(pause);
        self
    }

    /// The reason's name as it is sent.
    pub(super) fn reason_name(&self) -> &'static str {
        self.reason.as_str_name().trim_start_matches("ERROR_CODE_")
    }

    /// What the status of a stream of requests says, if it did not come from us.
    pub(super) fn of_transport(status: &Status) -> Self {
        let (reason, message) = match status.code() {
            Code::OutOfRange | Code::ResourceExhausted => (ErrorCode::MessageTooLarge, status.message()),
            Code::Internal => (ErrorCode::InvalidRequest, status.message()),
            Code::Cancelled | Code::DeadlineExceeded => (ErrorCode::DeadlineExceeded, status.message()),
            Code::Unimplemented => (ErrorCode::NotImplemented, status.message()),
            _ => (ErrorCode::InvalidRequest, "the stream of requests broke off"),
        };
        Self::new(reason, message)
    }
}

/// The gRPC code of a reason.
pub(super) const fn code_of(reason: ErrorCode) -> Code {
    match reason {
        ErrorCode::Unspecified | ErrorCode::Internal => Code::Internal,
        ErrorCode::InvalidRequest | ErrorCode::InvalidToken | ErrorCode::PolicyInvalid => {
            Code::InvalidArgument
        }
        ErrorCode::MessageTooLarge
        | ErrorCode::Overloaded
        | ErrorCode::QuotaExceeded
        | ErrorCode::StorageFull => Code::ResourceExhausted,
        ErrorCode::NotReady | ErrorCode::StorageFailed => Code::Unavailable,
        ErrorCode::DeadlineExceeded => Code::DeadlineExceeded,
        ErrorCode::DataCorrupt => Code::DataLoss,
        ErrorCode::NotImplemented => Code::Unimplemented,
        ErrorCode::Unauthenticated => Code::Unauthenticated,
        ErrorCode::NotPermitted
        | ErrorCode::SessionMismatch
        | ErrorCode::RequesterIsApprover
        | ErrorCode::NotAReviewer
        | ErrorCode::ReviewerLocked => Code::PermissionDenied,
        ErrorCode::NotFound => Code::NotFound,
        ErrorCode::PositionOutOfRange => Code::OutOfRange,
        ErrorCode::WatcherTooSlow | ErrorCode::ActionDigestMismatch | ErrorCode::RevisionConflict => {
            Code::Aborted
        }
        ErrorCode::CallIdReused | ErrorCode::OutcomeConflict | ErrorCode::SameApprover => Code::AlreadyExists,
        ErrorCode::CallNotReleased
        | ErrorCode::ReviewClosed
        | ErrorCode::PayloadErased
        | ErrorCode::SentinelFilePresent => Code::FailedPrecondition,
    }
}

const fn of_vote(fault: VoteFault) -> ErrorCode {
    match fault {
        VoteFault::Unknown => ErrorCode::NotFound,
        VoteFault::Closed => ErrorCode::ReviewClosed,
        VoteFault::Digest => ErrorCode::ActionDigestMismatch,
        VoteFault::Locked => ErrorCode::ReviewerLocked,
        VoteFault::Requester => ErrorCode::RequesterIsApprover,
        VoteFault::NotAsked => ErrorCode::NotAReviewer,
        VoteFault::Voted => ErrorCode::SameApprover,
        VoteFault::Full => ErrorCode::QuotaExceeded,
    }
}

const fn of_lock(fault: LockFault) -> ErrorCode {
    match fault {
        LockFault::Unknown => ErrorCode::NotFound,
        LockFault::FileStillThere => ErrorCode::SentinelFilePresent,
        LockFault::Full(_) => ErrorCode::QuotaExceeded,
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        let plain = |reason| Self::new(reason, message.as_str());
        match error {
            Error::Invalid(violations) => Self::invalid(violations),
            Error::Overloaded => plain(ErrorCode::Overloaded).retry_after(QUEUE_PAUSE),
            Error::CallIdTaken(_) => plain(ErrorCode::CallIdReused),
            Error::OutcomeTaken(_) => plain(ErrorCode::OutcomeConflict),
            Error::Refused(Refusal::Faults(_)) => plain(ErrorCode::PolicyInvalid),
            Error::Refused(Refusal::Conflict(_)) => plain(ErrorCode::RevisionConflict),
            Error::Refused(Refusal::Full(_)) => plain(ErrorCode::QuotaExceeded),
            Error::NotFound(_) | Error::Refused(Refusal::Unknown(_)) => plain(ErrorCode::NotFound),
            Error::Vote(fault) => plain(of_vote(fault)),
            Error::Lock(fault) | Error::Token(fault) => plain(of_lock(fault)),
            Error::TenantsFull(_) => plain(ErrorCode::QuotaExceeded).retry_after(SPACE_PAUSE),
            Error::DiskFull(_) => plain(ErrorCode::StorageFull).retry_after(SPACE_PAUSE),
            Error::Unknown(_) => plain(ErrorCode::StorageFailed),
            Error::WritesOff(_) | Error::Stopping => plain(ErrorCode::NotReady),
            Error::DataLoss(_) => plain(ErrorCode::DataCorrupt),
            Error::Storage(details) => Self::internal(&details),
        }
    }
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        let facts: HashMap<String, String> =
            failure.facts.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let mut details = ErrorDetails::with_error_info(failure.reason_name(), DOMAIN, facts);
        for violation in failure.violations.iter().take(VIOLATIONS_MAX) {
            details.add_bad_request_violation(violation.field, violation.description.as_str());
        }
        if failure.retry.is_some() {
            details.set_retry_info(failure.retry);
        }
        if failure.reason == ErrorCode::NotFound {
            details.set_resource_info("askance", "", "", failure.message.as_str());
        }
        let code = code_of(failure.reason);
        Self::with_error_details_and_metadata(code, failure.message, details, MetadataMap::new())
    }
}

impl From<Failure> for CallError {
    fn from(failure: Failure) -> Self {
        let reason = failure.reason_name().to_owned();
        let violations = failure.violations.into_iter().take(VIOLATIONS_MAX);
        Self {
            code: code_of(failure.reason) as i32,
            message: failure.message,
            reason,
            field_violations: violations
                .map(|violation| v1::FieldViolation {
                    field: violation.field.to_owned(),
                    description: violation.description,
                })
                .collect(),
            retry_delay: failure.retry.map(super::convert::duration),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engine_errors_have_their_codes_and_pauses() {
        let text = || "x".to_owned();
        let violation = Violation { field: "call.tool", description: "is empty".to_owned() };
        let table = [
            (Error::Invalid(vec![violation]), Code::InvalidArgument, "INVALID_REQUEST", None),
            (Error::Overloaded, Code::ResourceExhausted, "OVERLOADED", Some(QUEUE_PAUSE)),
            (Error::CallIdTaken(text()), Code::AlreadyExists, "CALL_ID_REUSED", None),
            (Error::OutcomeTaken(text()), Code::AlreadyExists, "OUTCOME_CONFLICT", None),
            (Error::NotFound(text()), Code::NotFound, "NOT_FOUND", None),
            (Error::TenantsFull(1), Code::ResourceExhausted, "QUOTA_EXCEEDED", Some(SPACE_PAUSE)),
            (Error::DiskFull(text()), Code::ResourceExhausted, "STORAGE_FULL", Some(SPACE_PAUSE)),
            (Error::Unknown(text()), Code::Unavailable, "STORAGE_FAILED", None),
            (Error::WritesOff(text()), Code::Unavailable, "NOT_READY", None),
            (Error::Stopping, Code::Unavailable, "NOT_READY", None),
            (Error::DataLoss(text()), Code::DataLoss, "DATA_CORRUPT", None),
            (Error::Storage(text()), Code::Internal, "INTERNAL", None),
        ];
        for (error, code, reason, pause) in table {
            let failure = Failure::from(error);
            let call_error = CallError::from(failure.clone());
            assert_eq!((call_error.code, call_error.reason.as_str()), (code as i32, reason));
            let status = Status::from(failure);
            let details = status.get_error_details();
            assert_eq!(status.code(), code);
            assert_eq!(details.error_info().map(|info| info.reason.as_str()), Some(reason));
            assert_eq!(details.retry_info().and_then(|info| info.retry_delay), pause);
            assert_eq!(details.bad_request().is_some(), reason == "INVALID_REQUEST");
        }
    }

    #[test]
    fn transport_faults_become_the_documented_codes() {
        let check = |given: Code, expected: Code| {
            let failure = Failure::of_transport(&Status::new(given, "x"));
            assert_eq!(code_of(failure.reason), expected, "{given:?}");
        };
        check(Code::OutOfRange, Code::ResourceExhausted);
        check(Code::Internal, Code::InvalidArgument);
        check(Code::Cancelled, Code::DeadlineExceeded);
        check(Code::Unimplemented, Code::Unimplemented);
        check(Code::Unknown, Code::InvalidArgument);
    }
}
