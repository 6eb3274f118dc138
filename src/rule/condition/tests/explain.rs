//! The exact text that `callwatch explain` prints about a condition.

use super::*;

#[track_caller]
fn explained(condition: &str, expected: &str) {
    let found = Condition::compile(condition)
        .expect(condition)
        .explain(&activation(a_call(), Json::Null))
        .to_string();
    assert_eq!(format!("\n{found}"), expected, "\n{found}");
    assert!(found.lines().all(|line| line.chars().count() <= 80), "{found}");
}

#[test]
fn every_part_is_shown_even_where_the_first_decides() {
    explained(
        r#"call.duration < 60 && call.callAnalysis.sentiment == "negative"
           && (call.evaluation == "fail" || !call.isEngaged)"#,
        r#"
false    call.duration < 60 && call.callAnalysis.sentiment == "negative" && (ca…
  false    call.duration < 60
             call.duration is 145
  true     call.callAnalysis.sentiment == "negative"
             call.callAnalysis.sentiment is "negative"
  unknown  call.evaluation == "fail" || !call.isEngaged
    unknown  call.evaluation == "fail"
               call.evaluation is null
    false    !call.isEngaged
      true     call.isEngaged
"#,
    );
}

#[test]
fn what_is_unknown_says_what_is_not_there() {
    for (condition, expected) in [
        (
            "call.evaluation == \"fail\"",
            "\nunknown  call.evaluation == \"fail\"\n           call.evaluation is null\n",
        ),
        ("call.x.y.z == 1", "\nunknown  call.x.y.z == 1\n           call.x is missing\n"),
        (
            "call.callAnalysis.topic.name == 1",
            "\nunknown  call.callAnalysis.topic.name == 1\n           call.callAnalysis.topic is null\n",
        ),
        ("before.duration > 3", "\nunknown  before.duration > 3\n           before is null\n"),
        (
            r#""x" in [call.evaluation, "y"]"#,
            "\nunknown  \"x\" in [call.evaluation, \"y\"]\n           call.evaluation is null\n",
        ),
    ] {
        explained(condition, expected);
    }
}

#[test]
fn what_is_worked_out_is_shown_with_what_it_is_worked_out_from() {
    explained(
        r#"now - timestamp(call.createdAt) > duration("2m")"#,
        r#"
true     now - timestamp(call.createdAt) > duration("2m")
           now - timestamp(call.createdAt) is 2m 25s
           now is 2025-12-15T14:32:25Z
           call.createdAt is "2025-12-15T14:30:00.000Z"
"#,
    );
    explained(
        r#""ended" in change.kinds ? now.getHours("Europe/Berlin") < 8 : call.duration / 0 == 1"#,
        r#"
false    "ended" in change.kinds ? now.getHours("Europe/Berlin") < 8 : call.dur…
  true     "ended" in change.kinds
             change.kinds is ["ended", "analyzed"]
  false    now.getHours("Europe/Berlin") < 8
             now.getHours("Europe/Berlin") is 15
             now is 2025-12-15T14:32:25Z
  failed   call.duration / 0 == 1
             a division by zero
             call.duration is 145
"#,
    );
}

#[test]
fn numbers_are_masked_and_a_transcript_is_not_quoted() {
    explained(
        r#"call.callerNumber == "+33612345678""#,
        r#"
true     call.callerNumber == "+33612345678"
           call.callerNumber is "+3361•••5678"
"#,
    );
    for condition in [
        r#"transcript_text(call) == "x""#,
        r#"transcript_text(call).upper() == "x""#,
        r#"said(call, "user", "money")"#,
        r#"call.transcript[0].content == "x""#,
        r#"call["transcript"][0].content == "x""#,
        r#"call.?transcript[0].content.orValue("") == "x""#,
        r#"call.transcript.map(t, t.content) == ["x"]"#,
        r#"call.transcript.map(t, t.content)[0] == "x""#,
        r#"(call.isEngaged ? call.transcript[0].content : "") == "x""#,
        r#"call.transcript.exists(t, t.content == "x")"#,
    ] {
        let explanation =
            Condition::compile(condition).expect(condition).explain(&activation(a_call(), Json::Null));
        for told in [explanation.to_string(), format!("{explanation:?}")] {
            assert!(!told.to_lowercase().contains("refund"), "{condition}: {told}");
        }
    }
}

#[test]
fn words_that_were_not_said_are_explained_as_such() {
    let explained = |call: Json| {
        let condition = Condition::compile(r#"said(call, "user", "money")"#).expect("compiles");
        condition.explain(&activation(call, Json::Null)).to_string()
    };
    let call = json!({ "transcript": [{ "role": "user", "content": "Hello" }] });
    assert_eq!(explained(call), "false    said(call, \"user\", \"money\")\n           not said\n");
    let told = explained(json!({ "id": "1" }));
    assert!(told.contains("not said, as far as is known") && !told.contains("missing"), "{told}");
}

#[test]
fn a_long_text_is_cut() {
    let call = json!({ "summary": format!("{}\nend", "é".repeat(100)) });
    let condition = Condition::compile("call.summary != \"\"").expect("compiles");
    let told = condition.explain(&activation(call, Json::Null)).to_string();
    let value = format!("call.summary is \"{}", "é".repeat(50));
    assert!(told.contains(&value) && told.lines().all(|line| line.chars().count() <= 80), "{told}");
    assert!(!told.contains("end"), "{told}");
}

#[test]
fn only_what_a_comparison_had_to_work_out_is_shown() {
    for (condition, shown, hidden) in [
        ("uint(call.duration) == uint(3)", "uint(call.duration) is 145", "uint(3) is"),
        ("has(call.nothing) == call.isEngaged", "call.isEngaged is true", "has(call.nothing) is"),
        ("bool(string(call.isEngaged))", "call.isEngaged is true", "string(call.isEngaged) is"),
    ] {
        let condition = Condition::compile(condition).expect(condition);
        let told = condition.explain(&activation(a_call(), Json::Null)).to_string();
        assert!(told.contains(shown) && !told.contains(hidden), "{told}");
    }
}
