//! Measures how long it takes to compile a condition and to evaluate it: `cargo bench --bench condition`.

use std::time::{Duration, Instant};

use callwatch::{
    kind::{Kind, Kinds},
    name::Name,
    rule::condition::{Activation, Condition},
    time::Timestamp,
};
use serde_json::{Map, Value, json};

const CONDITIONS: [&str; 8] = [
    r#"call.callAnalysis.sentiment == "negative""#,
    r#"call.callAnalysis.sentiment == "negative" && call.duration > 60 && "ended" in change.kinds"#,
    r#"call.summary.matches("refund|money back")"#,
    r#"call.callerNumber.matches("^\\+33[0-9]{9}$")"#,
    r#"now.weekday("Europe/Berlin") in ["saturday", "sunday"] || now.getHours("Europe/Berlin") < 8"#,
    r#"said(call, "user", "refund")"#,
    r#"transcript_text(call).matches("(?i)refund|money back")"#,
    r#"call.transcript.exists(t, t.role == "user" && t.content.contains("refund"))"#,
];

fn main() {
    let call = a_call();
    let kinds: Kinds = [Kind::Ended, Kind::Analyzed].into_iter().collect();
    let activation = || {
        Activation::new(
            &call,
            Some(&call),
            kinds,
            &Name::from("clinic"),
            Timestamp::from_millis(1_765_809_145_000),
        )
    };
    println!("{:>10}  {:>10}  condition, over a transcript of 100 turns and 20 kB", "compile", "evaluate");
    println!(
        "{:>10}  {:>10.1?}  (making the variables of all conditions, once per change)",
        "",
        timed(|| drop(activation()))
    );
    let activation = activation();
    for source in CONDITIONS {
        let compile =
            || Condition::compile(source).unwrap_or_else(|mistakes| panic!("{source}: {mistakes:?}"));
        let condition = compile();
        let evaluated = timed(|| {
            condition.evaluate(&activation).unwrap_or_else(|failure| panic!("{source}: {failure}"));
        });
        println!("{:>10.1?}  {evaluated:>10.1?}  {source}", timed(|| drop(compile())));
    }
}

fn timed(mut what: impl FnMut()) -> Duration {
    const ROUNDS: u32 = 2000;
    let started = Instant::now();
    for _ in 0..ROUNDS {
        what();
    }
    started.elapsed() / ROUNDS
}

fn a_call() -> Map<String, Value> {
    let turn = json!({ "role": "user", "content": "Hi, I would like to book an appointment. ".repeat(5) });
    let call = json!({
        "id": "c1", "status": "completed", "duration": 145, "callerNumber": "+33612345678", "isEngaged": true,
        "summary": "The caller asked about appointment availability next Tuesday.", "evaluation": "success",
        "callAnalysis": { "sentiment": "negative", "leadQuality": "hot", "appointmentBooked": true },
        "transcript": vec![turn; 100], "createdAt": "2025-12-15T14:30:00.000Z",
    });
    call.as_object().cloned().unwrap_or_default()
}
