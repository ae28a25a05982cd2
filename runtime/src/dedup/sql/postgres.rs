//! The statements for PostgreSQL.

use sqlx::Row as _;
use sqlx::postgres::PgConnection;

use super::{Holders, id_of};
use crate::dedup::claim::Claim;
use crate::dedup::message_id::MessageId;

pub(super) async fn make_table(connection: &mut PgConnection) -> sqlx::Result<()> {
    // Two that make it at once may both find it missing: the second is told so.
    for statement in [
        "CREATE TABLE IF NOT EXISTS strait_claims (id bytea PRIMARY KEY, claimed_by text NOT NULL, \
         expires_at timestamptz NOT NULL)",
        "CREATE INDEX IF NOT EXISTS strait_claims_expires_at ON strait_claims (expires_at)",
    ] {
        sqlx::query(statement).execute(&mut *connection).await?;
    }
    Ok(())
}

pub(super) async fn claim(
    connection: &mut PgConnection,
    claims: &[(&MessageId, &str)],
    window_ms: i64,
) -> sqlx::Result<Holders> {
    let ids: Vec<&[u8]> = claims.iter().map(|(id, _)| id.as_bytes().as_slice()).collect();
    let own: Vec<&str> = claims.iter().map(|(_, own)| *own).collect();
    sqlx::query(
        "INSERT INTO strait_claims AS held (id, claimed_by, expires_at) \
         SELECT id, claimed_by, clock_timestamp() + $3 * interval '1 millisecond' \
         FROM unnest($1::bytea[], $2::text[]) AS claims (id, claimed_by) ORDER BY id \
         ON CONFLICT (id) DO UPDATE SET claimed_by = excluded.claimed_by, expires_at = excluded.expires_at \
         WHERE held.expires_at <= clock_timestamp()",
    )
    .bind(&ids)
    .bind(&own)
    .bind(window_ms)
    .execute(&mut *connection)
    .await?;
    let rows = sqlx::query("SELECT id, claimed_by FROM strait_claims WHERE id = ANY($1)")
        .bind(&ids)
        .fetch_all(&mut *connection)
        .await?;
    rows.iter()
        .map(|row| Ok((id_of(row.try_get(0)?)?, row.try_get(1)?)))
        .collect()
}

pub(super) async fn release(connection: &mut PgConnection, claims: &[Claim]) -> sqlx::Result<u64> {
    let ids: Vec<&[u8]> = claims
        .iter()
        .map(|claim| claim.id.as_bytes().as_slice())
        .collect();
    let own: Vec<String> = claims.iter().map(|claim| claim.coordinate.to_string()).collect();
    let deleted = sqlx::query(
        "DELETE FROM strait_claims AS held USING unnest($1::bytea[], $2::text[]) AS claims (id, claimed_by) \
         WHERE held.id = claims.id AND held.claimed_by = claims.claimed_by",
    )
    .bind(&ids)
    .bind(&own)
    .execute(connection)
    .await?;
    Ok(deleted.rows_affected())
}

pub(super) async fn purge(connection: &mut PgConnection, rows_max: i64) -> sqlx::Result<()> {
    sqlx::query(
        "DELETE FROM strait_claims WHERE id IN (SELECT id FROM strait_claims \
         WHERE expires_at <= clock_timestamp() LIMIT $1 FOR UPDATE SKIP LOCKED)",
    )
    .bind(rows_max)
    .execute(connection)
    .await?;
    Ok(())
}
