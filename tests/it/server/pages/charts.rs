//! Charts, the figures behind them, and what a delivery tells.

use super::{page, shown, text, unescaped, until_shown, values, with_dead};
use crate::{
    rig::{Rig, analyze, complete, record},
    server::{address, until},
};

#[tokio::test(flavor = "multi_thread")]
async fn charts_count_what_happened_and_survive_a_restart() {
    let rig = Rig::new().await;
    let (process, at) = with_dead(&rig, "").await;
    let mut happy = record("d", "completed");
    complete(&mut happy);
    analyze(&mut happy, "positive", true);
    rig.callem.add(happy);
    let told = [
        "Calls since",
        "4 started, 4 ended.",
        "How callers felt since",
        "1 positive, 0 neutral, 0 other, 3 negative.",
        "1 booked.",
    ];
    let overview = until_shown(at, "/", told[4]).await;
    for words in told {
        assert!(overview.contains(words), "{words}: {overview}");
    }
    // Each chart has its figures in a table, too.
    assert_eq!(overview.matches("<figure class=\"chart\"").count(), 6, "{overview}");
    assert_eq!(overview.matches("<details><summary>figures").count(), 6, "{overview}");
    until(at, "GET /", |answer| answer.body.contains("4 arrived, 0 failed tries, 0 given up.")).await;
    until(at, "GET /", |answer| answer.body.contains("0 arrived, 0 failed tries, 5 given up.")).await;
    // Half arrived within so much time, and 99 of 100.
    let read = text(&shown(at, "/").await);
    assert!(read.contains("p50 · p99") && read.contains("s · "), "{read}");
    let rules = text(&shown(at, "/rules").await);
    assert!(rules.contains("unhappy-caller fired 3 times in 30 days"), "{rules}");
    process.stop().await;

    let config = std::fs::read_to_string(rig.dir.path().join("config.toml")).unwrap();
    let process = crate::process::Process::start(&rig, &config).await;
    process.says("listens on").await;
    let at = address(&process);
    let overview = until_shown(at, "/", "4 started, 4 ended.").await;
    for words in told {
        assert!(overview.contains(words), "{words}: {overview}");
    }
    assert!(text(&shown(at, "/rules").await).contains("unhappy-caller fired 3 times in 30 days"));
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_says_which_field_was_missing_and_when_it_fired_last() {
    let rig = Rig::new().await;
    let (process, at) = with_dead(&rig, "").await;
    let mut bare = record("bare", "completed");
    bare["callAnalysis"] = serde_json::Value::Null;
    rig.callem.add(bare);
    let rule = until_shown(at, "/rules/booked", "call.callAnalysis was missing: 1").await;
    let read = text(&rule);
    assert!(read.contains("No message of it is kept."), "{read}");
    let rule = text(&shown(at, "/rules/unhappy-caller").await);
    for words in ["fired 3 times in 30 days", "+3361•••5678", "frontdesk ✓ arrived"] {
        assert!(rule.contains(words), "{words}: {rule}");
    }
    assert_eq!(page(at, "/rules/nothing").await.status, 404);
    assert_eq!(page(at, "/rules/booked?x=1").await.status, 400);
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_delivery_tells_is_shown_when_asked_for_and_masked() {
    let rig = Rig::new().await;
    let (process, at) = with_dead(&rig, "").await;
    let list = unescaped(&shown(at, "/deliveries?call=a").await);
    let to = |name: &str| {
        let mut links = values(&list, "href").into_iter();
        let end = format!("/{name}");
        links.find(|link| link.starts_with("/deliveries/evt") && link.ends_with(&end)).unwrap().to_owned()
    };
    let (crm, frontdesk) = (to("crm"), to("frontdesk"));
    let unasked = shown(at, &crm).await;
    assert!(unasked.contains("href=\"?sent=true#sent\"") && !unasked.contains("call.ended"), "{unasked}");
    let sent = shown(at, &format!("{crm}?sent=true")).await;
    let read = unescaped(&text(&sent));
    for words in
        ["\"type\": \"call.ended\"", "\"callerNumber\": \"+3361•••5678\"", "&#60;script&#62;alert(1)"]
    {
        assert!(read.contains(words), "{words}: {read}");
    }
    let secret = callwatch::demo::receivers::DEMO_SECRET;
    for hidden in ["612345678", "99 88 77 66", "Hello.", "<script>alert", "\"transcript\"", secret] {
        assert!(!sent.contains(hidden), "{hidden}: {sent}");
    }
    // A template cannot bring back what may not be shown.
    let slack = text(&shown(at, &format!("{frontdesk}?answers=true&sent=true")).await);
    assert!(slack.contains("Unhappy caller +3361•••5678"), "{slack}");

    let config = std::fs::read_to_string(&process.config).unwrap();
    process.edit(&config.replace("[server]", "[server]\nshow = [\"callerNumber\", \"transcript\"]"));
    assert_eq!(super::send(at, "/config/reload", "").await, "/config?done=reloaded");
    let sent = unescaped(&text(&shown(at, &format!("{crm}?sent=true")).await));
    for words in ["+33612345678", "Hello.", "\"transcript\""] {
        assert!(sent.contains(words), "{words}: {sent}");
    }
    assert!(!sent.contains(secret));
    process.stop().await;
}
