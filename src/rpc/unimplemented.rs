//! RPCs of the API that this version does not answer yet, in one table.

use super::status::Failure;
use crate::proto::v1::ErrorCode;
use tonic::Status;

/// Each with what it will do, as a sentence that goes on "is not available in this version: it".
pub(super) const TABLE: &[(&str, &str)] = &[
    ("TimelineService/GetInclusionProof", "proves that an event is in the log"),
    ("TimelineService/GetConsistencyProof", "proves that the log only grew"),
    ("TimelineService/GetCheckpoint", "returns the newest signed checkpoint"),
    ("ControlService/SetMode", "sets a tenant's mode; today the policy file does"),
    (
        "ControlService/TakeSnapshot",
        "saves the state now; today it is saved every so many records and at the end",
    ),
    ("ControlService/CreateBackup", "copies the log while the daemon runs"),
    ("ControlService/ErasePayload", "erases arguments and results for good"),
];

/// Where the API's services are.
const PACKAGE: &str = "/askance.v1.";

/// The status of an RPC of the table, named without package.
pub(super) fn status(rpc: &str) -> Status {
    let entry = TABLE.iter().find(|(name, _)| *name == rpc);
    let message = match entry {
        Some((_, what)) => format!("{rpc} is not available in this version: it {what}"),
        None => "there is no such service or method".to_owned(),
    };
    Failure::new(ErrorCode::NotImplemented, message).into()
}

/// The status of a path that no service answers.
pub(super) fn answer(path: &str) -> Status {
    status(path.strip_prefix(PACKAGE).unwrap_or(""))
}
