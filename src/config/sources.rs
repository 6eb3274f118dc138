//! `[sources.NAME]`

use std::{ops::Range, time::Duration};

use url::Url;

use super::{
    SourceConfig,
    reader::Table,
    report::Mistake,
    value::Value,
    values::{DAY, Found, HOUR, MINUTE, SECOND, duration, secret, web_address},
};
use crate::name::Name;

const BASE_URL: &str = "https://api.callem.ai/v1";

/// What the API allows per minute and IP address.
const API_LIMIT: u32 = 120;

/// A source, and where in the file what it may share with others is said.
struct Read {
    config: SourceConfig,
    key: Found,
    key_place: Range<usize>,
    rate_place: Range<usize>,
}

/// Reads every source.
pub(super) fn read(root: &mut Table<'_>) -> Vec<SourceConfig> {
    let cx = root.cx;
    let is_wrong = root.value("sources").is_some_and(|value| !value.is_table());
    if root.declared("sources").is_empty() && !is_wrong {
        cx.add_absence(
            Mistake::of_file("there is no source of calls")
                .hint("add a table [sources.NAME] with api_key = { env = \"CALLEM_API_KEY\" }"),
        );
    }
    let sources = root.named("sources", source);
    for (i, source) in sources.iter().enumerate() {
        let before = &sources[..i];
        if let Some(twin) = before
            .iter()
            .find(|other| other.key.content().is_some() && other.key.content() == source.key.content())
        {
            let message = format!("source `{}` has the same key", twin.config.name);
            cx.add(
                Mistake::warning(source.key_place.clone(), message)
                    .hint("every call of this project will be seen twice"),
            );
        }
        let limit = |source: &SourceConfig| source.requests_per_minute;
        let host = |source: &SourceConfig| source.base_url.host_str().map(str::to_owned);
        if let Some(other) = before
            .iter()
            .map(|other| &other.config)
            .find(|other| host(other) == host(&source.config) && limit(other) != limit(&source.config))
        {
            let message = format!("source `{}` on the same host allows {}", other.name, limit(other));
            let smaller = limit(other).min(limit(&source.config));
            cx.add(
                Mistake::warning(source.rate_place.clone(), message)
                    .hint(format!("the smaller number counts for both: {smaller} a minute")),
            );
        }
    }
    sources.into_iter().map(|source| source.config).collect()
}

fn source(name: Name, table: &mut Table<'_>) -> Option<Read> {
    let cx = table.cx;
    let key = table.required("api_key", "{ env = \"CALLEM_API_KEY\" }", api_key);
    let given = table.optional("base_url", base_url);
    let base_url = if table.has("base_url") { given } else { Url::parse(BASE_URL).ok() };
    let interval = table.optional("interval", duration(SECOND / 10..=DAY)).unwrap_or(15 * SECOND);
    let sweep = table.optional("sweep", duration(SECOND..=30 * DAY)).unwrap_or(HOUR);
    let analysis_window =
        table.optional("analysis_window", duration(Duration::ZERO..=30 * DAY)).unwrap_or(HOUR);
    let page_size = table.optional("page_size", |value| value.integer(1..=1000)).unwrap_or(100);
    let on_vendor = base_url.as_ref().is_some_and(|url| url.host_str() == Some("api.callem.ai"));
    let requests_per_minute =
        table.optional("requests_per_minute", |value| per_minute(value, on_vendor)).unwrap_or(100);
    let notify_since =
        table.optional("notify_since", duration(Duration::ZERO..=3650 * DAY)).unwrap_or_default();
    let timeout = table.optional("timeout", duration(SECOND / 10..=10 * MINUTE)).unwrap_or(30 * SECOND);

    let failing_after = table.optional("failing_after", duration(Duration::ZERO..=DAY)).unwrap_or(5 * MINUTE);

    if sweep < interval {
        cx.add(
            Mistake::error(table.span_of("sweep"), "a sweep cannot be shorter than the interval")
                .hint(format!("interval is {}", humantime::format_duration(interval))),
        );
    }
    let polls = MINUTE.div_duration_f64(interval);
    if polls > f64::from(requests_per_minute) {
        let message =
            format!("this asks for {polls:.0} requests a minute, {requests_per_minute} are allowed");
        cx.add(
            Mistake::error(table.span_of("interval"), message)
                .hint("make `interval` longer; requests_per_minute is the limit"),
        );
    }
    let key_place = table.span_of("api_key");
    let rate_place = table.span_of("requests_per_minute");
    let key = key?;
    let config = SourceConfig {
        name,
        api_key: key.secret.clone(),
        base_url: base_url?,
        interval,
        sweep,
        analysis_window,
        page_size,
        requests_per_minute,
        notify_since,
        timeout,
        failing_after,
        fingerprint: table.fingerprint(),
    };
    Some(Read { config, key, key_place, rate_place })
}

fn api_key(value: &Value<'_>) -> Result<Found, Mistake> {
    let found = secret(value)?;
    if let Some(key) = found.content() {
        let looks_like_one = key.strip_prefix("ck_live_").is_some_and(|rest| rest.chars().count() == 60);
        if !looks_like_one {
            value.cx.add(
                value
                    .warning("this does not look like a key of the API")
                    .hint("keys are `ck_live_` and 60 characters"),
            );
        }
        if key.contains(|c: char| c.is_ascii_control() || !c.is_ascii()) {
            return Err(value.error("a key cannot hold control or non-ASCII characters"));
        }
    }
    Ok(found)
}

fn base_url(value: &Value<'_>) -> Result<Url, Mistake> {
    let mut url = web_address(value, "the key and the calls travel")?;
    if url.query().is_some()
        || url.fragment().is_some()
        || !url.username().is_empty()
        || url.password().is_some()
    {
        return Err(value.error("expected only a host and a path").hint(format!("as in \"{BASE_URL}\"")));
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

/// More than the API allows is a mistake there, and unusual elsewhere.
fn per_minute(value: &Value<'_>, on_vendor: bool) -> Result<u32, Mistake> {
    let limit = if on_vendor { API_LIMIT } else { 1_000_000 };
    let number = value.integer(1..=limit).map_err(|mistake| match on_vendor {
        true => mistake.hint("the API allows 120 per minute and IP address, all keys together"),
        false => mistake,
    })?;
    if number > API_LIMIT {
        value.cx.add(value.warning("the API itself allows 120 per minute and IP address"));
    }
    Ok(number)
}
