//! What the process itself uses, under the names that Prometheus clients agree on (without our prefix they would need
//! a second registry, so they carry it): memory, processor time, descriptors, start.
//!
//! Read from `/proc/self` when metrics are rendered. Where that is not there the gauges stay at zero.

use prometheus::{Gauge, IntGauge, Registry};

/// The unit of times in `/proc/self/stat`: `USER_HZ`, which Linux fixes at 100 a second for user space.
const TICKS_PER_SECOND: f64 = 100.0;
/// Size of a page in `/proc/self/statm` where the system does not say otherwise.
const PAGE_BYTES: i64 = 4096;

/// Gauges of the process.
pub(super) struct Process {
    cpu_seconds: Gauge,
    resident_bytes: IntGauge,
    open_descriptors: IntGauge,
}

impl Process {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let this = Self {
            cpu_seconds: Gauge::new("process_cpu_seconds", "Processor time used, user and system.")?,
            resident_bytes: IntGauge::new("process_resident_memory_bytes", "Resident memory.")?,
            open_descriptors: IntGauge::new("process_open_fds", "Open file descriptors.")?,
        };
        registry.register(Box::new(this.cpu_seconds.clone()))?;
        registry.register(Box::new(this.resident_bytes.clone()))?;
        registry.register(Box::new(this.open_descriptors.clone()))?;
        Ok(this)
    }

    /// Reads the figures anew.
    pub(super) fn update(&self) {
        if let Some(ticks) = std::fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(cpu_ticks) {
            self.cpu_seconds.set(ticks / TICKS_PER_SECOND);
        }
        let pages = std::fs::read_to_string("/proc/self/statm").ok().as_deref().and_then(resident_pages);
        if let Some(pages) = pages {
            self.resident_bytes.set(pages.saturating_mul(PAGE_BYTES));
        }
        if let Ok(folder) = std::fs::read_dir("/proc/self/fd") {
            self.open_descriptors.set(i64::try_from(folder.count()).unwrap_or(i64::MAX));
        }
    }
}

/// User and system time from `/proc/self/stat`: fields 14 and 15, counted after the name in parentheses.
fn cpu_ticks(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Resident pages from `/proc/self/statm`: its second field.
fn resident_pages(statm: &str) -> Option<i64> {
    statm.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_blanks_does_not_shift_the_fields() {
        let stat = "42 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 1";
        assert_eq!(cpu_ticks(stat), Some(200.0));
        assert_eq!(resident_pages("1000 250 30 1 0 200 0"), Some(250));
        assert_eq!((cpu_ticks("nonsense"), resident_pages("")), (None, None));
    }

    #[test]
    fn this_process_has_memory_and_descriptors() {
        let process = Process::new(&Registry::new()).unwrap();
        process.update();
        assert!(process.resident_bytes.get() > 0 && process.open_descriptors.get() > 0);
    }
}
