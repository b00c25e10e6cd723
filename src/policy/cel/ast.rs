//! A condition as it was read ([`Tree`]) and as it runs ([`Code`]).

use super::functions::Function;
use regex::Regex;

/// An expression as read.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    /// Byte offset in the text.
    pub(super) at: usize,
    pub(super) form: Form,
}

/// What an expression is.
#[derive(Clone, Debug)]
pub(super) enum Form {
    Literal(Literal),
    Name(String),
    Select(Box<Tree>, String),
    Index(Box<Tree>, Box<Tree>),
    /// `f(args)` or `target.f(args)`.
    Call(Option<Box<Tree>>, String, Vec<Tree>),
    List(Vec<Tree>),
    Not(Box<Tree>),
    Minus(Box<Tree>),
    Binary(Operator, Box<Tree>, Box<Tree>),
    Choice(Box<Tree>, Box<Tree>, Box<Tree>),
}

/// A literal.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(String),
}

/// An operator between two expressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Or,
    And,
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Operator {
    /// As it is written.
    pub(super) const fn sign(self) -> &'static str {
        match self {
            Self::Or => "||",
            Self::And => "&&",
            Self::Equal => "==",
            Self::Unequal => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::In => "in",
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
        }
    }
}

/// A fact that a condition can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fact {
    ToolName,
    ToolCategory,
    ToolCapabilities,
    ToolRegistered,
    ToolChanged,
    Server,
    PrincipalName,
    PrincipalRoot,
    PrincipalChain,
    Args,
    SessionCalls,
    SessionReviews,
    SessionDenies,
    SessionRiskMax,
    SessionCapabilities,
    SessionAge,
    SessionNested,
    RiskScore,
    RiskCategory,
    /// Surprise of the detector of this index, bits.
    Signal(u8),
    Evidence,
    Abstained,
    Floors,
    Compositions,
    Now,
}

/// A macro over the items of a list or the keys of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Macro {
    All,
    Exists,
    ExistsOne,
    Filter,
    Map,
}

/// A checked expression, ready to run.
#[derive(Clone, Debug)]
pub(super) enum Code {
    Literal(Literal),
    /// Microseconds since 1970.
    Time(i64),
    /// Microseconds.
    Span(i64),
    Fact(Fact),
    /// The variable of a macro, by its depth from the outside.
    Local(usize),
    Select(Box<Code>, String),
    Has(Box<Code>, String),
    Index(Box<Code>, Box<Code>),
    Call(Function, Vec<Code>),
    Matches(Box<Code>, Box<Regex>),
    List(Vec<Code>),
    Not(Box<Code>),
    Minus(Box<Code>),
    Binary(Operator, Box<Code>, Box<Code>),
    Choice(Box<Code>, Box<Code>, Box<Code>),
    Macro(Macro, Box<Code>, Box<Code>),
}
