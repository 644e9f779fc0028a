//! Counts cross the border as 64 bits, whatever the processor.

/// A count for the other side.
pub(crate) fn count(value: usize) -> u64 {
    value as u64
}

/// A count from the other side; what no address reaches is the most that one does.
pub(crate) fn size(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}
