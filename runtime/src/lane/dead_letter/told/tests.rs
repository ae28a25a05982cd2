use proptest::prelude::*;

use super::*;
use crate::lane::dead_letter::{DeadLetter, LetterHeaders};

type Own = Vec<(Vec<u8>, Option<Vec<u8>>)>;

struct Headers(Own);

impl Record for Headers {
    fn offset(&self) -> i64 {
        0
    }
    fn timestamp_ms(&self) -> i64 {
        0
    }
    fn key(&self) -> Option<&[u8]> {
        None
    }
    fn value(&self) -> Option<&[u8]> {
        None
    }
    fn header_count(&self) -> usize {
        self.0.len()
    }
    fn header(&self, index: usize) -> Option<(&[u8], Option<&[u8]>)> {
        let (name, value) = self.0.get(index)?;
        Some((name, value.as_deref()))
    }
}

/// What the writer was told, owned.
#[derive(Debug, Clone)]
struct Written {
    kind: FailureKind,
    names: [String; 6],
    attempts: u32,
    partition: i32,
    offset: i64,
    timestamp_ms: i64,
}

impl Written {
    fn letter(&self) -> DeadLetter<'_> {
        let [reason, stage, module_sha256, topic, topic_id, pipeline] = &self.names;
        DeadLetter {
            kind: self.kind,
            reason,
            stage,
            module_sha256,
            attempts: self.attempts,
            topic,
            topic_id,
            partition: self.partition,
            offset: self.offset,
            timestamp_ms: self.timestamp_ms,
            pipeline,
            lane: 3,
        }
    }

    fn added(&self, style: HeaderStyle) -> Own {
        let headers = LetterHeaders::new(style, &self.letter());
        let owned = |(name, value): Header<'_>| (name.to_vec(), value.map(<[u8]>::to_vec));
        headers.iter().map(owned).collect()
    }

    /// What a letter in this style must tell of it.
    fn told(&self, style: HeaderStyle, own_headers: usize) -> Told {
        let [reason, stage, module, topic, topic_id, pipeline] = self.names.clone();
        let is = |styles: &[HeaderStyle]| styles.contains(&style);
        let (strait, spring, connect) = (HeaderStyle::Strait, HeaderStyle::Spring, HeaderStyle::Connect);
        Told {
            style,
            kind: Some(self.kind),
            reason,
            stage: is(&[strait, connect]).then_some(stage),
            module_sha256: (is(&[strait]) && !module.is_empty()).then_some(module),
            attempts: is(&[strait]).then_some(self.attempts),
            topic,
            topic_id: (is(&[strait]) && !topic_id.is_empty()).then_some(topic_id),
            partition: self.partition,
            offset: self.offset,
            timestamp_ms: Some(self.timestamp_ms).filter(|ms| is(&[strait, spring]) && *ms >= 0),
            pipeline: is(&[strait, spring, connect]).then_some(pipeline),
            is_truncated: false,
            own_headers,
        }
    }
}

fn kinds() -> impl Strategy<Value = FailureKind> {
    prop::sample::select(FailureKind::ALL.to_vec())
}

prop_compose! {
    fn written()(
        kind in kinds(), names in prop::array::uniform6("[a-z0-9./ äß-]{0,20}"),
        attempts: u32, partition in 0_i32.., offset in 0_i64.., timestamp_ms in -1_i64..,
    ) -> Written {
        Written { kind, names, attempts, partition, offset, timestamp_ms }
    }
}

fn any_style() -> impl Strategy<Value = HeaderStyle> {
    prop::sample::select(STYLES.to_vec())
}

proptest! {
    #[test]
    fn what_is_written_is_read_in_every_style(
        letter in written(),
        own in prop::collection::vec(("[a-z-]{0,8}", prop::option::of(any::<Vec<u8>>())), 0..4),
    ) {
        let own: Own = own.into_iter().map(|(name, value)| (name.into_bytes(), value)).collect();
        for style in STYLES {
            let all = own.iter().cloned().chain(letter.added(style)).collect();
            prop_assert_eq!(Told::read(&Headers(all)), Some(letter.told(style, own.len())));
        }
    }

    /// Whose input is somebody's dead letters keeps what these said, and adds its own.
    #[test]
    fn a_letter_of_a_letter_tells_of_itself(
        first in written(), second in written(), styles in [any_style(), any_style()], truncated: bool,
    ) {
        let mut headers = first.added(styles[0]);
        if truncated {
            headers.push((TRUNCATED.0.to_vec(), TRUNCATED.1.map(<[u8]>::to_vec)));
        }
        let own = headers.len();
        headers.extend(second.added(styles[1]));
        prop_assert_eq!(Told::read(&Headers(headers)), Some(second.told(styles[1], own)));
    }

    #[test]
    fn a_truncated_one_says_so(letter in written(), style in any_style()) {
        let mut headers = letter.added(style);
        headers.push((TRUNCATED.0.to_vec(), TRUNCATED.1.map(<[u8]>::to_vec)));
        let expected = Told { is_truncated: true, ..letter.told(style, 0) };
        prop_assert_eq!(Told::read(&Headers(headers)), Some(expected));
    }

    #[test]
    fn no_headers_make_it_panic(headers: Vec<(Vec<u8>, Option<Vec<u8>>)>) {
        Told::read(&Headers(headers));
    }
}

#[test]
fn what_is_no_letter_tells_nothing() {
    let read = |headers: Own| Told::read(&Headers(headers));
    assert_eq!(read(Vec::new()), None);
    assert_eq!(
        read(vec![(TRUNCATED.0.to_vec(), TRUNCATED.1.map(<[u8]>::to_vec))]),
        None
    );
    assert_eq!(
        read(vec![(b"strait-error-topic".to_vec(), Some(b"t".to_vec()))]),
        None
    );
    // Something was added behind it: another record by now.
    let letter = Written {
        kind: FailureKind::Trap,
        names: Default::default(),
        attempts: 1,
        partition: 0,
        offset: 0,
        timestamp_ms: 0,
    };
    let mut passed = letter.added(HeaderStyle::Strait);
    passed.push((b"strait-source".to_vec(), None));
    assert_eq!(read(passed), None);
}
