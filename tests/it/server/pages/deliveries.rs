//! Deliveries: filtered, grouped by reason, one by one, retried and dropped.

use callwatch::demo::receivers::Misbehaviour;

use super::{page, send, shown, text, unescaped, until_shown, values, with_dead};
use crate::{
    rig::{PATIENCE, Rig, complete, record},
    server::{
        http::{Ask, ask},
        listening, start, until,
    },
};

/// The addresses on the page that begin so.
fn links(html: &str, begin: &str) -> Vec<String> {
    let html = unescaped(html);
    values(&html, "href").into_iter().filter(|link| link.starts_with(begin)).map(str::to_owned).collect()
}

/// The hidden fields of the form on the page, as a browser sends them.
fn fields(html: &str) -> String {
    let html = unescaped(html);
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    for field in html.split("<input type=\"hidden\" ").skip(1) {
        form.append_pair(values(field, "name")[0], values(field, "value")[0]);
    }
    form.finish()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_not_arrived_is_grouped_and_retried_or_dropped_after_a_question() {
    let rig = Rig::new().await;
    let (process, address) = with_dead(&rig, "").await;
    let all = until_shown(address, "/deliveries?state=dead", "3 × 400").await;
    assert!(text(&all).contains("Why things wait 3 messages not arrived"), "{all}");
    let retry = links(&all, "/deliveries/confirm?action=retry").remove(0);
    assert!(retry.contains("destination=crm&") && retry.contains("state=dead&error=400"), "{retry}");

    let question = shown(address, &retry).await;
    assert!(text(&question).contains("Retry 3 messages?"), "{question}");
    assert!(question.contains("method=\"post\" action=\"/deliveries/retry\""), "{question}");
    rig.crm.behave();
    let to = send(address, "/deliveries/retry", &fields(&question)).await;
    assert!(to.starts_with("/deliveries?done=retry&count=3&destination=crm&state=dead&error=400"), "{to}");
    let done = shown(address, &to).await;
    assert!(text(&done).contains("3 messages will be tried at once."), "{done}");
    tokio::time::timeout(PATIENCE, rig.crm.inbox().wait_for(3)).await.unwrap();
    let none = until_shown(address, "/deliveries?state=undelivered", "No delivery matches").await;
    assert!(text(&none).contains("Nothing that matches waits."), "{none}");
    // The slower of two people is told that it was done already.
    assert!(text(&shown(address, &retry).await).contains("Nothing matches any more"));
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_to_a_destination_that_fails_waits_for_that() {
    let rig = Rig::new().await;
    let (process, address) = start(&rig, &listening(&rig.config_text(), "")).await;
    rig.crm.misbehave(u64::MAX, Misbehaviour::Status { code: 503, retry_after: None });
    let mut call = record("a", "completed");
    complete(&mut call);
    rig.callem.add(call);
    let why = "tried again by itself when the destination takes messages again";
    // Between two attempts it is due for a moment.
    let list = until_shown(address, "/deliveries?destination=crm", "waits: failing").await;
    assert!(list.contains(why), "{list}");
    until_shown(address, "/", "waits: failing").await;
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_delivery_shows_its_attempts_and_is_retried_and_dropped() {
    let rig = Rig::new().await;
    let (process, address) = with_dead(&rig, "").await;
    let list = shown(address, "/deliveries?state=dead&destination=crm").await;
    let mut paths = links(&list, "/deliveries/evt").into_iter();
    let (one, other) = (paths.next().unwrap(), paths.next().unwrap());
    let shown_one = shown(address, &one).await;
    let read = text(&shown_one);
    assert!(read.contains("call-completed to crm ✗ given up") && read.contains("tried 400"), "{read}");
    assert!(!shown_one.contains("class=\"quote\""), "answers may quote the call: {shown_one}");
    let answers = shown(address, &format!("{one}?answers=true")).await;
    assert!(answers.contains("class=\"quote\"") || answers.contains("without an answer"), "{answers}");

    rig.crm.behave();
    let form = fields(shown_one.split("</form>").next().unwrap());
    let to = send(address, "/deliveries/retry", &form).await;
    assert_eq!(to, format!("{one}?done=retry&count=1"));
    until_shown(address, &one, "✓ arrived").await;
    let arrived = shown(address, &one).await;
    assert!(!arrived.contains("Retry now") && arrived.contains("Resend…"), "{arrived}");
    let event = one.split('/').nth(2).unwrap();
    let question =
        shown(address, &format!("/deliveries/confirm?action=resend&event={event}&destination=crm")).await;
    assert!(text(&question).contains("Resend 1 message?"), "{question}");
    let to = send(address, "/deliveries/resend", &fields(&question)).await;
    assert_eq!(to, format!("{one}?done=resend&count=1"));
    tokio::time::timeout(PATIENCE, rig.crm.inbox().wait_for(2)).await.unwrap();

    let event = other.split('/').nth(2).unwrap();
    let question =
        shown(address, &format!("/deliveries/confirm?action=drop&event={event}&destination=crm")).await;
    assert!(
        text(&question).contains("Drop 1 message?") && text(&question).contains("cannot be brought back")
    );
    assert_eq!(send(address, "/deliveries/drop", &fields(&question)).await, "/deliveries?done=drop&count=1");
    let gone = page(address, &other).await;
    assert_eq!(gone.status, 404);
    assert!(text(&gone.body).contains("There is nothing here There is no delivery of"), "{gone:?}");
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_stands_in_the_address_and_in_the_form_and_is_never_widened() {
    let rig = Rig::new().await;
    let (process, address) = with_dead(&rig, "").await;
    until(address, "GET /api/v1/deliveries/count?state=delivered", |answer| answer.json()["count"] == 6)
        .await;
    // As a browser sends a form of which only some fields are filled in.
    let query = "?state=delivered&destination=frontdesk&rule=&newer_than=7d&error=";
    let list = shown(address, &format!("/deliveries{query}")).await;
    assert_eq!(links(&list, "/deliveries/evt").len(), 3, "{list}");
    for chosen in ["delivered", "frontdesk", "7d"] {
        assert!(list.contains(&format!("<option value=\"{chosen}\" selected>")), "{chosen}: {list}");
    }
    assert!(!list.contains("Retry all that match"), "{list}");
    let odd = shown(address, "/deliveries?error=%3Cscript%3E%22&call=a&older_than=0s&rule=gone").await;
    assert!(odd.contains("value=\"&#60;script&#62;&#34;\"") && odd.contains("name=\"older_than\""), "{odd}");
    assert!(odd.contains("<option value=\"gone\" selected>"), "{odd}");

    for (path, status) in [
        ("/deliveries?stat=dead", 400),
        ("/deliveries?state=done", 400),
        ("/deliveries?after=zzz", 400),
        ("/deliveries?destination=cmr", 404),
        ("/deliveries?done=blown+up", 400),
        ("/deliveries/confirm?state=dead", 400),
        ("/deliveries/confirm?action=burn&state=dead", 400),
        ("/deliveries/evt_none/crm", 404),
    ] {
        let answer = page(address, path).await;
        assert_eq!(
            (answer.status, &*answer.headers["content-type"]),
            (status, "text/html; charset=utf-8"),
            "{path}"
        );
    }
    // A form that names nothing changes nothing.
    for (path, body) in [
        ("/deliveries/drop", ""),
        ("/deliveries/drop", "state=&destination="),
        ("/deliveries/drop", "stat=dead"),
        ("/deliveries/retry", "destination=crm&stat=dead"),
    ] {
        let headers = &[("Content-Type", "application/x-www-form-urlencoded")];
        let line = format!("POST {path}");
        let answer = ask(address, Ask { body, ..Ask::new(&line).with(headers) }).await;
        assert_eq!((answer.status, answer.problem().as_str()), (400, "malformed"), "{path} {body}");
    }
    let json = ask(address, Ask::new("POST /deliveries/drop").json("{}")).await;
    assert_eq!((json.status, json.problem().as_str()), (415, "not_a_form"));
    assert_eq!(send(address, "/deliveries/drop", "destination=frontdesk").await, {
        "/deliveries?done=drop&count=0&destination=frontdesk&state=undelivered"
    });
    process.stop().await;
}
