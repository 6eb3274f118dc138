//! The functions that conditions can use: CEL's standard library and a few about calls.

use std::sync::{Arc, LazyLock};

use cel::{
    Context, DeclarationError, Env, ExecutionError,
    common::{
        types::{
            CelBool, CelList, CelNull, CelString, CelTimestamp, DYN_TYPE, MAP_TYPE, STRING_TYPE,
            TIMESTAMP_TYPE, Type,
        },
        value::{CowVal, StaticVal, Val},
    },
};
use chrono::{Datelike, FixedOffset};
use regex::{Regex, RegexBuilder};

use super::phrase::Phrase;
use super::work::{CHARGED, charge, charge_value};
use crate::{calendar::Zone, time::Timestamp};

/// The function that operands are wrapped in, so that null becomes unknown. No condition can contain its name.
pub(super) const KNOWN: &str = "@known";

/// The error message that stands for "unknown" until the evaluation is over.
pub(super) const IS_NULL: &str = "null";

/// The function that lists are wrapped in before a macro walks over them, to bound their length.
pub(super) const FEW: &str = "@few";

/// The longest list that `exists`, `all`, `map` and `filter` walk over.
const MAX_ENTRIES: i64 = 10_000;

/// The cost of walking over an entry, in bytes.
const ENTRY: usize = 256;

/// The most memory a compiled pattern may take, in bytes.
const MAX_PATTERN: usize = 1 << 20;

/// The days in the order of their numbers in `getDayOfWeek`.
pub(super) const WEEKDAYS: [&str; 7] =
    ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];

/// The environment in which conditions are compiled and evaluated. Shared, because making one costs a thousand times
/// as much as using it.
#[expect(clippy::expect_used, reason = "the names declared are not those of the standard library")]
pub(super) static ENV: LazyLock<Arc<Env>> =
    LazyLock::new(|| Arc::new(declare(Env::stdlib()).expect("each is declared once")));

/// A context with our own functions and no variables.
pub(super) fn empty_context<'v>() -> Context<'static, 'v> {
    Context::with_env(Arc::clone(&ENV))
}

type Arguments<'b, 'v> = Vec<CowVal<'b, 'v>>;
type CallResult<'b, 'v> = Result<CowVal<'b, 'v>, ExecutionError>;

fn declare(mut env: Env) -> Result<Env, DeclarationError> {
    env.add_overload(KNOWN, KNOWN, vec![DYN_TYPE], known)?;
    env.add_overload(FEW, FEW, vec![DYN_TYPE], few)?;
    env.add_overload(CHARGED, CHARGED, vec![DYN_TYPE], charged)?;
    env.add_overload("lower", "lower_text", vec![STRING_TYPE], lower)?;
    env.add_member_overload("lower", "text_lower", STRING_TYPE, vec![], lower)?;
    env.add_overload("upper", "upper_text", vec![STRING_TYPE], upper)?;
    env.add_member_overload("upper", "text_upper", STRING_TYPE, vec![], upper)?;
    env.add_overload("matches", "matches_pattern", vec![STRING_TYPE, PATTERN], matches)?;
    env.add_member_overload("matches", "text_matches_pattern", STRING_TYPE, vec![PATTERN], matches)?;
    env.add_overload("weekday", "weekday_in", vec![TIMESTAMP_TYPE, STRING_TYPE], weekday)?;
    env.add_member_overload("weekday", "time_weekday_in", TIMESTAMP_TYPE, vec![STRING_TYPE], weekday)?;
    env.add_overload("transcript_text", "transcript_text", vec![MAP_TYPE], transcript_text)?;
    env.add_overload("said", "said", vec![MAP_TYPE, STRING_TYPE, PATTERN], said)?;
    Ok(env)
}

const PATTERN: Type = Type::new_unspecified_type("pattern");

/// A pattern, compiled once, as a value that `matches` and `said` take.
#[derive(Clone, Debug)]
pub(super) enum Pattern {
    /// For `matches`.
    Regex(Arc<Regex>),
    /// For `said`.
    Phrase(Arc<Phrase>),
}

impl Pattern {
    /// A regular expression in the syntax of the `regex` crate: matching takes linear time whatever it says.
    pub fn of_regex(text: &str) -> Result<Self, regex::Error> {
        let regex = RegexBuilder::new(text).size_limit(MAX_PATTERN).dfa_size_limit(MAX_PATTERN).build()?;
        Ok(Self::Regex(Arc::new(regex)))
    }

    /// A pattern for words that somebody says.
    pub fn of_phrase(text: &str) -> Result<Self, regex::Error> {
        match Phrase::new(text) {
            Some(phrase) => Ok(Self::Phrase(Arc::new(phrase))),
            None => Err(regex::Error::Syntax("nothing to look for".to_owned())),
        }
    }

    fn is_in(&self, text: &str) -> bool {
        match self {
            Self::Regex(regex) => regex.is_match(text),
            Self::Phrase(phrase) => phrase.is_in(text),
        }
    }
}

impl Val for Pattern {
    fn get_type(&self) -> &Type {
        Self::cel_type()
    }

    fn cel_type() -> &'static Type {
        static TYPE: Type = PATTERN;
        &TYPE
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn std::any::Any> {
        Some(self)
    }
}

impl StaticVal for Pattern {}

/// The variable of the pattern at `index`; not a name that a user could write.
pub(super) fn pattern_variable(index: usize) -> String {
    format!("@{index}")
}

/// The pattern that a variable stands for.
pub(super) fn pattern_of<'p>(variable: &str, patterns: &'p [Pattern]) -> Option<&'p Pattern> {
    patterns.get(variable.strip_prefix('@')?.parse::<usize>().ok()?)
}

/// Whether `name` is a time zone as CEL knows them: `Europe/Berlin`, or an offset from UTC as in `+01:00`.
pub(super) fn is_zone(name: &str) -> bool {
    Zone::parse(name).is_some_and(|zone| zone.name() == name) || name.parse::<FixedOffset>().is_ok()
}

fn unknown() -> ExecutionError {
    ExecutionError::function_error(KNOWN, IS_NULL)
}

fn known<'b, 'v>(mut arguments: Arguments<'b, 'v>) -> CallResult<'b, 'v> {
    let value = arguments.pop().ok_or_else(unknown)?;
    if is_null(&*value) { Err(unknown()) } else { Ok(value) }
}

fn charged<'b, 'v>(mut arguments: Arguments<'b, 'v>) -> CallResult<'b, 'v> {
    let value = arguments.pop().ok_or_else(unknown)?;
    charge_value(&*value)?;
    Ok(value)
}

fn few<'b, 'v>(mut arguments: Arguments<'b, 'v>) -> CallResult<'b, 'v> {
    let value = arguments.pop().ok_or_else(unknown)?;
    match value.as_sizer() {
        Some(list) if *list.size().inner() > MAX_ENTRIES => {
            Err(ExecutionError::function_error(FEW, MAX_ENTRIES))
        }
        Some(list) => {
            // Each entry is looked at, and may be copied.
            charge(usize::try_from(*list.size().inner()).unwrap_or(usize::MAX).saturating_mul(ENTRY))?;
            Ok(value)
        }
        None => Ok(value),
    }
}

fn lower<'b, 'v>(arguments: Arguments<'b, 'v>) -> CallResult<'b, 'v> {
    Ok(CowVal::owned(CelString::from(text(&arguments, 0)?.to_lowercase())))
}

fn upper<'b, 'v>(arguments: Arguments<'b, 'v>) -> CallResult<'b, 'v> {
    Ok(CowVal::owned(CelString::from(text(&arguments, 0)?.to_uppercase())))
}

fn matches<'b, 'v>(arguments: Arguments<'b, 'v>) -> CallResult<'b, 'v> {
    let text = text(&arguments, 0)?;
    // Beside what every function pays for its arguments: the slowest patterns take that much longer for each byte.
    charge(text.len().saturating_mul(3))?;
    let is_match = pattern(&arguments, 1)?.is_in(text);
    Ok(CowVal::owned(CelBool::from(is_match)))
}

fn weekday<'b, 'v>(arguments: Arguments<'b, 'v>) -> CallResult<'b, 'v> {
    let time = arguments.first().and_then(|time| time.downcast_ref::<CelTimestamp>()).ok_or_else(unknown)?;
    let zone = text(&arguments, 1)?;
    let local =
        Zone::parse(zone).map(|zone| zone.local(Timestamp::from_millis(time.inner().timestamp_millis())));
    let day = match (local, zone.parse::<FixedOffset>()) {
        (Some(Some(local)), _) => local.weekday(),
        (None, Ok(offset)) => time.inner().with_timezone(&offset).weekday(),
        _ => return Err(ExecutionError::function_error("weekday", "no such time zone")),
    };
    Ok(CowVal::owned(CelString::from(WEEKDAYS[day.num_days_from_sunday() as usize])))
}

fn transcript_text<'b, 'v>(arguments: Arguments<'b, 'v>) -> CallResult<'b, 'v> {
    let mut all = String::new();
    turns(&arguments, |_, content| {
        if !all.is_empty() {
            all.push('\n');
        }
        all.push_str(content);
        false
    })?;
    Ok(CowVal::owned(CelString::from(all)))
}

fn said<'b, 'v>(arguments: Arguments<'b, 'v>) -> CallResult<'b, 'v> {
    let (who, phrase) = (text(&arguments, 1)?, pattern(&arguments, 2)?);
    let found = turns(&arguments, |role, content| role == who && phrase.is_in(content))?;
    Ok(CowVal::owned(CelBool::from(found)))
}

/// Calls `is_it` with role and content of each turn of the first argument's transcript until it returns true. A turn
/// without role or content is skipped.
fn turns(arguments: &[CowVal], mut is_it: impl FnMut(&str, &str) -> bool) -> Result<bool, ExecutionError> {
    let record = arguments.first().ok_or_else(unknown)?;
    let transcript = field(record.as_ref(), "transcript").ok_or_else(unknown)?;
    let list = transcript.downcast_ref::<CelList>().ok_or_else(unknown)?;
    charge_value(list)?;
    Ok(list.inner().iter().any(|turn| {
        let (role, content) = (field(turn.as_ref(), "role"), field(turn.as_ref(), "content"));
        let role = role.as_deref().and_then(|role| role.downcast_ref::<CelString>());
        let content = content.as_deref().and_then(|content| content.downcast_ref::<CelString>());
        matches!((role, content), (Some(role), Some(content)) if is_it(role.inner(), content.inner()))
    }))
}

fn field<'b, 'v>(record: &'b (dyn Val + 'v), name: &'static str) -> Option<CowVal<'b, 'v>> {
    record.as_indexer()?.get(&CelString::from(name)).ok()
}

fn text<'a>(arguments: &'a [CowVal], at: usize) -> Result<&'a str, ExecutionError> {
    let text = arguments.get(at).and_then(|text| text.downcast_ref::<CelString>());
    text.map(|text| text.inner()).ok_or_else(unknown)
}

fn pattern<'a>(arguments: &'a [CowVal], at: usize) -> Result<&'a Pattern, ExecutionError> {
    arguments.get(at).and_then(|pattern| pattern.downcast_ref::<Pattern>()).ok_or_else(unknown)
}

pub(super) fn is_null(value: &dyn Val) -> bool {
    value.downcast_ref::<CelNull>().is_some()
}
