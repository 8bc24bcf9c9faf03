//! How many questions DNS was asked, by kind and result, for the metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use super::DnsAnswer;

/// Look-ups by kind and result since the start. Read with [`Figures::read`].
#[derive(Debug, Default)]
pub struct Figures([[AtomicU64; 4]; 5]);

/// Kinds of look-up, in the order of [`Figures::read`].
pub const FIGURE_KINDS: [&str; 5] = ["mx", "address", "ptr", "txt", "cname"];
/// Results of look-ups, in the order of [`Figures::read`].
pub const FIGURE_RESULTS: [&str; 4] = ["found", "no_name", "no_data", "failed"];

impl Figures {
    /// Every count as `(kind, result, count)`; the labels are fixed sets.
    pub fn read(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> + '_ {
        FIGURE_KINDS.iter().zip(&self.0).flat_map(|(kind, row)| {
            FIGURE_RESULTS.iter().zip(row).map(|(result, n)| (*kind, *result, n.load(Ordering::Relaxed)))
        })
    }

    pub(super) fn count<T>(&self, kind: Kind, answer: &DnsAnswer<T>) {
        let column = match answer {
            DnsAnswer::Found(_) => 0,
            DnsAnswer::NoName => 1,
            DnsAnswer::NoData => 2,
            DnsAnswer::Failed(_) => 3,
        };
        if let Some(cell) = self.0.get(kind as usize).and_then(|row| row.get(column)) {
            cell.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Row of [`Figures`].
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Mx,
    Address,
    Ptr,
    Txt,
    Cname,
}
