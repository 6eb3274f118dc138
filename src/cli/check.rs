//! `callwatch check`: every mistake in a config file.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use tracing::warn;

use super::EXIT_CONFIG;
use crate::{
    callem::{Client, budget::SweepLoad},
    config::{Level, LoadOptions, Report, Secrets},
    config_file::{Config, Loaded},
    http,
    style::Style,
};

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The config file
    #[arg(short, long, value_name = "FILE", env = "CALLWATCH_CONFIG")]
    config: PathBuf,
    /// Print an array of {severity, file, line, column, message, hint}
    #[arg(long)]
    json: bool,
    /// Also ask each source's API for one call: tries the key, and says what watching the calls there costs
    #[arg(long, conflicts_with = "json")]
    online: bool,
}

/// Prints the report, and what there is to watch when the file can be used.
pub fn check(args: &CheckArgs) -> ExitCode {
    let (report, config) = match Config::load(&args.config, LoadOptions::default()) {
        Ok(Loaded { config, warnings }) => (warnings, Some(config)),
        Err(report) => (report, None),
    };
    let counts = config.as_ref().map(counts);
    let mut out = io::stdout().lock();
    let printed = if args.json {
        writeln!(out, "{:#}", report.to_json())
    } else {
        let verdict = counts.as_ref().map_or_else(|| found(&report), |counts| format!("is fine: {counts}"));
        let rendered = report.render(Style::of(&io::stdout()).is_coloured());
        writeln!(out, "{rendered}{} {verdict}", args.config.display())
    };
    match (printed, config) {
        // Whoever reads this may have stopped reading; the exit code still tells.
        (Err(error), _) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("callwatch: cannot print the report: {error}");
            ExitCode::FAILURE
        }
        (_, Some(config)) if args.online => super::on_runtime(ask_sources(config)),
        (_, Some(_)) => ExitCode::SUCCESS,
        (_, None) => EXIT_CONFIG.into(),
    }
}

/// Asks every source for one call, and says what came of it.
async fn ask_sources(config: Config) -> ExitCode {
    let http = match http::client() {
        Ok(http) => http,
        Err(error) => {
            eprintln!("callwatch: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut code = ExitCode::SUCCESS;
    for source in &config.sources {
        let client = match Client::new(source, &http) {
            Ok(client) => client,
            Err(error) => {
                println!("{}: {error}", source.name);
                code = ExitCode::FAILURE;
                continue;
            }
        };
        match client.page(0, 1).await.map(|answer| answer.body.total) {
            Ok(Some(calls)) => {
                let load = SweepLoad {
                    calls,
                    page_size: source.page_size,
                    sweep: source.sweep,
                    requests_per_minute: source.requests_per_minute,
                };
                println!("{}: the API answers; {load}", source.name);
                if load.share() > 1.0 {
                    println!("  more than there is: sweeps will take longer than `sweep` says");
                }
            }
            Ok(None) => {
                println!("{}: the API answers, but does not say how many calls there are", source.name)
            }
            Err(error) => {
                println!("{}: {error}", source.name);
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}

/// Loads the config for the service: warnings are logged, errors reported on stderr as `check` would.
///
/// # Errors
/// The exit code, when there are errors.
pub fn load(path: &Path) -> Result<Config, ExitCode> {
    let Loaded { config, warnings } = read(path, Secrets::Required)?;
    for mistake in warnings.mistakes() {
        let (line, column) = warnings.place(mistake).unzip();
        let hint = mistake.hint.as_deref();
        warn!(file = %path.display(), line, column, hint, "{}", mistake.message);
    }
    Ok(config)
}

/// Loads the config for a command that sends nothing: its secrets need not be there, and warnings are left to
/// `check`.
///
/// # Errors
/// As [`load`].
pub fn load_without_secrets(path: &Path) -> Result<Config, ExitCode> {
    Ok(read(path, Secrets::Ignored)?.config)
}

fn read(path: &Path, secrets: Secrets) -> Result<Loaded, ExitCode> {
    Config::load(path, LoadOptions { secrets, ..LoadOptions::default() }).map_err(|report| {
        let rendered = report.render(Style::of(&io::stderr()).is_coloured());
        eprintln!("{rendered}{} {}", path.display(), found(&report));
        EXIT_CONFIG.into()
    })
}

fn found(report: &Report) -> String {
    let errors = number(report.count(Level::Error), "error");
    match report.count(Level::Warning) {
        0 => format!("has {errors}"),
        warnings => format!("has {errors} and {}", number(warnings, "warning")),
    }
}

fn counts(config: &Config) -> String {
    let sources = number(config.sources.len(), "source");
    let destinations = number(config.destinations.len(), "destination");
    format!("{sources}, {destinations}, {}", number(config.rules.len(), "rule"))
}

fn number(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
