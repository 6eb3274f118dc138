//! `callwatch check`: every mistake in a config file.

use std::{
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use tracing::warn;

use super::EXIT_CONFIG;
use crate::config::{Config, Level, LoadOptions, Loaded, Report, Secrets};

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The config file
    #[arg(short, long, value_name = "FILE", env = "CALLWATCH_CONFIG")]
    config: PathBuf,
    /// Print an array of {severity, file, line, column, message, hint}
    #[arg(long)]
    json: bool,
}

/// Prints the report, and what there is to watch when the file can be used.
pub fn check(args: &CheckArgs) -> ExitCode {
    let (report, counts) = match Config::load(&args.config, LoadOptions::default()) {
        Ok(Loaded { config, warnings }) => (warnings, Some(counts(&config))),
        Err(report) => (report, None),
    };
    let mut out = io::stdout().lock();
    let printed = if args.json {
        writeln!(out, "{:#}", report.to_json())
    } else {
        let verdict = counts.as_ref().map_or_else(|| found(&report), |counts| format!("is fine: {counts}"));
        let rendered = report.render(coloured(&io::stdout()));
        writeln!(out, "{rendered}{} {verdict}", args.config.display())
    };
    match (printed, counts) {
        // Whoever reads this may have stopped reading; the exit code still tells.
        (Err(error), _) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("callwatch: cannot print the report: {error}");
            ExitCode::FAILURE
        }
        (_, Some(_)) => ExitCode::SUCCESS,
        (_, None) => EXIT_CONFIG.into(),
    }
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
        let rendered = report.render(coloured(&io::stderr()));
        eprintln!("{rendered}{} {}", path.display(), found(&report));
        EXIT_CONFIG.into()
    })
}

/// Whether to write colours: only on a terminal, and not when `NO_COLOR` is set (<https://no-color.org>).
fn coloured(to: &impl IsTerminal) -> bool {
    to.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
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
