//! The suite that tries to break exactly-once: all of it, while `test` runs a selection.

use anyhow::{Result, bail, ensure};

use crate::run::{cargo, shown, step};
use crate::tools;

/// What the command line asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    name: Option<String>,
    seed: Option<u64>,
    minutes: Option<u64>,
}

/// Ends with the table of what was injected and what came of it.
pub fn run(args: &[String]) -> Result<()> {
    let asked = Asked::parse(args)?;
    tools::ensure_chaos()?;
    step("scenarios");
    let mut test = cargo(&[
        "test",
        "--locked",
        "--package",
        "strait-tests",
        "--test",
        "chaos",
        "--",
    ]);
    test.arg("--include-ignored").args(&asked.name);
    // It is set in any case: that is how the suite knows that it was asked for by itself.
    test.env("STRAIT_CHAOS_MINUTES", asked.minutes.unwrap_or(0).to_string());
    if let Some(seed) = asked.seed {
        test.env("STRAIT_CHAOS_SEED", seed.to_string());
    }
    if std::env::var_os("KAFKA_HOME").is_none() {
        test.env("STRAIT_KAFKA", "maven");
    }
    shown(test)
}

impl Asked {
    fn parse(args: &[String]) -> Result<Self> {
        let mut asked = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let (option, value) = match arg.split_once('=') {
                Some((option, value)) => (option, Some(value)),
                None => (arg.as_str(), None),
            };
            let place = match option {
                "--seed" => &mut asked.seed,
                "--minutes" => &mut asked.minutes,
                _ if option.starts_with('-') => {
                    bail!("there is no option {option}: --seed and --minutes are all")
                }
                _ => {
                    ensure!(
                        asked.name.is_none(),
                        "one NAME is enough: it selects all that contain it"
                    );
                    asked.name = Some(arg.clone());
                    continue;
                }
            };
            let Some(value) = value.or_else(|| args.next().map(String::as_str)) else {
                bail!("{option} needs a whole number");
            };
            let Ok(number) = value.parse() else {
                bail!("{option} is {value:?}: write a whole number");
            };
            *place = Some(number);
        }
        Ok(asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Asked> {
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Asked::parse(&args)
    }

    #[test]
    fn names_and_numbers_in_any_order() {
        let all = Asked {
            name: Some("late".into()),
            seed: Some(7),
            minutes: Some(30),
        };
        assert_eq!(parse("late --seed 7 --minutes=30").unwrap(), all);
        assert_eq!(parse("--minutes 30 --seed=7 late").unwrap(), all);
        assert_eq!(parse("").unwrap(), Asked::default());
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (line, said) in [
            ("--sed 7", "no option --sed"),
            ("--seed x", "write a whole number"),
            ("--minutes", "needs a whole number"),
            ("one two", "one NAME"),
        ] {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.contains(said), "{line}: {error}");
        }
    }
}
