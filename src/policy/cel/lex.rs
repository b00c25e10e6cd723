//! Text to tokens.

use super::Fault;

/// A token.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Name(String),
    Int(i64),
    Double(f64),
    Text(String),
    /// An operator or bracket, such as `&&` or `(`.
    Sign(&'static str),
}

/// Longer signs first.
const SIGNS: [&str; 26] = [
    "&&", "||", "==", "!=", "<=", ">=", "(", ")", "[", "]", "{", "}", ",", ".", "?", ":", "<", ">", "!", "+",
    "-", "*", "/", "%", "=", "&",
];

/// Splits a text into tokens with their byte offsets.
pub(super) fn tokens(text: &str) -> Result<Vec<(usize, Token)>, Fault> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let first = rest.chars().next().unwrap_or(' ');
        let (token, length) = if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        } else if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
            continue;
        } else if first.is_ascii_alphabetic() || first == '_' {
            let length = rest
                .find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
                .unwrap_or(rest.len());
            (Token::Name(rest.get(..length).unwrap_or("").to_owned()), length)
        } else if first.is_ascii_digit() {
            number(rest, at)?
        } else if first == '"' || first == '\'' {
            string(rest, first, at)?
        } else {
            let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign));
            let sign = sign.ok_or_else(|| Fault::new(at, format!("`{first}` has no meaning here")))?;
            (Token::Sign(sign), sign.len())
        };
        found.push((at, token));
        at += length;
    }
    Ok(found)
}

fn number(rest: &str, at: usize) -> Result<(Token, usize), Fault> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let mut length = digits(rest);
    let after = |length: usize| rest.get(length..).unwrap_or("");
    let mut is_double = false;
    if after(length).starts_with('.') && digits(after(length + 1)) > 0 {
        is_double = true;
        length += 1 + digits(after(length + 1));
    }
    if after(length).starts_with(['e', 'E']) {
        let sign = usize::from(after(length + 1).starts_with(['+', '-']));
        let exponent = digits(after(length + 1 + sign));
        if exponent > 0 {
            is_double = true;
            length += 1 + sign + exponent;
        }
    }
    let text = rest.get(..length).unwrap_or("");
    if is_double {
        let value: f64 = text.parse().map_err(|_| Fault::new(at, format!("`{text}` is no number")))?;
        if !value.is_finite() {
            return Err(Fault::new(at, format!("`{text}` is out of range")));
        }
        return Ok((Token::Double(value), length));
    }
    let value = text.parse().map_err(|_| Fault::new(at, format!("`{text}` is more than 64 bits hold")))?;
    Ok((Token::Int(value), length))
}

fn string(rest: &str, quote: char, at: usize) -> Result<(Token, usize), Fault> {
    let mut text = String::new();
    let mut letters = rest.char_indices().skip(1);
    while let Some((place, letter)) = letters.next() {
        match letter {
            letter if letter == quote => return Ok((Token::Text(text), place + 1)),
            '\n' => break,
            '\\' => text.push(escape(&mut letters).ok_or_else(|| {
                Fault::new(at + place, "only \\\\ \\\" \\' \\n \\r \\t and \\uXXXX are escapes")
            })?),
            letter => text.push(letter),
        }
    }
    Err(Fault::new(at, "this text has no end"))
}

fn escape(letters: &mut impl Iterator<Item = (usize, char)>) -> Option<char> {
    match letters.next()?.1 {
        'n' => Some('\n'),
        'r' => Some('\r'),
        't' => Some('\t'),
        'u' => {
            let digits: String = letters.take(4).map(|(_, letter)| letter).collect();
            char::from_u32(u32::from_str_radix(&digits, 16).ok()?)
        }
        letter @ ('\\' | '"' | '\'' | '`' | '?') => Some(letter),
        _ => None,
    }
}
