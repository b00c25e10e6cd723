//! Tells a partition that a deadline has come. What then happens is decided on the state: a tick too many
//! does nothing, and one that is lost is made up by the next. And tells watchers what was published meanwhile.

use super::hub::Hub;
use super::overseer::Oversight;
use super::partition::Command;
use crate::clock::Clock;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::mpsc::WeakSender;

/// Pause between two looks at the clock, unless something published cannot wait.
const PAUSE: Duration = Duration::from_millis(20);

/// Starts the ticker of a partition; it ends with the partition.
pub(super) fn start(clock: Clock, hub: &Arc<Hub>, commands: WeakSender<Command>) -> std::io::Result<()> {
    let hub = Arc::downgrade(hub);
    let run = move || {
        if let Some(hub) = hub.upgrade() {
            hub.tell_here();
        }
        while tick(&clock, &hub, &commands) {}
    };
    std::thread::Builder::new().name("askance-ticker".to_owned()).spawn(run).map(|_| ())
}

fn tick(clock: &Clock, hub: &Weak<Hub>, commands: &WeakSender<Command>) -> bool {
    std::thread::park_timeout(PAUSE);
    let (Some(hub), Some(commands)) = (hub.upgrade(), commands.upgrade()) else { return false };
    hub.tell(true);
    let due = hub.next_deadline().is_some_and(|at| clock.deadlines().late >= at);
    if due && hub.begin_tick() && hub.push_urgent(Oversight::Tick).is_ok() {
        // A full queue wakes the worker as well.
        let _awake = commands.try_send(Command::Wake);
    }
    true
}
