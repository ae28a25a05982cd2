use super::*;
use crate::lane::dead_letter::{DeadLetter, LetterHeaders, TRUNCATED};

/// Headers, and nothing else.
struct Headers(Vec<(Vec<u8>, Option<Vec<u8>>)>);

impl Headers {
    fn of<'h>(headers: impl IntoIterator<Item = Header<'h>>) -> Self {
        let own = |(name, value): Header<'h>| (name.to_vec(), value.map(<[u8]>::to_vec));
        Self(headers.into_iter().map(own).collect())
    }
}

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
        Some(b"v")
    }
    fn header_count(&self) -> usize {
        self.0.len()
    }
    fn header(&self, index: usize) -> Option<(&[u8], Option<&[u8]>)> {
        let (name, value) = self.0.get(index)?;
        Some((name, value.as_deref()))
    }
}

const OUTPUTS: Use = Use {
    outputs: true,
    letters: None,
};

const fn letters(outputs: bool, style: HeaderStyle) -> Use {
    Use {
        outputs,
        letters: Some(style),
    }
}

fn sources() -> Sources {
    let id = |partition| TopicPartition {
        topic: "in".into(),
        partition,
    };
    let topic_id: Arc<str> = "id".into();
    let inputs = [id(0), id(1)];
    Sources::new(
        "cluster".into(),
        "orders".into(),
        inputs.iter().map(|id| (id, &topic_id)),
        vec!["ab12".into()],
        Digests::default(),
    )
}

fn source(value: &[u8]) -> Headers {
    Headers::of([(HEADER.as_bytes(), Some(value))])
}

fn dead_letter() -> DeadLetter<'static> {
    DeadLetter {
        kind: FailureKind::TooLarge,
        reason: "why",
        stage: "wasm",
        module_sha256: "ab12",
        attempts: 1,
        topic: "in",
        topic_id: "id",
        partition: 1,
        offset: 4_294_967_296,
        timestamp_ms: 5,
        pipeline: "orders",
        lane: 0,
    }
}

fn written(style: HeaderStyle, letter: &DeadLetter<'_>, own: &[Header<'_>]) -> Headers {
    let added = LetterHeaders::new(style, letter);
    Headers::of(own.iter().copied().chain(added.iter()))
}

const STYLES: [HeaderStyle; 4] = [
    HeaderStyle::Strait,
    HeaderStyle::Streams,
    HeaderStyle::Spring,
    HeaderStyle::Connect,
];

#[test]
fn an_output_is_ours_if_all_names_are() {
    let sources = sources();
    let look = |value: &str| sources.look(&source(value.as_bytes()), OUTPUTS);
    let Seen::Output(output) = look("1/cluster/id/1/17/2/3/orders") else {
        panic!("not ours")
    };
    let claim = Claim {
        input: 1,
        offset: 17,
        part: 2,
        parts: 3,
    };
    assert_eq!(output.claim, claim);
    for (value, foreign) in [
        ("1/another/id/1/17/2/3/orders", Foreign::OtherCluster),
        ("1/cluster/id/1/17/2/3/others", Foreign::OtherPipeline),
        ("1/cluster/di/1/17/2/3/orders", Foreign::OtherTopic),
        ("1/cluster/id/2/17/2/3/orders", Foreign::OtherTopic),
        ("2/whatever", Foreign::Unreadable),
    ] {
        assert_eq!(look(value), Seen::Foreign(foreign), "{value}");
    }
    let none = Headers::of([]);
    assert_eq!(sources.look(&none, OUTPUTS), Seen::Foreign(Foreign::Untraced));
}

#[test]
fn a_dead_letter_is_read_in_every_style() {
    let sources = sources();
    for style in STYLES {
        let own: [Header<'_>; 1] = [(b"h", Some(b"1"))];
        let letter = written(style, &dead_letter(), &own);
        let Seen::Letter(seen) = sources.look(&letter, letters(false, style)) else {
            panic!("{style:?}")
        };
        assert_eq!(
            (seen.claim.input, seen.claim.offset),
            (1, 4_294_967_296),
            "{style:?}"
        );
        assert_eq!(seen.kind, Some(FailureKind::TooLarge), "{style:?}");
        assert!(!seen.is_of_another_module);
        // It carries the record as it was, without what it says of it.
        let record = Headers::of(own);
        assert_eq!(
            seen.digest,
            Some(sources.digests.of_record(&record, 1)),
            "{style:?}"
        );
        let elsewhere = DeadLetter {
            topic: "elsewhere",
            topic_id: "other",
            ..dead_letter()
        };
        let seen = sources.look(&written(style, &elsewhere, &[]), letters(false, style));
        assert_eq!(seen, Seen::Foreign(Foreign::OtherTopic), "{style:?}");
        let others = DeadLetter {
            pipeline: "others",
            ..dead_letter()
        };
        let seen = sources.look(&written(style, &others, &[]), letters(false, style));
        let is_ours = matches!(seen, Seen::Letter(_));
        assert_eq!(
            is_ours,
            style == HeaderStyle::Streams,
            "{style:?} tells no pipeline"
        );
    }
}

#[test]
fn a_dead_letter_tells_of_another_module_and_of_what_it_left_out() {
    let sources = sources();
    let other = DeadLetter {
        module_sha256: "cd34",
        ..dead_letter()
    };
    let added = LetterHeaders::new(HeaderStyle::Strait, &other);
    let truncated = Headers::of(added.iter().chain([TRUNCATED]));
    let Seen::Letter(seen) = sources.look(&truncated, letters(false, HeaderStyle::Strait)) else {
        panic!("no letter")
    };
    assert!(seen.is_of_another_module);
    assert_eq!(seen.digest, None);
}

#[test]
fn in_a_topic_of_both_the_last_word_counts() {
    let sources = sources();
    let both = letters(true, HeaderStyle::Strait);
    let ours: Header<'_> = (HEADER.as_bytes(), Some(b"1/cluster/id/0/3/1/1/orders"));
    // The record came from a pipeline of its own, and failed here.
    let failed = written(HeaderStyle::Strait, &dead_letter(), &[ours]);
    assert!(matches!(sources.look(&failed, both), Seen::Letter(_)));
    // A dead letter was the input, and passed.
    let letter = LetterHeaders::new(HeaderStyle::Strait, &dead_letter());
    let passed = Headers::of(letter.iter().chain([ours]));
    assert!(matches!(sources.look(&passed, both), Seen::Output(_)));
    assert!(matches!(
        sources.look(&source(b"1/cluster/id/0/3/1/1/orders"), both),
        Seen::Output(_)
    ));
    // Without outputs there, only what says that it failed counts.
    let only = letters(false, HeaderStyle::Strait);
    assert_eq!(
        sources.look(&source(b"1/cluster/id/0/3/1/1/orders"), only),
        Seen::Foreign(Foreign::Untraced)
    );
}
