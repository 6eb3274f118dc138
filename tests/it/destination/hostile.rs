//! Calls whose content a stranger chose: huge, deeply nested, and written to deceive.

use std::{fmt::Write as _, time::Instant};

use serde_json::{Map, Value};
use wiremock::ResponseTemplate;

use super::{
    email::mailed,
    slack::posted,
    webhook::{only_request, receiver, webhook},
    *,
};

/// A call whose analysis has this many fields.
fn huge(fields: usize) -> Event {
    let analysis: Map<_, _> = (0..fields).map(|n| (format!("field{n}"), json!("v"))).collect();
    let record = json!({
        "id": "1", "status": "completed", "callerNumber": "+33612345678", "summary": "A summary.",
        "callAnalysis": analysis, "createdAt": "2025-12-15T14:30:00.000Z",
    });
    let changes = json!({ "callAnalysis": { "from": null, "to": analysis } });
    Event {
        changes: Changes(changes.as_object().unwrap().clone()),
        ..event_of(Kind::Updated, &record.to_string())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_about_a_call_with_forty_thousand_fields_is_short() {
    let event = huge(40_000);
    let begun = Instant::now();
    let [plain, html] = mailed(|_| {}, &event, &RuleSet::default()).await;
    eprintln!("one mail took {:?}: {} and {} bytes", begun.elapsed(), plain.len(), html.len());
    assert!(plain.len() < 10_000 && html.len() < 50_000, "{} and {} bytes", plain.len(), html.len());
}
