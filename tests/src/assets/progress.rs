//! Shows how far a build is.
//!
//! Not here: the build, see [`super`].

use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::time::{Duration, Instant};

const PIPED_PROGRESS_INTERVAL: Duration = Duration::from_secs(15);
/// Before this too few packages are built for a guess at the rest.
const TELLING: Duration = Duration::from_secs(30);
/// The time grows with this power of the number of packages, as measured with Kubernetes: small ones come first.
const GROWTH: f64 = 1.5;
const TERMINAL_PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// Shows on standard error how far a build is: on a terminal one line that is overwritten, elsewhere a line every 15 s.
pub(super) struct Progress {
    title: String,
    started: Instant,
    shown: Option<Instant>,
    packages: usize,
    /// How many packages there will be, and when the first of them was begun.
    expected: Option<(usize, Instant)>,
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
            expected: None,
            on_terminal,
        };
        progress.show("");
        progress
    }

    /// From now on so many packages are built. 0 if nobody knows.
    pub(super) fn expect(&mut self, packages: usize) {
        self.expected = (packages > 0).then(|| (packages, Instant::now()));
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
        let expected = self.expected.map(|(of, since)| (of, since.elapsed()));
        let line = format!(
            "{}: {}, {}{now_at}",
            self.title,
            minutes(self.started.elapsed()),
            count(self.packages, expected)
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

/// How many packages are built, of how many, and about how long the others will take. `expected` has how many there will be, and how long
/// they are being built.
fn count(packages: usize, expected: Option<(usize, Duration)>) -> String {
    let Some((of, elapsed)) = expected else {
        return match packages {
            0 => String::new(),
            packages => format!("{packages} packages "),
        };
    };
    let left = match (u32::try_from(of), u32::try_from(packages)) {
        (Ok(of), Ok(built @ 1..)) if built < of && elapsed >= TELLING => {
            let whole = elapsed.mul_f64((f64::from(of) / f64::from(built)).powf(GROWTH));
            format!("about {} left, ", minutes(whole.saturating_sub(elapsed)))
        }
        _ => String::new(),
    };
    format!("{left}{packages} of {of} packages ")
}

/// A time as minutes and seconds, such as `8:05`.
fn minutes(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::count;

    #[test]
    fn the_packages_that_are_left_say_how_long_it_will_take() {
        let of_2800 = |packages, seconds| count(packages, Some((2800, Duration::from_secs(seconds))));
        assert_eq!(of_2800(700, 120), "about 14:00 left, 700 of 2800 packages ");
        assert_eq!(of_2800(2800, 480), "2800 of 2800 packages ");
        assert_eq!(of_2800(2900, 480), "2900 of 2800 packages ");
    }

    #[test]
    fn nothing_is_said_of_the_rest_at_first_or_of_an_unknown_number() {
        assert_eq!(
            count(0, Some((2800, Duration::from_secs(60)))),
            "0 of 2800 packages "
        );
        assert_eq!(
            count(9, Some((2800, Duration::from_secs(5)))),
            "9 of 2800 packages "
        );
        assert_eq!(count(7, None), "7 packages ");
        assert_eq!(count(0, None), "");
    }
}
