//! Gives every part of a condition a type and a meaning, or says what is wrong with it.

use super::super::nearest::nearest;
use super::ast::{Code, Fact, Form, Literal, Macro, Operator, Tree};
use super::functions::{Function, NAMES};
use super::known::{FACTS, fact_type, fields_of};
use super::{Fault, MACRO_NESTING_MAX};
use crate::domain::decision::Detector;
use crate::domain::time::{DAY_US, HOUR_US, MINUTE_US, SECOND_US, Timestamp};
use jiff::tz::TimeZone;
use regex::{Regex, RegexBuilder};

/// Bytes a compiled regular expression may take.
const REGEX_BYTES_MAX: usize = 64 * 1024;

/// What kind of value a part gives.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Type {
    /// Known only when it runs: arguments and what is made of them.
    Any,
    Null,
    Bool,
    Int,
    Double,
    Text,
    Time,
    Span,
    List(Box<Type>),
}

impl Type {
    fn name(&self) -> String {
        match self {
            Self::Any => "any value".to_owned(),
            Self::Null => "null".to_owned(),
            Self::Bool => "a boolean".to_owned(),
            Self::Int => "an integer".to_owned(),
            Self::Double => "a double".to_owned(),
            Self::Text => "a text".to_owned(),
            Self::Time => "a time".to_owned(),
            Self::Span => "a duration".to_owned(),
            Self::List(item) => format!("a list of {}", item.name()),
        }
    }

    fn may_be(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) | (_, Self::Any) => true,
            (Self::List(one), Self::List(other)) => one.may_be(other),
            (Self::Int | Self::Double, Self::Int | Self::Double) => true,
            (one, other) => one == other,
        }
    }
}

/// A checked condition.
pub(super) struct Checked {
    pub(super) code: Code,
    /// Whether it looks at `risk` or `signals`.
    pub(super) uses_risk: bool,
}

/// Checks a whole condition.
pub(super) fn check(tree: &Tree) -> Result<Checked, Fault> {
    let mut checker = Checker { locals: Vec::new(), uses_risk: false };
    let (code, kind) = checker.tree(tree)?;
    if !kind.may_be(&Type::Bool) || is_never_boolean(tree) {
        let message = if kind == Type::Any {
            "a condition must be true or false, and what this works out is never either".to_owned()
        } else {
            format!("a condition must be true or false, and this is {}", kind.name())
        };
        return Err(Fault::new(tree.at, message));
    }
    Ok(Checked { code, uses_risk: checker.uses_risk })
}

/// Whether the form alone tells that this is no boolean, whatever the arguments are.
fn is_never_boolean(tree: &Tree) -> bool {
    match &tree.form {
        Form::Literal(literal) => literal_type(literal) != Type::Bool,
        Form::Minus(_) | Form::List(_) => true,
        Form::Binary(operator, _, _) => matches!(
            operator,
            Operator::Add | Operator::Subtract | Operator::Multiply | Operator::Divide | Operator::Remainder
        ),
        Form::Choice(_, yes, no) => is_never_boolean(yes) && is_never_boolean(no),
        _ => false,
    }
}

struct Checker {
    /// Names and types of macro variables, outermost first.
    locals: Vec<(String, Type)>,
    uses_risk: bool,
}

type Typed = (Code, Type);

impl Checker {
    fn tree(&mut self, tree: &Tree) -> Result<Typed, Fault> {
        match &tree.form {
            Form::Literal(literal) => Ok((Code::Literal(literal.clone()), literal_type(literal))),
            Form::Name(name) => self.name(tree.at, name),
            Form::Select(from, name) => self.select(tree.at, from, name),
            Form::Index(from, index) => self.index(tree.at, from, index),
            Form::Call(target, name, arguments) => self.call(tree.at, target.as_deref(), name, arguments),
            Form::List(items) => self.list(items),
            Form::Not(inner) => {
                let (code, _) = self.expect(inner, &Type::Bool)?;
                Ok((Code::Not(Box::new(code)), Type::Bool))
            }
            Form::Minus(inner) => {
                let (code, kind) = self.tree(inner)?;
                if !matches!(kind, Type::Any | Type::Int | Type::Double | Type::Span) {
                    return Err(Fault::new(inner.at, format!("- does not take {}", kind.name())));
                }
                Ok((Code::Minus(Box::new(code)), kind))
            }
            Form::Binary(operator, left, right) => self.binary(tree.at, *operator, left, right),
            Form::Choice(condition, yes, no) => {
                let (condition, _) = self.expect(condition, &Type::Bool)?;
                let ((yes, kind), (no, other)) = (self.tree(yes)?, self.tree(no)?);
                let kind = if kind == other { kind } else { Type::Any };
                Ok((Code::Choice(Box::new(condition), Box::new(yes), Box::new(no)), kind))
            }
        }
    }

    fn expect(&mut self, tree: &Tree, wanted: &Type) -> Result<Typed, Fault> {
        let (code, kind) = self.tree(tree)?;
        if kind.may_be(wanted) {
            return Ok((code, kind));
        }
        Err(Fault::new(tree.at, format!("{} is needed here, and this is {}", wanted.name(), kind.name())))
    }

    fn fact(&mut self, fact: Fact) -> Typed {
        let looks_at_risk = matches!(
            fact,
            Fact::RiskScore
                | Fact::RiskCategory
                | Fact::Signal(_)
                | Fact::Evidence
                | Fact::Abstained
                | Fact::Floors
        );
        self.uses_risk |= looks_at_risk;
        (Code::Fact(fact), fact_type(fact))
    }

    fn name(&mut self, at: usize, name: &str) -> Result<Typed, Fault> {
        if let Some(place) = self.locals.iter().rposition(|(local, _)| local == name) {
            let kind = self.locals.get(place).map_or(Type::Any, |(_, kind)| kind.clone());
            return Ok((Code::Local(place), kind));
        }
        if let Some((_, _, fact)) =
            FACTS.iter().find(|(first, second, _)| *first == name && second.is_empty())
        {
            return Ok(self.fact(*fact));
        }
        if FACTS.iter().any(|(first, _, _)| *first == name) {
            let fields = fields_of(name).join("`, `");
            return Err(Fault::new(at, format!("`{name}` needs a field: one of `{fields}`")));
        }
        let known = FACTS.iter().map(|(first, _, _)| *first);
        let locals = self.locals.iter().map(|(local, _)| local.as_str());
        let nearest = nearest(name, known.chain(locals));
        Err(Fault { nearest, ..Fault::new(at, format!("`{name}` is not known")) })
    }

    fn select(&mut self, at: usize, from: &Tree, name: &str) -> Result<Typed, Fault> {
        if let Form::Name(first) = &from.form
            && !self.locals.iter().any(|(local, _)| local == first)
            && FACTS.iter().any(|(known, second, _)| known == first && !second.is_empty())
        {
            let found = FACTS.iter().find(|(known, second, _)| known == first && *second == name);
            if let Some((_, _, fact)) = found {
                return Ok(self.fact(*fact));
            }
            let detector = Detector::ALL.into_iter().find(|detector| detector.name() == name);
            if let (Some(detector), "signals") = (detector, first.as_str()) {
                let index = u8::try_from(detector.index()).unwrap_or(u8::MAX);
                return Ok(self.fact(Fact::Signal(index)));
            }
            let nearest = nearest(name, fields_of(first).into_iter());
            return Err(Fault { nearest, ..Fault::new(at, format!("`{first}` has no `{name}`")) });
        }
        let (code, kind) = self.tree(from)?;
        if kind != Type::Any {
            return Err(Fault::new(at, format!("`{name}` is asked of {}", kind.name())));
        }
        Ok((Code::Select(Box::new(code), name.to_owned()), Type::Any))
    }

    fn index(&mut self, at: usize, from: &Tree, index: &Tree) -> Result<Typed, Fault> {
        let (from, kind) = self.tree(from)?;
        let (place, by) = self.tree(index)?;
        let item = match kind {
            Type::Any => Type::Any,
            Type::List(item) => *item,
            other => return Err(Fault::new(at, format!("{} cannot be indexed", other.name()))),
        };
        if !matches!(by, Type::Any | Type::Int | Type::Text) {
            return Err(Fault::new(index.at, format!("an index is an integer or a text, not {}", by.name())));
        }
        Ok((Code::Index(Box::new(from), Box::new(place)), item))
    }

    fn list(&mut self, items: &[Tree]) -> Result<Typed, Fault> {
        let mut codes = Vec::new();
        let mut common: Option<Type> = None;
        for item in items {
            let (code, kind) = self.tree(item)?;
            codes.push(code);
            common = Some(match common {
                Some(common) if common != kind => Type::Any,
                _ => kind,
            });
        }
        Ok((Code::List(codes), Type::List(Box::new(common.unwrap_or(Type::Any)))))
    }

    fn binary(&mut self, at: usize, operator: Operator, left: &Tree, right: &Tree) -> Result<Typed, Fault> {
        let result = |left, right, kind| Ok((Code::Binary(operator, Box::new(left), Box::new(right)), kind));
        if matches!(operator, Operator::And | Operator::Or) {
            let (left, _) = self.expect(left, &Type::Bool)?;
            let (right, _) = self.expect(right, &Type::Bool)?;
            return result(left, right, Type::Bool);
        }
        let ((left, one), (right, other)) = (self.tree(left)?, self.tree(right)?);
        let misfit = || {
            let message = format!("{} {} {} can never hold", one.name(), operator.sign(), other.name());
            Err(Fault::new(at, message))
        };
        match operator {
            Operator::In => match &other {
                Type::Any => result(left, right, Type::Bool),
                Type::List(item) if one.may_be(item) => result(left, right, Type::Bool),
                _ => misfit(),
            },
            Operator::Equal | Operator::Unequal if one.may_be(&other) || one == Type::Null => {
                result(left, right, Type::Bool)
            }
            Operator::Less | Operator::LessOrEqual | Operator::Greater | Operator::GreaterOrEqual
                if one.may_be(&other) && !matches!(one, Type::List(_) | Type::Null) =>
            {
                result(left, right, Type::Bool)
            }
            Operator::Equal
            | Operator::Unequal
            | Operator::Less
            | Operator::LessOrEqual
            | Operator::Greater
            | Operator::GreaterOrEqual => misfit(),
            _ => match arithmetic_type(operator, &one, &other) {
                Some(kind) => result(left, right, kind),
                None => {
                    let message =
                        format!("{} {} {} has no meaning", one.name(), operator.sign(), other.name());
                    Err(Fault::new(at, message))
                }
            },
        }
    }

    fn call(
        &mut self,
        at: usize,
        target: Option<&Tree>,
        name: &str,
        arguments: &[Tree],
    ) -> Result<Typed, Fault> {
        if let (Some(target), Some(kind)) = (target, macro_of(name)) {
            return self.comprehension(at, kind, target, arguments);
        }
        let parts: Vec<&Tree> = target.into_iter().chain(arguments).collect();
        match (name, parts.as_slice(), target.is_some()) {
            ("has", [tree], false) => self.has(tree),
            ("size", [value], _) => self.size(value),
            ("matches", [text, pattern], true) => self.matches(text, pattern),
            ("contains", [text, part], true) => self.text_function(Function::Contains, text, part),
            ("startsWith", [text, part], true) => self.text_function(Function::StartsWith, text, part),
            ("endsWith", [text, part], true) => self.text_function(Function::EndsWith, text, part),
            ("lowerAscii", [text], true) => {
                let (text, _) = self.expect(text, &Type::Text)?;
                Ok((Code::Call(Function::LowerAscii, vec![text]), Type::Text))
            }
            ("int", [value], false) => self.conversion(Function::Int, value, Type::Int),
            ("double", [value], false) => self.conversion(Function::Double, value, Type::Double),
            ("string", [value], false) => self.conversion(Function::Text, value, Type::Text),
            ("timestamp", [value], false) => constant_time(value),
            ("duration", [value], false) => constant_span(value),
            ("getHours", [of, zone @ ..], true) => self.time_part(Function::Hours, of, zone),
            ("getMinutes", [of, zone @ ..], true) => self.time_part(Function::Minutes, of, zone),
            ("getDayOfWeek", [of, zone @ ..], true) => self.time_part(Function::DayOfWeek, of, zone),
            ("getSeconds", [span], true) => {
                let (span, _) = self.expect(span, &Type::Span)?;
                Ok((Code::Call(Function::Seconds, vec![span]), Type::Int))
            }
            _ if NAMES.contains(&name) => {
                Err(Fault::new(at, format!("`{name}` does not take these arguments")))
            }
            _ => {
                let nearest = nearest(name, NAMES.into_iter());
                Err(Fault { nearest, ..Fault::new(at, format!("there is no function `{name}`")) })
            }
        }
    }

    fn has(&mut self, tree: &Tree) -> Result<Typed, Fault> {
        if let Form::Select(from, name) = &tree.form {
            let (code, kind) = self.tree(from)?;
            if kind == Type::Any {
                return Ok((Code::Has(Box::new(code), name.clone()), Type::Bool));
            }
        }
        Err(Fault::new(tree.at, "has() asks for a field of the arguments, such as has(args.env)"))
    }

    fn size(&mut self, value: &Tree) -> Result<Typed, Fault> {
        let (code, kind) = self.tree(value)?;
        if !matches!(kind, Type::Any | Type::Text | Type::List(_)) {
            return Err(Fault::new(value.at, format!("{} has no size", kind.name())));
        }
        Ok((Code::Call(Function::Size, vec![code]), Type::Int))
    }

    fn text_function(&mut self, function: Function, text: &Tree, part: &Tree) -> Result<Typed, Fault> {
        let (text, _) = self.expect(text, &Type::Text)?;
        let (part, _) = self.expect(part, &Type::Text)?;
        Ok((Code::Call(function, vec![text, part]), Type::Bool))
    }

    fn conversion(&mut self, function: Function, value: &Tree, kind: Type) -> Result<Typed, Fault> {
        let (code, from) = self.tree(value)?;
        if matches!(from, Type::List(_) | Type::Null | Type::Span) {
            return Err(Fault::new(value.at, format!("{} cannot become {}", from.name(), kind.name())));
        }
        Ok((Code::Call(function, vec![code]), kind))
    }

    fn matches(&mut self, text: &Tree, pattern: &Tree) -> Result<Typed, Fault> {
        let (text, _) = self.expect(text, &Type::Text)?;
        let regex = literal_text(pattern, "a regular expression")?;
        let built =
            RegexBuilder::new(regex).size_limit(REGEX_BYTES_MAX).dfa_size_limit(REGEX_BYTES_MAX).build();
        let built: Regex = built.map_err(|fault| {
            let fault = fault.to_string();
            let line = fault.lines().last().unwrap_or("").trim_start_matches("error: ").to_owned();
            Fault::new(pattern.at, format!("this is no regular expression: {line}"))
        })?;
        Ok((Code::Matches(Box::new(text), Box::new(built)), Type::Bool))
    }

    fn time_part(
        &mut self,
        function: fn(TimeZone) -> Function,
        of: &Tree,
        zone: &[&Tree],
    ) -> Result<Typed, Fault> {
        let (of, _) = self.expect(of, &Type::Time)?;
        let zone = match zone {
            [] => TimeZone::UTC,
            [name, ..] => {
                let text = literal_text(name, "a time zone")?;
                let unknown = |_| Fault::new(name.at, format!("`{text}` is not an IANA time zone"));
                TimeZone::get(text).map_err(unknown)?
            }
        };
        Ok((Code::Call(function(zone), vec![of]), Type::Int))
    }

    fn comprehension(
        &mut self,
        at: usize,
        kind: Macro,
        range: &Tree,
        arguments: &[Tree],
    ) -> Result<Typed, Fault> {
        let [Tree { form: Form::Name(variable), .. }, body] = arguments else {
            return Err(Fault::new(at, "a macro takes a name and an expression, such as all(x, x > 0)"));
        };
        if self.locals.len() == MACRO_NESTING_MAX {
            let message = format!("more than {MACRO_NESTING_MAX} macros inside each other");
            return Err(Fault::new(at, message));
        }
        let (range_code, range_kind) = self.tree(range)?;
        let item = match range_kind {
            Type::Any => Type::Any,
            Type::List(item) => *item,
            other => return Err(Fault::new(range.at, format!("{} has no items", other.name()))),
        };
        self.locals.push((variable.clone(), item.clone()));
        let checked = if kind == Macro::Map { self.tree(body) } else { self.expect(body, &Type::Bool) };
        self.locals.pop();
        let (body, body_kind) = checked?;
        let result = match kind {
            Macro::Map => Type::List(Box::new(body_kind)),
            Macro::Filter => Type::List(Box::new(item)),
            _ => Type::Bool,
        };
        Ok((Code::Macro(kind, Box::new(range_code), Box::new(body)), result))
    }
}

fn macro_of(name: &str) -> Option<Macro> {
    match name {
        "all" => Some(Macro::All),
        "exists" => Some(Macro::Exists),
        "exists_one" => Some(Macro::ExistsOne),
        "filter" => Some(Macro::Filter),
        "map" => Some(Macro::Map),
        _ => None,
    }
}

fn literal_type(literal: &Literal) -> Type {
    match literal {
        Literal::Null => Type::Null,
        Literal::Bool(_) => Type::Bool,
        Literal::Int(_) => Type::Int,
        Literal::Double(_) => Type::Double,
        Literal::Text(_) => Type::Text,
    }
}

fn literal_text<'t>(tree: &'t Tree, what: &str) -> Result<&'t str, Fault> {
    match &tree.form {
        Form::Literal(Literal::Text(text)) => Ok(text),
        _ => Err(Fault::new(tree.at, format!("{what} must be written out here"))),
    }
}

fn arithmetic_type(operator: Operator, one: &Type, other: &Type) -> Option<Type> {
    match (operator, one, other) {
        (_, Type::Any, Type::Any) => Some(Type::Any),
        (_, Type::Int, Type::Int) => Some(Type::Int),
        (Operator::Remainder, Type::Double, _) | (Operator::Remainder, _, Type::Double) => None,
        (_, Type::Int | Type::Double, Type::Int | Type::Double) => Some(Type::Double),
        (Operator::Add, Type::Text, Type::Text) => Some(Type::Text),
        (Operator::Add | Operator::Subtract, Type::Time, Type::Span) => Some(Type::Time),
        (Operator::Add | Operator::Subtract, Type::Span, Type::Span) => Some(Type::Span),
        (Operator::Subtract, Type::Time, Type::Time) => Some(Type::Span),
        (_, Type::Any, Type::Int | Type::Double) | (_, Type::Int | Type::Double, Type::Any) => {
            Some(Type::Any)
        }
        (Operator::Add, Type::Any, Type::Text) | (Operator::Add, Type::Text, Type::Any) => Some(Type::Text),
        _ => None,
    }
}

fn constant_time(value: &Tree) -> Result<Typed, Fault> {
    let text = literal_text(value, "a time")?;
    let at = Timestamp::parse(text)
        .ok_or_else(|| Fault::new(value.at, format!("`{text}` is no time, such as 2026-11-17T03:12:00Z")))?;
    Ok((Code::Time(at.as_micros()), Type::Time))
}

/// As CEL writes durations: `90s`, `15m`, `1h30m`, `250ms`; days (`7d`) are ours.
fn constant_span(value: &Tree) -> Result<Typed, Fault> {
    let text = literal_text(value, "a duration")?;
    let span = span(text)
        .ok_or_else(|| Fault::new(value.at, format!("`{text}` is no duration, such as 90s, 15m or 1h30m")))?;
    Ok((Code::Span(span), Type::Span))
}

fn span(text: &str) -> Option<i64> {
    let units = [("ms", 1_000), ("us", 1), ("d", DAY_US), ("h", HOUR_US), ("m", MINUTE_US), ("s", SECOND_US)];
    let (mut rest, mut total) = (text, 0_i64);
    loop {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: i64 = rest.get(..digits)?.parse().ok()?;
        let after = rest.get(digits..)?;
        let (unit, factor) = units.iter().find(|(unit, _)| after.starts_with(unit))?;
        total = total.checked_add(number.checked_mul(*factor)?)?;
        rest = after.get(unit.len()..)?;
        if rest.is_empty() {
            return Some(total);
        }
    }
}
