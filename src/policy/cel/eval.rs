//! Runs a checked condition within a budget of steps.
//!
//! `&&` and `||` take a failed side as unknown, as CEL does: `false && failed` is false, `true || failed`
//! is true.

use super::STEPS_MAX;
use super::ast::{Code, Fact, Literal, Macro, Operator};
use super::facts::Facts;
use super::functions;
use super::value::{Value, order};
use crate::domain::decision::{Detector, Floor};
use std::borrow::Cow;
use std::cmp::Ordering;

/// Why a condition has no answer for a call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// An argument or item that it asks for is not there.
    #[error("the call has no `{0}`")]
    Missing(String),
    /// A value is of a kind that does not fit.
    #[error("{0}")]
    Kind(String),
    /// A number is too large, or divided by zero.
    #[error("{0}")]
    Range(String),
    /// It took more steps than it may.
    #[error("it took more than {STEPS_MAX} steps")]
    Steps,
}

/// Whether the condition holds.
pub(super) fn run(code: &Code, facts: &Facts<'_>) -> Result<bool, Failure> {
    let mut run = Run { facts, steps: 0, locals: Vec::new() };
    let value = run.eval(code)?;
    truth(&value)
}

fn truth(value: &Value<'_>) -> Result<bool, Failure> {
    match value {
        Value::Bool(value) => Ok(*value),
        other => Err(Failure::Kind(format!("a condition needs true or false and found {}", other.kind()))),
    }
}

struct Run<'r, 'f> {
    facts: &'r Facts<'f>,
    steps: u32,
    locals: Vec<Value<'f>>,
}

impl<'f> Run<'_, 'f> {
    fn step(&mut self, cost: u32) -> Result<(), Failure> {
        self.steps = self.steps.saturating_add(cost);
        if self.steps > STEPS_MAX { Err(Failure::Steps) } else { Ok(()) }
    }

    fn eval(&mut self, code: &Code) -> Result<Value<'f>, Failure> {
        self.step(1)?;
        match code {
            Code::Literal(literal) => Ok(literal_value(literal)),
            Code::Time(at) => Ok(Value::Time(*at)),
            Code::Span(span) => Ok(Value::Span(*span)),
            Code::Fact(fact) => Ok(fact_value(*fact, self.facts)),
            Code::Local(index) => {
                let missing = || Failure::Missing("macro variable".to_owned());
                self.locals.get(*index).cloned().ok_or_else(missing)
            }
            Code::Select(from, name) => {
                let from = self.eval(from)?;
                select(&from, name)?.ok_or_else(|| Failure::Missing(name.clone()))
            }
            Code::Has(from, name) => Ok(Value::Bool(select(&self.eval(from)?, name)?.is_some())),
            Code::Index(from, index) => {
                let (from, index) = (self.eval(from)?, self.eval(index)?);
                at(&from, &index)
            }
            Code::Call(function, arguments) => {
                let values = self.all(arguments)?;
                self.step(values.iter().map(Value::weight).sum())?;
                functions::call(function, &values)
            }
            Code::Matches(text, pattern) => match self.eval(text)? {
                Value::Text(text) => {
                    self.step(u32::try_from(text.len() / 16).unwrap_or(u32::MAX))?;
                    Ok(Value::Bool(pattern.is_match(&text)))
                }
                other => Err(Failure::Kind(format!("matches does not take {}", other.kind()))),
            },
            Code::List(items) => Ok(Value::List(self.all(items)?.into())),
            Code::Not(inner) => Ok(Value::Bool(!truth(&self.eval(inner)?)?)),
            Code::Minus(inner) => match self.eval(inner)? {
                Value::Int(value) => value.checked_neg().map(Value::Int).ok_or_else(too_large),
                Value::Double(value) => Ok(Value::Double(-value)),
                Value::Span(value) => value.checked_neg().map(Value::Span).ok_or_else(too_large),
                other => Err(Failure::Kind(format!("- does not take {}", other.kind()))),
            },
            Code::Binary(Operator::And, left, right) => self.either(left, right, false),
            Code::Binary(Operator::Or, left, right) => self.either(left, right, true),
            Code::Binary(operator, left, right) => {
                let (left, right) = (self.eval(left)?, self.eval(right)?);
                self.binary(*operator, &left, &right)
            }
            Code::Choice(condition, yes, no) => {
                let chosen = if truth(&self.eval(condition)?)? { yes } else { no };
                self.eval(chosen)
            }
            Code::Macro(kind, range, body) => self.comprehension(*kind, range, body),
        }
    }

    fn all(&mut self, codes: &[Code]) -> Result<Vec<Value<'f>>, Failure> {
        codes.iter().map(|code| self.eval(code)).collect()
    }

    /// `settles` is the value that decides alone: true for `||`, false for `&&`.
    fn either(&mut self, left: &Code, right: &Code, settles: bool) -> Result<Value<'f>, Failure> {
        let first = self.eval(left).and_then(|value| truth(&value));
        if first == Ok(settles) {
            return Ok(Value::Bool(settles));
        }
        let second = self.eval(right).and_then(|value| truth(&value));
        match (first, second) {
            (Err(Failure::Steps), _) | (_, Err(Failure::Steps)) => Err(Failure::Steps),
            (_, Ok(value)) if value == settles => Ok(Value::Bool(settles)),
            (Err(failure), _) | (_, Err(failure)) => Err(failure),
            _ => Ok(Value::Bool(!settles)),
        }
    }

    fn binary(
        &mut self,
        operator: Operator,
        left: &Value<'f>,
        right: &Value<'f>,
    ) -> Result<Value<'f>, Failure> {
        match operator {
            Operator::Equal => Ok(Value::Bool(self.equal(left, right)?)),
            Operator::Unequal => Ok(Value::Bool(!self.equal(left, right)?)),
            Operator::In => self.contains(left, right).map(Value::Bool),
            Operator::Less | Operator::LessOrEqual | Operator::Greater | Operator::GreaterOrEqual => {
                self.step(left.weight().min(right.weight()))?;
                let no_order =
                    || Failure::Kind(format!("{} and {} have no order", left.kind(), right.kind()));
                let found = order(left, right).ok_or_else(no_order)?;
                Ok(Value::Bool(match operator {
                    Operator::Less => found == Ordering::Less,
                    Operator::LessOrEqual => found != Ordering::Greater,
                    Operator::Greater => found == Ordering::Greater,
                    _ => found != Ordering::Less,
                }))
            }
            _ => {
                self.step(left.weight().saturating_add(right.weight()))?;
                arithmetic(operator, left, right)
            }
        }
    }

    /// Values of different kinds are unequal, as CEL has it.
    fn equal(&mut self, left: &Value<'f>, right: &Value<'f>) -> Result<bool, Failure> {
        self.step(1 + left.weight().min(right.weight()))?;
        match (left, right) {
            (Value::Null, Value::Null) => Ok(true),
            (Value::Fields(one), Value::Fields(other)) => self.equal_fields(one, other),
            (Value::Bool(_), Value::Bool(_)) => Ok(order(left, right) == Some(Ordering::Equal)),
            _ => match (left.items(), right.items()) {
                (Some(one), Some(other))
                    if !matches!(left, Value::Fields(_)) && !matches!(right, Value::Fields(_)) =>
                {
                    if one.len() != other.len() {
                        return Ok(false);
                    }
                    for (one, other) in one.iter().zip(&other) {
                        if !self.equal(one, other)? {
                            return Ok(false);
                        }
                    }
                    Ok(true)
                }
                _ => Ok(order(left, right) == Some(Ordering::Equal)),
            },
        }
    }

    fn equal_fields(
        &mut self,
        one: &'f [(Cow<'f, str>, crate::domain::json::Json<'f>)],
        other: &'f [(Cow<'f, str>, crate::domain::json::Json<'f>)],
    ) -> Result<bool, Failure> {
        if one.len() != other.len() {
            return Ok(false);
        }
        for (key, value) in one {
            self.step(1 + u32::try_from(other.len() / 16).unwrap_or(u32::MAX))?;
            let Some((_, twin)) = other.iter().find(|(name, _)| name == key) else { return Ok(false) };
            if !self.equal(&Value::of_json(value), &Value::of_json(twin))? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn contains(&mut self, item: &Value<'f>, range: &Value<'f>) -> Result<bool, Failure> {
        let Some(items) = range.items() else {
            return Err(Failure::Kind(format!("`in` needs a list or a map and found {}", range.kind())));
        };
        for other in &items {
            if self.equal(item, other)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn comprehension(&mut self, kind: Macro, range: &Code, body: &Code) -> Result<Value<'f>, Failure> {
        let range = self.eval(range)?;
        let Some(items) = range.items() else {
            return Err(Failure::Kind(format!("a macro needs a list or a map and found {}", range.kind())));
        };
        self.step(u32::try_from(items.len()).unwrap_or(u32::MAX))?;
        let (mut kept, mut hits, mut failed) = (Vec::new(), 0, None);
        for item in items {
            self.locals.push(item.clone());
            let result = self.eval(body);
            self.locals.pop();
            match (kind, result) {
                (_, Err(Failure::Steps)) => return Err(Failure::Steps),
                (Macro::Map, value) => kept.push(value?),
                (Macro::All, Ok(Value::Bool(false))) => return Ok(Value::Bool(false)),
                (Macro::Exists, Ok(Value::Bool(true))) => return Ok(Value::Bool(true)),
                (Macro::All | Macro::Exists, Err(failure)) => failed = Some(failure),
                (_, value) => {
                    if truth(&value?)? {
                        hits += 1;
                        kept.push(item);
                    }
                }
            }
        }
        match (kind, failed) {
            (_, Some(failure)) => Err(failure),
            (Macro::All, None) => Ok(Value::Bool(true)),
            (Macro::Exists, None) => Ok(Value::Bool(false)),
            (Macro::ExistsOne, None) => Ok(Value::Bool(hits == 1)),
            (Macro::Filter | Macro::Map, None) => Ok(Value::List(kept.into())),
        }
    }
}

fn too_large() -> Failure {
    Failure::Range("a number is larger than 64 bits hold".to_owned())
}

fn literal_value<'f>(literal: &Literal) -> Value<'f> {
    match literal {
        Literal::Null => Value::Null,
        Literal::Bool(value) => Value::Bool(*value),
        Literal::Int(value) => Value::Int(*value),
        Literal::Double(value) => Value::Double(*value),
        Literal::Text(text) => Value::Text(Cow::Owned(text.clone())),
    }
}

/// The field of a map; none if it has no such field.
fn select<'f>(from: &Value<'f>, name: &str) -> Result<Option<Value<'f>>, Failure> {
    match from {
        Value::Fields(fields) => {
            Ok(fields.iter().find(|(key, _)| key == name).map(|(_, value)| Value::of_json(value)))
        }
        other => Err(Failure::Kind(format!("`{name}` is asked of {}", other.kind()))),
    }
}

fn at<'f>(from: &Value<'f>, index: &Value<'f>) -> Result<Value<'f>, Failure> {
    match (from, index) {
        (Value::Fields(_), Value::Text(name)) => {
            select(from, name)?.ok_or_else(|| Failure::Missing(name.clone().into_owned()))
        }
        (Value::List(items), Value::Int(index)) => {
            let place = usize::try_from(*index).ok();
            let found = place.and_then(|place| items.get(place)).cloned();
            found.ok_or_else(|| Failure::Missing(format!("item {index}")))
        }
        (Value::Items(items), Value::Int(index)) => {
            let place = usize::try_from(*index).ok();
            let found = place.and_then(|place| items.get(place)).map(Value::of_json);
            found.ok_or_else(|| Failure::Missing(format!("item {index}")))
        }
        _ => Err(Failure::Kind(format!("{} cannot be indexed by {}", from.kind(), index.kind()))),
    }
}

fn arithmetic<'f>(operator: Operator, left: &Value<'f>, right: &Value<'f>) -> Result<Value<'f>, Failure> {
    let checked = |value: Option<i64>| value.ok_or_else(too_large);
    match (operator, left, right) {
        (Operator::Add, Value::Text(a), Value::Text(b)) => Ok(Value::Text(Cow::Owned(format!("{a}{b}")))),
        (Operator::Add, Value::Time(a), Value::Span(b)) => checked(a.checked_add(*b)).map(Value::Time),
        (Operator::Add, Value::Span(a), Value::Span(b)) => checked(a.checked_add(*b)).map(Value::Span),
        (Operator::Subtract, Value::Time(a), Value::Span(b)) => checked(a.checked_sub(*b)).map(Value::Time),
        (Operator::Subtract, Value::Time(a), Value::Time(b)) => checked(a.checked_sub(*b)).map(Value::Span),
        (Operator::Subtract, Value::Span(a), Value::Span(b)) => checked(a.checked_sub(*b)).map(Value::Span),
        (_, Value::Int(a), Value::Int(b)) => integers(operator, *a, *b).map(Value::Int),
        (_, Value::Int(a), Value::Double(b)) => doubles(operator, *a as f64, *b),
        (_, Value::Double(a), Value::Int(b)) => doubles(operator, *a, *b as f64),
        (_, Value::Double(a), Value::Double(b)) => doubles(operator, *a, *b),
        _ => {
            let message = format!("{} {} {} has no meaning", left.kind(), operator.sign(), right.kind());
            Err(Failure::Kind(message))
        }
    }
}

fn integers(operator: Operator, a: i64, b: i64) -> Result<i64, Failure> {
    let result = match operator {
        Operator::Add => a.checked_add(b),
        Operator::Subtract => a.checked_sub(b),
        Operator::Multiply => a.checked_mul(b),
        Operator::Divide => a.checked_div(b),
        _ => a.checked_rem(b),
    };
    let divided = matches!(operator, Operator::Divide | Operator::Remainder) && b == 0;
    let why = if divided { Failure::Range("a number is divided by zero".to_owned()) } else { too_large() };
    result.ok_or(why)
}

fn doubles<'f>(operator: Operator, a: f64, b: f64) -> Result<Value<'f>, Failure> {
    match operator {
        Operator::Add => Ok(Value::Double(a + b)),
        Operator::Subtract => Ok(Value::Double(a - b)),
        Operator::Multiply => Ok(Value::Double(a * b)),
        Operator::Divide => Ok(Value::Double(a / b)),
        _ => Err(Failure::Kind("% takes whole numbers".to_owned())),
    }
}

fn fact_value<'f>(fact: Fact, facts: &Facts<'f>) -> Value<'f> {
    let text = |text: &'f str| Value::Text(Cow::Borrowed(text));
    let session = &facts.session;
    match fact {
        Fact::ToolName => text(facts.tool),
        Fact::ToolCategory | Fact::RiskCategory => text(facts.category.name()),
        Fact::ToolCapabilities => Value::texts(facts.capabilities.names()),
        Fact::ToolRegistered => Value::Bool(facts.registered),
        Fact::ToolChanged => Value::Bool(facts.changed),
        Fact::Server => text(facts.server),
        Fact::PrincipalName => text(facts.chain.last().map_or("", String::as_str)),
        Fact::PrincipalRoot => text(facts.chain.first().map_or("", String::as_str)),
        Fact::PrincipalChain => Value::texts(facts.chain.iter().map(String::as_str)),
        Fact::Args => Value::of_json(facts.arguments.json()),
        Fact::SessionCalls => Value::Int(session.calls.into()),
        Fact::SessionReviews => Value::Int(session.reviews.into()),
        Fact::SessionDenies => Value::Int(session.denies.into()),
        Fact::SessionRiskMax => Value::Int(session.risk_max.into()),
        Fact::SessionCapabilities => Value::texts(session.capabilities.names()),
        Fact::SessionAge => Value::Span(session.age_us),
        Fact::SessionNested => Value::Bool(session.nested),
        Fact::Compositions => Value::texts(facts.compositions.iter().map(|rule| rule.id.as_str())),
        Fact::Now => Value::Time(facts.now.as_micros()),
        Fact::RiskScore | Fact::Signal(_) | Fact::Evidence | Fact::Abstained | Fact::Floors => {
            signal_value(fact, facts)
        }
    }
}

fn signal_value<'f>(fact: Fact, facts: &Facts<'f>) -> Value<'f> {
    let bits = |millibits: i32| Value::Double(f64::from(millibits) / 1_000.0);
    let assessment = facts.assessment;
    match fact {
        Fact::Signal(index) => {
            let score = assessment.and_then(|found| found.scores.get(usize::from(index)));
            bits(score.map_or(0, |score| score.surprise))
        }
        Fact::Evidence => bits(assessment.map_or(0, |found| found.evidence)),
        Fact::Abstained => {
            let scores = assessment.map(|found| found.scores.iter()).into_iter().flatten();
            let silent = scores.filter(|score| score.raw.is_none());
            Value::texts(silent.map(|score: &crate::domain::decision::Score| Detector::name(score.detector)))
        }
        Fact::Floors => {
            Value::texts(Floor::in_set(assessment.map_or(0, |found| found.floors)).map(Floor::name))
        }
        _ => Value::Int(assessment.map_or(0, |found| found.risk).into()),
    }
}
