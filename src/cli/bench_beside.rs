//! What `askance bench --reviews` and `--exporting` share: two daemons, one plain, and a load that takes turns.

use super::bench::{Measured, Scratch, start_with};
use super::client::refused;
use super::output::{Output, table};
use crate::bench::beside::{self, Block, Compared, Plan};
use crate::bench::load::Calls;
use anyhow::Result;
use std::time::Duration;
use tonic::transport::Channel;

/// Quantiles that are compared.
const QUANTILES: [f64; 3] = [0.5, 0.99, 0.999];
/// Time of a turn.
const TURN: Duration = Duration::from_millis(500);

/// How it is measured.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Args {
    /// Calls a second.
    #[arg(long, default_value_t = 1_000.0, requires = "beside", value_name = "COUNT")]
    rate: f64,
    /// Blocks of four turns of half a second: plain, beside, beside, plain.
    #[arg(long, default_value_t = 20, requires = "beside", value_name = "COUNT", value_parser = clap::value_parser!(u64).range(2..))]
    blocks: u64,
}

impl Args {
    /// The plan with so many reviews a second.
    pub(super) const fn plan(&self, reviews_per_second: f64, seed: u64) -> Plan {
        Plan { blocks: self.blocks, turn: TURN, per_second: self.rate, reviews_per_second, seed }
    }
}

/// Both daemons; ended when dropped.
pub(super) struct Daemons {
    /// Address of the plain one.
    pub(super) plain: String,
    /// Address of the other.
    pub(super) beside: String,
    _running: [Measured; 2],
}

impl Daemons {
    /// Starts them, each with these arguments. Which starts first changes with the seed.
    pub(super) fn start(scratch: &Scratch, seed: u64, plain: &[&str], beside: &[&str]) -> Result<Self> {
        let start = |name: &str, more: &[&str]| start_with(&scratch.0.join(name), more);
        let ((one, plain), (other, beside)) = if seed.is_multiple_of(2) {
            let first = start("plain", plain)?;
            (first, start("beside", beside)?)
        } else {
            let first = start("beside", beside)?;
            (start("plain", plain)?, first)
        };
        Ok(Self { plain, beside, _running: [one, other] })
    }
}

/// Measures by the plan.
pub(super) async fn blocks(
    plain: &Channel,
    beside: &Channel,
    calls: &Calls,
    plan: &Plan,
    output: &Output,
) -> Result<Vec<Block>> {
    let mut blocks: Vec<Block> = Vec::new();
    for number in 0..plan.blocks {
        let block = beside::block(plain, beside, calls, plan, number).await;
        blocks.push(block.map_err(|status| refused(&status))?);
        output.progress(number);
    }
    Ok(blocks)
}

/// What was found at each quantile.
pub(super) fn compared(blocks: &[Block], seed: u64) -> Vec<Compared> {
    QUANTILES.map(|quantile| beside::compare(blocks, quantile, seed)).to_vec()
}

/// The same as a table.
pub(super) fn rows(compared: &[Compared]) -> String {
    let header = ["quantile", "plain us", "beside us", "ratio", "95 % interval", "median of blocks"];
    let rows = compared.iter().map(|one| {
        [
            format!("{}", one.quantile),
            format!("{:.0}", one.plain_us),
            format!("{:.0}", one.beside_us),
            format!("{:.3}", one.ratio),
            format!("{:.3} to {:.3}", one.interval.0, one.interval.1),
            format!("{:.3}", one.median_of_blocks),
        ]
    });
    table(header, rows)
}
