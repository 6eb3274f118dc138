//! A table of broken configs and what is said about them, to the letter.

mod destinations;
mod habits;
mod rules;
mod sources;
mod syntax;
mod whole;

use super::{completed, parse};

/// Compares the report on `config`, completed with what it does not mention, with `expected`.
///
/// Both texts begin with a line break, for the eye, that does not belong to them.
#[track_caller]
fn check(config: &str, expected: &str) {
    let text = config.strip_prefix('\n').expect("begins with a line break");
    let report = match parse(&completed(text)) {
        Ok(loaded) => loaded.warnings,
        Err(report) => report,
    }
    .to_string();
    assert_eq!(format!("\n{report}"), expected, "\n{report}");
    let longest = report.lines().map(|line| line.chars().count()).max().unwrap_or(0);
    assert!(longest <= 80, "{longest} columns:\n{report}");
}
