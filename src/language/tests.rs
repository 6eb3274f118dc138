//! The four languages are complete, and each text is written as its language is.

use std::collections::{BTreeMap, BTreeSet};

use fluent_syntax::{
    ast::{Entry, Expression, InlineExpression, Pattern, PatternElement, VariantKey},
    parser::parse,
};

use super::{texts::TEXTS, *};
use crate::{calendar::Zone, time::Timestamp};

const OTHERS: [Language; 3] = [Language::French, Language::German, Language::Spanish];

/// A text of a file: the variables that it has, and the words by which it chooses, by variable.
#[derive(Default)]
struct Text {
    variables: BTreeSet<String>,
    choices: BTreeMap<String, BTreeSet<String>>,
}

impl Text {
    fn read(&mut self, pattern: &Pattern<&str>) {
        for element in &pattern.elements {
            let PatternElement::Placeable { expression } = element else { continue };
            match expression {
                Expression::Inline(InlineExpression::VariableReference { id }) => {
                    self.variables.insert(id.name.to_owned());
                }
                Expression::Select { selector: InlineExpression::VariableReference { id }, variants } => {
                    self.variables.insert(id.name.to_owned());
                    for variant in variants {
                        self.read(&variant.value);
                        let VariantKey::Identifier { name } = variant.key else { continue };
                        if !["zero", "one", "two", "few", "many", "other"].contains(&name) {
                            let chosen = self.choices.entry(id.name.to_owned()).or_default();
                            assert!(chosen.insert(name.to_owned()), "{name} twice");
                        }
                    }
                }
                // One that is not there is seen in the text, which has its name in braces then.
                Expression::Inline(InlineExpression::TermReference { .. }) => {}
                other => panic!("{other:?} is more than these files need"),
            }
        }
    }
}

fn texts(language: Language) -> BTreeMap<String, Text> {
    let file = parse(language.words()).unwrap_or_else(|(_, errors)| panic!("{language}: {errors:?}"));
    let mut texts = BTreeMap::new();
    for entry in &file.body {
        let message = match entry {
            Entry::Message(message) => message,
            // A sentence that several texts share.
            Entry::Term(term) => {
                let mut shared = Text::default();
                shared.read(&term.value);
                assert!(shared.variables.is_empty(), "{language}: -{} has arguments", term.id.name);
                continue;
            }
            Entry::Comment(_) | Entry::GroupComment(_) | Entry::ResourceComment(_) => continue,
            other => panic!("{language}: {other:?}"),
        };
        let mut text = Text::default();
        text.read(message.value.as_ref().unwrap());
        let name = message.id.name;
        assert!(texts.insert(name.to_owned(), text).is_none(), "{language}: {name} twice");
    }
    texts
}

#[test]
fn every_language_has_every_text_with_the_same_arguments() {
    let declared: BTreeMap<_, BTreeSet<_>> = TEXTS
        .iter()
        .map(|(name, arguments)| {
            ((*name).to_owned(), arguments.iter().map(|one| (*one).to_owned()).collect())
        })
        .collect();
    let english = texts(Language::English);
    for language in Language::ALL {
        let texts = texts(language);
        assert_eq!(
            texts.keys().collect::<Vec<_>>(),
            declared.keys().collect::<Vec<_>>(),
            "{language} has all texts and no others"
        );
        for (name, text) in &texts {
            assert!(text.variables.is_subset(&declared[name]), "{language}: {name} has no such argument");
            // What English tells, the others tell, too.
            assert!(
                english[name].variables.is_subset(&text.variables),
                "{language}: {name} leaves out an argument"
            );
        }
    }
}

#[test]
fn the_languages_know_the_same_words() {
    let all = OTHERS.map(texts);
    for name in all[0].keys() {
        let chosen: Vec<_> =
            all.iter().map(|texts| &texts[name].choices).filter(|it| !it.is_empty()).collect();
        assert!(chosen.windows(2).all(|pair| pair[0] == pair[1]), "{name}: {chosen:?}");
    }
}

/// Every text of a language, with arguments that plurals and formats show their forms for.
fn said(language: Language) -> Vec<(&'static str, String)> {
    let mut said = vec![];
    for count in [0_u64, 1, 2, 12_345] {
        for (name, arguments) in TEXTS {
            let mut given = FluentArgs::new();
            for argument in *arguments {
                match *argument {
                    "count" | "calls" | "events" => given.set(*argument, count),
                    "hour" => given.set("hour", 13),
                    other => given.set(other, "X"),
                }
            }
            said.push((*name, language.say(name, &given)));
        }
    }
    said
}

#[test]
fn every_text_can_be_said_and_no_argument_is_missing() {
    for language in Language::ALL {
        for (name, text) in said(language) {
            assert!(
                !text.is_empty() && !text.contains(['{', '\u{2068}', '\u{2069}']),
                "{language}: {name}: {text}"
            );
            assert!(!text.contains("  ") && text == text.trim(), "{language}: {name}: {text}");
        }
    }
}

#[test]
fn the_spaces_of_french_do_not_break() {
    for (name, text) in said(Language::French) {
        let mut before = ' ';
        for c in text.chars() {
            if matches!(c, ';' | '!' | '?') || c == ':' && !name.ends_with("_format") {
                assert_eq!(before, '\u{202f}', "{name}: {text}");
            }
            before = c;
        }
    }
    // And no file has a quotation mark or an apostrophe of a typewriter.
    for language in OTHERS {
        for (name, text) in said(language) {
            assert!(!text.contains(['\'', '"']), "{language}: {name}: {text}");
        }
    }
}

#[test]
fn the_formats_of_times_are_formats() {
    let at = Timestamp::parse("2025-12-05T23:02:25.000Z").unwrap();
    let local = Zone::parse("Europe/Paris").unwrap().local(at).unwrap();
    for language in Language::ALL {
        for (name, format) in said(language).into_iter().filter(|(name, _)| name.ends_with("_format")) {
            let time = language.local_time(&local, Some(&format));
            let time = time.unwrap_or_else(|| panic!("{language}: {name}"));
            assert!(time.contains("00:02") && !time.contains('%'), "{language}: {name}: {time}");
        }
    }
}

#[test]
fn times_are_for_people() {
    let at = Timestamp::parse("2025-12-05T23:02:25.000Z").unwrap();
    let paris = Zone::parse("Europe/Paris").unwrap();
    assert_eq!(Language::English.date_and_time(at, Zone::UTC), "Fri 5 Dec 2025, 23:02 UTC");
    for (language, whole, short) in [
        (Language::English, "Sat 6 Dec 2025, 00:02 CET", "6 Dec 00:02"),
        (Language::French, "sam. 6 déc. 2025, 00:02 CET", "6 déc. 00:02"),
        (Language::German, "Sa., 06.12.2025, 00:02 Uhr MEZ", "06.12., 00:02"),
        (Language::Spanish, "sáb, 6 dic 2025, 00:02 CET", "6 dic 00:02"),
    ] {
        assert_eq!(
            (language.date_and_time(at, paris), language.day_and_time(at, paris)),
            (whole.into(), short.into())
        );
    }
    for (today, texts) in [
        (
            "2025-12-06T12:00:00.000Z",
            ["since 00:02 CET", "depuis 00:02 CET", "seit 00:02 Uhr MEZ", "desde las 00:02 CET"],
        ),
        (
            "2025-12-07T12:00:00.000Z",
            [
                "since Sat 00:02 CET",
                "depuis samedi à 00:02 CET",
                "seit Samstag, 00:02 Uhr MEZ",
                "desde el sábado a las 00:02 CET",
            ],
        ),
        (
            "2025-12-13T12:00:00.000Z",
            [
                "since Sat 6 Dec, 00:02 CET",
                "depuis le samedi 6 décembre à 00:02 CET",
                "seit Samstag, dem 6. Dezember, 00:02 Uhr MEZ",
                "desde el sábado 6 de diciembre a las 00:02 CET",
            ],
        ),
        (
            "2026-01-01T12:00:00.000Z",
            [
                "since Sat 6 Dec 2025, 00:02 CET",
                "depuis le samedi 6 décembre 2025 à 00:02 CET",
                "seit Samstag, dem 6. Dezember 2025, 00:02 Uhr MEZ",
                "desde el sábado 6 de diciembre de 2025 a las 00:02 CET",
            ],
        ),
    ] {
        let today = Timestamp::parse(today).unwrap();
        assert_eq!(Language::ALL.map(|language| language.since(at, today, paris)), texts);
    }
    for (today, text) in [
        ("2025-12-06T12:00:00.000Z", "00:02"),
        ("2025-12-12T12:00:00.000Z", "Sat 00:02"),
        ("2025-12-05T12:00:00.000Z", "Sat 6 Dec, 00:02"),
        ("2026-01-01T12:00:00.000Z", "Sat 6 Dec 2025, 00:02"),
    ] {
        assert_eq!(Language::English.time(at, Timestamp::parse(today).unwrap(), paris), text);
    }
    // Between one and two it is the one o'clock of Spanish.
    let one = Timestamp::parse("2025-12-06T00:30:00.000Z").unwrap();
    assert_eq!(Language::Spanish.since(one, one, paris), "desde la 01:30 CET");
}

#[test]
fn durations_are_for_people() {
    for (seconds, english, french) in [
        (0.0, "0s", "0\u{a0}s"),
        (145.0, "2m 25s", "2\u{a0}min 25\u{a0}s"),
        (120.4, "2m", "2\u{a0}min"),
        (3600.0, "1h", "1\u{a0}h"),
        (3700.0, "1h 1m", "1\u{a0}h 1\u{a0}min"),
        (-1.0, "0s", "0\u{a0}s"),
    ] {
        assert_eq!(
            (Language::English.duration(seconds), Language::French.duration(seconds)),
            (english.into(), french.into())
        );
    }
    for (seconds, texts) in [
        (0, ["0s", "0\u{a0}s", "0\u{a0}s", "0\u{a0}s"]),
        (5400, ["1h 30m", "1\u{a0}h 30\u{a0}min", "1\u{a0}h 30\u{a0}min", "1\u{a0}h 30\u{a0}min"]),
        (86_400, ["1 day", "1\u{a0}jour", "1\u{a0}Tag", "1\u{a0}día"]),
        (45 * 86_400, ["45 days", "45\u{a0}jours", "45\u{a0}Tage", "45\u{a0}días"]),
    ] {
        assert_eq!(
            Language::ALL.map(|language| language.span(std::time::Duration::from_secs(seconds))),
            texts
        );
    }
}

#[test]
fn numbers_are_written_as_in_the_language() {
    assert_eq!(
        Language::ALL.map(|language| language.calls(12_345)),
        ["12,345 calls", "12\u{202f}345\u{a0}appels", "12.345\u{a0}Anrufe", "12\u{202f}345\u{a0}llamadas"]
    );
    assert_eq!(Language::German.calls(1234), "1234\u{a0}Anrufe");
    // None is singular in French alone.
    assert_eq!(
        Language::ALL.map(|language| language.events(0)),
        ["0 events", "0\u{a0}événement", "0\u{a0}Ereignisse", "0\u{a0}eventos"]
    );
    let number: serde_json::Number = serde_json::from_str("1234567.5").unwrap();
    assert_eq!(
        (Language::English.number(&number), Language::German.number(&number)),
        ("1234567.5".into(), "1234567,5".into())
    );
}

#[test]
fn an_argument_is_never_read_as_a_text() {
    let strange = "{ $name } { yes } \u{2068}%Y";
    assert_eq!(Language::French.word(strange, strange), strange);
    assert_eq!(Language::German.now(strange), format!("jetzt {strange}"));
}
