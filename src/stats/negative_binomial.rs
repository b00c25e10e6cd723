//! The upper tail of the negative binomial distribution, for counts.
//!
//! Ported onto `libm` so that it is the same on every machine; statrs is the oracle of the tests.

use std::sync::LazyLock;

/// Counts up to here get their probability as a product; above, through log-gamma.
const PRODUCT_MAX: u32 = 64;
/// Relative error at which the continued fraction stops.
const TOLERANCE: f64 = 1e-11;
/// Steps after which it stops in any case; about sqrt(n) are needed.
const STEPS_MAX: u32 = 1000;

/// `1/(k+1)`.
static INVERSES: LazyLock<[f64; PRODUCT_MAX as usize]> =
    LazyLock::new(|| std::array::from_fn(|k| 1.0 / (k + 1) as f64));

/// `P(X >= n)` for X negative binomial with this mean and size r (variance `mean + mean^2 / r`).
///
/// Equals the regularised incomplete beta `I_{m/(m+r)}(n, r)` (detection.md 3.2). `mean` and `size`
/// are finite and positive; the result is in [0, 1], with a relative error of about 1e-10 for
/// n <= 10^4. Best for n above the mean; below it the complement is summed.
pub fn upper_tail(n: u32, mean: f64, size: f64) -> f64 {
    if n == 0 {
        return 1.0;
    }
    let total = mean + size;
    let (x, y) = (mean / total, size / total);
    let a = f64::from(n);
    let front = probability_of(n, x, y, size);
    let tail = if x <= (a + 1.0) / (a + size + 2.0) || a > mean {
        front * fraction(a, size, x)
    } else {
        // I_x(a, b) = 1 - I_y(b, a); the two fronts differ by the factor a/b.
        1.0 - front * (a / size) * fraction(size, a, y)
    };
    if tail.is_nan() { 1.0 } else { tail.clamp(0.0, 1.0) }
}

/// `P(X = n)` times one: `gamma(n + r) / (n! gamma(r)) x^n y^r`.
fn probability_of(n: u32, x: f64, y: f64, size: f64) -> f64 {
    if n <= PRODUCT_MAX {
        let inverses = &*INVERSES;
        let mut product = 1.0;
        for (k, inverse) in inverses.iter().enumerate().take(n as usize) {
            product *= (k as f64 + size) * (x * inverse);
        }
        return product * libm::exp(size * libm::log(y));
    }
    let a = f64::from(n);
    let ln_choose = libm::lgamma(a + size) - libm::lgamma(size) - libm::lgamma(a + 1.0);
    libm::exp(ln_choose + a * libm::log(x) + size * libm::log(y))
}

/// The continued fraction of the incomplete beta (DLMF 8.17.22), by Lentz's method: `I_x(a, b) = x^a (1-x)^b /
/// (a B(a, b))` times this.
fn fraction(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let away_from_zero = |v: f64| if v.abs() < TINY { TINY } else { v };
    let mut c = 1.0;
    let mut d = 1.0 / away_from_zero(1.0 - (a + b) * x / (a + 1.0));
    let mut value = d;
    for step in 1..=STEPS_MAX {
        let m = f64::from(step);
        let at = a + 2.0 * m;
        let even = m * (b - m) * x / ((at - 1.0) * at);
        d = 1.0 / away_from_zero(1.0 + even * d);
        c = away_from_zero(1.0 + even / c);
        value *= c * d;
        let odd = -(a + m) * (a + b + m) * x / (at * (at + 1.0));
        d = 1.0 / away_from_zero(1.0 + odd * d);
        c = away_from_zero(1.0 + odd / c);
        value *= c * d;
        if (c * d - 1.0).abs() < TOLERANCE {
            break;
        }
    }
    value
}

/// The smallest n with `P(X > n) <= tail`: 0.01 asks for the 99th percentile. At most 2^20.
pub fn quantile(mean: f64, size: f64, tail: f64) -> u32 {
    let (mut low, mut high) = (0u32, 1u32 << 20);
    while low < high {
        let middle = low + (high - low) / 2;
        if upper_tail(middle + 1, mean, size) <= tail { high = middle } else { low = middle + 1 }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::testing::SplitMix64;
    use proptest::prelude::*;
    use statrs::distribution::{DiscreteCDF, NegativeBinomial};

    fn check(n: u32, mean: f64, size: f64) {
        let oracle = NegativeBinomial::new(size, size / (mean + size)).unwrap();
        let expected = oracle.sf(u64::from(n) - 1);
        let ours = upper_tail(n, mean, size);
        assert!(
            (ours - expected).abs() <= 1e-9 * expected + 1e-14 + 1e-12 * f64::from(ours > 0.5),
            "n {n} mean {mean} size {size}: {ours:e} expected {expected:e}"
        );
    }

    #[test]
    fn matches_statrs() {
        let mut random = SplitMix64(3);
        for _ in 0..3000 {
            let mean = libm::exp(random.uniform() * 11.0 - 4.0);
            let size = libm::exp(random.uniform() * 7.0 - 3.0);
            let n = 1 + (mean * random.uniform() * 6.0) as u32;
            check(n, mean, size);
        }
        check(1, 1e-6, 1e-6);
        check(65, 20.0, 1.0);
        check(64, 20.0, 1.0);
    }

    #[test]
    fn quantiles() {
        // Size 1 is geometric: P(X > n) = (m / (m + 1))^(n + 1).
        assert_eq!(quantile(1.0, 1.0, 0.01), 6);
        assert_eq!(quantile(1e-9, 1.0, 0.01), 0);
        assert_eq!(quantile(f64::MAX, 1.0, 0.01), 1 << 20);
    }

    proptest! {
        #[test]
        fn always_a_probability(n in 0u32.., mean in 1e-12f64..1e12, size in 1e-9f64..1e9) {
            let p = upper_tail(n, mean, size);
            prop_assert!((0.0..=1.0).contains(&p));
        }
    }
}
