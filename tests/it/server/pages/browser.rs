//! The pages in a real browser, where there is one.

use std::{fs, path::Path};

use serde_json::Value;

use super::{
    chromium::{Browser, skip},
    open_stream, reads, send, with_dead,
};
use crate::{
    process::Process,
    rig::{Rig, complete, record},
    server::{
        http::{Ask, ask},
        listening, start, until,
    },
};

const PATHS: [&str; 8] =
    ["/", "/deliveries", "/calls", "/calls/clinic/a", "/rules", "/rules/booked", "/config", "/nowhere"];

async fn browser(rig: &Rig) -> Option<Browser> {
    Browser::start(&rig.dir.path().join("browser")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_live_fit_a_phone_and_load_nothing_from_elsewhere() {
    let rig = Rig::new().await;
    let Some(mut browser) = browser(&rig).await else { return };
    let (process, address) = with_dead(&rig, "").await;
    let own = format!("http://{address}");
    for path in PATHS.iter().filter(|path| **path != "/nowhere") {
        browser.resize(360).await;
        browser.open(&format!("{own}{path}")).await;
        for width in [360, 700, 1280] {
            browser.resize(width).await;
            let fits = "document.documentElement.scrollWidth <= window.innerWidth";
            assert_eq!(browser.value(fits).await, true, "{path} at {width}");
        }
        // The words of a caller are text.
        assert_eq!(browser.value("document.querySelectorAll('main script').length").await, 0);
    }
    browser.open(&format!("{own}/calls/clinic/a")).await;
    browser.until("document.querySelector('main').innerText.includes('<script>alert(1)</script>')").await;

    // The feed shows what happens without the page being loaded anew.
    browser.open(&own_page(&own, "/")).await;
    browser.value("window.mark = 1").await;
    let mut call = record("another", "completed");
    complete(&mut call);
    call["summary"] = "The lift is stuck".into();
    rig.callem.add(call);
    browser.until("document.getElementById('latest').innerText.includes('The lift is stuck')").await;
    browser.until("document.getElementById('calls-by-hour-title') !== null").await;
    assert_eq!(browser.value("window.mark").await, 1);
    assert_eq!(browser.value("document.title.startsWith('✗ ')").await, true);

    // A delivery is retried, and its row changes.
    browser.open(&own_page(&own, "/deliveries?state=undelivered")).await;
    assert_eq!(browser.value("document.querySelectorAll('#list tbody tr').length").await, 4);
    browser.open(&own_page(&own, "/deliveries?call=another&destination=crm")).await;
    let row = "document.querySelector('#list tbody tr').innerText";
    browser.until(&format!("{row}.includes('✗ given up')")).await;
    rig.crm.behave();
    let path = browser.value("document.querySelector('#list tbody a').getAttribute('href')").await;
    let path = path.as_str().unwrap().to_owned();
    browser.open(&own_page(&own, &path)).await;
    browser.value("document.querySelector('form[action=\"/deliveries/retry\"] button').click()").await;
    browser.is_at(&own_page(&own, &format!("{path}?done=retry&count=1"))).await;
    browser.until("document.getElementById('delivery').innerText.includes('✓ arrived')").await;
    browser.open(&own_page(&own, "/deliveries?call=another&destination=crm")).await;
    browser.until(&format!("{row}.includes('✓ arrived')")).await;

    // Changes that others make are shown, too.
    browser.open(&own_page(&own, "/deliveries?state=dead")).await;
    let rows = "window.mark = 2; document.querySelectorAll('#list tbody tr').length";
    assert_eq!(browser.value(rows).await, 3);
    let retry = Ask::new("POST /api/v1/deliveries/retry").json(r#"{"filter": {"state": "dead"}}"#);
    assert_eq!(ask(address, retry).await.status, 200);
    browser.until("document.getElementById('list').innerText.includes('No delivery matches')").await;
    browser.until("document.getElementById('icon').href.includes('/assets/well-')").await;
    browser.until("!document.title.startsWith('✗')").await;
    assert_eq!(browser.value("window.mark").await, 2);
    browser.has_no_complaint(&own);
    process.stop().await;
}

fn own_page(own: &str, path: &str) -> String {
    format!("{own}{path}")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keyboard_is_enough_and_what_it_is_on_is_seen() {
    const TOKEN: &str = "correct horse battery";
    let rig = Rig::new().await;
    let Some(mut browser) = browser(&rig).await else { return };
    let config = listening(&rig.config_text(), &format!("token = \"{TOKEN}\""));
    let (process, address) = start(&rig, &config).await;
    let own = format!("http://{address}");

    // A visitor who has not signed in sees nothing, and needs no mouse to sign in.
    browser.open(&format!("{own}/sign-in?next=%2Frules")).await;
    let text = browser.value("document.body.innerText").await;
    for name in ["clinic", "frontdesk", "booked", "Overview"] {
        assert!(!text.as_str().unwrap().contains(name), "{name}: {text}");
    }
    browser.until("document.activeElement.id == 'token'").await;
    browser.write("guess").await;
    browser.press("Enter").await;
    browser.until("document.querySelector('[role=alert]')?.innerText == 'This is not the token.'").await;
    browser.until("document.activeElement.id == 'token' && document.readyState == 'complete'").await;
    browser.write(TOKEN).await;
    browser.press("Enter").await;
    browser.is_at(&format!("{own}/rules")).await;

    browser.open(&format!("{own}/")).await;
    browser.until("document.getElementById('destinations').innerText.includes('✓ takes messages')").await;
    browser.press("Tab").await;
    let skip = "document.activeElement.className == 'skip' && \
                document.activeElement.getBoundingClientRect().left >= 0";
    assert_eq!(browser.value(skip).await, true);
    let mut stops: Vec<String> = vec![];
    let stop = "(it => [it.innerText || it.getAttribute('aria-label') || it.name, \
                getComputedStyle(it).outlineStyle + ' ' + getComputedStyle(it).outlineWidth, \
                it.getBoundingClientRect().width > 0, it === document.body])(document.activeElement)";
    for _ in 0..200 {
        let found = browser.value(stop).await;
        if found[3] == true {
            break;
        }
        assert_eq!((&found[1], &found[2]), (&Value::from("solid 2px"), &Value::from(true)), "{found}");
        stops.push(found[0].as_str().unwrap_or_default().trim().to_owned());
        browser.press("Tab").await;
    }
    let order =
        ["callwatch", "Overview", "Calls", "Deliveries", "Rules", "Config", "pause", "Sign out", "clinic"];
    assert_eq!(stops[1..10], order.map(str::to_owned), "{stops:?}");
    for stop in ["crm", "frontdesk", "manager", "Pause", "all deliveries"] {
        assert!(stops.iter().any(|found| found == stop), "{stop}: {stops:?}");
    }

    // The link that skips leads to the content; what is paused is not touched.
    browser.open(&format!("{own}/config")).await;
    browser.press("Tab").await;
    browser.press("Enter").await;
    browser.until("document.activeElement.id == 'main' && location.hash == '#main'").await;
    browser.value("document.getElementById('pause').focus()").await;
    browser.press("Enter").await;
    browser.until("document.getElementById('state').textContent == 'paused, as of'").await;
    browser.press("Enter").await;
    browser.until("document.getElementById('state').textContent == 'live ·'").await;
    // Signed out, an open page leads to where one signs in.
    browser.open(&format!("{own}/deliveries")).await;
    let out = "fetch('/sign-out', {method: 'POST'}).then(answer => answer.ok)";
    assert_eq!(browser.value(out).await, true);
    browser.until("location.pathname == '/sign-in'").await;
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_outlives_its_stream_and_its_server() {
    let rig = Rig::new().await;
    let Some(mut browser) = browser(&rig).await else { return };
    let config = listening(&rig.config_text(), "");
    let (process, address) = start(&rig, &config).await;
    let own = format!("http://{address}");
    let config = config.replace("127.0.0.1:0", &address.to_string());
    // All streams are taken, so the page asks now and then.
    let mut others = vec![];
    for _ in 0..32 {
        let mut stream = open_stream(address).await;
        reads(&mut stream, "text/event-stream").await;
        others.push(stream);
    }
    browser.open(&format!("{own}/")).await;
    browser.value("window.mark = 1").await;
    send(address, "/destinations/crm/pause", "").await;
    browser.until("document.querySelector('h1').innerText.startsWith('crm has been paused')").await;
    send(address, "/destinations/crm/resume", "").await;
    // It gets one as soon as there is one, and another from the next process.
    drop(others);
    browser.is_given("/events", 1).await;
    process.stop().await;
    browser.until("document.getElementById('state').textContent == 'not reached, as of'").await;
    let process = Process::start(&rig, &config).await;
    browser.until("document.getElementById('state').textContent == 'live ·'").await;
    browser.is_given("/events", 2).await;
    send(address, "/destinations/crm/pause", "").await;
    browser.until("document.querySelector('h1').innerText.startsWith('crm has been paused')").await;
    assert_eq!(browser.value("window.mark").await, 1, "it was not loaded anew");
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn axe_finds_nothing_serious_in_light_and_dark() {
    let rig = Rig::new().await;
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("axe.min.js");
    let Ok(axe) = fs::read_to_string(&file) else {
        return skip(&format!("there is no axe-core at {}", file.display()));
    };
    let Some(mut browser) = browser(&rig).await else { return };
    let (process, address) = with_dead(&rig, "").await;
    let own = format!("http://{address}");
    until(address, "GET /api/v1/deliveries/count?state=delivered", |answer| answer.json()["count"] == 6)
        .await;
    let dead = "/deliveries?state=dead&destination=crm";
    browser.open(&format!("{own}{dead}")).await;
    let delivery = browser.value("document.querySelector('#list tbody a').getAttribute('href')").await;
    let delivery = format!("{}?answers=true&sent=true", delivery.as_str().unwrap());
    let confirm = "/deliveries/confirm?action=drop&state=dead&destination=crm";
    let mut all = vec![];
    for path in PATHS.into_iter().chain([dead, &delivery, confirm]) {
        for colours in ["light", "dark"] {
            browser.colours(colours).await;
            browser.open(&format!("{own}{path}")).await;
            browser.value("document.querySelectorAll('details').forEach(it => it.open = true)").await;
            browser.value(&format!("{axe}; 0")).await;
            let found = "axe.run({resultTypes: ['violations']}).then(found => found.violations
                         .map(it => [it.impact, it.id, it.nodes.map(node => node.html + ' ' + node.failureSummary)]))";
            let found = browser.value(found).await;
            let serious = |it: &&Value| ["serious", "critical"].contains(&it[0].as_str().unwrap_or_default());
            let found = found.as_array().expect("it ran").iter().filter(serious);
            all.extend(found.map(|found| format!("{path} in {colours}: {found:#}")));
        }
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
    process.stop().await;
}
