//! The checks that every request passes before a route sees it: who asks, for which host, from which site.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{
        Extensions, HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts,
        uri::Authority,
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use tokio::time::{Instant, timeout};

use super::{
    lobby::Guest,
    page::{self, Asked},
    problem::Problem,
    session::{self, Sessions},
    token::{Guesses, Token},
};
use crate::{
    config::{SecretError, ServerConfig, TrustedProxy},
    telemetry::{Signal, Telemetry},
};

/// The longest body of a request, in bytes.
const MAX_BODY: usize = 64 << 10;

/// How long a request's body may take to come.
const BODY_DEADLINE: Duration = Duration::from_secs(10);

/// How long a request may take to be answered. Retrying a million deliveries takes less.
const DEADLINE: Duration = Duration::from_secs(120);

/// Paths that need no token, because probes have none.
const FOR_PROBES: [&str; 2] = ["/healthz", "/readyz"];

/// A way to come in, and who may.
#[derive(Debug)]
pub(super) enum Entrance {
    /// The socket in the store's folder: whoever may open it may do everything.
    Socket,
    /// An address.
    Address {
        admission: Mutex<Admission>,
        guesses: Mutex<Guesses>,
        sessions: Mutex<Sessions>,
        telemetry: Telemetry,
    },
}

/// The conditions for coming in by an address. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Admission {
    /// The token that has to be sent. Without one, and without a proxy, the address is of this machine alone.
    token: Option<Arc<Token>>,
    /// The proxy that signs people in.
    proxy: Option<Arc<TrustedProxy>>,
    /// Where browsers say that the page is from, when it is not where they send their requests.
    origin: Option<Arc<str>>,
}

impl Admission {
    pub(super) fn of(config: &ServerConfig) -> Self {
        Self {
            token: config.token.clone().map(Token::new).map(Arc::new),
            proxy: config.trusted_proxy.clone().map(Arc::new),
            origin: config.public_url.as_ref().map(|url| url.origin().ascii_serialization().into()),
        }
    }
}

/// Whether the proxy has named the user, in exactly one header. With two, one would come from the client, and it is unknown
/// which.
fn is_named(proxy: &TrustedProxy, request: &Parts) -> bool {
    let mut named = request.headers.get_all(&proxy.header).into_iter();
    let first = named.next().and_then(|name| name.to_str().ok());
    first.is_some_and(|name| !name.trim().is_empty()) && named.next().is_none()
}

/// Where a request comes from; `None` by the socket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) Option<IpAddr>);

/// Whether whoever asks has shown that they may know everything.
#[derive(Clone, Copy, Debug)]
pub(super) struct IsTrusted(pub(super) bool);

impl Entrance {
    pub(super) fn address(admission: Admission, telemetry: Telemetry) -> Self {
        Self::Address {
            admission: Mutex::new(admission),
            guesses: Mutex::default(),
            sessions: Mutex::default(),
            telemetry,
        }
    }

    /// Admits others from now on.
    pub(super) fn admit(&self, others: Admission) {
        if let Self::Address { admission, .. } = self {
            *admission.lock().unwrap_or_else(PoisonError::into_inner) = others;
        }
    }

    fn admission(&self) -> Option<Admission> {
        let Self::Address { admission, .. } = self else { return None };
        Some(admission.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// Whether whoever asks may know everything; without that, only what probes ask is answered.
    async fn is_trusted(&self, request: &Parts) -> Result<bool, Problem> {
        let (Self::Address { sessions, .. }, Some(admission)) = (self, self.admission()) else {
            return Ok(true);
        };
        let from_proxy = admission.proxy.as_ref().filter(|proxy| proxy.is_at(from(&request.extensions)));
        if from_proxy.is_some_and(|proxy| is_named(proxy, request)) {
            return Ok(true);
        }
        let Some(token) = admission.token else {
            // A proxy may hide who asks, so with one nobody is trusted for being on this machine.
            if admission.proxy.is_some() {
                return Ok(false);
            }
            return match is_for_this_machine(request) {
                true => Ok(true),
                // DNS rebinding: a foreign page can point a name of its own at this machine and would read the answers.
                false => Err(Problem::new(
                    StatusCode::MISDIRECTED_REQUEST,
                    "wrong_host",
                    "without a token this is for names of this machine only: ask 127.0.0.1 or localhost, or set \
                     [server] token",
                )),
            };
        };
        if let Some(presented) = bearer(&request.headers) {
            return match self.check(&token, presented, from(&request.extensions)).await? {
                true => Ok(true),
                false => Err(Problem::new(
                    StatusCode::UNAUTHORIZED,
                    "wrong_token",
                    "this is not the token of [server]",
                )),
            };
        }
        let Some(key) = session::key_in(&request.headers) else { return Ok(false) };
        let token = token.digest().await.map_err(|error| unreadable(&error))?;
        Ok(sessions.lock().unwrap_or_else(PoisonError::into_inner).is_open(key, &token, Instant::now()))
    }

    /// Opens a session for whoever presents the token; returns its key. `None` when it is not the token, or none is asked
    /// for here.
    pub(super) async fn sign_in(&self, presented: &str, from: IpAddr) -> Result<Option<String>, Problem> {
        let (Self::Address { sessions, .. }, Some(token)) = (self, self.token()) else { return Ok(None) };
        if !self.check(&token, presented, from).await? {
            return Ok(None);
        }
        let token = token.digest().await.map_err(|error| unreadable(&error))?;
        let key = sessions.lock().unwrap_or_else(PoisonError::into_inner).open(token, Instant::now());
        key.map(Some).ok_or_else(|| {
            let detail = "nobody can sign in: the system has no random bytes";
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "no_session", detail)
        })
    }

    /// Ends the session of whoever asks.
    pub(super) fn sign_out(&self, headers: &HeaderMap) {
        if let (Self::Address { sessions, .. }, Some(key)) = (self, session::key_in(headers)) {
            sessions.lock().unwrap_or_else(PoisonError::into_inner).close(key);
        }
    }

    /// The token that has to be shown.
    pub(super) fn token(&self) -> Option<Arc<Token>> {
        self.admission()?.token
    }

    /// Why somebody who has shown nothing is not let in.
    pub(super) fn refusal(&self) -> Problem {
        let (kind, detail) = match self.admission() {
            Some(Admission { token: None, proxy: Some(_), .. }) => {
                ("no_user", "ask through the proxy of [server] trusted_proxy, which signs people in")
            }
            _ => ("no_token", "send the token of [server] as `Authorization: Bearer …`"),
        };
        Problem::new(StatusCode::UNAUTHORIZED, kind, detail)
    }

    /// Whether only the proxy lets anybody in.
    pub(super) fn is_behind_proxy(&self) -> bool {
        self.admission().is_some_and(|admission| admission.token.is_none() && admission.proxy.is_some())
    }

    /// Whether this is the token, unless too many wrong ones came from there lately.
    async fn check(&self, token: &Token, presented: &str, from: IpAddr) -> Result<bool, Problem> {
        let Self::Address { guesses, telemetry, .. } = self else { return Ok(true) };
        let wait = guesses.lock().unwrap_or_else(PoisonError::into_inner).wait(from, Instant::now());
        if let Some(wait) = wait {
            let wait = wait.as_secs() + 1;
            let detail = format!("too many wrong tokens came from this address; wait {wait} s");
            return Err(
                Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_guesses", detail).retry_after(wait)
            );
        }
        if token.is(presented).await.map_err(|error| unreadable(&error))? {
            return Ok(true);
        }
        if guesses.lock().unwrap_or_else(PoisonError::into_inner).note(from, Instant::now()) {
            let text = format!("many wrong tokens came from {from}; it may send no other one for a minute");
            telemetry.emit(Signal::Hindrance { text });
        }
        Ok(false)
    }
}

fn unreadable(error: &SecretError) -> Problem {
    let detail = format!("nobody can come in: {error}");
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unreadable_token", detail)
}

/// The address that a request comes from.
pub(super) fn from(extensions: &Extensions) -> IpAddr {
    let from = extensions.get().and_then(|Peer(from)| *from);
    from.unwrap_or(Ipv4Addr::UNSPECIFIED.into())
}

/// Lets a request in when all is well with it, with its whole body; bounds how long that and the answer take.
pub(super) async fn admit(State(entrance): State<Arc<Entrance>>, request: Request, next: Next) -> Response {
    let asked = Asked::by(&request);
    let answered = async {
        let (parts, body) = request.into_parts();
        let is_trusted = entrance.is_trusted(&parts).await?;
        let path = parts.uri.path();
        if !is_trusted && !FOR_PROBES.contains(&path) && !page::is_for_all(path) {
            return Err(entrance.refusal());
        }
        let origin = entrance.admission().and_then(|admission| admission.origin);
        if !is_own(&parts, origin.as_deref()) {
            let detail = "a page of another site may not change anything here";
            return Err(Problem::new(StatusCode::FORBIDDEN, "cross_site", detail));
        }
        let body = whole(&parts.headers, body).await?;
        let mut request = Request::from_parts(parts, Body::from(body));
        let guest = request.extensions().get::<Arc<Guest>>().cloned();
        let _served = guest.map(|guest| guest.serve());
        request.extensions_mut().insert(IsTrusted(is_trusted));
        timeout(DEADLINE, next.run(request)).await.map_err(|_| {
            let detail = "it took too long; some of it may have been done, and it can be asked again";
            Problem::new(StatusCode::GATEWAY_TIMEOUT, "too_slow", detail)
        })
    };
    let mut response = answered.await.unwrap_or_else(Problem::into_response);
    if let Some(asked) = asked {
        response = asked.dress(response);
    }
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// The body of a request, in memory. A body that is not read to its end would leave the connection in the middle of it.
async fn whole(headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    let too_long = || {
        let detail = format!("a body may have {} KiB", MAX_BODY >> 10);
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_long", detail)
    };
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    if length.is_some_and(|length| length.parse::<usize>().map_or(true, |length| length > MAX_BODY)) {
        return Err(too_long());
    }
    match timeout(BODY_DEADLINE, to_bytes(body, MAX_BODY)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        // A client that went away does not read this.
        Ok(Err(_)) => Err(too_long()),
        Err(_) => Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "too_slow", "the body did not come in time")),
    }
}

/// The token that is sent.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Whether a request is addressed to a name that always means this machine.
fn is_for_this_machine(request: &Parts) -> bool {
    let host = request.headers.get(header::HOST).and_then(|host| host.to_str().ok()?.parse().ok());
    let is_local = |authority: &Authority| {
        let host = authority.host().trim_matches(['[', ']']).to_ascii_lowercase();
        host == "localhost"
            || host.ends_with(".localhost")
            || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    };
    host.as_ref().is_some_and(is_local) && request.uri.authority().is_none_or(is_local)
}

/// Whether a request is safe from cross-site forgery: it changes nothing, or does not come from a page of another site. Browsers
/// send `Sec-Fetch-Site` or `Origin`; other programs send neither. `public` is the origin of the page as people reach it.
fn is_own(request: &Parts, public: Option<&str>) -> bool {
    if matches!(request.method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return true;
    }
    let text = |name: &str| request.headers.get(name).map(HeaderValue::as_bytes);
    if let Some(site) = text("sec-fetch-site") {
        return matches!(site, b"same-origin" | b"none");
    }
    let Some(origin) = text("origin") else { return true };
    let origin = std::str::from_utf8(origin).unwrap_or_default();
    if public.is_some_and(|public| public.eq_ignore_ascii_case(origin)) {
        return true;
    }
    let origin = origin.strip_prefix("http://").or(origin.strip_prefix("https://"));
    origin.is_some_and(|origin| text("host").is_some_and(|host| host.eq_ignore_ascii_case(origin.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, headers: &[(&str, &str)]) -> Parts {
        let request = Request::builder().method(method).uri("/api/v1/reload");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_page_of_another_site_changes_nothing() {
        for (headers, may) in [
            (&[][..], true),
            (&[("sec-fetch-site", "same-origin")], true),
            (&[("sec-fetch-site", "none")], true),
            (&[("sec-fetch-site", "cross-site")], false),
            (&[("sec-fetch-site", "same-site")], false),
            (&[("sec-fetch-site", "cross-site"), ("origin", "http://me"), ("host", "me")], false),
            (&[("origin", "http://127.0.0.1:9464"), ("host", "127.0.0.1:9464")], true),
            (&[("origin", "https://calls.example.com"), ("host", "Calls.example.com")], true),
            (&[("origin", "http://127.0.0.1:80"), ("host", "127.0.0.1:9464")], false),
            (&[("origin", "https://evil.example"), ("host", "127.0.0.1:9464")], false),
            (&[("origin", "null"), ("host", "127.0.0.1:9464")], false),
            (&[("origin", "http://me")], false),
        ] {
            assert_eq!(is_own(&request("POST", headers), None), may, "{headers:?}");
            assert_eq!(is_own(&request("DELETE", headers), None), may, "{headers:?}");
            assert!(is_own(&request("GET", headers), None));
        }
        let through = |origin| request("POST", &[("origin", origin), ("host", "127.0.0.1:9464")]);
        let public = Some("https://calls.example.com");
        assert!(is_own(&through("https://calls.example.com"), public));
        assert!(!is_own(&through("https://calls.example.com.evil.example"), public));
        assert!(!is_own(&through("http://calls.example.com"), public));
    }

    #[test]
    fn only_names_of_this_machine_are_of_this_machine() {
        for (host, is) in [
            ("127.0.0.1:9464", true),
            ("127.8.8.8", true),
            ("localhost:9464", true),
            ("LocalHost", true),
            ("[::1]:9464", true),
            ("a.localhost", true),
            ("127.0.0.1.evil.example", false),
            ("localhost.evil.example:9464", false),
            ("192.168.0.1:9464", false),
            ("[::2]", false),
            ("", false),
            ("127.0.0.1:9464, evil", false),
        ] {
            assert_eq!(is_for_this_machine(&request("GET", &[("host", host)])), is, "{host}");
        }
        assert!(!is_for_this_machine(&request("GET", &[])));
    }
}
