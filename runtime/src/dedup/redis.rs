//! Claims in Redis, for all partitions and whoever shares the scope: as durable as that Redis.
//!
//! `SET key coordinate NX GET PX window` claims a free id and tells who holds a taken one, in one
//! step; a batch is one round trip. An answer that is lost does no harm: who asks again finds its
//! own claim.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use redis::{Client, Connection, FromRedisValue, Pipeline, RedisError};

use super::claim::{Claim, Verdict};
use super::message_id::MessageId;
use super::shared::{first_of_each, verdicts};
use super::store::{Claims, Release, StoreAway};

const CONNECT: Duration = Duration::from_secs(2);
const ANSWER: Duration = Duration::from_secs(2);

/// Only what is held by this coordinate: the id may have become free, and somebody else's.
const RELEASE: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";

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
                .arg(self.key(id))
                .arg(coordinate)
                .arg("NX")
                .arg("GET")
                .arg("PX")
                .arg(self.window_ms);
        }
        self.answers(&pipe, first.len())
    }

    /// How many of them were held so, and are free now.
    fn give_back(&mut self, claims: &[Claim]) -> Result<u64, RedisError> {
        // The client refuses to ask nothing.
        if claims.is_empty() {
            return Ok(0);
        }
        let mut pipe = redis::pipe();
        for claim in claims {
            pipe.cmd("EVAL")
                .arg(RELEASE)
                .arg(1)
                .arg(self.key(&claim.id))
                .arg(claim.coordinate.to_string());
        }
        let released: Vec<u64> = self.answers(&pipe, claims.len())?;
        Ok(released.into_iter().sum())
    }

    fn key(&self, id: &MessageId) -> String {
        format!("{}{id:?}", self.prefix)
    }

    /// One round trip, with so many answers.
    fn answers<T: FromRedisValue>(&mut self, pipe: &Pipeline, count: usize) -> Result<Vec<T>, RedisError> {
        let until = Instant::now() + ANSWER;
        let connection = self.connection()?;
        // The client's own way of asking waits for every answer, even if there was none to the first.
        connection.send_packed_command(&pipe.get_packed_pipeline())?;
        let mut answers = Vec::with_capacity(count);
        for _ in 0..count {
            if Instant::now() >= until {
                return Err(io::Error::from(io::ErrorKind::TimedOut).into());
            }
            answers.push(redis::from_redis_value(connection.recv_response()?)?);
        }
        Ok(answers)
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

    /// What it still had to say belongs to another question.
    fn lost(&mut self, error: &RedisError) -> StoreAway {
        self.connection = None;
        away(error.to_string())
    }
}

impl Claims for RedisClaims {
    fn claim(&mut self, claims: &[Claim], _: Instant) -> Result<Vec<Verdict>, StoreAway> {
        if claims.is_empty() {
            return Ok(Vec::new());
        }
        let mut first = first_of_each(claims);
        let before = self.ask(&first).map_err(|error| self.lost(&error))?;
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

impl Release for RedisClaims {
    fn release(&mut self, claims: &[Claim]) -> Result<u64, StoreAway> {
        self.give_back(claims).map_err(|error| self.lost(&error))
    }
}

fn away(why: String) -> StoreAway {
    StoreAway { store: "redis", why }
}
