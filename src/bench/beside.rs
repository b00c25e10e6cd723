//! Whether something slows `Evaluate` down: two daemons under one slow, steady load that takes turns between them, one
//! plain, one with it.
//!
//! Turns are short and go plain, beside, beside, plain, so that a drift of the machine hits both alike. Figures of a
//! condition are pooled over its turns; their ratio has an interval by bootstrap over blocks of four turns.

use super::histogram::Histogram;
use super::load::{Calls, What};
use super::open_loop;
use super::random::Random;
use super::watchers::reviews;
use serde::Serialize;
use std::time::Duration;
use tonic::Status;
use tonic::transport::Channel;

/// Draws of the bootstrap.
const DRAWS: usize = 2_000;

/// What is measured.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Plan {
    /// Blocks of four turns.
    pub blocks: u64,
    /// Time of a turn.
    pub turn: Duration,
    /// Calls a second, at random moments.
    pub per_second: f64,
    /// Reviews opened a second meanwhile, at both daemons.
    pub reviews_per_second: f64,
    /// Seed of the bootstrap.
    pub seed: u64,
}

/// What was found for one quantile.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Compared {
    /// The share that does not exceed it.
    pub quantile: f64,
    /// At the plain daemon, microseconds.
    pub plain_us: f64,
    /// At the other one, microseconds.
    pub beside_us: f64,
    /// The second over the first.
    pub ratio: f64,
    /// 95 % interval of the ratio.
    pub interval: (f64, f64),
    /// Median over the blocks of the ratio in each.
    pub median_of_blocks: f64,
}

/// The latencies of one block.
#[derive(Clone, Debug, Default)]
pub struct Block {
    plain: Histogram,
    beside: Histogram,
}

/// One block: plain, beside, beside, plain.
pub async fn block(
    plain: &Channel,
    beside: &Channel,
    calls: &Calls,
    plan: &Plan,
    number: u64,
) -> Result<Block, Status> {
    let mut found = Block::default();
    for (turn, is_plain) in [true, false, false, true].into_iter().enumerate() {
        let (channel, into) = if is_plain { (plain, &mut found.plain) } else { (beside, &mut found.beside) };
        let reviewing = tokio::spawn(reviews(
            channel.clone(),
            plan.turn,
            plan.reviews_per_second,
            format!("b{number}-{turn}"),
        ));
        let seed = plan.seed.wrapping_mul(1_000_003).wrapping_add(number * 4 + turn as u64);
        let measured =
            open_loop::unary_from(channel, What::Evaluate, calls, plan.per_second, plan.turn, seed).await;
        if measured.errors > 0 {
            return Err(Status::internal(format!("{} calls were answered with an error", measured.errors)));
        }
        into.merge(&measured.latencies);
        reviewing.await.map_err(|_| Status::internal("the reviews were lost"))??;
    }
    Ok(found)
}

/// Compares both conditions at a quantile.
pub fn compare(blocks: &[Block], quantile: f64, seed: u64) -> Compared {
    let pooled = |chosen: &mut dyn Iterator<Item = &Block>| {
        let mut sum = Block::default();
        for block in chosen {
            sum.plain.merge(&block.plain);
            sum.beside.merge(&block.beside);
        }
        (sum.plain.quantile_us(quantile), sum.beside.quantile_us(quantile))
    };
    let ratio = |(plain, beside): (f64, f64)| beside / plain.max(f64::MIN_POSITIVE);
    let (plain_us, beside_us) = pooled(&mut blocks.iter());
    let mut random = Random::new(seed);
    let mut draws: Vec<f64> =
        (0..DRAWS).map(|_| ratio(pooled(&mut (0..blocks.len()).map(|_| random.pick(blocks))))).collect();
    let mut each: Vec<f64> = blocks.iter().map(|block| ratio(pooled(&mut std::iter::once(block)))).collect();
    let at = |sorted: &[f64], share: f64| {
        let place = (sorted.len().saturating_sub(1) as f64 * share).round();
        sorted.get(place as usize).copied().unwrap_or(f64::NAN)
    };
    draws.sort_by(f64::total_cmp);
    each.sort_by(f64::total_cmp);
    Compared {
        quantile,
        plain_us,
        beside_us,
        ratio: ratio((plain_us, beside_us)),
        interval: (at(&draws, 0.025), at(&draws, 0.975)),
        median_of_blocks: at(&each, 0.5),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks whose second condition is slower by `factor`, with a tail as latencies have it.
    fn blocks(factor: f64) -> Vec<Block> {
        let mut random = Random::new(7);
        let mut draw = |factor: f64| {
            let mut found = Histogram::default();
            (0..2_000).for_each(|_| found.add((factor * (200_000.0 + random.waiting(100_000.0))) as u64));
            found
        };
        (0..30).map(|_| Block { plain: draw(1.0), beside: draw(factor) }).collect()
    }

    #[test]
    fn what_is_slower_is_told_from_what_is_not() {
        let alike = compare(&blocks(1.0), 0.99, 1);
        assert!(alike.interval.0 <= 1.0 && alike.interval.1 >= 1.0, "{alike:?}");
        assert!(alike.interval.1 < 1.1, "{alike:?}");
        let slower = compare(&blocks(1.2), 0.99, 1);
        assert!(slower.interval.0 > 1.1 && slower.interval.1 < 1.3, "{slower:?}");
        assert!((slower.median_of_blocks - 1.2).abs() < 0.1, "{slower:?}");
    }
}
