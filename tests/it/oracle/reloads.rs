//! Reloads at random moments beside an API that changes: nothing is missed, nothing is told twice, and nothing old is told.
//!
//! `CALLWATCH_RELOADS` sets their number, and `CALLWATCH_SEED` what happens.

use std::{fs, time::Duration};

use tokio::{
    process::Command,
    time::{sleep, timeout},
};

use super::{
    Instance, arrivals::Arrivals, asked, check_store, config, crowd::Crowd, from_env, history::Histories,
    last_lines, verdict::judge, wait_for_all,
};
use crate::rig::PATIENCE;

/// How often the config is edited unless `CALLWATCH_RELOADS` says otherwise.
const RELOADS: u64 = 30;

/// An edit that leaves the promises of the rules as they are, and whether it is a mistake. Each begins with the original,
/// so that it takes the one before back.
fn edit(text: &str, random: &mut fastrand::Rng) -> (String, bool) {
    let number = random.u32(1..9);
    let replaced = |from: &str, to: String| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, &to, 1)
    };
    match random.u8(..12) {
        0 => (text.to_owned(), false),
        1 => (format!("# edit {number}\n{text}"), false),
        2 => (replaced("concurrency = 8", format!("concurrency = {number}")), false),
        3 => (text.replace("rate = \"1000/s\"", &format!("rate = \"{}/s\"", 500 + number)), false),
        4 => (format!("[backup]\nevery = \"{number}h\"\n{text}"), false),
        5 => (replaced("sweep = \"1s\"", format!("sweep = \"{}ms\"", 1000 + number)), false),
        6 => (replaced("interval = \"100ms\"", format!("interval = \"{}ms\"", 100 + number)), false),
        7 => {
            let never =
                format!("\n[rules.never{number}]\nwhen = 'call.status == \"{number}\"'\nto = [\"crm\"]\n");
            (format!("{text}{never}"), false)
        }
        8 => (replaced("shutdown_grace = \"20s\"", format!("shutdown_grace = \"{}s\"", 20 + number)), false),
        9 => {
            let more =
                format!("\n[destinations.more{number}]\ntype = \"webhook\"\nurl = \"http://127.0.0.1:9/\"\n");
            (format!("{text}{more}"), false)
        }
        10 => (replaced("interval =", "intervall =".to_owned()), true),
        _ => (text[..text.len() / 2].to_owned() + "\n[rules", true),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reloads_at_random_lose_nothing_and_tell_nothing_twice() {
    let reloads = from_env("CALLWATCH_RELOADS").unwrap_or(RELOADS);
    let seed = from_env("CALLWATCH_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("CALLWATCH_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut histories = Histories::new().await;
    let crowd = Crowd::new().await;
    // Nobody misbehaves, and nobody is cut off: whatever arrives twice was told twice.
    let text = config::text(&histories, &crowd)
        .replace("timeout = \"500ms\"", "timeout = \"20s\"")
        .replace("shutdown_grace = \"1s\"", "shutdown_grace = \"20s\"");
    let mut instance = Instance::new(&text);
    let mut arrivals = Arrivals::at(&crowd);
    instance.start(&histories);
    timeout(PATIENCE, instance.says(" baselined, ")).await.expect("it begins");

    let path = instance.path("config.toml");
    let mut before = text.clone();
    for reload in 0..reloads {
        histories.go_on(&mut random, true);
        if reload % 10 == 5 {
            histories.burst(&mut random);
        }
        sleep(Duration::from_micros(random.u64(..150_000))).await;
        let (text, is_bad) = edit(&text, &mut random);
        let (so_far, answers) = (outcomes(&instance), histories.callem.answers());
        let source_changes = !is_bad && source_of(&text) != source_of(&before);
        fs::write(instance.path("new"), &text).unwrap();
        fs::rename(instance.path("new"), &path).unwrap();
        let pid = instance.process.as_ref().unwrap().id().unwrap().to_string();
        assert!(Command::new("kill").args(["-HUP", &pid]).status().await.unwrap().success());
        let done = async {
            while outcomes(&instance) == so_far {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, done)
            .await
            .unwrap_or_else(|_| panic!("no reload\n{}", last_lines(&instance.log())));
        assert_eq!(outcomes(&instance).1 > so_far.1, is_bad, "{}", last_lines(&instance.log()));
        if source_changes {
            // The task before may have got an answer that it did not commit.
            timeout(PATIENCE, asked(&histories, 2)).await.expect("it polls");
            histories.task_replaced(answers);
        }
        if !is_bad {
            before = text;
        }
        arrivals.collect();
    }
    histories.note();
    let expected = wait_for_all(&instance, &histories, &mut arrivals, seed).await;
    // Nothing more may arrive.
    timeout(PATIENCE, asked(&histories, 30)).await.expect("it polls");
    histories.note();
    fs::write(&path, &text).unwrap();
    instance.end(&mut histories, true).await;
    arrivals.collect();
    judge(&arrivals, &histories).unwrap_or_else(|why| panic!("{why}; CALLWATCH_SEED={seed}"));
    assert_eq!(check_store(&instance, &expected).await, 0);
    let (firsts, repeats) = arrivals.counts();
    assert_eq!(repeats, 0, "CALLWATCH_SEED={seed}");
    println!("{reloads} reloads, {} calls, {firsts} deliveries arrived once each", histories.calls.len());
}

/// The table of the source.
fn source_of(text: &str) -> &str {
    let table = text.split("[sources.clinic]").nth(1).unwrap_or_default();
    table.split('[').next().unwrap_or_default()
}

/// How many configs went to work, and how many were refused.
fn outcomes(instance: &Instance) -> (usize, usize) {
    let log = instance.log();
    let count = |what: &str| log.matches(what).count();
    (count("the config is at work"), count("the config is not used"))
}
