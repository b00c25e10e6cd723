//! The command line as its users meet it: the real binary, real files, exit codes and words.

#![cfg(feature = "server")]

mod app;
mod configuration;
mod daemon;
mod importing;
mod looking;
mod scoring;
mod setup;
mod support;
