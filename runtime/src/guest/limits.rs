//! What a guest may take: linear memory and table entries.
//!
//! Invariant: a refusal is remembered until the next call begins. A guest that was refused
//! memory sees `memory.grow` fail and usually aborts, and only this tells that trap apart
//! from a bug.

use wasmtime::ResourceLimiter;

/// Entries of one function table; code that needs more is not a transform.
pub(super) const TABLE_ENTRIES_MAX: usize = 100_000;

pub(super) struct Limiter {
    memory_bytes_max: usize,
    refused: bool,
}

impl Limiter {
    pub(super) fn new(memory_bytes_max: usize) -> Self {
        Self {
            memory_bytes_max,
            refused: false,
        }
    }

    /// A call begins: what was refused before is none of its business.
    pub(super) fn begin(&mut self) {
        self.refused = false;
    }

    /// Whether memory was refused since the call began.
    pub(super) fn refused(&self) -> bool {
        self.refused
    }

    pub(super) fn memory_bytes_max(&self) -> usize {
        self.memory_bytes_max
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, _now: usize, desired: usize, _max: Option<usize>) -> wasmtime::Result<bool> {
        let fits = desired <= self.memory_bytes_max;
        self.refused |= !fits;
        Ok(fits)
    }

    /// The module's own maximum, or the machine's, was less than our limit.
    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.refused = true;
        Ok(())
    }

    fn table_growing(&mut self, _now: usize, desired: usize, _max: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ENTRIES_MAX)
    }

    fn instances(&self) -> usize {
        1
    }

    fn memories(&self) -> usize {
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_remembered_for_one_call() {
        let mut limiter = Limiter::new(1 << 20);
        assert!(limiter.memory_growing(0, 1 << 20, None).unwrap());
        assert!(!limiter.refused());
        assert!(!limiter.memory_growing(1 << 20, (1 << 20) + 65_536, None).unwrap());
        assert!(limiter.refused());
        limiter.begin();
        assert!(!limiter.refused());
    }
}
