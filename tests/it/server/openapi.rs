//! The description of the API is so: every route is described, and real answers are as described.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    get,
    hostile::ROUTES,
    http::{Ask, ask},
    listening, start, until,
};
use crate::rig::{Rig, analyze, record};

const PREFIX: &str = "/api/v1";

/// The description, made strict: an answer may hold nothing that is not described.
fn strict(mut api: Value) -> Value {
    fn parts(value: &Value, found: &mut BTreeSet<String>) {
        let inner = value.get("allOf").and_then(Value::as_array).into_iter().flatten();
        found.extend(inner.filter_map(|part| part["$ref"].as_str()).map(str::to_owned));
        match value {
            Value::Object(fields) => fields.values().for_each(|value| parts(value, found)),
            Value::Array(items) => items.iter().for_each(|value| parts(value, found)),
            _ => {}
        }
    }
    let mut of_others = BTreeSet::new();
    parts(&api, &mut of_others);
    let schemas = api["components"]["schemas"].as_object_mut().unwrap();
    for (name, schema) in schemas {
        // What is a part of another schema is closed by that one.
        let is_part = of_others.contains(&format!("#/components/schemas/{name}"));
        let is_object = schema.get("allOf").is_some() || schema["properties"].is_object();
        if is_object && !is_part && name != "Sent" {
            schema["unevaluatedProperties"] = false.into();
        }
    }
    api
}

/// The mistakes of an answer, as its schema has them.
fn mistakes(api: &Value, path: &str, method: &str, status: &str, answer: &Value) -> Vec<String> {
    let content = &api["paths"][path][method]["responses"][status]["content"];
    let schema =
        content.as_object().and_then(|kinds| kinds.values().next()).map(|kind| kind["schema"].clone());
    let mut schema =
        schema.unwrap_or_else(|| panic!("{method} {path} has no schema for {status}: {content}"));
    schema["components"] = api["components"].clone();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    validator
        .iter_errors(answer)
        .map(|error| format!("{path}: {error} at {}", error.instance_path()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_is_described_and_answers_as_described() {
    let rig = Rig::new().await;
    let text = rig.config_text()
        + "\n[rules.grouped]\non = [\"ended\"]\ngroup = { wait = \"1h\" }\nto = [\"frontdesk\"]\n\
           [alerts]\nto = [\"crm\", \"manager\"]\n";
    let (process, address) = start(&rig, &listening(&text, "")).await;
    let mut call = record("a", "completed");
    analyze(&mut call, "negative", true);
    rig.callem.add(call);
    let arrived = "GET /api/v1/deliveries/count?state=delivered";
    until(address, arrived, |answer| answer.json()["count"].as_u64() >= Some(4)).await;
    let list = get(address, "/api/v1/deliveries?state=delivered&destination=crm&limit=1").await;
    let event = list["items"][0]["event"].as_str().unwrap().to_owned();

    let api = strict(get(address, "/api/v1/openapi.json").await);
    let described: BTreeSet<String> = api["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| {
            let methods =
                methods.as_object().unwrap().keys().filter(|key| ["get", "post"].contains(&&***key));
            methods.map(move |method| format!("{} {PREFIX}{path}", method.to_uppercase()))
        })
        .collect();
    let example = |route: &str| {
        let names = [("{event}", "evt_a"), ("{destination}", "crm"), ("{name}", "crm"), ("{id}", "a")];
        names.iter().fold(route.to_owned(), |route, (name, example)| route.replace(name, example))
    };
    let of_api = ROUTES.iter().filter(|route| route.contains(PREFIX)).map(|route| (*route).to_owned());
    assert_eq!(described.iter().map(|route| example(route)).collect::<BTreeSet<_>>(), of_api.collect());

    let bulk = json!({ "filter": { "state": "delivered", "rule": "booked" }, "dry_run": true }).to_string();
    let one =
        json!({ "deliveries": [{ "event": event, "destination": "crm" }], "dry_run": true }).to_string();
    let replay = json!({ "filter": { "rule": "booked" }, "to": "crm", "dry_run": true }).to_string();
    let mut asked = 0;
    for route in &described {
        let (method, path) = route.split_once(' ').unwrap();
        let path = path.strip_prefix(PREFIX).unwrap();
        let line = route.replace("{event}", &event).replace("{destination}", "crm").replace("{name}", "crm");
        let line = line.replace("{id}", "a");
        let body = match path {
            "/deliveries/retry" | "/deliveries/drop" => &*bulk,
            "/deliveries/resend" => &*one,
            "/replay" => &*replay,
            "/forget" => r#"{"whom":{"number":"+33 6 12 34 56 78"},"dry_run":true}"#,
            _ => "",
        };
        let answer =
            ask(address, if body.is_empty() { Ask::new(&line) } else { Ask::new(&line).json(body) }).await;
        if answer.status == 204 {
            assert!(api["paths"][path]["post"]["responses"]["204"].is_object(), "{line}");
        } else if path != "/openapi.json" {
            assert_eq!(answer.status, 200, "{line}: {answer:?}");
            let found = mistakes(&api, path, &method.to_lowercase(), "200", &answer.json());
            assert_eq!(found, Vec::<String>::new(), "{line}: {}", answer.body);
        }
        asked += 1;
    }
    assert!(asked >= 21, "{described:?}");
    // A list with everything in it, and a story with what is held.
    for (path, line) in [("/deliveries", "/deliveries?limit=100"), ("/calls/{id}", "/calls/a")] {
        let answer = get(address, &format!("{PREFIX}{line}")).await;
        assert_eq!(mistakes(&api, path, "get", "200", &answer), Vec::<String>::new(), "{answer}");
    }
    let problem = ask(address, Ask::new("GET /api/v1/deliveries?limit=0")).await.json();
    assert_eq!(mistakes(&api, "/deliveries", "get", "default", &problem), Vec::<String>::new());
    // The test would notice.
    let odd = json!({ "count": 1, "more": true });
    assert!(!mistakes(&api, "/deliveries/count", "get", "200", &odd).is_empty());
    process.stop().await;
}
