//! A receiver of webhooks in a process of its own. It is as cheap as possible: one thread reads requests and answers
//! them, and another answers questions on standard input.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// The argument that makes this program the receiver.
pub const ROLE: &str = "--receiver";

/// How long a request to `/slow` waits for its answer.
pub const SLOW: Duration = Duration::from_millis(300);

/// The receiver's process. It is killed when this is dropped.
pub struct ReceiverProcess {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    port: u16,
}

/// The `webhook-id` of an arrival, and when it arrived.
pub type Arrival = (String, SystemTime);

impl ReceiverProcess {
    pub fn start() -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg(ROLE)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut port = String::new();
        stdout.read_line(&mut port).unwrap();
        Self { child, stdin, stdout, port: port.trim().parse().unwrap() }
    }

    /// The URL of a path: `/fast` answers at once, `/noted` also notes the arrival, `/slow` notes it and answers after
    /// [`SLOW`].
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How many requests have arrived so far.
    pub fn count(&mut self) -> usize {
        writeln!(self.stdin, "count").unwrap();
        self.line().parse().unwrap()
    }

    /// The arrivals noted since the last question, in order.
    pub fn arrivals(&mut self) -> Vec<Arrival> {
        writeln!(self.stdin, "arrivals").unwrap();
        let lines: usize = self.line().parse().unwrap();
        let mut arrival = || {
            let line = self.line();
            let (id, nanos) = line.split_once(' ').unwrap();
            (id.to_owned(), SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos.parse().unwrap()))
        };
        (0..lines).map(|_| arrival()).collect()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

impl Drop for ReceiverProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Default)]
struct Book {
    count: AtomicUsize,
    arrivals: Mutex<Vec<(String, u128)>>,
}

/// Runs the receiver, until its standard input is closed.
pub fn receive() {
    let book = Arc::new(Book::default());
    let listening = Arc::clone(&book);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
            println!("{}", listener.local_addr().unwrap().port());
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                tokio::spawn(serve(stream, Arc::clone(&listening)));
            }
        });
    });
    for line in std::io::stdin().lines() {
        if line.unwrap() == "count" {
            println!("{}", book.count.load(Ordering::Relaxed));
        } else {
            let arrivals = std::mem::take(&mut *book.arrivals.lock().unwrap());
            let mut out = format!("{}\n", arrivals.len());
            arrivals.iter().for_each(|(id, nanos)| out.push_str(&format!("{id} {nanos}\n")));
            print!("{out}");
            std::io::stdout().flush().unwrap();
        }
    }
}

async fn serve(mut stream: TcpStream, book: Arc<Book>) {
    let mut buffer = Vec::with_capacity(64 << 10);
    loop {
        let head = loop {
            if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if !matches!(stream.read_buf(&mut buffer).await, Ok(1..)) {
                return;
            }
        };
        let text = std::str::from_utf8(&buffer[..head]).expect("a head is ASCII");
        let header = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once(": "));
            lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
        };
        let length: usize = header("content-length").map_or(0, |length| length.parse().unwrap());
        let fast = text.starts_with("POST /fast ");
        let slow = text.starts_with("POST /slow ");
        let id = if fast { None } else { header("webhook-id").map(str::to_owned) };
        while buffer.len() < head + length {
            if !matches!(stream.read_buf(&mut buffer).await, Ok(1..)) {
                return;
            }
        }
        buffer.drain(..head + length);
        book.count.fetch_add(1, Ordering::Relaxed);
        if let Some(id) = id {
            let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
            book.arrivals.lock().unwrap().push((id, nanos));
        }
        if slow {
            tokio::time::sleep(SLOW).await;
        }
        if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.is_err() {
            return;
        }
    }
}
