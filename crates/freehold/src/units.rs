//! Amounts as people write them: bytes with a unit, times with a unit.

use std::time::Duration;

/// A number of bytes: `8G`, `512M`, `1.5GiB`; a bare number is bytes. Units are binary.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let expected = "expected bytes, such as 8G, 1.5G or 512M";
    let (number, unit) = split(text);
    let factor = match unit.to_ascii_lowercase().trim_end_matches("ib").trim_end_matches('b') {
        "" => 0u32,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return Err(format!("`{unit}` is no unit; {expected}")),
    };
    let number: f64 = number.parse().map_err(|_| expected.to_owned())?;
    let bytes = number * (1u64 << factor) as f64;
    let is_sane = bytes >= 1.0 && bytes < u64::MAX as f64;
    if is_sane { Ok(bytes as u64) } else { Err(expected.to_owned()) }
}

/// A time after which something is done; `None` is never.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit(pub(crate) Option<Duration>);

/// A time: `10m`, `90s`, `1h`, `30d`; a bare number is seconds. `0` and `off` are never.
pub(crate) fn parse_time(text: &str) -> Result<Limit, String> {
    let expected = "expected a time, such as 10m, 90s, 1h or 30d, or off";
    if text == "off" {
        return Ok(Limit(None));
    }
    let (number, unit) = split(text);
    let seconds = match unit {
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return Err(format!("`{unit}` is no unit; {expected}")),
    };
    let number: f64 = number.parse().map_err(|_| expected.to_owned())?;
    let time = Duration::try_from_secs_f64(number * seconds).map_err(|_| expected.to_owned())?;
    Ok(Limit((!time.is_zero()).then_some(time)))
}

/// How long something is good for: `30d`, `12h`, `90m`, `45s`.
pub(crate) fn parse_lifetime(text: &str) -> Result<Duration, String> {
    let expected = "expected a time with its unit, such as 30d, 12h, 90m or 45s";
    let (number, unit) = split(text);
    let seconds = match unit {
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return Err(expected.to_owned()),
    };
    let number: f64 = number.parse().map_err(|_| expected.to_owned())?;
    let time = Duration::try_from_secs_f64(number * seconds).map_err(|_| expected.to_owned())?;
    if time.as_secs() == 0 { Err(expected.to_owned()) } else { Ok(time) }
}

/// A time above 0: `500ms`, `90s`, `10m`; a bare number is seconds.
pub(crate) fn parse_span(text: &str) -> Result<Duration, String> {
    let expected = "expected a time above 0, such as 500ms, 90s or 10m";
    let parsed = match text.strip_suffix("ms") {
        Some(number) => {
            let milliseconds: Option<f64> = number.parse().ok();
            milliseconds.and_then(|ms| Duration::try_from_secs_f64(ms / 1e3).ok())
        }
        None => parse_time(text).ok().and_then(|limit| limit.0),
    };
    parsed.filter(|time| !time.is_zero()).ok_or(expected.to_owned())
}

/// A number and what follows it.
fn split(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    (&text[..end], text[end..].trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_above_zero() {
        assert_eq!(parse_span("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_span("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_span("2m"), Ok(Duration::from_secs(120)));
        for bad in ["0", "off", "0ms", "-1ms", "ms", "3x", "1e400ms", "NaNms"] {
            assert!(parse_span(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn bytes_have_binary_units() {
        for (text, bytes) in [
            ("1", 1),
            ("512M", 512 << 20),
            ("8G", 8 << 30),
            ("8 GiB", 8 << 30),
            ("1.5g", 3 << 29),
            ("2kb", 2048),
            ("3T", 3 << 40),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for text in
            ["", "G", "-1G", "8X", "1e30T", "0", "0.0001", "1.2.3", "99999999999999T", "nan"]
        {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn lifetimes_have_units() {
        for (text, seconds) in [("30d", 2_592_000), ("12h", 43_200), ("1.5m", 90), ("45s", 45)] {
            assert_eq!(parse_lifetime(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in
            ["", "d", "30", "0d", "0.1s", "-1d", "1w", "off", "9e99d", "99999999999999999999d"]
        {
            assert!(parse_lifetime(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_may_be_off() {
        let seconds = |n| Ok(Limit(Some(Duration::from_secs(n))));
        for (text, time) in [
            ("90", seconds(90)),
            ("10m", seconds(600)),
            ("1.5h", seconds(5400)),
            ("2d", seconds(172_800)),
        ] {
            assert_eq!(parse_time(text), time, "{text}");
        }
        let never = Ok(Limit(None));
        assert_eq!((parse_time("off"), parse_time("0")), (never.clone(), never));
        for text in ["", "m", "-1s", "5w", "never", "99999999999999999999h"] {
            assert!(parse_time(text).is_err(), "{text}");
        }
    }
}
