//! The facts that conditions can name.

use super::ast::Fact;
use super::check::Type;
use crate::domain::decision::Detector;

/// Facts by the name before the dot and after it; an empty second name stands for the first alone.
pub(super) const FACTS: &[(&str, &str, Fact)] = &[
    ("tool", "name", Fact::ToolName),
    ("tool", "category", Fact::ToolCategory),
    ("tool", "capabilities", Fact::ToolCapabilities),
    ("tool", "registered", Fact::ToolRegistered),
    ("tool", "changed", Fact::ToolChanged),
    ("server", "", Fact::Server),
    ("principal", "name", Fact::PrincipalName),
    ("principal", "root", Fact::PrincipalRoot),
    ("principal", "chain", Fact::PrincipalChain),
    ("args", "", Fact::Args),
    ("session", "calls", Fact::SessionCalls),
    ("session", "reviews", Fact::SessionReviews),
    ("session", "denies", Fact::SessionDenies),
    ("session", "risk_max", Fact::SessionRiskMax),
    ("session", "capabilities", Fact::SessionCapabilities),
    ("session", "age", Fact::SessionAge),
    ("session", "nested", Fact::SessionNested),
    ("risk", "score", Fact::RiskScore),
    ("risk", "category", Fact::RiskCategory),
    ("signals", "evidence", Fact::Evidence),
    ("signals", "abstained", Fact::Abstained),
    ("signals", "floors", Fact::Floors),
    ("signals", "compositions", Fact::Compositions),
    ("now", "", Fact::Now),
];

/// What kind of value a fact is.
pub(super) fn fact_type(fact: Fact) -> Type {
    match fact {
        Fact::ToolName
        | Fact::ToolCategory
        | Fact::Server
        | Fact::PrincipalName
        | Fact::PrincipalRoot
        | Fact::RiskCategory => Type::Text,
        Fact::ToolCapabilities
        | Fact::PrincipalChain
        | Fact::SessionCapabilities
        | Fact::Abstained
        | Fact::Floors
        | Fact::Compositions => Type::List(Box::new(Type::Text)),
        Fact::ToolRegistered | Fact::ToolChanged | Fact::SessionNested => Type::Bool,
        Fact::Args => Type::Any,
        Fact::SessionCalls
        | Fact::SessionReviews
        | Fact::SessionDenies
        | Fact::SessionRiskMax
        | Fact::RiskScore => Type::Int,
        Fact::SessionAge => Type::Span,
        Fact::Signal(_) | Fact::Evidence => Type::Double,
        Fact::Now => Type::Time,
    }
}

/// Names that can follow the dot behind a fact.
pub(super) fn fields_of(name: &str) -> Vec<&'static str> {
    let mut fields: Vec<&str> =
        FACTS.iter().filter(|(first, _, _)| *first == name).map(|(_, second, _)| *second).collect();
    if name == "signals" {
        fields.extend(Detector::ALL.map(Detector::name));
    }
    fields
}
