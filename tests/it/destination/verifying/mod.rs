//! Receivers of webhooks: the code of docs/receiving-webhooks.md in each language, and the reference libraries, given real
//! requests and others.

use std::time::{Duration, SystemTime};

use axum::http;
use callwatch::{
    destination::{DestinationKind, WebhookConfig, WebhookFormat},
    kind::Kind,
};
use serde_json::{Value, json};
use wiremock::{MockServer, Request, ResponseTemplate};

use super::{
    docs::{PAGE, delivered, example},
    webhook::{only_request, receiver, webhook},
    *,
};
use crate::tools::{library, output, program};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const ANOTHER: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

const OLD: &str = "too old, or one of the clocks is wrong";
const FORGED: &str = "not signed with this secret";

mod of_the_docs {
    use super::http;

    include!("receiver.rs");

    pub fn verified(secret: &str, headers: &http::HeaderMap, body: &[u8]) -> String {
        verify(secret, headers, body).unwrap_or_else(str::to_owned)
    }
}

/// Requests, and the answer that each should get: its id, or why it is refused.
struct Cases {
    input: Value,
    expected: Vec<String>,
}

fn input(request: &Request, secret: &str) -> Value {
    let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        (name.to_string(), json!(value.to_str().unwrap()))
    };
    let headers: Value = request.headers.iter().map(header).collect();
    json!({ "secret": secret, "headers": headers, "body": std::str::from_utf8(&request.body).unwrap() })
}

/// The case with the names of its headers as many servers write them: `Webhook-Id`.
fn in_capitals(case: &Value) -> Value {
    let mut case = case.clone();
    let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
    let name = |name: &String| name.split('-').map(capital).collect::<Vec<_>>().join("-");
    let headers = case["headers"].as_object().unwrap().iter();
    case["headers"] = headers.map(|(of, value)| (name(of), value.clone())).collect();
    case
}

async fn cases() -> Cases {
    let event = event(Kind::Ended);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let at = |at: Duration| Timestamp::from_millis(0).after(at);
    let genuine = input(&delivered(&event, at(now)).await, SECRET);
    let old = input(&delivered(&event, at(now - Duration::from_secs(400))).await, SECRET);
    let early = input(&delivered(&event, at(now + Duration::from_secs(3600))).await, SECRET);
    let mut forged = genuine.clone();
    forged["body"] = json!(genuine["body"].as_str().unwrap().replace("+33612345678", "+33600000000"));
    let mut of_another = genuine.clone();
    of_another["secret"] = json!(ANOTHER);
    let mut rotated = genuine.clone();
    let signature = genuine["headers"]["webhook-signature"].as_str().unwrap();
    rotated["headers"]["webhook-signature"] = json!(format!("v1a,AAAA v1,bm90aGluZw== {signature}"));
    let (mut unsigned, mut undated) = (genuine.clone(), genuine.clone());
    unsigned["headers"].as_object_mut().unwrap().remove("webhook-signature");
    undated["headers"].as_object_mut().unwrap().remove("webhook-timestamp");
    let id = event.id.as_str();
    let all = [
        (in_capitals(&genuine), id),
        (genuine, id),
        (rotated, id),
        (forged, FORGED),
        (of_another, FORGED),
        (unsigned, FORGED),
        (old, OLD),
        (early, OLD),
        (undated, OLD),
    ];
    let (input, expected): (Vec<_>, Vec<_>) =
        all.into_iter().map(|(case, expected)| (case, expected.to_owned())).unzip();
    Cases { input: input.into(), expected }
}

/// Whether a program answers each case as it should; it gets a list of them and prints a list of texts.
async fn agrees(mut command: tokio::process::Command) {
    let Cases { input, expected } = cases().await;
    if let Some(said) = output(&mut command, &input.to_string()).await {
        let said: Vec<String> = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}"));
        assert_eq!(said, expected);
    }
}

/// The code of the docs in a language, and a program around it.
fn with(language: &str, code: &str) -> String {
    format!("{}\n{code}", example(language))
}

#[tokio::test]
async fn python_verifies() {
    let code = "
import json, sys

def answer(case):
    try:
        return verify(case['secret'], case['headers'], case['body'].encode())
    except ValueError as error:
        return str(error)

print(json.dumps([answer(case) for case in json.load(sys.stdin)]))
";
    let mut python = program("python3");
    python.args(["-c", &with("python", code)]);
    agrees(python).await;
}

#[tokio::test]
async fn node_verifies() {
    let code = "
const answer = ({ secret, headers, body }) => {
  try { return verify(secret, headers, Buffer.from(body)); } catch (error) { return error.message; }
};
console.log(JSON.stringify(JSON.parse(require('node:fs').readFileSync(0)).map(answer)));
";
    let mut node = program("node");
    node.args(["-e", &with("js", code)]);
    agrees(node).await;
}

#[tokio::test]
async fn php_verifies() {
    let code = "
function answer($case) {
    try {
        return verify($case['secret'], $case['headers'], $case['body']);
    } catch (Exception $error) {
        return $error->getMessage();
    }
}
echo json_encode(array_map('answer', json_decode(file_get_contents('php://stdin'), true)));
";
    let mut php = program("php");
    php.args(["-r", &with("php", code)]);
    agrees(php).await;
}

#[tokio::test]
async fn ruby_verifies() {
    let code = "
require 'json'
answers = JSON.parse($stdin.read).map do |given|
  verify(given['secret'], given['headers'], given['body'])
rescue RuntimeError => error
  error.message
end
puts JSON.generate(answers)
";
    let mut ruby = program("ruby");
    ruby.args(["-e", &with("ruby", code)]);
    agrees(ruby).await;
}

#[tokio::test]
async fn ruby_verifies_what_rails_hands_over() {
    let code = "
require 'json'
given = JSON.parse($stdin.read).first
headers = given['headers'].to_h { |name, value| ['HTTP_' + name.upcase.tr('-', '_'), value] }
puts verify(given['secret'], headers, given['body'])
";
    let mut ruby = program("ruby");
    ruby.args(["-e", &with("ruby", code)]);
    let Cases { input, expected } = cases().await;
    if let Some(said) = output(&mut ruby, &input.to_string()).await {
        assert_eq!(said.trim(), expected[0]);
    }
}

#[tokio::test]
async fn go_verifies() {
    let code = r#"package main

import (
	"encoding/json"
	"net/http"
	"os"
)

func main() {
	var cases []struct {
		Secret, Body string
		Headers      map[string]string
	}
	if err := json.NewDecoder(os.Stdin).Decode(&cases); err != nil {
		panic(err)
	}
	answers := []string{}
	for _, one := range cases {
		headers := http.Header{}
		for name, value := range one.Headers {
			headers.Set(name, value)
		}
		answer, err := Verify(one.Secret, headers, []byte(one.Body))
		if err != nil {
			answer = err.Error()
		}
		answers = append(answers, answer)
	}
	json.NewEncoder(os.Stdout).Encode(answers)
}
"#;
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("go.mod", "module receiver\n"), ("verify.go", example("go")), ("main.go", code)] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let mut go = program("go");
    go.args(["run", "."]).current_dir(folder.path());
    agrees(go).await;
}

#[tokio::test]
async fn rust_verifies() {
    let file = include_str!("receiver.rs");
    assert!(
        PAGE.contains(&format!("```rust\n{file}```")),
        "the docs show another function than the one tested here"
    );
    let Cases { input, expected } = cases().await;
    for (case, expected) in input.as_array().unwrap().iter().zip(expected) {
        let mut headers = http::HeaderMap::new();
        for (name, value) in case["headers"].as_object().unwrap() {
            let name = http::HeaderName::try_from(name).unwrap();
            headers.insert(name, value.as_str().unwrap().parse().unwrap());
        }
        let (secret, body) = (case["secret"].as_str().unwrap(), case["body"].as_str().unwrap());
        assert_eq!(of_the_docs::verified(secret, &headers, body.as_bytes()), expected);
    }
}

/// What a library should say of each case: whether it is genuine.
async fn library_agrees(mut command: tokio::process::Command) {
    let Cases { input, expected } = cases().await;
    // It may ask for small letters.
    let input: Vec<_> = input.as_array().unwrap()[1..].to_vec();
    if let Some(said) = output(&mut command, &json!(input).to_string()).await {
        let said: Vec<bool> = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}"));
        let genuine: Vec<_> = expected[1..].iter().map(|it| it.starts_with("evt_")).collect();
        assert_eq!(said, genuine);
    }
}

#[tokio::test]
async fn the_python_library_of_standard_webhooks_agrees() {
    let Some(_) = library("python/standardwebhooks") else { return };
    let code = "
import json, sys
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

def is_genuine(case):
    try:
        Webhook(case['secret']).verify(case['body'], case['headers'])
        return True
    except WebhookVerificationError:
        return False

print(json.dumps([is_genuine(case) for case in json.load(sys.stdin)]))
";
    let mut python = program("python3");
    python.args(["-c", code]);
    library_agrees(python).await;
}

#[tokio::test]
async fn the_node_library_of_standard_webhooks_agrees() {
    let Some(_) = library("node/node_modules/standardwebhooks") else { return };
    let code = "
const { Webhook, WebhookVerificationError } = require('standardwebhooks');
const isGenuine = ({ secret, headers, body }) => {
  try {
    new Webhook(secret).verify(body, headers);
    return true;
  } catch (error) {
    if (error instanceof WebhookVerificationError) return false;
    throw error;
  }
};
console.log(JSON.stringify(JSON.parse(require('node:fs').readFileSync(0)).map(isGenuine)));
";
    let mut node = program("node");
    node.args(["-e", code]);
    library_agrees(node).await;
}

#[tokio::test]
async fn the_python_library_of_cloudevents_reads_both_modes() {
    let Some(_) = library("python/cloudevents") else { return };
    let code = "
import json, sys
from cloudevents.core.bindings.http import HTTPMessage, from_http_event

def read(request):
    event = from_http_event(HTTPMessage(headers=request['headers'], body=request['body'].encode()))
    names = ['id', 'source', 'type', 'subject', 'specversion', 'datacontenttype']
    read = {name: event.get_attributes().get(name) for name in names}
    return read | {'time': event.get_time().isoformat(), 'data': event.get_data()}

print(json.dumps([read(request) for request in json.load(sys.stdin)]))
";
    let mut requests = vec![];
    let sample = event(Kind::Ended);
    for format in [WebhookFormat::Cloudevents, WebhookFormat::CloudeventsBinary] {
        let server: MockServer = receiver(ResponseTemplate::new(200)).await;
        let webhook = WebhookConfig { format, ..webhook(&server.uri()) };
        deliver(&config(DestinationKind::Webhook(webhook)), &sample).await;
        requests.push(input(&only_request(&server).await, SECRET));
    }
    let mut python = program("python3");
    python.args(["-c", code]);
    let Some(said) = output(&mut python, &json!(requests).to_string()).await else { return };
    let [structured, binary] =
        <[Value; 2]>::try_from(serde_json::from_str::<Vec<_>>(&said).unwrap()).unwrap();
    assert_eq!(
        (&structured["id"], &structured["source"]),
        (&json!(sample.id.as_str()), &json!("/callwatch/clinic"))
    );
    assert_eq!((&structured["type"], &structured["specversion"]), (&json!("call.ended"), &json!("1.0")));
    assert_eq!(structured["subject"], "6789abcdef0123456789abcd");
    assert_eq!(structured["data"]["call"]["callerNumber"], "+33612345678");
    let time = sample.at.to_string().replace(".000Z", "+00:00");
    assert_eq!(structured["time"], time);
    for name in ["id", "source", "type", "subject", "specversion", "time", "data"] {
        assert_eq!(structured[name], binary[name], "{name}");
    }
}
