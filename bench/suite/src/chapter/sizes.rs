//! Small and large records, plain and compressed.

use anyhow::Result;

use super::{NATIVE, STRAIT, STREAMS, Scope, table};
use crate::lab::Wanted;
use crate::report::Chapter;
use crate::run::Task;
use crate::work::Work;

/// Bytes of a value, and how many records.
const SIZES: [(usize, u64); 3] = [(100, 2_000_000), (1_024, 600_000), (10_240, 80_000)];

pub fn measure(scope: &mut Scope) -> Result<Chapter> {
    let mut tables = Vec::new();
    let mut all = Vec::new();
    for (value_bytes, records) in SIZES {
        for compression in [None, Some("lz4")] {
            let wanted = Wanted {
                value_bytes,
                compression,
                ..Wanted::plain(records)
            };
            let input = scope.input(wanted)?;
            let contenders = scope.with_other(vec![STRAIT, NATIVE, STREAMS]);
            let tasks: Vec<Task> = contenders
                .into_iter()
                .map(|contender| Task::new(contender, Work::Identity))
                .collect();
            let series = scope.rounds(&input, &tasks)?;
            let mut table = table(&series);
            let codec = compression.unwrap_or("not compressed");
            if let Some(column) = table.columns.first_mut() {
                *column = format!("{value_bytes} bytes, {codec}");
            }
            tables.push(table);
            all.extend(series);
            scope.drop_input(wanted)?;
        }
    }
    Ok(Chapter {
        name: "sizes",
        title: "Sizes and compression",
        method: "Identity, exactly once; compressed inputs are written compressed.".to_owned(),
        tables,
        bars: Vec::new(),
        verdicts: Vec::new(),
        series: all,
        steady: Vec::new(),
    })
}
