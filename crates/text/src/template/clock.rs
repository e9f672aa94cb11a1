//! The day and time that a template may print, passed in and never read from the system here.

use std::fmt::Write;

/// A local date and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalTime {
    year: i64,
    /// 1 to 12.
    month: u32,
    /// 1 to 31.
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
    /// Days since 1970-01-01.
    days: i64,
    utc_offset_seconds: i32,
}

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
const WEEKDAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

impl LocalTime {
    /// The local time at `unix_seconds`, `utc_offset_seconds` east of Greenwich.
    ///
    /// Times outside the years 1 to 9999 are moved to the nearest of them.
    pub fn from_unix(unix_seconds: i64, utc_offset_seconds: i32) -> LocalTime {
        // 0001-01-01 and 9999-12-31, in seconds.
        let local = unix_seconds
            .saturating_add(i64::from(utc_offset_seconds))
            .clamp(-62_135_596_800, 253_402_300_799);
        let (days, seconds) = (local.div_euclid(86_400), local.rem_euclid(86_400) as u32);
        let (year, month, day) = civil(days);
        LocalTime {
            year,
            month,
            day,
            hour: seconds / 3600,
            minute: seconds / 60 % 60,
            second: seconds % 60,
            days,
            utc_offset_seconds,
        }
    }

    /// `strftime` in the C locale. An unknown directive is written as it stands.
    pub fn format(&self, format: &str) -> String {
        let mut text = String::with_capacity(format.len() + 16);
        let mut chars = format.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                text.push(c);
                continue;
            }
            let Some(mut directive) = chars.next() else {
                text.push('%');
                break;
            };
            // `%-d` leaves the padding out.
            let padded = directive != '-';
            if !padded {
                directive = chars.next().unwrap_or('-');
            }
            self.write(directive, padded, &mut text);
        }
        text
    }

    fn write(&self, directive: char, padded: bool, text: &mut String) {
        let weekday = (self.days + 3).rem_euclid(7) as usize;
        let day_of_year = self.days - days_from_civil(self.year, 1, 1) + 1;
        let hour_12 = (self.hour + 11) % 12 + 1;
        let month = MONTHS[self.month as usize - 1];
        let mut number = |value: i64, width: usize| {
            let width = if padded { width } else { 0 };
            let _ = write!(text, "{value:0width$}");
        };
        match directive {
            'Y' => number(self.year, 4),
            'y' => number(self.year.rem_euclid(100), 2),
            'm' => number(self.month.into(), 2),
            'd' => number(self.day.into(), 2),
            'H' => number(self.hour.into(), 2),
            'I' => number(hour_12.into(), 2),
            'M' => number(self.minute.into(), 2),
            'S' => number(self.second.into(), 2),
            'f' => number(0, 6),
            'j' => number(day_of_year, 3),
            'u' => number(weekday as i64 + 1, 1),
            'w' => number((weekday as i64 + 1) % 7, 1),
            'U' => number((day_of_year + 6 - (weekday as i64 + 1) % 7) / 7, 2),
            'W' => number((day_of_year + 6 - weekday as i64) / 7, 2),
            'e' => {
                let _ = write!(text, "{:2}", self.day);
            }
            'B' => text.push_str(month),
            'b' | 'h' => text.push_str(&month[..3]),
            'A' => text.push_str(WEEKDAYS[weekday]),
            'a' => text.push_str(&WEEKDAYS[weekday][..3]),
            'p' => text.push_str(if self.hour < 12 { "AM" } else { "PM" }),
            'F' => text.push_str(&self.format("%Y-%m-%d")),
            'T' | 'X' => text.push_str(&self.format("%H:%M:%S")),
            'R' => text.push_str(&self.format("%H:%M")),
            'D' | 'x' => text.push_str(&self.format("%m/%d/%y")),
            'c' => text.push_str(&self.format("%a %b %e %H:%M:%S %Y")),
            'n' => text.push('\n'),
            't' => text.push('\t'),
            '%' => text.push('%'),
            // A date without a zone has none to print.
            'z' | 'Z' => {}
            other => {
                text.push('%');
                text.push(other);
            }
        }
    }
}

/// Days since 1970-01-01 of a date in the Gregorian calendar. Years are counted from March, so
/// that the leap day is a year's last.
fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * i64::from((month + 9) % 12) + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The inverse of [`days_from_civil`].
fn civil(days: i64) -> (i64, u32, u32) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u32;
    let month = ((month_from_march + 2) % 12 + 1) as u32;
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_strftime_writes_them() {
        // 2024-02-29 13:05:09 UTC.
        let time = LocalTime::from_unix(1_709_211_909, 0);
        for (format, expected) in [
            ("%Y-%m-%d", "2024-02-29"),
            ("%d %b %Y", "29 Feb 2024"),
            ("%B %d, %Y", "February 29, 2024"),
            ("%A %a %I:%M:%S %p", "Thursday Thu 01:05:09 PM"),
            ("%j %U %W %u %w", "060 08 09 4 4"),
            ("%-m/%-d %e %y %%", "2/29 29 24 %"),
            ("%Q %", "%Q %"),
            ("%c", "Thu Feb 29 13:05:09 2024"),
        ] {
            assert_eq!(time.format(format), expected, "{format}");
        }
        assert_eq!(
            LocalTime::from_unix(1_709_211_909, 11 * 3600).format("%F %R"),
            "2024-03-01 00:05"
        );
        assert_eq!(LocalTime::from_unix(-1, 0).format("%F %T"), "1969-12-31 23:59:59");
        assert_eq!(LocalTime::from_unix(i64::MAX, 0).format("%Y"), "9999");
    }

    #[test]
    fn days_and_dates_are_inverse() {
        for days in (-700_000..3_000_000).step_by(97) {
            let (year, month, day) = civil(days);
            assert_eq!(days_from_civil(year, month, day), days);
        }
    }
}
