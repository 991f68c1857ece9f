//! A bounded queue in front of the log's output, for a program whose answers must not wait for whoever reads its log.
//!
//! Lines that find it full are lost, counted, and told of once lines flow again. Our own, because the end of
//! `tracing-appender` prints where its queue is full, and so never comes where nobody reads.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use tracing::warn;

/// Lines that wait at most; one is mostly below 1 KiB.
const LINES_MAX: usize = 1024;
/// The end of the program waits this long for the lines that still do.
const END_MAX: Duration = Duration::from_secs(1);
/// A loss is told of at most this often.
const TELL_PAUSE: Duration = Duration::from_secs(1);

/// Of the process, as the log is.
static LOST: AtomicU64 = AtomicU64::new(0);

/// Lines of the log that were never written, since the process began.
pub fn lost_lines() -> u64 {
    LOST.load(Ordering::Relaxed)
}

enum Message {
    Line(Vec<u8>),
    /// Answered when all lines before it are written.
    Flush(SyncSender<()>),
}

/// Where lines are handed in. It never waits, and never fails.
#[derive(Clone)]
pub(super) struct Queue(SyncSender<Message>);

impl Queue {
    /// Lines go to `output` from a thread of their own.
    pub(super) fn start(output: impl Write + Send + 'static) -> io::Result<Queue> {
        let (queue, messages) = sync_channel(LINES_MAX);
        let writer = std::thread::Builder::new().name("log".to_owned());
        drop(writer.spawn(move || write(&messages, output))?);
        Ok(Queue(queue))
    }
}

impl Write for Queue {
    /// One event is one call.
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

/// Waits, when it is dropped, until what was logged is written: bounded, and not at all where the queue is full.
#[must_use = "the last lines are lost without it"]
pub struct Flush(pub(super) Queue);

impl Drop for Flush {
    fn drop(&mut self) {
        let (done, is_done) = sync_channel(1);
        if self.0.0.try_send(Message::Flush(done)).is_ok() {
            // Whoever does not read by now gets no more.
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
            // Into the queue, like any other, where the message just taken left room.
            // Where another line is faster this one is lost and counted too, and the next tells.
            warn!(
                lost,
                "log lines were lost since the start: nobody read standard output in time"
            );
        }
        match message {
            Ok(Message::Line(line)) => {
                if output.write_all(&line).and_then(|()| output.flush()).is_err() {
                    lose_one();
                }
            }
            // Whoever asked may have stopped waiting.
            Ok(Message::Flush(done)) => drop(done.try_send(())),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
