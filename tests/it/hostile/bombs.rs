//! Small answers that become large: compressed, and full of what takes more memory than its text.

use std::sync::Mutex;

use callwatch::{callem::Client, http};
use tokio::sync::Notify;

use super::*;

/// How large each answer is after decompression, in MB, unless `CALLWATCH_BOMB_MB` says otherwise. The largest that is read has 128.
const SIZE: usize = 20;

fn page_of(record: &str) -> String {
    format!(r#"{{"data":[{{"id":"a","status":"live",{record}}}]}}"#)
}

fn bombs(size: usize) -> Vec<(&'static str, Vec<u8>)> {
    let many = |part: &str| part.repeat(size / part.len());
    let record = size.min(4 << 20) - 200;
    let of_record = |part: &str| part.repeat(record / part.len());
    let records = |part: &str| {
        let all = (0..size / record).map(|n| {
            format!(r#"{{"id":"r{n}","status":"live",{}}}"#, of_record(part).replace('#', &n.to_string()))
        });
        format!(r#"{{"data":[{}]}}"#, all.collect::<Vec<_>>().join(","))
    };
    let mut bad = many("\u{7f}").into_bytes();
    bad.fill(0xff);
    bad[..9].copy_from_slice(br#"{"data":["#);
    let text = |name, text: String| (name, text.into_bytes());
    vec![
        text("numbers as pagination", format!(r#"{{"data":[],"pagination":[1{}]}}"#, many(",1"))),
        text("lists in one record", page_of(&format!(r#""x":[[]{}]"#, of_record(",[]")))),
        text("lists in every record", records(r#""x":[[],[]],"#).replace(",}", r#","y":1}"#)),
        ("bytes that are no text", bad),
        text("what is no record", format!(r#"{{"data":[1{}]}}"#, many(",1"))),
        text(
            "brackets",
            format!(
                r#"{{"data":[{}{}]}}"#,
                many("[[")[..size / 2].to_owned(),
                many("]]")[..size / 2].to_owned()
            ),
        ),
        text(
            "nested in one record",
            page_of(&format!(r#""x":{}1{}"#, "[".repeat(record / 2), "]".repeat(record / 2))),
        ),
        text("long ids", {
            let id = |n: usize| format!(r#"{{"id":"{n:010000}","status":"live"}}"#);
            format!(r#"{{"data":[{}]}}"#, (0..size / 10_030).map(id).collect::<Vec<_>>().join(","))
        }),
        text("spaces", many(" ")),
        text("beginnings of records", format!(r#"{{"data":[{}{}"#, r#"{"id":1,"a,"#.repeat(5001), many("x"))),
        text("beginnings without an end", format!(r#"{{"data":[{}"#, many(r#"{"id":"#))),
        text("one key again and again", page_of(&format!(r#"{}"x":1"#, of_record(r#""x":0,"#)))),
        text("a long key", page_of(&format!(r#""{}":1"#, "k".repeat(record)))),
        text(
            "other keys",
            page_of(&(0..record / 20).map(|n| format!(r#""k{n:010}":[]"#)).collect::<Vec<_>>().join(",")),
        ),
        text("huge numbers", page_of(&format!(r#""x":[1e999999{}]"#, of_record(",1e999999")))),
        text("a number without an end", page_of(&format!(r#""x":1{}"#, "0".repeat(record)))),
        text("halves of pairs", page_of(&format!(r#""x":"{}""#, of_record(r"\ud83d")))),
        text(
            "texts in every record",
            records(r#""t":"#)
                .replace(r#""t":"#, "")
                .replace("live\",}", &format!("live\",\"x\":\"{}\"}}", "x".repeat(record))),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_of_an_api_takes_more_memory_than_it_may() {
    let size = std::env::var("CALLWATCH_BOMB_MB").map_or(SIZE, |text| text.parse().unwrap());
    let rig = Rig::new().await;
    let healthy = || {
        let page = format!(r#"{{"data":[{}],"pagination":{{"total":1}}}}"#, record("old", "live"));
        Arc::new(zipped(gzip(page.as_bytes())))
    };
    let current = Arc::new(Mutex::new(healthy()));
    let served = Arc::new(AtomicUsize::new(0));
    let (body, count) = (Arc::clone(&current), Arc::clone(&served));
    let api = listen(move |mut stream| {
        let (body, count) = (Arc::clone(&body), Arc::clone(&count));
        async move {
            let mut request = vec![0; 64 << 10];
            while stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                let body = body.lock().unwrap().clone();
                count.fetch_add(1, Ordering::SeqCst);
                if stream.write_all(&body).await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    // Two sources at a time, and a destination that looks into what it is told.
    let source = |name: &str| {
        format!(
            "[sources.{name}]\napi_key = \"k\"\nbase_url = \"http://{api}\"\ninterval = \"100ms\"\nsweep = \"2s\"\ntimeout = \"1m\"\nrequests_per_minute = 6000\n\n"
        )
    };
    let text = rig.config_text().replace(
        "[destinations.crm]",
        &format!("{}{}[destinations.crm]\nexclude = [\"x.y\"]", source("one"), source("two")),
    ) + "\n[rules.all]\non = [\"started\", \"updated\"]\nto = [\"crm\", \"frontdesk\", \"manager\"]\n";
    let process = Process::start(&rig, &text).await;
    process.says_times(" baselined, ", 3).await;
    for (name, bomb) in bombs(size << 20) {
        let length = bomb.len() >> 20;
        *current.lock().unwrap() = Arc::new(zipped(gzip(&bomb)));
        drop(bomb);
        let (before, begun) = (served.load(Ordering::SeqCst), tokio::time::Instant::now());
        let asked_again = async {
            // Both have read it once at least.
            while served.load(Ordering::SeqCst) < before + 4 {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(10 * PATIENCE, asked_again)
            .await
            .unwrap_or_else(|_| panic!("it stands still after: {name}\n{}", process.log()));
        let most = memory(process.id(), "VmHWM:");
        println!("{name}: {length} MB in {:.1?}, at most {most} MB so far", begun.elapsed());
        // The systemd unit gives the process 1 GiB.
        assert!(most < 900, "{most} MB after: {name}");
    }
    *current.lock().unwrap() = healthy();
    let before = served.load(Ordering::SeqCst);
    let goes_on = async {
        while served.load(Ordering::SeqCst) < before + 6 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(10 * PATIENCE, goes_on).await.expect("it goes on");
    let log = process.stop().await;
    assert!(!log.contains("panicked"), "{}", &log[..log.len().min(4000)]);
}

/// Two answers of 40 MB could otherwise be in memory at a time, and with more sources more.
#[tokio::test(flavor = "multi_thread")]
async fn of_all_sources_one_answer_at_a_time_is_longer_than_16_mib() {
    const LENGTH: usize = 40 << 20;
    let body = |name: &str| format!(r#"{{"data":[],"{name}":"{}"}}"#, "x".repeat(LENGTH)).into_bytes();
    // The first one stops when it is longer than 16 MiB, until it may go on.
    let (is_large, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, wait, first) = (Arc::clone(&is_large), Arc::clone(&go_on), body("a"));
    let slow = listen(move |mut stream| {
        let (tell, wait, body) = (Arc::clone(&tell), Arc::clone(&wait), first.clone());
        async move {
            let _ = stream.read(&mut vec![0; 64 << 10]).await;
            let (begin, rest) = body.split_at(30 << 20);
            stream.write_all(&answer(&format!("content-length: {}\r\n", body.len()), vec![])).await.unwrap();
            stream.write_all(begin).await.unwrap();
            tell.notify_one();
            wait.notified().await;
            let _ = stream.write_all(rest).await;
        }
    });
    let second = body("b");
    let quick = listen(move |mut stream| {
        let body = second.clone();
        async move {
            let _ = stream.read(&mut vec![0; 64 << 10]).await;
            let _ = stream.write_all(&answer(&format!("content-length: {}\r\n", body.len()), body)).await;
        }
    });
    let (slow, quick) = (slow.await, quick.await);
    let rig = Rig::new().await;
    let client = |address: SocketAddr| {
        let text = rig.config_text().replace(rig.callem.base_url().as_str(), &format!("http://{address}"));
        let text = text.replace("[destinations.crm]", "timeout = \"1m\"\n[destinations.crm]");
        let source = rig.parse(&text).sources.remove(0);
        Client::new(&source, &http::client().unwrap()).unwrap()
    };
    let (slow, quick) = (client(slow), client(quick));
    let first = tokio::spawn(async move { slow.page(0, 100).await });
    timeout(PATIENCE, is_large.notified()).await.unwrap();
    let mut second = tokio::spawn(async move { quick.page(0, 100).await });
    assert!(timeout(Duration::from_secs(2), &mut second).await.is_err(), "it waits for the first");
    go_on.notify_one();
    let page = timeout(PATIENCE, first).await.unwrap().unwrap().unwrap();
    assert!(timeout(Duration::from_secs(1), &mut second).await.is_err(), "the first one is still in memory");
    drop(page);
    assert!(timeout(PATIENCE, second).await.unwrap().unwrap().is_ok());
}
