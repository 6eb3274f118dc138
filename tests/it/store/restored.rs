//! The whole way back from a damaged store: the message, the command, and what is told afterwards.

use std::{collections::BTreeMap, fs, path::Path, process::Stdio};

use callwatch::demo::receivers::Message;
use tokio::{process::Command, time::timeout};

use super::*;
use crate::rig::{PATIENCE, Rig, Running, analyze, complete, record};

/// How often each `webhook-id` and each `Message-ID` arrived.
fn arrivals(rig: &Rig) -> BTreeMap<String, usize> {
    let mut ids = BTreeMap::new();
    for webhook in rig.webhooks() {
        *ids.entry(webhook.id).or_default() += 1;
    }
    for arrival in rig.manager.inbox().arrivals() {
        if let Message::Mail(mail) = &arrival.message {
            *ids.entry(mail.message_id().unwrap()).or_default() += 1;
        }
    }
    ids
}

/// Lets a call take place: one webhook for its end, one for its analysis, one mail.
async fn call(rig: &Rig, running: &mut Running, id: &str) {
    let mut live = record(id, "live");
    live["createdAt"] = "2100-01-01T00:00:00.000Z".into();
    rig.callem.add(live);
    rig.callem.update(id, |call| {
        complete(call);
        analyze(call, "negative", false);
    });
    running.quiet_polls(4).await;
    running.settled().await;
}

async fn callwatch(args: &[&str], config: &Path) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_callwatch"));
    command.args(args).arg("--config").arg(config).stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(PATIENCE, command.output()).await.unwrap().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restore_nothing_told_before_the_backup_is_told_again_and_the_rest_has_the_same_ids() {
    let rig = Rig::new().await;
    let mut old = record("old", "completed");
    analyze(&mut old, "negative", true);
    rig.callem.add(old);
    let config_file = rig.write_config(&rig.config_text());

    let mut running = rig.start().await;
    running.baseline().await;
    call(&rig, &mut running, "early").await;
    let before = arrivals(&rig);
    running.store.back_up_to(None, at(4_102_444_800_000)).await.unwrap();
    call(&rig, &mut running, "late").await;
    running.stop().await;
    let told = arrivals(&rig);
    assert!(told.len() > before.len() && !before.is_empty());

    let db = rig.store_path().join("sled/db");
    let len = fs::metadata(&db).unwrap().len() as usize;
    fs::write(&db, vec![0; len]).unwrap();
    let (code, said) = callwatch(&["run"], &config_file).await;
    assert_eq!(code, Some(1), "{said}");
    let advice = format!("callwatch restore --config {}", config_file.display());
    assert!(said.contains("damaged") && said.contains(&advice), "{said}");
    let (code, said) = callwatch(&["restore"], &config_file).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("quarantine-") && said.contains("2 calls") && said.contains("2100-01-01"),
        "{said}"
    );

    let mut running = rig.start().await;
    running.quiet_polls(4).await;
    call(&rig, &mut running, "afterwards").await;
    running.stop().await;
    let again = arrivals(&rig);
    for (id, times) in &again {
        let expected = match (before.contains_key(id), told.contains_key(id)) {
            (true, _) => 1,
            (false, true) => 2,
            (false, false) => 1,
        };
        assert_eq!(*times, expected, "{id}");
    }
    assert_eq!(again.len() - told.len(), told.len() - before.len(), "the third call is told like the second");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_say_what_they_did() {
    let rig = Rig::new().await;
    let config_file = rig.write_config(&rig.config_text());
    let running = rig.start().await;
    let (code, said) = callwatch(&["backup"], &config_file).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("in use by another callwatch (process") && said.contains("backups"), "{said}");
    let (code, said) = callwatch(&["restore"], &config_file).await;
    assert!(code == Some(1) && said.contains("in use"), "{said}");
    running.stop().await;

    let file = rig.dir.path().join("mine.backup");
    let to = file.display().to_string();
    let (code, said) = callwatch(&["backup", "--to", &to], &config_file).await;
    assert!(code == Some(0) && said.contains(&to), "{said}");
    fs::remove_dir_all(rig.store_path()).unwrap();
    let (code, said) = callwatch(&["restore"], &config_file).await;
    assert!(code == Some(1) && said.contains("no backup") && said.contains("--from"), "{said}");
    let (code, said) = callwatch(&["restore", "--from", &to], &config_file).await;
    assert!(code == Some(0) && said.contains("start callwatch again"), "{said}");
    // The store that is there now can be read, so somebody has to say that it may be replaced.
    let (code, said) = callwatch(&["restore", "--from", &to], &config_file).await;
    assert!(code == Some(2) && said.contains("can be read") && said.contains("--yes"), "{said}");
    let (code, said) = callwatch(&["restore", "--from", &to, "--yes"], &config_file).await;
    assert!(code == Some(0) && said.contains("the former store is in"), "{said}");
}
