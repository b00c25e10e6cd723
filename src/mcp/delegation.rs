//! For whom a request acts, as its bearer token says: the claims `sub` and `act` of a JWT (RFC 8693 section 4.1).
//!
//! The token is the server's to verify, and a call with one that it does not take comes to nothing there. What it says
//! only ever adds links beneath the principals that the proxy was started with.

use crate::domain::call::limits::CHAIN_LINKS_MAX;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{AUTHORIZATION, HeaderMap};
use serde::Deserialize;
use std::convert::Infallible;

/// Bytes of a token that are read.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Claims {
    sub: String,
    act: Option<Box<Claims>>,
    client_id: String,
    azp: String,
}

/// The links of the request's token, outermost first: the subject, then those who act for it, then the client; none if
/// it brings no token that can be read.
pub fn links(headers: &HeaderMap) -> Vec<String> {
    let token = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let Some((scheme, token)) = token.split_once(' ') else { return Vec::new() };
    if !scheme.eq_ignore_ascii_case("bearer") || token.len() > TOKEN_BYTES_MAX {
        return Vec::new();
    }
    of_token(token).unwrap_or_default()
}

/// Those who act, as the claim `act` tells them: the latest actor stands outermost in it, and is the innermost link.
/// `read` tells an actor's subject and the claim within. None: there are more than a chain has links.
pub fn actors<A, E>(
    latest: Option<A>,
    mut read: impl FnMut(A) -> Result<(String, Option<A>), E>,
) -> Result<Option<Vec<String>>, E> {
    let (mut links, mut next) = (Vec::new(), latest);
    while let Some(actor) = next {
        if links.len() >= CHAIN_LINKS_MAX {
            return Ok(None);
        }
        let (subject, before) = read(actor)?;
        links.push(agent(&subject));
        next = before;
    }
    links.reverse();
    Ok(Some(links))
}

/// An agent's name as a principal.
pub fn agent(name: &str) -> String {
    if name.starts_with("agent:") { name.to_owned() } else { format!("agent:{name}") }
}

fn of_token(token: &str) -> Option<Vec<String>> {
    let [_, payload, _] = token.trim().split('.').collect::<Vec<_>>().try_into().ok()?;
    let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
    let read = |actor: Box<Claims>| Ok::<_, Infallible>((actor.sub, actor.act));
    let Ok(links) = actors(claims.act, read);
    let mut links = links?;
    let client = if claims.client_id.is_empty() { claims.azp } else { claims.client_id };
    if !client.is_empty() && links.is_empty() && client != claims.sub {
        links.push(agent(&client));
    }
    if !claims.sub.is_empty() {
        links.insert(0, format!("user:{}", claims.sub));
    }
    Some(links)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn of(authorization: &str) -> Vec<String> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_str(authorization).unwrap());
        links(&headers)
    }

    fn token(claims: &str) -> String {
        format!("Bearer e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn the_latest_actor_is_the_innermost_link() {
        let claims = r#"{"sub":"ann","aud":["x"],"act":{"sub":"coder","act":{"sub":"planner"}}}"#;
        assert_eq!(of(&token(claims)), ["user:ann", "agent:planner", "agent:coder"]);
        assert_eq!(of(&token(r#"{"sub":"ann","azp":"ide"}"#)), ["user:ann", "agent:ide"]);
        assert_eq!(of(&token(r#"{"sub":"svc","client_id":"svc"}"#)), ["user:svc"]);
    }

    #[test]
    fn what_is_no_such_token_says_nothing() {
        let deep = format!("{}{}", r#"{"act":"#.repeat(60), "{}".to_owned() + &"}".repeat(60));
        for text in ["Bearer opaque", "Basic YTpi", "Bearer a.b.c", "Bearer", &token("[1]"), &token(&deep)] {
            assert!(of(text).is_empty(), "{text}");
        }
    }
}
