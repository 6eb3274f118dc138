//! The choices of a form, filled in with what was chosen.

use crate::name::Name;

/// The ages that can be chosen.
pub(super) const AGES: [(&str, &str); 5] =
    [("", "any time"), ("1h", "last hour"), ("1d", "last day"), ("7d", "last week"), ("30d", "last 30 days")];

/// Takes the part of this name out of a filter's parts; empty when it has none.
pub(super) fn take(parts: &mut Vec<(String, String)>, name: &str) -> String {
    let at = parts.iter().position(|(part, _)| part == name);
    at.map(|at| parts.remove(at).1).unwrap_or_default()
}

/// One option of a field.
pub(super) struct Choice {
    pub(super) value: String,
    pub(super) text: String,
    pub(super) is_chosen: bool,
}

/// Options with words of their own, and the chosen one when it is none of them: an address can be written by hand.
pub(super) fn words(all: &[(&str, &str)], chosen: &str) -> Vec<Choice> {
    let age = |text: &str| humantime::parse_duration(text).ok();
    // An age is written in more than one way.
    let is_chosen = |value: &str| value == chosen || age(value).is_some_and(|it| age(chosen) == Some(it));
    let known = all.iter().map(|(value, text)| Choice {
        value: (*value).to_owned(),
        text: (*text).to_owned(),
        is_chosen: is_chosen(value),
    });
    let other = (!all.iter().any(|(value, _)| is_chosen(value))).then(|| Choice {
        value: chosen.to_owned(),
        text: if age(chosen).is_some() { format!("last {chosen}") } else { chosen.to_owned() },
        is_chosen: true,
    });
    known.chain(other).collect()
}

/// Names, and `any` in front of them. A name that the config does not have any more can still be asked for.
pub(super) fn names<'a>(any: &str, all: impl IntoIterator<Item = &'a Name>, chosen: &str) -> Vec<Choice> {
    let names: Vec<_> = all.into_iter().map(|name| (name.as_str(), name.as_str())).collect();
    words(&[&[("", any)], &*names].concat(), chosen)
}
