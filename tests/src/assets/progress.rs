//! Shows how far a build is.
//!
//! Not here: the build, see [`super`].

use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::time::{Duration, Instant};

const PIPED_PROGRESS_INTERVAL: Duration = Duration::from_secs(15);
const TERMINAL_PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// Shows on standard error how far a build is: on a terminal one line that is overwritten, elsewhere a line every 15 s.
pub(super) struct Progress {
    title: String,
    started: Instant,
    shown: Option<Instant>,
    packages: usize,
    on_terminal: bool,
}

impl Progress {
    pub(super) fn new(title: String) -> Self {
        let on_terminal = std::io::stderr().is_terminal();
        let mut progress = Self {
            title,
            started: Instant::now(),
            shown: None,
            packages: 0,
            on_terminal,
        };
        progress.show("");
        progress
    }

    /// Counts the packages that `go build -v` names on `stderr` until it ends. Returns the other lines: they say what went wrong.
    pub(super) fn follow(&mut self, stderr: impl Read + Send + 'static) -> Vec<String> {
        let (sender, lines) = std::sync::mpsc::channel();
        drop(std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        }));
        let mut said = Vec::new();
        let mut now_at = String::new();
        loop {
            match lines.recv_timeout(TERMINAL_PROGRESS_INTERVAL) {
                // Of go and of mmdebstrap.
                Ok(line) if line.starts_with("go: downloading ") || line.starts_with("I: ") => {
                    line.clone_into(&mut now_at);
                }
                Ok(line) if is_package(&line) => {
                    self.packages += 1;
                    now_at = line;
                }
                Ok(line) => said.push(line),
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return said,
            }
            self.show(&now_at);
        }
    }

    fn show(&mut self, now_at: &str) {
        let interval = if self.on_terminal {
            TERMINAL_PROGRESS_INTERVAL
        } else {
            PIPED_PROGRESS_INTERVAL
        };
        if self.shown.is_some_and(|shown| shown.elapsed() < interval) {
            return;
        }
        self.shown = Some(Instant::now());
        self.print(now_at);
    }

    fn print(&self, now_at: &str) {
        let elapsed = self.started.elapsed().as_secs();
        let packages = match self.packages {
            0 => String::new(),
            packages => format!("{packages} packages "),
        };
        let line = format!(
            "{}: {}:{:02}, {packages}{now_at}",
            self.title,
            elapsed / 60,
            elapsed % 60,
        );
        let mut stderr = std::io::stderr().lock();
        // If standard error is closed, nobody reads this.
        drop(if self.on_terminal {
            write!(
                stderr,
                "\r\x1b[2K{}",
                line.chars().take(terminal_columns()).collect::<String>()
            )
        } else {
            writeln!(stderr, "{line}")
        });
    }

    pub(super) fn end(&self, how: &str) {
        self.print(how);
        if self.on_terminal {
            eprintln!();
        }
    }
}

/// Whether a line is a package path as `go build -v` prints it: no space, tab or colon.
fn is_package(line: &str) -> bool {
    !line.is_empty() && !line.starts_with('#') && !line.contains([' ', ':', '\t'])
}

fn terminal_columns() -> usize {
    std::env::var("COLUMNS")
        .ok()
        .and_then(|columns| columns.parse().ok())
        .unwrap_or(100)
}
