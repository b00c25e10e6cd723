//! What the session has touched so far, against what this call adds (detection.md 3.4, learned part).
//!
//! Counts, in sessions, how often a capability came after another one. A call is judged when it brings a
//! capability the session has not shown yet: `p = min(1, |S| min over x of (n_xc + 1/4) / (n_x + 1))`, x over
//! the capabilities already shown. Otherwise there is no surprise. Abstains until [`SESSIONS_MIN`] sessions.

use super::learn::Lesson;
use crate::domain::decision::Evidence;
use crate::domain::risk::Capabilities;
use crate::stats::millibits::MilliBits;
use serde::{Deserialize, Serialize};

/// Capabilities told apart.
const CLASSES: usize = Capabilities::NAMES.len();
/// Sessions before combinations are judged.
const SESSIONS_MIN: u32 = 20;

/// Sessions by what they touched and in which order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContextModel {
    sessions: u32,
    with: [u32; CLASSES],
    after: [[u32; CLASSES]; CLASSES],
}

fn classes(set: u16) -> impl Iterator<Item = usize> {
    (0..CLASSES).filter(move |class| set >> class & 1 == 1)
}

impl ContextModel {
    /// Surprise at what this call adds to what the session has `seen`.
    pub fn score(&self, seen: Capabilities, call: Capabilities) -> Option<MilliBits> {
        if self.sessions < SESSIONS_MIN {
            return None;
        }
        let p = self.rarest(seen, call).map_or(1.0, |(p, _, _)| p);
        Some(MilliBits::from_p(p))
    }

    /// The least probability, and the pair behind it.
    fn rarest(&self, seen: Capabilities, call: Capabilities) -> Option<(f64, usize, usize)> {
        let new = call.bits() & !seen.bits();
        let shown = f64::from(seen.bits().count_ones());
        let pairs = classes(new).flat_map(|added| classes(seen.bits()).map(move |earlier| (earlier, added)));
        let p = |(earlier, added): (usize, usize)| {
            let share =
                (f64::from(self.after[earlier][added]) + 0.25) / (f64::from(self.with[earlier]) + 1.0);
            ((shown * share).min(1.0), earlier, added)
        };
        pairs.map(p).min_by(|one, other| one.0.total_cmp(&other.0))
    }

    /// The figures of the rarest pair.
    pub fn explain(&self, seen: Capabilities, call: Capabilities) -> Evidence {
        match self.rarest(seen, call) {
            Some((_, earlier, added)) => Evidence::Context {
                seen: 1 << earlier,
                adds: 1 << added,
                together: self.after[earlier][added],
                sessions: self.with[earlier],
            },
            None => Evidence::None,
        }
    }

    /// Learns one session.
    pub fn learn(&mut self, lesson: &Lesson) {
        self.sessions = self.sessions.saturating_add(1);
        let mut seen = 0_u16;
        for set in &lesson.capabilities {
            let new = set & !seen;
            for added in classes(new) {
                classes(seen).for_each(|earlier| {
                    self.after[earlier][added] = self.after[earlier][added].saturating_add(1)
                });
            }
            seen |= new;
            classes(new).for_each(|class| self.with[class] = self.with[class].saturating_add(1));
        }
    }
}
