//! Traffic of our own: a small company whose agents work in sessions, by role, at their own hours.
//!
//! Deterministic by seed. Each agent has a role; a role has tools that follow one another as in real
//! work (look, look closer, change, look again), arguments with favourites, a pace, and office hours in
//! its own time zone. Nothing odd happens in it: it is the background against which oddness is judged.

use super::random::Random;
use serde::Serialize;
use serde_json::{Value, json};

/// A tool of a role: name, server, what its arguments look like.
struct Tool {
    name: &'static str,
    server: &'static str,
    arguments: Arguments,
}

#[derive(Clone, Copy)]
enum Arguments {
    Service,
    Scale,
    Logs,
    Path,
    Query,
    Mail,
    Ticket,
    Deploy,
    Table,
}

const fn tool(name: &'static str, server: &'static str, arguments: Arguments) -> Tool {
    Tool { name, server, arguments }
}

/// A role: its tools, and for each tool the indices of those that usually follow.
struct Role {
    name: &'static str,
    tools: &'static [Tool],
    follows: &'static [&'static [usize]],
    calls_mean: f64,
    gap_mean_s: f64,
}

const ROLES: &[Role] = &[
    Role {
        name: "operator",
        tools: &[
            tool("get_service_status", "k8s", Arguments::Service),
            tool("get_logs", "k8s", Arguments::Logs),
            tool("fetch_metrics", "metrics", Arguments::Service),
            tool("scale_replicas", "k8s", Arguments::Scale),
            tool("update_config", "k8s", Arguments::Service),
            tool("deploy_service", "k8s", Arguments::Deploy),
        ],
        follows: &[&[1, 2, 1], &[2, 1, 3], &[3, 0, 1], &[0, 2], &[0, 1], &[0, 1, 2]],
        calls_mean: 18.0,
        gap_mean_s: 9.0,
    },
    Role {
        name: "coder",
        tools: &[
            tool("read_file", "workspace", Arguments::Path),
            tool("search_code", "workspace", Arguments::Query),
            tool("edit_file", "workspace", Arguments::Path),
            tool("list_files", "workspace", Arguments::Path),
            tool("create_branch", "git", Arguments::Ticket),
            tool("add_comment", "git", Arguments::Ticket),
        ],
        follows: &[&[0, 0, 2, 1], &[0, 0, 1], &[0, 2, 2, 5], &[0, 3], &[0, 1], &[1, 4]],
        calls_mean: 34.0,
        gap_mean_s: 6.0,
    },
    Role {
        name: "support",
        tools: &[
            tool("read_inbox", "mail", Arguments::Query),
            tool("get_customer", "crm", Arguments::Ticket),
            tool("search_docs", "wiki", Arguments::Query),
            tool("draft_email", "mail", Arguments::Mail),
            tool("send_email", "mail", Arguments::Mail),
            tool("update_ticket", "crm", Arguments::Ticket),
        ],
        follows: &[&[1, 1, 2], &[2, 3], &[3, 2, 1], &[4, 2], &[5, 0], &[0, 0]],
        calls_mean: 12.0,
        gap_mean_s: 14.0,
    },
    Role {
        name: "analyst",
        tools: &[
            tool("list_tables", "warehouse", Arguments::Table),
            tool("describe_table", "warehouse", Arguments::Table),
            tool("query_table", "warehouse", Arguments::Query),
            tool("save_report", "warehouse", Arguments::Path),
        ],
        follows: &[&[1, 1], &[2, 2, 1], &[2, 2, 3, 1], &[0, 2]],
        calls_mean: 22.0,
        gap_mean_s: 11.0,
    },
];

const SERVICES: &[&str] = &["api", "web", "worker", "billing", "search", "auth", "mailer", "cron"];
const WORDS: &[&str] =
    &["error", "timeout", "invoice", "login", "latency", "refund", "retry", "schema", "cache", "quota"];
const PEOPLE: &[&str] = &["ann", "bo", "cy", "dee", "eli", "fay", "gus", "hal"];

/// One agent.
#[derive(Clone, Debug)]
struct Agent {
    name: String,
    user: String,
    role: usize,
    starts_hour: f64,
    hours: f64,
    offset_minutes: i32,
    favourite: usize,
}

/// A call with its outcome: a line of the format in which history is handed in.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// Becomes the tenant.
    pub dataset: String,
    /// Session id.
    pub session: String,
    /// Acting principal.
    pub principal: String,
    /// Becomes the server.
    pub suite: String,
    /// Place in the session.
    pub index: u32,
    /// Time of the call, RFC 3339 UTC.
    pub ts: String,
    /// Tool.
    pub tool: String,
    /// Arguments.
    pub args: Value,
    /// Size of the result.
    pub result_bytes: u64,
    /// `ok` or `error`.
    pub outcome: String,
    /// How long it took.
    pub latency_ms: u64,
    /// The same time in microseconds, for those who need no text.
    #[serde(skip)]
    pub at_us: i64,
    /// On whose behalf.
    #[serde(skip)]
    pub user: String,
    /// The agent's offset from UTC, minutes.
    #[serde(skip)]
    pub offset_minutes: i32,
}

/// The company, and the days it works.
#[derive(Clone, Debug)]
pub struct World {
    agents: Vec<Agent>,
    random: Random,
    /// First midnight, microseconds since 1970.
    start_us: i64,
    dataset: String,
}

/// How a session differs from an ordinary one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// Local hour at which it begins at the earliest, and hours in which it begins; none: the agent's own.
    pub(super) hour: Option<(f64, f64)>,
    /// Factor of the pauses between calls.
    pub(super) gaps: f64,
    /// Factor of the number of calls.
    pub(super) length: f64,
    /// Share of calls of another role's tools.
    pub(super) foreign: f64,
    /// Share of calls with texts that were never there.
    pub(super) strange: f64,
}

impl Manner {
    /// Not at all.
    pub(super) const PLAIN: Self = Self { hour: None, gaps: 1.0, length: 1.0, foreign: 0.0, strange: 0.0 };
}

const HOUR_US: f64 = 3_600e6;
const DAY_US: i64 = 86_400_000_000;

impl World {
    /// A company of so many agents, working from this midnight on (microseconds since 1970, UTC).
    pub fn new(seed: u64, agents: usize, start_us: i64) -> Self {
        let mut random = Random::new(seed);
        let agents = (0..agents.max(1))
            .map(|number| {
                let role = number % ROLES.len();
                Agent {
                    name: format!("agent:{}-{number}", ROLES[role].name),
                    user: format!("user:{}-{}", random.pick(PEOPLE), number / 4),
                    role,
                    starts_hour: 8.0 + random.unit() * 2.0,
                    hours: 7.0 + random.unit() * 2.0,
                    offset_minutes: [-480, -300, 0, 60, 60, 330][number % 6],
                    favourite: random.below(SERVICES.len() as u64) as usize,
                }
            })
            .collect();
        Self { agents, random, start_us, dataset: "generated".to_owned() }
    }

    /// All calls of one day (0 = the first), in order of time.
    pub fn day(&mut self, day: i64) -> Vec<Line> {
        let mut lines = Vec::new();
        let agents = self.agents.clone();
        for agent in &agents {
            let weekend = (self.start_us / DAY_US + day + 3).rem_euclid(7) >= 5;
            let sessions =
                if weekend { u64::from(self.random.chance(0.1)) } else { 2 + self.random.below(5) };
            for session in 0..sessions {
                self.session(agent, day, session, &mut lines);
            }
        }
        lines.sort_by(|one, other| {
            (one.at_us, &one.session, one.index).cmp(&(other.at_us, &other.session, other.index))
        });
        lines
    }

    fn session(&mut self, agent: &Agent, day: i64, number: u64, lines: &mut Vec<Line>) {
        let session = format!("{}/{day}-{number}", agent.name);
        lines.extend(self.walk(agent, day, &session, Manner::PLAIN));
    }

    /// A session of any agent's on any working day of `from..to`, in this manner.
    pub(super) fn lone_session(&mut self, from: i64, to: i64, session: &str, manner: Manner) -> Vec<Line> {
        // Each session has a source of its own, so that no other changes it.
        let seed = session
            .bytes()
            .fold(self.random.clone().next(), |seed, byte| Random::new(seed ^ u64::from(byte)).next());
        let ours = std::mem::replace(&mut self.random, Random::new(seed));
        let agents = self.agents.clone();
        let agent = self.random.pick(&agents).clone();
        let mut day = from + self.random.below((to - from).max(1) as u64) as i64;
        while (self.start_us / DAY_US + day + 3).rem_euclid(7) >= 5 {
            day -= 1;
        }
        let lines = self.walk(&agent, day, session, manner);
        self.random = ours;
        lines
    }

    /// A number below `bound`.
    pub(super) const fn number(&mut self, bound: u64) -> u64 {
        self.random.below(bound)
    }

    fn walk(&mut self, agent: &Agent, day: i64, session: &str, manner: Manner) -> Vec<Line> {
        let role = &ROLES[agent.role];
        let (earliest, hours) = manner.hour.unwrap_or((agent.starts_hour, agent.hours));
        let hour = earliest + self.random.unit() * hours;
        let local = self.start_us + day * DAY_US + (hour * HOUR_US) as i64;
        let mut at = local - i64::from(agent.offset_minutes) * 60_000_000;
        let calls = 1 + (self.random.waiting(role.calls_mean).min(200.0) * manner.length) as u32;
        let mut tool = 0;
        let mut lines = Vec::new();
        for index in 0..calls {
            let foreign = manner.foreign > 0.0 && self.random.chance(manner.foreign);
            let mut line = if foreign {
                let other = &ROLES[(agent.role + 1 + self.random.below(3) as usize) % ROLES.len()];
                let tool = self.random.below(other.tools.len() as u64) as usize;
                self.call(agent, other, tool, at, session.to_owned(), index)
            } else {
                self.call(agent, role, tool, at, session.to_owned(), index)
            };
            if manner.strange > 0.0 && self.random.chance(manner.strange) {
                strange(&mut line.args, self.random.below(1_000));
            }
            lines.push(line);
            tool = if self.random.chance(0.9) {
                *self.random.pick(role.follows[tool])
            } else {
                self.random.below(role.tools.len() as u64) as usize
            };
            at += (self.random.waiting(role.gap_mean_s) * manner.gaps * 1e6) as i64 + 50_000;
        }
        lines
    }

    fn call(
        &mut self,
        agent: &Agent,
        role: &Role,
        tool: usize,
        at_us: i64,
        session: String,
        index: u32,
    ) -> Line {
        let tool = &role.tools[tool];
        let args = self.arguments(tool.arguments, agent);
        let failed = self.random.chance(0.04);
        Line {
            dataset: self.dataset.clone(),
            session,
            principal: agent.name.clone(),
            suite: tool.server.to_owned(),
            index,
            ts: crate::domain::Timestamp::from_micros(at_us).to_string(),
            tool: tool.name.to_owned(),
            args,
            result_bytes: 80 + self.random.waiting(1_500.0) as u64,
            outcome: if failed { "error" } else { "ok" }.to_owned(),
            latency_ms: 5 + self.random.waiting(120.0) as u64,
            at_us,
            user: agent.user.clone(),
            offset_minutes: agent.offset_minutes,
        }
    }

    fn arguments(&mut self, shape: Arguments, agent: &Agent) -> Value {
        let random = &mut self.random;
        let service = if random.chance(0.6) { SERVICES[agent.favourite] } else { random.pick(SERVICES) };
        match shape {
            Arguments::Service => json!({"service": service, "env": "staging"}),
            Arguments::Scale => json!({"service": service, "count": 2 + random.below(5), "env": "staging"}),
            Arguments::Logs => {
                json!({"service": service, "lines": 100 * (1 + random.below(5)), "filter": random.pick(WORDS)})
            }
            Arguments::Path => {
                json!({"path": format!("src/{}/{}_{}.rs", service, random.pick(WORDS), random.below(40))})
            }
            Arguments::Query => json!({
                "query": format!("{} {} {}", random.pick(WORDS), random.pick(WORDS), random.pick(SERVICES)),
                "limit": 10 * (1 + random.below(3)),
            }),
            Arguments::Mail => json!({
                "to": [format!("{}@customer-{}.example", random.pick(PEOPLE), random.below(30))],
                "subject": format!("Your {} request", random.pick(WORDS)),
                "body": format!("Hello, about the {} on {}: it is solved.", random.pick(WORDS), service),
            }),
            Arguments::Ticket => {
                json!({"id": format!("T-{}", 1_000 + random.below(4_000)), "note": random.pick(WORDS)})
            }
            Arguments::Deploy => {
                json!({"service": service, "version": format!("1.{}.{}", random.below(9), random.below(30)), "env": "staging"})
            }
            Arguments::Table => json!({"table": format!("{}_{}", service, random.pick(WORDS))}),
        }
    }
}

/// Puts a text that was never there in the place of the first.
fn strange(args: &mut Value, number: u64) {
    let text = args.as_object_mut().and_then(|fields| fields.values_mut().find(|value| value.is_string()));
    if let Some(text) = text {
        *text = format!("omega-{number}").into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_days() {
        let make = || {
            let mut world = World::new(7, 12, 1_760_313_600_000_000);
            (0..7)
                .flat_map(|day| world.day(day))
                .map(|line| serde_json::to_string(&line).unwrap())
                .collect::<Vec<_>>()
        };
        let lines = make();
        assert!(lines.len() > 1_000, "{}", lines.len());
        assert_eq!(lines, make());
    }

    #[test]
    fn days_are_in_order_of_time_and_sessions_count_up() {
        let mut world = World::new(1, 8, 1_760_313_600_000_000);
        let day = world.day(0);
        assert!(day.windows(2).all(|pair| pair[0].at_us <= pair[1].at_us));
        let mut next = std::collections::BTreeMap::new();
        for line in &day {
            let expected = next.entry(line.session.clone()).or_insert(0);
            assert_eq!(line.index, *expected);
            *expected += 1;
        }
    }
}
