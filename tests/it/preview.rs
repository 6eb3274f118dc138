//! `callwatch preview` as a person meets it: what the rules would have told of calls that are there.

use std::{process::Stdio, time::Duration};

use callwatch::time::Timestamp;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::rig::{Rig, record};

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

struct Done {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Done {
    #[track_caller]
    fn fine(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (Some(0), ""), "{}", self.out);
        self.out
    }
}

/// Rules of every sort that a preview has to say something else about.
fn config(rig: &Rig) -> String {
    rig.config_text()
        + r#"
        [rules.each-number-once]
        on = ["ended"]
        group = { by = "call.callerNumber", wait = "1m" }
        to = ["frontdesk"]

        [rules.typo]
        when = 'call.callAnalysis.sentimnt == "negative"'
        to = ["frontdesk"]

        [rules.live]
        on = ["started", "ended"]
        to = ["crm"]

        [rules.long]
        when = 'call.status == "live"'
        for = "30m"
        to = ["crm"]

        [rules.gone]
        on = ["deleted"]
        to = ["crm"]

        [rules.away]
        on = ["source.failing"]
        to = ["crm"]
        "#
}

fn ago(seconds: u64) -> Timestamp {
    Timestamp::from_millis(chrono::Utc::now().timestamp_millis()).before(Duration::from_secs(seconds))
}

/// A call that began then and was over, and analyzed, two minutes later.
fn call(id: &str, began: Timestamp, sentiment: Option<&str>) -> Value {
    let mut call = record(id, "completed");
    call["createdAt"] = began.to_string().into();
    call["updatedAt"] = began.after(Duration::from_secs(120)).to_string().into();
    call["callAnalysis"] = sentiment.map_or(Value::Null, |sentiment| json!({ "sentiment": sentiment }));
    call
}

async fn preview(rig: &Rig, config: &str, args: &[&str]) -> Done {
    let path = rig.write_config(config);
    let output = Command::new(env!("CARGO_BIN_EXE_callwatch"))
        .arg("preview")
        .args(args)
        .arg("--config")
        .arg(path)
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Done { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// The numbers in the row of a rule: fired, messages.
fn row(out: &str, rule: &str) -> Vec<String> {
    let row = out.lines().find(|line| line.split_whitespace().next() == Some(rule));
    let row = row.unwrap_or_else(|| panic!("{rule} in\n{out}"));
    row.split_whitespace().skip(1).take(2).map(str::to_owned).collect()
}

/// Noon so many days ago, far from where one day becomes the next.
fn noon(days: u64) -> Timestamp {
    let day = i64::try_from(DAY * 1000).unwrap();
    let today = ago(0).as_millis().div_euclid(day) * day;
    Timestamp::from_millis(today)
        .after(Duration::from_secs(12 * HOUR))
        .before(Duration::from_secs(days * DAY))
}

fn three_days(rig: &Rig) {
    for (n, sentiment) in [Some("negative"), Some("negative"), None, Some("positive")].into_iter().enumerate()
    {
        // Within a minute, from one number.
        rig.callem.add(call(&format!("a{n}"), noon(2).after(Duration::from_secs(n as u64)), sentiment));
    }
    rig.callem.add(call("yesterday", noon(1), Some("negative")));
    rig.callem.add(call("long-ago", noon(30), Some("negative")));
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_are_counted_by_day_and_nothing_is_sent_or_stored() {
    let rig = Rig::new().await;
    three_days(&rig);
    let config = config(&rig);
    let out = preview(&rig, &config, &[]).await.fine();
    assert!(out.contains("clinic: 6 calls read, ") && out.contains("; 5 since "), "{out}");
    assert_eq!(row(&out, "call-completed"), ["5", "5"]);
    // Each is told two destinations.
    assert_eq!(row(&out, "unhappy-caller"), ["3", "6"]);
    assert_eq!(row(&out, "each-number-once"), ["5", "2"]);
    assert_eq!(row(&out, "booked"), ["0", "0"]);
    for (rule, why) in [
        ("long", "cannot be judged: `for` watches calls while they last"),
        ("gone", "cannot be judged: a list shows calls as they are"),
        ("away", "cannot be judged: it is not about calls"),
        ("live", "only `ended` can be judged from a list"),
        ("typo", "a field of its condition is missing or null in 5 calls"),
        ("typo", "of the latest calls, call.callAnalysis.sentimnt is missing in 4,"),
    ] {
        assert!(out.contains(&format!("  {rule}: {why}")), "{rule}: {why} in\n{out}");
    }
    assert_eq!(row(&out, "gone"), ["?", "?"]);
    let chart = out.lines().find(|line| line.starts_with("call-completed")).unwrap();
    assert!(chart.ends_with("·····█▂·") && chart.contains("    4  "), "{chart}");
    for line in out.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    assert!(rig.webhooks().is_empty() && rig.slack_texts().is_empty() && rig.mail_titles().is_empty());
    assert!(!rig.store_path().exists());

    // Where they are merged, there are fewer messages than the rules count.
    let note = "\n  manager: rules that match a call at once share a message there\n";
    assert!(!out.contains(note), "{out}");
    let merged = config.replace("to = [\"crm\"]", "to = [\"crm\", \"manager\"]");
    let out = preview(&rig, &merged, &[]).await.fine();
    assert!(out.contains(note), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_rule_and_its_messages_as_they_would_be_sent() {
    let rig = Rig::new().await;
    three_days(&rig);
    let config = config(&rig);
    let out = preview(&rig, &config, &["--rule", "unhappy-caller", "--messages", "2"]).await.fine();
    assert!(!out.contains("call-completed"), "{out}");
    assert_eq!(out.matches("  Unhappy caller +33612345678\n").count(), 2, "{out}");
    assert!(out.contains("\nunhappy-caller to manager, "), "{out}");

    // An hour before yesterday's call, whatever the time of day.
    let since = format!("{}s", (ago(0).as_millis() - noon(1).as_millis()) / 1000 + 3600);
    let out = preview(&rig, &config, &["--json", "--messages", "--since", &since]).await.fine();
    let all: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(all["sources"][0]["calls"], 1);
    let rule = |name: &str| {
        all["rules"].as_array().unwrap().iter().find(|rule| rule["rule"] == name).unwrap().clone()
    };
    assert_eq!((&rule("unhappy-caller")["fired"], &rule("long")["judged"]), (&1.into(), &false.into()));
    let days = rule("unhappy-caller")["days"].as_array().unwrap().clone();
    assert_eq!(days.iter().map(|day| day["messages"].as_u64().unwrap()).sum::<u64>(), 2);
    assert_eq!(all["destinations"]["manager"], 1);
    let texts: Vec<_> = all["messages"].as_array().unwrap().iter().map(|it| it["text"].as_str()).collect();
    assert!(texts.iter().any(|text| text.unwrap().contains("\"id\":\"yesterday\"")), "{texts:?}");

    let done = preview(&rig, &config, &["--rule", "unhapy"]).await;
    assert_eq!(done.code, Some(1));
    assert!(done.err.contains("there is no rule `unhapy`; there is `call-completed`"), "{}", done.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_leave_is_printed_byte_for_byte_with_the_reasons() {
    let rig = Rig::new().await;
    three_days(&rig);
    let hidden = "mask = [\"callAnalysis\"]\nhash = [\"callerNumber\"]\nhash_key = { env = \"CALLWATCH_TEST_NOT_SET\" }\n";
    let config = config(&rig).replace(
        "[destinations.crm]\n",
        &format!("[destinations.crm]\nexclude = [\"transcript\"]\n{hidden}"),
    );
    let args = ["--rule", "call-completed", "--show", "1", "-v"];
    let out = preview(&rig, &config, &args).await.fine();
    let (_, message) = out.split_once("\ncall-completed to crm, ").unwrap();
    let mut lines = message.lines().skip(1);
    let body: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
    let caller = &body["data"]["call"]["callerNumber"];
    assert_eq!((caller, lines.next()), (&"+3361•••5678".into(), Some("")), "{out}");
    let reasons: Vec<_> = lines.collect();
    assert!(reasons[0].starts_with("carried by a POST to http://127.0.0.1:"), "{reasons:?}");
    for reason in [
        "callAnalysis: masked, by `mask`",
        "callerNumber: masked here, and hashed where `hash_key` can be read, by `hash`",
    ] {
        assert!(reasons.contains(&reason), "{reason} in {reasons:?}");
    }

    let with_key = config.replace("{ env = \"CALLWATCH_TEST_NOT_SET\" }", "\"correct horse battery staple\"");
    let out = preview(&rig, &with_key, &["--rule", "call-completed", "--show", "--json"]).await.fine();
    let all: Value = serde_json::from_str(&out).unwrap();
    let message = &all["messages"][0];
    let body: Value = serde_json::from_str(message["leaves"].as_str().unwrap()).unwrap();
    let hash = "0a0c5ce9ab516d2fc4345cbbfb635e6b878783a625f294f740b12b64e56ed217";
    assert_eq!(body["data"]["call"]["callerNumber"], hash);
    let reasons = message["not_as_it_is"].as_array().unwrap();
    let hashed = serde_json::json!({ "field": "callerNumber", "why": "hashed, by `hash`" });
    assert!(reasons.contains(&hashed), "{reasons:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_newest_first_is_not_read_to_its_end() {
    let rig = Rig::new().await;
    for n in 0..50 {
        rig.callem.add(call(&format!("old{n}"), ago(30 * DAY - n), None));
    }
    rig.callem.add(call("new", ago(HOUR), None));
    let small_pages = config(&rig).replace("interval = \"100ms\"", "interval = \"100ms\"\npage_size = 10");
    let out = preview(&rig, &small_pages, &[]).await.fine();
    assert!(out.starts_with("clinic: 10 calls read, the newest of its list; 1 since "), "{out}");
    rig.callem.set_order(callwatch::demo::callem::Order::OldestFirst);
    let out = preview(&rig, &small_pages, &[]).await.fine();
    assert!(out.starts_with("clinic: 51 calls read, its whole list; 1 since "), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_is_in_trouble_for_a_moment_is_asked_again_and_a_refused_key_is_said() {
    let rig = Rig::new().await;
    rig.callem.add(call("a", ago(HOUR), Some("negative")));
    rig.callem.fail_next(1, callwatch::demo::callem::Failure::Status(500));
    let out = preview(&rig, &config(&rig), &[]).await.fine();
    assert_eq!(row(&out, "unhappy-caller"), ["1", "2"]);
    let done = preview(&rig, &config(&rig).replace("ck_live_0", "ck_live_1"), &[]).await;
    assert_eq!(done.code, Some(1));
    assert!(done.err.contains("no calls of clinic: the API refused the key"), "{}", done.err);
    assert!(!done.err.contains("ck_live"), "{}", done.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_never_ends_is_read_once() {
    use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

    let (rig, api) = (Rig::new().await, MockServer::start().await);
    let page = json!({ "data": [call("a", ago(2 * HOUR), Some("negative"))] }).to_string();
    Mock::given(any()).respond_with(ResponseTemplate::new(200).set_body_string(page)).mount(&api).await;
    let text = rig.config_text().replace(rig.callem.base_url().as_str(), &api.uri());
    let out = preview(&rig, &text, &[]).await.fine();
    assert_eq!(row(&out, "unhappy-caller")[0], "1", "{out}");
    assert_eq!(api.received_requests().await.unwrap().len(), 2);
}
