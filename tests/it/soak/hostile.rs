//! Records that a stranger has chosen.

use callwatch::time::Timestamp;
use fastrand::Rng;
use serde_json::{Value, json};

/// The record of a call that is kept under `id`, odd in a random way.
pub fn record(id: &str, now: Timestamp, random: &mut Rng) -> String {
    let status = ["live", "completed", "in-progress", "", "Completed", "\u{202e}live"][random.usize(..6)];
    let whole = |odd: &str| {
        format!(
            r#"{{"id":{id},"status":{status},"callerNumber":"+33612345678","summary":"s","updatedAt":"{now}",{odd}}}"#,
            id = json!(id),
            status = json!(status),
        )
    };
    match random.u8(..24) {
        0 => whole(&format!(r#""callAnalysis":{}"#, nested(random))),
        1 => whole(&format!(r#""odd":{}"#, nested(random))),
        2 => whole(&format!(r#""transcript":{}"#, nested(random))),
        3 => whole(&format!(r#""odd":[0{}]"#, ",{}".repeat(random.usize(..400_000)))),
        4 => {
            let fields = (0..random.usize(..40_000)).map(|n| format!(r#""f{n}":"v""#)).collect::<Vec<_>>();
            whole(&format!(r#""callAnalysis":{{{}}}"#, fields.join(",")))
        }
        5 => {
            let many = |n| format!(r#""f{n}":[1{}]"#, ",[]".repeat(15_000));
            whole(&(0..random.usize(1..30)).map(many).collect::<Vec<_>>().join(","))
        }
        6 => {
            let turn = |n| {
                let role = ["user", "assistant", "\u{1b}"][n % 3];
                json!({ "role": role, "content": "a refund ".repeat(9) })
            };
            let turns: Value = (0..random.usize(..8_000)).map(turn).collect();
            whole(&format!(r#""odd":true,"transcript":{turns}"#))
        }
        7 => whole(&format!(r#""odd":"{}""#, "é".repeat(random.usize(..2_600_000)))),
        8 => whole(&format!(r#""summary":"{}""#, "ab".repeat(random.usize(..300_000)))),
        9 => whole(&format!(r#""odd":"{}""#, r"\ud83d".repeat(random.usize(..20_000)))),
        10 => whole(
            r#""summary":"\u0000\u001b[2J\u202e\u009b","callAnalysis":{"":{"":""}},"__proto__":1,"odd":"\u0000""#,
        ),
        11 => whole(
            r#""callAnalysis":{"topics":[1,null,{},"x",[]],"sentiment":{"a":1}},"duration":-1e308,"odd":1e400"#,
        ),
        12 => whole(r#""createdAt":1e18,"transcript":"none","callerNumber":[null],"odd":{"if":"1"}"#),
        13 => whole(r#""odd":NaN"#),
        14 => whole("\"summary\":\"one\ntwo\""),
        15 => whole(r#""odd":"cut sho"#),
        16 => format!(r#"{{"id":{}"#, json!(id)),
        17 => ["7", "null", "[]", "\"text\"", "{}", "", "true", "[[]]", "{\"id\":{}}"][random.usize(..9)]
            .to_owned(),
        18 => whole(&format!(r#""id":"{}""#, "x".repeat(random.usize(200..400)))),
        19 => whole(r#""id":"..","odd":1"#),
        20 => whole("\"id\":\"a\\tb\",\"odd\":1"),
        21 => whole(&format!(r#""id":"new{}","odd":2"#, random.u32(..))),
        22 => {
            let junk: String = (0..random.usize(..200)).map(|_| random.char('\u{20}'..'\u{2fff}')).collect();
            whole(&format!(r#""odd":{junk}"#))
        }
        _ => whole(&format!(
            r#""callerNumber":{0},"odd":{0}"#,
            json!("\u{2028}<script>|>*_@here ".repeat(random.usize(..500)))
        )),
    }
}

/// Lists or objects within one another.
fn nested(random: &mut Rng) -> String {
    let levels = [60, 63, 64, 65, 127, 128, 129, 1_000, 30_000][random.usize(..9)];
    let (opening, closing) = [("[", "]"), (r#"{"a":"#, "}"), (r#"[{"topic":["#, "]}]")][random.usize(..3)];
    format!("{}1{}", opening.repeat(levels), closing.repeat(levels))
}
