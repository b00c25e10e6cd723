//! Tokens to a tree, by the grammar of the CEL specification ("Syntax").

use super::ast::{Form, Literal, Operator, Tree};
use super::lex::{Token, tokens};
use super::{DEPTH_MAX, Fault, NODES_MAX};

/// Reads a whole text as one expression.
pub(super) fn parse(text: &str) -> Result<Tree, Fault> {
    let mut parser = Parser { tokens: tokens(text)?, next: 0, end: text.len(), nodes: 0, depth: 0 };
    let tree = parser.expression()?;
    match parser.peek() {
        None => Ok(tree),
        Some(token) => Err(Fault::new(parser.at(), format!("{} is one too many", shown(token)))),
    }
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    next: usize,
    end: usize,
    nodes: usize,
    depth: usize,
}

/// Operators by how strongly they bind, weakest first.
const LEVELS: [&[Operator]; 5] = [
    &[Operator::Or],
    &[Operator::And],
    &[
        Operator::Equal,
        Operator::Unequal,
        Operator::LessOrEqual,
        Operator::GreaterOrEqual,
        Operator::Less,
        Operator::Greater,
        Operator::In,
    ],
    &[Operator::Add, Operator::Subtract],
    &[Operator::Multiply, Operator::Divide, Operator::Remainder],
];

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|(_, token)| token)
    }

    fn at(&self) -> usize {
        self.tokens.get(self.next).map_or(self.end, |(at, _)| *at)
    }

    fn takes(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Sign(next)) if *next == sign);
        self.next += usize::from(found);
        found
    }

    fn expect(&mut self, sign: &str) -> Result<(), Fault> {
        if self.takes(sign) {
            return Ok(());
        }
        let found = self.peek().map_or_else(|| "the end".to_owned(), shown);
        Err(Fault::new(self.at(), format!("`{sign}` is missing before {found}")))
    }

    fn node(&mut self, at: usize, form: Form) -> Result<Tree, Fault> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(Fault::new(at, format!("more than {NODES_MAX} parts")));
        }
        Ok(Tree { at, form })
    }

    fn expression(&mut self) -> Result<Tree, Fault> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Fault::new(self.at(), format!("nested deeper than {DEPTH_MAX} levels")));
        }
        let at = self.at();
        let mut tree = self.binary(0)?;
        if self.takes("?") {
            let yes = self.expression()?;
            self.expect(":")?;
            let no = self.expression()?;
            tree = self.node(at, Form::Choice(Box::new(tree), Box::new(yes), Box::new(no)))?;
        }
        self.depth -= 1;
        Ok(tree)
    }

    fn binary(&mut self, level: usize) -> Result<Tree, Fault> {
        let Some(operators) = LEVELS.get(level) else { return self.unary() };
        let mut left = self.binary(level + 1)?;
        loop {
            let at = self.at();
            let Some(operator) = self.operator(operators) else { return Ok(left) };
            let right = self.binary(level + 1)?;
            left = self.node(at, Form::Binary(operator, Box::new(left), Box::new(right)))?;
        }
    }

    fn operator(&mut self, operators: &[Operator]) -> Option<Operator> {
        let written = match self.peek()? {
            Token::Sign(sign) => *sign,
            Token::Name(name) if name == "in" => "in",
            _ => return None,
        };
        let found = operators.iter().copied().find(|operator| operator.sign() == written)?;
        self.next += 1;
        Some(found)
    }

    /// `!` and `-` may be repeated; each counts as a level, so that a thousand of them are refused.
    fn unary(&mut self) -> Result<Tree, Fault> {
        let at = self.at();
        let wrap: fn(Box<Tree>) -> Form = if self.takes("!") {
            Form::Not
        } else if self.takes("-") {
            Form::Minus
        } else {
            return self.member();
        };
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Fault::new(at, format!("nested deeper than {DEPTH_MAX} levels")));
        }
        let inner = self.unary()?;
        self.depth -= 1;
        self.node(at, wrap(Box::new(inner)))
    }

    fn member(&mut self) -> Result<Tree, Fault> {
        let mut tree = self.primary()?;
        let mut links = 0;
        loop {
            let at = self.at();
            if self.takes(".") {
                let name = self.name()?;
                tree = if self.takes("(") {
                    let arguments = self.list(")")?;
                    self.node(at, Form::Call(Some(Box::new(tree)), name, arguments))?
                } else {
                    self.node(at, Form::Select(Box::new(tree), name))?
                };
            } else if self.takes("[") {
                let index = self.expression()?;
                self.expect("]")?;
                tree = self.node(at, Form::Index(Box::new(tree), Box::new(index)))?;
            } else {
                return Ok(tree);
            }
            links += 1;
            if links > DEPTH_MAX {
                return Err(Fault::new(at, format!("a chain of more than {DEPTH_MAX} links")));
            }
        }
    }

    fn name(&mut self) -> Result<String, Fault> {
        match self.peek().cloned() {
            Some(Token::Name(name)) => {
                self.next += 1;
                Ok(name)
            }
            _ => Err(Fault::new(self.at(), "a name must follow the dot")),
        }
    }

    fn primary(&mut self) -> Result<Tree, Fault> {
        let at = self.at();
        let Some(token) = self.peek().cloned() else {
            return Err(Fault::new(at, "the expression ends too early"));
        };
        self.next += 1;
        match token {
            Token::Int(value) => self.node(at, Form::Literal(Literal::Int(value))),
            Token::Double(value) => self.node(at, Form::Literal(Literal::Double(value))),
            Token::Text(text) => self.node(at, Form::Literal(Literal::Text(text))),
            Token::Name(name) => self.named(at, name),
            Token::Sign("(") => {
                let inner = self.expression()?;
                self.expect(")")?;
                Ok(inner)
            }
            Token::Sign("[") => {
                let items = self.list("]")?;
                self.node(at, Form::List(items))
            }
            Token::Sign("{") => Err(Fault::new(at, "maps cannot be written in a condition")),
            token => Err(Fault::new(at, format!("{} cannot stand here", shown(&token)))),
        }
    }

    fn named(&mut self, at: usize, name: String) -> Result<Tree, Fault> {
        if self.takes("(") {
            let arguments = self.list(")")?;
            return self.node(at, Form::Call(None, name, arguments));
        }
        let literal = match name.as_str() {
            "true" => Literal::Bool(true),
            "false" => Literal::Bool(false),
            "null" => Literal::Null,
            _ => return self.node(at, Form::Name(name)),
        };
        self.node(at, Form::Literal(literal))
    }

    fn list(&mut self, end: &str) -> Result<Vec<Tree>, Fault> {
        let mut items = Vec::new();
        loop {
            if self.takes(end) {
                return Ok(items);
            }
            if !items.is_empty() {
                self.expect(",")?;
                if self.takes(end) {
                    return Ok(items);
                }
            }
            items.push(self.expression()?);
        }
    }
}

fn shown(token: &Token) -> String {
    match token {
        Token::Name(name) => format!("`{name}`"),
        Token::Int(value) => format!("`{value}`"),
        Token::Double(value) => format!("`{value}`"),
        Token::Text(_) => "this text".to_owned(),
        Token::Sign(sign) => format!("`{sign}`"),
    }
}
