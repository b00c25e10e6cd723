//! A tool new to this principal (detection.md 3.6), against how common it is among its peers.
//!
//! Abstains while neither the principal nor its peers are known. No surprise once the principal has used
//! the tool eight times.

use super::learn::{Lesson, tool_key, tool_slot};
use crate::domain::call::CallFeatures;
use crate::domain::decision::Evidence;
use crate::stats::categorical::CategoryModel;
use crate::stats::millibits::MilliBits;
use crate::stats::table::{SetTable, Weigh};
use serde::{Deserialize, Serialize};

/// Principals with a history of tools. At most about 1.2 KB each.
const PRINCIPALS_MAX: usize = 4_096;
/// Tools with a count of principals.
const TOOLS_MAX: usize = 4_096;
/// Uses after which a tool is no news.
const FAMILIAR_USES: u32 = 8;
/// Principals of a tenant before a newcomer is judged by its peers.
const PEERS_MIN: u32 = 3;

/// Tools of one principal.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Tools {
    used: CategoryModel,
    calls: u32,
}

impl Weigh for Tools {
    fn weight(&self) -> u64 {
        self.calls.into()
    }
}

/// Principals that use a tool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Peers(u32);

impl Weigh for Peers {
    fn weight(&self) -> u64 {
        self.0.into()
    }
}

/// Who uses what in a tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NoveltyModel {
    principals: SetTable<Tools>,
    tools: SetTable<Peers>,
}

impl Default for NoveltyModel {
    fn default() -> Self {
        Self { principals: SetTable::new(PRINCIPALS_MAX), tools: SetTable::new(TOOLS_MAX) }
    }
}

impl NoveltyModel {
    /// Tools known to the tenant.
    pub fn tools_known(&self) -> u32 {
        u32::try_from(self.tools.len()).unwrap_or(u32::MAX)
    }

    fn principals_known(&self) -> u32 {
        u32::try_from(self.principals.len()).unwrap_or(u32::MAX)
    }

    /// Surprise at this principal using this tool.
    pub fn score(&self, features: &CallFeatures) -> Option<MilliBits> {
        let tool = tool_slot(tool_key(features.tool));
        let principals = self.principals_known();
        let peers = self.tools.get(tool).map_or(0, |peers| peers.0);
        let by_peers = ((f64::from(peers) + 0.5) / (f64::from(principals) + 1.0)).min(1.0);
        match self.principals.get(features.principal) {
            Some(tools) => {
                let oddness = tools.used.oddness(tool, by_peers);
                let familiar = oddness.seen >= FAMILIAR_USES;
                Some(if familiar { MilliBits::ZERO } else { MilliBits::from_p(oddness.p) })
            }
            None => (principals >= PEERS_MIN).then(|| MilliBits::from_p(by_peers)),
        }
    }

    /// The figures behind a score.
    pub fn explain(&self, features: &CallFeatures) -> Evidence {
        let tool = tool_slot(tool_key(features.tool));
        let own = self.principals.get(features.principal);
        Evidence::Novelty {
            uses: own.map_or(0, |tools| tools.used.oddness(tool, 1.0).seen),
            calls: own.map_or(0, |tools| tools.calls),
            tools: own.map_or(0, |tools| tools.used.kinds() as u32),
            peers: self.tools.get(tool).map_or(0, |peers| peers.0),
            principals: self.principals_known(),
        }
    }

    /// Learns a session's tools. `week` of its calls.
    pub fn learn(&mut self, lesson: &Lesson, week: u16) {
        let Some(own) = self.principals.entry(lesson.principal, Tools::default) else { return };
        for call in lesson.calls.iter().filter(|call| !call.abandoned) {
            let tool = tool_slot(call.tool);
            let first = own.used.oddness(tool, 1.0).seen == 0;
            own.used.learn(tool, week);
            own.calls = own.calls.saturating_add(1);
            if let (true, Some(peers)) = (first, self.tools.entry(tool, Peers::default)) {
                peers.0 = peers.0.saturating_add(1);
            }
        }
    }
}
