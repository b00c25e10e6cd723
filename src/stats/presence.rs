//! The hours in which an entity is active, over the week.
//!
//! The unit is the active hour, not the call: one night of 200 calls teaches one hour, not 200
//! (detection.md 3.1 and E8). Hours of the week lean on their weekday-or-weekend hour, that on the
//! hour of the day, that on the overall level; where the data show no more pattern than chance
//! would, the leaning is made so strong that the level decides (E1).
//!
//! Hours are those of the local wall clock and days begin at local midnight, both computed by the
//! caller from the event's own offset.

use super::decay;
use super::millibits::MilliBits;
use serde::{Deserialize, Serialize};

/// Hours in a week; hour 0 is Monday 00:00.
pub const WEEK_HOURS: usize = 168;
/// One active hour in the fixed point of the weights (Q11; 32 at most).
const ONE: u32 = 1 << 11;
/// One week in the fixed point of the exposure (Q16).
const WEEK_Q16: u32 = 1 << 16;
/// The most that the 24 hours lean on the level where they show no more pattern than chance. After a week or two
/// nobody's hours show more, and with a stronger lean a lone night would still be called usual.
const HOURS_LEAN_MAX: f64 = 2.0;
/// Days of observation before anything is said.
const FIRST_ANSWER_DAY: i32 = 2;
/// Days whose hours are remembered, so that each is learned once: sessions are learned when they end.
const REMEMBERED_DAYS: usize = 4;
/// Strength with which the 24 hours lean on the level, the 48 on the 24, the 168 on the 48; in weeks.
const LEAN: [f64; 3] = [1.0, 2.0, 8.0];
/// Weight of the parent's level, in hours.
const LEVEL_PRIOR: f64 = 24.0;
/// Fixed point of the smoothed shares.
const SHARE_ONE: f64 = (1u64 << 20) as f64;

/// What is known of one entity's active hours. About 910 bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "stored::Presence", into = "stored::Presence")]
pub struct Presence {
    facts: Facts,
    /// Surprise of each hour of the week, in milli-bits; a pure function of `facts`.
    table: Box<[u16; WEEK_HOURS]>,
}

/// The state proper: all that is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Facts {
    /// Day of the first observation (days since 1970-01-01, local).
    first_day: i32,
    /// Latest day seen; the table is that of its beginning.
    today: i32,
    /// Whole weeks from the first day to `today`.
    week: u32,
    /// Decayed number of whole weeks observed, Q16.
    exposure: u32,
    /// The parent's share of active hours, 0..=1.
    parent_level: f64,
    /// Active hours ever.
    active_hours: u32,
    /// Hours learned on `today` and the three days before it, one bit each.
    learned: [u32; REMEMBERED_DAYS],
    /// Decayed active hours by hour of the week, Q11.
    #[serde(with = "super::array")]
    weights: [u16; WEEK_HOURS],
    /// Active days by hour of the week, not decayed; stays at 255.
    #[serde(with = "super::array")]
    days: [u8; WEEK_HOURS],
}

/// The shortest stretch of hours that holds nearly all activity, for the sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsualHours {
    /// First hour of the day, 0..24.
    pub from: u8,
    /// Hour of the day at which it ends, 0..24, excluded; equal to `from` for the whole day.
    pub until: u8,
    /// The days it was counted on.
    pub days: UsualDays,
    /// Active hours inside.
    pub inside: u32,
    /// Active hours in all.
    pub total: u32,
}

/// The days on which an entity is active.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsualDays {
    /// At least nine in ten active hours lie on Monday to Friday.
    Weekdays,
    /// At least nine in ten active hours lie on Saturday and Sunday.
    Weekends,
    /// Neither.
    AllDays,
}

impl Presence {
    /// Nothing known; the first day counts as day 0 of observation.
    pub fn new(first_day: i32) -> Self {
        let facts = Facts {
            first_day,
            today: first_day,
            week: 0,
            exposure: 0,
            parent_level: 0.15,
            active_hours: 0,
            learned: [0; REMEMBERED_DAYS],
            weights: [0; WEEK_HOURS],
            days: [0; WEEK_HOURS],
        };
        Self { table: facts.table(), facts }
    }

    /// Learns an executed call at this hour of the week (0..168) and local day.
    ///
    /// Counts at most once for each day and hour, and only for the latest four days; says whether
    /// it counted. `parent_level` (0..=1) is the parent's share of active hours, .15 for a tenant.
    /// What is learned today moves the surprises from tomorrow on.
    pub fn learn(&mut self, hour_of_week: u16, day: i32, parent_level: f64) -> bool {
        self.advance(day, parent_level);
        let facts = &mut self.facts;
        let age = facts.today.saturating_sub(day) as usize;
        // The day is the authority on the weekday, should the two disagree.
        let hour = weekday(day) * 24 + usize::from(hour_of_week) % 24;
        let bit = 1 << (hour % 24);
        if age >= REMEMBERED_DAYS || facts.learned[age] & bit != 0 {
            return false;
        }
        facts.learned[age] |= bit;
        facts.raise(hour, ONE);
        facts.active_hours = facts.active_hours.saturating_add(1);
        facts.days[hour] = facts.days[hour].saturating_add(1);
        if age > 0 {
            self.table = self.facts.table();
        }
        true
    }

    /// A reviewer says that this hour of the week is to be expected: worth `hours` active hours.
    pub fn expect(&mut self, hour_of_week: u16, hours: u8) {
        self.facts.raise(usize::from(hour_of_week) % WEEK_HOURS, u32::from(hours) * ONE);
        self.table = self.facts.table();
    }

    /// Moves to `day`: forgets at the turn of each week of observation, and takes in what was learned
    /// up to the day before. An earlier day or the same one changes nothing.
    pub fn advance(&mut self, day: i32, parent_level: f64) {
        if day <= self.facts.today {
            return;
        }
        self.facts.advance(day, parent_level);
        self.table = self.facts.table();
    }

    /// Whether `day` is no later than the latest seen: then learning at it does not look at the parent's level.
    pub fn has_reached(&self, day: i32) -> bool {
        day <= self.facts.today
    }

    /// Surprise at activity in this hour of the week (0..168), as of the latest [`Presence::advance`]
    /// or [`Presence::learn`]; `None` in the first two days.
    pub fn surprise(&self, hour_of_week: u16, day: i32) -> Option<MilliBits> {
        let enough = day.saturating_sub(self.facts.first_day) >= FIRST_ANSWER_DAY;
        enough.then(|| MilliBits::new(i32::from(self.table[usize::from(hour_of_week) % WEEK_HOURS])))
    }

    /// Distinct active hours learned since the start.
    pub fn active_hours(&self) -> u32 {
        self.facts.active_hours
    }

    /// Decayed active hours in this hour of the week (0..168); at most 32.
    pub fn weight_at(&self, hour_of_week: u16) -> f64 {
        f64::from(self.facts.weights[usize::from(hour_of_week) % WEEK_HOURS]) / f64::from(ONE)
    }

    /// Days ever on which this hour of the week (0..168) was active; 255 stands for more.
    pub fn active_days_at(&self, hour_of_week: u16) -> u8 {
        self.facts.days[usize::from(hour_of_week) % WEEK_HOURS]
    }

    /// Whole weeks of observation up to `day`; at least 1.
    pub fn weeks(&self, day: i32) -> u32 {
        (day.saturating_sub(self.facts.first_day) / 7).max(1) as u32
    }

    /// Share of hours active, shrunk towards the parent's, 0..=1: the `parent_level` of children.
    pub fn level(&self) -> f64 {
        self.facts.level()
    }

    /// The shortest stretch of hours of the day that holds at least 95 % of the active hours of the
    /// usual days; `None` before the first.
    pub fn usual_hours(&self) -> Option<UsualHours> {
        let facts = &self.facts;
        let count = |from: usize, to: usize| facts.days[from..to].iter().map(|&n| u32::from(n)).sum::<u32>();
        let (week, weekend) = (count(0, 120), count(120, WEEK_HOURS));
        let total = week + weekend;
        let (days, range) = match () {
            () if total == 0 => return None,
            () if week * 10 >= total * 9 => (UsualDays::Weekdays, 0..120),
            () if weekend * 10 >= total * 9 => (UsualDays::Weekends, 120..WEEK_HOURS),
            () => (UsualDays::AllDays, 0..WEEK_HOURS),
        };
        let mut by_hour = [0u32; 24];
        range.for_each(|hour| by_hour[hour % 24] += u32::from(facts.days[hour]));
        let wanted = (by_hour.iter().sum::<u32>() * 95).div_ceil(100);
        let (from, length, inside) = shortest_stretch(&by_hour, wanted);
        Some(UsualHours { from: from as u8, until: ((from + length) % 24) as u8, days, inside, total })
    }
}

/// Start, length and content of the shortest circular stretch that holds `wanted`; the fullest of equals.
fn shortest_stretch(by_hour: &[u32; 24], wanted: u32) -> (usize, usize, u32) {
    let content = |from: usize, length: usize| (from..from + length).map(|h| by_hour[h % 24]).sum::<u32>();
    let stretches = (1..=24).flat_map(|length| (0..24).map(move |from| (from, length)));
    let mut best = (0, 24, content(0, 24));
    for (from, length) in stretches {
        let inside = content(from, length);
        if inside >= wanted && (length < best.1 || (length == best.1 && inside > best.2)) {
            best = (from, length, inside);
        }
    }
    best
}

impl Facts {
    fn raise(&mut self, hour: usize, by: u32) {
        self.weights[hour] = (u32::from(self.weights[hour]) + by).min(u32::from(u16::MAX)) as u16;
    }

    fn advance(&mut self, day: i32, parent_level: f64) {
        let moved = day.saturating_sub(self.today) as usize;
        for age in (0..REMEMBERED_DAYS).rev() {
            self.learned[age] = if age >= moved { self.learned[age - moved] } else { 0 };
        }
        self.today = day;
        self.parent_level = if parent_level.is_nan() { 0.0 } else { parent_level.clamp(0.0, 1.0) };
        let week = day.saturating_sub(self.first_day) as u32 / 7;
        let turned = week.saturating_sub(self.week);
        self.week = week;
        for _ in 0..turned.min(200) {
            self.exposure = decay::weekly(u64::from(self.exposure + WEEK_Q16), 1) as u32;
        }
        if turned > 0 {
            for weight in &mut self.weights {
                *weight = decay::weekly(u64::from(*weight), turned) as u16;
            }
        }
    }

    /// Decayed weeks in which each day of the week was observed, Monday first; whole days only.
    fn exposures(&self) -> [f64; 7] {
        let mut exposures = [f64::from(self.exposure) / f64::from(WEEK_Q16); 7];
        for day in 0..self.today.saturating_sub(self.first_day) % 7 {
            exposures[weekday(self.first_day.saturating_add(day))] += 1.0;
        }
        exposures
    }

    /// Active hours by hour of the week up to the end of yesterday: today's are not complete.
    fn activity(&self) -> [f64; WEEK_HOURS] {
        let weekday = weekday(self.today);
        std::array::from_fn(|hour| {
            let today = hour / 24 == weekday && self.learned[0] >> (hour % 24) & 1 == 1;
            let weight = u32::from(self.weights[hour]).saturating_sub(if today { ONE } else { 0 });
            f64::from(weight) / f64::from(ONE)
        })
    }

    fn level(&self) -> f64 {
        let (active, exposed) = (self.activity().iter().sum(), self.exposures().iter().sum());
        level(active, exposed, self.parent_level)
    }

    /// Rates of the 168 hours: three levels of shrinkage, each gated.
    fn rates(&self) -> [f64; WEEK_HOURS] {
        let (activity, exposures) = (self.activity(), self.exposures());
        let exposed: f64 = exposures.iter().sum();
        let level = level(activity.iter().sum(), exposed, self.parent_level);

        let mut by_hour = [0.0; 24];
        let mut by_type = [[0.0; 24]; 2];
        for (hour, active) in activity.iter().enumerate() {
            by_hour[hour % 24] += active;
            by_type[usize::from(hour >= 120)][hour % 24] += active;
        }
        let type_exposed = [exposures[..5].iter().sum::<f64>(), exposures[5..].iter().sum()];

        let hour_cells = by_hour.iter().map(|&active| Cell { active, exposed, expected: level });
        let lean = gate(LEAN[0], 0.15, hour_cells).min(HOURS_LEAN_MAX);
        let hourly: [f64; 24] = std::array::from_fn(|h| shrink(by_hour[h], exposed, lean, level));

        let type_cells = (0..48).map(|i| Cell {
            active: by_type[i / 24][i % 24],
            exposed: type_exposed[i / 24],
            expected: hourly[i % 24],
        });
        let lean = gate(LEAN[1], 0.05, type_cells);
        std::array::from_fn(|hour| {
            let (kind, h) = (usize::from(hour >= 120), hour % 24);
            let typed = shrink(by_type[kind][h], type_exposed[kind], lean, hourly[h]);
            shrink(activity[hour], exposures[hour / 24], LEAN[2], typed)
        })
    }

    /// Mid-p of each hour among all hours ordered by smoothed rate, compared as integers so that ties
    /// are exact: `p_k = sum of q_j with q_j < q_k, plus half the sum of those equal to q_k`.
    fn table(&self) -> Box<[u16; WEEK_HOURS]> {
        let rates = self.rates().map(|rate| (rate * SHARE_ONE) as u64 + 1);
        let at = |hour: usize| rates[hour % WEEK_HOURS];
        let mut shares: [(u64, usize); WEEK_HOURS] =
            std::array::from_fn(|hour| (at(hour + WEEK_HOURS - 1) + 2 * at(hour) + at(hour + 1), hour));
        let total: u64 = shares.iter().map(|(share, _)| share).sum();
        shares.sort_unstable();

        let mut table = Box::new([0; WEEK_HOURS]);
        let mut below = 0;
        for equals in shares.chunk_by(|one, other| one.0 == other.0) {
            let own = equals[0].0 * equals.len() as u64;
            let p = (2 * below + own) as f64 / (2 * total) as f64;
            let surprise = MilliBits::from_p(p).as_i32() as u16;
            equals.iter().for_each(|&(_, hour)| table[hour] = surprise);
            below += own;
        }
        table
    }
}

/// Day of the week of a local day (days since 1970-01-01), 0 = Monday.
fn weekday(day: i32) -> usize {
    // 1970-01-01 was a Thursday.
    (day.rem_euclid(7) as usize + 3) % 7
}

/// `m = (sum A + 24 pi0) / (168 e + 24)`, with 24 times the days' exposure for 168 e.
fn level(active: f64, exposed_days: f64, parent: f64) -> f64 {
    ((active + LEVEL_PRIOR * parent) / (24.0 * exposed_days + LEVEL_PRIOR)).clamp(0.0, 1.0)
}

/// `(A + c * parent) / (e + c)`, at most 1.
fn shrink(active: f64, exposed: f64, lean: f64, parent: f64) -> f64 {
    ((active + lean * parent) / (exposed + lean)).min(1.0)
}

/// One cell of a level, for the gate.
struct Cell {
    active: f64,
    exposed: f64,
    expected: f64,
}

/// The strength `c` of leaning on the parent, raised where the cells scatter no more than chance.
///
/// `x = (sum of squared deviations - binomial noise) / (sum of m (1 - m))` estimates `1 / (c + 1)`;
/// if it is below `least`, c becomes `min(200, 1/x - 1)`.
fn gate(lean: f64, least: f64, cells: impl Iterator<Item = Cell>) -> f64 {
    let (mut excess, mut scale) = (0.0, 0.0);
    for cell in cells.filter(|cell| cell.exposed > 0.0) {
        let variance = (cell.expected * (1.0 - cell.expected)).max(1e-6);
        let deviation = cell.active / cell.exposed - cell.expected;
        excess += deviation * deviation - variance / cell.exposed;
        scale += variance;
    }
    if scale <= 0.0 || excess >= least * scale {
        return lean;
    }
    // x <= 1/201 means c = 200.
    let x = (excess / scale).max(1.0 / 201.0);
    (1.0 / x - 1.0).max(lean)
}

/// What goes into a snapshot: the table is rebuilt, so it cannot disagree.
mod stored {
    use super::Facts;
    use serde::{Deserialize, Serialize};

    #[derive(Serialize, Deserialize)]
    pub(super) struct Presence(Facts);

    impl From<Presence> for super::Presence {
        fn from(stored: Presence) -> Self {
            Self { table: stored.0.table(), facts: stored.0 }
        }
    }

    impl From<super::Presence> for Presence {
        fn from(presence: super::Presence) -> Self {
            Self(presence.facts)
        }
    }
}

#[cfg(test)]
#[path = "presence_tests.rs"]
mod tests;
