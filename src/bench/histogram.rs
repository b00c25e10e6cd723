//! Latencies in bins that grow with them: 64 bins an octave, so that a quantile is within 1.6 %.

/// Bins an octave.
const PER_OCTAVE: u64 = 64;
/// Bins in all: up to 2^40 ns, about 18 minutes.
const BINS: usize = 40 * PER_OCTAVE as usize;

/// Counts of latencies in nanoseconds.
#[derive(Clone, Debug)]
pub struct Histogram {
    bins: Vec<u64>,
    count: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { bins: vec![0; BINS], count: 0 }
    }
}

impl Histogram {
    /// Adds a latency.
    pub fn add(&mut self, nanos: u64) {
        self.bins[bin_of(nanos)] += 1;
        self.count += 1;
    }

    /// Adds all of another.
    pub fn merge(&mut self, other: &Self) {
        self.bins.iter_mut().zip(&other.bins).for_each(|(own, more)| *own += more);
        self.count += other.count;
    }

    /// Latencies counted.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The latency that this share of all do not exceed, in microseconds; 0 for none.
    pub fn quantile_us(&self, share: f64) -> f64 {
        let wanted = (self.count as f64 * share).ceil().max(1.0) as u64;
        let mut sum = 0;
        for (bin, count) in self.bins.iter().enumerate() {
            sum += count;
            if sum >= wanted {
                return middle_of(bin) / 1_000.0;
            }
        }
        0.0
    }
}

fn bin_of(nanos: u64) -> usize {
    let nanos = nanos.max(1);
    let octave = u64::from(nanos.ilog2());
    let within =
        if octave >= 6 { (nanos >> (octave - 6)) - PER_OCTAVE } else { (nanos << (6 - octave)) - PER_OCTAVE };
    ((octave * PER_OCTAVE + within) as usize).min(BINS - 1)
}

fn middle_of(bin: usize) -> f64 {
    let octave = (bin as u64 / PER_OCTAVE) as i32;
    let within = (bin as u64 % PER_OCTAVE) as f64 + 0.5;
    libm::exp2(f64::from(octave)) * (1.0 + within / PER_OCTAVE as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_two_per_cent() {
        let mut histogram = Histogram::default();
        (1..=100_000_u64).for_each(|n| histogram.add(n * 10));
        for (share, expected) in [(0.5, 500.0), (0.99, 990.0), (0.999, 999.0)] {
            let found = histogram.quantile_us(share);
            assert!((found / expected - 1.0).abs() < 0.02, "{share}: {found}");
        }
        assert_eq!(Histogram::default().quantile_us(0.5), 0.0);
    }
}
