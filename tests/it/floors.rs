//! The floors of ARCHITECTURE.md, held against the `use` lines: dependencies point down, and no two rooms depend on each
//! other.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The rooms, from the top floor down. A room may use rooms of lower floors and of its own.
const FLOORS: &[&[&str]] = &[
    &["main"],
    &["cli", "server", "demo"],
    &["supervisor", "rehearsal", "ops"],
    &["sync", "delivery"],
    &["config_file", "telling"],
    &["destination", "callem", "telemetry", "store"],
    &["http"],
    &["config"],
    &["rule", "template"],
    &["batch", "call", "change", "content", "event", "lens", "snapshot", "summary"],
    &["calendar", "json", "kind", "name", "privacy", "style", "time"],
];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The room a file stands in: its folder below `src`, or its own name.
fn room(path: &Path) -> String {
    let below = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
    let first = below.components().next().unwrap();
    Path::new(&first).file_stem().unwrap().to_str().unwrap().to_owned()
}

/// The rooms a text names behind `crate::`, on their own or in braces.
fn used(text: &str) -> BTreeSet<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut rooms = BTreeSet::new();
    for rest in text.split("crate::").skip(1) {
        let Some(list) = rest.strip_prefix('{') else {
            rooms.insert(word(rest));
            continue;
        };
        let (mut depth, mut begins) = (1, true);
        for (at, c) in list.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' => {}
                c if c.is_whitespace() => continue,
                _ if depth == 1 && begins => {
                    rooms.insert(word(&list[at..]));
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
            begins = c == ',' && depth == 1;
        }
    }
    rooms.remove("");
    rooms
}

/// The program's text without its unit tests and comments.
fn program(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[test]
fn dependencies_point_down_and_never_in_a_circle() {
    let floor_of = |room: &str| FLOORS.iter().position(|floor| floor.contains(&room));
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for path in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let (from, name) = (room(&path), path.file_stem().unwrap().to_str().unwrap());
        if from == "lib" || name == "tests" || path.components().any(|part| part.as_os_str() == "tests") {
            continue;
        }
        let floor = floor_of(&from).unwrap_or_else(|| panic!("{from} is a room without a floor"));
        for to in used(&program(&path)).into_iter().filter(|to| *to != from) {
            let below =
                floor_of(&to).unwrap_or_else(|| panic!("{} uses {to}, which has no floor", path.display()));
            assert!(below >= floor, "{} uses {to}, which is above it", path.display());
            uses.entry(from.clone()).or_default().insert(to);
        }
    }
    // Every round leaves out the rooms that use none of the others; what is left goes round in a circle.
    loop {
        let rooms: BTreeSet<_> = uses.keys().cloned().collect();
        let before = uses.len();
        uses.retain(|_, to| to.iter().any(|to| rooms.contains(to)));
        if uses.len() == before {
            break;
        }
    }
    assert!(uses.is_empty(), "rooms depend on each other: {uses:#?}");
}

#[test]
fn rooms_are_found_behind_crate() {
    let text = "use crate::{\n    a::{b, c::{d}},\n    e,\n    f::g,\n};\nuse crate::h::i; crate::j::k()";
    assert_eq!(used(text).into_iter().collect::<Vec<_>>(), ["a", "e", "f", "h", "j"]);
}
