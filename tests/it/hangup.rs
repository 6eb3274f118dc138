//! An edited config file goes to work: at SIGHUP, and by itself.

use std::{sync::atomic::Ordering, time::Duration};

use callwatch::demo::{callem::Failure, receivers::DEMO_SECRET};
use tokio::{net::UnixDatagram, time::timeout};

use crate::{
    process::Process,
    reload::counting_proxy,
    rig::{PATIENCE, Rig, record},
};

const AT_WORK: &str = "the config is at work";
const REFUSED: &str = "the config is not used";

/// Without the file being watched, so that only signals put it to work.
fn unwatched(text: &str) -> String {
    format!("[reload]\nwatch = false\n{text}")
}

async fn arrived(rig: &Rig, count: u64) {
    let waiting = rig.crm.inbox().wait_for(count);
    timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("only {:?}", rig.webhooks()));
}

fn told(rig: &Rig) -> Vec<(String, String)> {
    rig.webhooks().into_iter().map(|webhook| (webhook.call, webhook.kinds.join("+"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_puts_an_edited_rule_to_work_and_a_destination_keeps_its_connection() {
    let rig = Rig::new().await;
    let (address, connections) =
        counting_proxy(*rig.crm.url().socket_addrs(|| None).unwrap().first().unwrap()).await;
    let text = unwatched(&rig.config_text().replace(rig.crm.url().as_str(), &format!("http://{address}/")));
    let process = Process::start(&rig, &text).await;
    process.says(" baselined, ").await;
    rig.callem.add(record("a", "completed"));
    arrived(&rig, 1).await;

    process.edit(&text.replace(r#"on = ["ended", "analyzed"]"#, r#"on = ["started", "ended"]"#));
    process.signal("-HUP").await;
    process.says_times(AT_WORK, 2).await;
    rig.callem.add(record("b", "live"));
    arrived(&rig, 2).await;
    // A mistake leaves the rules as they are.
    process.edit(
        &text.replace("[\"ended\", \"analyzed\"]", "[\"analyzed\"]").replace("interval =", "intervall ="),
    );
    process.signal("-HUP").await;
    process.says(REFUSED).await;
    rig.callem.add(record("c", "completed"));
    arrived(&rig, 3).await;
    // The file is gone for a moment.
    std::fs::remove_file(&process.config).unwrap();
    process.signal("-HUP").await;
    process.says_times(REFUSED, 2).await;
    process.edit(&text);
    process.signal("-HUP").await;
    process.says_times(AT_WORK, 3).await;

    let log = process.stop().await;
    assert_eq!(
        told(&rig),
        [("a", "ended"), ("b", "started"), ("c", "ended")].map(|(a, b)| (a.into(), b.into()))
    );
    assert_eq!(connections.load(Ordering::SeqCst), 1, "{log}");
    assert_eq!(log.matches("unknown key `intervall`").count(), 1, "one line for each mistake: {log}");
    assert!(log.contains("config.toml:") && log.contains("did you mean `interval`"), "{log}");
    assert!(log.contains("the config file does not exist"), "{log}");
    assert!(!log.contains("ck_live") && !log.contains(DEMO_SECRET), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_file_goes_to_work_by_itself_and_a_bad_one_is_told_once() {
    let rig = Rig::new().await;
    let text = rig.config_text();
    let process = Process::start(&rig, &text).await;
    process.says(" baselined, ").await;
    process.edit(&text.replace("[\"ended\", \"analyzed\"]", "[\"started\"]"));
    process.says_times(AT_WORK, 2).await;
    rig.callem.add(record("a", "live"));
    arrived(&rig, 1).await;
    // Half of it, as a disk that was full leaves it.
    process.edit(&text[..text.len() / 2]);
    process.says(REFUSED).await;
    // Nobody is told again as long as it is the same.
    let so_far = rig.callem.request_counts().total();
    timeout(PATIENCE, rig.callem.wait_for_requests(|counts| counts.total() > so_far + 60)).await.unwrap();
    assert_eq!(process.count(REFUSED), 1);
    // The file says again what is at work: nothing needs to be done.
    process.edit(&text.replace("[\"ended\", \"analyzed\"]", "[\"started\"]"));
    process.says("the config file is the same again as the config at work").await;
    process.edit(&unwatched(&text));
    process.says_times(AT_WORK, 3).await;
    // From here on it is only told that there is another one.
    process.edit(&unwatched(&text.replace("[\"ended\", \"analyzed\"]", "[\"deleted\"]")));
    process.says("the config file differs from the config at work").await;
    rig.callem.add(record("b", "completed"));
    arrived(&rig, 2).await;
    let log = process.stop().await;
    assert_eq!(log.matches(AT_WORK).count(), 3, "{log}");
    assert_eq!(told(&rig), [("a", "started"), ("b", "ended")].map(|(a, b)| (a.into(), b.into())));
}

#[tokio::test(flavor = "multi_thread")]
async fn other_signals_do_nothing_surprising() {
    let rig = Rig::new().await;
    let process = Process::start(&rig, &rig.config_text()).await;
    process.says(" baselined, ").await;
    for signal in ["-USR1", "-USR2", "-USR1"] {
        process.signal(signal).await;
    }
    rig.callem.add(record("a", "completed"));
    arrived(&rig, 1).await;
    let log = process.stop_by("-QUIT").await;
    assert!(log.contains("SIGQUIT: stopping") && log.contains("stopped in good order"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_in_files_are_read_again() {
    let rig = Rig::new().await;
    let path = |name: &str| rig.dir.path().join(name);
    std::fs::write(path("key"), format!("ck_live_{}", "0".repeat(60))).unwrap();
    // Nothing listens there.
    std::fs::write(path("proxy"), "http://127.0.0.1:9").unwrap();
    let text = rig
        .config_text()
        .replace(&format!("\"ck_live_{}\"", "0".repeat(60)), "{ file = \"key\" }")
        .replace("[destinations.frontdesk]", "proxy = { file = \"proxy\" }\n\n[destinations.frontdesk]");
    let process = Process::start(&rig, &unwatched(&text)).await;
    process.says(" baselined, ").await;
    rig.callem.add(record("a", "completed"));
    process.says("not delivered").await;
    // The proxy is a part of the connections, which are made when a task starts.
    let (proxy, connections) =
        counting_proxy(*rig.crm.url().socket_addrs(|| None).unwrap().first().unwrap()).await;
    std::fs::write(path("proxy"), format!("http://{proxy}")).unwrap();
    let rotated = format!("ck_live_{}", "1".repeat(60));
    std::fs::write(path("key"), &rotated).unwrap();
    rig.callem.set_key(&rotated);
    process.signal("-HUP").await;
    process.says_times(AT_WORK, 2).await;
    arrived(&rig, 1).await;
    rig.callem.add(record("b", "completed"));
    arrived(&rig, 2).await;
    assert!(connections.load(Ordering::SeqCst) > 0);
    let log = process.stop().await;
    let restarted = log.lines().filter(|line| line.contains(AT_WORK)).nth(1).unwrap();
    assert!(restarted.contains("\"started\":\"clinic, crm\""), "{restarted}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_manager_is_told() {
    let rig = Rig::new().await;
    let socket = UnixDatagram::bind(rig.dir.path().join("notify")).unwrap();
    let config = rig.write_config(&unwatched(&rig.config_text()));
    let mut run = crate::process::command(&config, &["run"]);
    run.env("NOTIFY_SOCKET", rig.dir.path().join("notify")).stderr(std::process::Stdio::null());
    run.env("WATCHDOG_USEC", "300000");
    rig.callem.fail_next(1, Failure::Slow(Duration::from_millis(500)));
    let child = run.spawn().unwrap();
    let hear = async || {
        let mut buffer = [0; 1024];
        let length = timeout(PATIENCE, socket.recv(&mut buffer)).await.expect("it tells").unwrap();
        String::from_utf8_lossy(&buffer[..length]).trim().to_owned()
    };
    assert_eq!(hear().await, "READY=1");
    assert!(rig.callem.request_counts().total() >= 1, "it is not ready before the first poll");
    let until = async |is_meant: &dyn Fn(&str) -> bool| {
        let hearing = async {
            loop {
                let said = hear().await;
                if is_meant(&said) {
                    return said;
                }
            }
        };
        timeout(PATIENCE, hearing).await.expect("it says so")
    };
    until(&|said| said == "STATUS=all is well: 0 calls known, 0 live; 0 deliveries wait").await;
    until(&|said| said == "WATCHDOG=1").await;
    let next = async || until(&|said| !said.starts_with("STATUS=") && said != "WATCHDOG=1").await;
    let pid = child.id().unwrap().to_string();
    let kill = async |signal: &str| {
        let kill = tokio::process::Command::new("kill").args([signal, &pid]).status();
        assert!(kill.await.unwrap().success());
    };
    kill("-HUP").await;
    let reloading = next().await;
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(next().await.trim(), "READY=1");
    kill("-TERM").await;
    assert_eq!(next().await.trim(), "STOPPING=1");
    let ended = timeout(Duration::from_secs(30), child.wait_with_output()).await.unwrap().unwrap();
    assert_eq!(ended.status.code(), Some(0));
}
