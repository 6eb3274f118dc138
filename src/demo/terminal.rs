//! Writes lines for people to standard output.

use std::{
    io::{self, Write},
    time::Duration,
};

use tokio::sync::{mpsc, oneshot};

/// How many lines may wait for a terminal that does not take them.
const BACKLOG: usize = 1024;

/// How long the demo waits for a terminal that does not take lines, when they must not be left out.
const PATIENCE: Duration = Duration::from_secs(2);

/// Standard output. A thread of its own writes to it, so that a reader that stops reading delays nothing else.
#[derive(Debug)]
pub struct Terminal {
    lines: mpsc::Sender<String>,
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
        Ok(Self { lines, left_out: 0, written })
    }

    /// Shows a line, or leaves it out when too many are waiting.
    ///
    /// # Errors
    /// [`Closed`] when nobody reads any more.
    pub fn show(&mut self, line: String) -> Result<(), Closed> {
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

    /// Writes all lines that wait, then these, and releases standard output.
    pub async fn finish(self, lines: Vec<String>) {
        for line in lines {
            if self.lines.send_timeout(line, PATIENCE).await.is_err() {
                return;
            }
        }
        drop(self.lines);
        // A reader that has stopped reading is not waited for any longer.
        let _ = tokio::time::timeout(PATIENCE, self.written).await;
    }
}

/// The text in at most `room` columns. If it had to be cut, it ends in an ellipsis.
pub fn fit(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(room.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_to_the_columns_that_are_available() {
        assert_eq!(fit("café", 4), "café");
        assert_eq!(fit("cafés", 4), "caf…");
        assert_eq!(fit("", 0), "");
    }
}
