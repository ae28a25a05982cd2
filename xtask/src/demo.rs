//! `pipelines/orders.yaml` on orders made up here, by `strait dev`.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::run::{cargo, root, step};
use crate::tools;

const ORDERS: u64 = 5_000;
const CUSTOMERS: u64 = 400;
const SEED: u64 = 0x5eed_0f0d_e125;

/// Does not return when all is well: this process becomes `strait dev`.
pub fn run(args: &[String]) -> Result<()> {
    tools::ensure()?;
    let sample = write_sample()?;
    step("building strait");
    let mut dev = cargo(&[
        "run",
        "--package",
        "strait",
        "--locked",
        "--",
        "dev",
        "pipelines/orders.yaml",
    ]);
    dev.arg("--sample").arg(sample);
    if !args.iter().any(|arg| arg.starts_with("--rate")) {
        dev.args(["--rate", "1000"]);
    }
    let failed = dev.args(args).exec();
    Err(failed).context("running cargo")
}

fn write_sample() -> Result<PathBuf> {
    let folder = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let folder = root().join(folder).join("demo");
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let path = folder.join("orders.sample.jsonl");
    fs::write(&path, orders()).with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}

/// Lines of `{"key", "value", "headers"}`. Of a hundred orders some two are sent again, one
/// is malformed and ten are below the minimum.
fn orders() -> String {
    let mut random = SplitMix(SEED);
    let mut text = String::new();
    let mut last = String::new();
    for number in 0..ORDERS {
        let chance = random.below(100);
        if chance >= 2 || last.is_empty() {
            last = order(number, chance, &mut random);
        }
        text.push_str(&last);
    }
    text
}

fn order(number: u64, chance: u64, random: &mut SplitMix) -> String {
    let customer = random.below(CUSTOMERS);
    let amount = if chance < 13 {
        1 + random.below(19)
    } else {
        20 + random.below(980)
    };
    let order = format!(
        r#"{{"id":"o-{number:06}","customer":"c-{customer:03}","amount":{amount},"currency":"EUR"}}"#
    );
    let value = if chance == 2 {
        // Cut off, as by a producer that died; a string, since it is not JSON.
        let cut = order.get(..order.len() / 2).unwrap_or_default();
        format!("\"{}\"", cut.replace('"', "\\\""))
    } else {
        order
    };
    let mut line = String::new();
    // Writing to a String cannot fail.
    let _infallible = writeln!(
        line,
        r#"{{"key":"c-{customer:03}","value":{value},"headers":{{"message-id":"m-{number:06}","source":"demo"}}}}"#
    );
    line
}

/// A small generator, so that each demo shows the same orders.
struct SplitMix(u64);

impl SplitMix {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_orders_are_the_same_each_time_and_of_all_kinds() {
        let text = orders();
        assert_eq!(text, orders());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len() as u64, ORDERS);
        let repeats = lines.windows(2).filter(|pair| pair[0] == pair[1]).count();
        let malformed = lines
            .iter()
            .filter(|line| line.contains(r#""value":"{\""#))
            .count();
        assert!((50..200).contains(&repeats), "{repeats} repeats");
        assert!((20..100).contains(&malformed), "{malformed} malformed");
    }
}
