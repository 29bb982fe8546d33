//! A hub that was put back to an older copy of its database: noticed by what it acknowledged before, which its agents
//! remember, and shown until it has caught up.
//!
//! It asks each agent for what it lacks anyway; the alarm says that there was a time of which nobody else knows, and
//! stays where an agent does not hold the records any more in that epoch.

use provost_proto::hello::Hello;

use crate::ingest::Speaker;
use crate::refusal::Result;
use crate::store::Store;
use crate::store::reports::{Alarm, Position};

pub const CODE: &str = "HUB_BEHIND";
const ACTION: &str = "hub.behind";

/// What was acknowledged of a chain and is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behind {
    epoch: u64,
    acked_seq: u64,
    stored_seq: u64,
}

impl Behind {
    /// Of the chain that the agent speaks about; none where everything is here. An epoch that a newer one replaced is
    /// another matter: the agent was set back, not the hub.
    #[must_use]
    pub fn of(hello: &Hello, stored: Option<Position>) -> Option<Self> {
        let stored_seq = match stored {
            Some(stored) if stored.epoch > hello.epoch => return None,
            Some(stored) if stored.epoch == hello.epoch => stored.seq,
            _ => 0,
        };
        let Hello { epoch, acked_seq, .. } = *hello;
        (stored_seq < acked_seq).then_some(Self { epoch, acked_seq, stored_seq })
    }

    #[must_use]
    pub const fn is_over(&self, stored: &Position) -> bool {
        stored.epoch == self.epoch && stored.seq >= self.acked_seq
    }

    pub async fn tell(&self, store: &dyn Store, speaker: Speaker, now_ms: i64) -> Result<()> {
        let Self { epoch, acked_seq, stored_seq } = self;
        let Speaker { cluster, instance } = speaker;
        tracing::error!(%cluster, %instance, epoch, acked_seq, stored_seq,
            "the hub holds less than it acknowledged: its database was put back to an older copy");
        let detail = format!(
            "records up to {acked_seq} of epoch {epoch} were acknowledged and only {stored_seq} are stored: the hub's \
             database was put back to an older copy; the agent is asked for the rest"
        );
        let alarm = Alarm { cluster, instance, code: CODE, detail: &detail };
        Ok(store.raise_audited(&alarm, ACTION, now_ms).await?)
    }
}

/// Everything that the agent was told is stored: an alarm that is still open is over.
pub async fn caught_up(store: &dyn Store, speaker: Speaker, now_ms: i64) -> Result<()> {
    Ok(store.resolve(speaker.cluster, speaker.instance, CODE, now_ms).await?)
}
