//! Addresses of stores, which may hold passwords: none is ever printed.

use std::fmt;

use sqlx::mysql::MySqlConnectOptions;
use sqlx::postgres::PgConnectOptions;

/// A Redis to connect to.
#[derive(Clone)]
pub struct RedisAddress(redis::Client);

impl RedisAddress {
    /// `redis://` or, with TLS, `rediss://`. The error says what is wrong, and nothing of the address.
    pub fn parse(url: &str) -> Result<Self, String> {
        if !url.starts_with("redis://") && !url.starts_with("rediss://") {
            return Err("it begins neither with redis:// nor with rediss://".to_owned());
        }
        let client = redis::Client::open(url).map_err(|error| error.category().to_owned())?;
        Ok(Self(client))
    }

    pub fn client(&self) -> redis::Client {
        self.0.clone()
    }
}

impl fmt::Debug for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedisAddress")
    }
}

/// A database to connect to.
#[derive(Clone)]
pub enum SqlAddress {
    Postgres(PgConnectOptions),
    MySql(MySqlConnectOptions),
}

impl SqlAddress {
    /// `postgres://`, `postgresql://`, `mysql://` or `mariadb://`. The error says what is wrong, and
    /// nothing of the address.
    pub fn parse(url: &str) -> Result<Self, String> {
        let unreadable = |_| "it cannot be read".to_owned();
        let (scheme, rest) = url.split_once("://").unwrap_or_default();
        match scheme {
            "postgres" | "postgresql" => url.parse().map(Self::Postgres).map_err(unreadable),
            "mysql" | "mariadb" => {
                let url = format!("mysql://{rest}");
                url.parse().map(Self::MySql).map_err(unreadable)
            }
            _ => Err("it begins neither with postgres:// nor with mysql:// or mariadb://".to_owned()),
        }
    }
}

impl fmt::Debug for SqlAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Postgres(_) => "SqlAddress::Postgres",
            Self::MySql(_) => "SqlAddress::MySql",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_never_printed() {
        let redis = RedisAddress::parse("rediss://user:hunter2@cache:6380/1").unwrap();
        let postgres = SqlAddress::parse("postgres://u:hunter2@db/claims?sslmode=require").unwrap();
        let mariadb = SqlAddress::parse("mariadb://u:hunter2@db:3307/claims").unwrap();
        let printed = format!("{redis:?} {postgres:?} {mariadb:?}");
        assert!(!printed.contains("hunter2"), "{printed}");
        assert!(matches!(mariadb, SqlAddress::MySql(_)));
        for wrong in ["", "cache:6379", "redis:/cache", "http://hunter2"] {
            let error = RedisAddress::parse(wrong).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
            assert!(SqlAddress::parse(wrong).is_err());
        }
        assert!(SqlAddress::parse("postgres://u:p@host:none/db").is_err());
    }
}
