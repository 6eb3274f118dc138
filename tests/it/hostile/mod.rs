//! Strangers at the ends: an API that answers as no server should, answers that become large, words that command terminals. The
//! real binary neither ends nor stands still, takes little memory, and works on when the answers are right again.

mod bombs;
mod shutdown;
mod words;

use std::{
    io::Write as _,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use flate2::{Compression, GzBuilder, write::GzEncoder};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

use crate::{
    process::{Process, memory},
    rig::{PATIENCE, Rig, record},
};

/// What an HTTP server does with a connection on which something was asked.
pub type Serve = fn(Vec<u8>) -> (Vec<u8>, Ending);

/// How an answer goes on.
#[derive(Clone, Copy)]
pub enum Ending {
    Close,
    /// The last bytes again and again, until nobody takes them.
    Repeat(&'static [u8]),
    /// The same, but slowly.
    Drip(&'static [u8]),
    /// Nothing, without an end.
    Hang,
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(vec![], Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn answer(head: &str, body: Vec<u8>) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{head}\r\n");
    [head.into_bytes(), body].concat()
}

fn zipped(body: Vec<u8>) -> Vec<u8> {
    answer(&format!("content-encoding: gzip\r\ncontent-length: {}\r\n", body.len()), body)
}

/// Answers that no HTTP server should give. `page` is a right one.
pub const HTTP: &[(&str, Serve)] = &[
    ("two members", |page| (zipped([gzip(&page[..1]), gzip(&page[1..])].concat()), Ending::Close)),
    ("an empty member again and again", |page| {
        let empty = gzip(b"");
        (zipped([empty.repeat(200_000), gzip(&page)].concat()), Ending::Close)
    }),
    ("a member that is cut off", |page| {
        let mut cut = gzip(&page);
        cut.truncate(cut.len() / 2);
        (zipped(cut), Ending::Close)
    }),
    ("junk behind the member", |page| (zipped([gzip(&page), vec![b'x'; 1 << 20]].concat()), Ending::Close)),
    ("a wrong checksum", |page| {
        let mut wrong = gzip(&page);
        let end = wrong.len() - 5;
        wrong[end] ^= 1;
        (zipped(wrong), Ending::Close)
    }),
    ("a long header of the member", |page| {
        let builder = GzBuilder::new().extra(vec![b'x'; 65_000]).comment(vec![b'c'; 4 << 20]);
        let mut encoder = builder.write(vec![], Compression::best());
        encoder.write_all(&page).unwrap();
        (zipped(encoder.finish().unwrap()), Ending::Close)
    }),
    ("a header of a member without an end", |_| {
        let begin = vec![0x1f, 0x8b, 8, 0x10, 0, 0, 0, 0, 0, 3];
        (answer("content-encoding: gzip\r\n", begin), Ending::Repeat(&[b'c'; 1 << 16]))
    }),
    ("zipped twice", |page| (zipped(gzip(&gzip(&page))), Ending::Close)),
    ("not zipped at all", |page| (zipped(page), Ending::Close)),
    ("lines of a head without an end", |_| (b"HTTP/1.1 200 OK\r\n".to_vec(), Ending::Repeat(b"x-a: b\r\n"))),
    ("a line of a head without an end", |_| {
        (b"HTTP/1.1 200 OK\r\nx-a: ".to_vec(), Ending::Repeat(&[b'a'; 1 << 16]))
    }),
    ("informational answers without an end", |_| {
        (vec![], Ending::Repeat(b"HTTP/1.1 103 Early Hints\r\nlink: <a>\r\n\r\n"))
    }),
    ("continue without an end", |_| (vec![], Ending::Repeat(b"HTTP/1.1 100 Continue\r\n\r\n"))),
    ("trailers without an end", |page| {
        let body = [format!("{:x}\r\n", page.len()).into_bytes(), page, b"\r\n0\r\n".to_vec()].concat();
        (answer("transfer-encoding: chunked\r\n", body), Ending::Repeat(b"x-t: b\r\n"))
    }),
    ("a chunk's extension without an end", |_| {
        (answer("transfer-encoding: chunked\r\n", b"5;".to_vec()), Ending::Repeat(&[b'e'; 1 << 16]))
    }),
    ("a chunk of 16 EB", |page| {
        let body = [b"ffffffffffffffff\r\n".to_vec(), page].concat();
        (answer("transfer-encoding: chunked\r\n", body), Ending::Repeat(&[b' '; 1 << 16]))
    }),
    ("chunks of one byte without an end", |_| {
        (
            answer("transfer-encoding: chunked\r\n", vec![]),
            Ending::Repeat(b"1\r\n \r\n1\r\n \r\n1\r\n \r\n1\r\n \r\n"),
        )
    }),
    ("a body without an end", |_| (answer("", b"{\"data\":[".to_vec()), Ending::Repeat(&[b' '; 1 << 16]))),
    ("a body that comes slowly", |_| (answer("content-length: 999999\r\n", vec![]), Ending::Drip(b" "))),
    ("a head that comes slowly", |_| (b"HTTP/1.1 200 OK\r\n".to_vec(), Ending::Drip(b"a"))),
    ("a length that is too large", |page| (answer("content-length: 99999999999\r\n", page), Ending::Close)),
    ("a length that is no number", |page| (answer("content-length: -1\r\n", page), Ending::Close)),
    ("two lengths", |page| (answer("content-length: 5\r\ncontent-length: 6\r\n", page), Ending::Close)),
    ("a length and chunks", |page| {
        (answer("content-length: 5\r\ntransfer-encoding: chunked\r\n", page), Ending::Hang)
    }),
    ("nothing", |_| (vec![], Ending::Close)),
    ("silence", |_| (vec![], Ending::Hang)),
    ("zeros", |_| (vec![0; 1 << 20], Ending::Repeat(&[0; 1 << 16]))),
    ("HTTP/2 out of nowhere", |_| (b"\0\0\x12\x04\0\0\0\0\0".repeat(100), Ending::Hang)),
    ("another protocol", |_| {
        (
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n".to_vec(),
            Ending::Repeat(&[b'x'; 1 << 16]),
        )
    }),
    ("a status of four digits", |_| (b"HTTP/1.1 2000 OK\r\n\r\n".to_vec(), Ending::Close)),
    ("no content, and one", |page| {
        ([b"HTTP/1.1 204 No Content\r\ncontent-length: 9\r\n\r\n".to_vec(), page].concat(), Ending::Close)
    }),
    ("a redirect to itself", |_| {
        (b"HTTP/1.1 307 No\r\nlocation: /\r\ncontent-length: 0\r\n\r\n".to_vec(), Ending::Close)
    }),
    ("a pause of a million years", |_| {
        (
            b"HTTP/1.1 400 No\r\nretry-after: 99999999999999999999\r\ncontent-length: 0\r\n\r\n".to_vec(),
            Ending::Close,
        )
    }),
    ("single digits in the words of a refusal", |_| {
        let words = "1-".repeat(30_000);
        let body = format!(r#"{{"message":"{words}"}}"#);
        (
            format!("HTTP/1.1 400 No\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes(),
            Ending::Close,
        )
    }),
];

/// Serves each connection with the answer at `current`; those beyond the last are right.
pub async fn serve_http(
    stream: TcpStream,
    current: Arc<AtomicUsize>,
    served: Arc<AtomicUsize>,
    page: Vec<u8>,
) {
    let mut stream = stream;
    let mut request = vec![0; 64 << 10];
    loop {
        let mut read = 0;
        while !request[..read].windows(4).any(|part| part == b"\r\n\r\n") {
            match stream.read(&mut request[read..]).await {
                Ok(more) if more > 0 => read += more,
                _ => return,
            }
        }
        let right = || {
            (
                answer(&format!("content-length: {}\r\nconnection: close\r\n", page.len()), page.clone()),
                Ending::Close,
            )
        };
        let (bytes, ending) =
            HTTP.get(current.load(Ordering::SeqCst)).map_or_else(right, |(_, serve)| serve(page.clone()));
        served.fetch_add(1, Ordering::SeqCst);
        if stream.write_all(&bytes).await.is_err() {
            return;
        }
        match ending {
            Ending::Close => return,
            Ending::Repeat(bytes) => while stream.write_all(bytes).await.is_ok() {},
            Ending::Drip(bytes) => {
                while stream.write_all(bytes).await.is_ok() {
                    sleep(Duration::from_millis(50)).await;
                }
            }
            Ending::Hang => while stream.read(&mut request).await.is_ok_and(|read| read > 0) {},
        }
    }
}

/// Serves every connection.
pub async fn listen<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_answers_of_an_api_cost_neither_memory_nor_time_nor_news() {
    let rig = Rig::new().await;
    let page = format!(r#"{{"data":[{}],"pagination":{{"total":1}}}}"#, record("old", "live")).into_bytes();
    let (current, served) = (Arc::new(AtomicUsize::new(HTTP.len())), Arc::new(AtomicUsize::new(0)));
    let for_api = (Arc::clone(&current), Arc::clone(&served), page);
    let api = listen(move |stream| {
        let (current, served, page) = for_api.clone();
        serve_http(stream, current, served, page)
    });
    let more = format!(
        "[sources.hostile]\napi_key = \"ck_live_{}\"\nbase_url = \"http://{}\"\ninterval = \"100ms\"\nsweep = \"1h\"\n\
         timeout = \"1s\"\nrequests_per_minute = 6000\n\n[destinations.crm]",
        "1".repeat(60),
        api.await
    );
    let process = Process::start(&rig, &rig.config_text().replace("[destinations.crm]", &more)).await;
    process.says_times(" baselined, ", 2).await;
    let asked = async |more: usize, what: &str| {
        let before = served.load(Ordering::SeqCst);
        let asked = async {
            while served.load(Ordering::SeqCst) < before + more {
                sleep(Duration::from_millis(10)).await;
            }
        };
        let asked = timeout(4 * PATIENCE, asked).await;
        asked.unwrap_or_else(|_| panic!("it stands still at: {what}\n{}", process.log()));
    };
    for (number, (name, _)) in HTTP.iter().enumerate() {
        current.store(number, Ordering::SeqCst);
        asked(2, name).await;
        rig.callem.add(record(&format!("call{number}"), "completed"));
        let told = timeout(4 * PATIENCE, rig.crm.inbox().wait_for(number as u64 + 1)).await;
        told.unwrap_or_else(|_| panic!("the other source stands still at: {name}\n{}", process.log()));
        let most = memory(process.id(), "VmHWM:");
        // The longest body is 128 MiB, and may take three times its size, beside what the process needs anyway.
        assert!(most < 600, "{most} MB after: {name}");
        // In between it answers well, so that it is not asked less and less often.
        current.store(HTTP.len(), Ordering::SeqCst);
        asked(2, "a right answer").await;
    }
    println!("at most {} MB", memory(process.id(), "VmHWM:"));
    let log = process.stop().await;
    for secret in ["ck_live_0", "ck_live_1", "panicked", "+33612345678"] {
        assert!(!log.contains(secret), "{secret} in the log");
    }
    assert_eq!(rig.webhooks().len(), HTTP.len(), "each call is told once");
}
