//! Files that are refused, and what is said about them.

use super::*;

/// The refusal of a guest, which must also say what to do.
fn refusal(text: &str) -> String {
    refused(&Fixture::new(text))
}

fn refused(fixture: &Fixture) -> String {
    let error = engine()
        .load(&fixture.stage, &["default".to_owned()], &[])
        .err()
        .expect("it was accepted");
    assert!(!error.remedy().is_empty());
    assert!(error.to_string().ends_with(error.remedy()));
    error.problem.to_string()
}

#[test]
fn a_module_tells_who_it_is() {
    let module = Fixture::new(IDENTITY).load().unwrap();
    assert_eq!((module.name(), module.version()), ("identity", "1.2.3"));
    assert_eq!(module.sha256().len(), 64);
}

#[test]
fn settings_and_output_names_reach_the_transform() {
    // Answers with an error that is what it was given.
    let echo = "(call $return (i32.const 1) (local.get 0) (local.get 1))";
    let mut fixture = Fixture::new(&guest(&[(CONFIGURE, echo)]));
    fixture.stage.settings = serde_json::json!({"minimum": 20});
    let LoadProblem::Configure { message, .. } = fixture.load().err().unwrap() else {
        panic!()
    };
    let told: serde_json::Value = serde_json::from_str(&message).unwrap();
    let expected = serde_json::json!({"settings": {"minimum": 20}, "outputs": ["default"], "stores": []});
    assert_eq!(told, expected);
}

#[test]
fn the_pinned_digest_must_agree() {
    let mut fixture = Fixture::new(IDENTITY);
    let found = fixture.load().unwrap().sha256().to_owned();
    fixture.stage.sha256 = Some(found.to_uppercase());
    assert!(fixture.load().is_ok());
    let pinned = "0".repeat(64);
    fixture.stage.sha256 = Some(pinned.clone());
    let said = refused(&fixture);
    assert!(said.contains(&found) && said.contains(&pinned), "{said}");
}

#[test]
fn what_is_no_core_module_is_refused() {
    assert!(refused(&Fixture::of_bytes(b"#!/bin/sh")).contains("not a WebAssembly module"));
    assert!(refused(&Fixture::of_bytes(b"\0asm")).contains("not a WebAssembly module"));
    assert!(refusal("(component)").contains("is a WebAssembly component"));
    let mut truncated = wat::parse_str(IDENTITY).unwrap();
    truncated.truncate(200);
    assert!(refused(&Fixture::of_bytes(&truncated)).contains("cannot be compiled"));
    let fixture = Fixture::new(IDENTITY);
    std::fs::remove_file(fixture.stage.module.artifact()).unwrap();
    assert!(refused(&fixture).contains("cannot read"));
    let path = fixture.stage.module.artifact();
    std::fs::File::create(path)
        .unwrap()
        .set_len((128 << 20) + 1)
        .unwrap();
    assert!(refused(&fixture).contains("larger than 128.0 MiB"));
}

#[test]
fn all_missing_exports_are_named() {
    let said = refusal("(module (memory (export \"memory\") 1))");
    for name in [
        "cabi_realloc",
        "#describe",
        "#configure",
        "guest@1.0.0#process",
        "cabi_post_",
    ] {
        assert!(said.contains(name), "{said}");
    }
    assert!(!said.contains("memory"), "{said}");
}

#[test]
fn all_unknown_imports_are_named() {
    let said = refusal(
        "(module (import \"wasi_snapshot_preview1\" \"fd_write\" (func))
                 (import \"strait:transform/host@1.0.0\" \"log\" (func (param i32 i32 i32)))
                 (import \"strait:transform/host@2.0.0\" \"log\" (func (param i32 i32 i32)))
                 (import \"env\" \"memory\" (memory 1)))",
    );
    for name in [
        "wasi_snapshot_preview1.fd_write",
        "strait:transform/host@2.0.0.log",
        "env.memory",
    ] {
        assert!(said.contains(name), "{said}");
    }
    assert!(!said.contains("host@1.0.0"), "{said}");
}

#[test]
fn other_signatures_are_refused() {
    let log = "(param i32 i32 i32)))\n  (memory";
    let said = refusal(
        &guest(&[(log, "(param i32 i64)))\n  (memory")]).replace("(call $log", "(drop (i32.const 0)) ;; "),
    );
    assert!(
        said.contains("(i32, i64) -> () instead of (i32, i32, i32) -> ()"),
        "{said}"
    );
    let post = "#process\") (param i32)\n";
    let said = refusal(&guest(&[(post, "#process\") (param i64)\n")]));
    assert!(said.contains("(i64) -> () instead of (i32) -> ()"), "{said}");
    let said = refusal(&guest(&[(
        "(memory (export \"memory\") 4)",
        "(memory 4) (global (export \"memory\") i32 (i32.const 0))",
    )]));
    assert!(said.contains("memory is a global"), "{said}");
}

#[test]
fn memory_must_fit_its_limit_and_the_process() {
    let said = refusal(&guest(&[(
        "(memory (export \"memory\") 4)",
        "(memory (export \"memory\") 17)",
    )]));
    assert!(said.contains("1.1 MiB") && said.contains("1.0 MiB"), "{said}");
    let mut fixture = Fixture::new(IDENTITY);
    fixture.stage.limits.memory_bytes = 2 << 20;
    assert!(refused(&fixture).contains("2.0 MiB"));
}

#[test]
fn memory_of_64_bits_is_refused() {
    let said = refusal("(module (memory (export \"memory\") i64 1))");
    assert!(said.contains("memory64"), "{said}");
}

#[test]
fn another_batch_format_is_refused() {
    let said = refusal(&guest(&[(
        "\\\"format_version\\\":1",
        "\\\"format_version\\\":2",
    )]));
    assert!(
        said.contains("batch format 2") && said.contains("strait-sdk 0.1.0"),
        "{said}"
    );
}

#[test]
fn a_later_sdk_is_refused() {
    let said = refusal(&guest(&[("0.1.0", "9.0.1")]));
    assert!(said.contains("strait-sdk 9.0.1"), "{said}");
    assert!(Fixture::new(&guest(&[("0.1.0", "0.0.9")])).load().is_ok());
}

#[test]
fn a_description_that_is_none_is_refused() {
    assert!(refusal(&guest(&[("\\\"name\\\"", "\\\"nume\\\"")])).contains("missing field `name`"));
    let outside = guest(&[(
        "(i32.store (i32.const 16) (i32.const 1024))",
        "(i32.store (i32.const 16) (i32.const -1))",
    )]);
    assert!(refusal(&outside).contains("no list"), "{}", refusal(&outside));
    let long = guest(&[(
        "(i32.store (i32.const 20) (i32.const 78))",
        "(i32.store (i32.const 20) (i32.const 65537))",
    )]);
    assert!(refusal(&long).contains("no list"), "{}", refusal(&long));
}

#[test]
fn what_a_toolchain_has_run_first_is_run_first() {
    let initialize = |body: &str| {
        let function = format!("(func (export \"_initialize\") {body})\n  (func $allocate");
        Fixture::new(&guest(&[("(func $allocate", &function)]))
    };
    // Makes the description's first byte a bracket.
    let spoils = initialize("(i32.store8 (i32.const 1024) (i32.const 91))");
    assert!(refused(&spoils).contains("does not describe itself"));
    assert!(refused(&initialize("(param i32)")).contains("(i32) -> () instead of () -> ()"));
}

#[test]
fn a_transform_that_does_not_start_is_refused() {
    let said = refusal(&guest(&[(CONFIGURE, "(unreachable)")]));
    assert!(said.contains("does not start: trap"), "{said}");
    let start = "(func $start (loop $forever (br $forever))) (start $start)\n  (func $allocate";
    let mut fixture = Fixture::new(&guest(&[("(func $allocate", start)]));
    fixture.stage.limits.batch_deadline = Some(Duration::from_millis(50));
    assert!(refused(&fixture).contains("does not start: deadline"));
}
