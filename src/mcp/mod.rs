//! In front of an MCP server: a proxy that passes bytes on as they are and asks before a tool is called.
//!
//! Pure: [`reports`] (what waits to be told), [`peek`] (what a client's message asks for), [`scan`] (what a server's message says, without building it),
//! [`lines`] (framing), [`events`] (messages in a stream of events), [`refusal`] (what a client is told), [`carry`] (a
//! review that the client carries), [`book`] (calls that are open), [`tasks`] (calls that are followed as tasks; `task_room` has them with a lock and the time), [`rewrite`] (calls that are not
//! passed as they came), [`scope`] and [`delegation`] (session and principals of a call). Around
//! them: [`gate`] (the daemon, remote or in this process), [`recorder`] (outcomes and tool definitions, in order),
//! [`guard`] (from a call to a ruling), [`wrap`] (stdio), [`proxy`] (HTTP).
//!
//! Deliberately absent: typed MCP messages. What this version of us does not know passes byte for byte.

pub mod book;
pub mod carry;
pub mod child;
pub mod delegation;
pub mod events;
mod exchange;
pub mod gate;
pub mod guard;
pub mod lines;
pub mod peek;
pub mod proxy;
pub mod recorder;
pub mod refusal;
pub mod reports;
pub mod rewrite;
pub mod scan;
pub mod scope;
mod sessions;
mod stdio;
mod task_room;
pub mod tasks;
pub mod tools;
mod upstream;
mod watched;
pub mod wrap;
