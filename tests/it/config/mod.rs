//! Config files: the values they can hold, and the reports about those that are wrong.

mod check;
mod mistakes;
mod reference;
mod robust;
mod schema;
mod secrets;

use std::path::Path;

use callwatch::config::{LoadOptions, Report, Secrets};
use callwatch::config_file::{Config, Loaded};

/// An API key that looks like one.
const KEY: &str = "ck_live_abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwx";

/// The environment of these tests.
fn env(name: &str) -> Option<String> {
    let value = match name {
        "CALLEM_API_KEY" => KEY,
        "CALLWATCH_TOKEN" | "SMTP_PASSWORD" | "CRM_HASH_KEY" => "correct horse battery staple",
        "CRM_SECRET" | "CRM_SECRET_OLD" => "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "DATABASE_URL" => "postgres://callwatch:0123456789@db.example.com/callwatch",
        "HEARTBEAT_URL" => "https://hc.example.com/ping/0123456789",
        "CRM_AUTHORIZATION" => "Bearer 0123456789",
        "SLACK_BOT_TOKEN" => "xoxb-0000",
        "SLACK_WEBHOOK_URL" => "https://hooks.slack.com/services/T000/B000/XXXX",
        // A new receiver's, in an example.
        name if name.ends_with("_TOKEN") => "0123456789abcdef",
        _ => return None,
    };
    Some(value.to_owned())
}

const OPTIONS: LoadOptions<'static> = LoadOptions { secrets: Secrets::Required, env: &env };

const EXAMPLE: &str = include_str!("../../../config.example.toml");

fn parse(text: &str) -> Result<Loaded, Report> {
    let loaded = Config::parse(text, Path::new("config.toml"), OPTIONS);
    if loaded.as_ref().is_ok_and(|loaded| loaded.warnings.mistakes().is_empty()) {
        schema::must_accept(text);
    }
    loaded
}

/// `text`, and after it what it needs to be a config.
fn completed(text: &str) -> String {
    let mut whole = text.to_owned();
    for (table, rest) in [
        ("[sources", "\n[sources.clinic]\napi_key = { env = \"CALLEM_API_KEY\" }\n"),
        ("[destinations", "\n[destinations.crm]\ntype = \"webhook\"\nurl = \"https://crm.example.com/\"\n"),
        ("[rules", "\n[rules.ended]\non = [\"ended\"]\nto = [\"crm\"]\n"),
    ] {
        if !text.contains(table) {
            whole.push_str(rest);
        }
    }
    whole
}
