//! What a listener does when `accept` fails. A process out of descriptors or memory leaves the
//! connection in the kernel's backlog, which stays ready: whoever just tries again spins, and
//! whoever reports each failure floods the log. So the listener pauses, reports once per period
//! and tries again; nobody in the backlog is lost.

use std::io;

use crate::sys::socket::AcceptError;

/// What to do about a failed `accept`.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum AcceptFailure {
    /// Nobody is waiting: go back to the reactor.
    Drained,
    /// This one connection came to nothing; the next one may be fine.
    Retry,
    /// Disarm the listener until `resume_at`, and report the failure if told so.
    Pause { resume_at: f64, report: bool },
    /// The listening socket itself is broken.
    Fatal,
}

/// The pauses of one listener.
#[derive(Clone, Debug, Default)]
pub struct AcceptBackoff {
    last_report: Option<f64>,
}

impl AcceptBackoff {
    pub fn new() -> Self {
        Self::default()
    }

    /// `now` is the loop's time. Success in between does not reopen the way for reports: a
    /// listener at the limit takes one connection whenever another leaves, and fails again.
    pub fn on_failure(&mut self, error: &io::Error, now: f64) -> AcceptFailure {
        match AcceptError::of(error) {
            AcceptError::NobodyWaits => AcceptFailure::Drained,
            AcceptError::ConnectionFailed => AcceptFailure::Retry,
            AcceptError::Other => AcceptFailure::Fatal,
            AcceptError::OutOfResources => {
                let report = self.last_report.is_none_or(|last| now - last >= PERIOD);
                if report {
                    self.last_report = Some(now);
                }
                AcceptFailure::Pause { resume_at: now + PERIOD, report }
            }
        }
    }
}

/// Seconds. asyncio: `constants.ACCEPT_RETRY_DELAY`.
const PERIOD: f64 = 1.0;

#[cfg(test)]
mod tests {
    use super::*;

    const ENOMEM: i32 = 12;
    const EINVAL: i32 = 22;
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const EPROTO: i32 = 71;
    const ENOBUFS: i32 = 105;

    fn pause(resume_at: f64, report: bool) -> AcceptFailure {
        AcceptFailure::Pause { resume_at, report }
    }

    #[test]
    fn a_starved_listener_pauses_and_reports_once_per_period() {
        let mut backoff = AcceptBackoff::new();
        let starved = io::Error::from_raw_os_error(EMFILE);
        assert_eq!(backoff.on_failure(&starved, 10.0), pause(11.0, true));
        assert_eq!(backoff.on_failure(&starved, 10.2), pause(11.2, false));
        assert_eq!(backoff.on_failure(&starved, 10.9), pause(11.9, false));
        assert_eq!(backoff.on_failure(&starved, 11.0), pause(12.0, true));
    }

    #[test]
    fn whatever_is_lacking_it_pauses() {
        for lacking in [EMFILE, ENFILE, ENOBUFS, ENOMEM] {
            let error = io::Error::from_raw_os_error(lacking);
            assert_eq!(AcceptBackoff::new().on_failure(&error, 1.0), pause(2.0, true), "{error}");
        }
    }

    #[test]
    fn other_failures_do_not_pause() {
        let mut backoff = AcceptBackoff::new();
        let aborted = io::ErrorKind::ConnectionAborted.into();
        assert_eq!(backoff.on_failure(&aborted, 0.0), AcceptFailure::Retry);
        let broken_network = io::Error::from_raw_os_error(EPROTO);
        assert_eq!(backoff.on_failure(&broken_network, 0.0), AcceptFailure::Retry);
        let nobody = io::ErrorKind::WouldBlock.into();
        assert_eq!(backoff.on_failure(&nobody, 0.0), AcceptFailure::Drained);
        let broken = io::Error::from_raw_os_error(EINVAL);
        assert_eq!(backoff.on_failure(&broken, 0.0), AcceptFailure::Fatal);
    }
}
