//! Pitfall 7 of detection.md 11: a run, the same run again, and the same run with snapshots taken and
//! loaded at random points end in the same bytes and give the same answers.

use super::fingerprint::mix;
use super::testing::SplitMix64;
use super::*;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Everything {
    presence: Presence,
    windows: WindowCounts,
    usually: Usually,
    targets: Distinct,
    seasonal: SeasonalCounts,
    sequence: PitmanYor,
    names: CategoryModel<u64>,
    there: Occurrence,
    numbers: NumberModel,
    calibrator: Calibrator,
    tracker: Tracker,
    detector: EDetector,
}

impl Everything {
    fn new() -> Self {
        Self {
            presence: Presence::new(20_458),
            windows: WindowCounts::new(),
            usually: Usually::default(),
            targets: Distinct::default(),
            seasonal: SeasonalCounts::new(20_458),
            sequence: PitmanYor::new(512),
            names: CategoryModel::new(),
            there: Occurrence::new(),
            numbers: NumberModel::new(),
            calibrator: Calibrator::new(),
            tracker: Tracker::new(Budget::default()),
            detector: EDetector::new(),
        }
    }

    /// Scores one call made up of these bits, then learns it.
    fn call(&mut self, hour: i64, bits: u64) -> MilliBits {
        let (day, hour_of_day, week) = ((hour / 24) as i32, (hour % 24) as u8, (hour / 168) as u16);
        let hour_of_week = ((hour + 72) % 168) as u16;
        let (symbol, value, now) = (bits % 11, (bits >> 8) % 90, hour * 3_600_000_000 + (bits >> 40) as i64);
        let chain = [mix(symbol, bits % 3), symbol, bits % 5];

        self.seasonal.advance(day, hour_of_day, 2.0);
        self.seasonal.attempt();
        let [ten, minute, ten_minutes, hour] = self.windows.counts(now);
        let counts = [ten, minute, ten_minutes, hour, self.targets.count_with(value, now)];
        let mut s = self.usually.moments().surprises(counts).to_vec();
        s.extend(self.seasonal.surprises());
        s.extend(self.presence.surprise(hour_of_week, day));
        s.push(self.sequence.surprise(&chain, symbol, 11, week));
        s.push(MilliBits::from_p(self.names.oddness(value, self.there.probability(true)).p));
        s.push(MilliBits::from_p(self.numbers.p(value as f64 - 30.0)));
        let raw = combine(&s);
        let evidence = self.calibrator.calibrate(raw);
        let hit = self.tracker.is_hit(evidence);

        self.windows.add(now);
        self.usually.learn(counts, now, day);
        self.targets.add(value, now);
        self.seasonal.learn(day, hour_of_day);
        self.presence.learn(hour_of_week, day, 0.15);
        self.detector.update(edetector::e_value(0.05, self.sequence.probability(&chain, symbol, 11, week)));
        self.sequence.learn(&chain, symbol, week);
        self.names.learn(value, week);
        self.there.learn(bits & 64 == 0, week);
        self.numbers.learn(value as f64 - 30.0, week);
        self.calibrator.add(raw);
        self.tracker.update(hit);
        evidence
    }
}

fn run(snapshots: bool) -> (Vec<u8>, Vec<MilliBits>) {
    let (mut random, mut chance) = (SplitMix64(21), SplitMix64(22));
    let mut state = Everything::new();
    let mut hour = 20_458 * 24;
    let evidence = (0..4_000).map(|_| {
        hour += random.below(3) as i64;
        if snapshots && chance.chance(0.01) {
            let bytes = postcard::to_stdvec(&state).unwrap();
            state = postcard::from_bytes(&bytes).unwrap();
        }
        state.call(hour, random.next())
    });
    let evidence = evidence.collect();
    (postcard::to_stdvec(&state).unwrap(), evidence)
}

#[test]
fn replay_with_snapshots_ends_in_the_same_bytes() {
    let first = run(false);
    assert_eq!(first, run(false));
    assert_eq!(first, run(true));
    assert!(first.1.iter().any(|&e| e > MilliBits::ZERO));
}

/// A change here is a change of every verdict in old logs: raise the detector version with it.
#[test]
fn scores_are_those_of_the_recorded_version() {
    let (_, evidence) = run(false);
    let digest = evidence.iter().fold(0u64, |digest, e| mix(digest, e.as_i32() as u64));
    assert_eq!(digest, 0x7904_15f1_6b60_c778, "{digest:#x}");
}

#[test]
fn sizes_are_as_documented() {
    assert_eq!(size_of::<Calibrator>(), 656);
    assert!(size_of::<Presence>() <= 580, "and 336 boxed: {}", size_of::<Presence>());
    assert_eq!(size_of::<WindowCounts>(), 120);
    assert_eq!(size_of::<WindowMoments>(), 96);
    assert!(size_of::<SeasonalCounts>() <= 944, "{}", size_of::<SeasonalCounts>());
    assert!(size_of::<CategoryModel>() <= 136, "and 16 a value: {}", size_of::<CategoryModel>());
    assert!(size_of::<NumberModel>() <= 24, "and 4 a bin: {}", size_of::<NumberModel>());
    assert_eq!(size_of::<Tracker>(), 56);
}
