//! `[destinations.NAME]`: the keys common to all types of destination. Each type reads the keys of its own.

use std::{collections::BTreeSet, time::Duration};

use secrecy::ExposeSecret;

use super::{DestinationKind, DestinationType, Links, TYPES};
use crate::{
    calendar::{Hours, Zone},
    config::{
        Fingerprint, Found, Key, Literal, MINUTE, Mistake, SECOND, Secret, SecretError, Table, Target, Value,
        ValueType, days, duration_of, field_path, has_decimal_comma, hours, language, no_comma, one_of,
        password, zone,
    },
    language::Language,
    name::Name,
    privacy::{HashKey, Redact},
    rule::Sight,
    snapshot::TRANSCRIPT,
    time::Timestamp,
};

/// The schedule Standard Webhooks recommends.
const RETRY_DEFAULT: &[Duration] = &[
    SECOND.saturating_mul(5),
    MINUTE.saturating_mul(5),
    MINUTE.saturating_mul(30),
    Duration::from_secs(2 * 3600),
    Duration::from_secs(5 * 3600),
    Duration::from_secs(10 * 3600),
    Duration::from_secs(14 * 3600),
    Duration::from_secs(20 * 3600),
    Duration::from_secs(24 * 3600),
];

const TENTH: Duration = Duration::from_millis(100);
const RETRY: Key = Key::new(
    "retry",
    ValueType::List(&ValueType::Duration(TENTH, days(30))),
    "the waits after a failed attempt; after the last one a delivery is dead; `[]` tries once",
)
.default(Literal::Durations(RETRY_DEFAULT));
const MAX_ATTEMPTS_AGE: Key = Key::new(
    "max_attempts_age",
    ValueType::Duration(SECOND, days(3650)),
    "a delivery older than this is not tried again",
);
const RATE: Key = Key::new("rate", ValueType::Rate, "at most this often");
const CONCURRENCY: Key = Key::new("concurrency", ValueType::Integer(1, 100), "attempts at the same time");
const TIMEOUT: Key =
    Key::new("timeout", ValueType::Duration(TENTH, Duration::from_secs(600)), "the deadline of one attempt");
const TIMEZONE: Key = Key::new(
    "timezone",
    ValueType::Zone,
    "the zone of `quiet`, and of the times in its [messages](messages.md)",
)
.means("that of the file");
const LANGUAGE: Key = Key::new(
    "language",
    ValueType::Word { what: "language", words: &Language::TAGS },
    "the language of its [messages](messages.md#in-the-readers-language): English, French, German or Spanish",
)
.means("that of the file");
const MERGE: Key = Key::new(
    "merge",
    ValueType::Boolean,
    "several rules that fire on the same change are told [in one message](rules.md#one-change-several-rules)",
);
const QUIET: Key = Key::new(
    "quiet",
    ValueType::Hours,
    "the hours in which only `critical` rules are told; [the rest follows after them](rules.md#quiet-hours)",
);
const FAILING_AFTER_DEFAULT: Duration = MINUTE.saturating_mul(5);
const FAILING_AFTER: Key = Key::new(
    "failing_after",
    ValueType::Duration(Duration::ZERO, days(1)),
    "after taking nothing for so long, `destination.failing` is [told elsewhere](rules.md#when-callwatch-itself-is-in-trouble); \
     `destination.recovered` when it takes deliveries again",
)
.default(Literal::Duration(FAILING_AFTER_DEFAULT));
const SHOW: Key = Key::new(
    "show",
    ValueType::Word { what: "measure", words: &Show::WORDS },
    "how much of a call [the receiver is shown](privacy.md): that there was one, all but the transcript, or all",
);
const INCLUDE: Key = Key::new(
    "include",
    ValueType::List(&ValueType::FieldPath),
    "the receiver is shown only these fields of a call; with `show = \"minimal\"` these as well",
)
.means("as `show` says");
const MASK: Key = Key::new(
    "mask",
    ValueType::List(&ValueType::FieldPath),
    "the receiver is shown only that these fields have a value; of phone numbers the beginning and the end",
);
const HASH: Key = Key::new(
    "hash",
    ValueType::List(&ValueType::FieldPath),
    "of these the receiver is shown [a hash](privacy.md#hashes): it sees which calls have the same, and not what it is",
);
const HASH_KEY: Key = Key::new(
    "hash_key",
    ValueType::Secret,
    "the key of these hashes, of at least 16 characters: `openssl rand -hex 32` makes one",
);
const REDACT: Key = Key::new(
    "redact",
    ValueType::List(&ValueType::Word { what: "kind of thing to redact", words: &REDACTS }),
    "what is [replaced in texts](privacy.md#what-is-replaced-in-texts), such as the summary and the transcript",
);
const REDACTS: [&str; 4] = [Redact::ALL[0].0, Redact::ALL[1].0, Redact::ALL[2].0, Redact::ALL[3].0];
const EXCLUDE: Key =
    Key::new("exclude", ValueType::List(&ValueType::FieldPath), "the receiver is never shown these");

impl DestinationType {
    /// The keys common to all types, with this type's defaults.
    pub fn common(&self) -> [Key; 18] {
        let rate = match self.rate {
            Some(rate) => RATE.default(Literal::Text(rate)),
            None => RATE,
        };
        [
            TYPE,
            RETRY,
            MAX_ATTEMPTS_AGE,
            rate,
            self.concurrency(),
            self.timeout(),
            FAILING_AFTER,
            self.merge(),
            QUIET,
            TIMEZONE,
            LANGUAGE,
            self.show(),
            INCLUDE,
            EXCLUDE,
            MASK,
            HASH,
            HASH_KEY,
            REDACT,
        ]
    }

    fn concurrency(&self) -> Key {
        CONCURRENCY.default(Literal::Integer(self.concurrency))
    }

    fn timeout(&self) -> Key {
        TIMEOUT.default(Literal::Duration(self.timeout))
    }

    fn show(&self) -> Key {
        SHOW.default(Literal::Text(Show::WORDS[self.show as usize]))
    }

    fn merge(&self) -> Key {
        MERGE.default(Literal::Boolean(self.merge))
    }
}

/// The words of all types, in their order.
const TYPE_WORDS: [&str; TYPES.len()] = {
    let mut words = [""; TYPES.len()];
    let mut at = 0;
    while at < words.len() {
        words[at] = TYPES[at].word;
        at += 1;
    }
    words
};
const TYPE: Key = Key::new(
    "type",
    ValueType::Word { what: "type of destination", words: &TYPE_WORDS },
    "what kind of receiver it is",
)
.required("\"webhook\" (or \"slack\", \"email\")");

/// `[destinations.NAME]`
#[derive(Clone, Debug)]
pub struct DestinationConfig {
    /// The table's name.
    pub name: Name,
    /// The settings that only its type has.
    pub kind: DestinationKind,
    /// The waits after a failed attempt, in order; after the last one a delivery is dead.
    /// Default 5s, 5m, 30m, 2h, 5h, 10h, 14h, 20h, 24h.
    pub retry: Vec<Duration>,
    /// A delivery older than this is not tried again. Default none.
    pub max_attempts_age: Option<Duration>,
    /// At most this often. Default none; Slack 1/s.
    pub rate: Option<Rate>,
    /// Attempts at the same time. Default 8 (webhook), 1 (Slack), 2 (email).
    pub concurrency: usize,
    /// The deadline of one attempt. Default 15 s (email 30 s).
    pub timeout: Duration,
    /// A destination that has failed for this long is reported through others. Default 5 min.
    pub failing_after: Duration,
    /// Whether several rules that fire on one observation are told in one message. Default only for people (Slack, email).
    pub merge: bool,
    /// The time zone of what people read there, and of its quiet hours. Default that of the whole config.
    pub timezone: Zone,
    /// The language of what people read there. Default that of the whole config.
    pub language: Language,
    /// The hours in which only critical events are told.
    pub quiet: Option<Hours>,
    /// Which fields of a call the receiver is shown.
    pub fields: FieldFilter,
    /// Where the key of its hashes is.
    pub hash_secret: Option<Secret>,
    /// Where the pages of calls are, for its messages.
    pub links: Links,
    /// Tells the table from an edited one.
    pub fingerprint: Fingerprint,
}

/// At most `count` per `period`: `"1/s"`, `"30/m"`, `"500/h"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many, at least 1.
    pub count: u32,
    /// In how long: a second, a minute or an hour.
    pub period: Duration,
}

/// Which fields of a call a receiver is shown, and how, as dotted paths (`callAnalysis.sentiment`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldFilter {
    /// Only these; `None` means all.
    pub include: Option<BTreeSet<String>>,
    /// Never these.
    pub exclude: BTreeSet<String>,
    /// Whether messages for people show the transcript without being asked for it by `include`.
    pub transcript: bool,
    /// The values of these are masked.
    pub mask: BTreeSet<String>,
    /// The values of these are hashed.
    pub hash: BTreeSet<String>,
    /// The key of the hashes; while it is not known, what would be hashed is masked.
    pub hash_key: Option<HashKey>,
    /// These are replaced in texts.
    pub redact: BTreeSet<Redact>,
}

/// How much of a call a receiver is shown, unless `include` and `exclude` say otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Show {
    /// That there was a call, when, and how it ended.
    Minimal,
    /// All but the transcript.
    Summary,
    /// All.
    Full,
}

impl Show {
    const ALL: [Self; 3] = [Self::Minimal, Self::Summary, Self::Full];
    const WORDS: [&'static str; 3] = ["minimal", "summary", "full"];

    /// The fields of [`Show::Minimal`]: neither who called, nor what was said.
    const MINIMAL: [&'static str; 6] = ["id", "status", "duration", "endedReason", "createdAt", "updatedAt"];

    /// Refined by what the config names.
    fn refined(self, include: Option<BTreeSet<String>>, mut exclude: BTreeSet<String>) -> FieldFilter {
        let transcript = self == Self::Full;
        let include = match (self, include) {
            (Self::Minimal, include) => {
                let minimal = Self::MINIMAL.map(str::to_owned);
                Some(include.into_iter().flatten().chain(minimal).collect())
            }
            (Self::Summary, None) => {
                exclude.insert(TRANSCRIPT.to_owned());
                None
            }
            (Self::Summary | Self::Full, include) => include,
        };
        FieldFilter { include, exclude, transcript, ..FieldFilter::default() }
    }
}

impl DestinationConfig {
    /// Reads a table `[destinations.NAME]`. `zone` and `language` are those of the file, `links` are those of its sources.
    pub(crate) fn read(
        name: Name,
        table: &mut Table<'_>,
        zone: Zone,
        language: Language,
        links: &Links,
    ) -> Option<Self> {
        let Some(r#type) = table.choice(&TYPE, &TYPES) else {
            // Without its type it cannot be told which keys it may have.
            table.accept_all();
            return None;
        };
        let kind = (r#type.read)(table);
        let retry = table.list(&RETRY, duration_of(&RETRY));
        let max_attempts_age = table.read(&MAX_ATTEMPTS_AGE, duration_of(&MAX_ATTEMPTS_AGE));
        let rate = table.read(&RATE, rate).or(r#type.rate.and_then(Rate::parse));
        let concurrency = table.integer(&r#type.concurrency());
        let timeout = table.duration(&r#type.timeout());
        let failing_after = table.duration(&FAILING_AFTER);
        let merge = table.boolean(&r#type.merge());
        let zone = table.read(&TIMEZONE, self::zone).unwrap_or(zone);
        let language = table.read(&LANGUAGE, self::language).unwrap_or(language);
        let quiet = table.read(&QUIET, |value| quiet_hours(value, zone));
        let show = table.choice(&r#type.show(), &Show::ALL).unwrap_or(r#type.show);
        let include = table.set(&INCLUDE, field_path).map(FromIterator::from_iter);
        let exclude = table.set(&EXCLUDE, field_path).into_iter().flatten().collect();
        let mask: BTreeSet<_> = table.set(&MASK, field_path).into_iter().flatten().collect();
        let hash = read_hash(table, &mask);
        let hash_secret = read_hash_key(table);
        let redact = table.set(&REDACT, |value| one_of(&REDACT.takes, value, &Redact::ALL));
        let redact = redact.into_iter().flatten().map(|(_, kind)| kind).collect();
        let hash_key = hash_secret.as_ref().and_then(Found::content).map(HashKey::new);
        let fields = FieldFilter { mask, hash, hash_key, redact, ..show.refined(include, exclude) };
        Some(Self {
            name,
            kind: kind?,
            retry: retry.unwrap_or_else(|| RETRY_DEFAULT.to_vec()),
            max_attempts_age,
            rate,
            concurrency: concurrency as usize,
            timeout,
            failing_after,
            merge,
            timezone: zone,
            language,
            quiet,
            fields,
            hash_secret: hash_secret.map(|found| found.secret),
            links: links.clone(),
            fingerprint: table.fingerprint(),
        })
    }

    /// Reads the key of the hashes if that has not been done, as where secrets were not needed so far. It may read a file, so it
    /// blocks.
    ///
    /// # Errors
    /// When there are hashes to be made and their key cannot be read.
    pub(crate) fn read_hash_key(&mut self) -> Result<(), SecretError> {
        if let (None, false, Some(secret)) =
            (&self.fields.hash_key, self.fields.hash.is_empty(), &self.hash_secret)
        {
            self.fields.hash_key = Some(HashKey::new(secret.read()?.expose_secret()));
        }
        Ok(())
    }

    /// The destination as far as rules have to know it.
    pub(crate) fn target(&self) -> Target {
        let only_single = match &self.kind {
            DestinationKind::Webhook(webhook) => webhook.format.only_single(),
            DestinationKind::Slack(_) | DestinationKind::Email(_) => None,
        };
        let in_full = !self.kind.is_for_people();
        let fields = self.fields.clone();
        let sight = (!in_full || !fields.shows_all())
            .then(|| Sight::new(move |changes| fields.shows_any_of(changes, in_full)));
        let (name, is_quiet) = (self.name.clone(), self.quiet.is_some());
        Target { name, is_quiet, merges: self.merge, only_single, sight }
    }
}

/// Reads `hash`, for which there has to be a key, and which hides more than `mask` does of the same field.
fn read_hash(table: &mut Table<'_>, mask: &BTreeSet<String>) -> BTreeSet<String> {
    let has_hash = table.has(&HASH);
    let span = table.span_of(if has_hash { &HASH } else { &HASH_KEY });
    if has_hash && !table.has(&HASH_KEY) {
        let message = "there is no key for these hashes; without one, the number behind each is found by trying all numbers";
        let hint = "add hash_key = { env = \"HASH_KEY\" }; `openssl rand -hex 32` makes one";
        table.cx.add_absence(Mistake::error(span.clone(), message).hint(hint));
    } else if table.has(&HASH_KEY) && !has_hash {
        table.cx.add_absence(Mistake::error(span.clone(), "`hash_key` goes with `hash`, and there is none"));
    }
    let hash: BTreeSet<String> = table.set(&HASH, field_path).into_iter().flatten().collect();
    if let Some(both) = hash.intersection(mask).next() {
        let message = format!("`{both}` is masked as well");
        table.cx.add(Mistake::error(span, message).hint("name it in one of `mask` and `hash`"));
    }
    hash
}

fn read_hash_key(table: &mut Table<'_>) -> Option<Found> {
    /// With fewer, keys can be tried until one fits a number that is known.
    const SHORTEST: usize = 16;
    table.read(&HASH_KEY, |value| {
        let found = password(value)?;
        match found.content() {
            Some(key) if key.len() < SHORTEST => Err(value
                .error(format!("a key of fewer than {SHORTEST} characters can be guessed"))
                .hint("`openssl rand -hex 32` makes one")),
            _ => Ok(found),
        }
    })
}

/// Quiet hours that end. In endless ones only critical rules would ever be heard.
fn quiet_hours(value: &Value<'_>, zone: Zone) -> Result<Hours, Mistake> {
    let quiet = hours(value, zone)?;
    let ends = quiet.next(Timestamp::from_millis(0)).is_none_or(|quiet_at| quiet.end(quiet_at).is_some());
    match ends {
        true => Ok(quiet),
        false => Err(value.error("these quiet hours never end")),
    }
}

impl Rate {
    fn parse(text: &str) -> Option<Self> {
        let (count, period) = text.split_once('/')?;
        let count = count.trim().parse().ok().filter(|count| *count > 0)?;
        let seconds = match period.trim() {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return None,
        };
        Some(Self { count, period: Duration::from_secs(seconds) })
    }
}

fn rate(value: &Value<'_>) -> Result<Rate, Mistake> {
    let text = value.text()?;
    if has_decimal_comma(text) {
        return Err(no_comma(value, "write a whole number per s, m or h, as in \"90/m\""));
    }
    Rate::parse(text).ok_or_else(|| {
        value.error("this is not a rate").hint("write a number per s, m or h, as in \"1/s\" or \"30/m\"")
    })
}
