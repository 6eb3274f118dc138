//! The figures of SECURITY.md, held against the constants they stand for.

use std::{fs, path::Path, time::Duration};

const PAGE: &str = include_str!("../../SECURITY.md");

/// The value of a constant's text: a product or a shift of numbers, or a duration of seconds.
fn value(text: &str) -> u64 {
    let text = text.trim();
    if let Some(seconds) = text.strip_prefix("Duration::from_secs(").and_then(|rest| rest.strip_suffix(')')) {
        return value(seconds);
    }
    let each = |separator| text.split(separator).map(|part: &str| part.trim().replace('_', ""));
    let number = |part: String| part.parse::<u64>().unwrap_or_else(|_| panic!("{text} is no number"));
    match text.split_once("<<") {
        Some((number, by)) => value(number) << value(by),
        None => each('*').map(number).product(),
    }
}

/// The value of a figure for people: `4 MiB`, `10 min`, `20,000`.
fn figure(text: &str) -> u64 {
    let (number, unit) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    let number: u64 = number.replace(',', "").parse().unwrap_or_else(|_| panic!("{text} is no figure"));
    let hours = |hours| Duration::from_secs(3600 * hours).as_secs();
    match unit {
        "" | "s" => number,
        "KiB" => number << 10,
        "MiB" => number << 20,
        "min" => 60 * number,
        "h" => hours(number),
        _ => panic!("{unit} is no unit"),
    }
}

#[test]
fn every_figure_is_the_constants() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut held = 0;
    for row in PAGE.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [_, shown, place] = cells[..] else { continue };
        let places: Vec<_> = place.split('`').filter(|part| !part.trim().is_empty()).collect();
        let [file, name] = places[..] else { continue };
        let text = fs::read_to_string(src.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        let mut declared = text.lines().filter_map(|line| line.split_once(&format!("const {name}: ")));
        let (_, declared) = declared.next().unwrap_or_else(|| panic!("no {name} in {file}"));
        let declared = declared.split_once(" = ").unwrap().1.trim_end_matches(';');
        assert_eq!(figure(shown), value(declared), "{row}");
        held += 1;
    }
    assert!(held > 40, "only {held} rows were read");
}
