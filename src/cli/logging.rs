//! Sets up logging to standard error. A log that nobody reads never stops the work: lines wait in a bounded queue that
//! a thread of its own writes out, and lines beyond it are dropped and counted.

use std::{
    fmt,
    io::{self, Write},
    sync::{Arc, Mutex, OnceLock, PoisonError, mpsc},
    thread,
    time::Duration,
};

use chrono::Local;
use clap::{Args, ValueEnum};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{
    EnvFilter,
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

use crate::{
    privacy::escaped_json,
    style::{Colour, Style, wrap},
    template::truncate,
};

/// How many lines may wait for whoever reads the log.
const QUEUE: usize = 4096;

/// How long the last lines are waited for at the end of the process.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The widest line for people, in columns.
const COLUMNS: usize = 120;

/// The fields of a line that people are not shown, because its message says them in words.
const FOR_PROGRAMS: [&str; 2] = ["attempt", "took_ms"];

/// The writer of the log, until [`finish`] takes it.
static LOG: Mutex<Option<WorkerGuard>> = Mutex::new(None);

/// Form and filter of the log.
#[derive(Debug, Args)]
pub struct LoggingArgs {
    /// Form of the log lines: for people, or an object a line
    #[arg(long, global = true, value_enum, default_value_t = Format::Human, env = "CALLWATCH_LOG_FORMAT")]
    log_format: Format,
    /// What to log: error, warn, info, debug, trace, or a filter like `callwatch=debug,hyper=warn`
    #[arg(long, global = true, value_name = "FILTER", env = "CALLWATCH_LOG")]
    log: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    // No docs: clap would print them below every command, and every option on lines of its own.
    Human,
    Json,
}

/// The filter when neither `--log` nor `CALLWATCH_LOG` is given.
#[derive(Clone, Copy, Debug)]
pub enum Default {
    /// Nothing.
    Off,
    /// Info and above.
    Info,
}

impl LoggingArgs {
    /// Starts logging. Call it once, and [`finish`] before the process ends.
    pub fn start(&self, default: Default) {
        let default = match default {
            Default::Off => "off",
            Default::Info => "info",
        };
        let filter = self.log.as_deref().unwrap_or(default);
        let filter = EnvFilter::try_new(filter).unwrap_or_else(|error| {
            super::complain(&format!("callwatch: --log {filter}: {error}; logging at info"));
            EnvFilter::new("info")
        });
        let dropped = Arc::new(OnceLock::new());
        let sink = Sink { out: io::stderr(), dropped: Arc::clone(&dropped), told: 0, tell_dropped };
        let queue = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(QUEUE).thread_name("log");
        let (writer, guard) = queue.finish(sink);
        // It fails only when it was set before.
        let _ = dropped.set(writer.error_counter());
        *LOG.lock().unwrap_or_else(PoisonError::into_inner) = Some(guard);
        // Without `log_internal_errors(false)`, a line that cannot be written would be a panic.
        let lines =
            tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).log_internal_errors(false);
        // It fails only when logging was started before.
        let _ = match self.log_format {
            Format::Human => {
                let style = Style::of(&io::stderr());
                lines.with_ansi(style.is_coloured()).event_format(ForPeople(style)).try_init()
            }
            Format::Json => lines.json().flatten_event(true).with_target(false).try_init(),
        };
    }
}

/// Writes the lines that still wait, for as long as [`LAST_LINES`] and no longer.
pub fn finish() {
    let Some(guard) = LOG.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
    let (written, wait) = mpsc::channel();
    // On a thread of its own, because the guard complains on standard error, which may be what is held up.
    let ending = thread::Builder::new().spawn(move || {
        drop(guard);
        let _ = written.send(());
    });
    if ending.is_ok() {
        // The receiver hears of the end, or of a thread that died, or waits no longer.
        let _ = wait.recv_timeout(LAST_LINES);
    }
}

/// Standard error as the thread of the log writes to it.
struct Sink<W, T> {
    out: W,
    /// How many lines found no room in the queue.
    dropped: Arc<OnceLock<ErrorCounter>>,
    /// How many of them the log has told about.
    told: usize,
    /// Tells that so many lines were dropped.
    tell_dropped: T,
}

fn tell_dropped(lines: usize) {
    tracing::warn!("{lines} log lines were dropped, because nobody read them in time");
}

impl<W: Write, T: Fn(usize)> Write for Sink<W, T> {
    /// Writes a line. A line that cannot be written is lost: there is nobody to tell.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let _ = self.out.write_all(escaped_json(&String::from_utf8_lossy(line)).as_bytes());
        Ok(line.len())
    }

    /// Called when the queue is empty, so there is room to say how many lines were dropped.
    fn flush(&mut self) -> io::Result<()> {
        let dropped = self.dropped.get().map_or(0, ErrorCounter::dropped_lines);
        if dropped > self.told {
            let lines = dropped - self.told;
            self.told = dropped;
            (self.tell_dropped)(lines);
        }
        let _ = self.out.flush();
        Ok(())
    }
}

/// Lines for people: local time to the second, the level, what happened, and the ids last. At `info` a line is cut to
/// [`COLUMNS`], ids first. A warning or an error says what to do, and may say it nowhere else, so it continues in indented
/// lines of that width, where only a word longer than a line is cut. Lines for debugging are never cut.
struct ForPeople(Style);

impl<S, N> FormatEvent<S, N> for ForPeople
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut said = Said::default();
        event.record(&mut said);
        let now = Local::now().format("%Y-%m-%d %H:%M:%S").to_string();
        writeln!(writer, "{}", line(self.0, &now, *event.metadata().level(), said))
    }
}

fn line(style: Style, time: &str, level: Level, said: Said) -> String {
    let colour = match level {
        Level::ERROR => Colour::Red,
        Level::WARN => Colour::Yellow,
        Level::INFO => Colour::Green,
        _ => Colour::Cyan,
    };
    let word = format!("{:>5}", level.as_str());
    let before = time.chars().count() + word.len() + 2;
    if matches!(level, Level::WARN | Level::ERROR) {
        let text = whole(COLUMNS.saturating_sub(before), said).replace('\n', &format!("\n{:before$}", ""));
        return format!("{} {} {text}", style.paint(Colour::Dim, time), style.paint(colour, &word));
    }
    let room = if level == Level::INFO { COLUMNS.saturating_sub(before) } else { usize::MAX };
    let message = truncate(&said.message, room);
    let mut left = room - message.chars().count();
    let mut shown = String::new();
    for id in said.ids() {
        let id = format!("  {id}");
        let Some(rest) = left.checked_sub(id.chars().count()) else { break };
        left = rest;
        shown.push_str(&id);
    }
    let ids = if shown.is_empty() { shown } else { style.paint(Colour::Dim, &shown) };
    format!("{} {} {message}{ids}", style.paint(Colour::Dim, time), style.paint(colour, &word))
}

/// The message and all its ids, in lines of `room` columns.
fn whole(room: usize, said: Said) -> String {
    let words = said.message.split(' ').map(|word| truncate(word, room)).collect::<Vec<_>>().join(" ");
    let mut text = wrap(&words, room);
    let mut column = text.lines().last().map_or(0, |line| line.chars().count());
    for id in said.ids() {
        let id = truncate(&id, room);
        let length = id.chars().count();
        if column + 2 + length > room {
            text.push('\n');
            column = length;
        } else {
            text.push_str("  ");
            column += 2 + length;
        }
        text.push_str(&id);
    }
    text
}

/// The parts of a log event, with controls escaped.
#[derive(Default)]
struct Said {
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl Said {
    /// `name=value` of the fields for people that the message does not say already.
    fn ids(&self) -> impl Iterator<Item = String> {
        let ids = self.fields.iter().filter(|(name, value)| {
            !FOR_PROGRAMS.contains(name) && !value.is_empty() && !self.message.contains(value.as_str())
        });
        ids.map(|(name, value)| format!("{name}={value}"))
    }

    fn note(&mut self, field: &Field, value: &str) {
        let value: String = value.chars().flat_map(escape_control).collect();
        match field.name() {
            "message" => self.message = value,
            name => self.fields.push((name, value)),
        }
    }
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.note(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.note(field, value);
    }
}

fn escape_control(c: char) -> impl Iterator<Item = char> {
    let escaped = c.is_control().then(|| c.escape_default());
    let plain = escaped.is_none().then_some(c);
    escaped.into_iter().flatten().chain(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(message: &str, fields: &[(&'static str, &str)]) -> Said {
        let fields = fields.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Said { message: message.to_owned(), fields }
    }

    fn shown(level: Level, said: Said) -> String {
        line(Style::PLAIN, "2026-11-26 21:00:00", level, said)
    }

    #[test]
    fn what_happened_comes_first_and_ids_last() {
        let message = "delivered: Unhappy caller +3361•••5678 → frontdesk (0.2 s)";
        let fields = [("destination", "frontdesk"), ("event", "evt_1"), ("attempt", "1"), ("took_ms", "203")];
        assert_eq!(
            shown(Level::INFO, said(message, &fields)),
            "2026-11-26 21:00:00  INFO delivered: Unhappy caller +3361•••5678 → frontdesk (0.2 s)  event=evt_1"
        );
    }

    #[test]
    fn a_line_fits_into_its_columns_and_a_warning_is_whole() {
        let long = "n".repeat(64);
        let message = format!("delivered: {long} → {long}");
        let line = shown(Level::INFO, said(&message, &[("event", "evt_1")]));
        assert_eq!(line.chars().count(), COLUMNS, "{line}");
        let line = shown(Level::INFO, said("short", &[("a", &long), ("b", &long)]));
        assert!(line.ends_with(&format!("short  a={long}")), "{line}");
        let advice = "put it back, or forget them with `callwatch deliveries drop`, ".repeat(5);
        let message = format!("{advice}{}", "x".repeat(300));
        for level in [Level::WARN, Level::ERROR] {
            let lines = shown(level, said(&message, &[("event", "evt_1"), ("call", &long), ("rule", &long)]));
            assert!(lines.lines().all(|line| line.chars().count() <= COLUMNS), "{lines}");
            let joined = lines.split_whitespace().collect::<Vec<_>>().join(" ");
            let ids = format!(" event=evt_1 call={long} rule={long}");
            assert!(joined.contains(advice.trim()) && joined.ends_with(&ids), "{lines}");
            assert!(lines.contains('…'), "a word longer than a line is cut: {lines}");
        }
        let line = shown(Level::WARN, said("short", &[("event", "evt_1")]));
        assert!(line.ends_with(" WARN short  event=evt_1"), "{line}");
    }

    /// A reader of the log who reads nothing before the gate opens.
    struct Gated(mpsc::Receiver<()>);

    impl Write for Gated {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Fails when the gate is open.
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_nobody_reads_are_dropped_and_told_when_there_is_room_again() {
        let (gate, closed) = mpsc::channel();
        let (tell, told) = mpsc::channel();
        let dropped = Arc::new(OnceLock::new());
        let tell_dropped = move |lines| tell.send(lines).unwrap();
        let sink = Sink { out: Gated(closed), dropped: Arc::clone(&dropped), told: 0, tell_dropped };
        let queue = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(2);
        let (mut writer, _guard) = queue.finish(sink);
        dropped.set(writer.error_counter()).unwrap();
        for _ in 0..10 {
            writer.write_all(b"line\n").unwrap();
        }
        let lost = writer.error_counter().dropped_lines();
        // One may be on its way to the reader, two wait.
        assert!((7..=8).contains(&lost), "{lost}");
        drop(gate);
        assert_eq!(told.recv_timeout(Duration::from_secs(30)), Ok(lost));
    }

    #[test]
    fn foreign_controls_are_shown_and_not_obeyed() {
        let mut sink = Sink { out: vec![], dropped: Arc::default(), told: 0, tell_dropped };
        sink.write_all("a\u{202e}b\u{9b}c\n".as_bytes()).unwrap();
        assert_eq!(String::from_utf8(sink.out).unwrap(), "a\\u202eb\\u009bc\n");
        assert_eq!("a\x1b\nb".chars().flat_map(escape_control).collect::<String>(), "a\\u{1b}\\nb");
    }
}
