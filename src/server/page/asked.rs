//! Problems, told as pages to those who read pages.

use askama::Template;
use axum::{
    extract::Request,
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use url::form_urlencoded;

use super::{assets::SIGN_IN, html_with, shell::Frame};
use crate::server::problem::Told;

/// A request of somebody who reads pages.
pub(in crate::server) struct Asked {
    /// Where the same can be asked again.
    again: Option<String>,
    path: String,
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage {
    frame: Frame,
    title: String,
    detail: String,
    again: Option<String>,
}

impl Asked {
    /// `None` when a program asks, or for something that is for programs.
    pub(in crate::server) fn by(request: &Request) -> Option<Self> {
        let path = request.uri().path();
        if path.starts_with("/api/") || !takes_pages(request.headers()) {
            return None;
        }
        let again = (request.method() == Method::GET)
            .then(|| request.uri().path_and_query().map_or(path, |it| it.as_str()).to_owned());
        Some(Self { again, path: path.to_owned() })
    }

    /// The response as a page, when it tells a problem. Whoever has not signed in is led to where they can.
    pub(in crate::server) fn dress(self, response: Response) -> Response {
        let Some(Told { kind, detail }) = response.extensions().get::<Told>().cloned() else {
            return response;
        };
        if kind == "no_token" && self.path != SIGN_IN {
            return Redirect::to(&sign_in_to(self.again.as_deref())).into_response();
        }
        let status = response.status();
        let page = ProblemPage {
            frame: Frame::bare(),
            title: title(status).to_owned(),
            detail: sentence(&detail),
            // An address that begins with two slashes would lead elsewhere.
            again: self.again.filter(|again| status.is_server_error() && !again.starts_with("//")),
        };
        let Ok(mut dressed) = html_with(status, &page) else { return response };
        for name in [header::RETRY_AFTER, header::ALLOW] {
            if let Some(value) = response.headers().get(&name) {
                dressed.headers_mut().insert(name, value.clone());
            }
        }
        dressed
    }
}

/// Where one signs in to see a page of this server.
fn sign_in_to(page: Option<&str>) -> String {
    match page.filter(|page| *page != "/") {
        Some(page) => {
            let query = form_urlencoded::Serializer::new(String::new()).append_pair("next", page).finish();
            format!("{SIGN_IN}?{query}")
        }
        None => SIGN_IN.to_owned(),
    }
}

fn takes_pages(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).into_iter();
    accepted.filter_map(|accepted| accepted.to_str().ok()).any(|accepted| accepted.contains("text/html"))
}

fn title(status: StatusCode) -> &'static str {
    match status {
        StatusCode::NOT_FOUND => "There is nothing here",
        StatusCode::FORBIDDEN | StatusCode::MISDIRECTED_REQUEST => "This is not allowed",
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => "Not now",
        status if status.is_client_error() => "This cannot be done",
        _ => "Something went wrong",
    }
}

/// The text with a capital letter and a full stop.
fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}{}", chars.as_str(), if text.ends_with('.') { "" } else { "." })
}
