//! Dates for templates that name the day: `strftime_now`.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// A moment on the caller's calendar. Templates see nothing of the machine's clock but this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalTime {
    /// Seconds since 1970-01-01 00:00:00 on the caller's wall clock.
    seconds: i64,
}

impl LocalTime {
    /// The moment `unix_seconds` in a zone that is `offset_seconds` ahead of UTC.
    pub fn new(unix_seconds: i64, offset_seconds: i32) -> Self {
        // Beyond the year 9999 no template has a use for a date.
        Self { seconds: unix_seconds.saturating_add(offset_seconds.into()).clamp(-62_135_596_800, 253_402_300_799) }
    }

    /// This moment in UTC: the zone of the machine is not asked for.
    pub fn now_utc() -> Self {
        let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::new(elapsed.as_secs().try_into().unwrap_or(i64::MAX), 0)
    }

    /// The date in C's `strftime` notation, in the C locale. A directive that is not known stays as it is written.
    pub fn format(self, pattern: &str) -> String {
        let mut out = String::new();
        let mut characters = pattern.chars();
        while let Some(character) = characters.next() {
            if character != '%' {
                out.push(character);
                continue;
            }
            // `%-d` leaves out the padding.
            let rest = characters.as_str();
            let (padded, rest) = rest.strip_prefix('-').map_or((true, rest), |rest| (false, rest));
            let Some(directive) = rest.chars().next() else {
                out.push('%');
                continue;
            };
            if self.directive(directive, padded, &mut out) {
                characters = rest.chars();
                characters.next();
            } else {
                out.push('%');
            }
        }
        out
    }

    /// Appends the value of one directive. False if it is not known.
    fn directive(self, directive: char, padded: bool, out: &mut String) -> bool {
        let (year, month, day) = self.date();
        let (hour, minute, second) = self.time();
        let weekday = (self.days() + 4).rem_euclid(7) as usize;
        let hour_of_twelve = if hour % 12 == 0 { 12 } else { hour % 12 };
        let mut number = |value: i64, width: usize| {
            let width = if padded { width } else { 1 };
            // Writing to a String cannot fail.
            let _ = write!(out, "{value:0width$}");
        };
        match directive {
            'Y' => number(year, 4),
            'y' => number(year.rem_euclid(100), 2),
            'm' => number(month, 2),
            'd' => number(day, 2),
            'H' => number(hour, 2),
            'I' => number(hour_of_twelve, 2),
            'M' => number(minute, 2),
            'S' => number(second, 2),
            'j' => number(self.days() - days_from_date(year, 1, 1) + 1, 3),
            'B' => out.push_str(MONTHS[month as usize - 1]),
            'b' | 'h' => out.push_str(&MONTHS[month as usize - 1][..3]),
            'A' => out.push_str(DAYS[weekday]),
            'a' => out.push_str(&DAYS[weekday][..3]),
            'p' => out.push_str(if hour < 12 { "AM" } else { "PM" }),
            'F' => out.push_str(&self.format("%Y-%m-%d")),
            'T' => out.push_str(&self.format("%H:%M:%S")),
            'n' => out.push('\n'),
            't' => out.push('\t'),
            '%' => out.push('%'),
            _ => return false,
        }
        true
    }

    fn days(self) -> i64 {
        self.seconds.div_euclid(86_400)
    }

    fn time(self) -> (i64, i64, i64) {
        let seconds = self.seconds.rem_euclid(86_400);
        (seconds / 3600, seconds / 60 % 60, seconds % 60)
    }

    /// Year, month and day of the Gregorian calendar.
    fn date(self) -> (i64, i64, i64) {
        // 400 years have 146,097 days; the mean is never off by more than a year.
        let guess = 1970 + (self.days() * 400).div_euclid(146_097);
        let begun = |year: &i64| days_from_date(*year, 1, 1) <= self.days();
        let year = (guess - 1..=guess + 1).rev().find(begun).unwrap_or(guess - 1);
        let month = (1..=12).rev().find(|&month| days_from_date(year, month, 1) <= self.days()).unwrap_or(1);
        (year, month, self.days() - days_from_date(year, month, 1) + 1)
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar.
fn days_from_date(year: i64, month: i64, day: i64) -> i64 {
    const BEFORE_MONTH: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let past = year - 1;
    let leap_days = past.div_euclid(4) - past.div_euclid(100) + past.div_euclid(400) - 477;
    (year - 1970) * 365 + leap_days + BEFORE_MONTH[month as usize - 1] + i64::from(leap && month > 2) + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_known_moments() {
        let at = |seconds| LocalTime::new(seconds, 0).format("%Y-%m-%d %H:%M:%S %a %j");
        assert_eq!(at(0), "1970-01-01 00:00:00 Thu 001");
        assert_eq!(at(951_782_400), "2000-02-29 00:00:00 Tue 060");
        assert_eq!(at(1_709_251_199), "2024-02-29 23:59:59 Thu 060");
        assert_eq!(at(4_107_542_400), "2100-03-01 00:00:00 Mon 060");
        assert_eq!(at(-1), "1969-12-31 23:59:59 Wed 365");
        assert_eq!(at(i64::MIN), "0001-01-01 00:00:00 Mon 001");
        assert_eq!(at(i64::MAX), "9999-12-31 23:59:59 Fri 365");
    }

    #[test]
    fn every_day_of_four_centuries_follows_the_one_before() {
        let mut expected = (1900, 1, 1);
        let first = days_from_date(1900, 1, 1);
        for days in first..first + 146_097 {
            assert_eq!(LocalTime::new(days * 86_400, 0).date(), expected);
            let (year, month, day) = expected;
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let month_len = match month {
                2 => 28 + i64::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            expected = match (month, day) {
                (12, 31) => (year + 1, 1, 1),
                _ if day == month_len => (year, month + 1, 1),
                _ => (year, month, day + 1),
            };
        }
        assert_eq!(expected, (2300, 1, 1));
    }

    #[test]
    fn patterns_of_templates() {
        let time = LocalTime::new(1_721_995_200, 3600);
        assert_eq!(time.format("%d %b %Y"), "26 Jul 2024");
        assert_eq!(time.format("%B %-d, %Y, %I:%M %p"), "July 26, 2024, 01:00 PM");
        assert_eq!(time.format("%F %T %y %A"), "2024-07-26 13:00:00 24 Friday");
        assert_eq!(time.format("100%% %Q %-Q % -%"), "100% %Q %-Q % -%");
    }
}
