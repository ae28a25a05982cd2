//! Tables in Markdown, which also reads well on a terminal.

use std::fmt::Write as _;

use super::{Bound, Cell, Chapter, Report, Table, Verdict};
use crate::figures::Spread;

pub fn markdown(report: &Report) -> String {
    let mut text = format!(
        "{}\n\nMedian of {} rounds (least to greatest).\n",
        report.machine, report.rounds
    );
    let verdicts: Vec<&Verdict> = report
        .chapters
        .iter()
        .flat_map(|chapter| &chapter.verdicts)
        .collect();
    if !verdicts.is_empty() {
        text.push_str("\n## Targets\n\n");
        text.push_str(&rows(&target_table(&verdicts)));
    }
    for chapter in &report.chapters {
        one(&mut text, chapter);
    }
    text
}

fn one(text: &mut String, chapter: &Chapter) {
    // Writing to a string cannot fail.
    let _infallible = write!(text, "\n## {}\n\n{}\n", chapter.title, chapter.method);
    for table in &chapter.tables {
        text.push('\n');
        text.push_str(&rows(table));
    }
    for bars in &chapter.bars {
        let _infallible = write!(text, "\n![{}]({}.svg)\n", bars.title, bars.name);
    }
}

fn target_table(verdicts: &[&Verdict]) -> Table {
    let row = |verdict: &&Verdict| {
        let bound = match verdict.bound {
            Bound::AtMost(bound) => format!("≤ {}{}", number(bound, 2), verdict.unit),
            Bound::AtLeast(bound) => format!("≥ {}{}", number(bound, 2), verdict.unit),
        };
        let cells = vec![
            Cell::Spread {
                spread: Some(verdict.measured),
                digits: 2,
            },
            Cell::Text(bound),
            Cell::Text(if verdict.is_met() { "met" } else { "**missed**" }.to_owned()),
        ];
        (format!("{} {}", verdict.target, verdict.what), cells)
    };
    Table {
        columns: ["target", "measured", "bound", ""].map(str::to_owned).to_vec(),
        rows: verdicts.iter().map(row).collect(),
    }
}

fn rows(table: &Table) -> String {
    let mut text = format!("| {} |\n|", table.columns.join(" | "));
    for index in 0..table.columns.len() {
        text.push_str(if index == 0 { " --- |" } else { " ---: |" });
    }
    text.push('\n');
    for (label, cells) in &table.rows {
        let cells: Vec<String> = cells.iter().map(cell).collect();
        let _infallible = writeln!(text, "| {label} | {} |", cells.join(" | "));
    }
    text
}

fn cell(cell: &Cell) -> String {
    match cell {
        Cell::Text(text) => text.clone(),
        Cell::Spread { spread: None, .. } => "–".to_owned(),
        Cell::Spread {
            spread: Some(spread),
            digits,
        } => of_spread(spread, *digits),
    }
}

fn of_spread(spread: &Spread, digits: usize) -> String {
    let middle = number(spread.median, digits);
    let (least, greatest) = (number(spread.least, digits), number(spread.greatest, digits));
    if least == greatest {
        return middle;
    }
    format!("{middle} ({least} – {greatest})")
}

/// With commas between thousands.
fn number(value: f64, digits: usize) -> String {
    let plain = format!("{value:.digits$}");
    let (whole, rest) = match plain.split_once('.') {
        Some((whole, rest)) => (whole, format!(".{rest}")),
        None => (plain.as_str(), String::new()),
    };
    let mut grouped = String::new();
    let count = whole.chars().count();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (count - index) % 3 == 0 && digit.is_ascii_digit() && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + &rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(number(1_234_567.891, 2), "1,234,567.89");
        assert_eq!(number(-123.0, 0), "-123");
        assert_eq!(number(999.0, 0), "999");
    }

    #[test]
    fn a_spread_says_its_reach() {
        let spread = Spread::of([1.0, 2.0, 4.0]).unwrap();
        assert_eq!(of_spread(&spread, 1), "2.0 (1.0 – 4.0)");
        assert_eq!(of_spread(&Spread::of([3.0]).unwrap(), 0), "3");
    }

    #[test]
    fn a_missed_target_is_said() {
        let verdict = Verdict {
            target: 'A',
            what: "it".to_owned(),
            measured: Spread::of([1.2]).unwrap(),
            bound: Bound::AtMost(1.1),
            unit: "",
        };
        let table = rows(&target_table(&[&verdict]));
        assert!(table.contains("| A it | 1.20 | ≤ 1.10 | **missed** |"), "{table}");
    }
}
