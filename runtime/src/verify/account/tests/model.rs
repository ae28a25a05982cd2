//! The same judgement, written down without windows, rounds or budgets: it holds everything
//! in maps. Random logs, tampered with at random, must come to the same.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

fn fate() -> impl Strategy<Value = Spec> {
    prop_oneof![
        5 => prop::collection::vec(0_u16..2, 0..4).prop_map(|topics| emits(&topics)),
        1 => Just(rejected()),
        1 => Just(hole()),
        1 => Just(spec(Fate::Skipped, Why::Failure(FailureKind::Reject), &[])),
    ]
}

/// Partitions of the input in turn, each part somewhere in its topic.
fn honest() -> impl Strategy<Value = Case> {
    let inputs = prop::collection::vec(prop::collection::vec((fate(), any::<bool>()), 0..12), 1..4);
    inputs.prop_map(|inputs| {
        let mut case = Case::honest(&[]);
        case.inputs.clear();
        let longest = inputs.iter().map(Vec::len).max().unwrap_or(0);
        for row in 0..longest {
            for (input, specs) in inputs.iter().enumerate() {
                let Some((spec, second)) = specs.get(row) else {
                    continue;
                };
                let parts = spec.topics.len() as u32;
                for (part, topic) in (1..).zip(&spec.topics) {
                    let slot = match topic {
                        0 => usize::from(*second),
                        1 => 2,
                        _ => DLQ_SLOT,
                    };
                    case.logs[slot].push(match spec.fate {
                        Fate::Letter => Seen::Letter(letter(input, row as i64)),
                        _ => output(input, row as i64, part, parts),
                    });
                }
            }
        }
        for (input, specs) in inputs.into_iter().enumerate() {
            let specs: Vec<Spec> = specs.into_iter().map(|(spec, _)| spec).collect();
            case.inputs.push((facts(input, specs.len() as i64), specs));
        }
        case
    })
}

#[derive(Debug, Clone)]
enum Tamper {
    Drop,
    Repeat,
    Move(usize),
    Swap,
    Alter,
    Claim(i64, u32, u32),
}

fn tamper() -> impl Strategy<Value = (Tamper, prop::sample::Index, usize)> {
    let what = prop_oneof![
        Just(Tamper::Drop),
        Just(Tamper::Repeat),
        (0..SLOTS.len() - 1).prop_map(Tamper::Move),
        Just(Tamper::Swap),
        Just(Tamper::Alter),
        (0_i64..14, 1_u32..4, 0_u32..3).prop_map(|(offset, part, more)| Tamper::Claim(
            offset,
            part,
            part + more
        )),
    ];
    (what, any::<prop::sample::Index>(), 0..SLOTS.len() - 1)
}

fn apply(case: &mut Case, (what, index, slot): &(Tamper, prop::sample::Index, usize)) {
    let log = &mut case.logs[*slot];
    if log.is_empty() {
        return;
    }
    let at = index.index(log.len());
    let Seen::Output(output) = log[at] else { return };
    match what {
        Tamper::Drop => drop(log.remove(at)),
        Tamper::Repeat => log.push(Seen::Output(output)),
        Tamper::Move(to) => {
            let seen = log.remove(at);
            case.logs[*to].push(seen);
        }
        Tamper::Swap => {
            let other = (at + 1) % log.len();
            log.swap(at, other);
        }
        Tamper::Alter => {
            log[at] = Seen::Output(SeenOutput {
                digest: !output.digest,
                ..output
            });
        }
        Tamper::Claim(offset, part, parts) => {
            let claim = Claim {
                input: output.claim.input,
                offset: *offset,
                part: *part,
                parts: *parts,
            };
            log[at] = Seen::Output(SeenOutput { claim, ..output });
        }
    }
}

type Verdict = BTreeMap<(Kind, usize, i64), u64>;

#[derive(Default)]
struct Model {
    verdict: Verdict,
    seen: BTreeSet<(usize, i64, u32)>,
    outputs_of: BTreeSet<(usize, i64)>,
    letters_of: BTreeSet<(usize, i64)>,
}

impl Model {
    fn add(&mut self, kind: Kind, claim: &Claim) {
        *self.verdict.entry((kind, claim.input, claim.offset)).or_default() += 1;
    }

    fn judge(mut self, case: &Case) -> Verdict {
        for (slot, log) in case.logs.iter().enumerate() {
            let mut highest: BTreeMap<usize, (i64, u32)> = BTreeMap::new();
            for seen in log {
                let claim = match seen {
                    Seen::Output(output) => output.claim,
                    Seen::Letter(letter) => letter.claim,
                    Seen::Foreign(_) => continue,
                };
                let (facts, specs) = &case.inputs[claim.input];
                if claim.offset >= facts.committed {
                    self.add(Kind::Unexpected, &claim);
                    continue;
                }
                let highest = highest.entry(claim.input).or_insert((-1, 0));
                let is_behind = (claim.offset, claim.part) <= *highest;
                *highest = (claim.offset, claim.part).max(*highest);
                let spec = &specs[claim.offset as usize];
                if self.one(seen, &claim, spec, SLOTS[slot]) && is_behind {
                    self.add(Kind::OutOfOrder, &claim);
                }
            }
        }
        self.missing(case);
        self.verdict
    }

    fn one(&mut self, seen: &Seen, claim: &Claim, spec: &Spec, topic: u16) -> bool {
        let place = (claim.input, claim.offset);
        let Seen::Output(output) = seen else {
            return self.letters_of.insert(place);
        };
        let expected = spec.topics.get(claim.part as usize - 1);
        if spec.fate != Fate::Outputs || expected != Some(&topic) {
            self.add(Kind::Unexpected, claim);
            return false;
        }
        if !self.seen.insert((claim.input, claim.offset, claim.part)) {
            self.add(Kind::Doubled, claim);
            return false;
        }
        self.outputs_of.insert(place);
        let right = digest(claim.input, claim.offset, claim.part);
        if claim.parts as usize != spec.topics.len() || output.digest != right {
            self.add(Kind::Differs, claim);
        }
        true
    }

    fn missing(&mut self, case: &Case) {
        for (input, (_, specs)) in case.inputs.iter().enumerate() {
            for (offset, spec) in (0..).zip(specs) {
                let claim = |part| Claim {
                    input,
                    offset,
                    part,
                    parts: 0,
                };
                for part in 1..=spec.topics.len() as u32 {
                    let there = match spec.fate {
                        Fate::Letter => self.letters_of.contains(&(input, offset)),
                        _ => self.seen.contains(&(input, offset, part)),
                    };
                    if !there {
                        self.add(Kind::Lost, &claim(part));
                    }
                }
            }
        }
    }
}

fn verdict(account: &Account) -> Verdict {
    let mut verdict = Verdict::new();
    for (kind, listed) in account.findings.iter() {
        assert_eq!(listed.count, listed.listed.len() as u64);
        for finding in &listed.listed {
            let input = usize::try_from(finding.input.partition).unwrap();
            *verdict.entry((kind, input, finding.input.offset)).or_default() += 1;
        }
    }
    verdict
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn agrees_with_the_model(
        case in honest(), tampers in prop::collection::vec(tamper(), 0..4), budget in 0_usize..600,
    ) {
        let mut case = case;
        let right = case.judge_within(budget);
        prop_assert_eq!(verdict(&right), Verdict::new());
        prop_assert_eq!(right.outcomes.inputs, right.outcomes.exactly_once);
        for tamper in &tampers {
            apply(&mut case, tamper);
        }
        let account = case.judge_within(budget);
        prop_assert_eq!(verdict(&account), Model::default().judge(&case));
        prop_assert_eq!(account.outcomes, case.judge().outcomes);
    }
}
