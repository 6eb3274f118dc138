//! The answers of Slack's API, and what follows from them. Pure.
//!
//! Slack says `200 OK` to nearly everything, and what it means in the body. The errors stand with each method:
//! <https://docs.slack.dev/reference/methods/chat.postMessage>, <https://docs.slack.dev/reference/methods/chat.update>.

use std::time::Duration;

use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::json;

use crate::destination::{Answer, answer::status_line};

/// How long Slack is left alone when it asks for it without saying how long.
const LEFT_ALONE: Duration = Duration::from_secs(30);

/// A request to Slack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// A new message in the channel.
    Post,
    /// An edit of a message.
    Edit,
    /// A reply in the thread of a message.
    Reply,
}

/// The body of an answer, as much of it as counts.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Body {
    ok: bool,
    error: Option<String>,
    /// The scopes that are missing.
    needed: Option<String>,
    /// The channel's id, whatever name it was asked for by.
    channel: Option<String>,
    /// The message's time, which is its id within the channel.
    ts: Option<String>,
}

/// The consequence of an answer for the attempt.
#[derive(Debug, PartialEq)]
pub(super) enum Outcome {
    /// Slack did it.
    Done(Place),
    /// The message cannot be edited, now or ever: a new one has to take its place.
    Anew,
    /// There can be no reply: it has to be a message of its own.
    AtTop,
    /// Slack had this message before and cannot find it: it has to be posted without its `client_msg_id`.
    Unknown,
    /// Nothing more can be done in this attempt.
    Answer(Answer),
}

/// Where a message stands; `None` when Slack did not say so.
#[derive(Debug, PartialEq)]
pub(super) struct Place(pub(super) Option<(String, String)>);

/// The consequence of one of Slack's error words.
enum Consequence {
    /// It asks to be left alone.
    Wait,
    Retry,
    /// A person has to mend something; what, in words.
    Pause(&'static str),
    Dead,
    Anew,
    AtTop,
    Unknown,
}

/// Judges an answer. `asked` is its `Retry-After`.
pub(super) fn judge(request: Request, status: StatusCode, asked: Option<Duration>, body: &str) -> Outcome {
    let read: Option<Body> = serde_json::from_str(body).ok();
    let line = status_line(status);
    let Some(read) = read.filter(|read| read.ok || read.error.is_some()) else {
        let answer = if status == StatusCode::TOO_MANY_REQUESTS {
            Answer::retry(line).after(asked.or(Some(LEFT_ALONE)))
        } else if status.is_success() {
            // A page of a proxy, for example.
            Answer::retry(format!("{line}, but not an answer of Slack; check `api_url`"))
        } else {
            Answer::retry(line).after(asked)
        };
        return Outcome::Answer(answer.with_response(body));
    };
    if read.ok && status.is_success() {
        return Outcome::Done(Place(read.channel.zip(read.ts)));
    }
    let word = read.error.unwrap_or_default();
    let needed = read.needed.filter(|_| word == "missing_scope");
    let answer = match consequence(request, &word) {
        Consequence::Anew => return Outcome::Anew,
        Consequence::AtTop => return Outcome::AtTop,
        Consequence::Unknown => return Outcome::Unknown,
        Consequence::Wait => Answer::retry(word).after(asked.or(Some(LEFT_ALONE))),
        // An answer with `Retry-After` asks to be left alone, whatever else it says.
        Consequence::Retry => Answer::retry(word).after(asked),
        Consequence::Dead => {
            let reason =
                format!("{word}: Slack cannot read this message; please report it, then retry the delivery");
            Answer::dead(word, reason)
        }
        Consequence::Pause(advice) => {
            let scope = needed.map(|needed| format!(" ({needed})")).unwrap_or_default();
            let reason = format!("{word}{scope}: {advice}, then resume the destination");
            Answer::pause(word, reason)
        }
    };
    Outcome::Answer(answer.with_response(body))
}

/// The consequence of Slack's word. A complaint about the token or the channel would meet every message, so the
/// destination is paused; only a complaint about the message makes the delivery dead.
fn consequence(request: Request, word: &str) -> Consequence {
    match (request, word) {
        (_, "ratelimited" | "rate_limited" | "message_limit_exceeded") => Consequence::Wait,
        // The channel is that of the message, which may not be the one of the config by now.
        (
            Request::Edit,
            "message_not_found"
            | "cant_update_message"
            | "edit_window_closed"
            | "block_mismatch"
            | "is_inactive"
            | "channel_not_found"
            | "not_in_channel",
        ) => Consequence::Anew,
        (
            Request::Reply,
            "cannot_reply_to_message"
            | "message_not_found"
            | "thread_not_found"
            | "thread_locked"
            | "restricted_action_non_threadable_channel"
            | "restricted_action_thread_locked",
        ) => Consequence::AtTop,
        (Request::Post | Request::Reply, "duplicate_message_not_found" | "duplicate_channel_not_found") => {
            Consequence::Unknown
        }
        (_, "missing_scope") => Consequence::Pause(
            "the app may not do this; give it the scope under OAuth & Permissions, and install it in the workspace again",
        ),
        (_, "invalid_auth" | "not_authed" | "account_inactive" | "not_allowed_token_type") => {
            Consequence::Pause(OTHER_TOKEN)
        }
        (_, word) if word.starts_with("token_") => Consequence::Pause(OTHER_TOKEN),
        (_, "no_permission" | "not_in_channel") => {
            Consequence::Pause("the app is not in the channel; invite it there with /invite @NAME-OF-THE-APP")
        }
        (_, "org_login_required" | "team_not_found") => Consequence::Pause(
            "the workspace is being moved, or is gone; when that is over, install the app there and set `token` to its token",
        ),
        (
            _,
            "ekm_access_denied"
            | "accesslimited"
            | "team_access_not_granted"
            | "access_denied"
            | "enterprise_is_restricted"
            | "two_factor_setup_required",
        ) => Consequence::Pause("an administrator of Slack does not let the app post from here; ask one"),
        (_, "channel_not_found") => Consequence::Pause(
            "the app sees no such channel; check `channel`, and if it is a private one, invite it there with /invite @NAME-OF-THE-APP",
        ),
        (_, "is_archived") => Consequence::Pause("unarchive the channel, or name another one in `channel`"),
        (_, word) if word.starts_with("restricted_action") => Consequence::Pause(
            "the channel's settings do not let the app post there; ask an administrator, or name another one in `channel`",
        ),
        (_, "messages_tab_disabled" | "user_not_found") => {
            Consequence::Pause("the app cannot write to this person; name a channel in `channel`")
        }
        (_, "deprecated_endpoint" | "method_deprecated") => {
            Consequence::Pause("Slack's API has changed; install a newer callwatch")
        }
        (_, "no_text" | "too_many_attachments" | "markdown_text_conflict" | "missing_post_type") => {
            Consequence::Dead
        }
        (_, word)
            if ["invalid_blocks", "invalid_metadata", "metadata_", "invalid_ar", "invalid_charset"]
                .iter()
                .any(|beginning| word.starts_with(beginning)) =>
        {
            Consequence::Dead
        }
        (_, word) if word.starts_with("msg_") && word.ends_with("too_long") => Consequence::Dead,
        // `internal_error`, `fatal_error`, `service_unavailable`, `request_timeout`, `team_added_to_org`, `update_failed`,
        // `external_channel_migrating`, and whatever Slack may think of.
        _ => Consequence::Retry,
    }
}

const OTHER_TOKEN: &str = "Slack does not take the token; put the Bot User OAuth Token of the app, under OAuth & Permissions, where `token` says";

impl Place {
    /// The part of the answer that is kept: without the message, which Slack says again.
    pub(super) fn response(&self) -> String {
        match &self.0 {
            Some((channel, _)) => json!({ "ok": true, "channel": channel }).to_string(),
            None => json!({ "ok": true }).to_string(),
        }
    }
}
