//! A bounded queue before the log's output, for a program whose answers must not wait for the reader of its log.
//!
//! If the queue is full, lines are lost and counted. The log says so once lines are read again.
//! Lines that come shortly after each other are written together, because to wake the writer takes longer than to write a line.
//! It replaces `tracing-appender`, which hangs at shutdown if nobody reads the output: with a full queue it prints a message there itself.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use tracing::warn;

/// Most lines in the queue. A line is usually shorter than 1 KiB.
const LINES_MAX: usize = 1024;
/// How long lines gather before they are written: in a flood of decisions some tens of them, far fewer than fit in the queue.
const GATHER: Duration = Duration::from_millis(1);
/// Most bytes that are written together, but for the last line's.
const BATCH_BYTES: usize = 64 * 1_024;
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
            lose(1);
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

fn lose(lines: u64) {
    let _ = LOST.fetch_add(lines, Ordering::Relaxed);
}

/// Lines that are written together, and the message after them if that is no line.
struct Batch {
    lines: u64,
    text: Vec<u8>,
    next: Option<SyncSender<()>>,
}

impl Batch {
    /// This line, and those that have come since.
    fn gather(first: Vec<u8>, messages: &Receiver<Message>) -> Batch {
        std::thread::sleep(GATHER);
        let mut batch = Batch {
            lines: 1,
            text: first,
            next: None,
        };
        while batch.text.len() < BATCH_BYTES {
            match messages.try_recv() {
                Ok(Message::Line(line)) => {
                    batch.text.extend_from_slice(&line);
                    batch.lines += 1;
                }
                Ok(Message::Flush(done)) => {
                    batch.next = Some(done);
                    break;
                }
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
        batch
    }
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
        let flushed = match message {
            Ok(Message::Line(line)) => {
                let batch = Batch::gather(line, messages);
                if output
                    .write_all(&batch.text)
                    .and_then(|()| output.flush())
                    .is_err()
                {
                    lose(batch.lines);
                }
                batch.next
            }
            Ok(Message::Flush(done)) => Some(done),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        if let Some(done) = flushed {
            // `Flush` may have stopped waiting.
            done.try_send(()).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::Sender;

    use super::*;

    /// Tells each write, and waits until it may go on.
    struct Slow {
        told: Sender<String>,
        may_go_on: Receiver<()>,
    }

    impl Write for Slow {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            self.told
                .send(String::from_utf8_lossy(text).into_owned())
                .unwrap();
            self.may_go_on.recv().unwrap();
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_wait_are_written_together_and_in_order() {
        let (told, writes) = std::sync::mpsc::channel();
        let (go_on, may_go_on) = std::sync::mpsc::channel();
        let mut queue = Queue::start(Slow { told, may_go_on }).unwrap();
        queue.write_all(b"first\n").unwrap();
        assert_eq!(writes.recv().unwrap(), "first\n");
        for number in 0..100 {
            queue.write_all(format!("{number}\n").as_bytes()).unwrap();
        }
        go_on.send(()).unwrap();
        let expected: Vec<String> = (0..100).map(|number| format!("{number}\n")).collect();
        assert_eq!(writes.recv().unwrap(), expected.concat());
        go_on.send(()).unwrap();
    }

    #[test]
    fn no_more_is_written_together_than_the_bound() {
        let (told, writes) = std::sync::mpsc::channel();
        let (go_on, may_go_on) = std::sync::mpsc::channel();
        let mut queue = Queue::start(Slow { told, may_go_on }).unwrap();
        let line = vec![b'x'; BATCH_BYTES / 2];
        queue.write_all(b"first\n").unwrap();
        assert_eq!(writes.recv().unwrap(), "first\n");
        for _ in 0..3 {
            queue.write_all(&line).unwrap();
        }
        for length in [BATCH_BYTES, BATCH_BYTES / 2] {
            go_on.send(()).unwrap();
            assert_eq!(writes.recv().unwrap().len(), length);
        }
        go_on.send(()).unwrap();
    }
}
