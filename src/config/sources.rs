//! `[sources.NAME]`

use std::{ops::Range, sync::Arc, time::Duration};

use url::Url;

use super::{
    Fingerprint,
    connection::{CA_FILE, CLIENT_CERT, CLIENT_KEY, Connection, PROXY},
    key::{DAY, HOUR, Key, Literal, MINUTE, SECOND, ValueType, days},
    report::Mistake,
    secret::{Found, Secret, secret},
    table::Table,
    value::Value,
    values::{field_path, mistake_in, parse_web_address, size, web_address},
};
use crate::{
    kind::Kinds,
    lens::{Lens, OVER_DEFAULT},
    name::Name,
    template::{Context, Occasion, Template},
};

const BASE_URL_DEFAULT: &str = "https://api.callem.ai/v1";

/// The API's limit per minute and IP address.
const API_LIMIT: u32 = 120;

const TENTH: Duration = Duration::from_millis(100);

const API_KEY: Key =
    Key::new("api_key", ValueType::Secret, "the project's key, `ck_live_` and 60 characters")
        .required("{ env = \"CALLEM_API_KEY\" }");
const BASE_URL: Key =
    Key::new("base_url", ValueType::Url, "where the API is; http is for servers on this machine")
        .default(Literal::Text(BASE_URL_DEFAULT));
const INTERVAL: Key = Key::new(
    "interval",
    ValueType::Duration(TENTH, DAY),
    "time between looks for new calls and at live ones",
)
.default(Literal::Duration(Duration::from_secs(15)));
const SWEEP: Key = Key::new(
    "sweep",
    ValueType::Duration(SECOND, days(30)),
    "time within which the whole list is walked, for late edits and deletions; not shorter than `interval`",
)
.default(Literal::Duration(HOUR));
const ANALYSIS_WINDOW: Key = Key::new(
    "analysis_window",
    ValueType::Duration(Duration::ZERO, days(30)),
    "how long after completion an analysis is waited for; `\"0s\"` does not wait",
)
.default(Literal::Duration(HOUR));
const PAGE_SIZE: Key = Key::new("page_size", ValueType::Integer(1, 1000), "the largest page to ask for")
    .default(Literal::Integer(100));
const REQUESTS_PER_MINUTE: Key = Key::new(
    "requests_per_minute",
    ValueType::Integer(1, API_LIMIT),
    "the budget; sources on one host share the smallest of theirs",
)
.default(Literal::Integer(100));
const NOTIFY_SINCE: Key = Key::new(
    "notify_since",
    ValueType::Duration(Duration::ZERO, days(3650)),
    "on the first run, also announce calls created within this time before it",
)
.default(Literal::Duration(Duration::ZERO));
const TIMEOUT: Key =
    Key::new("timeout", ValueType::Duration(TENTH, Duration::from_secs(600)), "the deadline of one request")
        .default(Literal::Duration(Duration::from_secs(30)));
const FAILING_AFTER: Key = Key::new(
    "failing_after",
    ValueType::Duration(Duration::ZERO, DAY),
    "after failing for so long, `source.failing` is raised; `source.recovered` when it answers again",
)
.default(Literal::Duration(Duration::from_secs(300)));

const OVER: Key = Key::new(
    "over",
    ValueType::List(&ValueType::Text),
    "the words for `status`, besides `completed`, that mean that a call is over; any other is followed like `live`",
)
.default(Literal::Texts(OVER_DEFAULT));
const IGNORE: Key = Key::new(
    "ignore",
    ValueType::List(&ValueType::FieldPath),
    "fields that are not compared, because they differ in every answer; they are still passed on",
)
.default(Literal::Empty);
const DELETIONS_BELIEVED_AFTER: Key = Key::new(
    "deletions_believed_after",
    ValueType::Duration(Duration::ZERO, days(30)),
    "when more than three calls and more than a tenth of all vanish together, the source is failing, and they count as deleted only after this time; so it is when the list is empty all at once, of up to three calls after 10m at most; `\"0s\"` believes it at once",
)
.default(Literal::Duration(DAY));
const MAX_RECORD: Key =
    Key::new("max_record", ValueType::Size(1024), "a longer record of a call is left out, and reported")
        .default(Literal::Size(4 << 20));
const MAX_CALLS: Key = Key::new(
    "max_calls",
    ValueType::Integer(1, 1_000_000_000),
    "the most calls to remember; once there are as many, new ones are left out, and the source is failing",
)
.default(Literal::Integer(10_000_000));
const CALL_URL: Key = Key::new(
    "call_url",
    ValueType::Template,
    "the page of a call at the vendor's, for links in messages: `\"https://app.example.com/calls/{{ call.id }}\"`",
);

/// The keys of `[sources.NAME]`.
pub(crate) const SOURCE: &[Key] = &[
    API_KEY,
    BASE_URL,
    INTERVAL,
    SWEEP,
    ANALYSIS_WINDOW,
    PAGE_SIZE,
    REQUESTS_PER_MINUTE,
    NOTIFY_SINCE,
    TIMEOUT,
    FAILING_AFTER,
    OVER,
    IGNORE,
    DELETIONS_BELIEVED_AFTER,
    MAX_RECORD,
    MAX_CALLS,
    CALL_URL,
    CA_FILE,
    CLIENT_CERT,
    CLIENT_KEY,
    PROXY,
];

/// `[sources.NAME]`: one Callem project.
#[derive(Clone, Debug)]
pub struct SourceConfig {
    /// The table's name.
    pub name: Name,
    /// The key of the project.
    pub api_key: Secret,
    /// Where the API is, without a trailing slash. Default `https://api.callem.ai/v1`.
    pub base_url: Url,
    /// Time between looks for new calls and at live ones. Default 15 s.
    pub interval: Duration,
    /// Time within which the whole list is walked. Default 1 h.
    pub sweep: Duration,
    /// How long after completion an analysis is waited for. Default 1 h.
    pub analysis_window: Duration,
    /// The largest page to ask for, 1..=1000. Default 100.
    pub page_size: u32,
    /// Requests per minute; sources with the same host share the smallest of theirs. Default 100.
    pub requests_per_minute: u32,
    /// On the first run, also announce calls created within this time before it. Default none.
    pub notify_since: Duration,
    /// The deadline of one request. Default 30 s.
    pub timeout: Duration,
    /// After failing for so long the source is said to be failing. Default 5 min.
    pub failing_after: Duration,
    /// Which calls are over, and which fields are compared.
    pub lens: Arc<Lens>,
    /// How long many calls that vanished together must stay away until they count as deleted. Default 24 h.
    pub deletions_believed_after: Duration,
    /// The longest record of a call in bytes. Default 4 MiB.
    pub max_record: usize,
    /// The most calls to remember. Default 10,000,000.
    pub max_calls: usize,
    /// The page of a call at the vendor's.
    pub call_url: Option<CallUrl>,
    /// How the API is reached.
    pub connection: Connection,
    /// Tells the table from an edited one.
    pub fingerprint: Fingerprint,
}

/// The page of a call: a web address whose host is written out, and whose path is a template.
#[derive(Clone, Debug)]
pub struct CallUrl {
    template: Template,
    /// The address up to the first thing that a call decides about.
    beginning: Url,
}

impl CallUrl {
    fn read(value: &Value<'_>) -> Result<Self, Mistake> {
        const HINT: &str = "write it as in \"https://app.example.com/calls/{{ call.id }}\"";
        let text = value.text()?;
        let template = Template::compile_address(text).map_err(|error| mistake_in(value, error))?;
        for doubt in template.doubts(Occasion { kinds: Kinds::of_calls(), when: None }) {
            value.cx.add(mistake_in(value, doubt).into_warning());
        }
        let beginning = &text[..text.find(['{', '#', '?']).unwrap_or(text.len())];
        let beginning = parse_web_address(beginning).map_err(|why| value.error(why).hint(HINT))?;
        let has_path = text.trim_start_matches("https://").trim_start_matches("http://").contains('/');
        if !has_path || !beginning.username().is_empty() || beginning.password().is_some() {
            let message = "the host has to be written out, with a slash behind it";
            return Err(value.error(message).hint(HINT));
        }
        Ok(Self { template, beginning })
    }

    /// The page of a call; `None` when the template cannot be rendered, or leads elsewhere: callers decide what a call holds.
    pub fn of(&self, context: &Context<'_>) -> Option<Url> {
        let url = Url::parse(self.template.render(context).ok()?.trim()).ok()?;
        (url.origin() == self.beginning.origin() && url.username().is_empty() && url.password().is_none())
            .then_some(url)
    }
}

impl PartialEq for CallUrl {
    fn eq(&self, other: &Self) -> bool {
        self.template.source() == other.template.source()
    }
}

impl Eq for CallUrl {}

/// A source, and the places of the values that are compared with those of other sources.
struct Read {
    config: SourceConfig,
    key: Found,
    key_place: Range<usize>,
    rate_place: Range<usize>,
}

/// Reads every source under `key`.
pub(crate) fn read(root: &mut Table<'_>, key: &Key) -> Vec<SourceConfig> {
    let cx = root.cx;
    let is_wrong = root.value(key).is_some_and(|value| !value.is_table());
    if root.declared(key).places().is_empty() && !is_wrong {
        cx.add_absence(
            Mistake::of_file("there is no source of calls")
                .hint("add a table [sources.NAME] with api_key = { env = \"CALLEM_API_KEY\" }"),
        );
    }
    let sources = root.named(key, source);
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
    let key = table.read(&API_KEY, api_key);
    let given = table.read(&BASE_URL, base_url);
    let base_url = if table.has(&BASE_URL) { given } else { Url::parse(BASE_URL_DEFAULT).ok() };
    let interval = table.duration(&INTERVAL);
    let sweep = table.duration(&SWEEP);
    let analysis_window = table.duration(&ANALYSIS_WINDOW);
    let page_size = table.integer(&PAGE_SIZE);
    let on_vendor = base_url.as_ref().is_some_and(|url| url.host_str() == Some("api.callem.ai"));
    let requests_per_minute =
        table.read(&REQUESTS_PER_MINUTE, |value| per_minute(value, on_vendor)).unwrap_or(100);
    let notify_since = table.duration(&NOTIFY_SINCE);
    let timeout = table.duration(&TIMEOUT);
    let failing_after = table.duration(&FAILING_AFTER);
    let over = table.list(&OVER, over_word);
    let over = over.unwrap_or_else(|| OVER_DEFAULT.iter().map(|word| (*word).to_owned()).collect());
    let ignore = table.list(&IGNORE, field_path).unwrap_or_default();
    let lens = Lens::new(over.iter().map(String::as_str), ignore.iter().map(String::as_str));
    let deletions_believed_after = table.duration(&DELETIONS_BELIEVED_AFTER);
    let max_record = table.read(&MAX_RECORD, |value| size(&MAX_RECORD, value));
    let max_calls = table.integer(&MAX_CALLS);
    let call_url = table.read(&CALL_URL, CallUrl::read);
    let connection = Connection::read(table);

    if sweep < interval {
        cx.add(
            Mistake::error(table.span_of(&SWEEP), "a sweep cannot be shorter than the interval")
                .hint(format!("interval is {}", humantime::format_duration(interval))),
        );
    }
    let polls = MINUTE.div_duration_f64(interval);
    if polls > f64::from(requests_per_minute) {
        let message =
            format!("this asks for {polls:.0} requests a minute, {requests_per_minute} are allowed");
        cx.add(
            Mistake::error(table.span_of(&INTERVAL), message)
                .hint("make `interval` longer; requests_per_minute is the limit"),
        );
    }
    let key_place = table.span_of(&API_KEY);
    let rate_place = table.span_of(&REQUESTS_PER_MINUTE);
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
        lens: Arc::new(lens),
        deletions_believed_after,
        max_record: usize::try_from(max_record.unwrap_or(4 << 20)).unwrap_or(usize::MAX),
        max_calls: max_calls as usize,
        call_url,
        connection,
        fingerprint: table.fingerprint(),
    };
    Some(Read { config, key, key_place, rate_place })
}

/// A status that means that a call is over.
fn over_word(value: &Value<'_>) -> Result<String, Mistake> {
    match value.text()? {
        "" => Err(value.error("a status cannot be empty")),
        "live" => Err(value.error("a call whose status is `live` is not over")),
        word => Ok(word.to_owned()),
    }
}

fn api_key(value: &Value<'_>) -> Result<Found, Mistake> {
    let found = secret(value)?;
    if let Some(key) = found.content() {
        if key.trim_start().to_ascii_lowercase().starts_with("bearer ") {
            return Err(value
                .error("callwatch puts `Bearer` before the key itself")
                .hint("write the key alone"));
        }
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
        return Err(value
            .error("expected only a host and a path")
            .hint(format!("as in \"{BASE_URL_DEFAULT}\"")));
    }
    let path = url.path().trim_end_matches('/').to_owned();
    if path.ends_with("/calls") {
        let warning = value.warning("`/calls` is added to this for each request");
        value.cx.add(warning.hint("leave it out"));
    }
    url.set_path(&path);
    Ok(url)
}

/// More than the vendor allows is an error for the vendor's host and a warning for another.
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
