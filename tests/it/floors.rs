//! ARCHITECTURE.md held against the code: dependencies point down its floors, no two rooms depend on each other, and what its
//! invariants keep to some rooms is in no other.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The rooms, from the top floor down. A room may use rooms of lower floors and of its own.
const FLOORS: &[&[&str]] = &[
    &["main", "fuzzing"],
    &["cli", "server", "demo"],
    &["supervisor", "rehearsal", "ops"],
    &["sync", "delivery"],
    &["config_file", "telling"],
    &["destination", "callem", "telemetry", "store"],
    &["http"],
    &["config"],
    &["rule", "template"],
    &["batch", "call", "change", "content", "event", "lens", "snapshot", "summary"],
    &["calendar", "json", "kind", "language", "name", "privacy", "style", "time"],
];

/// What is told the time and does nothing else (invariant 1): folders and files below `src`.
const PURE: &[&str] = &[
    "calendar",
    "callem/budget.rs",
    "change.rs",
    "delivery/breaker.rs",
    "delivery/desk.rs",
    "delivery/health.rs",
    "delivery/pacer",
    "delivery/pausing.rs",
    "delivery/queue",
    "delivery/rate.rs",
    "delivery/schedule.rs",
    "language",
    "rule",
    "store/share.rs",
    "supervisor/plan.rs",
    "sync/planner",
    "sync/watcher",
    "telemetry/board.rs",
    "telemetry/report.rs",
    "telemetry/sums.rs",
    "telling.rs",
];

/// How a clock, the outside or randomness would come into a pure room.
const EFFECTS: &[&str] = &[
    "Clock",
    "Instant::now",
    "Local::now",
    "SystemTime",
    "Utc::now",
    "async fn",
    "env::var",
    "fastrand",
    "fs::",
    "io::",
    "net::",
    "process::",
    "reqwest",
    "thread::spawn",
    "tokio",
];

/// Words that stand in these folders and files alone, each with the number of its invariant.
const KEPT: &[(u8, &[&str], &[&str])] = &[
    (
        4,
        &["EventId::compute", "EventId::of_several"],
        &["event.rs", "summary.rs", "sync/watcher/look.rs", "telling.rs"],
    ),
    (15, &["tracing::"], &["cli", "store/sled/thread.rs", "telemetry/log.rs"]),
    (16, &["sled::"], &["store"]),
    (16, &["deadpool", "tokio_postgres"], &["store/postgres"]),
    (16, &["cel::"], &["rule/condition"]),
    (16, &["minijinja"], &["destination", "template"]),
    (16, &["fluent_bundle"], &["language"]),
    (16, &["axum"], &["demo", "server"]),
    (16, &["lettre"], &["destination/email"]),
    (
        16,
        &["hyper::", "reqwest"],
        &["callem", "cli/check.rs", "destination", "fuzzing.rs", "http.rs", "server", "supervisor"],
    ),
    (21, &["callem::", "delivery::", "destination::", "sled::", "sync::planner", "sync::task"], NOT_SERVER),
];

/// Every room but the server.
const NOT_SERVER: &[&str] = &["!server"];

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

/// The files of the program, by their paths below `src`, with their text; without those that only hold tests.
fn files() -> impl Iterator<Item = (String, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let paths = sources(&src).into_iter();
    let paths = paths.filter(|path| !path.iter().any(|part| part == "tests" || part == "tests.rs"));
    paths.map(move |path| (path.strip_prefix(&src).unwrap().to_str().unwrap().to_owned(), program(&path)))
}

fn is_in(file: &str, places: &[&str]) -> bool {
    places.iter().any(|place| match place.strip_prefix('!') {
        Some(other) => !Path::new(file).starts_with(other),
        None => Path::new(file).starts_with(place),
    })
}

/// Whether a text has these words, and not as the end of a longer one.
fn says(text: &str, words: &str) -> bool {
    let goes_on = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(words).any(|(at, _)| !text[..at].ends_with(goes_on) && !text[..at].ends_with("self::"))
}

#[test]
fn pure_rooms_are_told_the_time_and_touch_nothing() {
    let mut seen = BTreeSet::new();
    for (file, text) in files() {
        let Some(room) = PURE.iter().find(|place| is_in(&file, &[place])) else { continue };
        seen.insert(room);
        for effect in EFFECTS {
            assert!(!says(&text, effect), "{file} is pure, but says `{effect}`");
        }
    }
    assert_eq!(seen.len(), PURE.len(), "a pure room has moved: only {seen:?} are there");
    let page = include_str!("../../ARCHITECTURE.md");
    let invariant = page.split_once("1. **Pure rooms").unwrap().1.split_once("\n2. ").unwrap().0;
    for room in PURE {
        let name = room.rsplit('/').next().unwrap().trim_end_matches(".rs");
        assert!(invariant.contains(name), "the page does not name {room} as pure");
    }
}

#[test]
fn what_the_invariants_keep_to_some_rooms_is_in_no_other() {
    for (invariant, words, places) in KEPT {
        let mut found = 0;
        for (file, text) in files() {
            for words in words.iter().filter(|words| says(&text, words)) {
                assert!(is_in(&file, places), "{file} says `{words}`, against invariant {invariant}");
                found += 1;
            }
        }
        assert!(found > 0, "nobody says {words:?}: is it called otherwise now?");
    }
}

#[test]
fn rooms_are_found_behind_crate() {
    let text = "use crate::{\n    a::{b, c::{d}},\n    e,\n    f::g,\n};\nuse crate::h::i; crate::j::k()";
    assert_eq!(used(text).into_iter().collect::<Vec<_>>(), ["a", "e", "f", "h", "j"]);
}
