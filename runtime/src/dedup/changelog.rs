//! Claims of one input partition, kept in a topic that is written in the transaction of the
//! records that made them: so they are exact, as far as one partition sees.
//!
//! | file | what it decides |
//! | --- | --- |
//! | `claims` | the partitions of one lane |
//! | `table` | the claims of one partition, and those of the open transaction |
//! | `median_time` | when a claim is too old to matter |
//! | `entry` | how claims stand in the topic |
//! | `restore` | bringing back what others have written |
//!
//! The table is in memory whole. After a commit it holds what the topic holds, after an abort
//! what the topic held before; an owner that takes the partition over reads the topic.
//!
//! Time is that of the records, not of a clock: a pipeline that stood still for a week, or works
//! off a backlog, judges as it would have judged then.

mod claims;
mod entry;
mod median_time;
mod restore;
mod table;

pub use claims::{ChangelogClaims, Unjudged, Writes};
pub use entry::{Entry, Unreadable};
pub use median_time::{Ceiling, MedianTime};
pub use restore::{ClaimReads, Trim};
pub use table::{IdHasher, Table};
