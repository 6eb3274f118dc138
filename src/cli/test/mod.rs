//! `callwatch test`: rule tests, without a network, a clock or a secret.

mod call;
mod file;
mod judge;
mod keys;
mod report;
mod times;

use std::{
    fs, io,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Args;

use self::{file::Suite, judge::Verdict};
use super::{EXIT_CONFIG, complain, print};
use crate::{
    store::StoreError,
    style::{Style, WIDTH},
};

/// Arguments of `test`.
#[derive(Debug, Args)]
pub struct TestArgs {
    /// Files of rule tests, such as clinic.test.toml
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Test this config, whichever the files name
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Also write the outcome to this file in JUnit's format
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Print an array of {file, line, name, ok, took_ms, lines, notes}
    #[arg(long)]
    json: bool,
}

/// A test and its result.
struct Outcome<'s> {
    suite: &'s Suite,
    test: &'s file::Test,
    verdict: Verdict,
    took: Duration,
}

/// Why the tests could not be finished.
#[derive(Debug, thiserror::Error)]
enum TestError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot write {path}: {error}")]
    Junit { path: String, error: io::Error },
    #[error("cannot print: {0}")]
    Print(#[from] io::Error),
}

/// Runs every test of every file. Exits with 0 if all pass, 1 if one fails, 78 if a file has mistakes.
pub async fn test(args: TestArgs) -> ExitCode {
    let mut suites = vec![];
    let mut is_wrong = false;
    for file in &args.files {
        match Suite::load(file, args.config.as_deref()) {
            Ok(suite) => suites.push(suite),
            Err(report) => {
                is_wrong = true;
                complain(report.render(Style::of(&io::stderr()).is_coloured()).trim_end());
            }
        }
    }
    if is_wrong {
        return EXIT_CONFIG.into();
    }
    match run(&args, &suites).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            complain(&format!("callwatch: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Runs the tests and prints their outcomes. Returns whether all pass.
async fn run(args: &TestArgs, suites: &[Suite]) -> Result<bool, TestError> {
    let style = Style::of(&io::stdout());
    let mut outcomes = vec![];
    for suite in suites {
        if !args.json {
            print(&report::heading(suite, style))?;
        }
        for test in &suite.tests {
            let begun = Instant::now();
            let verdict = judge::judge(test, &suite.config).await?;
            let outcome = Outcome { suite, test, verdict, took: begun.elapsed() };
            if !args.json {
                print(&report::outcome(&outcome, style, WIDTH))?;
            }
            outcomes.push(outcome);
        }
    }
    print(&if args.json { report::json(&outcomes) } else { report::total(&outcomes, style) })?;
    if let Some(path) = &args.junit {
        fs::write(path, report::junit(&outcomes))
            .map_err(|error| TestError::Junit { path: path.display().to_string(), error })?;
    }
    Ok(outcomes.iter().all(|outcome| outcome.verdict.is_fine()))
}
