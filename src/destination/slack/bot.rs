//! Slack by an app's bot token: one message for each call and channel, which is edited as the call goes on.
//!
//! The memo of a lane says where its message stands and which rules it tells. An edit rings no bell, so what must be noticed
//! is a reply in the message's thread as well. Every request says which event it is for, in the `metadata` and, where it
//! posts, as a `client_msg_id`: Slack shows a message that it has had already only once, as long as it remembers it.

use std::{cmp::Reverse, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use reqwest::{
    Client, Url,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue},
};
use ring::digest;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::{
    SlackBotConfig, SlackThread,
    answer::{Outcome, Place, Request, judge},
    blocks,
    budget::{Budget, Deed},
};
use crate::{
    config::{Fingerprint, SecretError},
    destination::{
        Answer, Destination, MAX_MEMO, Notification, Reaction, Turn,
        answer::retry_after,
        exchange::exchange,
        message::{Message, Writer},
        rendering::{NotRendered, Renderer},
        secrets::FreshSecret,
    },
    event::{Event, Severity},
    http,
    kind::Kind,
    name::Name,
    privacy::{Mask, hex},
    rule::RuleSet,
};

/// How much of an answer is read, in bytes. Slack says the whole message again, with every letter beyond ASCII in six.
const MAX_ANSWER: usize = 1 << 20;

/// A channel that an app posts to.
pub(super) struct Bot {
    /// The destination's name, which tells its messages from those of another one in the same channel.
    name: Name,
    client: Client,
    api_url: Url,
    token: FreshSecret,
    channel: String,
    thread: SlackThread,
    writer: Arc<Writer>,
    renderer: Renderer,
    timeout: Duration,
    budget: Arc<Budget>,
}

/// The memo of a call's lane: its message.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Posted {
    /// The channel as the config wrote it; a message in another one is left as it is.
    to: String,
    /// The channel's id. An edit takes no name.
    channel: String,
    /// The message's time, which is its id within the channel.
    ts: String,
    /// The `sequence` of the newest delivery that the message tells.
    sequence: u64,
    /// The rules that it tells, the one that matters most first.
    rules: Vec<Name>,
    /// How many changes were left to the next edit, and are told by nothing else.
    #[serde(default, skip_serializing_if = "is_zero")]
    left: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The way a delivery takes.
enum Course {
    /// It is a new message.
    Post,
    /// The call's message is edited, with a reply when that must be noticed.
    Edit { posted: Posted, reply: bool },
    /// It is only a reply: the message tells it already, or something newer, which an edit would undo.
    Reply { posted: Posted, is_late: bool },
    /// The next delivery of the lane waits already, and its edit tells this one as well.
    Merge { posted: Posted },
}

/// Why a request could not be made. The delivery is tried again, because a secret or the config can be mended.
#[derive(Debug, thiserror::Error)]
enum NotReady {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("the token holds characters that no token has; nothing was sent")]
    Token,
    #[error("`api_url` cannot be extended; nothing was sent")]
    Url,
    #[error(transparent)]
    NotRendered(#[from] NotRendered),
    #[error("the event's record is damaged ({0}); nothing was sent")]
    Record(#[from] serde_json::Error),
}

/// The messages of one attempt.
struct Rendered {
    /// The call's message, which tells all rules so far.
    message: Value,
    /// The reply, or the message that stands in its place.
    reply: Option<Value>,
}

#[async_trait]
impl Destination for Bot {
    async fn deliver(&self, notification: &Notification<'_>) -> Answer {
        let deadline = Instant::now() + self.timeout;
        let (secret, answer) = match timeout_at(deadline, self.token.read()).await {
            Ok(Ok(secret)) => (Some(secret.clone()), self.attempt(&secret, notification, deadline).await),
            Ok(Err(error)) => (None, Answer::retry(error.to_string())),
            Err(_) => (None, Answer::retry(http::timed_out(self.timeout))),
        };
        answer.clean(&Mask::of(secret.as_ref().map(|secret| secret.expose_secret().trim())))
    }

    fn keeps_memos(&self) -> bool {
        true
    }

    fn turn(&self, notification: &Notification<'_>) -> Turn {
        let deed = match self.course(notification) {
            Course::Merge { .. } => return Turn::Unsent,
            Course::Edit { .. } => Deed::Edit,
            Course::Post | Course::Reply { .. } => Deed::Post(&self.channel),
        };
        self.budget.ask(deed, Instant::now()).map_or(Turn::Now, Turn::In)
    }

    fn longest_attempt(&self) -> Duration {
        self.timeout
    }
}

impl Bot {
    /// Reads the token, to share the budget of those who use the same; so it blocks.
    pub(super) fn new(
        name: &Name,
        config: &SlackBotConfig,
        writer: Writer,
        timeout: Duration,
        client: Client,
    ) -> Self {
        let place = format!("{:?}", config.token);
        let token = config.token.read().map(|token| token.expose_secret().to_owned());
        let parts = [config.api_url.as_str(), &token.unwrap_or(place)];
        let fingerprint = Fingerprint::of_parts(parts.map(str::as_bytes));
        Self {
            name: name.clone(),
            client,
            api_url: config.api_url.clone(),
            token: FreshSecret::new(config.token.clone()),
            channel: config.channel.clone(),
            thread: config.thread,
            writer: Arc::new(writer),
            renderer: Renderer::new(),
            timeout,
            budget: Budget::of_token(fingerprint.as_str()),
        }
    }

    fn course(&self, notification: &Notification<'_>) -> Course {
        let event = notification.event;
        let Some(posted) = Posted::of(notification, &self.channel) else { return Course::Post };
        let rings = match self.thread {
            SlackThread::Off => false,
            SlackThread::Updates => true,
            SlackThread::Critical => {
                !event.kinds.iter().any(Kind::is_relief)
                    && event.rules().any(|rule| severity(notification.rules, rule) == Severity::Critical)
            }
        };
        match posted.sequence.cmp(&notification.sequence) {
            std::cmp::Ordering::Greater => Course::Reply { posted, is_late: true },
            // An attempt before this one has edited the message, and could not reply.
            std::cmp::Ordering::Equal => Course::Reply { posted, is_late: false },
            std::cmp::Ordering::Less if notification.followed && !rings => Course::Merge { posted },
            std::cmp::Ordering::Less => Course::Edit { posted, reply: rings },
        }
    }

    async fn attempt(
        &self,
        token: &SecretString,
        notification: &Notification<'_>,
        deadline: Instant,
    ) -> Answer {
        let course = self.course(notification);
        if let Course::Merge { posted } = course {
            let left = posted.left + 1;
            let told = Posted { left, ..posted.telling(notification) };
            return Answer::delivered("left to the edit for the next change of this call, which tells both")
                .with_memo(told.memo());
        }
        let left = match &course {
            Course::Edit { posted, .. } => posted.left,
            Course::Post | Course::Reply { .. } | Course::Merge { .. } => 0,
        };
        let answer = match self.render(&course, notification, deadline).await {
            Ok(rendered) => {
                let sending = Sending { bot: self, token, notification, deadline };
                sending.send(course, rendered).await.unwrap_or_else(|error| Answer::retry(error.to_string()))
            }
            Err(error) => Answer::retry(error.to_string()),
        };
        carrying(answer, left)
    }

    async fn render(
        &self,
        course: &Course,
        notification: &Notification<'_>,
        deadline: Instant,
    ) -> Result<Rendered, NotReady> {
        let event = Arc::clone(notification.event);
        let is_late = matches!(course, Course::Reply { is_late: true, .. });
        let (posted, replies) = match course {
            Course::Post | Course::Merge { .. } => (None, false),
            Course::Edit { posted, reply } => (Some(posted), *reply),
            Course::Reply { posted, .. } => (Some(posted), true),
        };
        let telling = posted.map(|posted| posted.rules_with(notification));
        let (owned, writer) = (notification.owned(), Arc::clone(&self.writer));
        let render = move || -> Result<Rendered, serde_json::Error> {
            let own = owned.borrowed();
            let whole = telling.map(|rules| Arc::new(telling_all(&event, rules)));
            let message = match &whole {
                Some(event) => writer.write(&Notification { event, ..own })?,
                None => writer.write(&own)?,
            };
            let reply = if replies { Some(reply(writer.write(&own)?, is_late)) } else { None };
            let reply = reply.map(|reply| blocks::render(&reply));
            Ok(Rendered { message: blocks::render(&message), reply })
        };
        Ok(self.renderer.run(deadline, render).await??)
    }
}

/// The answer to an edit that also tells `left` earlier changes. Their deliveries count as delivered already, so a
/// failed edit says that those changes are not told, either.
fn carrying(mut answer: Answer, left: u64) -> Answer {
    // An answer with a memo is of a message that is posted or edited, and tells those changes.
    if left > 0 && answer.memo.is_none() && answer.reaction != Reaction::Delivered {
        let with = match left {
            1 => "; an earlier change of this call was left to this edit, and is not told either".to_owned(),
            left => format!(
                "; {left} earlier changes of this call were left to this edit, and are not told either"
            ),
        };
        answer.result.push_str(&with);
        if let Reaction::Dead(reason) = &mut answer.reaction {
            reason.push_str(&with);
        }
    }
    answer
}

/// The event as the message about all of these rules tells it.
fn telling_all(event: &Event, rules: Vec<Name>) -> Event {
    let mut rules = rules.into_iter();
    match rules.next() {
        Some(rule) => Event { rule, also: rules.collect(), ..event.clone() },
        None => event.clone(),
    }
}

/// A message as a reply: the fields stand in the message above it, unless it comes late.
fn reply(message: Message, is_late: bool) -> Message {
    match is_late {
        true => message,
        false => Message { facts: vec![], transcript: vec![], ..message },
    }
}

fn severity(rules: &RuleSet, rule: &Name) -> Severity {
    rules.get(rule).map(|rule| rule.text.severity).unwrap_or_default()
}

impl Posted {
    /// The message of the notification's call in this channel, if there is one.
    fn of(notification: &Notification<'_>, channel: &str) -> Option<Self> {
        notification.event.subject.call()?;
        // A memo that cannot be read is no reason to hold anything back: there is a new message then.
        let posted = Self::deserialize(notification.memo?).ok()?;
        (posted.to == channel).then_some(posted)
    }

    /// The rules that the message tells once it tells this notification as well, the one that matters most first. Of those
    /// that matter as much, the notification's own go first: they are about the call as it is now.
    fn rules_with(&self, notification: &Notification<'_>) -> Vec<Name> {
        let mut rules: Vec<Name> = notification.event.rules().cloned().collect();
        let others: Vec<_> = self.rules.iter().filter(|rule| !rules.contains(rule)).cloned().collect();
        rules.extend(others);
        rules.sort_by_key(|rule| Reverse(severity(notification.rules, rule)));
        rules
    }

    /// The same once it tells this notification.
    fn telling(self, notification: &Notification<'_>) -> Self {
        let rules = self.rules_with(notification);
        Self { rules, sequence: self.sequence.max(notification.sequence), ..self }
    }

    /// As a memo. Names of rules beyond its limit are left out, those that matter least first.
    fn memo(mut self) -> Option<Value> {
        loop {
            let memo = serde_json::to_value(&self).ok()?;
            if memo.to_string().len() <= MAX_MEMO {
                return Some(memo);
            }
            self.rules.pop()?;
        }
    }
}

/// The requests of one attempt.
struct Sending<'a> {
    bot: &'a Bot,
    token: &'a SecretString,
    notification: &'a Notification<'a>,
    deadline: Instant,
}

impl Sending<'_> {
    async fn send(&self, course: Course, rendered: Rendered) -> Result<Answer, NotReady> {
        let Rendered { message, reply } = rendered;
        match course {
            Course::Post | Course::Merge { .. } => self.post(message, None).await,
            Course::Edit { posted, .. } => {
                let place = json!({ "channel": posted.channel, "ts": posted.ts });
                match self.ask(Request::Edit, message.clone(), place).await? {
                    Outcome::Done(place) => {
                        let told = Posted { left: 0, ..posted.telling(self.notification) };
                        match reply {
                            Some(reply) => {
                                self.bot.budget.spend(Deed::Post(&self.bot.channel), Instant::now());
                                self.reply(reply, told).await
                            }
                            None => Ok(arrived("edited", &place).with_memo(told.memo())),
                        }
                    }
                    Outcome::Anew => {
                        self.bot.budget.spend(Deed::Post(&self.bot.channel), Instant::now());
                        self.post(message, Some(posted)).await
                    }
                    outcome => Ok(unexpected(outcome)),
                }
            }
            Course::Reply { posted, .. } => {
                let told = posted.telling(self.notification);
                // The course of a reply is always rendered as one.
                self.reply(reply.unwrap_or(message), told).await
            }
        }
    }

    /// Posts a new message of the call, in place of the one `before` that cannot be edited any more.
    async fn post(&self, message: Value, before: Option<Posted>) -> Result<Answer, NotReady> {
        let Notification { event, sequence, .. } = *self.notification;
        Ok(match self.ask_once(Request::Post, message, json!({ "channel": self.bot.channel })).await? {
            Outcome::Done(place) => {
                let answer = arrived("posted", &place);
                let is_edited_later = event.subject.call().is_some() && !event.id.is_test();
                match place.0.filter(|_| is_edited_later) {
                    Some((channel, ts)) => {
                        let before = before.map(|before| before.rules).unwrap_or_default();
                        let posted = Posted {
                            to: self.bot.channel.clone(),
                            channel,
                            ts,
                            sequence,
                            rules: before,
                            left: 0,
                        };
                        answer.with_memo(posted.telling(self.notification).memo())
                    }
                    None => answer,
                }
            }
            outcome => unexpected(outcome),
        })
    }

    /// Replies to the call's message, which tells the notification already; at the top of the channel when the thread takes
    /// no replies.
    async fn reply(&self, reply: Value, told: Posted) -> Result<Answer, NotReady> {
        let place = json!({ "channel": told.channel, "thread_ts": told.ts });
        let answer = match self.ask_once(Request::Reply, reply.clone(), place).await? {
            Outcome::Done(place) => arrived("replied in the thread", &place),
            Outcome::AtTop => {
                self.bot.budget.spend(Deed::Post(&self.bot.channel), Instant::now());
                let place = json!({ "channel": self.bot.channel });
                match self.ask_once(Request::Post, reply, place).await? {
                    Outcome::Done(place) => arrived("posted, as the thread takes no replies", &place),
                    outcome => unexpected(outcome),
                }
            }
            outcome => unexpected(outcome),
        };
        Ok(answer.with_memo(told.memo()))
    }

    /// As [`Sending::ask`], for a request that posts: one that was repeated because its answer was lost shows nothing twice.
    async fn ask_once(&self, request: Request, message: Value, place: Value) -> Result<Outcome, NotReady> {
        let id = self.client_msg_id(request, &place);
        let known = with(place.clone(), json!({ "client_msg_id": id }));
        match self.ask(request, message.clone(), known).await? {
            Outcome::Unknown => self.ask(request, message, place).await,
            outcome => Ok(outcome),
        }
    }

    /// Makes one request, and says what follows from the answer.
    async fn ask(&self, request: Request, message: Value, place: Value) -> Result<Outcome, NotReady> {
        let (method, deed) = match request {
            Request::Edit => ("chat.update", Deed::Edit),
            Request::Post | Request::Reply => ("chat.postMessage", Deed::Post(&self.bot.channel)),
        };
        let url = self.bot.api_url.join(method).map_err(|_| NotReady::Url)?;
        let token = self.token.expose_secret().trim();
        let mut authorization =
            HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| NotReady::Token)?;
        authorization.set_sensitive(true);
        let metadata = json!({ "metadata": {
            "event_type": "callwatch",
            "event_payload": { "event_id": self.notification.event.id.as_str() },
        } });
        let body = serde_json::to_vec(&with(with(message, metadata), place))?;
        let json = HeaderValue::from_static("application/json; charset=utf-8");
        let posting = self.bot.client.post(url).header(AUTHORIZATION, authorization);
        let posting = posting.header(CONTENT_TYPE, json).body(body);
        let answered = exchange(posting, MAX_ANSWER, self.deadline, self.bot.timeout).await;
        let (status, headers, body) = match answered {
            Ok(answered) => answered,
            Err(answer) => return Ok(Outcome::Answer(answer)),
        };
        let outcome = judge(request, status, retry_after(status, &headers, self.notification.now), &body);
        // Others who use the same token need not find out for themselves.
        if let Outcome::Answer(Answer { reaction: Reaction::Retry { after: Some(after) }, .. }) = &outcome {
            self.bot.budget.block(deed, Instant::now() + (*after).min(Duration::from_secs(3600)));
        }
        Ok(outcome)
    }

    /// The id of a message, a UUID (RFC 9562, version 8) that follows from the event: a repeat has the same.
    fn client_msg_id(&self, request: Request, place: &Value) -> String {
        let event = &self.notification.event.id;
        let what = format!("{event}\n{}\n{request:?}\n{place}", self.bot.name);
        let digest = digest::digest(&digest::SHA256, what.as_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest.as_ref()[..16]);
        bytes[6] = bytes[6] & 0x0f | 0x80;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let hex = hex(&bytes);
        let part = |range: std::ops::Range<usize>| &hex[range];
        [part(0..8), part(8..12), part(12..16), part(16..20), part(20..32)].join("-")
    }
}

/// Both objects in one.
fn with(mut object: Value, other: Value) -> Value {
    if let (Value::Object(fields), Value::Object(other)) = (&mut object, other) {
        fields.extend(other);
    }
    object
}

fn arrived(how: &str, place: &Place) -> Answer {
    Answer::delivered(format!("ok, {how}")).with_response(place.response())
}

/// The answer to a request that cannot be made in another way.
fn unexpected(outcome: Outcome) -> Answer {
    match outcome {
        Outcome::Answer(answer) => answer,
        Outcome::Done(place) => arrived("done", &place),
        Outcome::Anew => {
            Answer::retry("Slack says that the message cannot be edited, although none was to be edited")
        }
        Outcome::AtTop => Answer::retry("Slack says that there can be no reply, although none was sent"),
        Outcome::Unknown => Answer::retry("Slack says that it had the message before, and cannot find it"),
    }
}

/// Shows nothing that could be a secret.
impl fmt::Debug for Bot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bot")
            .field("channel", &self.channel)
            .field("thread", &self.thread)
            .finish_non_exhaustive()
    }
}
