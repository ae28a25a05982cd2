use super::*;

fn metrics() -> (Metrics, PipelineMetrics) {
    let metrics = Metrics::new("2.12.1");
    let pipeline = metrics.pipeline(&PipelineName::new("orders").unwrap());
    (metrics, pipeline)
}

fn partition(number: i32) -> TopicPartition {
    TopicPartition {
        topic: "in".into(),
        partition: number,
    }
}

/// The value of the one series with this name and label set.
fn value(text: &str, series: &str) -> Option<f64> {
    let mut lines = text
        .lines()
        .filter_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    let value = lines.next().map(|value| value.parse().unwrap());
    assert_eq!(lines.next(), None, "{series} twice");
    value
}

/// Does everything once, so that every metric has a series.
fn exercise(pipeline: &PipelineMetrics) {
    let partition = partition(0);
    pipeline.records_in(&partition, 3);
    pipeline.records_out("out", 2);
    pipeline.filtered(1);
    pipeline.skipped(FailureKind::TooLarge, 1);
    pipeline.retried(4);
    pipeline.dead_lettered(FailureKind::Reject, 5);
    pipeline.redelivered(6);
    pipeline.identified(Counts {
        checked: 4,
        repeated: 1,
        unidentified: 2,
    });
    pipeline.claimed(Duration::from_micros(20));
    pipeline.ids_held(Some(0), 5);
    pipeline.ids_held(Some(1), 4);
    pipeline.store_away();
    pipeline.restored("dedup", &partition, Some(0.5));
    pipeline.lag(&partition, 7, 1.5);
    pipeline.last_stable_offset_lag(&partition, 8);
    pipeline.rebalance(RebalanceKind::Lost);
    pipeline.generation(7);
    pipeline.rebalance_took(Duration::from_millis(200));
    pipeline.transaction(TransactionOutcome::Fenced);
    pipeline.phase(TransactionPhase::SendOffsets, Duration::from_millis(3));
    pipeline.transaction_open(0, None);
    pipeline.processing(Duration::from_micros(300));
    pipeline.end_to_end(Duration::from_millis(20));
    pipeline.producer_reload("fenced");
    pipeline.module_trap(FaultKind::Deadline);
    pipeline.module_info("orders", "abc", "1.0.0");
    pipeline.lane_state(0, LaneState::Running);
}

#[test]
fn names_types_and_labels_are_the_contract() {
    let (metrics, pipeline) = metrics();
    exercise(&pipeline);
    let text = metrics.render();
    // Written out by hand, from the contract: what is declared must not prove itself.
    let contract = [
        ("strait_records_in_total counter", "partition,pipeline,topic"),
        ("strait_records_out_total counter", "pipeline,topic"),
        ("strait_records_filtered_total counter", "pipeline"),
        ("strait_records_skipped_total counter", "kind,pipeline"),
        ("strait_records_retried_total counter", "pipeline"),
        ("strait_records_dead_lettered_total counter", "kind,pipeline"),
        ("strait_duplicates_total counter", "kind,pipeline"),
        ("strait_records_unidentified_total counter", "pipeline"),
        ("strait_duplicate_ratio gauge", "pipeline"),
        ("strait_dedup_store_seconds histogram", "pipeline"),
        ("strait_dedup_store_errors_total counter", "pipeline"),
        ("strait_dedup_ids gauge", "pipeline"),
        ("strait_state_restore_ratio gauge", "partition,pipeline,store"),
        ("strait_consumer_lag_records gauge", "partition,pipeline,topic"),
        ("strait_consumer_lag_seconds gauge", "partition,pipeline,topic"),
        ("strait_last_stable_offset_lag gauge", "partition,pipeline,topic"),
        ("strait_transaction_open_seconds gauge", "lane,pipeline"),
        ("strait_rebalances_total counter", "kind,pipeline"),
        ("strait_group_generations_total counter", "pipeline"),
        ("strait_rebalance_seconds histogram", "pipeline"),
        ("strait_transactions_total counter", "outcome,pipeline"),
        ("strait_transaction_seconds histogram", "phase,pipeline"),
        ("strait_processing_seconds histogram", "pipeline"),
        ("strait_end_to_end_seconds histogram", "pipeline"),
        ("strait_producer_reloads_total counter", "pipeline,reason"),
        ("strait_module_traps_total counter", "kind,pipeline"),
        ("strait_module_info gauge", "module,pipeline,sha256,version"),
        ("strait_lanes gauge", "pipeline,state"),
        ("strait_build_info gauge", "librdkafka,version,wasmtime"),
    ];
    for (declared, labels) in contract {
        assert!(
            text.contains(&format!("# TYPE {declared}\n")),
            "{declared} missing in\n{text}"
        );
        let (name, _) = declared.split_once(' ').unwrap();
        let prefixes = [format!("{name}{{"), format!("{name}_sum{{")];
        let series = text
            .lines()
            .find(|line| prefixes.iter().any(|prefix| line.starts_with(prefix)))
            .unwrap();
        let inside = series.split_once('{').unwrap().1.split_once('}').unwrap().0;
        let names: Vec<&str> = inside
            .split(',')
            .map(|pair| pair.split_once('=').unwrap().0)
            .collect();
        assert_eq!(names.join(","), labels, "{series}");
    }
    assert_eq!(text.matches("# TYPE ").count(), contract.len(), "{text}");
}

#[test]
fn what_is_counted_is_what_is_shown() {
    let (metrics, pipeline) = metrics();
    exercise(&pipeline);
    let text = metrics.render();
    let expected = [
        (
            "strait_records_in_total{partition=\"0\",pipeline=\"orders\",topic=\"in\"}",
            3.0,
        ),
        ("strait_records_out_total{pipeline=\"orders\",topic=\"out\"}", 2.0),
        ("strait_records_filtered_total{pipeline=\"orders\"}", 1.0),
        (
            "strait_records_skipped_total{kind=\"too-large\",pipeline=\"orders\"}",
            1.0,
        ),
        (
            "strait_records_skipped_total{kind=\"reject\",pipeline=\"orders\"}",
            0.0,
        ),
        ("strait_records_retried_total{pipeline=\"orders\"}", 4.0),
        (
            "strait_records_dead_lettered_total{kind=\"reject\",pipeline=\"orders\"}",
            5.0,
        ),
        (
            "strait_duplicates_total{kind=\"redelivered\",pipeline=\"orders\"}",
            6.0,
        ),
        (
            "strait_consumer_lag_records{partition=\"0\",pipeline=\"orders\",topic=\"in\"}",
            7.0,
        ),
        (
            "strait_consumer_lag_seconds{partition=\"0\",pipeline=\"orders\",topic=\"in\"}",
            1.5,
        ),
        (
            "strait_last_stable_offset_lag{partition=\"0\",pipeline=\"orders\",topic=\"in\"}",
            8.0,
        ),
        (
            "strait_transaction_open_seconds{lane=\"0\",pipeline=\"orders\"}",
            0.0,
        ),
        ("strait_rebalances_total{kind=\"lost\",pipeline=\"orders\"}", 1.0),
        (
            "strait_rebalances_total{kind=\"assign\",pipeline=\"orders\"}",
            0.0,
        ),
        ("strait_group_generations_total{pipeline=\"orders\"}", 1.0),
        ("strait_rebalance_seconds_sum{pipeline=\"orders\"}", 0.2),
        (
            "strait_transactions_total{outcome=\"fenced\",pipeline=\"orders\"}",
            1.0,
        ),
        (
            "strait_transactions_total{outcome=\"committed\",pipeline=\"orders\"}",
            0.0,
        ),
        (
            "strait_transaction_seconds_count{phase=\"send_offsets\",pipeline=\"orders\"}",
            1.0,
        ),
        (
            "strait_transaction_seconds_count{phase=\"commit\",pipeline=\"orders\"}",
            0.0,
        ),
        ("strait_processing_seconds_count{pipeline=\"orders\"}", 1.0),
        ("strait_end_to_end_seconds_sum{pipeline=\"orders\"}", 0.02),
        (
            "strait_producer_reloads_total{pipeline=\"orders\",reason=\"fenced\"}",
            1.0,
        ),
        (
            "strait_module_traps_total{kind=\"deadline\",pipeline=\"orders\"}",
            1.0,
        ),
    ];
    for (series, expected) in expected {
        assert_eq!(value(&text, series), Some(expected), "{series} in\n{text}");
    }
}

#[test]
fn a_revoked_partition_leaves_no_series_and_the_others_stay() {
    let (metrics, pipeline) = metrics();
    for number in [0, 1] {
        pipeline.records_in(&partition(number), 1);
        pipeline.lag(&partition(number), 1, 1.0);
        pipeline.last_stable_offset_lag(&partition(number), 1);
    }
    pipeline.forget_partition(&partition(0));
    let text = metrics.render();
    assert!(!text.contains("partition=\"0\""), "{text}");
    assert_eq!(text.matches("partition=\"1\"").count(), 4, "{text}");
}

#[test]
fn an_ended_pipeline_keeps_its_counters_but_no_partition_and_no_transaction() {
    let (metrics, pipeline) = metrics();
    exercise(&pipeline);
    assert!(metrics.render().contains("strait_transaction_open_seconds{"));
    pipeline.lane_state(0, LaneState::Stopped);
    pipeline.ended();
    let text = metrics.render();
    assert!(!text.contains("partition="), "{text}");
    assert!(!text.contains("strait_transaction_open_seconds{"), "{text}");
    assert_eq!(
        value(
            &text,
            "strait_records_out_total{pipeline=\"orders\",topic=\"out\"}"
        ),
        Some(2.0)
    );
    assert_eq!(
        value(&text, "strait_lanes{pipeline=\"orders\",state=\"stopped\"}"),
        Some(1.0)
    );
}

#[test]
fn each_lane_is_in_exactly_one_state() {
    let (metrics, pipeline) = metrics();
    pipeline.lane_state(0, LaneState::Joining);
    pipeline.lane_state(1, LaneState::Joining);
    pipeline.lane_state(0, LaneState::Running);
    pipeline.lane_state(0, LaneState::Running);
    let text = metrics.render();
    for state in LaneState::ALL {
        let lanes = match state {
            LaneState::Joining | LaneState::Running => 1.0,
            _ => 0.0,
        };
        let series = format!("strait_lanes{{pipeline=\"orders\",state=\"{state}\"}}");
        assert_eq!(value(&text, &series), Some(lanes), "{series}");
    }
}

#[test]
fn a_generation_counts_once_whichever_lanes_tell_it() {
    let (metrics, pipeline) = metrics();
    let series = "strait_group_generations_total{pipeline=\"orders\"}";
    for generation in [4, 4, 5, 4, 5] {
        pipeline.generation(generation);
    }
    assert_eq!(value(&metrics.render(), series), Some(2.0));
    for generation in [1, 1, 2] {
        pipeline.generation(generation);
    }
    assert_eq!(value(&metrics.render(), series), Some(4.0), "a group made anew");
}

#[test]
fn an_open_transaction_ages_while_nobody_touches_it() {
    let (metrics, pipeline) = metrics();
    pipeline.transaction_open(1, Instant::now().checked_sub(Duration::from_secs(5)));
    let series = "strait_transaction_open_seconds{lane=\"1\",pipeline=\"orders\"}";
    let first = value(&metrics.render(), series).unwrap();
    assert!((5.0..60.0).contains(&first), "{first}");
    let second = value(&metrics.render(), series).unwrap();
    assert!(second > first, "{second} after {first}");
    pipeline.transaction_open(1, None);
    assert_eq!(value(&metrics.render(), series), Some(0.0));
}

#[test]
fn a_reloaded_module_replaces_its_predecessor() {
    let (metrics, pipeline) = metrics();
    pipeline.module_info("orders", "abc", "1.0.0");
    pipeline.module_info("orders", "abc", "1.0.0");
    pipeline.module_info("orders", "def", "1.1.0");
    let text = metrics.render();
    assert!(!text.contains("sha256=\"abc\""), "{text}");
    let series = "strait_module_info{module=\"orders\",pipeline=\"orders\",sha256=\"def\",version=\"1.1.0\"}";
    assert_eq!(value(&text, series), Some(1.0), "{text}");
}

#[test]
fn a_pipeline_that_starts_again_goes_on_counting() {
    let (metrics, pipeline) = metrics();
    pipeline.filtered(1);
    drop(pipeline);
    metrics
        .pipeline(&PipelineName::new("orders").unwrap())
        .filtered(1);
    let text = metrics.render();
    assert_eq!(
        value(&text, "strait_records_filtered_total{pipeline=\"orders\"}"),
        Some(2.0)
    );
}

#[test]
fn the_build_names_its_versions() {
    let text = Metrics::new("2.12.1").render();
    let line = text
        .lines()
        .find(|line| line.starts_with("strait_build_info{"))
        .unwrap();
    assert!(line.contains("librdkafka=\"2.12.1\""), "{line}");
    assert!(
        line.contains(concat!("version=\"", env!("CARGO_PKG_VERSION"), "\"")),
        "{line}"
    );
    let wasmtime = line
        .split_once("wasmtime=\"")
        .unwrap()
        .1
        .split_once('"')
        .unwrap()
        .0;
    assert_eq!(
        wasmtime
            .split('.')
            .filter(|part| part.parse::<u32>().is_ok())
            .count(),
        3,
        "{line}"
    );
}

#[test]
fn the_documentation_names_every_label_value_there_is_from_the_start() {
    let documentation = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md"));
    let (metrics, _pipeline) = metrics();
    let text = metrics.render();
    let mut values = 0;
    for label in ["kind=\"", "outcome=\"", "phase=\"", "state=\""] {
        for (start, _) in text.match_indices(label) {
            let value = text[start + label.len()..].split('"').next().unwrap();
            assert!(
                documentation.contains(&format!("`{value}`")),
                "{label}{value} is not documented"
            );
            values += 1;
        }
    }
    assert!(values > 30, "only {values} label values found");
}
