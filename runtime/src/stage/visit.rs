//! Visiting what leaves the stages.

use strait_sdk::batch::{Entry, Record};

use super::chain::entering;
use super::emission::{Carried, Emission};
use super::run::FAILED;
use super::search::{Link, Origins};
use super::wasm::WasmStage;
use super::{GuestFactory, Outcome, Stages};
use crate::kafka::Header;

impl<F: GuestFactory> Stages<F> {
    /// Visits what the decided records emit, in record order. Failed records emit nothing.
    /// `outcome` and `records` are those of the last run.
    pub fn emissions<R: Record, E>(
        &self,
        outcome: &Outcome,
        records: &[R],
        visit: &mut dyn FnMut(&Emission<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        debug_assert_eq!(outcome.decided, self.parts.len());
        match self.chain.as_slice() {
            [only] => self.visit_one(only, records, visit),
            _ => self.visit_merged(records, visit),
        }
    }

    fn visit_one<R: Record, E>(
        &self,
        stage: &WasmStage<F>,
        records: &[R],
        visit: &mut dyn FnMut(&Emission<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let entering = entering(self.passing.as_deref(), records.len());
        let mut headers = Vec::new();
        let (mut last, mut part) = (None, 0);
        for answer in stage.answers() {
            for entry in answer.entries {
                let Entry::Emit(emit) = entry else { continue };
                let origin = entering.of(answer.first.saturating_add(emit.origin as usize));
                let (Some(record), Some(&parts)) = (records.get(origin), self.parts.get(origin)) else {
                    return Ok(());
                };
                if parts == FAILED {
                    continue;
                }
                part = if last == Some(origin) { part + 1 } else { 1 };
                last = Some(origin);
                let carried = Carried::new(record).with(&emit);
                visit(&carried.emission(origin, 0, emit.output, (part, parts), &mut headers))?;
            }
        }
        Ok(())
    }

    /// Of several stages, the outputs of a record stand in the results of each.
    fn visit_merged<R: Record, E>(
        &self,
        records: &[R],
        visit: &mut dyn FnMut(&Emission<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let entering = entering(self.passing.as_deref(), records.len());
        let levels = levels(&self.chain, entering, &[], records);
        let mut cursors: Vec<_> = self
            .chain
            .iter()
            .zip(0..)
            .map(|(stage, index)| {
                let origins = origins(self.chain.get(..=index).unwrap_or_default(), entering);
                let leaving = stage.emits().filter(|(_, emit)| Some(emit.output) != stage.next);
                leaving
                    .map(move |(place, emit)| (origins.of(place.input), place, emit))
                    .peekable()
            })
            .collect();
        let mut headers: Vec<Header<'_>> = Vec::new();
        for (origin, &parts) in self.parts.iter().enumerate() {
            let mut part = 0;
            for (index, cursor) in cursors.iter_mut().enumerate() {
                while let Some((of, place, emit)) = cursor.next_if(|(of, ..)| *of <= origin) {
                    if parts == FAILED {
                        continue;
                    }
                    let carried = match index.checked_sub(1) {
                        None => records.get(of).map(Carried::new),
                        Some(before) => levels
                            .get(before)
                            .and_then(|level| level.get(place.input))
                            .copied(),
                    };
                    let Some(carried) = carried.map(|carried| carried.with(&emit)) else {
                        continue;
                    };
                    part += 1;
                    visit(&carried.emission(origin, index, emit.output, (part, parts), &mut headers))?;
                }
            }
        }
        Ok(())
    }
}

/// Origins of the inputs of the last of these stages.
pub(super) fn origins<'a, F: GuestFactory>(stages: &'a [WasmStage<F>], entering: Origins<'a>) -> Origins<'a> {
    match stages {
        [] | [_] => entering,
        [.., last] => Origins::Table(&last.links),
    }
}

/// The inputs of every stage but the first, resolved: those of the second, the third, and
/// so on, up to the one that follows `stages`, whose links are `links`.
pub(super) fn levels<'a, F: GuestFactory, R: Record>(
    stages: &'a [WasmStage<F>],
    entering: Origins<'_>,
    links: &[Link],
    records: &'a [R],
) -> Vec<Vec<Carried<'a, R>>> {
    let mut levels: Vec<Vec<Carried<'a, R>>> = Vec::with_capacity(stages.len());
    for (index, stage) in stages.iter().enumerate() {
        let links = stages.get(index + 1).map_or(links, |next| &next.links);
        let previous = levels.last();
        let resolve = |link: &Link| {
            let (input, emit) = stage.emit(*link)?;
            let carried = match previous {
                None => Carried::new(records.get(entering.of(input))?),
                Some(level) => *level.get(input)?,
            };
            Some(carried.with(&emit))
        };
        let level = links.iter().filter_map(resolve).collect();
        levels.push(level);
    }
    levels
}
