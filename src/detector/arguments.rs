//! Unusual argument values, sizes and names, for this tool (detection.md 3.5).
//!
//! For each tool and argument path: how often each value was given (as a keyed hash), how large numbers
//! and texts were, how often the path was given at all. Values that are always new are not surprising:
//! the chance of something new is learnt too. Abstains until [`CALLS_MIN`] calls of the tool were learnt.

use super::learn::{Lesson, tool_key, tool_slot};
use crate::detector::features::kind;
use crate::domain::call::{ArgumentFeature, CallFeatures};
use crate::domain::decision::Evidence;
use crate::stats::categorical::CategoryModel;
use crate::stats::combine::truncated_cauchy;
use crate::stats::fingerprint::mix;
use crate::stats::millibits::MilliBits;
use crate::stats::numeric::NumberModel;
use crate::stats::table::{SetTable, Weigh};
use serde::{Deserialize, Serialize};

/// Pairs of tool and path. At most about 1.7 KB each, usually far less.
const PATHS_MAX: usize = 8_192;
/// Tools with a count of calls.
const TOOLS_MAX: usize = 4_096;
/// Calls of a tool before its arguments are judged.
const CALLS_MIN: u32 = 10;
/// Values of one call that are judged; two surprises each.
const JUDGED_MAX: usize = 16;

/// What is known of one argument.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Path {
    values: CategoryModel<u32>,
    sizes: Option<NumberModel>,
    given: u32,
}

impl Weigh for Path {
    fn weight(&self) -> u64 {
        self.given.into()
    }
}

/// Calls of a tool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Calls(u32);

impl Weigh for Calls {
    fn weight(&self) -> u64 {
        self.0.into()
    }
}

/// Arguments of a tenant's tools.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ArgumentsModel {
    paths: SetTable<Path>,
    tools: SetTable<Calls>,
}

impl Default for ArgumentsModel {
    fn default() -> Self {
        Self { paths: SetTable::new(PATHS_MAX), tools: SetTable::new(TOOLS_MAX) }
    }
}

fn path_key(tool: u32, path: u32) -> u64 {
    mix(tool.into(), path.into())
}

/// A number in the middle of a magnitude's bin: see `features::magnitude`.
fn middle_of(magnitude: u8) -> f64 {
    let bin = i32::from(magnitude) - 128;
    if bin == 0 {
        return 0.0;
    }
    let size = bin.unsigned_abs();
    // Half octaves: 2^(size/2), a quarter octave up, less the one that was added.
    let lower = f64::from_bits(u64::from(1023 + size / 2) << 52);
    let half = if size % 2 == 1 { std::f64::consts::SQRT_2 } else { 1.0 };
    let number = lower * half * 1.189_207_115_002_721 - 1.0;
    if bin < 0 { -number } else { number }
}

/// One judged aspect of one argument.
#[derive(Clone, Copy)]
struct Aspect {
    surprise: MilliBits,
    evidence: (u8, u32, u32),
}

impl ArgumentsModel {
    /// Surprise over all arguments of the call.
    pub fn score(&self, features: &CallFeatures) -> Option<MilliBits> {
        let tool = tool_key(features.tool);
        let calls = self.tools.get(tool_slot(tool)).map_or(0, |calls| calls.0);
        if calls < CALLS_MIN {
            return None;
        }
        let mut surprises = [MilliBits::ZERO; 2 * JUDGED_MAX];
        let mut count = 0;
        for argument in features.arguments.iter().take(JUDGED_MAX) {
            for aspect in self.aspects(tool, calls, argument).into_iter().flatten() {
                surprises[count] = aspect.surprise;
                count += 1;
            }
        }
        (count > 0).then(|| truncated_cauchy(&surprises[..count]))
    }

    /// The oddest aspect of the oddest argument.
    pub fn explain(&self, features: &CallFeatures) -> Evidence {
        let tool = tool_key(features.tool);
        let calls = self.tools.get(tool_slot(tool)).map_or(0, |calls| calls.0);
        let judged = features.arguments.iter().take(JUDGED_MAX).enumerate().flat_map(|(index, argument)| {
            self.aspects(tool, calls, argument).into_iter().flatten().map(move |aspect| (index, aspect))
        });
        match judged.max_by_key(|(index, aspect)| (aspect.surprise, std::cmp::Reverse(*index))) {
            Some((index, Aspect { evidence: (aspect, seen, total), .. })) => {
                Evidence::Argument { index: index as u8, aspect, seen, total }
            }
            None => Evidence::None,
        }
    }

    /// Whether this value of this argument was given before.
    pub fn knows(&self, features: &CallFeatures, argument: &ArgumentFeature) -> bool {
        let path = self.paths.get(path_key(tool_key(features.tool), argument.path));
        path.is_some_and(|path| path.values.oddness(argument.value, 1.0).seen > 0)
    }

    fn aspects(&self, tool: u32, calls: u32, argument: &ArgumentFeature) -> [Option<Aspect>; 2] {
        let Some(path) = self.paths.get(path_key(tool, argument.path)) else {
            let p = 0.5 / (f64::from(calls) + 1.0);
            return [Some(Aspect { surprise: MilliBits::from_p(p), evidence: (2, 0, calls) }), None];
        };
        let given = (f64::from(path.given) + 0.5) / (f64::from(calls.max(path.given)) + 1.0);
        let rare = given < RARELY_GIVEN;
        let oddness = path.values.oddness(argument.value, 1.0);
        let value = if rare && given < oddness.p {
            Aspect { surprise: MilliBits::from_p(given), evidence: (3, path.given, calls) }
        } else {
            Aspect { surprise: MilliBits::from_p(oddness.p), evidence: (0, oddness.seen, oddness.total) }
        };
        let size = path.sizes.as_ref().filter(|_| has_size(argument)).map(|sizes| Aspect {
            surprise: MilliBits::from_p(sizes.p(middle_of(argument.magnitude))),
            evidence: (1, 0, sizes.observations()),
        });
        [Some(value), size]
    }

    /// Learns a session's arguments. `week` of its calls.
    pub fn learn(&mut self, lesson: &Lesson, week: u16) {
        let mut arguments = lesson.arguments.iter();
        for call in &lesson.calls {
            let own = arguments.by_ref().take(call.arguments.into());
            if call.abandoned {
                own.for_each(drop);
                continue;
            }
            if let Some(calls) = self.tools.entry(tool_slot(call.tool), Calls::default) {
                calls.0 = calls.0.saturating_add(1);
            }
            let mut previous = None;
            for argument in own {
                let Some(path) = self.paths.entry(path_key(call.tool, argument.path), Path::default) else {
                    continue;
                };
                // The elements of one array are one giving of the path.
                if previous != Some(argument.path) {
                    path.given = path.given.saturating_add(1);
                }
                previous = Some(argument.path);
                path.values.learn(argument.value, week);
                if has_size(argument) {
                    path.sizes.get_or_insert_default().learn(middle_of(argument.magnitude), week);
                }
            }
        }
    }
}

/// Share of calls below which a path counts as rarely given.
const RARELY_GIVEN: f64 = 0.05;

fn has_size(argument: &ArgumentFeature) -> bool {
    matches!(argument.kind, kind::NUMBER | kind::TEXT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::features::magnitude;

    #[test]
    fn the_middle_of_a_bin_lies_in_the_bin() {
        for number in [-1e9, -3.0, 0.0, 1.0, 5.0, 100.0, 1e6, 1e18] {
            let bin = magnitude(number);
            assert_eq!(magnitude(middle_of(bin)), bin, "{number}");
        }
    }
}
