use std::collections::BTreeSet;

use saphyr_parser::Parser;

use super::*;

const DOCUMENTATION: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md"));
const ALERTS: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../ops/alerts.yaml"));

#[test]
fn the_documentation_lists_every_metric_with_its_type_and_labels() {
    let documented: BTreeSet<[String; 3]> = DOCUMENTATION
        .lines()
        .filter_map(|line| line.strip_prefix("| `strait_"))
        .map(|row| {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            [
                format!("strait_{}", cells[0].trim_end_matches('`')),
                cells[1].to_owned(),
                cells[2].to_owned(),
            ]
        })
        .collect();
    let declared: BTreeSet<[String; 3]> = ALL
        .iter()
        .map(|metric| {
            [
                metric.name.to_owned(),
                metric.kind.as_str().to_owned(),
                metric.labels.join(", "),
            ]
        })
        .collect();
    assert_eq!(documented, declared);
}

#[test]
fn the_alert_rules_are_yaml_and_ask_for_metrics_that_exist() {
    let broken = Parser::new_from_str(ALERTS).find_map(Result::err);
    assert!(broken.is_none(), "{broken:?}");
    let mut asked = 0;
    for word in ALERTS.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
        if word.starts_with("strait_") {
            asked += 1;
            let known = ALL.iter().any(|metric| match metric.kind {
                Kind::Histogram(_) => word.strip_suffix("_bucket") == Some(metric.name),
                Kind::Counter | Kind::Gauge => word == metric.name,
            });
            assert!(known, "{word}");
        }
    }
    assert!(asked >= 10, "only {asked} metrics found");
}

#[test]
fn buckets_grow_and_names_follow_the_conventions() {
    for metric in ALL {
        assert!(metric.name.starts_with("strait_"), "{}", metric.name);
        assert_eq!(
            metric.name.ends_with("_total"),
            metric.kind == Kind::Counter,
            "{}",
            metric.name
        );
        if let Kind::Histogram(buckets) = metric.kind {
            assert!(
                buckets.is_sorted_by(|lower, upper| lower < upper),
                "{}",
                metric.name
            );
            assert!(metric.name.ends_with("_seconds"), "{}", metric.name);
        }
    }
}
