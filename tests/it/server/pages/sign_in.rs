//! Signing in where a token is asked for.

use super::{PAGES, ROUTES, page, send, text};
use crate::{
    rig::Rig,
    server::{
        http::{Ask, ask},
        listening, start,
    },
};

const TOKEN: &str = "correct horse battery";

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_not_signed_in_sees_nothing() {
    let rig = Rig::new().await;
    let (process, address) =
        start(&rig, &listening(&rig.config_text(), &format!("token = \"{TOKEN}\""))).await;
    for line in ROUTES {
        let answer = ask(address, Ask::new(line).with(&[PAGES])).await;
        assert_eq!(answer.status, 303, "{line}");
        assert!(answer.headers["location"].starts_with("/sign-in"), "{answer:?}");
        assert_eq!(answer.body, "", "{line}");
        let odd = [PAGES, ("Cookie", "callwatch-session=0000")];
        assert_eq!(ask(address, Ask::new(line).with(&odd)).await.status, 303, "{line}");
        // Programs are told in their way.
        let answer = ask(address, Ask::new(line)).await;
        assert_eq!((answer.status, answer.problem().as_str()), (401, "no_token"), "{line}");
    }
    let deep = page(address, "/deliveries?state=dead&destination=crm").await;
    assert_eq!(deep.headers["location"], "/sign-in?next=%2Fdeliveries%3Fstate%3Ddead%26destination%3Dcrm");
    let form = page(address, &deep.headers["location"]).await;
    assert!(form.body.contains("type=\"password\""), "{form:?}");
    assert!(form.body.contains("value=\"/deliveries?state=dead&#38;destination=crm\""), "{form:?}");
    for name in ["clinic", "frontdesk", "Overview"] {
        assert!(!form.body.contains(name), "{name}: {form:?}");
    }
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_opens_a_session_until_it_is_closed_or_the_token_is_another() {
    let rig = Rig::new().await;
    let config = listening(&rig.config_text(), &format!("token = \"{TOKEN}\""));
    let (process, address) = start(&rig, &config).await;
    let own = format!("http://{address}");
    let form = [PAGES, ("Origin", &*own), ("Content-Type", "application/x-www-form-urlencoded")];
    let sign_in =
        async |body: &str| ask(address, Ask { body, ..Ask::new("POST /sign-in").with(&form) }).await;

    let wrong = sign_in("token=guess&next=%2Frules").await;
    assert_eq!(wrong.status, 401);
    assert!(
        text(&wrong.body).contains("This is not the token.") && !wrong.body.contains("guess"),
        "{wrong:?}"
    );
    assert!(!wrong.headers.contains_key("set-cookie"));
    assert!(wrong.body.contains("value=\"/rules\""), "{wrong:?}");
    // Somebody else's page cannot sign a browser in.
    let foreign = [PAGES, ("Origin", "https://evil.example"), form[2]];
    let body = "token=correct+horse+battery";
    let answer = ask(address, Ask { body, ..Ask::new("POST /sign-in").with(&foreign) }).await;
    assert_eq!(answer.status, 403);

    let right = sign_in("token=correct+horse+battery&next=%2F%2Fevil.example").await;
    assert_eq!((right.status, &*right.headers["location"]), (303, "/"));
    let cookie = &right.headers["set-cookie"];
    let (session, flags) = cookie.split_once(';').unwrap();
    assert_eq!(flags, " Path=/; HttpOnly; SameSite=Strict; Max-Age=43200");
    assert_eq!(session.len(), "callwatch-session=".len() + 64, "{session}");
    let other = sign_in("token=correct+horse+battery").await.headers["set-cookie"].clone();
    assert_ne!(cookie, &other);

    let signed_in = [PAGES, ("Cookie", session), ("Origin", &*own)];
    for line in ["GET /", "GET /api/v1/status", "GET /metrics"] {
        assert_eq!(ask(address, Ask::new(line).with(&signed_in)).await.status, 200, "{line}");
    }
    let overview = ask(address, Ask::new("GET /").with(&signed_in)).await;
    assert!(overview.body.contains("action=\"/sign-out\""), "{overview:?}");
    let foreign = [PAGES, ("Cookie", session), ("Sec-Fetch-Site", "same-site")];
    assert_eq!(ask(address, Ask::new("POST /destinations/crm/pause").with(&foreign)).await.status, 403);
    assert_eq!(ask(address, Ask::new("POST /destinations/crm/pause").with(&signed_in)).await.status, 303);

    let out = ask(address, Ask::new("POST /sign-out").with(&signed_in)).await;
    assert_eq!((out.status, &*out.headers["location"]), (303, "/sign-in"));
    assert!(out.headers["set-cookie"].starts_with("callwatch-session=; "), "{out:?}");
    assert!(out.headers["set-cookie"].ends_with("Max-Age=0"), "{out:?}");
    assert_eq!(ask(address, Ask::new("GET /").with(&signed_in)).await.status, 303, "the session is over");

    // Another token ends the sessions that the one before opened.
    let other = other.split_once(';').unwrap().0;
    let signed_in = [PAGES, ("Cookie", other)];
    assert_eq!(ask(address, Ask::new("GET /").with(&signed_in)).await.status, 200);
    process.edit(&config.replace(TOKEN, "another token, as long"));
    process.signal("-HUP").await;
    process.says_times("the config is at work", 2).await;
    assert_eq!(ask(address, Ask::new("GET /").with(&signed_in)).await.status, 303);
    let log = process.stop().await;
    assert!(!log.contains(TOKEN) && !log.contains(session), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_by_the_form_is_limited_like_guessing_by_the_header() {
    let rig = Rig::new().await;
    let (process, address) =
        start(&rig, &listening(&rig.config_text(), &format!("token = \"{TOKEN}\""))).await;
    let form = [PAGES, ("Content-Type", "application/x-www-form-urlencoded")];
    for guess in 0..10 {
        let body = format!("token=guess{guess}");
        let answer = ask(address, Ask { body: &body, ..Ask::new("POST /sign-in").with(&form) }).await;
        assert_eq!(answer.status, 401);
    }
    let right = Ask { body: "token=correct+horse+battery", ..Ask::new("POST /sign-in").with(&form) };
    let answer = ask(address, right).await;
    assert_eq!(answer.status, 429);
    assert!(answer.headers.contains_key("retry-after") && answer.body.contains("wait"), "{answer:?}");
    let bearer = &[("Authorization", "Bearer correct horse battery")];
    assert_eq!(ask(address, Ask::new("GET /api/v1/status").with(bearer)).await.status, 429);
    let log = process.stop().await;
    assert!(!log.contains("guess1") && !log.contains(TOKEN), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_there_is_nothing_to_sign_in_to() {
    let rig = Rig::new().await;
    let (process, address) = start(&rig, &listening(&rig.config_text(), "")).await;
    let answer = page(address, "/sign-in?next=%2Frules").await;
    assert_eq!((answer.status, &*answer.headers["location"]), (303, "/rules"));
    assert_eq!(send(address, "/sign-in", "token=x").await, "/");
    assert!(!page(address, "/").await.body.contains("Sign out"));
    process.stop().await;
}
