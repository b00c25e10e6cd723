//! Traffic of our own, the load that asks with it, and the ceilings a measurement is judged by.
//!
//! Deliberately absent: figures. They are made by `askance bench`, never written here.

pub mod attacks;
pub mod beside;
pub mod ceilings;
pub mod collector;
pub mod histogram;
pub mod load;
pub mod memory;
pub mod open_loop;
pub mod random;
pub mod report;
pub mod server;
pub mod traffic;
pub mod watchers;
