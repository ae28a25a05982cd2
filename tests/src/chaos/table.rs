//! What came of the scenarios, as a table in Markdown.

use std::fmt::Write as _;

use super::{OnWire, Outcome, Verdict};

const HEAD: &str = "\
| # | scenario | seed | verdict | faults | commits | aborts | reloads | records | lost | doubled | foreign | out of order | spoilt | progress s | took s |
| --: | --- | --: | --- | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: |
";

/// One row for each outcome, then the faults with their evidence, then what is wrong.
pub fn render(outcomes: &[Outcome]) -> String {
    let mut text = String::from(HEAD);
    for outcome in outcomes {
        row(&mut text, outcome);
    }
    text.push('\n');
    for outcome in outcomes {
        faults(&mut text, outcome);
    }
    text
}

fn row(text: &mut String, outcome: &Outcome) {
    let Outcome { scenario, tally, .. } = outcome;
    let number = if scenario.number == 0 {
        String::new()
    } else {
        scenario.number.to_string()
    };
    let verdict = match (&outcome.verdict, scenario.sabotage) {
        (Verdict::Passed, None) => "passed".to_owned(),
        (Verdict::Passed, Some(sabotage)) => format!("seen: {}", sabotage.name),
        (Verdict::Failed(_), _) => "**FAILED**".to_owned(),
        (Verdict::NotRun(_), _) => "**not run**".to_owned(),
    };
    let on_wire = |count: fn(&OnWire) -> u64| {
        let wire = tally.wire.as_ref();
        wire.map_or_else(|| "-".to_owned(), |wire| count(wire).to_string())
    };
    let progress = tally
        .progress
        .map_or_else(|| "-".to_owned(), |took| format!("{:.1}", took.as_secs_f64()));
    line(
        text,
        format_args!(
            "| {number} | {} | {} | {verdict} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {progress} | {:.0} |",
            scenario.name,
            outcome.seed,
            outcome.faults.len(),
            on_wire(|wire| wire.commits),
            on_wire(|wire| wire.aborts),
            on_wire(|wire| wire.reloads),
            tally.records,
            tally.lost,
            tally.doubled,
            tally.foreign,
            tally.disordered,
            tally.spoilt,
            outcome.took.as_secs_f64(),
        ),
    );
}

/// Faults that differ in nothing but figures would fill pages: the first few are shown.
const FAULTS_SHOWN: usize = 3;

fn faults(text: &mut String, outcome: &Outcome) {
    line(
        text,
        format_args!("- **{}**: {}", outcome.scenario.name, outcome.scenario.expects),
    );
    for fault in outcome.faults.iter().take(FAULTS_SHOWN) {
        line(text, format_args!("  - {}; seen: {}", fault.what, fault.evidence));
    }
    if outcome.faults.len() > FAULTS_SHOWN {
        line(
            text,
            format_args!("  - and {} more", outcome.faults.len() - FAULTS_SHOWN),
        );
    }
    match &outcome.verdict {
        Verdict::Passed => {}
        Verdict::Failed(reason) => line(text, format_args!("  - failed: {reason}")),
        Verdict::NotRun(reason) => line(text, format_args!("  - not run: {reason}")),
    }
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    let written = writeln!(text, "{arguments}");
    debug_assert!(written.is_ok(), "writing to a string cannot fail");
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::chaos::{Scenario, Selection, Tally};

    fn cells(wire: Option<OnWire>) -> Vec<String> {
        let outcome = Outcome {
            scenario: Scenario {
                number: 1,
                name: "n",
                expects: "e",
                selection: Selection::Short,
                sabotage: None,
                run: |_| Ok(()),
            },
            seed: 7,
            verdict: Verdict::Passed,
            tally: Tally {
                wire,
                ..Tally::default()
            },
            faults: Vec::new(),
            took: Duration::from_secs(1),
        };
        let text = render(&[outcome]);
        let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect();
        let rows: Vec<Vec<String>> = text.lines().take(3).map(cells).collect();
        assert!(rows.iter().all(|row| row.len() == rows[0].len()), "{rows:?}");
        rows[2][6..9].to_vec()
    }

    #[test]
    fn what_nobody_counted_is_not_nothing() {
        assert_eq!(cells(None), ["-", "-", "-"]);
        let wire = OnWire {
            commits: 3,
            aborts: 0,
            reloads: 1,
        };
        assert_eq!(cells(Some(wire)), ["3", "0", "1"]);
    }
}
