use serde_json::{Value as Json, json};

use super::{Condition, ConditionError, Facts, Truth};
use crate::{
    kind::{Kind, Kinds},
    name::Name,
    time::Timestamp,
};

fn facts(call: Json, before: Json) -> Facts {
    let kinds: Kinds = [Kind::Ended, Kind::Analyzed].into_iter().collect();
    let call = call.as_object().cloned().unwrap_or_default();
    Facts::new(
        &call,
        before.as_object(),
        kinds,
        &Name::from("clinic"),
        Timestamp::from_millis(1_765_809_145_000),
    )
}

fn truth(condition: &str, call: Json) -> Result<Truth, String> {
    let condition = Condition::compile(condition).map_err(|e| e.to_string())?;
    condition.evaluate(&facts(call, Json::Null)).map_err(|e| e.to_string())
}

fn a_call() -> Json {
    json!({
        "id": "a", "status": "completed", "duration": 145, "summary": null, "evaluation": null,
        "callerNumber": "+33612345678", "isEngaged": true,
        "callAnalysis": { "sentiment": "negative", "score": 3.5, "appointmentBooked": false, "topic": null },
        "transcript": [{ "role": "user", "content": "I want a refund" }],
        "createdAt": "2025-12-15T14:30:00.000Z"
    })
}

fn broken(condition: &str) -> ConditionError {
    Condition::compile(condition).expect_err(condition)
}

#[test]
fn what_holds_is_true_and_what_does_not_is_false() {
    for (condition, expected) in [
        (r#"call.callAnalysis.sentiment == "negative""#, Truth::True),
        (r#"call.callAnalysis.sentiment != "negative""#, Truth::False),
        ("call.callAnalysis.appointmentBooked", Truth::False),
        ("!call.callAnalysis.appointmentBooked", Truth::True),
        ("call.duration > 60 && call.duration / 60 == 2", Truth::True),
        ("call.duration >= 144.5", Truth::True),
        ("call.duration == 145.0", Truth::True),
        (r#""ended" in change.kinds"#, Truth::True),
        (r#""deleted" in change.kinds"#, Truth::False),
        (r#"call.callerNumber.startsWith("+33")"#, Truth::True),
        (r#"call.callerNumber.matches("^\\+336")"#, Truth::True),
        (r#"call.transcript.exists(t, t.role == "user" && t.content.contains("refund"))"#, Truth::True),
        (r#"timestamp(call.createdAt) < now"#, Truth::True),
        (r#"now - timestamp(call.createdAt) < duration("10m")"#, Truth::True),
        (r#"source == "clinic""#, Truth::True),
        ("before == null", Truth::True),
        ("call.evaluation == null", Truth::True),
        ("call.callAnalysis != null", Truth::True),
        ("has(call.callAnalysis)", Truth::True),
        ("has(call.nothing)", Truth::False),
    ] {
        assert_eq!(truth(condition, a_call()), Ok(expected), "{condition}");
    }
}

#[test]
fn a_missing_or_null_field_is_unknown_whatever_is_asked_of_it() {
    for path in [
        "call.evaluation",
        "call.nothing",
        "call.nothing.deeper",
        "call.summary.deeper",
        "call.callAnalysis.topic",
        "before.duration",
        "call.callAnalysis.nothing",
    ] {
        for question in [
            "X == \"success\"",
            "X != \"success\"",
            "!(X == \"success\")",
            "X < 3",
            "X >= 3",
            "X in [\"a\", \"b\"]",
            "!(X in [\"a\"])",
            "\"a\" in X",
            "X",
            "!X",
            "X.startsWith(\"a\")",
            "X.contains(\"a\")",
            "X + 1 == 2",
            "size(X) == 0",
            "X == call.duration",
            "X && true",
            "X.exists(t, t == 1)",
        ] {
            let condition = question.replace('X', path);
            assert_eq!(truth(&condition, a_call()), Ok(Truth::Unknown), "{condition}");
        }
    }
}

#[test]
fn unknown_gives_way_to_what_decides_without_it() {
    assert_eq!(truth(r#"call.nothing == 1 || call.duration == 145"#, a_call()), Ok(Truth::True));
    assert_eq!(truth(r#"call.nothing == 1 && call.duration == 1"#, a_call()), Ok(Truth::False));
}

#[test]
fn what_makes_no_sense_is_a_failure_that_quotes_nothing_of_the_call() {
    for condition in [
        "call.callerNumber < 3",
        "call.callerNumber",
        "call.duration / 0 == 1",
        "call.duration + \"x\" == \"y\"",
    ] {
        let failure = truth(condition, a_call()).expect_err(condition);
        assert!(!failure.contains("336"), "{condition}: {failure}");
    }
}

#[test]
fn mistakes_are_found_before_anything_runs() {
    for (condition, message, marked, hint) in [
        (r#"call.status = "live""#, "`=` is not an operator", "=", Some("write `==`")),
        ("call.isEngaged and call.duration > 3", "`and` is not an operator", "and", Some("write `&&`")),
        (
            r#"sentiment == "negative""#,
            "there is no `sentiment`",
            "sentiment",
            Some("write `call.callAnalysis.sentiment`"),
        ),
        (r#"status == "live""#, "there is no `status`", "status", Some("write `call.status`")),
        (r#"cal.status == "live""#, "there is no `cal`", "cal", Some("did you mean `call`?")),
        (
            r#"call.status == "complete""#,
            "no call has the status \"complete\"",
            r#"call.status == "complete""#,
            Some("write \"completed\""),
        ),
        (
            r#"call.callerNumber.startWith("+33")"#,
            "there is no function `startWith`",
            "",
            Some("did you mean `startsWith`?"),
        ),
        ("call.duraton > 3", "a call has no field `duraton`", "", Some("did you mean `duration`?")),
        ("", "the condition is empty", "", None),
        (
            "call.duration + 1",
            "this is neither true nor false",
            "",
            Some("compare it with something, as in `call.duration > 60`"),
        ),
        ("change.kind == \"ended\"", "a change has no `kind`", "", Some("write `\"ended\" in change.kinds`")),
        ("call.duration >", "something is missing at the end of the condition", "", None),
    ] {
        let error = broken(condition);
        assert_eq!(error.message, message, "{condition}");
        assert_eq!(error.hint.as_deref(), hint, "{condition}");
        let text =
            condition.get(error.span.clone()).unwrap_or_else(|| panic!("{condition}: {:?}", error.span));
        assert!(
            marked.is_empty() || text.contains(marked) || marked.contains(text),
            "{condition}: marks {text:?}"
        );
    }
    assert!(broken(r#"call.summary.matches("(")"#).message.contains("matches"));
    assert!(
        broken(r#"now - timestamp(call.createdAt) < duration("2 fortnights")"#).message.contains("duration")
    );
}

#[test]
fn what_nests_too_deeply_is_refused() {
    for condition in
        [format!("1 {}== 1", "+ 1 ".repeat(50)), format!("call{}", ".a".repeat(50)), "x".repeat(3000)]
    {
        broken(&condition);
    }
    broken("call.a.all(x, call.b.all(y, x == y))");
}

#[test]
fn nothing_exhausts_the_stack() {
    let deep = [
        format!("{}1{}", "(".repeat(1000), ")".repeat(1000)),
        format!("{}true", "!".repeat(2000)),
        format!("1 {}== 1", "+ 1 ".repeat(500)),
        format!("{}{}", "[".repeat(1000), "]".repeat(1000)),
        format!("call{}", ".a".repeat(1000)),
        format!("true {}", "|| true".repeat(280)),
        format!("{} > 1", "-".repeat(2000)),
        "x".repeat(3000),
        "call.a.all(x, call.b.all(y, call.c.all(z, x == y && y == z)))".to_owned(),
    ];
    // As small as the smallest stack anything of ours runs on.
    let small = std::thread::Builder::new().stack_size(2 << 20).spawn(move || {
        // Repeated `!` and `-` are folded and may compile; what compiles must also be safe to evaluate.
        for condition in deep {
            if let Ok(condition) = Condition::compile(&condition) {
                let _ = condition.evaluate(&facts(a_call(), Json::Null));
            }
        }
    });
    small.expect("a thread").join().expect("nothing overflowed");
}

#[test]
fn an_edited_condition_is_another_one() {
    let one = Condition::compile("call.duration > 60").expect("compiles");
    let other = Condition::compile("call.duration > 61").expect("compiles");
    assert_ne!(one.fingerprint(), other.fingerprint());
}
