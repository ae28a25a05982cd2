//! The statements for MySQL and MariaDB. Moments are milliseconds since 1970, by the database's
//! clock.

use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Row as _};

use super::{Holders, id_of};
use crate::dedup::claim::Claim;
use crate::dedup::message_id::MessageId;

const NOW: &str = "CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)";

pub(super) async fn make_table(connection: &mut MySqlConnection) -> sqlx::Result<()> {
    let statement = "CREATE TABLE IF NOT EXISTS strait_claims (id BINARY(16) NOT NULL PRIMARY KEY, \
                     claimed_by VARCHAR(200) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, \
                     expires_at_ms BIGINT NOT NULL, KEY strait_claims_expires_at (expires_at_ms)) ENGINE = InnoDB";
    sqlx::query(statement).execute(connection).await?;
    Ok(())
}

pub(super) async fn claim(
    connection: &mut MySqlConnection,
    claims: &[(&MessageId, &str)],
    window_ms: i64,
) -> sqlx::Result<Holders> {
    // Nothing but question marks goes into the text. The assignments are made from left to right,
    // so the moment comes last.
    let rows = vec![format!("(?, ?, {NOW} + ?)"); claims.len()].join(", ");
    let statement = format!(
        "INSERT INTO strait_claims (id, claimed_by, expires_at_ms) VALUES {rows} ON DUPLICATE KEY UPDATE \
         claimed_by = IF(expires_at_ms <= {NOW}, VALUES(claimed_by), claimed_by), \
         expires_at_ms = IF(expires_at_ms <= {NOW}, VALUES(expires_at_ms), expires_at_ms)"
    );
    let mut insert = sqlx::query(AssertSqlSafe(statement));
    for (id, own) in claims {
        insert = insert.bind(id.as_bytes().as_slice()).bind(*own).bind(window_ms);
    }
    insert.execute(&mut *connection).await?;
    let places = vec!["?"; claims.len()].join(", ");
    let statement = format!("SELECT id, claimed_by FROM strait_claims WHERE id IN ({places})");
    let mut select = sqlx::query(AssertSqlSafe(statement));
    for (id, _) in claims {
        select = select.bind(id.as_bytes().as_slice());
    }
    let rows = select.fetch_all(connection).await?;
    rows.iter()
        .map(|row| Ok((id_of(row.try_get(0)?)?, row.try_get(1)?)))
        .collect()
}

pub(super) async fn release(connection: &mut MySqlConnection, claims: &[Claim]) -> sqlx::Result<u64> {
    if claims.is_empty() {
        return Ok(0);
    }
    let rows = vec!["(?, ?)"; claims.len()].join(", ");
    let statement = format!("DELETE FROM strait_claims WHERE (id, claimed_by) IN ({rows})");
    let mut delete = sqlx::query(AssertSqlSafe(statement));
    for claim in claims {
        let id = claim.id.as_bytes().as_slice();
        delete = delete.bind(id).bind(claim.coordinate.to_string());
    }
    Ok(delete.execute(connection).await?.rows_affected())
}

pub(super) async fn purge(connection: &mut MySqlConnection, rows_max: i64) -> sqlx::Result<()> {
    let statement = format!("DELETE FROM strait_claims WHERE expires_at_ms <= {NOW} LIMIT ?");
    sqlx::query(AssertSqlSafe(statement))
        .bind(rows_max)
        .execute(connection)
        .await?;
    Ok(())
}
