//! What holds for any windows at any moment, also while the clock jumps.

use super::*;

/// Zones whose clocks jump in different ways: by an hour, by half an hour, at midnight, and never.
const ZONES: [&str; 5] = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/Havana",
    "UTC",
];
const CRONS: [&str; 9] = [
    "0 2 * * *",
    "30 2 * * *",
    "15,45 0-3 * * *",
    "0 22 * * sat",
    "*/20 * * * *",
    "0 0 * * sun",
    "30 1 1-7 3,10,11 *",
    "0 3 L * *",
    "59 23 * * *",
];

/// A moment within three days of a change of this zone's clock, mostly within hours, or any moment of those years.
fn moments(name: &'static str) -> impl Strategy<Value = Timestamp> {
    let minutes = prop_oneof![3 => -240_i64..240, 1 => -4320_i64..4320];
    (0_usize..20, minutes, 0_i64..60).prop_map(move |(which, minutes, seconds)| {
        let start = at("2024-01-01T00:00:00Z");
        let jump = zone(name)
            .following(start)
            .nth(which)
            .map(|jump| jump.timestamp());
        let near = jump.unwrap_or_else(|| start + (i64::try_from(which).unwrap() * 4000).hours());
        near + minutes.minutes() + seconds.seconds()
    })
}

/// A second of the day, mostly of the hours in which clocks jump.
fn seconds() -> impl Strategy<Value = i32> {
    prop_oneof![3 => 0_i32..14_400, 1 => 0_i32..86_400]
}

fn dailies(name: &'static str) -> impl Strategy<Value = Window> {
    (1_u8..128, seconds(), seconds(), any::<bool>()).prop_map(move |(days, start, end, rounds)| {
        let days = ALL
            .iter()
            .filter(|day| days & (1 << day.to_sunday_zero_offset()) != 0);
        let time = |second: i32| {
            civil::Time::midnight() + (if rounds { second - second % 900 } else { second }).seconds()
        };
        Window::Daily(Daily {
            days: days.copied().collect(),
            start: time(start),
            end: time(end),
            zone: zone(name),
        })
    })
}

fn crons(name: &'static str) -> impl Strategy<Value = Window> {
    (prop::sample::select(&CRONS[..]), 1_i64..400).prop_map(move |(text, minutes)| cron(text, minutes, name))
}

fn cases() -> impl Strategy<Value = (Windows, Timestamp)> {
    prop::sample::select(&ZONES[..]).prop_flat_map(|name| {
        let window = prop_oneof![dailies(name), crons(name)];
        let windows = prop::collection::vec(window, 1..4).prop_map(Windows::new);
        (windows, moments(name))
    })
}

/// Whether a window is open, by looking at the clock of each minute since the earliest that matters. The slow way.
fn is_open_slowly(window: &Window, at: Timestamp) -> bool {
    match window {
        // The window of a calendar day goes from the first moment when the clock shows the start or later to the last moment when
        // it shows the end or earlier.
        Window::Daily(daily) => {
            let now = at.to_zoned(daily.zone.clone());
            let shown = |moment: &Zoned| moment.time().with().subsec_nanosecond(0).build().unwrap();
            let has_started = |moment: &Zoned| moment.time() >= daily.start;
            let has_not_ended = |moment: &Zoned| shown(moment) <= daily.end;
            // Of each later minute its first second, and of each earlier one its last: they show the least and the most.
            let steps = |step: i64, second: i8| {
                let minutes = (1..180).map(move |count| (count * step).minutes());
                let minutes = minutes.map(|step| now.clone() + step);
                let edges = minutes.map(move |then| then.with().second(second).build().unwrap());
                std::iter::once(now.clone())
                    .chain(edges)
                    .filter(|then| then.date() == now.date())
            };
            let started = steps(-1, 59).any(|then| has_started(&then));
            let not_ended = steps(1, 0).any(|then| has_not_ended(&then));
            let is_day = daily.days.contains(now.weekday());
            let is_within = if daily.start <= daily.end {
                started && not_ended
            } else {
                started || not_ended
            };
            is_day && is_within
        }
        Window::Cron(_) => unreachable!("cron windows have a way of their own"),
    }
}

/// Whether the cron expression gives this minute, or one that the clock has jumped over to it.
fn begins_slowly(text: &str, zone: &TimeZone, minute: Timestamp) -> bool {
    let cron: croner::Cron = text.parse().unwrap();
    let offset = zone.to_offset(minute);
    let shown = offset.to_datetime(minute);
    let earlier = zone.to_offset(minute - 1.nanosecond()).to_datetime(minute);
    let mut skipped = earlier.min(shown);
    while skipped < shown {
        if cron.is_time_matching(&skipped).unwrap() {
            return true;
        }
        skipped += 1.minute();
    }
    cron.is_time_matching(&shown).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn open_is_what_opens_now((windows, now) in cases()) {
        let opens = windows.opens(now);
        prop_assert_eq!(windows.is_open(now), opens == Some(now));
        if let Some(opens) = opens {
            prop_assert!(opens >= now && windows.is_open(opens), "{} {}", windows, opens);
            // Nothing opens in between, and the moment before is closed.
            if opens > now {
                let before = opens - 1.nanosecond();
                prop_assert!(!windows.is_open(before), "{} {}", windows, before);
                prop_assert_eq!(windows.opens(before), Some(opens));
                let half = now + opens.duration_since(now) / 2;
                prop_assert_eq!(windows.opens(half), Some(opens));
            }
        }
    }

    #[test]
    fn it_closes_after_it_opens_and_is_open_until_then((windows, now) in cases()) {
        let opens = windows.opens(now).unwrap();
        if let Some(closes) = windows.closes(opens, LONG) {
            prop_assert!(closes > opens && !windows.is_open(closes), "{} {} {}", windows, opens, closes);
            let span = closes.duration_since(opens);
            for part in [span / 3, span / 2, span - SignedDuration::from_nanos(1)] {
                prop_assert!(windows.is_open(opens + part), "{} {} {:?}", windows, opens, part);
                prop_assert_eq!(windows.closes(opens + part, LONG), Some(closes));
            }
            prop_assert!(windows.fits(opens, span) && !windows.fits(opens, span + SignedDuration::from_nanos(1)));
        } else {
            prop_assert!(windows.fits(opens, LONG));
        }
    }

    #[test]
    fn a_later_moment_never_opens_earlier((windows, now) in cases(), ahead in 0_i64..10_000) {
        let later = now + ahead.minutes();
        prop_assert!(windows.opens(now) <= windows.opens(later), "{}", windows);
        let span = SignedDuration::from_mins(90);
        if let (Some(first), Some(second)) = (windows.opens_for(now, span), windows.opens_for(later, span)) {
            prop_assert!(first <= second && windows.fits(first, span) && windows.fits(second, span), "{}", windows);
        }
    }

    #[test]
    fn another_window_only_opens_more((windows, now) in cases(), text in prop::sample::select(&CRONS[..])) {
        let mut more = windows.clone();
        more.0.push(cron(text, 90, "Europe/Berlin"));
        prop_assert!(!windows.is_open(now) || more.is_open(now));
        prop_assert!(more.opens(now) <= windows.opens(now));
    }

    #[test]
    fn kureds_window_is_open_when_the_clock_says_so(
        (window, now) in prop::sample::select(&ZONES[..]).prop_flat_map(|name| (dailies(name), moments(name)))
    ) {
        let windows = Windows::new(vec![window.clone()]);
        prop_assert_eq!(windows.is_open(now), is_open_slowly(&window, now), "{} at {}", windows, now);
    }

    #[test]
    fn a_cron_window_is_open_when_one_of_the_last_minutes_opened_it(
        (name, now) in prop::sample::select(&ZONES[..]).prop_flat_map(|name| (Just(name), moments(name))),
        text in prop::sample::select(&CRONS[..]),
        minutes in 1_i64..150,
    ) {
        let windows = one(text, minutes, name);
        let minute = now - (now.as_second() % 60).seconds();
        let since = (0..=minutes).map(|count| minute - count.minutes());
        let mut started = since.filter(|start| now < *start + minutes.minutes());
        let zone = zone(name);
        let is_open = started.any(|start| begins_slowly(text, &zone, start));
        prop_assert_eq!(windows.is_open(now), is_open, "{} at {}", windows, now);
    }
}
