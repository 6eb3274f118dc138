//! Formats the outcomes of tests for people, for programs and for CI. Pure.

use std::fmt::Write;

use serde_json::{Value, json};

use super::{
    Outcome,
    file::{Suite, Test},
    judge::{Line, Mark},
};
use crate::style::{Colour, Style};

/// The indent of the lines about a failure.
const INDENT: &str = "        ";

pub(super) fn heading(suite: &Suite, style: Style) -> String {
    let (file, config) = (suite.file.display(), suite.config.path.display());
    style.paint(Colour::Dim, &format!("{file}, for {config}")) + "\n"
}

/// One line, and for a failure also what was expected and what happened.
pub(super) fn outcome(outcome: &Outcome<'_>, style: Style, width: usize) -> String {
    let Outcome { test, verdict, .. } = outcome;
    if verdict.is_fine() {
        return format!("{}      {}\n", style.paint(Colour::Green, "ok"), test.name);
    }
    let mut out = format!("{}  {} (line {})\n", style.paint(Colour::Red, "FAILED"), test.name, test.line);
    for line in diff(test, &verdict.lines, width) {
        let colour = match line.chars().nth(INDENT.len() - 2) {
            Some('-') => Colour::Red,
            Some('+') => Colour::Yellow,
            _ => Colour::Dim,
        };
        out += &style.paint(colour, &line);
        out.push('\n');
    }
    if verdict.lines.iter().any(|line| line.mark != Mark::Fine) {
        let legend = format!("{INDENT}- was expected and did not happen, + happened and was not expected\n");
        out += &style.paint(Colour::Dim, &legend);
    }
    for note in &verdict.notes {
        let _ = writeln!(out, "{INDENT}{note}");
    }
    out
}

/// A line in columns for each message: expected only (`-`), sent only (`+`), or both.
fn diff(test: &Test, lines: &[Line], width: usize) -> Vec<String> {
    let rows: Vec<_> = lines
        .iter()
        .map(|line| {
            let Line { mark, when, destination, rule, text } = line;
            let mark = match mark {
                Mark::Fine => ' ',
                Mark::Missing => '-',
                Mark::Unexpected => '+',
            };
            (mark, [test.say_when(*when), destination.to_string(), rule.to_string()], text)
        })
        .collect();
    let column = |at: usize| rows.iter().map(|(_, cells, _)| cells[at].chars().count()).max().unwrap_or(0);
    let columns = [column(0), column(1), column(2)];
    let left = width.saturating_sub(INDENT.len() + columns.iter().map(|column| column + 2).sum::<usize>());
    let row = |(mark, cells, text): &(char, [String; 3], &String)| {
        let mut row = format!("{}{mark} ", &INDENT[2..]);
        for (cell, column) in cells.iter().zip(columns) {
            let _ = write!(row, "{cell:column$}  ");
        }
        // A title that does not fit gets a line of its own: a title that is cut could not be compared.
        if text.chars().count() > left {
            let _ = write!(row, "\n{INDENT}    ");
        }
        row += text;
        row.trim_end().to_owned()
    };
    rows.iter().map(row).collect()
}

/// `5 tests: 4 ok, 1 failed`
pub(super) fn total(outcomes: &[Outcome<'_>], style: Style) -> String {
    let failed = outcomes.iter().filter(|outcome| !outcome.verdict.is_fine()).count();
    let tests = if outcomes.len() == 1 { "test" } else { "tests" };
    let all = format!("{} {tests}: {} ok", outcomes.len(), outcomes.len() - failed);
    match failed {
        0 => format!("\n{}\n", style.paint(Colour::Green, &all)),
        failed => format!("\n{}\n", style.paint(Colour::Red, &format!("{all}, {failed} failed"))),
    }
}

/// An array of objects.
pub(super) fn json(outcomes: &[Outcome<'_>]) -> String {
    let all: Vec<_> = outcomes
        .iter()
        .map(|Outcome { suite, test, verdict, took }| {
            let lines: Vec<_> = verdict.lines.iter().map(|line| object(test, line)).collect();
            json!({
                "file": suite.file,
                "line": test.line,
                "name": test.name,
                "ok": verdict.is_fine(),
                "took_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
                "lines": lines,
                "notes": verdict.notes,
            })
        })
        .collect();
    format!("{:#}\n", Value::from(all))
}

fn object(test: &Test, line: &Line) -> Value {
    let Line { mark, when, destination, rule, text } = line;
    json!({
        "expected": *mark != Mark::Unexpected,
        "happened": *mark != Mark::Missing,
        "when": test.say_when(*when),
        "destination": destination.as_str(),
        "rule": rule.as_str(),
        "text": text,
    })
}

/// JUnit's XML as CI systems read it, see <https://github.com/testmoapp/junitxml>.
pub(super) fn junit(outcomes: &[Outcome<'_>]) -> String {
    let counts = |of: &[&Outcome<'_>]| {
        let failed = of.iter().filter(|outcome| !outcome.verdict.is_fine()).count();
        let seconds: f64 = of.iter().map(|outcome| outcome.took.as_secs_f64()).sum();
        format!("tests=\"{}\" failures=\"{failed}\" errors=\"0\" time=\"{seconds:.3}\"", of.len())
    };
    let all: Vec<_> = outcomes.iter().collect();
    let mut out = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned();
    let _ = writeln!(out, "<testsuites name=\"callwatch\" {}>", counts(&all));
    for suite in all.chunk_by(|a, b| std::ptr::eq(a.suite, b.suite)) {
        let Some(Outcome { suite: Suite { file, .. }, .. }) = suite.first() else { continue };
        let file = escape(&file.display().to_string());
        let _ = writeln!(out, "  <testsuite name=\"{file}\" file=\"{file}\" {}>", counts(suite));
        for outcome in suite {
            let Outcome { test, verdict, took, .. } = outcome;
            let (name, seconds) = (escape(&test.name), took.as_secs_f64());
            let head = format!(
                "    <testcase name=\"{name}\" classname=\"{file}\" line=\"{}\" time=\"{seconds:.3}\"",
                test.line
            );
            if verdict.is_fine() {
                let _ = writeln!(out, "{head}/>");
                continue;
            }
            let wrong = verdict.lines.iter().filter(|line| line.mark != Mark::Fine).count();
            let said =
                diff(test, &verdict.lines, usize::MAX).into_iter().chain(verdict.notes.iter().cloned());
            let said: Vec<_> = said.collect();
            let _ = writeln!(
                out,
                "{head}>\n      <failure message=\"{wrong} not as expected\">{}</failure>\n    </testcase>",
                escape(&said.join("\n")),
            );
        }
        out += "  </testsuite>\n";
    }
    out + "</testsuites>\n"
}

/// Escapes a text for XML. Characters that XML does not allow are left out.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\n' | '\t' => escaped.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {}
            c => escaped.push(c),
        }
    }
    escaped
}
