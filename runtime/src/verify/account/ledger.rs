//! What became of each input offset, in two bits: where claims on message ids count in all
//! partitions, a missing record is right if another one with its id came through. No I/O.

use crate::verify::finding::Kind;

use super::{Account, Input, Window};

/// Offsets in a byte.
const IN_BYTE: usize = 4;

/// What became of one input offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stand {
    /// Not known, or no record.
    Open,
    /// What it came to stands, or must not.
    Through,
    /// Nothing of it stands, and it has a message id.
    Absent,
}

/// What there is of other records with the message id of an absent one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Twin {
    /// None that came through.
    None,
    /// One that may have come through; or not all could be looked at.
    Open,
    /// One that came through.
    Through,
}

/// Those of one input partition.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    start: i64,
    bits: Vec<u8>,
}

impl Ledger {
    /// Of the offsets from `start` to `end`.
    pub(super) fn new(start: i64, end: i64) -> Self {
        let count = usize::try_from(end.saturating_sub(start)).unwrap_or_default();
        Self {
            start,
            bits: vec![0; count.div_ceil(IN_BYTE)],
        }
    }

    pub(super) fn set(&mut self, offset: i64, stand: Stand) {
        if let Some((byte, shift)) = self.place(offset)
            && let Some(byte) = self.bits.get_mut(byte)
        {
            *byte = *byte & !(3 << shift) | (stand as u8) << shift;
        }
    }

    pub(super) fn get(&self, offset: i64) -> Stand {
        let bits = self.place(offset).and_then(|(byte, shift)| {
            let byte = self.bits.get(byte)?;
            Some(byte >> shift & 3)
        });
        match bits {
            Some(1) => Stand::Through,
            Some(2) => Stand::Absent,
            _ => Stand::Open,
        }
    }

    fn place(&self, offset: i64) -> Option<(usize, usize)> {
        let index = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        Some((index / IN_BYTE, index % IN_BYTE * 2))
    }

    /// Absent ones from `offset` on.
    fn absent(&self, offset: i64) -> impl Iterator<Item = i64> {
        let from = offset.max(self.start);
        let end = self
            .start
            .saturating_add_unsigned((self.bits.len() * IN_BYTE) as u64);
        (from..end).filter(|offset| self.get(*offset) == Stand::Absent)
    }
}

impl Account {
    /// Keeps a ledger of each input. `is_alone`: whoever claims a message id is one of them.
    #[must_use]
    pub fn with_ledgers(mut self, is_alone: bool) -> Self {
        let ledger = |input: &Input| {
            let start = input.start().max(input.facts.log_start);
            Ledger::new(start, input.end())
        };
        self.ledgers = self.inputs.iter().map(ledger).collect();
        self.is_alone = is_alone;
        self
    }

    /// The next absent inputs from this one on, at most so many.
    pub fn absent(&self, from: (usize, i64), max: usize) -> Vec<(usize, i64)> {
        let inputs = self.ledgers.iter().enumerate().skip(from.0);
        let absent = inputs.flat_map(|(input, ledger)| {
            let from = if input == from.0 { from.1 } else { i64::MIN };
            ledger.absent(from).map(move |offset| (input, offset))
        });
        absent.take(max).collect()
    }

    /// Of an offset out of scope nothing is known.
    pub fn stand(&self, input: usize, offset: i64) -> Stand {
        self.ledgers
            .get(input)
            .map_or(Stand::Open, |ledger| ledger.get(offset))
    }

    /// No window is needed any more.
    pub fn close(&mut self) {
        for input in &mut self.inputs {
            input.window = Window::default();
        }
    }

    /// All other records with the id of this one were looked at.
    pub fn judge_absent(&mut self, input: usize, offset: i64, twin: Twin) {
        const NOTHING: &str = "nothing of it stands in the outputs";
        let doubt = match twin {
            Twin::Through => {
                self.outcomes.exactly_once += 1;
                self.outcomes.repeated += 1;
                return;
            }
            Twin::None if self.holds_every_claim() => {
                let what = format!("{NOTHING}, nor of another record with its message id");
                self.wrong(Kind::Lost, input, offset, None, what);
                return;
            }
            Twin::None => "it may repeat another record, which cannot be looked at",
            Twin::Open => "it may repeat another record, of which it is not known whether it came through",
        };
        if self.assume_filtered {
            self.outcomes.assumed += 1;
        } else {
            self.wrong(Kind::Unproven, input, offset, None, format!("{doubt}: {NOTHING}"));
        }
    }

    /// Every record that may have claimed an id was read.
    fn holds_every_claim(&self) -> bool {
        self.is_alone && self.inputs.iter().all(Input::is_whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_it_was_told() {
        let mut ledger = Ledger::new(10, 17);
        for (offset, stand) in [
            (10, Stand::Through),
            (11, Stand::Absent),
            (13, Stand::Absent),
            (16, Stand::Absent),
            (13, Stand::Through),
        ] {
            ledger.set(offset, stand);
        }
        // Not its own.
        ledger.set(9, Stand::Absent);
        ledger.set(40, Stand::Absent);
        let stands: Vec<Stand> = (9..18).map(|offset| ledger.get(offset)).collect();
        let (open, through, absent) = (Stand::Open, Stand::Through, Stand::Absent);
        assert_eq!(
            stands,
            [open, through, absent, open, through, open, open, absent, open]
        );
        assert_eq!(ledger.absent(i64::MIN).collect::<Vec<_>>(), [11, 16]);
        assert_eq!(ledger.absent(12).collect::<Vec<_>>(), [16]);
        assert_eq!(Ledger::new(5, 3).absent(0).count(), 0);
    }
}
