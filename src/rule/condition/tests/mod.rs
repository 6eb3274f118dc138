mod explain;
mod mistakes;
mod random;

use serde_json::{Value as Json, json};

use super::{Activation, Condition, ConditionError, Truth};
use crate::{
    kind::{Kind, Kinds},
    name::Name,
    time::Timestamp,
};

fn activation(call: Json, before: Json) -> Activation {
    let kinds: Kinds = [Kind::Ended, Kind::Analyzed].into_iter().collect();
    let call = call.as_object().cloned().unwrap_or_default();
    Activation::new(
        &call,
        before.as_object(),
        kinds,
        &Name::from("clinic"),
        Timestamp::from_millis(1_765_809_145_000),
    )
}

fn truth(condition: &str, call: Json) -> Result<Truth, String> {
    let condition = Condition::compile(condition).map_err(|mistakes| mistakes[0].to_string())?;
    condition.evaluate(&activation(call, Json::Null)).map_err(|e| e.to_string())
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
    Condition::compile(condition).expect_err(condition).remove(0)
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
fn fields_that_no_call_has_are_named_unless_the_condition_looks_for_them() {
    let without = |name: &str| {
        let mut call = a_call();
        call["callAnalysis"].as_object_mut().unwrap().remove(name);
        call
    };
    let calls = [a_call(), without("sentiment")].map(|call| activation(call, Json::Null));
    for (condition, missing) in [
        ("call.callAnalysis.sentiment == \"x\"", &[][..]),
        (
            "call.callAnalysis.sentimnt == \"x\" || call.nothing.deeper",
            &["call.callAnalysis.sentimnt", "call.nothing"],
        ),
        ("has(call.callAnalysis.topic) && call.callAnalysis.topic == \"x\"", &[]),
        ("call.callAnalysis.topic != null && call.callAnalysis.topic == \"x\"", &[]),
        ("before.status == \"live\"", &[]),
    ] {
        let compiled = Condition::compile(condition).expect(condition);
        assert_eq!(compiled.missing_in_all(&calls), missing, "{condition}");
        assert!(compiled.missing_in_all(&[]).is_empty());
    }
}

#[test]
fn the_first_field_that_is_missing_is_named() {
    for (condition, missing) in [
        ("call.summary == \"x\"", Some("call.summary")),
        ("call.callAnalysis.topic == \"x\"", Some("call.callAnalysis.topic")),
        ("call.nothing.deeper == 1 || call.duration > 3", Some("call.nothing")),
        ("call.duration > 3 && before.status == \"live\"", Some("before")),
        ("call.duration > 3 && has(call.nothing)", None),
        ("call.transcript.exists(t, t.role == \"user\")", None),
    ] {
        let condition = Condition::compile(condition).expect(condition);
        assert_eq!(condition.missing(&activation(a_call(), Json::Null)), missing, "{condition:?}");
    }
}

#[test]
fn the_reasons_are_what_made_it_true() {
    for (condition, expected) in [
        (r#"call.callAnalysis.sentiment == "negative""#, &["callAnalysis.sentiment"][..]),
        ("call.callAnalysis\n  .sentiment == \"negative\"", &["callAnalysis.sentiment"]),
        (
            r#"call["callAnalysis"]["sentiment"] == "negative" && call . duration > 5"#,
            &["callAnalysis.sentiment", "duration"],
        ),
        ("call.duration > 60 && call.isEngaged && call.duration < 900", &["duration", "isEngaged"]),
        // Of several ways to be true, those that are.
        (r#"call.duration > 1000 || call.callAnalysis.sentiment == "negative""#, &["callAnalysis.sentiment"]),
        (r#"call.duration > 100 ? call.status == "completed" : call.isEngaged"#, &["duration", "status"]),
        (r#"call.duration > 1000 ? call.isEngaged : call.status == "completed""#, &["duration", "status"]),
        (r#"!(call.duration > 1000 && call.isEngaged)"#, &["duration"]),
        (r#"!(call.duration > 1000 || call.status == "live")"#, &["duration", "status"]),
        (
            "call.callAnalysis != null && has(call.callAnalysis.score)",
            &["callAnalysis", "callAnalysis.score"],
        ),
        (
            r#"call.callerNumber.lower().startsWith("+33") && size(call.transcript) > 0"#,
            &["callerNumber", "transcript"],
        ),
        (r#"call.transcript.exists(t, t.role == "user")"#, &["transcript"]),
        (r#"transcript_text(call).contains("refund")"#, &["transcript"]),
        (r#"said(call, "user", "refund") && !said(call, "user", "goodbye")"#, &["transcript"]),
        (r#"(call.duration > 1000 || call.status == "completed") == true"#, &["status"]),
        (r#"(call.duration > 60 ? call.status : call.summary) == "completed""#, &["duration", "status"]),
        (r#"call.?callAnalysis.?sentiment.orValue("none") == "negative""#, &["callAnalysis.sentiment"]),
        (r#"["x", "completed"].exists(v, v == call.status)"#, &["status"]),
        (r#"call.status in ["completed"]"#, &["status"]),
        (
            r#"timestamp(call.createdAt) < now && "ended" in change.kinds && source == "clinic""#,
            &["createdAt"],
        ),
        ("before == null", &[]),
        (r#"before == null ? call.status == "completed" : call.isEngaged"#, &[]),
        // What is not true has no reason, and neither has what needs to know how the call was before.
        ("call.duration > 1000", &[]),
        (r#"before.status == "live" && call.duration > 60"#, &[]),
    ] {
        let compiled = Condition::compile(condition).expect(condition);
        let reasons = compiled.reasons(&activation(a_call(), Json::Null)).into_iter();
        assert_eq!(reasons.map(|path| path.join(".")).collect::<Vec<_>>(), expected, "{condition}");
    }
}

#[test]
fn a_missing_or_null_field_is_unknown_whatever_is_asked_of_it() {
    for path in [
        "call.nothing",
        "call.nothing.deeper",
        "call.callAnalysis.topic",
        "before.nothing",
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
fn a_documented_field_that_is_null_is_unknown() {
    for condition in [
        r#"call.evaluation != "success""#,
        r#"!(call.evaluation == "success")"#,
        r#"call.evaluation in ["success", "fail"]"#,
        r#"!(call.evaluation in ["success"])"#,
        r#"!("a" in [call.summary])"#,
        "[call.summary] != [call.evaluation]",
        "before.duration < 3",
        "before.duration != 3",
        r#"before.status != "live""#,
        "has(before.status)",
        r#"!said(before, "user", "refund")"#,
        r#"!call.summary.matches("a")"#,
        r#"call.summary.lower() != "a""#,
        r#"lower(call.summary) != "a""#,
        r#"timestamp(before.createdAt) < now"#,
        "before.transcript.all(t, t.role == \"user\")",
        "!call.transcript.exists(t, t.language == \"de\")",
        "call.transcript.filter(t, t.language == \"de\").size() == 0",
        r#"call.summary == "a" ? true : true"#,
    ] {
        assert_eq!(truth(condition, a_call()), Ok(Truth::Unknown), "{condition}");
    }
}

#[test]
fn null_is_asked_for_by_name() {
    for (condition, expected) in [
        ("call.summary == null", Truth::True),
        ("call.summary != null", Truth::False),
        (r#"call.evaluation in [null, "fail"]"#, Truth::True),
        (r#"call.status in [null, "live"]"#, Truth::False),
        ("type(call.summary) == null_type", Truth::True),
        ("has(call.summary)", Truth::True),
        ("has(call.nothing) || call.duration > 3", Truth::True),
        (r#"call.?callAnalysis.?nothing.orValue("x") == "x""#, Truth::True),
        (r#"call.?nothing.?deeper.hasValue()"#, Truth::False),
    ] {
        assert_eq!(truth(condition, a_call()), Ok(expected), "{condition}");
    }
}

#[test]
fn what_was_said_is_found_by_whole_words_in_any_case() {
    let call = json!({ "transcript": [
        { "role": "assistant", "content": "We do refunds. Don’t worry." },
        { "role": "user", "content": "I WANT a Refund,  my\nmoney back; +33 6 12" },
        { "role": "user" },
        { "role": "user", "content": "please call  me tomorrow" },
        { "content": "nobody" },
        null,
    ]});
    for (condition, expected) in [
        (r#"said(call, "user", "refund")"#, Truth::True),
        (r#"said(call, "assistant", "refund")"#, Truth::False),
        (r#"said(call, "assistant", "don't worry")"#, Truth::True),
        (r#"said(call, "user", "money back")"#, Truth::True),
        (r#"said(call, "user", "call me tomorrow")"#, Truth::True),
        (r#"said(call, "user", "fund")"#, Truth::False),
        (r#"said(call, "user", "+33 6")"#, Truth::True),
        (r#"said(call, "user", ".*")"#, Truth::False),
        (r#"transcript_text(call).contains("refunds. Don’t worry.\nI WANT")"#, Truth::True),
        (r#"transcript_text(call).matches("(?i)money\\s+back")"#, Truth::True),
        (r#"size(transcript_text(call)) > 1000"#, Truth::False),
        (r#"transcript_text(call).lower().contains("i want a refund")"#, Truth::True),
    ] {
        assert_eq!(truth(condition, call.clone()), Ok(expected), "{condition}");
    }
    for transcript in [json!({}), json!({ "transcript": null })] {
        assert_eq!(truth(r#"said(call, "user", "refund")"#, transcript.clone()), Ok(Truth::Unknown));
        assert_eq!(truth("size(transcript_text(call)) == 0", transcript), Ok(Truth::Unknown));
    }
    assert_eq!(truth(r#"said(call, "user", "refund")"#, json!({ "transcript": [] })), Ok(Truth::False));
}

/// `now` is Monday, 2025-12-15T14:32:25Z.
#[test]
fn times_are_told_in_a_time_zone() {
    for condition in [
        r#"now.getHours("Europe/Berlin") == 15"#,
        r#"now.getHours() == 14"#,
        r#"now.getHours("+05:30") == 20"#,
        r#"now.getDayOfWeek("Europe/Berlin") == 1"#,
        r#"now.weekday("Europe/Berlin") == "monday""#,
        r#"weekday(now, "Pacific/Kiritimati") == "tuesday""#,
        r#"weekday(now, "+12:00") == "tuesday""#,
        r#"!(now.weekday("Europe/Berlin") in ["saturday", "sunday"])"#,
        r#"timestamp(call.createdAt).getHours("America/New_York") == 9"#,
        // Summer time began at one o'clock UTC.
        r#"timestamp("2025-03-30T00:59:00Z").getHours("Europe/Berlin") == 1"#,
        r#"timestamp("2025-03-30T01:00:00Z").getHours("Europe/Berlin") == 3"#,
        r#"now - timestamp(call.createdAt) > duration("2m")"#,
        r#"now < timestamp("2026-01-01T00:00:00+01:00")"#,
    ] {
        assert_eq!(truth(condition, a_call()), Ok(Truth::True), "{condition}");
    }
}

#[test]
fn a_list_without_end_is_not_walked_over() {
    let call = |entries: usize| json!({ "callAnalysis": { "list": vec![1; entries] } });
    let condition = "call.callAnalysis.list.exists(x, x == 2)";
    assert_eq!(truth(condition, call(10_000)), Ok(Truth::False));
    assert_eq!(truth(condition, call(10_001)), Err("a list has too many entries to walk over".to_owned()));
}

#[test]
fn unknown_gives_way_to_what_decides_without_it() {
    assert_eq!(truth(r#"call.nothing == 1 || call.duration == 145"#, a_call()), Ok(Truth::True));
    assert_eq!(truth(r#"call.nothing == 1 && call.duration == 1"#, a_call()), Ok(Truth::False));
}

#[test]
fn what_makes_no_sense_is_a_failure_that_quotes_nothing_of_the_call() {
    for (condition, why) in [
        ("call.callAnalysis.sentiment < 3", "`<` does not work on a text and a number"),
        ("call.callAnalysis.sentiment", "its result is not true or false but a text"),
        ("call.duration / 0 == 1", "a division by zero"),
        ("call.callAnalysis.score + \"x\" == \"y\"", ""),
        ("timestamp(call.callerNumber) < now", "`timestamp` could not work on its arguments"),
        ("call.callAnalysis.sentiment && call.isEngaged", ""),
        ("call.callAnalysis.score ? true : false", "a value is neither true nor false"),
        ("call.callAnalysis.score.exists(x, x == 1)", "a value is no list to walk over"),
        ("size(call.callAnalysis.score) == 1", "`size` does not work on a number"),
    ] {
        let failure = truth(condition, a_call()).expect_err(condition);
        assert!(failure == why || why.is_empty(), "{condition}: {failure}");
        assert!(!failure.contains("336") && !failure.contains("negative"), "{condition}: {failure}");
    }
}

#[test]
fn what_is_said_is_paid_for_by_the_transcript_alone_and_patterns_by_what_they_look_through() {
    let mut call = a_call();
    call["summary"] = "a".repeat(3_000_000).into();
    let said = [r#"said(call, "user", "nothing")"#; 12].join(" || ");
    assert_eq!(truth(&said, call.clone()), Ok(Truth::False));
    let matched = [r#"call.summary.matches("b")"#; 3].join(" || ");
    assert!(truth(&matched, call).is_err(), "the text is paid for four times by each");
}

#[test]
fn a_condition_may_be_as_long_and_as_deep_as_is_said() {
    let long = |length: usize| format!("{:length$}", "call.isEngaged");
    assert_eq!(truth(&long(super::MAX_LEN), a_call()), Ok(Truth::True));
    assert!(broken(&long(super::MAX_LEN + 1)).message.contains("2049 bytes long; at most 2048"));
    let deep = |terms: usize| format!("1 {}> 0", "+ 1 ".repeat(terms));
    let deepest = (1..100).find(|terms| Condition::compile(&deep(*terms)).is_err());
    assert_eq!(deepest, Some(40));
    assert_eq!(broken(&deep(40)).message, "the condition nests too deeply");
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
                let _ = condition.evaluate(&activation(a_call(), Json::Null));
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
    assert_eq!(format!("{one:?}"), r#""call.duration > 60""#);
}

#[test]
fn a_short_condition_cannot_take_much_time_or_memory() {
    let text = "a".repeat(600_000);
    let mut call = a_call();
    call["summary"] = text.into();
    call["list"] = (0..10_000).collect::<Vec<_>>().into();
    call["one"] = (0..9_000).collect::<Vec<_>>().into();
    call["other"] = call["one"].clone();
    let all = |part: &str| vec![part; 330].join(", ");
    for condition in [
        r#"["a"].map(x, call.summary + call.summary + call.summary)[0] + call.summary == "b""#.to_owned(),
        "size(call.list.map(x, call.summary)) > 0".to_owned(),
        "size(call.list.map(x, x + call.summary.size())) > 0".to_owned(),
        "call.list.exists(x, call.summary + call.summary == call.summary)".to_owned(),
        r#"call.list.exists(x, call.summary.matches("(a|aa)+b"))"#.to_owned(),
        r#"call.list.exists(x, call.summary.contains("ab"))"#.to_owned(),
        r#"call.list.exists(x, lower(call.summary) == "b")"#.to_owned(),
        format!("size([{}]) > 0", all("call")),
        "size(call.list + call.list) > 0".to_owned(),
    ] {
        let began = std::time::Instant::now();
        let result = match truth(&condition, call.clone()) {
            Ok(_) => "ends".to_owned(),
            Err(why) => why,
        };
        assert!(
            ["ends", "it takes too much time or memory"].contains(&result.as_str()),
            "{condition}: {result}"
        );
        assert!(began.elapsed() < std::time::Duration::from_secs(5), "{condition}: {:?}", began.elapsed());
    }
    for costly in [
        "call.list.exists(x, call.summary.contains(\"ab\"))",
        "call.list.exists(x, call.one != call.other)",
        "call.list.exists(x, [call.one] != [call.other])",
        "call.list.exists(x, !(call.one == call.other) && x > 0)",
        "call.list.exists(x, -1 in call.one)",
    ] {
        assert_eq!(truth(costly, call.clone()).unwrap_err(), "it takes too much time or memory", "{costly}");
    }
}

#[test]
fn a_walk_over_what_another_walk_made_is_refused() {
    let doubled = r#"["aaaaaaaaaa"]"#.to_owned() + &".map(x, x + x)".repeat(30) + r#"[0] == "b""#;
    for condition in [doubled.as_str(), "call.tags.filter(t, t != \"\").exists(t, t == \"a\")"] {
        let mistake = broken(condition);
        assert!(mistake.message.contains("cannot walk over what another of them has made"), "{mistake}");
    }
}

#[test]
fn only_a_status_is_put_into_lower_case() {
    let call = json!({ "status": "LIVE", "endedReason": "LIVE", "callAnalysis": { "status": "LIVE" } });
    for (condition, expected) in [
        (r#"call.status == "live""#, Truth::True),
        (r#"call.endedReason == "LIVE""#, Truth::True),
        (r#"call.callAnalysis.status == "LIVE""#, Truth::True),
    ] {
        assert_eq!(truth(condition, call.clone()), Ok(expected), "{condition}");
    }
}

#[test]
fn words_that_differ_by_too_much_are_not_taken_for_each_other() {
    use super::types::closest;
    assert_eq!(closest("modle", ["model"]), Some("model"));
    assert_eq!(closest("models", ["modals", "mortal"]), Some("modals"));
    // Two letters of six may be wrong, and of five only one.
    assert_eq!(closest("novels", ["models"]), Some("models"));
    assert_eq!(closest("novel", ["model"]), None);
}

#[test]
fn what_lies_too_deep_is_null() {
    for wrap in [|inner: Json| json!([inner]), |inner: Json| json!({ "in": inner })] {
        let call = |depth: usize| {
            let [one, other] = [1, 2].map(|end| (0..depth).fold(json!(end), |inner, _| wrap(inner)));
            json!({ "one": one, "other": other })
        };
        assert_eq!(truth("call.one == call.other", call(60)), Ok(Truth::False));
        assert_eq!(truth("call.one == call.other", call(70)), Ok(Truth::True));
    }
    let mut call = a_call();
    let deep = (0..200).fold(json!(1), |inner, _| json!([inner]));
    call["callAnalysis"] = json!({ "deep": deep });
    assert_eq!(truth("size(call.callAnalysis.deep) == 1", call.clone()), Ok(Truth::True));
    let inside = format!("call.callAnalysis.deep{} == 1", "[0]".repeat(30));
    assert!(truth(&inside, call.clone()).is_ok());
    call["deep"] = (0..3).fold(json!("x"), |inner, _| json!({ "down": inner }));
    assert_eq!(truth("call.deep.down.down.down == \"x\"", call), Ok(Truth::True));
}
