//! Messages to Slack by an app's bot token: one for each call, edited in place.

use std::time::Duration;

use callwatch::{
    config::Secret,
    demo::receivers::{InChannel, Misbehaviour, SlackReceiver},
    destination::{SlackBotConfig, SlackConfig, SlackThread, SlackWay, Turn},
    event::Severity,
};
use serde_json::{Value, json};
use wiremock::{Mock, MockServer, Request, ResponseTemplate, matchers::path};

use super::{
    slack::{assert_within_limits, text, title},
    *,
};

const TOKEN: &str = "xoxb-1234-5678-hush";

fn bot(api_url: &str, token: &str, thread: SlackThread) -> DestinationConfig {
    config(DestinationKind::Slack(SlackConfig {
        way: SlackWay::Bot(SlackBotConfig {
            token: token.into(),
            channel: "#calls".to_owned(),
            thread,
            api_url: api_url.parse().unwrap(),
        }),
        connection: Default::default(),
    }))
}

/// The deliveries of one call to a channel, with the memo that goes from one to the next.
struct Lane {
    slack: SlackReceiver,
    destination: Arc<dyn Destination>,
    rules: Rules,
    memo: Option<serde_json::Value>,
}

impl Lane {
    async fn new(thread: SlackThread) -> Self {
        let slack = SlackReceiver::start().await.unwrap();
        let destination = destination(&bot(slack.api_url().as_str(), &slack.token(), thread));
        let ruled = [
            ("feed", text(None, None, Severity::Info)),
            ("booked", text(Some("Booked by {{ call.callerNumber }}"), None, Severity::Warning)),
            ("unhappy", text(Some("Unhappy caller"), None, Severity::Critical)),
        ];
        let rules = ruled.map(|(name, text)| super::rule(&name.into(), &text));
        Self { slack, destination, rules: RuleSet::of(&rules), memo: None }
    }

    async fn deliver(&mut self, event: &Event, sequence: u64, followed: bool) -> Answer {
        let event = &Arc::new(event.clone());
        let memo = self.memo.as_ref();
        let notification = Notification { event, rules: &self.rules, sequence, memo, followed, now: now() };
        let answer = self.destination.deliver(&notification).await;
        if let Some(memo) = &answer.memo {
            self.memo = Some(memo.clone());
        }
        answer
    }

    async fn delivered(&mut self, event: &Event, sequence: u64) -> String {
        let answer = self.deliver(event, sequence, false).await;
        assert_eq!(answer.reaction, Reaction::Delivered, "{}", answer.result);
        answer.result
    }

    fn channel(&self) -> Vec<InChannel> {
        let channel = self.slack.channel();
        channel.iter().for_each(|it| assert_within_limits(&it.message));
        assert_eq!(self.slack.inbox().last_refusal(), None);
        channel
    }
}

/// The n-th event of a call by this rule.
fn of(rule: &str, kind: Kind, number: u64) -> Event {
    let id =
        EventId::compute(&"clinic".into(), "6789abcdef0123456789abcd", &rule.into(), &[1], number as u32);
    Event { id, rule: rule.into(), ..event(kind) }
}

fn footer(message: &Value) -> &str {
    message["blocks"].as_array().unwrap().last().unwrap()["elements"][0]["text"].as_str().unwrap()
}

#[tokio::test]
async fn a_call_has_one_message_that_is_edited_as_it_goes_on() {
    let mut lane = Lane::new(SlackThread::Critical).await;
    assert_eq!(lane.delivered(&of("feed", Kind::Started, 1), 1).await, "ok, posted");
    assert_eq!(lane.delivered(&of("feed", Kind::Ended, 2), 2).await, "ok, edited");
    assert_eq!(lane.delivered(&of("booked", Kind::Analyzed, 3), 3).await, "ok, edited");
    let channel = lane.channel();
    assert_eq!((channel.len(), channel[0].edits), (1, 2));
    let message = &channel[0].message;
    assert_eq!(title(message), "⚠️ Booked by +33612345678");
    assert_eq!(message["blocks"][1]["text"]["text"], "Also: Feed");
    assert!(
        footer(message)
            .starts_with("*warning* · Why you get this: Call analyzed (rules *booked*, *feed*) · "),
        "{}",
        footer(message)
    );
    // The title stays that of the most severe rule.
    lane.delivered(&of("feed", Kind::Updated, 4), 4).await;
    assert_eq!(title(&lane.channel()[0].message), "⚠️ Booked by +33612345678");
    // Another call has another message.
    let other = Event { subject: call_of("clinic", "other"), ..of("feed", Kind::Ended, 5) };
    lane.memo = None;
    lane.delivered(&other, 1).await;
    assert_eq!(lane.channel().len(), 2);
}

#[tokio::test]
async fn what_must_be_noticed_is_a_reply_as_well() {
    for (thread, replies) in [
        (SlackThread::Critical, vec!["🚨 Unhappy caller"]),
        (SlackThread::Updates, vec!["Call ended · +33612345678 · 2m 25s", "🚨 Unhappy caller"]),
        (SlackThread::Off, vec![]),
    ] {
        let mut lane = Lane::new(thread).await;
        lane.delivered(&of("feed", Kind::Started, 1), 1).await;
        lane.delivered(&of("feed", Kind::Ended, 2), 2).await;
        lane.delivered(&of("unhappy", Kind::Analyzed, 3), 3).await;
        let channel = lane.channel();
        assert_eq!(title(&channel[0].message), "🚨 Unhappy caller", "{thread:?}");
        let replied: Vec<_> = channel[1..].iter().map(|it| title(&it.message)).collect();
        assert_eq!(replied, replies, "{thread:?}");
        assert!(channel[1..].iter().all(|it| it.thread.as_ref() == Some(&channel[0].ts)), "{thread:?}");
    }
}

#[tokio::test]
async fn words_and_metadata_say_all_and_no_more() {
    let mut lane = Lane::new(SlackThread::Critical).await;
    let event = of("booked", Kind::Ended, 1);
    lane.delivered(&event, 1).await;
    let message = &lane.channel()[0].message;
    let words = message["text"].as_str().unwrap();
    assert!(words.starts_with("⚠️ Warning: Booked by +33612345678\n"), "{words}");
    for part in [
        "Sentiment: positive",
        "appointment availability next Tuesday",
        "Began: Mon 15 Dec 2025",
        "Why you get this: Call ended (rule booked) · source clinic",
    ] {
        assert!(words.contains(part), "{words}");
    }
    let payload = json!({ "event_type": "callwatch", "event_payload": { "event_id": event.id.as_str() } });
    assert_eq!(message["metadata"], payload);
    assert_eq!(message["channel"], "#calls");
    // The answer is kept for 30 days, so nothing of the call may be in it, and the memo is kept as long.
    let answer = lane.deliver(&of("feed", Kind::Updated, 2), 2, false).await;
    assert_eq!(answer.response, r#"{"ok":true,"channel":"C0DEMO"}"#);
    let posted = json!({ "to": "#calls", "channel": "C0DEMO", "ts": "1765800000.000001", "sequence": 2, "rules": ["booked", "feed"] });
    assert_eq!(answer.memo, Some(posted));
}

#[tokio::test]
async fn a_post_whose_answer_was_lost_is_shown_once() {
    let mut lane = Lane::new(SlackThread::Critical).await;
    lane.slack.misbehave(1, Misbehaviour::LoseAnswer);
    let event = of("feed", Kind::Started, 1);
    let answer = lane.deliver(&event, 1, false).await;
    assert!(matches!(answer.reaction, Reaction::Retry { .. }), "{answer:?}");
    assert_eq!(answer.memo, None);
    lane.delivered(&event, 1).await;
    lane.delivered(&of("feed", Kind::Ended, 2), 2).await;
    let channel = lane.channel();
    assert_eq!((channel.len(), channel[0].edits), (1, 1));
}

#[tokio::test]
async fn a_reply_that_failed_is_repeated_without_the_edit() {
    let mut lane = Lane::new(SlackThread::Critical).await;
    lane.delivered(&of("feed", Kind::Started, 1), 1).await;
    // The edit goes through, and the reply does not.
    lane.slack.misbehave(1, Misbehaviour::Delay(Duration::ZERO));
    lane.slack.misbehave(1, Misbehaviour::Status { code: 500, retry_after: None });
    let event = of("unhappy", Kind::Ended, 2);
    let answer = lane.deliver(&event, 2, false).await;
    assert_eq!(answer.reaction, Reaction::Retry { after: None });
    assert_eq!(lane.delivered(&event, 2).await, "ok, replied in the thread");
    let channel = lane.channel();
    assert_eq!((channel.len(), channel[0].edits), (2, 1));
}

#[tokio::test]
async fn what_comes_late_is_a_reply_and_undoes_nothing() {
    let mut lane = Lane::new(SlackThread::Off).await;
    lane.delivered(&of("feed", Kind::Started, 1), 1).await;
    lane.delivered(&of("feed", Kind::Ended, 3), 3).await;
    // It had been given up, and a person retried it.
    lane.delivered(&of("booked", Kind::Updated, 2), 2).await;
    let channel = lane.channel();
    assert_eq!(title(&channel[0].message), "Call ended · +33612345678 · 2m 25s");
    assert_eq!((channel.len(), title(&channel[1].message)), (2, "⚠️ Booked by +33612345678"));
    assert!(channel[1].message["blocks"].to_string().contains("*Sentiment*"), "it stands nowhere else");
    lane.delivered(&of("feed", Kind::Updated, 4), 4).await;
    assert!(footer(&lane.channel()[0].message).contains("(rules *booked*, *feed*)"));
}

#[tokio::test]
async fn edits_that_wait_together_are_one_unless_they_ring() {
    let mut lane = Lane::new(SlackThread::Critical).await;
    lane.deliver(&of("feed", Kind::Started, 1), 1, true).await;
    assert_eq!(lane.channel().len(), 1, "a new message is posted at once");
    let merged = lane.deliver(&of("booked", Kind::Ended, 2), 2, true).await;
    assert_eq!(merged.reaction, Reaction::Delivered);
    assert_eq!(merged.result, "left to the edit for the next change of this call, which tells both");
    assert_eq!(lane.channel()[0].edits, 0);
    lane.deliver(&of("unhappy", Kind::Analyzed, 3), 3, true).await;
    assert_eq!(lane.channel().len(), 2, "a critical one does not wait");
    lane.delivered(&of("feed", Kind::Updated, 4), 4).await;
    let channel = lane.channel();
    let footer = footer(&channel[0].message);
    assert!(
        footer.starts_with("*critical* · Why you get this: Call updated (rules *unhappy*, *booked*, *feed*)"),
        "{footer}"
    );
    assert_eq!(channel[0].edits, 2);
}

#[tokio::test]
async fn what_was_left_to_an_edit_that_is_given_up_is_told_by_the_next_one() {
    let mut lane = Lane::new(SlackThread::Off).await;
    lane.delivered(&of("feed", Kind::Started, 1), 1).await;
    let merged = lane.deliver(&of("booked", Kind::Ended, 2), 2, true).await;
    assert_eq!(merged.result, "left to the edit for the next change of this call, which tells both");
    // The edit that was to tell it fails until it is given up.
    lane.slack.misbehave(1, Misbehaviour::Status { code: 500, retry_after: None });
    let failed = lane.deliver(&of("unhappy", Kind::Analyzed, 3), 3, false).await;
    assert!(matches!(failed.reaction, Reaction::Retry { .. }), "{}", failed.result);
    assert_eq!(lane.channel()[0].edits, 0);
    lane.delivered(&of("feed", Kind::Updated, 4), 4).await;
    let channel = lane.channel();
    let footer = footer(&channel[0].message);
    assert!(footer.contains("(rules *booked*, *feed*)"), "{footer}");
    // A person retries the one that was given up, and it comes late.
    lane.delivered(&of("unhappy", Kind::Analyzed, 3), 3).await;
    assert_eq!(lane.channel().len(), 2);
}

#[tokio::test]
async fn an_edit_that_is_given_up_says_what_was_left_to_it() {
    let mut lane = Lane::new(SlackThread::Off).await;
    lane.deliver(&of("feed", Kind::Started, 1), 1, true).await;
    for number in [2, 3] {
        let merged = lane.deliver(&of("booked", Kind::Ended, number), number, true).await;
        assert!(merged.result.starts_with("left to the edit"), "{}", merged.result);
    }
    let refusing = saying(EDIT, 200, json!({ "ok": false, "error": "msg_too_long" })).await;
    // The same memo, as one that an older delivery has left.
    let older = |memo: &Option<Value>| json!({ "sequence": 1, "left": memo.as_ref().unwrap()["left"] });
    let memo = |lane: &Lane| {
        let mut memo = posted_before();
        memo.as_object_mut().unwrap().extend(older(&lane.memo).as_object().unwrap().clone());
        memo["left"].is_null().then(|| memo.as_object_mut().unwrap().remove("left"));
        memo
    };
    let given_up = sent(&refusing, Some(&memo(&lane)), of("feed", Kind::Analyzed, 4)).await;
    let left = "; 2 earlier changes of this call were left to this edit, and are not told either";
    assert!(given_up.result.ends_with(left), "{}", given_up.result);
    assert!(matches!(&given_up.reaction, Reaction::Dead(why) if why.ends_with(left)), "{given_up:?}");
    // An edit that arrives tells them, so the next one has nothing to say about them.
    assert_eq!(lane.delivered(&of("feed", Kind::Updated, 5), 5).await, "ok, edited");
    let given_up = sent(&refusing, Some(&memo(&lane)), of("feed", Kind::Updated, 6)).await;
    assert!(matches!(&given_up.reaction, Reaction::Dead(why) if !why.contains("left to")), "{given_up:?}");
}

#[tokio::test]
async fn what_is_about_no_call_is_never_edited() {
    let mut lane = Lane::new(SlackThread::Critical).await;
    for number in 1..=2 {
        let event = Event { id: EventId::from(format!("evt_{number}").as_str()), ..source_event() };
        let answer = lane.deliver(&event, number, false).await;
        assert_eq!((answer.reaction, answer.memo), (Reaction::Delivered, None));
    }
    assert_eq!(lane.channel().len(), 2);
    let test = Event { id: EventId::test(7), ..of("feed", Kind::Ended, 1) };
    assert_eq!(lane.deliver(&test, 1, false).await.memo, None, "nor is a test");
}

#[tokio::test]
async fn another_channel_in_the_config_begins_a_new_message_there() {
    let mut lane = Lane::new(SlackThread::Critical).await;
    lane.delivered(&of("feed", Kind::Started, 1), 1).await;
    lane.memo.as_mut().unwrap()["to"] = json!("#elsewhere");
    lane.delivered(&of("feed", Kind::Ended, 2), 2).await;
    assert_eq!(lane.channel().len(), 2);
    // A memo of another version is none.
    lane.memo = Some(json!({ "ts": 7 }));
    lane.delivered(&of("feed", Kind::Updated, 3), 3).await;
    assert_eq!(lane.channel().len(), 3);
}

/// A Slack that says this to the method, and that all is well to the other.
async fn saying(method: &str, status: u16, body: Value) -> MockServer {
    let server = MockServer::start().await;
    let answer = ResponseTemplate::new(status).set_body_json(body);
    Mock::given(path(format!("/{method}"))).respond_with(answer).mount(&server).await;
    let fine =
        json!({ "ok": true, "channel": "C9", "ts": "9.9", "message": { "text": "a secret of the call" } });
    let answer = ResponseTemplate::new(200).set_body_json(fine);
    Mock::given(wiremock::matchers::any()).respond_with(answer).mount(&server).await;
    server
}

fn posted_before() -> Value {
    json!({ "to": "#calls", "channel": "C9", "ts": "1.1", "sequence": 1, "rules": ["feed"] })
}

async fn sent(server: &MockServer, memo: Option<&Value>, event: Event) -> Answer {
    let config = bot(&format!("{}/", server.uri()), TOKEN, SlackThread::Critical);
    let critical = text(None, None, Severity::Critical);
    let rules = RuleSet::of(&[super::rule(&"unhappy".into(), &critical)]);
    let event = &Arc::new(event);
    let notification = Notification { event, rules: &rules, sequence: 2, memo, followed: false, now: now() };
    destination(&config).deliver(&notification).await
}

fn requests(received: &[Request]) -> Vec<(&str, Value)> {
    let read = |it: &Request| serde_json::from_slice(&it.body).unwrap();
    received.iter().map(|it| (it.url.path().trim_start_matches('/'), read(it))).collect()
}

const POST: &str = "chat.postMessage";
const EDIT: &str = "chat.update";

#[tokio::test]
async fn slacks_words_mean_what_slack_says() {
    let wait = |answer: &Answer| answer.reaction == Reaction::Retry { after: Some(Duration::from_secs(30)) };
    let retry = |answer: &Answer| answer.reaction == Reaction::Retry { after: None };
    let dead =
        |answer: &Answer| matches!(&answer.reaction, Reaction::Dead(why) if why.contains("please report it"));
    let pause = |answer: &Answer| matches!(&answer.reaction, Reaction::Pause(why) if why.ends_with("then resume the destination"));
    type Is<'a> = &'a dyn Fn(&Answer) -> bool;
    let table: [(Is<'_>, &[&str]); 4] = [
        (&wait, &["ratelimited", "rate_limited", "message_limit_exceeded"]),
        (
            &retry,
            &[
                "internal_error",
                "fatal_error",
                "service_unavailable",
                "request_timeout",
                "team_added_to_org",
                "update_failed",
                "external_channel_migrating",
                "something_new",
            ],
        ),
        (
            &pause,
            &[
                "invalid_auth",
                "not_authed",
                "account_inactive",
                "token_expired",
                "token_revoked",
                "missing_scope",
                "no_permission",
                "org_login_required",
                "ekm_access_denied",
                "accesslimited",
                "team_access_not_granted",
                "not_allowed_token_type",
                "restricted_action",
                "restricted_action_read_only_channel",
                "restricted_action_thread_only_channel",
                "is_archived",
            ],
        ),
        (
            &dead,
            &[
                "invalid_blocks",
                "invalid_blocks_format",
                "msg_too_long",
                "msg_blocks_too_long",
                "no_text",
                "metadata_too_large",
                "metadata_must_be_sent_from_app",
                "invalid_metadata_format",
                "invalid_arguments",
            ],
        ),
    ];
    for (is, words) in table {
        for word in words {
            for (method, memo) in [(POST, None), (EDIT, Some(posted_before()))] {
                let server = saying(method, 200, json!({ "ok": false, "error": word })).await;
                let answer = sent(&server, memo.as_ref(), of("feed", Kind::Ended, 1)).await;
                assert!(is(&answer), "{method} {word}: {answer:?}");
                assert!(answer.result.contains(word), "{answer:?}");
                assert_eq!(server.received_requests().await.unwrap().len(), 1, "{method} {word}");
            }
        }
    }
    // Of a new message these say that a person has to mend something.
    for word in ["channel_not_found", "not_in_channel"] {
        let server = saying(POST, 200, json!({ "ok": false, "error": word })).await;
        let answer = sent(&server, None, of("feed", Kind::Ended, 1)).await;
        assert!(pause(&answer), "{answer:?}");
        assert!(matches!(&answer.reaction, Reaction::Pause(why) if why.contains("/invite @")), "{answer:?}");
    }
    let server =
        saying(POST, 200, json!({ "ok": false, "error": "missing_scope", "needed": "chat:write" })).await;
    let answer = sent(&server, None, of("feed", Kind::Ended, 1)).await;
    assert!(
        matches!(&answer.reaction, Reaction::Pause(why) if why.starts_with("missing_scope (chat:write)"))
    );
}

#[tokio::test]
async fn a_message_that_cannot_be_edited_is_posted_anew() {
    for word in [
        "message_not_found",
        "cant_update_message",
        "edit_window_closed",
        "block_mismatch",
        "is_inactive",
        "channel_not_found",
        "not_in_channel",
    ] {
        let server = saying(EDIT, 200, json!({ "ok": false, "error": word })).await;
        let answer = sent(&server, Some(&posted_before()), of("unhappy", Kind::Ended, 1)).await;
        assert_eq!(answer.reaction, Reaction::Delivered, "{word}");
        let received = server.received_requests().await.unwrap();
        let requests = requests(&received);
        // A new message rings by itself, so there is no reply.
        assert_eq!(requests.iter().map(|it| it.0).collect::<Vec<_>>(), [EDIT, POST], "{word}");
        assert_eq!(
            (&requests[1].1["channel"], &requests[1].1["thread_ts"]),
            (&json!("#calls"), &Value::Null)
        );
        let memo = json!({ "to": "#calls", "channel": "C9", "ts": "9.9", "sequence": 2, "rules": ["unhappy", "feed"] });
        assert_eq!(answer.memo, Some(memo), "{word}");
    }
}

#[tokio::test]
async fn a_reply_that_the_thread_does_not_take_is_a_message_of_its_own() {
    for word in [
        "cannot_reply_to_message",
        "restricted_action_non_threadable_channel",
        "restricted_action_thread_locked",
        "thread_not_found",
    ] {
        let server = MockServer::start().await;
        let refused = ResponseTemplate::new(200).set_body_json(json!({ "ok": false, "error": word }));
        let is_reply = |request: &Request| String::from_utf8_lossy(&request.body).contains("thread_ts");
        Mock::given(path(format!("/{POST}"))).and(is_reply).respond_with(refused).mount(&server).await;
        let fine =
            ResponseTemplate::new(200).set_body_json(json!({ "ok": true, "channel": "C9", "ts": "1.1" }));
        Mock::given(wiremock::matchers::any()).respond_with(fine).mount(&server).await;
        let answer = sent(&server, Some(&posted_before()), of("unhappy", Kind::Ended, 1)).await;
        assert_eq!(answer.reaction, Reaction::Delivered, "{word}");
        let received = server.received_requests().await.unwrap();
        let requests = requests(&received);
        assert_eq!(requests.iter().map(|it| it.0).collect::<Vec<_>>(), [EDIT, POST, POST], "{word}");
        assert_eq!((&requests[1].1["thread_ts"], requests[2].1.get("thread_ts")), (&json!("1.1"), None));
        assert_eq!(answer.memo.unwrap()["ts"], "1.1", "the call's message stays the same");
    }
}

#[tokio::test]
async fn a_message_that_slack_has_had_and_lost_is_posted_as_another() {
    let server = MockServer::start().await;
    let lost = json!({ "ok": false, "error": "duplicate_message_not_found" });
    let is_known = |request: &Request| String::from_utf8_lossy(&request.body).contains("client_msg_id");
    Mock::given(is_known).respond_with(ResponseTemplate::new(200).set_body_json(lost)).mount(&server).await;
    let fine = json!({ "ok": true, "channel": "C9", "ts": "9.9" });
    Mock::given(wiremock::matchers::any())
        .respond_with(ResponseTemplate::new(200).set_body_json(fine))
        .mount(&server)
        .await;
    let answer = sent(&server, None, of("feed", Kind::Ended, 1)).await;
    assert_eq!((answer.reaction, answer.memo.unwrap()["ts"].as_str()), (Reaction::Delivered, Some("9.9")));
}

#[tokio::test]
async fn slack_is_left_alone_as_long_as_it_asks() {
    let server = MockServer::start().await;
    let busy = ResponseTemplate::new(429)
        .insert_header("retry-after", "70")
        .set_body_json(json!({ "ok": false, "error": "ratelimited" }));
    Mock::given(wiremock::matchers::any()).respond_with(busy).mount(&server).await;
    let answer = sent(&server, None, of("feed", Kind::Ended, 1)).await;
    assert_retry(&answer, Some(Duration::from_secs(70)), "ratelimited");
    // Others that use the same token there need not find out themselves.
    let config = bot(&format!("{}/", server.uri()), TOKEN, SlackThread::Critical);
    let event = Arc::new(of("feed", Kind::Ended, 2));
    let rules = Rules::default();
    let notification =
        Notification { event: &event, rules: &rules, sequence: 1, memo: None, followed: false, now: now() };
    let other = destination(&config);
    let wait = |other: &Arc<dyn Destination>| match other.turn(&notification) {
        Turn::In(wait) => Some(wait),
        _ => None,
    };
    // Its own destination is gone, and with it what was known of the token; a second one beside it is not.
    assert_eq!(wait(&other), None);
    let busy = deliver(&config, &event).await;
    assert_retry(&busy, Some(Duration::from_secs(70)), "ratelimited");
    assert!(wait(&other).unwrap() > Duration::from_secs(60));

    let server = MockServer::start().await;
    Mock::given(wiremock::matchers::any()).respond_with(ResponseTemplate::new(429)).mount(&server).await;
    let answer = sent(&server, None, of("feed", Kind::Ended, 1)).await;
    assert_retry(&answer, Some(Duration::from_secs(30)), "429 Too Many Requests");
}

#[tokio::test]
async fn answers_that_are_not_slacks_and_servers_that_are_not_there() {
    let server = MockServer::start().await;
    let page = ResponseTemplate::new(200).set_body_string("<html>Welcome to our proxy</html>");
    Mock::given(wiremock::matchers::any()).respond_with(page).mount(&server).await;
    let answer = sent(&server, None, of("feed", Kind::Ended, 1)).await;
    assert_retry(&answer, None, "200 OK, but not an answer of Slack; check `api_url`");
    let server = saying(POST, 503, json!({ "ok": true, "channel": "C", "ts": "1" })).await;
    let answer = sent(&server, None, of("feed", Kind::Ended, 1)).await;
    assert!(matches!(answer.reaction, Reaction::Retry { .. }), "{answer:?}");
    let config = bot("http://127.0.0.1:1/", TOKEN, SlackThread::Critical);
    assert_retry(&deliver(&config, &event(Kind::Ended)).await, None, "connection refused");
}

#[tokio::test]
async fn the_token_is_a_secret_and_what_slack_repeats_of_the_call_is_not_kept() {
    let echo = |request: &Request| {
        let token = request.headers["authorization"].to_str().unwrap();
        ResponseTemplate::new(200)
            .set_body_json(json!({ "ok": false, "error": "invalid_auth", "token": token }))
    };
    let server = MockServer::start().await;
    Mock::given(wiremock::matchers::any()).respond_with(echo).mount(&server).await;
    let config = bot(&format!("{}/", server.uri()), TOKEN, SlackThread::Critical);
    let answer = deliver(&config, &event(Kind::Ended)).await;
    let shown = format!("{answer:?} {config:?}");
    assert!(shown.contains("•••") && !shown.contains("hush"), "{shown}");

    let server = saying("nothing", 200, json!({})).await;
    let answer = sent(&server, None, of("feed", Kind::Ended, 1)).await;
    assert!(!format!("{answer:?}").contains("a secret of the call"), "{answer:?}");

    let missing = SlackBotConfig {
        token: Secret::Env("CALLWATCH_NOT_SET".to_owned()),
        channel: "C1".to_owned(),
        thread: SlackThread::Off,
        api_url: server.uri().parse().unwrap(),
    };
    let missing = SlackConfig { way: SlackWay::Bot(missing), connection: Default::default() };
    let answer = deliver(&super::config(DestinationKind::Slack(missing)), &event(Kind::Ended)).await;
    assert_retry(&answer, None, "the environment variable CALLWATCH_NOT_SET is not set");
}

#[tokio::test]
async fn long_messages_are_cut_to_what_slack_takes_and_say_so() {
    let turns: Vec<_> = (0..400)
        .map(|n| json!({ "role": "user", "content": format!("{n} {}", "words & more ".repeat(40)) }))
        .collect();
    let analysis: serde_json::Map<_, _> =
        (0..40).map(|i| (format!("field{i}"), json!("é<".repeat(2000)))).collect();
    let record = json!({
        "id": "1", "callerNumber": "+33612345678", "summary": "Ein langer Satz. ".repeat(1000),
        "callAnalysis": analysis, "transcript": turns
    });
    let fields = ["callerNumber", "summary", "callAnalysis", "transcript"];
    for fields in [Some(&fields[..]), None, Some(&fields[3..])] {
        let slack = SlackReceiver::start().await.unwrap();
        let mut config = bot(slack.api_url().as_str(), &slack.token(), SlackThread::Critical);
        config.fields = filter(fields, &[]);
        let answer = deliver(&config, &event_of(Kind::Ended, &record.to_string())).await;
        assert_eq!(answer.reaction, Reaction::Delivered, "{answer:?}");
        let message = slack.channel().remove(0).message;
        assert_within_limits(&message);
        let blocks = message["blocks"].as_array().unwrap();
        assert!(blocks[blocks.len() - 2].to_string().contains("no room for the rest"), "{fields:?}");
        let length = message["blocks"].to_string().chars().count();
        assert!(length > 11_000, "{length} characters are far less than Slack takes");
    }
}

#[tokio::test]
async fn a_call_has_links_to_its_page() {
    let text = "[sources.clinic]\napi_key = 'ck_live_000000000000000000000000000000000000000000000000000000000000'\n\
                call_url = 'https://app.example.com/{{ source }}/{{ call.id }}?from={{ call.callerNumber }}'\n";
    let parsed =
        callwatch::config_file::Config::parse(text, std::path::Path::new("config.toml"), Default::default());
    let sources = parsed.unwrap().config.sources;
    let own = "https://callwatch.example.com/page".parse().unwrap();
    let links = callwatch::destination::Links::of(&sources, Some(&own));
    let slack = SlackReceiver::start().await.unwrap();
    let mut config = bot(slack.api_url().as_str(), &slack.token(), SlackThread::Critical);
    config.links = links;
    let record = RECORD.replace("+33612345678", "|<evil>");
    deliver(&config, &event_of(Kind::Ended, &record)).await;
    let message = slack.channel().remove(0).message;
    let foot = message["blocks"].as_array().unwrap().last().unwrap();
    let vendors = "https://app.example.com/clinic/6789abcdef0123456789abcd?from=%7C%3Cevil%3E";
    let own = "https://callwatch.example.com/page/calls/clinic/6789abcdef0123456789abcd";
    assert_eq!(
        foot["elements"][1]["text"],
        format!("<{vendors}|Open the call> · <{own}|Details in callwatch>")
    );
    let words = message["text"].as_str().unwrap();
    assert!(words.contains(&format!("Open the call: {vendors}\nDetails in callwatch: {own}")), "{words}");
    // What is about no call leads to the page that says how everything stands.
    let alert = Event { id: EventId::from("evt_3"), ..super::languages::failing() };
    deliver(&config, &alert).await;
    let message = slack.channel().remove(1).message;
    let foot = message["blocks"].as_array().unwrap().last().unwrap();
    assert_eq!(foot["elements"][1]["text"], "<https://callwatch.example.com/page/|Open callwatch>");
    // A field that the destination does not show is in no link either.
    config.fields = filter(None, &["callerNumber"]);
    deliver(&config, &Event { id: EventId::from("evt_2"), ..event_of(Kind::Ended, &record) }).await;
    let message = slack.channel().remove(2).message;
    assert!(!message.to_string().contains("app.example.com"), "{message}");
}

#[test]
fn the_example_of_the_page_about_slack_is_fine() {
    let page = include_str!("../../../docs/slack.md");
    let example = page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let text = format!("[sources.clinic]\napi_key = 'ck_live_{}'\n{example}", "0".repeat(60));
    let text = text.replace("{ env = \"SLACK_BOT_TOKEN\" }", "'xoxb-1'");
    let parsed =
        callwatch::config_file::Config::parse(&text, std::path::Path::new("c.toml"), Default::default());
    let config = parsed.unwrap_or_else(|report| panic!("{report}")).config;
    assert!(matches!(
        &config.destinations[0].kind,
        DestinationKind::Slack(SlackConfig { way: SlackWay::Bot(bot), .. }) if bot.thread == SlackThread::Critical
    ));
    let manifest = page.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
    let manifest: Value = serde_json::from_str(manifest).unwrap();
    assert_eq!(manifest["oauth_config"]["scopes"]["bot"], json!(["chat:write"]));
}
