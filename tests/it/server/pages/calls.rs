//! Calls, rules and config.

use super::{page, send, shown, text, until_shown, with_dead};
use crate::{
    rig::{Rig, record},
    server::{listening, start, until},
};

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_found_by_id_by_number_and_by_words() {
    let rig = Rig::new().await;
    let (process, address) = with_dead(&rig, "").await;
    let mut other = record("6789abcdef", "live");
    other["callerNumber"] = "+491701112233".into();
    rig.callem.add(other);
    until_shown(address, "/calls", "+4917•••2233").await;
    for (query, count) in [
        ("", 4),
        ("?text=&source=", 4),
        ("?text=6789abcdef", 1),
        ("?text=06+12+34+56+78", 3),
        ("?text=%2B49+170", 1),
        ("?text=0170+111", 1),
        ("?text=MORE", 3),
        ("?text=nobody", 0),
        ("?text=%3Cscript%3E", 3),
        ("?status=live", 1),
        ("?status=completed&kind=ended&newer_than=", 3),
        ("?kind=deleted", 0),
        ("?status=queued", 0),
    ] {
        let html = shown(address, &format!("/calls{query}")).await;
        assert_eq!(html.matches("href=\"/calls/clinic/").count(), count, "{query}: {html}");
        // Numbers are found, and shown to nobody.
        assert!(!html.contains("612345678") && !html.contains("1112233"), "{html}");
        assert!(!html.contains("<script>alert"), "{html}");
    }
    assert_eq!(page(address, "/calls?source=garage").await.status, 404);
    assert_eq!(page(address, "/calls?p=1").await.status, 400);
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_tells_its_story_masked_unless_the_config_says_otherwise() {
    let rig = Rig::new().await;
    let (process, address) = with_dead(&rig, "").await;
    until(address, "GET /api/v1/deliveries/count?state=delivered", |answer| answer.json()["count"] == 6)
        .await;
    let html = shown(address, "/calls/clinic/a").await;
    let read = text(&html);
    for words in [
        "from +3361•••5678",
        "✓ completed",
        "2 min 25 s",
        "first seen",
        "unhappy-caller fired",
        "callAnalysis.sentiment",
        "crm ✗ given up 400",
        "booked not fired",
    ] {
        assert!(read.contains(words), "{words}: {read}");
    }
    for hidden in ["612345678", "198765432", "99 88 77 66", "Hello.", "<script>alert"] {
        assert!(!html.contains(hidden), "{hidden}: {html}");
    }
    let nobody = page(address, "/calls/clinic/nobody").await;
    assert_eq!(nobody.status, 404);
    assert!(text(&nobody.body).contains("callwatch has not seen it"), "{nobody:?}");

    // An edit of [server] alone is enough to see more.
    let config = std::fs::read_to_string(&process.config).unwrap();
    process.edit(&config.replace("[server]", "[server]\nshow = [\"callerNumber\", \"transcript\"]"));
    assert_eq!(send(address, "/config/reload", "").await, "/config?done=reloaded");
    let html = shown(address, "/calls/clinic/a").await;
    assert!(html.contains("+33612345678") && text(&html).contains("assistant Hello."), "{html}");
    assert!(!html.contains("<script>alert"), "{html}");
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_and_config_are_shown_without_secrets_and_a_bad_file_with_its_mistakes() {
    let rig = Rig::new().await;
    let (process, address) = with_dead(&rig, "").await;
    let rules = until_shown(address, "/rules", "fired 3 times").await;
    let read = text(&rules);
    for words in
        ["call-completed", "on ended, analyzed", "unhappy-caller", "call.callAnalysis.appointmentBooked"]
    {
        assert!(read.contains(words), "{words}: {read}");
    }
    let config = shown(address, "/config").await;
    let read = text(&config);
    assert!(read.contains("The config file is at work") && read.contains("[sources.clinic]"), "{read}");
    assert!(config.contains("api_key = &#34;***&#34;"), "{config}");
    for secret in ["ck_live", callwatch::demo::receivers::DEMO_SECRET, rig.frontdesk.url().path()] {
        assert!(!config.contains(secret) && !rules.contains(secret), "{secret} in {config}");
    }

    let good = std::fs::read_to_string(&process.config).unwrap();
    process.edit(&good.replace("interval =", "intervall ="));
    assert_eq!(send(address, "/config/reload", "").await, "/config");
    let wrong = shown(address, "/config").await;
    assert!(text(&wrong).contains("The config file cannot be used"), "{wrong}");
    assert!(wrong.contains("intervall") && !wrong.contains("ck_live"), "{wrong}");
    assert!(shown(address, "/").await.contains("The config file cannot be used"));
    process.edit(&good);
    let to = send(address, "/config/reload", "").await;
    assert!(text(&shown(address, &to).await).contains("The file has been put to work."));
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_the_socket_the_pages_are_the_same() {
    let rig = Rig::new().await;
    let (process, _) = start(&rig, &listening(&rig.config_text(), "token = \"correct horse battery\"")).await;
    let socket = crate::server::socket(&rig);
    let asked = crate::server::http::Ask::new("GET /").with(&[super::PAGES]);
    let answer = crate::server::http::ask_socket(&socket, asked).await;
    assert_eq!(answer.status, 200);
    assert!(text(&answer.body).contains("Sources") && !answer.body.contains("Sign out"), "{answer:?}");
    process.stop().await;
}
