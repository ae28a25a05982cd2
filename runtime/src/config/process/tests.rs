use super::*;

fn environment(variables: &[(&str, &str)]) -> BTreeMap<String, String> {
    variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

#[test]
fn without_a_word_there_are_defaults() {
    let home = environment(&[
        ("HOME", "/home/me"),
        ("XDG_CACHE_HOME", "/cache"),
        ("XDG_DATA_HOME", "not/absolute"),
    ]);
    let settings =
        ProcessSettings::read(Path::new("no/strait.yaml"), &home, &ProcessArgs::default()).unwrap();
    let expected = ProcessSettings {
        http: "127.0.0.1:9600".parse().unwrap(),
        log: "info".to_owned(),
        log_format: LogFormat::Text,
        data_dir: "/home/me/.local/share/strait".into(),
        cache_dir: "/cache/strait".into(),
        instance: None,
        token_file: None,
    };
    assert_eq!(settings, expected);
    let settings = ProcessSettings::read(Path::new("no"), &BTreeMap::new(), &ProcessArgs::default()).unwrap();
    assert_eq!(settings.data_dir, Path::new("/var/lib/strait"));
}

#[test]
fn flags_win_over_variables_and_variables_over_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("strait.yaml");
    let text = "http: 127.0.0.1:1\nlog: warn\nlog_format: json\ndata_dir: data\ninstance: \"7\"\ntoken_file: \"${env:TOKEN}\"\n";
    std::fs::write(&file, text).unwrap();
    let variables = environment(&[
        ("TOKEN", "/run/token"),
        ("STRAIT_HTTP", "0.0.0.0:2"),
        ("STRAIT_LOG", "debug"),
        ("STRAIT_INSTANCE", "8"),
        // What Kubernetes injects for a Service called strait.
        ("STRAIT_PORT", "tcp://10.0.0.1:9600"),
        ("STRAIT_SERVICE_HOST", "10.0.0.1"),
    ]);
    let args = ProcessArgs {
        log: Some("warn,strait=trace".to_owned()),
        ..ProcessArgs::default()
    };
    let settings = ProcessSettings::read(&file, &variables, &args).unwrap();
    assert_eq!(settings.http, "0.0.0.0:2".parse().unwrap());
    assert_eq!(settings.log, "warn,strait=trace");
    assert_eq!(settings.log_format, LogFormat::Json);
    assert_eq!(settings.data_dir, folder.path().join("data"));
    assert_eq!(settings.instance.as_deref(), Some("8"));
    assert_eq!(settings.token_file.as_deref(), Some(Path::new("/run/token")));
}

#[test]
fn every_mistake_is_reported_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("strait.yaml");
    std::fs::write(&file, "htpp: x\nlog: \"a=b=c\"\nlanes: 2\n").unwrap();
    let variables = environment(&[("STRAIT_HTTP", "9600"), ("STRAIT_INSTANCE", "a/b")]);
    let args = ProcessArgs {
        log_format: Some("xml".to_owned()),
        ..ProcessArgs::default()
    };
    let findings = ProcessSettings::read(&file, &variables, &args).unwrap_err();
    let text = findings
        .render(false)
        .replace(&format!("{}/", folder.path().display()), "");
    let found: Vec<_> = text.lines().collect();
    let expected = [
        "strait.yaml:1:1: htpp: the key `htpp` is not known here; did you mean `http`?",
        "strait.yaml:2:6: log: `a=b=c` is no log filter: error parsing level filter: expected one of \"off\", \"error\", \"warn\", \"info\", \"debug\", \"trace\", or a number 0-5; write a level, such as info or warn,strait=debug",
        "strait.yaml:3:1: lanes: the key `lanes` is not known here; remove it; known here are cache_dir, data_dir, http, instance, \
         log, log_format, token_file",
        "STRAIT_HTTP: http: `9600` is no address; write IP:PORT, such as 127.0.0.1:9600 or 0.0.0.0:9600",
        "STRAIT_INSTANCE: instance: `a/b` is no name; write 1 to 64 characters out of a-z, A-Z, 0-9, '_' and '-'",
        "--log-format: log_format: `xml` is not known here; write text or json",
    ];
    assert_eq!(found, expected);
}

#[test]
fn an_empty_file_says_nothing_and_a_list_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("strait.yaml");
    let read = || ProcessSettings::read(&file, &BTreeMap::new(), &ProcessArgs::default());
    std::fs::write(&file, "# nothing yet\n").unwrap();
    assert!(read().is_ok());
    std::fs::write(&file, "- http\n").unwrap();
    let text = read().unwrap_err().render(false);
    assert!(
        text.contains("strait.yaml:1:1: a map is expected, and this is a list"),
        "{text}"
    );
}
