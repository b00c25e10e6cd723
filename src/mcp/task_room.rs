//! The tasks of a proxy as both transports keep them: locked, with the time at hand.

use super::peek::{Id, TaskAsk};
use super::tasks::{Made, Owner, Tasks};
use crate::clock::Clock;
use crate::proto::v1::Decision;
use serde_json::Value;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The owner of all tasks of a stdio server: its one client.
pub(super) const ONLY_CLIENT: Owner = [0; 32];

/// The tasks of a proxy.
pub(super) struct TaskRoom {
    tasks: Mutex<Tasks>,
    clock: Clock,
}

impl Default for TaskRoom {
    fn default() -> Self {
        Self { tasks: Mutex::default(), clock: Clock::system() }
    }
}

impl TaskRoom {
    fn tasks(&self) -> MutexGuard<'_, Tasks> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a task of a call of so many bytes that people must look at; none if there is no room.
    pub(super) fn make(&self, owner: Owner, decision: &Decision, bytes: usize) -> Option<Made> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).ok()?;
        let made = self.tasks().make(random, owner, decision, bytes, self.clock.now());
        made.inspect_err(|why| tracing::warn!(why, "a call under review cannot be a task; it is held")).ok()
    }

    /// Takes a task back that nobody was told of.
    pub(super) fn forget(&self, task: &str) {
        self.tasks().forget(task);
    }

    /// The answer to the call that became a task.
    pub(super) fn created(&self, request: &Id, task: &str) -> Option<Vec<u8>> {
        self.tasks().created(request, task)
    }

    /// The answer to a request about a task; none if it is none of ours.
    pub(super) fn answer(&self, ask: &TaskAsk, owner: &Owner) -> Option<Vec<u8>> {
        self.tasks().answer(ask, owner, self.clock.now())
    }

    /// Its call was allowed and runs.
    pub(super) fn runs(&self, task: &str) {
        self.tasks().runs(task, self.clock.now());
    }

    /// Its call ended with this tool result.
    pub(super) fn completed(&self, task: &str, result: &Value) {
        self.tasks().completed(task, result, self.clock.now());
    }

    /// The server answered its call with this message.
    pub(super) fn answered(&self, task: &str, message: &[u8]) {
        self.tasks().answered(task, message, self.clock.now());
    }

    /// Its call came to no answer.
    pub(super) fn failed(&self, task: &str, why: &str) {
        self.tasks().failed(task, why, self.clock.now());
    }

    /// Stops every waiting.
    pub(super) fn close(&self) {
        self.tasks().close();
    }
}
