use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Instant;

use super::*;
use crate::kafka::TopicPartition;
use crate::lane::state::LaneState;
use crate::plan::PipelineName;

fn start() -> (Server, Metrics, Health) {
    let metrics = Metrics::new("2.12.1");
    let health = Health::new(Duration::from_secs(30));
    let server = serve("127.0.0.1:0", metrics.clone(), health.clone()).unwrap();
    (server, metrics, health)
}

/// Status code, header block and body.
fn get(address: SocketAddr, path: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: strait\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_lowercase(), body.to_owned())
}

fn name() -> PipelineName {
    PipelineName::new("orders").unwrap()
}

#[test]
fn metrics_are_served_in_the_text_format() {
    let (server, metrics, _health) = start();
    metrics.pipeline(&name()).filtered(7);
    let (status, head, body) = get(server.address(), "/metrics");
    assert_eq!(status, 200);
    assert!(
        head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"),
        "{head}"
    );
    assert!(
        body.contains("strait_records_filtered_total{pipeline=\"orders\"} 7\n"),
        "{body}"
    );
    assert!(body.ends_with('\n'));
}

#[test]
fn readiness_follows_the_lanes() {
    let (server, _metrics, health) = start();
    let pipeline = health.pipeline(&name(), 1);
    let (status, head, body) = get(server.address(), "/readyz");
    assert_eq!(status, 503, "{body}");
    assert!(head.contains("content-type: application/json"), "{head}");
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["pipelines"][0]["lanes"][0]["reason"], "no assignment yet");
    pipeline.assigned(0, 0);
    pipeline.lane(0, LaneState::Running);
    let (status, _, body) = get(server.address(), "/readyz");
    assert_eq!(status, 200, "{body}");
    assert!(body.contains("\"ready\":true"), "{body}");
}

#[test]
fn alive_says_so_with_its_version_ready_or_not() {
    let (server, _metrics, _health) = start();
    let (status, _, body) = get(server.address(), "/healthz");
    assert_eq!(status, 200);
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn the_index_lists_what_there_is_and_elsewhere_it_is_shown_too() {
    let (server, _metrics, _health) = start();
    let (status, _, body) = get(server.address(), "/");
    assert_eq!(status, 200);
    for path in ["/metrics", "/healthz", "/readyz"] {
        assert!(body.contains(path), "{body}");
        assert_ne!(get(server.address(), path).0, 404, "{path}");
    }
    assert_eq!(get(server.address(), "/nowhere").0, 404);
}

#[test]
fn a_taken_address_is_named_with_the_way_out() {
    let (server, metrics, health) = start();
    let taken = server.address().to_string();
    let refusal = serve(&taken, metrics, health).unwrap_err().to_string();
    assert!(
        refusal.contains(&taken) && refusal.contains("--http"),
        "{refusal}"
    );
}

#[test]
fn dropping_it_frees_the_address_even_under_a_client_that_does_not_read_on() {
    let (server, metrics, health) = start();
    let pipeline = metrics.pipeline(&name());
    // More than the buffers of the system hold, so that the answer cannot be finished.
    let topic: Arc<str> = "t".repeat(240).into();
    for partition in 0..10_000 {
        let partition = TopicPartition {
            topic: Arc::clone(&topic),
            partition,
        };
        pipeline.records_in(&partition, 1);
        pipeline.lag(&partition, 1, 1.0);
        pipeline.last_stable_offset_lag(&partition, 1);
    }
    let address = server.address();
    let mut client = TcpStream::connect(address).unwrap();
    client
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: strait\r\n\r\n")
        .unwrap();
    client.read_exact(&mut [0; 1]).unwrap();
    let began = Instant::now();
    drop(server);
    assert!(began.elapsed() < DRAIN_TIME * 5, "{:?}", began.elapsed());
    drop(serve(&address.to_string(), metrics, health).unwrap());
}
