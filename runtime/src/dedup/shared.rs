//! What stores have in common that others use too: a batch is asked about with each id once.

use std::collections::BTreeMap;

use super::claim::{Claim, Verdict};
use super::message_id::MessageId;

/// The first claim on each id of a batch, with its record's coordinate as text; in the order of the
/// ids, in which all who claim several must lock them.
pub(super) fn first_of_each(claims: &[Claim]) -> BTreeMap<MessageId, String> {
    let mut first = BTreeMap::new();
    for claim in claims {
        first
            .entry(claim.id)
            .or_insert_with(|| claim.coordinate.to_string());
    }
    first
}

/// The verdict on each claim, by who holds its id. `None` if that is not known of one of them.
pub(super) fn verdicts<'h>(
    claims: &[Claim],
    holder: impl Fn(&MessageId) -> Option<&'h str>,
) -> Option<Vec<Verdict>> {
    let verdict = |claim: &Claim| {
        let held = holder(&claim.id)? == claim.coordinate.to_string();
        Some(if held { Verdict::First } else { Verdict::Repeated })
    };
    claims.iter().map(verdict).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dedup::claim::Coordinate;

    fn claim(id: u8, offset: i64) -> Claim {
        Claim {
            id: MessageId::from_bytes([id; 16]),
            coordinate: Coordinate {
                topic_id: "t".into(),
                partition: 0,
                offset,
            },
        }
    }

    #[test]
    fn of_a_batch_the_first_claim_is_made_and_the_others_are_judged_by_it() {
        let claims = [claim(2, 5), claim(1, 6), claim(2, 7), claim(1, 8)];
        let first = first_of_each(&claims);
        let asked: Vec<&str> = first.values().map(String::as_str).collect();
        assert_eq!(asked, ["t/0/6", "t/0/5"]);
        let (ours, theirs) = (Verdict::First, Verdict::Repeated);
        let all_ours = verdicts(&claims, |id| first.get(id).map(String::as_str)).unwrap();
        assert_eq!(all_ours, [ours, ours, theirs, theirs]);
        let other = verdicts(&claims, |id| {
            if id.as_bytes() == &[2; 16] {
                Some("elsewhere")
            } else {
                first.get(id).map(String::as_str)
            }
        });
        assert_eq!(other.unwrap(), [theirs, ours, theirs, theirs]);
        // Who does not know must not guess.
        assert_eq!(verdicts(&claims, |_| None), None);
    }
}
