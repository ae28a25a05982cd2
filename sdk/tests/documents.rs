//! The documents say what the code does: byte tables, export names, and the WIT file.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use strait_sdk::batch::{
    ENTRY_LEN, HEADER_ITEM_LEN, INPUT_HEADER_LEN, OUTPUT_HEADER_LEN, REASON_LEN_MAX, RECORD_LEN, TOPIC_LEN,
    VERSION,
};

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Cells of the first table below a heading.
fn table(document: &str, heading: &str) -> Vec<Vec<String>> {
    let (_, section) = document
        .split_once(&format!("{heading}\n"))
        .unwrap_or_else(|| panic!("no {heading}"));
    let rows = section
        .lines()
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'));
    let cells = |row: &str| {
        row.trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().to_owned())
            .collect()
    };
    rows.skip(2).map(cells).collect()
}

fn width(name: &str) -> usize {
    match name {
        "u8" => 1,
        "u16" => 2,
        "u32" | "i32" => 4,
        "u64" | "i64" => 8,
        other => panic!("unknown type {other}"),
    }
}

/// The rows of a byte table follow each other without a gap and end at `len`.
fn assert_layout(document: &str, heading: &str, len: usize) {
    let mut end = 0;
    for row in table(document, heading) {
        assert_eq!(row[0], end.to_string(), "{heading}: {}", row[2]);
        end += width(&row[1]);
    }
    assert_eq!(end, len, "{heading}");
}

/// Where a byte table has a field.
fn place(document: &str, heading: &str, field: &str) -> usize {
    let row = table(document, heading).into_iter().find(|row| row[2] == field);
    row.unwrap_or_else(|| panic!("{heading} has no {field}"))[0]
        .parse()
        .unwrap()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

#[test]
fn the_byte_tables_are_as_wide_as_the_code_has_them() {
    let document = read("../docs/batch-format.md");
    assert_layout(&document, "### Input header", INPUT_HEADER_LEN);
    assert_layout(&document, "### Topic row", TOPIC_LEN);
    assert_layout(&document, "### Record row", RECORD_LEN);
    assert_layout(&document, "### Header item", HEADER_ITEM_LEN);
    assert_layout(&document, "### Output header", OUTPUT_HEADER_LEN);
    assert_layout(&document, "### Entry row", ENTRY_LEN);
    assert!(document.contains(&format!("no longer than {REASON_LEN_MAX} bytes")));
    assert!(document.contains(&format!("# The batch format, version {VERSION}\n")));
}

#[test]
fn the_byte_tables_put_fields_where_the_golden_files_have_them() {
    let document = read("../docs/batch-format.md");
    let input = include_bytes!("golden/input.bin");
    let header = |field| place(&document, "### Input header", field);
    assert_eq!(&input[header("magic")..][..4], b"STRI");
    assert_eq!(u32_at(input, header("total_len")) as usize, input.len());
    assert_eq!(u32_at(input, header("record_count")), 3);
    assert_eq!(u32_at(input, header("topic_count")), 1);
    assert_eq!(u32_at(input, header("now_ms")), 0xCFE5_687B);
    assert_eq!(u32_at(input, header("progress")), u32::MAX);
    let third = u32_at(input, header("records_offset")) as usize + 2 * RECORD_LEN;
    let field = |field| u32_at(input, third + place(&document, "### Record row", field));
    let fields = [
        "offset",
        "timestamp_ms",
        "key_len",
        "value_len",
        "headers_count",
        "topic",
        "partition",
        "attempt",
        "stream_time_ms",
    ];
    assert_eq!(fields.map(field), [12, 30, 0, u32::MAX, 2, 0, 5, 4, 30]);

    let output = include_bytes!("golden/output.bin");
    let header = |field| place(&document, "### Output header", field);
    assert_eq!(&output[header("magic")..][..4], b"STRO");
    assert_eq!(u32_at(output, header("total_len")) as usize, output.len());
    assert_eq!(u32_at(output, header("entry_count")), 6);
    let entry = u32_at(output, header("entries_offset")) as usize;
    let second = entry + ENTRY_LEN;
    let field = |field| u32_at(output, second + place(&document, "### Entry row", field));
    let fields = [
        "origin",
        "timestamp_ms",
        "key_len",
        "value_len",
        "headers_count",
        "partition",
    ];
    assert_eq!(fields.map(field), [0, 77, u32::MAX, 5, 2, 9]);
    assert_eq!(output[second + place(&document, "### Entry row", "index")], 1);
    let kinds = (0..6).map(|n| output[entry + n * ENTRY_LEN + place(&document, "### Entry row", "kind")]);
    assert_eq!(kinds.collect::<Vec<_>>(), [0, 0, 3, 4, 1, 2]);
    assert_eq!(output[entry + place(&document, "### Entry row", "inherit")], 7);
}

/// `export_name = "..."` and the like, in a source.
fn quoted_after(source: &str, before: &str) -> BTreeSet<String> {
    source
        .split(before)
        .skip(1)
        .filter_map(|rest| rest.split('"').nth(1))
        .map(str::to_owned)
        .collect()
}

/// Names in the first column of a table, or the one at `column`.
fn named(document: &str, heading: &str, column: usize) -> BTreeSet<String> {
    table(document, heading)
        .iter()
        .map(|row| row[column].trim_matches('`').to_owned())
        .collect()
}

#[test]
fn wit_code_and_documents_have_the_same_names() {
    let (wit, abi) = (read("wit/transform.wit"), read("src/abi.rs"));
    let document = read("../docs/batch-format.md");
    let package = wit
        .lines()
        .find_map(|line| line.strip_prefix("package "))
        .unwrap()
        .trim_end_matches(';');
    let (package, version) = package.split_once('@').unwrap();

    let mut exports = BTreeSet::from(["memory".to_owned(), "cabi_realloc".to_owned()]);
    let mut imports = BTreeSet::new();
    let mut interface = "";
    for line in wit.lines().map(str::trim).filter(|line| !line.starts_with("///")) {
        if let Some(name) = line.strip_prefix("interface ") {
            interface = name.trim_end_matches(" {");
        } else if let Some((function, _)) = line.split_once(": func(") {
            let module = format!("{package}/{interface}@{version}");
            match interface {
                "guest" => {
                    exports.insert(format!("{module}#{function}"));
                    exports.insert(format!("cabi_post_{module}#{function}"));
                }
                "host" => {
                    imports.insert((module, function.to_owned()));
                }
                other => panic!("an interface that this test does not know: {other}"),
            }
        }
    }
    assert_eq!(exports.len(), 8, "{exports:?}");

    let mut in_code = quoted_after(&abi, "export_name =");
    in_code.insert("memory".to_owned()); // the linker exports it
    assert_eq!(in_code, exports);
    assert_eq!(named(&document, "lowers that world to:", 0), exports);

    let modules = quoted_after(&abi, "wasm_import_module =");
    let module = modules.first().unwrap();
    assert_eq!(modules.len(), 1, "{modules:?}");
    let in_code: BTreeSet<_> = quoted_after(&abi, "link_name =")
        .into_iter()
        .map(|function| (module.clone(), function))
        .collect();
    assert_eq!(in_code, imports);
    let rows = table(&document, "and that imports at most");
    let cell = |row: &[String], column: usize| row[column].trim_matches('`').to_owned();
    let in_document: BTreeSet<_> = rows.iter().map(|row| (cell(row, 0), cell(row, 1))).collect();
    assert_eq!(in_document, imports);
}
