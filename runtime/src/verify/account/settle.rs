//! The end of a round: what must be there and is not.

use crate::verify::finding::{Finding, Kind};
use crate::verify::window::{Cell, DOUBTFUL, Fate, LEARNED, UNTRACKED, WRONG, Why};

use super::{Account, Stand};

/// What became of one input.
enum Verdict {
    Nothing,
    Emitted(u32),
    Filtered,
    DeadLetter,
    Skipped,
    Repeated,
    /// Nothing of it stands, which other records may make right.
    Absent,
    /// Something was found, here or before.
    Wrong,
    Unproven(String),
}

/// Inputs in a row that are unproven for the same reason.
struct Row {
    from: i64,
    to: i64,
    what: String,
}

impl Account {
    /// Every record of the outputs was seen: judges what is missing of the windows.
    pub fn settle(&mut self) {
        for input in 0..self.inputs.len() {
            self.settle_input(input);
        }
        self.is_first_round = false;
    }

    fn settle_input(&mut self, at: usize) {
        let Some(input) = self.inputs.get(at) else {
            return;
        };
        let offsets = input.window.start()..input.window.end();
        let mut row: Option<Row> = None;
        for offset in offsets {
            let Some(cell) = self.inputs.get(at).and_then(|input| input.window.cell(offset)) else {
                break;
            };
            if cell.fate == Fate::Hole {
                continue;
            }
            self.outcomes.inputs += 1;
            let verdict = self.verdict(at, offset, cell);
            self.note(at, offset, &verdict);
            let Verdict::Unproven(what) = verdict else {
                self.tally(&verdict);
                continue;
            };
            if self.assume_filtered {
                self.outcomes.assumed += 1;
                continue;
            }
            match &mut row {
                Some(row) if row.to == offset && row.what == what => row.to += 1,
                _ => {
                    self.list(at, row.take());
                    row = Some(Row {
                        from: offset,
                        to: offset + 1,
                        what,
                    });
                }
            }
        }
        self.list(at, row);
    }

    fn tally(&mut self, verdict: &Verdict) {
        let outcomes = &mut self.outcomes;
        let is_open = matches!(verdict, Verdict::Nothing | Verdict::Absent | Verdict::Wrong);
        outcomes.exactly_once += u64::from(!is_open);
        match verdict {
            Verdict::Emitted(parts) => {
                outcomes.emitted += 1;
                outcomes.outputs += u64::from(*parts);
            }
            Verdict::Filtered => outcomes.filtered += 1,
            Verdict::DeadLetter => outcomes.dead_letters += 1,
            Verdict::Skipped => outcomes.skipped += 1,
            Verdict::Repeated => outcomes.repeated += 1,
            Verdict::Nothing | Verdict::Absent | Verdict::Wrong | Verdict::Unproven(_) => {}
        }
    }

    /// What others with its message id may ask for.
    fn note(&mut self, input: usize, offset: i64, verdict: &Verdict) {
        let Some(ledger) = self.ledgers.get_mut(input) else {
            return;
        };
        let window = self.inputs.get(input).map(|input| &input.window);
        let stands = window.and_then(|window| {
            let cell = window.cell(offset)?;
            Some(cell.letters > 0 || window.seen_count(cell) > 0)
        });
        ledger.set(
            offset,
            match verdict {
                Verdict::Absent => Stand::Absent,
                Verdict::Wrong | Verdict::Unproven(_) if stands == Some(true) => Stand::Through,
                Verdict::Nothing | Verdict::Wrong | Verdict::Unproven(_) => Stand::Open,
                _ => Stand::Through,
            },
        );
    }

    fn list(&mut self, input: usize, row: Option<Row>) {
        let (Some(input), Some(row)) = (self.inputs.get(input), row) else {
            return;
        };
        let count = u64::try_from(row.to - row.from).unwrap_or_default();
        let place = input.place(row.from);
        self.findings.add_many(Kind::Unproven, count, || Finding {
            input: place,
            until: (count > 1).then_some(row.to),
            output: None,
            what: row.what,
        });
    }

    fn verdict(&mut self, input: usize, offset: i64, cell: Cell) -> Verdict {
        let seen = self
            .inputs
            .get(input)
            .map_or(0, |input| input.window.seen_count(cell));
        let has_outputs = seen > 0 && (cell.fate == Fate::Outputs || cell.has(LEARNED));
        if has_outputs && cell.letters > 0 {
            let what = "has outputs and a dead letter".to_owned();
            self.wrong(Kind::Unexpected, input, offset, None, what);
            return Verdict::Wrong;
        }
        let missing = if has_outputs || Self::must_be_there(cell) {
            self.missing(input, offset, cell)
        } else {
            Missing::None
        };
        match missing {
            Missing::Lost => return Verdict::Wrong,
            _ if cell.has(WRONG) => return Verdict::Wrong,
            Missing::Gone(what) => return Verdict::Unproven(what),
            Missing::None => {}
        }
        match Self::outcome(cell, seen) {
            Verdict::Absent => self.excused(input, offset, cell).unwrap_or(Verdict::Absent),
            verdict => verdict,
        }
    }

    /// Nothing of it stands, and it may have stood.
    fn excused(&self, input: usize, offset: i64, cell: Cell) -> Option<Verdict> {
        let window = &self.inputs.get(input)?.window;
        let topics = (1..=cell.parts).filter_map(|part| window.part(cell, part));
        let excuse = topics
            .into_iter()
            .find_map(|(topic, ..)| self.excuse(input, offset, topic))?;
        Some(Verdict::Unproven(format!(
            "nothing of it stands in the outputs: {excuse}"
        )))
    }

    /// Nothing is missing but what may be missing.
    fn outcome(cell: Cell, seen: u32) -> Verdict {
        let unproven = |what: &str| Verdict::Unproven(format!("{}: {what}", cell.why.clause()));
        match cell.fate {
            Fate::Hole => Verdict::Nothing,
            _ if cell.has(UNTRACKED) => unproven("it has more outputs than can be followed"),
            Fate::Unknown if seen > 0 => unproven("its outputs stand once each, and cannot be compared"),
            Fate::Unknown if cell.letters > 0 => unproven("its dead letter stands"),
            Fate::Unknown => unproven("nothing of it stands in the outputs"),
            _ if cell.has(LEARNED) => unproven("its outputs stand once each, and are not those recomputed"),
            Fate::Outputs if cell.letters > 0 => Verdict::Unproven(
                "its dead letter stands, and recomputing does not confirm that it failed: another module wrote it, \
                 or the failure was one of the moment"
                    .to_owned(),
            ),
            Fate::Outputs if cell.has(DOUBTFUL) => unproven("its outputs are not those recomputed"),
            Fate::Outputs | Fate::Skipped if cell.parts == 0 && cell.why.is_doubtful() => {
                unproven("nothing of it stands in the outputs")
            }
            Fate::Outputs if cell.parts == 0 => Verdict::Filtered,
            Fate::Outputs | Fate::Letter
                if seen == 0 && cell.letters == 0 && cell.why == Why::Shared =>
            {
                Verdict::Absent
            }
            Fate::Outputs if seen == 0 => unproven("nothing of it stands in the outputs"),
            Fate::Outputs => Verdict::Emitted(seen),
            Fate::Letter if cell.letters > 0 => Verdict::DeadLetter,
            Fate::Letter => unproven("its dead letter is not there"),
            Fate::Skipped if cell.why == Why::Repeat => Verdict::Repeated,
            Fate::Skipped => Verdict::Skipped,
        }
    }

    /// Whether what is missing is lost, even though nothing of it stands.
    fn must_be_there(cell: Cell) -> bool {
        match cell.fate {
            Fate::Outputs | Fate::Letter => !cell.why.may_be_missing() && cell.letters == 0,
            Fate::Hole | Fate::Skipped | Fate::Unknown => false,
        }
    }

    fn missing(&mut self, input: usize, offset: i64, cell: Cell) -> Missing {
        let mut result = Missing::None;
        for part in 1..=cell.parts {
            let expected = self
                .inputs
                .get(input)
                .and_then(|input| input.window.part(cell, part));
            let Some((topic, _, false)) = expected else {
                continue;
            };
            let name = if cell.fate == Fate::Letter && !cell.has(LEARNED) {
                "its dead letter".to_owned()
            } else {
                format!("part {part} of {}", cell.parts)
            };
            if let Some(excuse) = self.excuse(input, offset, topic) {
                if result == Missing::None {
                    result = Missing::Gone(format!("{name} is not there: {excuse}"));
                }
                continue;
            }
            let place = topic.and_then(|topic| self.topics.get(usize::from(topic)));
            let place = place.map_or_else(String::new, |topic| format!(" in {}", topic.name));
            let what = format!("{name} is not there{place}");
            self.wrong(Kind::Lost, input, offset, None, what);
            result = Missing::Lost;
        }
        result
    }

    /// Why an output may be missing without being lost.
    fn excuse(&self, input: usize, offset: i64, topic: Option<u16>) -> Option<String> {
        let mut topics = (0..).zip(&self.topics);
        let may = |index: u16| {
            let name = &self.topics.get(usize::from(index))?.name;
            if self.topics.get(usize::from(index))?.is_compacted {
                return Some(format!("{name} is compacted"));
            }
            let gone = self.order.may_be_gone(input, offset, index);
            gone.then(|| format!("the beginning of {name} is gone (retention)"))
        };
        match topic {
            Some(topic) => may(topic),
            None => topics.find_map(|(index, _)| may(index)),
        }
    }
}

/// What is missing of one input.
#[derive(PartialEq, Eq)]
enum Missing {
    None,
    Lost,
    /// Missing, and may have been there.
    Gone(String),
}
