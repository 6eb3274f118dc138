//! Making answers: how much of a response is kept, and what is masked in it.

use std::time::Duration;

use reqwest::{StatusCode, header::HeaderMap};
use serde_json::Value;

use super::{Answer, Reaction};
use crate::{http, privacy::Mask, time::Timestamp};

/// The longest part of a response that is kept, in bytes.
const EXCERPT: usize = 2 * 1024;

/// The part of a response that is searched for secrets, in bytes: so much that what is left of it after masking is more
/// than is kept.
const READ: usize = 16 * 1024;

impl Answer {
    pub(super) fn delivered(result: impl Into<String>) -> Self {
        Self { reaction: Reaction::Delivered, result: result.into(), response: String::new(), memo: None }
    }

    pub(super) fn retry(result: impl Into<String>) -> Self {
        Self {
            reaction: Reaction::Retry { after: None },
            result: result.into(),
            response: String::new(),
            memo: None,
        }
    }

    pub(super) fn dead(result: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            reaction: Reaction::Dead(reason.into()),
            result: result.into(),
            response: String::new(),
            memo: None,
        }
    }

    pub(super) fn pause(result: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            reaction: Reaction::Pause(reason.into()),
            result: result.into(),
            response: String::new(),
            memo: None,
        }
    }

    /// With something to keep for the next delivery of the lane: see [`Answer::memo`].
    pub(super) fn with_memo(self, memo: Option<Value>) -> Self {
        Self { memo, ..self }
    }

    /// With the wait that the receiver asked for, if there is going to be another attempt.
    pub(super) fn after(mut self, wait: Option<Duration>) -> Self {
        if let Reaction::Retry { after } = &mut self.reaction {
            *after = wait;
        }
        self
    }

    /// With what the receiver said, as it said it: [`Answer::clean`] makes it fit to be kept.
    pub(super) fn with_response(self, response: impl Into<String>) -> Self {
        Self { response: response.into(), ..self }
    }

    /// The answer as it may be kept, logged and shown. Every answer of every destination goes through here, because
    /// receivers echo what they were sent: secrets and phone numbers are masked, and only then is the response cut.
    pub(super) fn clean(mut self, mask: &Mask) -> Self {
        let begins = cut(&self.response, READ);
        let mut response = mask.foreign(begins);
        let end = cut(&response, EXCERPT).len();
        response.truncate(end);
        self.response = response;
        self.result = mask.foreign(&self.result);
        if let Reaction::Dead(reason) | Reaction::Pause(reason) = &mut self.reaction {
            *reason = mask.foreign(reason);
        }
        self
    }
}

/// The first bytes of `text`, at most `limit`, without half a character.
fn cut(text: &str, limit: usize) -> &str {
    let mut end = limit.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// `200 OK`
pub(super) fn status_line(status: StatusCode) -> String {
    match status.canonical_reason() {
        Some(reason) => format!("{} {reason}", status.as_u16()),
        None => status.as_u16().to_string(),
    }
}

/// `Retry-After`, if the status is one by which a receiver asks for a pause.
pub(super) fn retry_after(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let asks = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
    if asks { http::retry_after(headers, Some(now)) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_numbers_and_control_characters_are_gone() {
        let text = "key=\u{1b}[31mwhsec_abc\r\n\tand\u{202e} abc1 of 06 12 34 56 78 ok";
        let mask = Mask::of(["whsec_abc", "abc1", "o"]);
        let answer = Answer::dead(text, text).with_response(text).clean(&mask);
        let clean = "key=\\u{1b}[31m••• and\\u{202e} ••• of ••• ok";
        assert_eq!((answer.response.as_str(), answer.result.as_str()), (clean, clean));
        assert_eq!(answer.reaction, Reaction::Dead(clean.to_owned()));
    }

    #[test]
    fn a_long_response_is_cut_between_characters_and_after_it_was_masked() {
        let kept =
            |text: String| Answer::delivered("").with_response(text).clean(&Mask::of(["whsec_abc"])).response;
        assert_eq!(kept("é".repeat(30_000)).len(), 2048);
        assert_eq!(kept(format!("x{}", "é".repeat(3000))).len(), 2047);
        assert!(
            kept(format!("{}whsec_abc", "x ".repeat(1022))).ends_with("x x •"),
            "only a part of the mask fits"
        );
    }
}
