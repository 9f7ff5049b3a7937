//! Formats of strings that the server knows. The others are not checked, as there.

use base64::Engine as _;
use chrono::NaiveDate;
use std::net::{Ipv4Addr, Ipv6Addr};

/// A format that means something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// int32
    Int32,
    /// int64
    Int64,
    /// date-time
    DateTime,
    /// date
    Date,
    /// duration
    Duration,
    /// byte
    Byte,
    /// email
    Email,
    /// uri
    Uri,
    /// hostname
    Hostname,
    /// ipv4
    Ipv4,
    /// ipv6
    Ipv6,
    /// cidr
    Cidr,
    /// mac
    Mac,
    /// uuid, and uuid3, uuid4, uuid5 with their version
    Uuid(Option<char>),
}

impl Format {
    /// By its name; none for one that is not checked.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "int32" => Self::Int32,
            "int64" => Self::Int64,
            "date-time" | "datetime" => Self::DateTime,
            "date" => Self::Date,
            "duration" => Self::Duration,
            "byte" => Self::Byte,
            "email" => Self::Email,
            "uri" => Self::Uri,
            "hostname" => Self::Hostname,
            "ipv4" => Self::Ipv4,
            "ipv6" => Self::Ipv6,
            "cidr" => Self::Cidr,
            "mac" => Self::Mac,
            "uuid" => Self::Uuid(None),
            "uuid3" => Self::Uuid(Some('3')),
            "uuid4" => Self::Uuid(Some('4')),
            "uuid5" => Self::Uuid(Some('5')),
            _ => return None,
        })
    }

    /// As messages name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::DateTime => "date-time",
            Self::Date => "date",
            Self::Duration => "duration",
            Self::Byte => "byte",
            Self::Email => "email",
            Self::Uri => "uri",
            Self::Hostname => "hostname",
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
            Self::Cidr => "cidr",
            Self::Mac => "mac",
            Self::Uuid(None) => "uuid",
            Self::Uuid(Some('3')) => "uuid3",
            Self::Uuid(Some('4')) => "uuid4",
            Self::Uuid(Some(_)) => "uuid5",
        }
    }

    /// Whether a string has it.
    pub fn admits(self, text: &str) -> bool {
        match self {
            Self::Int32 | Self::Int64 => true,
            Self::DateTime => is_date_time(text),
            Self::Date => is_date(text),
            Self::Duration => nanoseconds(text).is_some(),
            Self::Byte => base64::engine::general_purpose::STANDARD.decode(text).is_ok(),
            Self::Email => is_email(text),
            Self::Uri => is_uri(text),
            Self::Hostname => is_hostname(text),
            Self::Ipv4 => text.parse::<Ipv4Addr>().is_ok(),
            Self::Ipv6 => text.parse::<Ipv6Addr>().is_ok(),
            Self::Cidr => is_cidr(text),
            Self::Mac => is_mac(text),
            Self::Uuid(version) => is_uuid(text, version),
        }
    }
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && text.is_ascii() && NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok()
}

fn is_date_time(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let Some((date, time)) = lower.split_once('t') else { return false };
    if !is_date(date) || time.len() < 9 || !time.is_ascii() {
        return false;
    }
    let (clock, rest) = time.split_at(8);
    let rest = match rest.strip_prefix('.') {
        Some(fraction) => {
            let after = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
            if after.len() == fraction.len() {
                return false;
            }
            after
        }
        None => rest,
    };
    let two = |s: &str, most: u32| s.len() == 2 && s.parse::<u32>().is_ok_and(|n| n <= most);
    let parts: Vec<&str> = clock.split(':').collect();
    let clock_ok =
        matches!(parts[..], [hour, minute, second] if two(hour, 23) && two(minute, 59) && two(second, 59));
    let zone = rest.strip_prefix(['+', '-']).and_then(|z| z.split_once(':'));
    clock_ok && (rest == "z" || zone.is_some_and(|(hour, minute)| two(hour, 99) && two(minute, 99)))
}

fn is_email(text: &str) -> bool {
    let Some((local, host)) = text.rsplit_once('@') else { return false };
    let plain = |s: &str| !s.is_empty() && !s.contains(char::is_whitespace) && !s.contains('@');
    plain(local) && plain(host)
}

fn is_uri(text: &str) -> bool {
    if text.starts_with('/') {
        return true;
    }
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let first = scheme.starts_with(|c: char| c.is_ascii_alphabetic());
    let named = scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    first && named && !rest.is_empty() && !text.contains(char::is_whitespace)
}

/// Several labels need a last one of at least two letters.
fn is_hostname(text: &str) -> bool {
    let label = |l: &str| {
        let edges = l.starts_with(char::is_alphanumeric) && l.ends_with(char::is_alphanumeric);
        edges && l.len() <= 63 && l.chars().all(|c| c.is_alphanumeric() || c == '-')
    };
    let labels: Vec<&str> = text.split('.').collect();
    let top = |l: &&str| l.len() >= 2 && l.chars().all(char::is_alphabetic);
    text.len() <= 255
        && labels.iter().all(|l| label(l))
        && (labels.len() == 1 || labels.last().is_some_and(top))
}

fn is_cidr(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let within = |most: u8| length.parse::<u8>().is_ok_and(|l| l <= most);
    (address.parse::<Ipv4Addr>().is_ok() && within(32))
        || (address.parse::<Ipv6Addr>().is_ok() && within(128))
}

fn is_mac(text: &str) -> bool {
    let separator = if text.contains('-') { '-' } else { ':' };
    let parts: Vec<&str> = text.split(separator).collect();
    let octet = |p: &&str| p.len() == 2 && p.chars().all(|c| c.is_ascii_hexdigit());
    [6, 8, 20].contains(&parts.len()) && parts.iter().all(octet)
}

fn is_uuid(text: &str, version: Option<char>) -> bool {
    let lower = text.to_ascii_lowercase();
    let bare: Vec<char> = lower.chars().filter(|c| *c != '-').collect();
    let shape = bare.len() == 32 && bare.iter().all(char::is_ascii_hexdigit);
    let variant = version.is_none_or(|v| {
        let strict = v == '3' || bare.get(16).is_some_and(|c| "89ab".contains(*c));
        bare.get(12) == Some(&v) && strict
    });
    shape && variant
}

/// A duration in nanoseconds: as Go writes it (`1h30m`), or with words (`3 days`).
pub fn nanoseconds(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.trim().is_empty() {
        return None;
    }
    let mut total = 0.0;
    while !rest.trim().is_empty() {
        rest = rest.trim_start();
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = rest[digits..].trim_start();
        let end = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
        total += number * unit(&rest[..end])?;
        rest = &rest[end..];
    }
    // Beyond 292 years the cast saturates, where Go refuses.
    Some((sign * total) as i64)
}

fn unit(name: &str) -> Option<f64> {
    Some(match name {
        "ns" | "nano" | "nanosecond" | "nanoseconds" => 1.0,
        "us" | "µs" | "μs" | "micro" | "microsecond" | "microseconds" => 1e3,
        "ms" | "milli" | "millisecond" | "milliseconds" => 1e6,
        "s" | "sec" | "secs" | "second" | "seconds" => 1e9,
        "m" | "min" | "mins" | "minute" | "minutes" => 60e9,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3600e9,
        "d" | "day" | "days" => 86_400e9,
        "w" | "wk" | "week" | "weeks" => 604_800e9,
        _ => return None,
    })
}
