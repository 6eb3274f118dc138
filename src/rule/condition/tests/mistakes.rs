//! The mistakes that are found in conditions.

use super::*;

#[test]
fn mistakes_are_found_before_anything_runs() {
    for (condition, message, marked, hint) in [
        (r#"call.status = "live""#, "`=` is not an operator", "=", Some("write `==`")),
        ("call.isEngaged and call.duration > 3", "`and` is not an operator", "and", Some("write `&&`")),
        // Words that begin or end like one are none.
        (r#"call.brand = "or""#, "`=` is not an operator", "=", Some("write `==`")),
        ("call.or = 1", "`=` is not an operator", "=", Some("write `==`")),
        ("call.status == “live”", "`“` is a typographic quote", "“", Some("write \"…\" or '…'")),
        (r#"call.status === "live""#, "`===` is not an operator", "===", Some("write `==`")),
        (r#"call.status !== "live""#, "`!==` is not an operator", "!==", Some("write `!=`")),
        (
            r#"call.callAnalysis?.sentiment == "negative""#,
            "`?.` is not an operator",
            "?.",
            Some("write `.`: where a field is missing, the condition is unknown and does not fire"),
        ),
        (
            r#"call.summary contains "is contained""#,
            "`contains` does not stand between two values",
            "contains",
            Some("write `call.summary.contains(\"word\")`"),
        ),
        (
            "call.summary IS null",
            "`IS` does not stand between two values",
            "IS",
            Some("write `==`, as in `call.summary == null`"),
        ),
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
            "this is neither true nor false but a number",
            "",
            Some("compare it with something, as in `call.duration + 1 > 60`"),
        ),
        ("change.kind == \"ended\"", "a change has no `kind`", "", Some("write `\"ended\" in change.kinds`")),
        ("call.duration > 1,5", "a number has no comma", ",", Some("decimals follow a point, as in 1.5")),
        ("call.duration >", "something is missing at the end of the condition", "", None),
        ("call.status == \"live", "this text has no closing `\"`", "\"", None),
        ("said(call, \"user\"", "this `(` is not closed", "(", None),
        ("call.status in [\"live\", 'it\\'s'", "this `[` is not closed", "[", None),
        ("call.duration between 60 and 120", "`and` is not an operator", "and", Some("write `&&`")),
        (
            "call.duration between 60",
            "`between` does not stand between two values",
            "between",
            Some("write `60 <= call.duration && call.duration <= 120`"),
        ),
    ] {
        let error = broken(condition);
        assert_eq!(error.message, message, "{condition}");
        assert_eq!(error.hint.as_deref(), hint, "{condition}");
        let text =
            condition.get(error.span.clone()).unwrap_or_else(|| panic!("{condition}: {:?}", error.span));
        assert!(
            marked.is_empty() || !text.is_empty() && (text.contains(marked) || marked.contains(text)),
            "{condition}: marks {text:?}"
        );
    }
    assert!(broken(r#"call.summary.matches("(")"#).message.contains("matches"));
    assert!(
        broken(r#"now - timestamp(call.createdAt) < duration("2 fortnights")"#).message.contains("duration")
    );
}

/// A condition, the part of it that is marked, what is said and what is advised.
#[test]
fn what_can_never_be_true_is_a_mistake() {
    for (condition, marked, message, hint) in [
        (
            r#"call.isEngaged && call.duration > "60""#,
            r#"call.duration > "60""#,
            "`call.duration` is a number, and cannot be compared with a text",
            "write 60 without quotes",
        ),
        (
            r#"call.duration > duration("2m")"#,
            r#"call.duration > duration("2m")"#,
            "`call.duration` is a number and `duration(\"2m\")` is a duration: they cannot be compared",
            "write it in seconds, as in `call.duration > 120`",
        ),
        (
            r#"call.isEngaged == "true""#,
            r#"call.isEngaged == "true""#,
            "`call.isEngaged` is true or false, and cannot be compared with a text",
            "write true without quotes",
        ),
        (
            "call.createdAt < now",
            "call.createdAt < now",
            "`call.createdAt` is a text and `now` is a point in time: they cannot be compared",
            "write `timestamp(call.createdAt)`",
        ),
        (
            "now - timestamp(call.createdAt) > 120",
            "now - timestamp(call.createdAt) > 120",
            "`now - timestamp(call.createdAt)` is a duration, and cannot be compared with a number",
            "write `duration(\"2m\")`",
        ),
        (
            r#"call.status in ["live", "complete"]"#,
            r#""complete""#,
            "no call has the status \"complete\"",
            "write \"completed\"",
        ),
        (
            r#"call.evaluation != "failed""#,
            r#"call.evaluation != "failed""#,
            "no call has the evaluation \"failed\"",
            "write \"fail\"",
        ),
        (
            r#"change.kinds == "ended""#,
            r#"change.kinds == "ended""#,
            "`change.kinds` is a list, and cannot be compared with a text",
            "write `\"ended\" in change.kinds`",
        ),
        (
            r#"!(("end") in change.kinds)"#,
            r#"("end") in change.kinds"#,
            "there is no kind of change \"end\"",
            "write \"ended\"",
        ),
        (
            r#""refund" in call.summary"#,
            r#""refund" in call.summary"#,
            "`in` looks into a list, and this is a text",
            "write `call.summary.contains(\"refund\")`",
        ),
        (
            r#"call.transcript.contains("refund")"#,
            "call.transcript",
            "`contains` works on a text, and this is a list",
            "write `said(call, \"user\", \"refund\")`",
        ),
        (
            r#"call.duration.startsWith("6")"#,
            "call.duration",
            "`startsWith` works on a text, and this is a number",
            "write it as in `call.summary.startsWith(\"text\")`",
        ),
        (
            "call.status && call.isEngaged",
            "call.status",
            "this is neither true nor false but a text",
            "compare it with something, as in `call.status == \"live\"`",
        ),
        (
            r#"said(call, "refund")"#,
            r#"said(call, "refund")"#,
            "`said` is not called like this",
            "write it as in `said(call, \"user\", \"text\")`",
        ),
        (
            r#"call.summary.toLower() == "x""#,
            "call.summary.toLower()",
            "there is no function `toLower`",
            "did you mean `lower`?",
        ),
        (
            r#"call.summary.matches("(") || "é" == "é""#,
            r#""(""#,
            "`matches` cannot read this text",
            "this is not a regular expression",
        ),
        (
            r#""é" != "è" && call.summary.matches("(\\w{100}){90}")"#,
            r#""(\\w{100}){90}""#,
            "`matches` cannot take a pattern as large as this",
            "repeat less of it",
        ),
        (
            "call.summary.matches(call.status)",
            "call.status",
            "the pattern of `matches` must be written out",
            "write it as a text, as in \"refund\"",
        ),
        (
            r#"now.getHours("berlin") < 8"#,
            r#""berlin""#,
            "there is no time zone \"berlin\"",
            "did you mean \"Europe/Berlin\"?",
        ),
        (
            r#"now.weekday("europe/berlin") == "monday""#,
            r#""europe/berlin""#,
            "there is no time zone \"europe/berlin\"",
            "did you mean \"Europe/Berlin\"?",
        ),
        (
            r#"weekday(now, "Europe/Berlin") in ["sat", "sunday"]"#,
            r#""sat""#,
            "\"sat\" is not a weekday",
            "write \"saturday\"",
        ),
        (
            "call.duration * 1.5 > 60.0",
            "call.duration * 1.5",
            "`*` takes two whole numbers or two decimal ones",
            "write `double(call.duration)`",
        ),
        (
            "2.5 - 0 > call.callAnalysis.score",
            "2.5 - 0",
            "`-` takes two whole numbers or two decimal ones",
            "write `double(0)`",
        ),
        (
            r#"-3 > call.status"#,
            r#"-3 > call.status"#,
            "`call.status` is a text, and cannot be compared with a number",
            "",
        ),
        (
            r#"-1.5 > call.status"#,
            r#"-1.5 > call.status"#,
            "`call.status` is a text, and cannot be compared with a number",
            "",
        ),
        (
            r#"-call.duration > "60""#,
            r#"-call.duration > "60""#,
            "`-call.duration` is a number, and cannot be compared with a text",
            "write 60 without quotes",
        ),
        (
            r#"(call.isEngaged ? 3 : 4) > "3""#,
            r#"(call.isEngaged ? 3 : 4) > "3""#,
            "`call.isEngaged ? 3 : 4` is a number, and cannot be compared with a text",
            "write 3 without quotes",
        ),
        (
            "change.kinds[0] > 3",
            "change.kinds[0] > 3",
            "`change.kinds[0]` is a text, and cannot be compared with a number",
            "",
        ),
        (r#"call.summary + 3 == "x""#, "call.summary + 3", "`+` does not work on a text and a number", ""),
        (
            r#"call.transcript == "refund""#,
            r#"call.transcript == "refund""#,
            "`call.transcript` is a list, and cannot be compared with a text",
            "write `said(call, \"user\", \"refund\")`",
        ),
        (
            r#"now > "2025-12-15""#,
            r#"now > "2025-12-15""#,
            "`now` is a point in time, and cannot be compared with a text",
            "write a time as in `timestamp(\"2025-12-15T14:30:00Z\")`",
        ),
        ("3 in call.duration", "3 in call.duration", "`in` looks into a list, and this is a number", ""),
        (
            "call.isEngaged && null",
            "null",
            "this is neither true nor false but null",
            "compare something with it, as in `call.summary == null`",
        ),
        (
            "call.?duraton.orValue(3) == 3",
            "call.?duraton",
            "a call has no field `duraton`",
            "did you mean `duration`?",
        ),
        (
            r#"call.isEngaged && [1, 2]"#,
            "[1, 2]",
            "this is neither true nor false but a list",
            "compare it with something, as in `call.duration > 60`",
        ),
        (
            r#"call.isEngaged && {"a": call.duration}"#,
            r#"{"a": call.duration}"#,
            "this is neither true nor false but an object",
            "compare it with something, as in `call.duration > 60`",
        ),
        (
            r#"call.createdAt + duration("2m") < now"#,
            r#"call.createdAt + duration("2m")"#,
            "`+` does not work on a text and a duration",
            "write `timestamp(call.createdAt)`",
        ),
        (
            r#"call.callAnalysis.tags.exists(tag, said(call, "user", "refund"))"#,
            r#"said(call, "user", "refund")"#,
            "`said` cannot stand inside `exists`, `all`, `map` or `filter`",
            "",
        ),
        (
            r#"call.said("user", "refund")"#,
            r#"call.said("user", "refund")"#,
            "`said` is not called like this",
            "write it as in `said(call, \"user\", \"text\")`",
        ),
        (
            r#"now.getHours("Europe/Berlin", 1) == 3"#,
            r#"now.getHours("Europe/Berlin", 1)"#,
            "`getHours` is not called like this",
            "write it as in `now.getHours()`",
        ),
        (
            "( before ) . duraton > -3",
            "( before ) . duraton",
            "a call has no field `duraton`",
            "did you mean `duration`?",
        ),
    ] {
        let error = broken(condition);
        assert_eq!(&condition[error.span.clone()], marked, "{condition}");
        let hint = Some(hint).filter(|hint| !hint.is_empty());
        assert_eq!((error.message.as_str(), error.hint.as_deref()), (message, hint), "{condition}");
        assert!(!error.is_warning, "{condition}");
    }
}

#[test]
fn every_mistake_is_told_in_the_order_of_the_text() {
    let mistakes =
        Condition::compile("call.duraton > 3 && (call.summary || transcript == null)").unwrap_err();
    let messages: Vec<_> = mistakes.iter().map(|mistake| mistake.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "a call has no field `duraton`",
            "this is neither true nor false but a text",
            "there is no `transcript`"
        ]
    );
}

fn calls() -> Kinds {
    Kinds::of_calls()
}

#[test]
fn what_the_api_may_come_to_know_is_a_warning() {
    for condition in [
        r#"call.status == "ringing""#,
        r#"call.evaluation == "partial""#,
        r#"call.transcript.exists(t, t.role == "tool")"#,
        r#"said(call, "caller", "refund")"#,
    ] {
        let doubts = Condition::compile(condition).expect(condition).check(calls());
        assert!(matches!(doubts.as_slice(), [doubt] if doubt.is_warning), "{condition}: {doubts:?}");
    }
    // Nobody but callwatch says what there are of these.
    for condition in [r#""exploded" in change.kinds"#, r#"now.weekday("Europe/Berlin") == "doomsday""#] {
        assert!(!broken(condition).is_warning, "{condition}");
    }
}

#[test]
fn what_may_be_right_is_let_through() {
    for condition in [
        "call.callAnalysis.score > 3",
        r#"call.callAnalysis.score == "high" || call.callAnalysis.score > 3.5"#,
        "call.callAnalysis.appointmentBooked",
        r#"call.callAnalysis["lead quality"] == "hot""#,
        r#"call.endedReason == "user_hangup""#,
        "call.duration > 59.5 && call.duration / 60 >= 2",
        "double(call.duration) * 1.5 > 60.0",
        "before == null || before.status != call.status",
        "has(call.callAnalysis) && call.callAnalysis != null",
        r#"call.transcript.size() > 3 && call.transcript[0].role == "user""#,
        r#"call.callAnalysis.exists(key, key.startsWith("lead"))"#,
        r#"string(call.duration).endsWith("0")"#,
        r#"call.summary + call.endedReason != """#,
        r#"now.getDayOfWeek("Europe/Berlin") in [0, 6] || now.getHours("+02:00") < 8"#,
        r#"(call.isEngaged ? call.duration : 0) > 60"#,
        r#"(call.isEngaged ? 1 : "a") == "a""#,
        r#"source != "test" // and not this: status = "x""#,
        "call.status in ['live', \"completed\"]",
    ] {
        let doubts = Condition::compile(condition).map(|condition| condition.check(calls()));
        assert_eq!(doubts, Ok(vec![]), "{condition}");
    }
}

#[test]
fn what_can_never_hold_for_the_kinds_a_rule_looks_at_is_a_mistake() {
    use Kind::{Analyzed, Deleted, Ended, Started, Updated};
    for (on, condition, marked, is_warning, hint) in [
        (
            &[Deleted][..],
            r#"before.status == "live" && before.status == "completed""#,
            r#"before.status == "live" && before.status == "completed""#,
            false,
            "",
        ),
        (
            &[Started],
            r#"before.transcript.exists(turn, turn.role == "user")"#,
            r#"before.transcript.exists(turn, turn.role == "user")"#,
            true,
            "the call is seen for the first time: `before` is null",
        ),
        (
            &[Started],
            r#"call.isEngaged ? call.status == "completed" : false"#,
            r#"call.isEngaged ? call.status == "completed" : false"#,
            false,
            "the call is live: `call.status` is \"live\"",
        ),
        (
            &[Started],
            r#""vip" in before.callAnalysis.tags"#,
            r#""vip" in before.callAnalysis.tags"#,
            true,
            "the call is seen for the first time: `before` is null",
        ),
        (
            &[Started],
            r#"call.isEngaged && call.status == "completed""#,
            r#"call.status == "completed""#,
            false,
            "the call is live: `call.status` is \"live\"",
        ),
        (
            &[Ended],
            r#"call.status != "completed""#,
            r#"call.status != "completed""#,
            // A source's `over` may have other words, so this is only a warning.
            true,
            "the call is over: `call.status` is \"completed\"",
        ),
        (
            &[Started],
            "before.duration < call.duration",
            "before.duration < call.duration",
            true,
            "the call is seen for the first time: `before` is null",
        ),
        (
            &[Deleted],
            "before == null",
            "before == null",
            false,
            "the call was known already: `before` is not null",
        ),
        (
            &[Ended],
            r#"before.status == "completed""#,
            r#"before.status == "completed""#,
            false,
            "the call was not over before: `before.status` is not \"completed\"",
        ),
        (
            &[Analyzed],
            "!(call.callAnalysis != null)",
            "!(call.callAnalysis != null)",
            false,
            "`call.callAnalysis` is not null",
        ),
        (
            &[Started, Deleted],
            r#""ended" in change.kinds"#,
            r#""ended" in change.kinds"#,
            false,
            "it can hold for a change of the kind `ended`",
        ),
        (
            &[Updated],
            r#"before.status == "live" && call.status == "completed""#,
            r#"before.status == "live" && call.status == "completed""#,
            false,
            "it can hold for a change of the kind `ended`",
        ),
        (
            &[Ended, Started, Analyzed, Updated, Deleted],
            r#"call.status == "live" && call.status == "completed""#,
            r#"call.status == "live" && call.status == "completed""#,
            false,
            "`call.status` is one thing at a time",
        ),
        (
            &[Started],
            "before == before",
            "before == before",
            true,
            "the call is seen for the first time: `before` is null",
        ),
        (&[Updated], "now == null", "now == null", false, ""),
    ] {
        let doubts = Condition::compile(condition).expect(condition).check(on.iter().copied().collect());
        let [doubt] = doubts.as_slice() else { panic!("{condition}: {doubts:?}") };
        assert_eq!(&condition[doubt.span.clone()], marked, "{condition}");
        let hint = Some(hint).filter(|hint| !hint.is_empty());
        assert_eq!((doubt.is_warning, doubt.hint.as_deref()), (is_warning, hint), "{condition}");
        let kinds = match on {
            [kind] => format!("for a change of the kind `{kind}`"),
            [first, second] => format!("for changes of the kinds `{first}` and `{second}`"),
            _ => "for the kinds of change the rule looks at".to_owned(),
        };
        assert_eq!(doubt.message, format!("this never holds {kinds}"), "{condition}");
    }
    for (on, condition) in [
        (Ended, r#"before.status == "live" && call.status == "completed""#),
        (Started, "type(before) == null_type"),
        (Started, r#"(before == null ? call.status : before.status) == "live""#),
        (Started, r#"before == null ? call.isEngaged : before.isEngaged"#),
        (Ended, r#""analyzed" in change.kinds"#),
        (Analyzed, r#""ended" in change.kinds && call.status == "completed" && before == null"#),
        (Analyzed, r#"call.status == "live""#),
        (Deleted, r#"call.status == "live" && before.status == "live""#),
        (Updated, "before.duration < call.duration"),
        (Analyzed, "before.callAnalysis == null"),
        (Started, r#"call.status == "completed" || call.duration > 3"#),
    ] {
        assert_eq!(Condition::compile(condition).expect(condition).check(on.into()), [], "{condition}");
    }
    // Only those of a change are known.
    let doubts = Condition::compile(r#""vip" in call.kinds"#).expect("compiles").check(Updated.into());
    assert!(doubts.iter().all(|doubt| !doubt.message.contains("never holds")), "{doubts:?}");
}

#[test]
fn a_field_that_the_api_does_not_document_is_a_warning_with_its_likely_place() {
    for (condition, marked, hint) in [
        (r#"call.sentiment == "negative""#, "call.sentiment", "did you mean `call.callAnalysis.sentiment`?"),
        (r#"call.leadQuality == "hot""#, "call.leadQuality", "did you mean `call.callAnalysis.leadQuality`?"),
        ("before.sentiment == 'x'", "before.sentiment", "did you mean `before.callAnalysis.sentiment`?"),
        ("has(call.sentiment)", "sentiment", "did you mean `call.callAnalysis.sentiment`?"),
        (r#"call["sentiment"] == "x""#, r#"["sentiment"]"#, "did you mean `call.callAnalysis.sentiment`?"),
        (
            "has(call.sentiment) && call.sentiment.contains('x')",
            "sentiment",
            "did you mean `call.callAnalysis.sentiment`?",
        ),
    ] {
        let compiled =
            Condition::compile(condition).unwrap_or_else(|errors| panic!("{condition}: {errors:?}"));
        let doubts = compiled.check(Kind::Analyzed.into());
        let [doubt] = &doubts[..] else { panic!("{condition}: {doubts:?}") };
        assert!(doubt.is_warning, "a project may have the field: {condition}");
        assert_eq!(doubt.hint.as_deref(), Some(hint), "{condition}");
        let text = &condition[doubt.span.clone()];
        assert!(text.contains(marked) || marked.contains(text), "{condition}: {text}");
    }
    for condition in
        ["call.callAnalysis.sentiment == 'x'", "call.callAnalysis.anything == 1", "has(call.summary)"]
    {
        assert!(
            Condition::compile(condition).unwrap().check(Kind::Analyzed.into()).is_empty(),
            "{condition}"
        );
    }
}
