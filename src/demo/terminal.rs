//! Writes lines for people to standard output.

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use terminal_size::Width;
use tokio::sync::{mpsc, oneshot};

/// How many lines may wait for a terminal that does not take them.
const BACKLOG: usize = 1024;

/// How long the demo waits for a terminal that does not take lines, when they must not be left out.
const PATIENCE: Duration = Duration::from_secs(2);

/// Terminals that say they have fewer columns than this are taken to have as many.
const NARROWEST: usize = 40;

/// The indent of the second and later lines of one that was wrapped, in columns.
const HANGING: usize = 4;

/// The indent of the bar beside a message that arrived.
pub(super) const BESIDE: &str = "           ";

/// Standard output. A thread of its own writes to it, so that a reader that stops reading delays nothing else.
#[derive(Debug)]
pub struct Terminal {
    lines: mpsc::Sender<String>,
    /// Columns that lines are wrapped at; none where it is not a terminal.
    width: Option<usize>,
    left_out: u64,
    written: oneshot::Receiver<()>,
}

/// Nobody reads standard output any more.
#[derive(Debug)]
pub struct Closed;

impl Terminal {
    /// Takes over standard output.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start() -> io::Result<Self> {
        let (lines, mut queue) = mpsc::channel::<String>(BACKLOG);
        let (done, written) = oneshot::channel();
        std::thread::Builder::new().name("terminal".to_owned()).spawn(move || {
            let mut out = io::stdout().lock();
            while let Some(line) = queue.blocking_recv() {
                if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
                    // This closes the queue, which tells the demo that nobody reads.
                    return;
                }
            }
            // Fails only when the demo no longer waits for the terminal.
            let _ = done.send(());
        })?;
        let columns = io::stdout().is_terminal().then(terminal_size::terminal_size).flatten();
        let width = columns.map(|(Width(columns), _)| usize::from(columns).max(NARROWEST));
        Ok(Self { lines, width, left_out: 0, written })
    }

    /// Shows a line, or leaves it out when too many are waiting.
    ///
    /// # Errors
    /// [`Closed`] when nobody reads any more.
    pub fn show(&mut self, line: String) -> Result<(), Closed> {
        let line = self.wrapped(line);
        if self.left_out > 0 {
            let note = format!("         … {} lines left out", self.left_out);
            match self.lines.try_send(note) {
                Ok(()) => self.left_out = 0,
                Err(mpsc::error::TrySendError::Full(_)) => {}
                Err(mpsc::error::TrySendError::Closed(_)) => return Err(Closed),
            }
        }
        match self.lines.try_send(line) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.left_out += 1;
                Ok(())
            }
            Err(mpsc::error::TrySendError::Closed(_)) => Err(Closed),
        }
    }

    fn wrapped(&self, line: String) -> String {
        match self.width {
            Some(width) => wrap(&line, width),
            None => line,
        }
    }

    /// Writes all lines that wait, then these, and releases standard output.
    pub async fn finish(self, lines: Vec<String>) {
        for line in lines {
            let line = self.wrapped(line);
            if self.lines.send_timeout(line, PATIENCE).await.is_err() {
                return;
            }
        }
        drop(self.lines);
        // A reader that has stopped reading is not waited for any longer.
        let _ = tokio::time::timeout(PATIENCE, self.written).await;
    }
}

/// Breaks a line at spaces so that it fits into `width` columns; a word that is longer is broken anywhere. Escapes of
/// colours take no column.
fn wrap(line: &str, width: usize) -> String {
    let mut out = String::new();
    let mut column = 0;
    let before = before_next(line);
    let hanging = columns(&before);
    let go_on = |out: &mut String| {
        out.truncate(out.trim_end().len());
        out.push('\n');
        out.push_str(&before);
        hanging
    };
    for word in line.split_inclusive(' ') {
        if column > hanging && column + columns(word.trim_end()) > width {
            column = go_on(&mut out);
        }
        let mut is_escape = false;
        for c in word.chars() {
            is_escape |= c == '\x1b';
            if !is_escape && column >= width && c != ' ' {
                column = go_on(&mut out);
            }
            out.push(c);
            column += usize::from(!is_escape);
            is_escape &= c != 'm';
        }
    }
    out.truncate(out.trim_end().len());
    out
}

/// The beginning of the lines that a line goes on in: the bar beside a message, or blanks.
fn before_next(line: &str) -> String {
    let beside = line.split_once('│').filter(|(before, _)| before.starts_with(BESIDE));
    let bar = beside.map(|(before, text)| {
        let end = text.find(' ').map_or(text.len(), |space| space + 1);
        format!("{before}│{}", &text[..end])
    });
    bar.unwrap_or_else(|| " ".repeat(HANGING))
}

/// The columns that a text takes on the screen.
fn columns(text: &str) -> usize {
    let mut is_escape = false;
    let mut count = 0;
    for c in text.chars() {
        is_escape |= c == '\x1b';
        count += usize::from(!is_escape);
        is_escape &= c != 'm';
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_wrapped_at_the_width_and_nothing_is_lost() {
        assert_eq!(wrap("café au lait", 40), "café au lait");
        assert_eq!(wrap("   0.1s  one two three", 15), "   0.1s  one\n    two three");
        assert_eq!(wrap("\x1b[2m   0.1s\x1b[0m  one", 12), "\x1b[2m   0.1s\x1b[0m  one");
        assert_eq!(wrap(&"x".repeat(20), 12), format!("{}\n    {}", "x".repeat(12), "x".repeat(8)));
        assert_eq!(
            wrap("           \x1b[32m│\x1b[0m one two", 18),
            "           \x1b[32m│\x1b[0m one\n           \x1b[32m│\x1b[0m two"
        );
        for width in 40..90 {
            let line = "  1.5s ✓ frontdesk  Appointment booked by +3363•••1234 and so on and so on, in 0.6s";
            let wrapped = wrap(line, width);
            assert!(wrapped.lines().all(|line| columns(line) <= width), "{wrapped}");
            let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            assert_eq!(words(&wrapped), words(line));
        }
    }
}
