//! Lines for people, on standard output.

use std::{
    io::{self, Write},
    time::Duration,
};

use tokio::sync::{mpsc, oneshot};

/// How many lines may wait for a terminal that is held up.
const BACKLOG: usize = 1024;

/// How long the demo waits for a terminal that is held up, when what it has to say must not be left out.
const PATIENCE: Duration = Duration::from_secs(2);

/// Standard output, written to by a thread of its own so that a reader that does not read holds up nothing.
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
    /// When no thread can be had.
    pub fn start() -> io::Result<Self> {
        let (lines, mut queue) = mpsc::channel::<String>(BACKLOG);
        let (done, written) = oneshot::channel();
        std::thread::Builder::new().name("terminal".to_owned()).spawn(move || {
            let mut out = io::stdout().lock();
            while let Some(line) = queue.blocking_recv() {
                if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
                    // Ending here closes the queue, which is how the demo learns of it.
                    return;
                }
            }
            // Nobody waits for it when the demo has given up on the terminal.
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

    /// Writes these lines and whatever waits before them, and lets go of standard output.
    pub async fn finish(self, lines: Vec<String>) {
        for line in lines {
            if self.lines.send_timeout(line, PATIENCE).await.is_err() {
                return;
            }
        }
        drop(self.lines);
        // A reader that still does not read, or is gone, is not waited for.
        let _ = tokio::time::timeout(PATIENCE, self.written).await;
    }
}

/// The text in at most `room` columns, with an ellipsis where it was cut.
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
    fn text_is_cut_to_the_columns_there_are() {
        assert_eq!(fit("café", 4), "café");
        assert_eq!(fit("cafés", 4), "caf…");
        assert_eq!(fit("", 0), "");
    }
}
