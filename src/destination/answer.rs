//! Making answers: how much of a response is kept, and what is masked in it.

use std::time::Duration;

use reqwest::{StatusCode, header::HeaderMap};
use serde_json::Value;

use super::{Answer, Reaction};
use crate::{http, privacy::one_line, time::Timestamp};

/// The longest part of a response that is kept, in bytes.
const EXCERPT: usize = 2 * 1024;

/// Stands in place of a secret.
pub(super) const HIDDEN: &str = "•••";

/// The shortest text that is hidden as a secret: masking `1` or `on` would make every response unreadable.
const SHORTEST_SECRET: usize = 4;

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

    /// With the beginning of the response. Masks the secrets in it, in the result and in the reason, because receivers
    /// echo what they were sent.
    pub(super) fn with_response<'a>(
        mut self,
        response: &str,
        secrets: impl IntoIterator<Item = &'a str> + Clone,
    ) -> Self {
        self.response = one_line(&masked(response, secrets.clone()));
        let mut end = EXCERPT.min(self.response.len());
        while !self.response.is_char_boundary(end) {
            end -= 1;
        }
        self.response.truncate(end);
        self.result = masked(&self.result, secrets.clone());
        if let Reaction::Dead(reason) | Reaction::Pause(reason) = &mut self.reaction {
            *reason = masked(reason, secrets);
        }
        self
    }
}

/// `Retry-After`, if the status is one by which a receiver asks for a pause.
pub(super) fn retry_after(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let asks = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
    if asks { http::retry_after(headers, Some(now)) } else { None }
}

fn masked<'a>(text: &str, secrets: impl IntoIterator<Item = &'a str>) -> String {
    let secrets = secrets.into_iter().filter(|secret| secret.len() >= SHORTEST_SECRET);
    secrets.fold(text.to_owned(), |text, secret| text.replace(secret, HIDDEN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_and_control_characters_are_gone() {
        let text = "key=\u{1b}[31mwhsec_abc\r\n\tand\u{202e} abc1 ok";
        let answer = Answer::dead(text, text).with_response(text, ["whsec_abc", "abc1", "o"]);
        assert_eq!(answer.response, "key=[31m••• and ••• ok");
        for text in [answer.result, format!("{:?}", answer.reaction)] {
            assert!(!text.contains("abc"), "{text}");
        }
    }

    #[test]
    fn a_long_response_is_cut_between_characters() {
        let kept = |text: String| Answer::delivered("").with_response(&text, []).response.len();
        assert_eq!(kept("é".repeat(3000)), 2048);
        assert_eq!(kept(format!("x{}", "é".repeat(3000))), 2047);
    }
}
