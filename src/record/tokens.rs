//! Tokens inside their records, both ways.

use super::decode::each;
use super::oversight::{instant, texts};
use super::wire::Writer;
use super::{Error, named};
use crate::domain::event::{TokenCreated, TokenRevoked};
use crate::domain::identity::{Role, Token};
use crate::domain::time::Timestamp;

pub(super) fn created(event: &TokenCreated, out: &mut Writer) {
    let token = &event.token;
    out.text(1, &token.id);
    out.text(2, &token.subject);
    texts(3, &token.aliases, out);
    out.uint(4, token.role.number().into());
    texts(5, &token.groups, out);
    texts(6, &token.tenants, out);
    out.sint_present(7, token.expires.map(Timestamp::as_micros));
    out.bytes(8, &token.hash);
    out.text(9, &event.actor);
}

pub(super) fn read_created(body: &[u8]) -> Result<TokenCreated, Error> {
    let mut token = Token {
        id: String::new(),
        subject: String::new(),
        aliases: Vec::new(),
        role: Role::Auditor,
        groups: Vec::new(),
        tenants: Vec::new(),
        expires: None,
        hash: [0; 32],
    };
    let mut actor = String::new();
    each(body, |field| {
        match field.number {
            1 => token.id = field.text()?,
            2 => token.subject = field.text()?,
            3 => token.aliases.push(field.text()?),
            4 => token.role = named(field, Role::from_number)?,
            5 => token.groups.push(field.text()?),
            6 => token.tenants.push(field.text()?),
            7 => token.expires = Some(instant(field)),
            8 => token.hash = field.array()?,
            9 => actor = field.text()?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(TokenCreated { token, actor })
}

pub(super) fn read_revoked(body: &[u8]) -> Result<TokenRevoked, Error> {
    let mut event = TokenRevoked { token_id: String::new(), reason: String::new(), actor: String::new() };
    each(body, |field| {
        match field.number {
            1 => event.token_id = field.text()?,
            2 => event.reason = field.text()?,
            3 => event.actor = field.text()?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(event)
}
