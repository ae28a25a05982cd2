//! Claims in a table of PostgreSQL, MySQL or MariaDB, for all partitions and whoever shares the
//! scope.
//!
//! Two round trips a batch: one statement claims what is free or expired and leaves alone what is
//! taken, the next reads who holds it. Both commit by themselves, and what the second finds is what
//! counts. Time is that of the database.

mod mysql;
mod postgres;

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use sqlx::Connection as _;
use sqlx::mysql::MySqlConnection;
use sqlx::postgres::PgConnection;
use tokio::runtime::Runtime;

use super::claim::{Claim, Verdict};
use super::message_id::MessageId;
use super::shared::{first_of_each, verdicts};
use super::store::{Claims, Release, StoreAway};
use crate::plan::SqlAddress;

/// Connecting, and the table.
const CONNECT: Duration = Duration::from_secs(3);
/// Claims of a batch, both statements.
const ANSWER: Duration = Duration::from_secs(3);
/// Rows that expired are deleted this often, and so many at once.
const PURGE_INTERVAL: Duration = Duration::from_secs(30);
const PURGE_MAX: i64 = 20_000;

/// Claims in one statement. A larger batch takes several.
const CLAIMS_MAX: usize = 10_000;

/// Others that lock the same rows may be in the way.
const DEADLOCKS_MAX: u32 = 3;

/// Who holds what, of the ids that were asked about.
type Holders = HashMap<MessageId, String>;

/// One lane's connection.
pub struct SqlClaims {
    runtime: Runtime,
    address: SqlAddress,
    window_ms: i64,
    /// `None` until the next question, if the last one failed.
    connection: Option<Connection>,
    purged: Instant,
}

enum Connection {
    Postgres(Box<PgConnection>),
    MySql(Box<MySqlConnection>),
}

impl std::fmt::Debug for SqlClaims {
    // Without the address: it may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqlClaims").finish_non_exhaustive()
    }
}

impl SqlClaims {
    /// It connects with the first claim, and makes the table if there is none.
    pub fn new(address: SqlAddress, window_ms: i64) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        Ok(Self {
            runtime,
            address,
            window_ms,
            connection: None,
            purged: Instant::now(),
        })
    }

    fn ask(&mut self, first: &BTreeMap<MessageId, String>) -> Result<Holders, Error> {
        let purges = self.purged.elapsed() >= PURGE_INTERVAL;
        let window_ms = self.window_ms;
        let mut connection = self.connection()?;
        let first: Vec<(&MessageId, &str)> = first.iter().map(|(id, own)| (id, own.as_str())).collect();
        let mut holders = Holders::with_capacity(first.len());
        for claims in first.chunks(CLAIMS_MAX) {
            let claimed = claim_again(&self.runtime, &mut connection, claims, window_ms)?;
            holders.extend(claimed);
        }
        if purges {
            self.purged = Instant::now();
            within(&self.runtime, ANSWER, connection.purge())?;
        }
        self.connection = Some(connection);
        Ok(holders)
    }

    /// How many of them were held so, and are free now.
    fn give_back(&mut self, claims: &[Claim]) -> Result<u64, Error> {
        let mut connection = self.connection()?;
        let mut released = 0;
        for claims in claims.chunks(CLAIMS_MAX) {
            released += within(&self.runtime, ANSWER, connection.release(claims))?;
        }
        self.connection = Some(connection);
        Ok(released)
    }

    /// It is gone until whoever took it has succeeded.
    fn connection(&mut self) -> Result<Connection, Error> {
        match self.connection.take() {
            Some(connection) => Ok(connection),
            None => within(&self.runtime, CONNECT, Connection::open(&self.address)),
        }
    }
}

/// A deadlock is resolved by the database: who was chosen as its victim asks again.
fn claim_again(
    runtime: &Runtime,
    connection: &mut Connection,
    claims: &[(&MessageId, &str)],
    window_ms: i64,
) -> Result<Holders, Error> {
    let mut deadlocks = 0;
    loop {
        match within(runtime, ANSWER, connection.claim(claims, window_ms)) {
            Err(error) if error.is_deadlock() && deadlocks < DEADLOCKS_MAX => deadlocks += 1,
            other => return other,
        }
    }
}

fn within<T>(
    runtime: &Runtime,
    time: Duration,
    asked: impl Future<Output = sqlx::Result<T>>,
) -> Result<T, Error> {
    runtime.block_on(async {
        tokio::time::timeout(time, asked)
            .await
            .map_err(|_| Error::TimedOut(time))?
            .map_err(Error::Sql)
    })
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Sql(sqlx::Error),
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
}

impl Error {
    fn is_deadlock(&self) -> bool {
        let Self::Sql(sqlx::Error::Database(error)) = self else {
            return false;
        };
        // 40P01: PostgreSQL. 40001: MySQL, MariaDB.
        matches!(error.code().as_deref(), Some("40P01" | "40001"))
    }
}

impl Connection {
    async fn open(address: &SqlAddress) -> sqlx::Result<Self> {
        let mut connection = match address {
            SqlAddress::Postgres(options) => {
                Self::Postgres(Box::new(PgConnection::connect_with(options).await?))
            }
            SqlAddress::MySql(options) => {
                Self::MySql(Box::new(MySqlConnection::connect_with(options).await?))
            }
        };
        match &mut connection {
            Self::Postgres(connection) => postgres::make_table(connection).await?,
            Self::MySql(connection) => mysql::make_table(connection).await?,
        }
        Ok(connection)
    }

    async fn claim(&mut self, claims: &[(&MessageId, &str)], window_ms: i64) -> sqlx::Result<Holders> {
        match self {
            Self::Postgres(connection) => postgres::claim(connection, claims, window_ms).await,
            Self::MySql(connection) => mysql::claim(connection, claims, window_ms).await,
        }
    }

    async fn release(&mut self, claims: &[Claim]) -> sqlx::Result<u64> {
        match self {
            Self::Postgres(connection) => postgres::release(connection, claims).await,
            Self::MySql(connection) => mysql::release(connection, claims).await,
        }
    }

    async fn purge(&mut self) -> sqlx::Result<()> {
        match self {
            Self::Postgres(connection) => postgres::purge(connection, PURGE_MAX).await,
            Self::MySql(connection) => mysql::purge(connection, PURGE_MAX).await,
        }
    }
}

impl Claims for SqlClaims {
    fn claim(&mut self, claims: &[Claim], _: Instant) -> Result<Vec<Verdict>, StoreAway> {
        if claims.is_empty() {
            return Ok(Vec::new());
        }
        let first = first_of_each(claims);
        let holders = self.ask(&first).map_err(|error| away(error.to_string()))?;
        // A row may have expired and gone between the two statements.
        verdicts(claims, |id| holders.get(id).map(String::as_str))
            .ok_or_else(|| away("an answer is missing".to_owned()))
    }

    fn ids_held(&self) -> usize {
        0
    }
}

impl Release for SqlClaims {
    fn release(&mut self, claims: &[Claim]) -> Result<u64, StoreAway> {
        self.give_back(claims).map_err(|error| away(error.to_string()))
    }
}

fn away(why: String) -> StoreAway {
    StoreAway {
        store: "database",
        why,
    }
}

/// An id out of a row.
fn id_of(bytes: &[u8]) -> sqlx::Result<MessageId> {
    let id = bytes.try_into().map_err(|_| {
        let what = format!("an id of {} bytes in the table", bytes.len());
        sqlx::Error::Decode(what.into())
    })?;
    Ok(MessageId::from_bytes(id))
}
