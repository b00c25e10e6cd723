//! Change windows: the weekdays and hours, in a place's own time, in which a call may be made.
//!
//! Zones come from the time-zone data compiled into the build, never from the machine, so that the same
//! log is decided alike everywhere.

use crate::domain::time::Timestamp;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;

/// Minutes of a day.
const DAY_MINUTES: u16 = 24 * 60;

/// What becomes of a call outside its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outside {
    /// A human may still approve it, once the window is open.
    Review,
    /// It is denied.
    Deny,
}

/// A change window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its days, Monday first.
    days: [bool; 7],
    /// First minute of the day.
    from: u16,
    /// Minute of the day at which it ends; at or before `from` it ends on the next day.
    to: u16,
    zone: TimeZone,
    zone_name: String,
    /// What becomes of a call outside.
    pub outside: Outside,
}

impl Window {
    /// A window on `days` (Monday first) from `from` until `to`, minutes of the day, in an IANA zone.
    /// `to` at or before `from` means the next day. The error says what is wrong.
    pub fn new(days: [bool; 7], from: u16, to: u16, zone: &str, outside: Outside) -> Result<Self, String> {
        if from >= DAY_MINUTES || to > DAY_MINUTES {
            return Err("hours are 00:00 to 24:00".to_owned());
        }
        if !days.contains(&true) {
            return Err("a window without days is never open".to_owned());
        }
        let found = TimeZone::get(zone).map_err(|_| format!("`{zone}` is not an IANA time zone"))?;
        Ok(Self { days, from, to, zone: found, zone_name: zone.to_owned(), outside })
    }

    /// Whether the window is open at this instant.
    pub fn contains(&self, at: Timestamp) -> bool {
        let Ok(instant) = jiff::Timestamp::from_microsecond(at.as_micros()) else { return false };
        let local = self.zone.to_datetime(instant);
        let minute = u16::from(local.hour().unsigned_abs()) * 60 + u16::from(local.minute().unsigned_abs());
        let weekday = local.date().weekday();
        if self.from < self.to {
            return self.is_day(weekday) && (self.from..self.to).contains(&minute);
        }
        // Over midnight: the evening of a day of the window, or the morning after one.
        self.is_day(weekday) && minute >= self.from || self.is_day(weekday.previous()) && minute < self.to
    }

    fn is_day(&self, weekday: Weekday) -> bool {
        let index = usize::from(weekday.to_monday_zero_offset().unsigned_abs());
        self.days.get(index).copied().unwrap_or(false)
    }
}

impl std::fmt::Display for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
        let days = names.iter().zip(self.days).filter(|(_, open)| *open).map(|(name, _)| *name);
        let clock = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
        let days: Vec<&str> = days.collect();
        write!(f, "{} {}-{} {}", days.join(","), clock(self.from), clock(self.to), self.zone_name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKDAYS: [bool; 7] = [true, true, true, true, true, false, false];

    fn check(window: &Window, at: &str, open: bool) {
        assert_eq!(window.contains(Timestamp::parse(at).unwrap()), open, "{at} in {window}");
    }

    #[test]
    fn office_hours_follow_the_place_and_its_summer_time() {
        let office = Window::new(WORKDAYS, 9 * 60, 17 * 60, "Europe/Berlin", Outside::Review).unwrap();
        check(&office, "2026-11-17T08:00:00Z", true); // Tuesday 09:00 in winter
        check(&office, "2026-11-17T07:59:59Z", false);
        check(&office, "2026-11-17T15:59:59Z", true);
        check(&office, "2026-11-17T16:00:00Z", false);
        check(&office, "2026-07-14T07:00:00Z", true); // 09:00 in summer
        check(&office, "2026-11-21T10:00:00Z", false); // Saturday
    }

    #[test]
    fn a_night_window_goes_over_midnight() {
        let night = Window::new(WORKDAYS, 22 * 60, 2 * 60, "America/New_York", Outside::Deny).unwrap();
        check(&night, "2026-11-18T03:30:00Z", true); // Tuesday 22:30
        check(&night, "2026-11-18T06:59:00Z", true); // Wednesday 01:59
        check(&night, "2026-11-18T07:00:00Z", false);
        check(&night, "2026-11-21T06:00:00Z", true); // Saturday 01:00, still Friday's window
        check(&night, "2026-11-22T04:00:00Z", false); // Saturday 23:00
        check(&night, "2026-11-16T06:00:00Z", false); // Monday 01:00, after Sunday
    }

    #[test]
    fn what_is_no_window() {
        assert!(Window::new(WORKDAYS, 0, 60, "Mars/Olympus", Outside::Deny).is_err());
        assert!(Window::new([false; 7], 0, 60, "UTC", Outside::Deny).is_err());
        assert!(Window::new(WORKDAYS, 1_440, 60, "UTC", Outside::Deny).is_err());
    }
}
