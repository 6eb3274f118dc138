//! The end of the process while a message is being made.

use serde_json::json;
use tokio::time::{Instant, sleep};

use super::*;
use crate::process::command;

/// The time that all threads of a process have been at work, in hundredths of a second.
fn work(process: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let (_, behind_the_name) = stat.rsplit_once(')').unwrap();
    let fields: Vec<_> = behind_the_name.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_rendering_does_not_hold_up_the_end_and_its_delivery_waits() {
    if !cfg!(debug_assertions) {
        println!("skipped: no template takes long enough in a build for release");
        return;
    }
    let rig = Rig::new().await;
    let text = rig.config_text().replace("shutdown_grace = \"5s\"", "shutdown_grace = \"1s\"").replace(
        "[rules.booked]",
        "[destinations.slow]\ntype = \"webhook\"\ntimeout = \"1m\"\nurl = \"http://127.0.0.1:9/\"\n\
         body = \"{% for i in range(90000) %}{% if calls|selectattr('transcript', 'eq', calls[0].transcript)|list %}{% endif %}{% endfor %}\"\n\
         [rules.slow]\non = [\"ended\"]\nto = [\"slow\"]\n[rules.booked]",
    );
    let process = Process::start(&rig, &text).await;
    process.says(" baselined, ").await;
    let mut call = record("long", "completed");
    let turns: Vec<_> = (0..900).map(|n| json!(vec![n; 18])).collect();
    call["transcript"] = turns.into();
    rig.callem.add(call);
    timeout(PATIENCE, rig.crm.inbox().wait_for(1)).await.unwrap();
    // One thread is at work all the time, and the polls go on beside it.
    let rendering = async {
        loop {
            let (before, since) = (work(process.id()), Instant::now());
            sleep(Duration::from_millis(100)).await;
            let share = (work(process.id()) - before) as f64 / 100.0 / since.elapsed().as_secs_f64();
            if share > 0.2 {
                return;
            }
        }
    };
    timeout(PATIENCE, rendering).await.expect("it renders");
    let asked = Instant::now();
    let (config, log) = (process.config.clone(), process.stop().await);
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
    assert!(!log.contains("panicked"), "{log}");
    let output =
        command(&config, &["deliveries", "list", "--destination", "slow", "--json"]).output().await.unwrap();
    let all: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&all[0]["state"], &all[0]["attempts"]), (&json!("pending"), &json!(0)), "{all}");
}
