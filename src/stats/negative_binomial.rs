//! The upper tail of the negative binomial distribution, for counts.
//!
//! Ported onto `libm` so that it is the same on every machine; statrs is the oracle of the tests.

/// Counts up to here get their probability as a product; above, through log-gamma.
const PRODUCT_MAX: u32 = 64;
/// Relative error at which the continued fraction stops.
const TOLERANCE: f64 = 1e-11;
/// Where its terms are scaled down: far from overflow for any u32 count.
const LARGE: f64 = 1e100;
/// Steps after which it stops in any case; about sqrt(n) are needed.
const STEPS_MAX: u32 = 1000;

/// `1/(k+1)`.
static INVERSES: [f64; PRODUCT_MAX as usize] = inverses();

const fn inverses() -> [f64; PRODUCT_MAX as usize] {
    let mut table = [0.0; PRODUCT_MAX as usize];
    let mut k = 0;
    while k < table.len() {
        table[k] = 1.0 / (k + 1) as f64;
        k += 1;
    }
    table
}

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

/// `P(X = n)`: `gamma(n + r) / (n! gamma(r)) x^n y^r`.
fn probability_of(n: u32, x: f64, y: f64, size: f64) -> f64 {
    if n <= PRODUCT_MAX {
        let mut product = 1.0;
        for (k, inverse) in INVERSES.iter().enumerate().take(n as usize) {
            product *= (k as f64 + size) * (x * inverse);
        }
        return product * libm::exp(size * libm::log(y));
    }
    let a = f64::from(n);
    let ln_choose = libm::lgamma(a + size) - libm::lgamma(size) - libm::lgamma(a + 1.0);
    libm::exp(ln_choose + a * libm::log(x) + size * libm::log(y))
}

/// The continued fraction of the incomplete beta (DLMF 8.17.22): `I_x(a, b) = x^a (1-x)^b / (a B(a, b))`
/// times this.
///
/// By the forward recurrence of its numerators and denominators, whose terms `n/d` are multiplied
/// out, so that a round of two terms costs one division.
fn fraction(a: f64, b: f64, x: f64) -> f64 {
    // The last two numerators and denominators, and the d of the last term.
    let (mut n0, mut n1, mut d0, mut d1) = (1.0, a + 1.0, 1.0, a + 1.0 - (a + b) * x);
    let mut last_d = a + 1.0;
    let mut value = n1 / d1;
    for step in 1..=STEPS_MAX {
        let m = f64::from(step);
        let at = a + 2.0 * m;
        let (even, even_d) = (m * (b - m) * x * last_d, (at - 1.0) * at);
        (n0, n1) = (n1, even_d * n1 + even * n0);
        (d0, d1) = (d1, even_d * d1 + even * d0);
        let (odd, odd_d) = (-(a + m) * (a + b + m) * x * even_d, at * (at + 1.0));
        (n0, n1) = (n1, odd_d * n1 + odd * n0);
        (d0, d1) = (d1, odd_d * d1 + odd * d0);
        last_d = odd_d;
        let next = n1 / d1;
        if (next - value).abs() <= TOLERANCE * next.abs() {
            return next;
        }
        value = next;
        if d1.abs() > LARGE {
            (n0, n1, d0, d1) = (n0 / LARGE, n1 / LARGE, d0 / LARGE, d1 / LARGE);
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
