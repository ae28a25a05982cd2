//! Claims of this process: lost with it, and with the oldest of too many.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use lru::LruCache;

use super::claim::{Claim, Coordinate, Verdict};
use super::message_id::MessageId;

/// As many ids as it was told, for as long as it was told.
#[derive(Debug)]
pub struct MemoryClaims {
    held: LruCache<MessageId, Held>,
    window: Duration,
}

#[derive(Debug)]
struct Held {
    by: Coordinate,
    since: Instant,
}

impl MemoryClaims {
    pub fn new(ids_max: NonZeroUsize, window: Duration) -> Self {
        Self {
            held: LruCache::new(ids_max),
            window,
        }
    }

    /// Judges one claim after the other.
    pub fn claim(&mut self, claim: &Claim, now: Instant) -> Verdict {
        if let Some(held) = self.held.get(&claim.id)
            && now.duration_since(held.since) < self.window
        {
            return if held.by == claim.coordinate {
                Verdict::First
            } else {
                Verdict::Repeated
            };
        }
        let held = Held {
            by: claim.coordinate.clone(),
            since: now,
        };
        self.held.put(claim.id, held);
        Verdict::First
    }

    pub fn len(&self) -> usize {
        self.held.len()
    }

    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::dedup::message_id::{IdReader, IdSource};
    use crate::lane::testing::Rec;

    const WINDOW: Duration = Duration::from_secs(10);

    fn claim(id: u8, offset: i64) -> Claim {
        let reader = IdReader::new(IdSource::Value, &[]);
        Claim {
            id: reader.id_of(&Rec::new(0, &[id])).unwrap(),
            coordinate: Coordinate {
                topic_id: "topic".into(),
                partition: 0,
                offset,
            },
        }
    }

    fn claims(ids_max: usize) -> MemoryClaims {
        MemoryClaims::new(NonZeroUsize::new(ids_max).unwrap(), WINDOW)
    }

    #[test]
    fn who_is_read_again_is_no_repeat() {
        let (mut claims, now) = (claims(10), Instant::now());
        assert_eq!(claims.claim(&claim(1, 5), now), Verdict::First);
        assert_eq!(claims.claim(&claim(1, 6), now), Verdict::Repeated);
        assert_eq!(claims.claim(&claim(1, 5), now), Verdict::First);
    }

    #[test]
    fn an_id_is_free_again_after_its_window() {
        let (mut claims, now) = (claims(10), Instant::now());
        claims.claim(&claim(1, 5), now);
        // A repeat does not lengthen it.
        assert_eq!(claims.claim(&claim(1, 6), now + WINDOW / 2), Verdict::Repeated);
        assert_eq!(claims.claim(&claim(1, 7), now + WINDOW), Verdict::First);
    }

    #[test]
    fn of_too_many_the_one_that_was_met_longest_ago_is_forgotten() {
        let (mut claims, now) = (claims(2), Instant::now());
        claims.claim(&claim(1, 1), now);
        claims.claim(&claim(2, 2), now);
        claims.claim(&claim(1, 3), now);
        claims.claim(&claim(3, 4), now);
        assert_eq!(claims.len(), 2);
        assert_eq!(claims.claim(&claim(1, 5), now), Verdict::Repeated);
        assert_eq!(claims.claim(&claim(2, 6), now), Verdict::First);
    }

    proptest! {
        #[test]
        fn judges_as_a_plain_map_does(steps in prop::collection::vec((0_u8..5, 0_i64..8, 0_u64..4), 0..60)) {
            let (mut claims, mut now) = (claims(100), Instant::now());
            let mut model: HashMap<u8, (i64, Instant)> = HashMap::new();
            for (id, offset, pause_s) in steps {
                now += Duration::from_secs(pause_s);
                let held = model.get(&id).filter(|(_, since)| now.duration_since(*since) < WINDOW);
                let expected = match held {
                    Some((by, _)) if *by != offset => Verdict::Repeated,
                    Some(_) => Verdict::First,
                    None => {
                        model.insert(id, (offset, now));
                        Verdict::First
                    }
                };
                prop_assert_eq!(claims.claim(&claim(id, offset), now), expected);
            }
        }
    }
}
