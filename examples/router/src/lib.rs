//! Sends each record to the output that a field of its value names.
//!
//! ```yaml
//! settings:
//!   field: /customer/country      # a JSON pointer
//!   routes: { DE: germany, FR: france }
//!   otherwise: elsewhere          # leave it out to reject what has no route
//! outputs: { germany: orders.de, france: orders.fr, elsewhere: orders.other }
//! ```
//!
//! The value is read but not written again: each record passes through byte for byte. An
//! output that the pipeline does not have stops it at the first record that is sent there.

use std::collections::BTreeMap;

use serde_json::Value;
use strait_sdk::prelude::*;

/// `settings` of the pipeline.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// A JSON pointer to the field that decides.
    field: String,
    /// From what the field says to the name of an output.
    routes: BTreeMap<String, String>,
    /// The output for everything else. Without it, such records are rejected.
    #[serde(default)]
    otherwise: Option<String>,
}

/// The transform.
pub struct Router {
    settings: Settings,
}

impl Transform for Router {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        if !settings.field.starts_with('/') {
            let field = &settings.field;
            return Err(Error::reject(format_args!(
                "`field` is a JSON pointer: write \"/{field}\""
            )));
        }
        Ok(Self { settings })
    }

    fn record(&mut self, record: &Record<'_>, out: &mut Output<'_>) -> Result<()> {
        let value: Value = record.json()?;
        let Settings {
            field,
            routes,
            otherwise,
        } = &self.settings;
        let said = value.pointer(field).and_then(Value::as_str);
        match said.and_then(|said| routes.get(said)).or(otherwise.as_ref()) {
            Some(output) => out.to(output).emit(record),
            None => Err(Error::reject(format_args!("no route for {field} = {said:?}"))),
        }
    }
}

strait_sdk::export!(Router);

#[cfg(test)]
mod tests {
    use super::*;
    use strait_sdk::testing::{Ran, Sample, Tester};

    const SETTINGS: &str = r#"{"field": "/to", "routes": {"DE": "germany", "FR": "france"}}"#;
    const OTHERWISE: &str = r#"{"field": "/to", "routes": {"DE": "germany"}, "otherwise": "elsewhere"}"#;

    fn run(settings: &str, values: &[&str]) -> Result<Ran, String> {
        let router = Tester::<Router>::from_json(settings).unwrap();
        let mut router = router.outputs(["germany", "france", "elsewhere"]);
        router.run(values.iter().map(|value| Sample::value(*value)))
    }

    #[test]
    fn the_field_decides_and_the_bytes_stay() {
        let ran = run(SETTINGS, &[r#"{ "to": "DE" }"#, r#"{ "to": "FR" }"#]).unwrap();
        assert_eq!(ran.to("germany")[0].text(), r#"{ "to": "DE" }"#);
        assert_eq!(ran.to("france")[0].record, 1);
    }

    #[test]
    fn what_has_no_route_is_rejected_or_goes_elsewhere() {
        let values = [r#"{"to": "IT"}"#, r#"{"to": 1}"#, "{}", r#"{"to": "DE"}"#];
        let ran = run(SETTINGS, &values).unwrap();
        assert_eq!((ran.rejects().len(), ran.to("germany").len()), (3, 1));
        let ran = run(OTHERWISE, &values).unwrap();
        assert_eq!((ran.rejects().len(), ran.to("elsewhere").len()), (0, 3));
    }

    #[test]
    fn an_output_that_is_missing_stops_the_pipeline() {
        let mut router = Tester::<Router>::from_json(SETTINGS).unwrap();
        assert!(
            router
                .run([Sample::value(r#"{"to": "DE"}"#)])
                .unwrap_err()
                .contains("germany")
        );
    }

    #[test]
    fn a_field_must_be_a_pointer() {
        let error = Tester::<Router>::from_json(r#"{"field": "to", "routes": {}}"#).unwrap_err();
        assert!(error.contains("\"/to\""), "{error}");
    }
}
