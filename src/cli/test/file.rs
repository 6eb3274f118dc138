//! Reads files of rule tests, such as `clinic.test.toml`.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Map, Value as Json};

use super::{
    keys::{
        AT, CALL, CLEAR, CONFIG, COUNT, DEFAULT_CALL, DELETE, EXPECT, HAPPENS, NAME, NEVER, NOTHING_ELSE,
        RULE, RULES, SET, SOURCE, START, STEP, TEST, TITLE, TITLE_CONTAINS, TO, UNTIL, WITHIN,
    },
    times::{Clock, date, default_start},
};
use crate::{
    calendar::Zone,
    call::CallId,
    config::{
        Declared, LoadOptions, Mistake, Report, Secrets, Table, Value, document, duration_of, integer_of,
        kind, read_file, reference,
    },
    config_file::Config,
    destination::DestinationConfig,
    kind::Kind,
    name::Name,
    rule::Rule,
    summary::Reason,
    time::Timestamp,
};

/// A file of tests, and the config they test.
pub(super) struct Suite {
    pub(super) file: PathBuf,
    pub(super) config: Config,
    pub(super) tests: Vec<Test>,
}

/// `[[test]]`
pub(super) struct Test {
    pub(super) name: String,
    /// The line of the file at which it begins, from 1.
    pub(super) line: usize,
    pub(super) start: Timestamp,
    /// The config's time zone.
    pub(super) zone: Zone,
    /// Whether the file says when it begins, so that its author thinks in times of the day.
    pub(super) is_dated: bool,
    /// The only rules at work; `None` for all.
    pub(super) rules: Option<Vec<Name>>,
    /// In the order of time.
    pub(super) steps: Vec<Step>,
    /// How long the clock runs after the last step; `None`: until nothing is pending.
    pub(super) until: Option<Duration>,
    /// Whether a message that is not expected fails the test.
    pub(super) nothing_else: bool,
    pub(super) expect: Vec<Expectation>,
    pub(super) never: Vec<Never>,
}

/// `[[test.step]]`: something happens.
pub(super) struct Step {
    pub(super) at: Timestamp,
    pub(super) source: Name,
    pub(super) what: Happening,
}

/// The thing that happens in a step.
pub(super) enum Happening {
    /// A call is seen for the first time, or has changed.
    Seen { call: CallId, set: Map<String, Json>, clear: Vec<String> },
    /// A call is gone.
    Deleted(CallId),
    /// Something happens to the source itself.
    OfSource(Kind),
}

/// `[[test.expect]]`: a message that must be sent.
pub(super) struct Expectation {
    pub(super) when: When,
    pub(super) rule: Name,
    pub(super) to: Vec<Name>,
    pub(super) call: Option<CallId>,
    pub(super) title: Option<Title>,
    pub(super) count: Option<u64>,
}

/// When a message is expected.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    At(Timestamp),
    Within(Timestamp, Timestamp),
    AnyTime,
}

/// How a message's title is expected to read.
pub(super) enum Title {
    Is(String),
    Contains(String),
}

/// `[[test.never]]`: messages that must not be sent.
pub(super) struct Never {
    pub(super) rule: Name,
    /// The destinations that must not be told; `None` for all.
    pub(super) to: Option<Vec<Name>>,
}

impl Suite {
    /// Reads the file at `path` and the config it tests: `config` if that is given, else the one the file names, else the
    /// one beside it (`clinic.toml` for `clinic.test.toml`).
    ///
    /// # Errors
    /// Every mistake in the config, or else every mistake in the file.
    pub(super) fn load(path: &Path, config: Option<&Path>) -> Result<Self, Report> {
        let text = read_file(path, "file of tests", "docs/testing-rules.md shows how to write one")?;
        let options = LoadOptions { secrets: Secrets::Ignored, ..LoadOptions::default() };
        let suite = document(&text, path, options, None, |root| read(root, path, config, options))?.read;
        match suite {
            Some(suite) => suite,
            // Cannot happen: without a suite, a mistake has been reported.
            None => Err(Report::unreadable(path, Mistake::of_file("there are no tests"))),
        }
    }
}

fn read(
    root: &mut Table<'_>,
    path: &Path,
    config: Option<&Path>,
    options: LoadOptions<'_>,
) -> Option<Result<Suite, Report>> {
    let named = root.read(&CONFIG, |value| Ok(root_relative(path, value.text()?)));
    let Some(config) = config.map(Path::to_owned).or(named).or_else(|| beside(path)) else {
        root.require(&CONFIG, "\"config.toml\"");
        root.accept_all();
        return None;
    };
    let config = match Config::load(&config, options) {
        Ok(loaded) => loaded.config,
        Err(report) => {
            // Without the config the tests cannot be checked, so their mistakes are not reported yet.
            root.accept_all();
            return Some(Err(report));
        }
    };
    let names = Names::of(&config);
    let start = root.read(&START, |value| date(value, config.timezone));
    let tests = root.each(&TEST, |table| names.test(table, start));
    Some(Ok(Suite { file: path.to_owned(), config, tests }))
}

fn root_relative(file: &Path, path: &str) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).join(path)
}

/// `clinic.toml` beside `clinic.test.toml`, if it exists.
fn beside(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?.strip_suffix(".test.toml")?;
    Some(path.with_file_name(format!("{name}.toml"))).filter(|config| config.exists())
}

/// The names that a test may use.
struct Names<'c> {
    config: &'c Config,
    sources: Declared,
    destinations: Declared,
    rules: Declared,
    /// The rules, and the words that stand for a rule in a message that tells events of several.
    told: Declared,
}

impl<'c> Names<'c> {
    fn of(config: &'c Config) -> Self {
        fn known<'n>(names: impl Iterator<Item = &'n Name>) -> Declared {
            names.map(|name| (name.clone(), 0..0)).collect()
        }
        let rules = || config.rules.iter().map(|rule| &rule.name);
        let together = Reason::ALL.map(|reason| Name::from(reason.as_str()));
        Self {
            config,
            sources: known(config.sources.iter().map(|source| &source.name)),
            destinations: known(config.destinations.iter().map(|destination| &destination.name)),
            told: known(rules().chain(together.iter())),
            rules: known(rules()),
        }
    }

    fn test(&self, table: &mut Table<'_>, start: Option<Timestamp>) -> Option<Test> {
        let zone = self.config.timezone;
        let name = table.read(&NAME, Value::text);
        let own = table.read(&START, |value| date(value, zone));
        let dated = own.or(start);
        let start = dated.unwrap_or_else(|| default_start(zone));
        let clock = Clock { start, zone };
        let rules = table.set(&RULES, |value| reference(value, "rule", &self.rules));
        let mut steps = table.each(&STEP, |table| self.step(table, clock));
        steps.sort_by_key(|step| step.at);
        let until = table.read(&UNTIL, duration_of(&UNTIL));
        let nothing_else = table.boolean(&NOTHING_ELSE);
        let expect = table.each(&EXPECT, |table| self.expectation(table, clock));
        let never = table.each(&NEVER, |table| {
            let rule = table.read(&RULE, |value| reference(value, "rule", &self.told));
            let to = self.receivers(table);
            Some(Never { rule: rule?, to })
        });
        Some(Test {
            name: name?.to_owned(),
            line: table.line(),
            start,
            zone,
            is_dated: dated.is_some(),
            rules,
            steps,
            until,
            nothing_else,
            expect,
            never,
        })
    }

    fn step(&self, table: &mut Table<'_>, clock: Clock) -> Option<Step> {
        let at = table.read(&AT, |value| clock.read(value)).unwrap_or(clock.start);
        let source = table.read(&SOURCE, |value| reference(value, "source", &self.sources));
        let of_source = table.read(&HAPPENS, |value| match kind(value)? {
            kind @ (Kind::SourceFailing | Kind::SourceRecovered) => Ok(kind),
            _ => Err(value
                .error("`happens` is only for source.failing and source.recovered")
                .hint("change a call with `set`; silence comes by itself")),
        });
        let set = table.read(&SET, |value| {
            Table::of(value)?;
            match value.json()? {
                Json::Object(set) if set.contains_key("id") => {
                    Err(value.error("the call's id is said by `call`").hint("write call = \"…\""))
                }
                Json::Object(set) => Ok(set),
                _ => Err(value.wrong_type("a table")),
            }
        });
        let clear = table.one_or_list(&CLEAR, field_path).unwrap_or_default();
        let delete = table.boolean(&DELETE);
        let call = table.read(&CALL, call).unwrap_or_else(|| CallId::from(DEFAULT_CALL));
        let of_call = [&CALL, &SET, &CLEAR, &DELETE].into_iter().find(|key| table.has(key));
        if let Some(key) = of_call.filter(|_| table.has(&HAPPENS)) {
            let message = format!(
                "a step is about a source or about a call, so `{}` does not go with `happens`",
                key.name
            );
            table.cx.add(Mistake::error(table.span_of(key), message).hint("make two steps of it"));
        }
        if delete && (table.has(&SET) || table.has(&CLEAR)) {
            let message = "a call that is deleted does not change";
            table.cx.add(Mistake::error(table.span_of(&DELETE), message).hint("make two steps of it"));
        }
        let what = match of_source {
            Some(kind) => Happening::OfSource(kind),
            None if delete => Happening::Deleted(call),
            None => Happening::Seen { call, set: set.unwrap_or_default(), clear },
        };
        let first = self.config.sources.first().map(|source| source.name.clone());
        Some(Step { at, source: source.or(first)?, what })
    }

    fn expectation(&self, table: &mut Table<'_>, clock: Clock) -> Option<Expectation> {
        let at = table.read(&AT, |value| clock.read(value));
        let within = table.list(&WITHIN, |value| clock.read(value));
        if table.has(&AT) && table.has(&WITHIN) {
            let message = "`at` is one moment and `within` a span of time";
            table.cx.add(Mistake::error(table.span_of(&WITHIN), message).hint("leave one of them out"));
        }
        let within = match within.as_deref() {
            Some([from, to]) if from <= to => Some(When::Within(*from, *to)),
            Some(_) => {
                let message = "expected two times, the earlier one first";
                let mistake = Mistake::error(table.span_of(&WITHIN), message);
                table.cx.add(mistake.hint("write within = [\"1m\", \"3m\"]"));
                None
            }
            None => None,
        };
        let rule = table.read(&RULE, |value| reference(value, "rule", &self.told));
        let receivers = self.receivers(table);
        let call = table.read(&CALL, call);
        let title = table.read(&TITLE, |value| Ok(Title::Is(value.text()?.to_owned())));
        let part = table.read(&TITLE_CONTAINS, |value| Ok(Title::Contains(value.text()?.to_owned())));
        let count = table.read(&COUNT, integer_of(&COUNT));
        let rule = rule?;
        let to = match receivers.or_else(|| self.receivers_of(&rule)) {
            Some(to) => to,
            None => {
                table.require(&TO, "[\"frontdesk\"]");
                return None;
            }
        };
        if let Some(key) = [&TITLE, &TITLE_CONTAINS].into_iter().find(|key| table.has(key))
            && !to.iter().any(|name| self.is_for_people(name))
        {
            let message = format!("a webhook is sent the call and no title, so `{}` says nothing", key.name);
            table.cx.add(Mistake::error(table.span_of(key), message).hint("leave it out"));
        }
        Some(Expectation {
            when: at.map(When::At).or(within).unwrap_or(When::AnyTime),
            rule,
            to,
            call,
            title: title.or(part),
            count: count.map(u64::from),
        })
    }

    fn receivers(&self, table: &mut Table<'_>) -> Option<Vec<Name>> {
        table.one_or_list(&TO, |value| reference(value, "destination", &self.destinations))
    }

    /// The destinations that a rule delivers to.
    fn receivers_of(&self, name: &Name) -> Option<Vec<Name>> {
        let rule: &Rule = self.config.rules.iter().find(|rule| rule.name == *name)?;
        Some(rule.to.clone())
    }

    fn is_for_people(&self, name: &Name) -> bool {
        let is_it = |it: &&DestinationConfig| it.name == *name;
        self.config.destinations.iter().find(is_it).is_none_or(|it| it.kind.is_for_people())
    }
}

fn call(value: &Value<'_>) -> Result<CallId, Mistake> {
    match value.text()? {
        "" => Err(value.error("the call's id is empty")),
        id => Ok(CallId::from(id)),
    }
}

fn field_path(value: &Value<'_>) -> Result<String, Mistake> {
    let path = value.text()?;
    if matches!(path, "id" | "status" | "createdAt" | "updatedAt") || path.split('.').any(str::is_empty) {
        return Err(value
            .error("this cannot be cleared")
            .hint("name a field, as in \"callAnalysis.sentiment\""));
    }
    Ok(path.to_owned())
}
