//! `callwatch preview`: the messages that the rules would have sent about the calls of the last days. Reads lists of
//! calls; sends nothing and writes nothing.

mod counts;
mod fetch;

mod view;

use std::{collections::HashMap, io, process::ExitCode, time::Duration};

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use self::{
    counts::{Counts, Judged},
    fetch::{Fetched, fetch},
    view::Blocks,
};
use super::{check, complain, config_arg::ConfigArg, print};
use crate::{
    call::Call,
    callem::{
        Client, FetchError,
        budget::{self, Budget},
    },
    config::SourceConfig,
    config_file::Config,
    http,
    kind::Kind,
    name::{Name, quoted},
    rehearsal::Rehearsal,
    rule::{
        Rule, RuleSet, Rules,
        condition::{Activation, Truth},
    },
    store::StoreError,
    style::Style,
    time::{Clock, Timestamp},
};

/// The longest time that deliveries held at the end of the period are waited for.
const PATIENCE: Duration = Duration::from_secs(8 * 24 * 3600);

/// How many calls are looked at to find out which fields are missing in them.
const LOOKED_AT: usize = 200;

/// Arguments of `preview`.
#[derive(Debug, Args)]
pub struct PreviewArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Preview calls created within this time, such as 12h or 30d
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = crate::cli::parse_time)]
    since: Duration,
    /// Preview only this rule
    #[arg(long, value_name = "NAME")]
    rule: Option<Name>,
    /// Print the latest N messages of each rule as their receivers would read them [default: 3]
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "3")]
    messages: Option<usize>,
    /// Print the latest N messages of each rule as they would leave, byte for byte; secrets are masked [default: 3]
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "3", conflicts_with = "messages")]
    show: Option<usize>,
    /// With --show: also which fields are left out or changed, and why
    #[arg(long, short, requires = "show")]
    verbose: bool,
    /// Print an object {since, until, sources, rules, destinations, messages}
    #[arg(long)]
    json: bool,
}

/// Why there is no preview.
#[derive(Debug, thiserror::Error)]
enum PreviewError {
    #[error("there is no rule `{name}`; there is {known}")]
    NoRule { name: Name, known: String },
    #[error("no calls of {source_name}: {error}")]
    Fetch { source_name: Name, error: FetchError },
    #[error("source {source_name}: {error}")]
    Client { source_name: Name, error: http::ConnectionError },
    #[error(transparent)]
    Http(#[from] http::ClientError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot print: {0}")]
    Print(#[from] io::Error),
}

/// A finished preview.
struct Preview<'c> {
    config: &'c Config,
    /// The previewed rules.
    rules: Vec<&'c Rule>,
    rule_set: Rules,
    since: Timestamp,
    until: Timestamp,
    fetched: Vec<Fetched>,
    counts: Counts,
    messages: Messages,
}

/// How the messages of a preview are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Messages {
    /// As their receivers read them.
    Read,
    /// As they would leave, byte for byte.
    Leaving {
        /// With the reasons for what is not in them.
        verbose: bool,
    },
}

/// Prints a preview. Exits with 0, with 1 and a message on stderr, or with 78 for a bad config.
pub async fn preview(args: PreviewArgs) -> ExitCode {
    let config = match check::load_to_show(&args.config) {
        Ok(config) => config,
        Err(code) => return code,
    };
    match run(&args, &config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("callwatch: {error}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &PreviewArgs, config: &Config) -> Result<(), PreviewError> {
    let is_meant = |rule: &&Rule| args.rule.as_ref().is_none_or(|name| rule.name == *name);
    let rules: Vec<_> = config.rules.iter().filter(is_meant).collect();
    if let Some(name) = args.rule.as_ref().filter(|_| rules.is_empty()) {
        let known = quoted(config.rules.iter().map(|rule| &rule.name));
        return Err(PreviewError::NoRule { name: name.clone(), known });
    }
    let clock = Clock::system();
    let until = clock.wall();
    let since = until.before(args.since);
    let fetched = read_sources(config, &rules, clock, since).await?;
    let counts = Counts::new(config.timezone, since, until, args.messages.or(args.show).unwrap_or(0));
    let mut counts = rehearse(config, &rules, &fetched, since, until, counts).await?;
    name_absent_fields(&rules, &fetched, until, &mut counts);
    let rule_set = RuleSet::of(&config.rules);
    let messages = match args.show {
        Some(_) => Messages::Leaving { verbose: args.verbose },
        None => Messages::Read,
    };
    let preview = Preview { config, rules, rule_set, since, until, fetched, counts, messages };
    let text = if args.json {
        preview.json()
    } else {
        preview.text(Style::of(&io::stdout()), Blocks::of_locale(|name| std::env::var(name).ok()))
    };
    Ok(print(&text)?)
}

/// Reads the lists of the sources that the rules look at, one source after the other.
async fn read_sources(
    config: &Config,
    rules: &[&Rule],
    clock: Clock,
    since: Timestamp,
) -> Result<Vec<Fetched>, PreviewError> {
    let http = http::client()?;
    let mut budgets: HashMap<_, _> =
        budget::limits(&config.sources).into_iter().map(|(host, limit)| (host, Budget::new(limit))).collect();
    let mut all = vec![];
    for source in config.sources.iter().filter(|source| rules.iter().any(|rule| rule.looks_at(&source.name)))
    {
        let Some(budget) = budgets.get_mut(&source.base_url.host_str()) else { continue };
        let bar = progress_bar(source);
        let progress = |read, total: Option<u64>| {
            bar.set_length(total.unwrap_or(read));
            bar.set_position(read);
        };
        let client = Client::new(source, &http)
            .map_err(|error| PreviewError::Client { source_name: source.name.clone(), error })?;
        let fetched = fetch(source, &client, budget, clock, since, progress).await;
        bar.finish_and_clear();
        all.push(fetched.map_err(|error| PreviewError::Fetch { source_name: source.name.clone(), error })?);
    }
    Ok(all)
}

/// Draws only on a terminal.
fn progress_bar(source: &SourceConfig) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} calls");
    ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr())
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        .with_prefix(format!("reading {}", source.name))
}

/// Finds the fields that make conditions unknown, in the newest calls: enough of them to see what is misspelt.
fn name_absent_fields(rules: &[&Rule], fetched: &[Fetched], now: Timestamp, counts: &mut Counts) {
    for rule in rules {
        let Some(of) = counts.rules.get_mut(&rule.name).filter(|of| of.unknown > 0) else { continue };
        let Some(condition) = &rule.when else { continue };
        let calls = fetched.iter().filter(|it| rule.looks_at(&it.source));
        let calls = calls.flat_map(|it| it.calls.iter().rev().map(|call| (&it.source, call)));
        for (source, found) in calls.take(LOOKED_AT) {
            let Ok(call) = Call::parse(&found.raw) else { continue };
            let kinds = [Kind::Ended, Kind::Analyzed].into_iter().collect();
            let explained = condition.explain(&Activation::new(call.fields(), None, kinds, source, now));
            if explained.truth == Ok(Truth::Unknown) {
                for absent in explained.absent() {
                    *of.absent.entry(absent.to_owned()).or_default() += 1;
                }
            }
        }
    }
}

/// Shows every call, in the order of time, to the rules that can be judged by it, and counts the messages.
async fn rehearse(
    config: &Config,
    rules: &[&Rule],
    fetched: &[Fetched],
    since: Timestamp,
    until: Timestamp,
    mut counts: Counts,
) -> Result<Counts, StoreError> {
    let judged = rules.iter().filter(|rule| !matches!(Judged::of(rule), Judged::Not(_)));
    let config = Config { rules: judged.map(|rule| (*rule).clone()).collect(), ..config.clone() };
    let mut rehearsal = Rehearsal::new(&config, since).await?;
    // A call ends silence when it is created, and is shown when it was last updated.
    let mut timeline = vec![];
    for (at, Fetched { calls, .. }) in fetched.iter().enumerate() {
        for (call, found) in calls.iter().enumerate() {
            timeline.push((found.created.min(until), false, at, call));
            timeline.push((found.at.min(until), true, at, call));
        }
    }
    timeline.sort_unstable();
    for (at, is_over, source, call) in timeline {
        rehearsal.advance(at).await?;
        let Fetched { source, calls, .. } = &fetched[source];
        if !is_over {
            rehearsal.hear(source);
        } else if let Ok(call) = Call::parse(&calls[call].raw) {
            rehearsal.observe(source, &call).await?;
        }
        counts.add(rehearsal.take_log());
    }
    rehearsal.advance(until).await?;
    rehearsal.run_out(until.after(PATIENCE)).await?;
    counts.add(rehearsal.take_log());
    Ok(counts)
}
