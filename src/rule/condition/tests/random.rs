//! Conditions nobody would write, over calls nobody would have.

use proptest::prelude::*;

use super::*;
use crate::{
    call::Call,
    change::{deletion, diff},
    snapshot::Snapshot,
};

/// An expression of no particular type, over fields that may be there or not.
fn any_part() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "call.callAnalysis.a",
        "call.callAnalysis.b.c",
        "call.callAnalysis",
        "call.x",
        "call.x.y",
        "before.x",
        "before",
        "before.callAnalysis.a",
        "call.list",
        "call.list[0]",
        "call.list[7].a",
        "call",
        "null",
        "true",
        "1",
        "2.5",
        "\"a\"",
        "\"\"",
        "[]",
        "[1, \"a\"]",
        "[null]",
        "change.kinds",
        "now",
        "source",
        "{\"a\": 1}",
        "duration(\"2m\")",
        "call.?x.?y",
        "call.callAnalysis[\"a\"]",
        "call.transcript",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(4, 24, 3, |part| {
        let two = (part.clone(), part.clone());
        let operators = prop::sample::select(vec![
            "==", "!=", "<", "<=", ">", ">=", "in", "&&", "||", "+", "-", "*", "/", "%",
        ]);
        let shapes = prop::sample::select(vec![
            "!(X)",
            "-(X)",
            "size(X)",
            "(X).lower()",
            "(X).contains(\"a\")",
            "(X).matches(\"a+\")",
            "has((X).a)",
            "(X).exists(t, t == 1)",
            "(X).all(t, t.a != \"a\")",
            "(X).filter(t, t < 2)",
            "(X).map(t, t)",
            "string(X)",
            "int(X)",
            "timestamp(X)",
            "transcript_text(X)",
            "said(X, \"user\", \"a\")",
            "(X)[0]",
            "weekday(X, \"Europe/Berlin\")",
            "[X]",
            "(X).orValue(1)",
            "type(X)",
            "dyn(X)",
        ]);
        prop_oneof![
            (two.clone(), operators).prop_map(|((a, b), operator)| format!("({a}) {operator} ({b})")),
            (part.clone(), shapes).prop_map(|(part, shape)| shape.replace('X', &part)),
            (two, part).prop_map(|((a, b), c)| format!("({a}) ? ({b}) : ({c})")),
        ]
    })
}

fn any_json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        (-3i64..3).prop_map(Json::from),
        Just(json!(0.5)),
        prop::sample::select(vec!["", "a", "live", "2025-12-15T14:30:00Z"]).prop_map(Json::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let keys = prop::sample::select(vec!["a", "b", "c", "role", "content"]).prop_map(str::to_owned);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Json::Array),
            prop::collection::hash_map(keys, inner, 0..3).prop_map(|fields| fields.into_iter().collect()),
        ]
    })
}

fn any_record() -> impl Strategy<Value = Json> {
    let names = prop::sample::select(vec!["callAnalysis", "x", "list", "transcript", "status", "duration"]);
    prop::collection::hash_map(names.prop_map(str::to_owned), any_json(), 0..6)
        .prop_map(|fields| fields.into_iter().collect())
}

/// Expressions that ask something of `X`, each with its opposite.
const OPPOSITES: [(&str, &str); 8] = [
    ("X == \"a\"", "X != \"a\""),
    ("X < 1", "!(X < 1)"),
    ("X in [\"a\", 1]", "!(X in [\"a\", 1])"),
    ("\"a\" in X", "!(\"a\" in X)"),
    ("X", "!X"),
    ("X.contains(\"a\")", "!X.contains(\"a\")"),
    ("X.exists(t, t == 1)", "!X.exists(t, t == 1)"),
    ("X == call.y", "X != call.y"),
];

fn any_state() -> impl Strategy<Value = Json> {
    let status = prop::sample::select(vec!["live", "completed", "ringing"]);
    let analysis = prop_oneof![Just(Json::Null), Just(json!({ "a": 1 })), Just(json!({ "a": 2 }))];
    (status, analysis, 0..3).prop_map(|(status, analysis, duration)| {
        json!({ "id": "c1", "status": status, "callAnalysis": analysis, "duration": duration })
    })
}

/// Conditions about a call's life.
fn any_question() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "call.status == \"live\"",
        "call.status != \"live\"",
        "call.status in [\"completed\"]",
        "before == null",
        "before != null",
        "before.status == \"live\"",
        "before.status == call.status",
        "call.status == \"ringing\"",
        "\"started\" in change.kinds",
        "\"ended\" in change.kinds",
        "\"analyzed\" in change.kinds",
        "\"updated\" in change.kinds",
        "\"deleted\" in change.kinds",
        "call.callAnalysis == null",
        "call.callAnalysis != null",
        "call.callAnalysis.a == 1",
        "call.duration > 1",
        "has(before.status)",
        "before.duration < call.duration",
        "before.status.startsWith(\"l\")",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(3, 8, 2, |part| {
        let two = (part.clone(), part.clone());
        prop_oneof![
            two.clone().prop_map(|(a, b)| format!("({a}) && ({b})")),
            two.clone().prop_map(|(a, b)| format!("({a}) || ({b})")),
            (two, part.clone()).prop_map(|((a, b), c)| format!("({a}) ? ({b}) : ({c})")),
            part.prop_map(|part| format!("!({part})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    /// Nothing panics; explaining says the same as evaluating; and what is not a mistake is checked in peace.
    #[test]
    fn anything_is_refused_or_evaluated(source in any_part(), call in any_record(), before in any_record()) {
        if let Ok(condition) = Condition::compile(&source) {
            let activation = activation(call, before);
            let explanation = condition.explain(&activation);
            prop_assert_eq!(explanation.truth, condition.evaluate(&activation), "{}", source);
            prop_assert_eq!(explanation.text.trim_matches(['(', ')']), source.trim_matches(['(', ')']));
            condition.check(Kind::ALL.into_iter().collect());
        }
    }

    /// A field that is missing, or null on the way, makes whatever is asked of it unknown, and its opposite too.
    #[test]
    fn what_is_not_there_is_unknown(
        way in prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..4),
        cut in 0usize..4,
        ends_in_null in any::<bool>(),
    ) {
        // The way exists up to `cut`, and is null or missing there.
        let mut value = if ends_in_null { json!(null) } else { json!({}) };
        for name in way[..cut.min(way.len() - 1)].iter().rev() {
            value = json!({ *name: value });
        }
        let call = json!({ "callAnalysis": value });
        let path = format!("call.callAnalysis.{}", way.join("."));
        for (question, opposite) in OPPOSITES {
            for asked in [question, opposite] {
                let source = asked.replace('X', &path);
                prop_assert_eq!(truth(&source, call.clone()), Ok(Truth::Unknown), "{} of {}", source, call);
            }
        }
    }

    /// A condition and its negation are never both true, and if one is unknown so is the other.
    #[test]
    fn the_opposite_of_unknown_is_unknown(source in any_part(), call in any_record()) {
        let opposite = format!("!({source})");
        if let (Ok(_), Ok(_)) = (Condition::compile(&source), Condition::compile(&opposite)) {
            let expected = match truth(&source, call.clone()) {
                Ok(Truth::True) => Ok(Truth::False),
                Ok(Truth::False) => Ok(Truth::True),
                Ok(Truth::Unknown) => Ok(Truth::Unknown),
                Err(_) => return Ok(()),
            };
            prop_assert_eq!(truth(&opposite, call), expected, "{}", source);
        }
    }

    /// A condition that is said never to hold for some kinds of change never does.
    #[test]
    fn what_never_holds_never_holds(source in any_question(), states in prop::collection::vec(any_state(), 1..5)) {
        let condition = Condition::compile(&source).expect("compiles");
        let mut snapshot: Option<Snapshot> = None;
        for state in &states {
            let raw = serde_json::value::to_raw_value(state).expect("is JSON");
            let call = Call::parse(&raw).expect("is a call");
            let before = snapshot.as_ref().map(|snapshot| snapshot.record(call.fields()));
            for change in [diff(snapshot.as_ref(), &call), snapshot.as_ref().and_then(deletion)].into_iter().flatten()
            {
                let seen = if change.kinds.contains(Kind::Deleted) { before.as_ref() } else { None };
                let activation = Activation::new(
                    seen.unwrap_or(call.fields()),
                    before.as_ref(),
                    change.kinds,
                    &Name::from("clinic"),
                    Timestamp::from_millis(0),
                );
                let is_documented = !state.to_string().contains("ringing")
                    && before.as_ref().is_none_or(|before| before["status"] != "ringing");
                if condition.evaluate(&activation) == Ok(Truth::True) {
                    for kind in change.kinds.iter() {
                        let never = super::super::reach::never(&source, kind.into());
                        let holds = never.is_none_or(|never| never.is_warning && !is_documented);
                        prop_assert!(holds, "{} holds for {}", source, change.kinds);
                    }
                }
            }
            let (kinds, now) = (diff(snapshot.as_ref(), &call).map_or(Kinds::NONE, |change| change.kinds), Timestamp::from_millis(0));
            snapshot = Some(match snapshot {
                None => Snapshot::first(&call, kinds, now),
                Some(before) => before.next(&call, kinds, now),
            });
        }
    }
}
