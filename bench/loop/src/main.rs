//! The hand-written loop that Strait is measured against, and the loader for both.

mod commit;
mod lane;
mod load;
mod raw;
mod run;
mod usage;
mod work;

use clap::{Args, Parser, Subcommand, ValueEnum};

#[derive(Parser)]
#[command(about = "A consume-transform-produce loop by hand, exactly once, as the yardstick for Strait")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Fill a topic with records of about 200 bytes.
    Load(Load),
    /// Copy a topic in transactions until its end, and print what it cost.
    Run(Run),
}

#[derive(Args, Clone)]
pub struct Load {
    #[arg(long)]
    bootstrap: String,
    /// Created if it is missing.
    #[arg(long)]
    topic: String,
    #[arg(long, default_value_t = 2_000_000)]
    records: u64,
    #[arg(long, default_value_t = 6)]
    partitions: i32,
    /// Bytes of a value, about.
    #[arg(long, default_value_t = 200)]
    value_bytes: usize,
    /// The first record's number; its value and its id come of it.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Put the number into a header `message-id`.
    #[arg(long)]
    ids: bool,
    /// librdkafka's own keys, as `key=value`.
    #[arg(long = "set")]
    properties: Vec<String>,
}

#[derive(Args, Clone)]
pub struct Run {
    #[arg(long)]
    bootstrap: String,
    #[arg(long)]
    input: String,
    /// Created with the input's partition count if it is missing. Several for `fan-out`.
    #[arg(long = "output", required = true)]
    outputs: Vec<String>,
    #[arg(long, value_enum, default_value_t = Work::Identity)]
    work: Work,
    #[arg(long, value_enum, default_value_t = Delivery::ExactlyOnce)]
    delivery: Delivery,
    /// The consumer group; a fresh one unless given.
    #[arg(long)]
    group: Option<String>,
    #[arg(long, default_value_t = 2)]
    lanes: usize,
    #[arg(long, default_value_t = 100)]
    commit_ms: u64,
    /// The most records taken at once.
    #[arg(long, default_value_t = 10_000)]
    batch: usize,
    /// librdkafka's own keys for the consumers, as `key=value`.
    #[arg(long = "consumer")]
    consumer_properties: Vec<String>,
    /// librdkafka's own keys for the producers, as `key=value`.
    #[arg(long = "producer")]
    producer_properties: Vec<String>,
}

/// What becomes of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Work {
    /// It is copied.
    Identity,
    /// It is copied if its value contains `"order":` and a number that ends in 7.
    Filter,
    /// Its value is parsed, dropped in one case of five, changed and written again.
    Json,
    /// It is copied to each output.
    FanOut,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Delivery {
    ExactlyOnce,
    AtLeastOnce,
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().verb {
        Verb::Load(load) => load::load(&load),
        Verb::Run(run) => run::run(&run),
    }
}
