//! The credential of a request over HTTP, as the API takes it.
//!
//! Some gateways can send nothing but an address, whose user part becomes a credential of the scheme `Basic`
//! (RFC 7617): `http://any:TOKEN@127.0.0.1:4753/…`. Its password is then the token.

use crate::notify::encoding::from_base64;
use http::header::{AUTHORIZATION, HeaderMap};
use tonic::metadata::{Ascii, MetadataValue};

/// The scheme whose password is a token.
const BASIC: &str = "basic ";

/// What is to be sent with requests to the API; none: nothing came. An error: it is no credential.
pub(super) fn bearer(headers: &HeaderMap) -> Result<Option<MetadataValue<Ascii>>, &'static str> {
    let Some(value) = headers.get(AUTHORIZATION) else { return Ok(None) };
    let told = value.to_str().ok();
    let basic =
        told.filter(|text| text.get(..BASIC.len()).is_some_and(|start| start.eq_ignore_ascii_case(BASIC)));
    let sent = match basic {
        None => value.as_bytes().to_vec(),
        Some(text) => {
            let token = text.get(BASIC.len()..).and_then(password);
            let token = token.ok_or("its header `authorization` holds no password in base64")?;
            format!("Bearer {token}").into_bytes()
        }
    };
    let sent = MetadataValue::try_from(sent.as_slice());
    sent.map(Some).map_err(|_| "its header `authorization` holds what no credential has")
}

/// The password of a name and a password with a colon between them.
fn password(encoded: &str) -> Option<String> {
    let both = String::from_utf8(from_base64(encoded.trim())?).ok()?;
    let (_, password) = both.split_once(':')?;
    (!password.is_empty()).then(|| password.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn of(value: &'static str) -> Result<Option<String>, &'static str> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_static(value));
        bearer(&headers).map(|sent| sent.map(|sent| sent.to_str().unwrap().to_owned()))
    }

    #[test]
    fn the_password_is_the_token() {
        assert_eq!(bearer(&HeaderMap::new()), Ok(None));
        assert_eq!(of("Bearer abc"), Ok(Some("Bearer abc".to_owned())));
        // any:tk_1.x
        assert_eq!(of("Basic YW55OnRrXzEueA=="), Ok(Some("Bearer tk_1.x".to_owned())));
        assert_eq!(of("basic YW55OnRrXzEueA=="), Ok(Some("Bearer tk_1.x".to_owned())));
        for bad in ["Basic ", "Basic !", "Basic YW55", "Basic YW55Og=="] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }
}
