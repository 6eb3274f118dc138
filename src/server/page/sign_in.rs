//! Signing in and out, where a token is asked for.

use std::sync::Arc;

use askama::Template;
use axum::{
    Extension, Router,
    body::Bytes,
    http::{Extensions, HeaderMap, StatusCode, Uri, header},
    response::{AppendHeaders, IntoResponse, Redirect, Response},
    routing::{get, post},
};

use super::{assets::SIGN_IN, html_with, shell::Frame};
use crate::server::{
    Service,
    guard::{self, Entrance},
    problem::Problem,
    query::Parts,
    session,
};

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignIn {
    frame: Frame,
    /// The page to go to.
    next: String,
    /// Whether a wrong token was sent.
    is_wrong: bool,
}

pub(super) fn routes() -> Router<Service> {
    Router::new().route(SIGN_IN, get(form).post(sign_in)).route("/sign-out", post(sign_out))
}

async fn form(Extension(entrance): Extension<Arc<Entrance>>, uri: Uri) -> Result<Response, Problem> {
    let mut parts = Parts::of(&uri);
    let next = parts.take("next", |text| Some(own(text)))?.unwrap_or_else(|| "/".to_owned());
    if entrance.is_behind_proxy() {
        return Err(entrance.refusal());
    }
    if entrance.token().is_none() {
        return Ok(Redirect::to(&next).into_response());
    }
    html_with(StatusCode::OK, &SignIn { frame: Frame::bare(), next, is_wrong: false })
}

async fn sign_in(
    Extension(entrance): Extension<Arc<Entrance>>,
    extensions: Extensions,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let mut parts = Parts::of_form(&headers, &body)?;
    let mut take = |name| parts.take(name, |text| Some(text.to_owned()));
    let (token, next) = (take("token")?.unwrap_or_default(), take("next")?.unwrap_or_default());
    let next = own(&next);
    if entrance.is_behind_proxy() {
        return Err(entrance.refusal());
    }
    if entrance.token().is_none() {
        return Ok(Redirect::to(&next).into_response());
    }
    match entrance.sign_in(token.trim(), guard::from(&extensions)).await? {
        Some(key) => {
            let cookie = AppendHeaders([(header::SET_COOKIE, session::cookie(&key))]);
            Ok((cookie, Redirect::to(&next)).into_response())
        }
        None => html_with(StatusCode::UNAUTHORIZED, &SignIn { frame: Frame::bare(), next, is_wrong: true }),
    }
}

async fn sign_out(Extension(entrance): Extension<Arc<Entrance>>, headers: HeaderMap) -> Response {
    entrance.sign_out(&headers);
    let cookie = AppendHeaders([(header::SET_COOKIE, session::no_cookie())]);
    (cookie, Redirect::to(SIGN_IN)).into_response()
}

/// The address when it is one of this server, else the overview: a link from elsewhere must not lead away from here.
fn own(next: &str) -> String {
    let is_own = next.starts_with('/')
        && !next.starts_with("//")
        && next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if is_own { next.to_owned() } else { "/".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_led_elsewhere() {
        for (next, to) in [
            ("/", "/"),
            ("/deliveries?state=dead&x=%20", "/deliveries?state=dead&x=%20"),
            ("", "/"),
            ("//evil.example", "/"),
            ("/\\evil.example", "/"),
            ("https://evil.example", "/"),
            ("/\r\nSet-Cookie: a=b", "/"),
            ("/\tx", "/"),
        ] {
            assert_eq!(own(next), to, "{next}");
        }
    }
}
