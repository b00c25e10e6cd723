//! What one score costs, part by part.
//!
//! `cargo bench --no-default-features --bench stats`

use askance::stats::edetector::e_value;
use askance::stats::fingerprint::mix;
use askance::stats::negative_binomial::upper_tail;
use askance::stats::*;
use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;

const SECOND: i64 = 1_000_000;

fn surprises() -> [MilliBits; 7] {
    [1_200, 300, 4_100, 0, 9_000, 2_500, 700].map(MilliBits::new)
}

fn calibrator(additions: u64) -> Calibrator {
    let mut calibrator = Calibrator::new();
    for k in 0..additions {
        calibrator.add(MilliBits::new((mix(k, 1).leading_zeros() * 1000 + 400) as i32));
    }
    calibrator
}

fn common(c: &mut Criterion) {
    let s = surprises();
    c.bench_function("millibits/from_p", |b| b.iter(|| MilliBits::from_p(black_box(0.0123))));
    c.bench_function("millibits/to_p", |b| b.iter(|| black_box(MilliBits::new(6_644)).to_p()));
    c.bench_function("combine/7", |b| b.iter(|| combine(black_box(&s))));
    c.bench_function("combine/truncated_cauchy_4", |b| b.iter(|| truncated_cauchy(black_box(&s[..4]))));
    c.bench_function("combine/risk", |b| b.iter(|| risk(black_box(30), black_box(MilliBits::new(7_100)), 0)));
    let warm = calibrator(50_000);
    for (name, millibits) in [("bulk", 2_345), ("tail", 22_345)] {
        c.bench_function(&format!("calibrator/{name}"), |b| {
            b.iter(|| warm.calibrate(black_box(MilliBits::new(millibits))))
        });
    }
    let mut learning = warm.clone();
    c.bench_function("calibrator/add", |b| b.iter(|| learning.add(black_box(MilliBits::new(1_700)))));
    let mut tracker = Tracker::new(Budget::default());
    c.bench_function("tracker/hit_and_update", |b| {
        b.iter(|| {
            let hit = tracker.is_hit(black_box(MilliBits::new(4_000)));
            tracker.update(hit);
        })
    });
    let mut detector = EDetector::new();
    c.bench_function("edetector/update", |b| {
        b.iter(|| detector.update(e_value(black_box(0.01), black_box(0.2))))
    });
    let key = FingerprintKey::new([7; 16]);
    c.bench_function("fingerprint/20_bytes", |b| b.iter(|| key.text(black_box("production/kube-main"))));
}

fn found(windows: &WindowCounts, now: i64) -> [u32; 5] {
    let [ten, minute, ten_minutes, hour] = windows.counts(now);
    [ten, minute, ten_minutes, hour, ten]
}

fn rates(c: &mut Criterion) {
    c.bench_function("negative_binomial/n_4", |b| b.iter(|| upper_tail(black_box(4), 1.3, 0.8)));
    c.bench_function("negative_binomial/n_30", |b| b.iter(|| upper_tail(black_box(30), 18.0, 2.0)));
    c.bench_function("negative_binomial/n_300", |b| b.iter(|| upper_tail(black_box(300), 180.0, 2.0)));
    let (mut windows, mut usually) = (WindowCounts::new(), Usually::default());
    for k in 0..2_000i64 {
        let now = k * 7 * SECOND;
        usually.learn(found(&windows, now), now, (k / 100) as i32);
        windows.add(now);
    }
    let now = 2_000 * 7 * SECOND;
    c.bench_function("rate/counts", |b| b.iter(|| windows.counts(black_box(now))));
    for (name, counts) in [("usual", [1, 6, 60, 300, 9]), ("above_the_mean", [4, 20, 120, 700, 30])] {
        c.bench_function(&format!("rate/surprises_{name}"), |b| {
            b.iter(|| usually.moments().surprises(black_box(counts)))
        });
    }
    c.bench_function("rate/learn", |b| {
        b.iter(|| usually.learn(black_box([1, 6, 60, 300, 9]), black_box(0), 20))
    });
    let mut at = now;
    c.bench_function("rate/add", |b| {
        b.iter(|| {
            at += 3 * SECOND;
            windows.add(black_box(at));
        })
    });
    let mut seasonal = SeasonalCounts::new(20_000);
    (0..20).for_each(|_| seasonal.attempt());
    c.bench_function("counts/surprises", |b| b.iter(|| black_box(&seasonal).surprises()));
    let mut hour = 0i32;
    c.bench_function("counts/advance_one_hour", |b| {
        b.iter(|| {
            hour += 1;
            seasonal.advance(20_000 + hour / 24, (hour % 24) as u8, 1.0);
        })
    });
}

fn presence(c: &mut Criterion) {
    let mut presence = Presence::new(20_000);
    for day in 20_000..20_035 {
        (9..18).for_each(|hour| _ = presence.learn(hour, day, 0.15));
    }
    c.bench_function("presence/surprise", |b| b.iter(|| presence.surprise(black_box(27), black_box(20_040))));
    let mut day = 20_036;
    c.bench_function("presence/advance_one_day", |b| {
        b.iter(|| {
            day += 1;
            presence.advance(day, 0.15);
        })
    });
}

fn values(c: &mut Criterion) {
    let mut sequence = PitmanYor::default();
    let chain = |k: u64| [mix(k % 40, k % 23), mix(1, k % 40), mix(2, k % 40)];
    (0..100_000u64).for_each(|k| sequence.learn(&chain(mix(k, 5) % 920), mix(k, 9) % 37, 3));
    let mut k = 0u64;
    c.bench_function("pitman_yor/surprise", |b| {
        b.iter(|| {
            k += 1;
            sequence.surprise(&chain(mix(k, 5) % 920), mix(k, 9) % 37, 37, 3)
        })
    });
    c.bench_function("pitman_yor/learn", |b| {
        b.iter(|| {
            k += 1;
            sequence.learn(&chain(mix(k, 5) % 920), mix(k, 9) % 37, 3)
        })
    });
    let (mut names, mut numbers) = (CategoryModel::new(), NumberModel::new());
    for k in 0..5_000u64 {
        names.learn(mix(mix(k, 3) % 60, 4), 1);
        numbers.learn((mix(k, 3) % 60) as f64, 1);
    }
    c.bench_function("categorical/oddness", |b| b.iter(|| names.oddness(black_box(mix(17, 4)), 1.0)));
    c.bench_function("numeric/p", |b| b.iter(|| numbers.p(black_box(17.0))));
}

criterion_group!(benches, common, rates, presence, values);
criterion_main!(benches);
