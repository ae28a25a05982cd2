//! Passes every record through unchanged: the least that a transform can do.
//!
//! Nothing is copied for it. The transform only says "record 7, as it is", and the runtime
//! produces key, value and headers from the record that it has.

use strait_sdk::prelude::*;

/// The transform. It has no settings, so their type is `()`.
pub struct Identity;

impl Transform for Identity {
    type Settings = ();

    fn new((): ()) -> Result<Self> {
        Ok(Self)
    }

    fn record(&mut self, record: &Record<'_>, out: &mut Output<'_>) -> Result<()> {
        out.emit(record)
    }
}

strait_sdk::export!(Identity);

#[cfg(test)]
mod tests {
    use super::*;
    use strait_sdk::testing::{Sample, Tester};

    #[test]
    fn a_record_stays_as_it_is() {
        let mut identity = Tester::<Identity>::new(()).unwrap();
        let samples = [
            Sample::value("v").key("k").header("h", "1"),
            Sample::tombstone("k"),
            Sample::value(""),
        ];
        let ran = identity.run(samples).unwrap();
        let [full, tombstone, empty] = ran.emitted() else {
            panic!("{ran:?}")
        };
        assert_eq!(
            (full.text().as_str(), full.header("h")),
            ("v", Some(b"1".as_slice()))
        );
        assert_eq!(
            (tombstone.key.as_deref(), &tombstone.value),
            (Some(b"k".as_slice()), &None)
        );
        assert_eq!(
            (&empty.key, empty.value.as_deref()),
            (&None, Some(b"".as_slice()))
        );
    }

    #[test]
    fn settings_that_it_does_not_have_are_refused() {
        assert!(Tester::<Identity>::from_json("{}").is_ok());
        assert!(Tester::<Identity>::from_json(r#"{"minimum": 1}"#).is_err());
    }
}
