//! The event log from outside: what it keeps, what it refuses, what it notices.
#![cfg(feature = "server")]

mod anchor;
mod basics;
mod damage;
mod erase;
#[cfg(feature = "faults")]
mod faults;
mod full;
mod kit;
mod model;
mod snapshots;
