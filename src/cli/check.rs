//! `callwatch check`: reports every mistake in a config file.

use std::{
    io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use serde_json::Value;
use tracing::warn;

use super::{EXIT_CONFIG, complain, config_arg::ConfigArg, print, printed};
use crate::{
    call::Call,
    callem::{Client, budget::SweepLoad},
    config::{LoadOptions, Secrets, SourceConfig},
    config_file::{Config, Loaded},
    http,
    kind::Kind,
    name::Name,
    rule::{
        Rule,
        condition::{Activation, Condition},
    },
    style::Style,
    sync::flapping,
    time::Timestamp,
};

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The config file, as with --config
    #[arg(value_name = "FILE", conflicts_with = "config")]
    file: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArg,
    /// Print an array of {severity, file, line, column, message, hint}
    #[arg(long)]
    json: bool,
    /// Also ask each source's API for its first calls: this tries the key, looks for fields that rules ask for and no call has,
    /// and says what watching the calls there costs
    #[arg(long, conflicts_with = "json")]
    online: bool,
}

/// Prints the report, and a count of sources, destinations and rules when the file can be used.
pub fn check(args: &CheckArgs) -> ExitCode {
    let path = match args.file.clone().map_or_else(|| args.config.find(), Ok) {
        Ok(path) => path,
        Err(code) => return code,
    };
    let (report, config) = match Config::load(&path, LoadOptions::default()) {
        Ok(Loaded { config, warnings }) => (warnings, Some(config)),
        Err(report) => (report, None),
    };
    let text = if args.json {
        format!("{:#}\n", report.to_json())
    } else {
        let verdict = match &config {
            Some(config) => format!("is fine: {}", counts(config)),
            None => format!("has {}", report.counts()),
        };
        let rendered = report.render(Style::of(&io::stdout()).is_coloured());
        format!("{rendered}{} {verdict}\n", path.display())
    };
    match (print(&text), config) {
        (Err(error), _) => printed(Err(error)),
        (Ok(()), Some(config)) if args.online => super::on_runtime(ask_sources(config)),
        (Ok(()), Some(_)) => ExitCode::SUCCESS,
        (Ok(()), None) => EXIT_CONFIG.into(),
    }
}

/// Asks the API of every source for its first calls, and prints what came back.
async fn ask_sources(config: Config) -> ExitCode {
    let http = match http::client() {
        Ok(http) => http,
        Err(error) => {
            complain(&format!("callwatch: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let mut code = ExitCode::SUCCESS;
    for source in &config.sources {
        let said = ask(source, &config.rules, &http).await.unwrap_or_else(|error| {
            code = ExitCode::FAILURE;
            error
        });
        // Source by source, because an answer can take its time.
        if let Err(error) = print(&format!("{}: {said}\n", source.name)) {
            return printed(Err(error));
        }
    }
    code
}

/// Asks a source for its first calls, a few times over, because fields that differ in every answer cost changes.
///
/// # Errors
/// The error in words.
async fn ask(source: &SourceConfig, rules: &[Rule], http: &reqwest::Client) -> Result<String, String> {
    let client = Client::new(source, http).map_err(|error| error.to_string())?;
    let mut answers = vec![];
    let mut total = None;
    for _ in 0..3 {
        let page = client.page(0, 10).await.map_err(|error| error.to_string())?.body;
        total = page.total;
        let call = |record: &str| Call::parse(serde_json::from_str(record).ok()?).ok();
        let calls = page.records().flatten().filter_map(call);
        answers.push(calls.map(|call| call.through(&source.lens)).collect::<Vec<_>>());
    }
    let mut said = match total {
        Some(calls) => {
            let load = SweepLoad {
                calls,
                page_size: source.page_size,
                sweep: source.sweep,
                requests_per_minute: source.requests_per_minute,
            };
            let over = "\n  that is more than the budget: sweeps will take longer than `sweep` says";
            format!("the API answers; {load}{}", if load.share() > 1.0 { over } else { "" })
        }
        None => "the API answers, but does not say how many calls there are".to_owned(),
    };
    for field in flapping::in_answers(&answers) {
        said.push_str(&format!(
            "\n  `{field}` changes in every answer: add it to `ignore` of [sources.{}]",
            source.name
        ));
    }
    let mut analyzed = answers.pop().unwrap_or_default();
    analyzed.retain(|call| call.fields().get("callAnalysis").is_some_and(Value::is_object));
    for (rule, field) in missing(source, rules, &analyzed) {
        let count = number(analyzed.len(), "analyzed call");
        said.push_str(&format!(
            "\n  rule {rule}: {field} is missing in what the API shows first ({count}); is it spelled right? `callwatch \
             preview` looks at more calls"
        ));
    }
    Ok(said)
}

/// The fields that conditions ask for and that none of the calls has, with their rules. Calls without an analysis lack what most
/// conditions ask for, so without an analyzed call there are none.
fn missing<'r>(source: &SourceConfig, rules: &'r [Rule], analyzed: &[Call]) -> Vec<(&'r Name, &'r str)> {
    let kinds = [Kind::Ended, Kind::Analyzed].into_iter().collect();
    let calls = analyzed.iter().map(|call| {
        let now = call.updated_at().unwrap_or(Timestamp::from_millis(0));
        Activation::new(call.fields(), None, kinds, &source.name, now)
    });
    let calls: Vec<_> = calls.collect();
    let looking = rules.iter().filter(|rule| rule.looks_at(&source.name));
    let conditions = looking.filter_map(|rule| Some((&rule.name, rule.when.as_ref()?)));
    let missing = |(rule, condition): (&'r Name, &'r Condition)| {
        condition.missing_in_all(&calls).into_iter().map(move |field| (rule, field))
    };
    conditions.flat_map(missing).collect()
}

/// Loads the config for the service: warnings are logged, errors are reported on stderr as `check` reports them.
///
/// # Errors
/// The exit code, when there are errors.
pub fn load(arg: &ConfigArg) -> Result<Config, ExitCode> {
    let Loaded { config, warnings } = read(&arg.find()?, Secrets::Required)?;
    for mistake in warnings.mistakes() {
        let (line, column) = warnings.place(mistake).unzip();
        let hint = mistake.hint.as_deref();
        warn!(file = %config.path.display(), line, column, hint, "{}", mistake.message);
    }
    Ok(config)
}

/// Loads the config for a command that can do without its secrets. Warnings are not repeated: `check` reports them.
///
/// # Errors
/// As [`load`].
pub fn load_without_secrets(arg: &ConfigArg) -> Result<Config, ExitCode> {
    read_without_secrets(&arg.find()?)
}

/// As [`load_without_secrets`], with the keys of hashes where they can be read, for whoever shows what would be sent.
pub fn load_to_show(arg: &ConfigArg) -> Result<Config, ExitCode> {
    let mut config = load_without_secrets(arg)?;
    // Where there is none, what is shown says so.
    config.destinations.iter_mut().for_each(|destination| drop(destination.read_hash_key()));
    Ok(config)
}

/// As [`load_without_secrets`], from the file at `path`.
pub fn read_without_secrets(path: &Path) -> Result<Config, ExitCode> {
    Ok(read(path, Secrets::Ignored)?.config)
}

fn read(path: &Path, secrets: Secrets) -> Result<Loaded, ExitCode> {
    Config::load(path, LoadOptions { secrets, ..LoadOptions::default() }).map_err(|report| {
        let rendered = report.render(Style::of(&io::stderr()).is_coloured());
        complain(&format!("{rendered}{} has {}", path.display(), report.counts()));
        EXIT_CONFIG.into()
    })
}

/// As in `1 source, 2 destinations, 3 rules`.
pub(super) fn counts(config: &Config) -> String {
    let sources = number(config.sources.len(), "source");
    let destinations = number(config.destinations.len(), "destination");
    let rules = number(config.rules_written(), "rule");
    let alerts = if config.rules_written() < config.rules.len() { ", alerts" } else { "" };
    format!("{sources}, {destinations}, {rules}{alerts}")
}

fn number(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
