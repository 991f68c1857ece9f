//! A bounded queue before the log's output, for a program whose answers must not wait for the reader of its log.
//!
//! If the queue is full, lines are lost and counted. The log says so once lines are read again.
//! It replaces `tracing-appender`, which hangs at shutdown if nobody reads the output: with a full queue it prints a message there itself.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use tracing::warn;

/// Most lines in the queue. A line is usually shorter than 1 KiB.
const LINES_MAX: usize = 1024;
/// Longest wait, at the end of the program, until the queue is written.
const END_MAX: Duration = Duration::from_secs(1);
/// Shortest time between two log lines about lost lines.
const TELL_PAUSE: Duration = Duration::from_secs(1);

/// Lost lines. One counter for the process, because there is one log.
static LOST: AtomicU64 = AtomicU64::new(0);

/// Number of log lines lost since the process began.
pub fn lost_lines() -> u64 {
    LOST.load(Ordering::Relaxed)
}

enum Message {
    Line(Vec<u8>),
    /// Answered when all lines before it are written.
    Flush(SyncSender<()>),
}

/// The writing end of the queue. A write never waits and never fails.
#[derive(Clone)]
pub(super) struct Queue(SyncSender<Message>);

impl Queue {
    /// Starts a thread that writes the queue to `output`.
    pub(super) fn start(output: impl Write + Send + 'static) -> io::Result<Queue> {
        let (queue, messages) = sync_channel(LINES_MAX);
        let writer = std::thread::Builder::new().name("log".to_owned());
        drop(writer.spawn(move || write(&messages, output))?);
        Ok(Queue(queue))
    }
}

impl Write for Queue {
    /// Queues one line: `tracing` calls it once for each event.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.0.try_send(Message::Line(line.to_vec())).is_err() {
            lose_one();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits, when it is dropped, until the queue is written, for a second at most. It does not wait if the queue is full.
#[must_use = "the last lines are lost without it"]
pub struct Flush(pub(super) Queue);

impl Drop for Flush {
    fn drop(&mut self) {
        let (done, is_done) = sync_channel(1);
        if self.0.0.try_send(Message::Flush(done)).is_ok() {
            // A reader that has not caught up by now loses the rest.
            is_done.recv_timeout(END_MAX).unwrap_or_default();
        }
    }
}

fn lose_one() {
    let _ = LOST.fetch_add(1, Ordering::Relaxed);
}

fn write(messages: &Receiver<Message>, mut output: impl Write) {
    let (mut told, mut told_at) = (0, Instant::now());
    loop {
        let message = messages.recv_timeout(TELL_PAUSE);
        let lost = lost_lines();
        if lost != told && told_at.elapsed() >= TELL_PAUSE {
            (told, told_at) = (lost, Instant::now());
            // This line goes through the queue like any other: the message just taken has left room for it.
            // If another line takes that room, this one is lost and counted too, and the next one reports it.
            warn!(
                lost,
                "log lines were lost since the program started: standard output was not read in time"
            );
        }
        match message {
            Ok(Message::Line(line)) => {
                if output.write_all(&line).and_then(|()| output.flush()).is_err() {
                    lose_one();
                }
            }
            // `Flush` may have stopped waiting.
            Ok(Message::Flush(done)) => drop(done.try_send(())),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
