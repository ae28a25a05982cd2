//! Claims in Redis, for all partitions and whoever shares the scope: as durable as that Redis.
//!
//! `SET key coordinate NX GET PX window` claims a free id and tells who holds a taken one, in one
//! step; a batch is one round trip. An answer that is lost does no harm: who asks again finds its
//! own claim.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use redis::{Client, Connection, RedisError};

use super::claim::{Claim, Verdict};
use super::message_id::MessageId;
use super::shared::{first_of_each, verdicts};
use super::store::{Claims, StoreAway};

const CONNECT: Duration = Duration::from_secs(2);
const ANSWER: Duration = Duration::from_secs(2);

/// One lane's connection.
pub struct RedisClaims {
    client: Client,
    prefix: String,
    window_ms: i64,
    /// `None` until the next question, if the last one failed.
    connection: Option<Connection>,
}

impl std::fmt::Debug for RedisClaims {
    // Without the address: it may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisClaims")
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl RedisClaims {
    /// The address was looked at when the pipeline's file was read. It connects with the first claim.
    pub fn new(client: Client, prefix: String, window_ms: i64) -> Self {
        Self {
            client,
            prefix,
            window_ms,
            connection: None,
        }
    }

    /// Who held each id before, if somebody did.
    fn ask(&mut self, first: &BTreeMap<MessageId, String>) -> Result<Vec<Option<String>>, RedisError> {
        let mut pipe = redis::pipe();
        for (id, coordinate) in first {
            pipe.cmd("SET")
                .arg(format!("{}{id:?}", self.prefix))
                .arg(coordinate)
                .arg("NX")
                .arg("GET")
                .arg("PX")
                .arg(self.window_ms);
        }
        let until = Instant::now() + ANSWER;
        let connection = self.connection()?;
        // The client's own way of asking waits for every answer, even if there was none to the first.
        connection.send_packed_command(&pipe.get_packed_pipeline())?;
        let mut before = Vec::with_capacity(first.len());
        for _ in first {
            if Instant::now() >= until {
                return Err(io::Error::from(io::ErrorKind::TimedOut).into());
            }
            before.push(redis::from_redis_value(connection.recv_response()?)?);
        }
        Ok(before)
    }

    fn connection(&mut self) -> Result<&mut Connection, RedisError> {
        if let Some(connection) = self.connection.take() {
            return Ok(self.connection.insert(connection));
        }
        let connection = self.client.get_connection_with_timeout(CONNECT)?;
        connection.set_read_timeout(Some(ANSWER))?;
        connection.set_write_timeout(Some(ANSWER))?;
        Ok(self.connection.insert(connection))
    }
}

impl Claims for RedisClaims {
    fn claim(&mut self, claims: &[Claim], _: Instant) -> Result<Vec<Verdict>, StoreAway> {
        if claims.is_empty() {
            return Ok(Vec::new());
        }
        let mut first = first_of_each(claims);
        let before = self.ask(&first).map_err(|error| {
            // What it still had to say belongs to another question.
            self.connection = None;
            away(error.to_string())
        })?;
        for (holder, before) in first.values_mut().zip(before) {
            if let Some(before) = before {
                *holder = before;
            }
        }
        verdicts(claims, |id| first.get(id).map(String::as_str))
            .ok_or_else(|| away("an answer is missing".to_owned()))
    }

    fn ids_held(&self) -> usize {
        0
    }
}

fn away(why: String) -> StoreAway {
    StoreAway { store: "redis", why }
}
