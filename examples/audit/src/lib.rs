//! Passes changes of customers through, and says in an audit trail what changed and why.
//!
//! ```yaml
//! settings: { fields: [email, address] }   # what the trail watches
//! state: { customers: { ttl: 365d } }
//! outputs: { default: customers.clean, audit: customers.audit }
//! ```
//!
//! A record is a customer as it is now, whose name is the record's key; a null value removes it. The
//! watched fields are compared with those of the record before, which keyed state holds. Each
//! difference is one record of the trail: before, after, who did it, and where it stands. Both are in
//! one transaction, so there is no change without its trail and no trail without its change.

use serde_json::{Map, Value};
use strait_sdk::prelude::*;

/// `settings` of the pipeline.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Fields whose changes the trail tells of.
    fields: Vec<String>,
}

/// One entry of the trail.
#[derive(Serialize)]
struct Change<'a> {
    field: &'a str,
    before: &'a Value,
    after: &'a Value,
    /// What the header `reason` says, if it is there.
    reason: Option<&'a str>,
    /// Who the header `user` says it was.
    user: Option<&'a str>,
    topic: &'a str,
    partition: i32,
    offset: i64,
}

/// The watched fields of each customer.
const CUSTOMERS: Typed<Map<String, Value>> = Typed::new("customers");

/// The transform.
pub struct Audit {
    fields: Vec<String>,
}

impl Transform for Audit {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        let fields = settings.fields;
        if fields.is_empty() {
            return Err(Error::reject(
                "`fields` is empty: name at least one field to watch",
            ));
        }
        Ok(Self { fields })
    }

    fn record(&mut self, record: &Record<'_>, out: &mut Output<'_>) -> Result<()> {
        let Some(customer) = record.key() else {
            return Err(Error::reject("the key must name the customer"));
        };
        let after = self.watched(record)?;
        let before = CUSTOMERS.get(out, customer)?.unwrap_or_default();
        for field in &self.fields {
            tell(record, out, field, (&before, &after))?;
        }
        if record.value().is_none() {
            CUSTOMERS.delete(out, customer)?;
        } else if before != after {
            CUSTOMERS.put(out, customer, &after)?;
        }
        out.emit(record)
    }
}

impl Audit {
    /// The watched fields of a record; none of one that removes the customer.
    fn watched(&self, record: &Record<'_>) -> Result<Map<String, Value>> {
        if record.value().is_none() {
            return Ok(Map::new());
        }
        let mut all: Map<String, Value> = record.json()?;
        all.retain(|field, _| self.fields.contains(field));
        Ok(all)
    }
}

/// Writes to the trail if a field has changed.
fn tell(
    record: &Record<'_>,
    out: &mut Output<'_>,
    field: &str,
    (before, after): (&Map<String, Value>, &Map<String, Value>),
) -> Result<()> {
    let value = |fields: &Map<String, Value>| fields.get(field).cloned().unwrap_or_default();
    let (before, after) = (value(before), value(after));
    if before == after {
        return Ok(());
    }
    let header = |name| {
        record
            .header(name)
            .and_then(|value| std::str::from_utf8(value).ok())
    };
    let change = Change {
        field,
        before: &before,
        after: &after,
        reason: header("reason"),
        user: header("user"),
        topic: record.topic(),
        partition: record.partition(),
        offset: record.offset(),
    };
    out.to("audit").emit(record.with_json(&change)?)
}

strait_sdk::export!(Audit);

#[cfg(test)]
mod tests {
    use super::*;
    use strait_sdk::testing::{Ran, Sample, Tester};

    fn audit() -> Tester<Audit> {
        Tester::<Audit>::from_json(r#"{"fields": ["email", "address"]}"#)
            .unwrap()
            .outputs(["default", "audit"])
            .stores(["customers"])
    }

    fn customer(value: &str) -> Sample {
        Sample::value(value).key("c-1")
    }

    /// Field, before and after of each entry of the trail.
    fn trail(ran: &Ran) -> Vec<(String, Value, Value)> {
        let entries = ran.to("audit").into_iter().map(|entry| {
            let change: Value = entry.json().unwrap();
            let field = change["field"].as_str().unwrap().to_owned();
            (field, change["before"].clone(), change["after"].clone())
        });
        entries.collect()
    }

    #[test]
    fn each_change_is_told_once() {
        let samples = [
            customer(r#"{"email": "a@x", "seen": 1}"#),
            customer(r#"{"email": "a@x", "seen": 2}"#), // nothing that is watched
            customer(r#"{"email": "b@x", "address": "here"}"#),
            Sample::tombstone("c-1"),
        ];
        let ran = audit().run(samples).unwrap();
        let expected = [
            ("email", Value::Null, "a@x".into()),
            ("email", "a@x".into(), "b@x".into()),
            ("address", Value::Null, "here".into()),
            ("email", "b@x".into(), Value::Null),
            ("address", "here".into(), Value::Null),
        ];
        assert_eq!(
            trail(&ran),
            expected.map(|(field, before, after)| (field.to_owned(), before, after))
        );
        assert_eq!(ran.to("default").len(), 4);
    }

    #[test]
    fn the_trail_says_who_and_why_and_where() {
        let sample = customer(r#"{"email": "a@x"}"#)
            .header("user", "eve")
            .header("reason", "moved");
        let ran = audit().run([sample.offset(7)]).unwrap();
        let entry = ran.to("audit")[0];
        let text = entry.text();
        let (what, rest) = text.split_once(r#""reason""#).unwrap();
        assert_eq!(what, r#"{"field":"email","before":null,"after":"a@x","#);
        assert_eq!(
            rest,
            r#":"moved","user":"eve","topic":"test","partition":0,"offset":7}"#
        );
        assert_eq!(entry.key.as_deref(), Some(b"c-1".as_slice()));
    }

    #[test]
    fn what_is_no_customer_is_not_told_of() {
        let mut audit = audit();
        let ran = audit
            .run([customer("[]"), Sample::value("{}"), customer("{}")])
            .unwrap();
        assert_eq!(
            (ran.rejects().len(), ran.to("default").len(), trail(&ran).len()),
            (2, 1, 0)
        );
        assert_eq!(audit.stored("customers"), []);
    }

    #[test]
    fn something_must_be_watched() {
        assert!(
            Tester::<Audit>::from_json(r#"{"fields": []}"#)
                .unwrap_err()
                .contains("name at least one")
        );
    }
}
