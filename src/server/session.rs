//! Sessions: browsers whose user has shown the token once. They are kept in memory alone, so a restart ends them all.

use std::{collections::VecDeque, time::Duration};

use axum::http::{HeaderMap, header};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::time::Instant;

use super::token::Digest;
use crate::privacy::hex;

/// The most sessions at the same time; one more ends the oldest.
const MOST: usize = 64;

/// How long a session lasts.
const LASTS: Duration = Duration::from_secs(12 * 3600);

/// The name of the cookie that holds a session's key.
const COOKIE: &str = "callwatch-session";

/// The sessions that are open, oldest first. Pure but for the making of keys: the time is passed in.
#[derive(Debug, Default)]
pub(super) struct Sessions(VecDeque<Session>);

#[derive(Debug)]
struct Session {
    /// The digest of its key: whoever reads the memory cannot take a session over.
    key: Digest,
    /// The token that was shown. Another token of the config ends the session.
    token: Digest,
    ends: Instant,
}

impl Sessions {
    /// Opens a session for whoever has shown this token; returns its key. `None` when the system has no random bytes.
    pub(super) fn open(&mut self, token: Digest, now: Instant) -> Option<String> {
        let mut bytes = [0; 32];
        SystemRandom::new().fill(&mut bytes).ok()?;
        let key = hex(&bytes);
        self.0.retain(|session| session.ends > now);
        while self.0.len() >= MOST {
            self.0.pop_front();
        }
        self.0.push_back(Session { key: Digest::of(&key), token, ends: now + LASTS });
        Some(key)
    }

    /// Whether this is the key of an open session that was opened with this token.
    pub(super) fn is_open(&self, key: &str, token: &Digest, now: Instant) -> bool {
        let key = Digest::of(key);
        self.0.iter().any(|session| session.key.is(&key) && session.token.is(token) && session.ends > now)
    }

    /// Ends the session with this key.
    pub(super) fn close(&mut self, key: &str) {
        let key = Digest::of(key);
        self.0.retain(|session| !session.key.is(&key));
    }
}

/// The key that a browser sends.
pub(super) fn key_in(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut pairs =
        cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, key)| key)
}

/// The header that makes a browser send this key from now on, and only to this server's own pages.
pub(super) fn cookie(key: &str) -> String {
    format!("{COOKIE}={key}; Path=/; HttpOnly; SameSite=Strict; Max-Age={}", LASTS.as_secs())
}

/// The header that makes a browser forget its key.
pub(super) fn no_cookie() -> String {
    format!("{COOKIE}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_by_itself_with_its_token_and_when_there_are_too_many() {
        let (mut sessions, now) = (Sessions::default(), Instant::now());
        let token = Digest::of("correct horse");
        let key = sessions.open(token, now).unwrap();
        assert_eq!(key.len(), 64);
        assert!(sessions.is_open(&key, &token, now));
        assert!(!sessions.is_open(&key, &Digest::of("another"), now));
        assert!(!sessions.is_open(&key[1..], &token, now) && !sessions.is_open("", &token, now));
        assert!(!sessions.is_open(&key, &token, now + LASTS));
        let other = sessions.open(token, now).unwrap();
        assert_ne!(key, other);
        sessions.close(&other);
        assert!(sessions.is_open(&key, &token, now) && !sessions.is_open(&other, &token, now));
        for _ in 0..MOST {
            sessions.open(token, now).unwrap();
        }
        assert!(!sessions.is_open(&key, &token, now));
        assert_eq!(sessions.0.len(), MOST);
    }

    #[test]
    fn the_key_is_found_among_other_cookies() {
        let mut headers = HeaderMap::new();
        assert_eq!(key_in(&headers), None);
        headers.append(header::COOKIE, "a=b; not-callwatch-session=1".parse().unwrap());
        assert_eq!(key_in(&headers), None);
        headers.append(header::COOKIE, "x=y;callwatch-session=abc; z=1".parse().unwrap());
        assert_eq!(key_in(&headers), Some("abc"));
    }
}
