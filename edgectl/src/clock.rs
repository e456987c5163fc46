//! Times as people and programs read them.

use chrono::{DateTime, Local, SecondsFormat, TimeDelta, Utc};

/// RFC 3339 in UTC, to the millisecond.
pub fn exact(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Local wall clock, to the second.
pub fn local(time: DateTime<Utc>) -> String {
    time.with_timezone(&Local).format("%Y-%m-%d %H:%M:%S").to_string()
}

/// Local time of day, for what happens within minutes.
pub fn local_of_day(time: DateTime<Utc>) -> String {
    time.with_timezone(&Local).format("%H:%M:%S").to_string()
}

/// How long ago, in the largest unit that says enough: `42s`, `7m`, `5h`, `12d`.
/// A time ahead of this machine's clock is `0s`.
pub fn age(now: DateTime<Utc>, time: DateTime<Utc>) -> String {
    span(now - time)
}

/// A length of time as [`age`] tells it.
pub fn span(length: TimeDelta) -> String {
    match length.num_seconds() {
        ..=0 => "0s".to_owned(),
        s @ 1..=119 => format!("{s}s"),
        s @ 120..=7_199 => format!("{}m", s / 60),
        s @ 7_200..=172_799 => format!("{}h", s / 3_600),
        s => format!("{}d", s / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_use_the_largest_unit_that_says_enough() {
        let told: Vec<String> = [-5, 0, 1, 119, 120, 7_199, 7_200, 172_799, 172_800, 8_640_000]
            .into_iter()
            .map(|s| span(TimeDelta::seconds(s)))
            .collect();
        assert_eq!(told, ["0s", "0s", "1s", "119s", "2m", "119m", "2h", "47h", "2d", "100d"]);
    }
}
