//! No text, however broken, makes the parse panic or run away.

use proptest::prelude::*;

use super::{LEAST, look, set};
use crate::config::{Overrides, yaml};

/// Pieces that YAML gives a meaning to, and pieces of real files.
fn fragment() -> impl Strategy<Value = String> {
    let pieces = [
        "\n",
        "  ",
        "\t",
        ": ",
        "- ",
        "? ",
        "{",
        "}",
        "[",
        "]",
        ",",
        "\"",
        "'",
        "|",
        ">",
        "|2-\n",
        "&a ",
        "*a",
        "!t ",
        "!!int ",
        "%YAML 1.2\n",
        "---\n",
        "...\n",
        "#",
        "<<",
        "~",
        "null",
        "name",
        "kafka",
        "stages",
        "wasm",
        "outputs",
        "${env:A}",
        "${",
        "}",
        "5s",
        "5%",
        "-0x1",
        "1e999",
        ".nan",
        "\u{feff}",
        "\u{85}",
        "\u{2028}",
        "\0",
        "é",
        "𝄞",
    ];
    prop_oneof![4 => prop::sample::select(pieces.to_vec()).prop_map(str::to_owned), 1 => any::<String>()]
}

proptest! {
    #[test]
    fn arbitrary_text_gives_findings_or_a_pipeline(fragments in prop::collection::vec(fragment(), 0..60)) {
        let text = fragments.concat();
        let (pipeline, findings) = look(&text, &Overrides::default());
        prop_assert!(pipeline.is_some() || !findings.is_empty());
    }

    #[test]
    fn a_damaged_file_gives_findings_or_a_pipeline(at in 0..LEAST.len(), drop in 0usize..20, put in fragment()) {
        let text: String = LEAST.chars().take(at).chain(put.chars()).chain(LEAST.chars().skip(at + drop)).collect();
        let (pipeline, findings) = look(&text, &Overrides::default());
        prop_assert!(pipeline.is_some() || !findings.is_empty());
    }

    #[test]
    fn arbitrary_overrides_do_no_harm(key in "[a-z0-9.\"]{0,20}", value in fragment()) {
        look(LEAST, &set(&[&format!("{key}={value}"), &format!("stages.{key}={value}"), &format!("kafka.{key}={value}")]));
    }
}

#[test]
fn depth_and_size_have_limits() {
    let deep = |open: &str| "a: ".to_owned() + &open.repeat(200);
    for text in [
        deep("["),
        deep("{a: "),
        (0..200).map(|depth| " ".repeat(depth) + "a:\n").collect(),
    ] {
        let (_, findings) = look(&text, &Overrides::default());
        assert!(findings.contains("nested more than 64 deep"), "{findings}");
    }
    let (_, findings) = look(&" ".repeat(yaml::TEXT_BYTES_MAX + 1), &Overrides::default());
    assert!(findings.contains("has more than 1048576 bytes"), "{findings}");
}

#[test]
fn aliases_do_not_multiply() {
    let mut text = "a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (name, before) in ["b", "c", "d", "e", "f", "g", "h", "i"]
        .iter()
        .zip(["a", "b", "c", "d", "e", "f", "g", "h"])
    {
        let nine = vec![format!("*{before}"); 9].join(", ");
        text.extend([name, ": &", name, " [", &nine, "]\n"]);
    }
    let (_, findings) = look(&text, &Overrides::default());
    assert!(
        findings.contains("aliases (`*name`) are not supported"),
        "{findings}"
    );
}

#[test]
fn zero_bytes_do_not_reach_the_library() {
    let flags = [
        "kafka.properties.client.id=a\0b",
        "kafka.properties.client\0=1",
        "name=a\0",
    ];
    let (_, findings) = look(LEAST, &set(&flags));
    assert_eq!(
        findings.matches("the setting holds a zero byte").count(),
        2,
        "{findings}"
    );
}
