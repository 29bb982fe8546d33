//! Which sessions are open. A second session of the same instance ends the first.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use provost_model::id::SessionId;
use provost_model::{ClusterId, InstanceId};
use tokio::sync::watch;

/// Open sessions of this process.
#[derive(Debug, Default)]
pub struct OpenSessions {
    open: Mutex<HashMap<(ClusterId, InstanceId), Open>>,
}

#[derive(Debug)]
struct Open {
    session: SessionId,
    end: watch::Sender<Option<End>>,
    /// Monotonic time of the last message.
    heard: Duration,
}

/// Why the hub ends a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Another session of the same instance began.
    TakenOver,
    /// An operator decided something about the cluster.
    Decided,
}

/// A session's place in the registry.
#[derive(Debug)]
pub struct Seat {
    pub end: watch::Receiver<Option<End>>,
    /// How long ago the session that was pushed aside was heard; none where there was none.
    pub pushed_aside: Option<Duration>,
}

impl OpenSessions {
    pub fn enter(
        &self,
        cluster: ClusterId,
        instance: InstanceId,
        session: SessionId,
        now: Duration,
    ) -> Seat {
        let (end, receiver) = watch::channel(None);
        let open = Open { session, end, heard: now };
        let before = self.lock().insert((cluster, instance), open);
        let pushed_aside = before.map(|before| {
            before.end.send_replace(Some(End::TakenOver));
            now.saturating_sub(before.heard)
        });
        Seat { end: receiver, pushed_aside }
    }

    pub fn heard(
        &self,
        cluster: ClusterId,
        instance: InstanceId,
        session: SessionId,
        now: Duration,
    ) {
        if let Some(open) =
            self.lock().get_mut(&(cluster, instance)).filter(|open| open.session == session)
        {
            open.heard = now;
        }
    }

    pub fn leave(&self, cluster: ClusterId, instance: InstanceId, session: SessionId) {
        let mut open = self.lock();
        if open.get(&(cluster, instance)).is_some_and(|open| open.session == session) {
            open.remove(&(cluster, instance));
        }
    }

    /// Ends every session of the cluster.
    pub fn end_cluster(&self, cluster: ClusterId) {
        for (_, open) in self.lock().iter().filter(|((of, _), _)| *of == cluster) {
            open.end.send_replace(Some(End::Decided));
        }
    }

    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(ClusterId, InstanceId), Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_session_wins_and_the_old_one_leaves_it_alone() {
        let sessions = OpenSessions::default();
        let (cluster, instance) = (ClusterId::from_bytes([1; 16]), InstanceId::from_bytes([2; 16]));
        let (first, second) = (SessionId::from_bytes([3; 16]), SessionId::from_bytes([4; 16]));
        let old = sessions.enter(cluster, instance, first, Duration::from_secs(10));
        assert_eq!(old.pushed_aside, None);
        sessions.heard(cluster, instance, first, Duration::from_secs(12));
        let new = sessions.enter(cluster, instance, second, Duration::from_secs(13));
        assert_eq!(new.pushed_aside, Some(Duration::from_secs(1)));
        assert_eq!(*old.end.borrow(), Some(End::TakenOver));
        sessions.leave(cluster, instance, first);
        assert_eq!(sessions.count(), 1, "the old one's end does not remove the new one");
        assert_eq!(*new.end.borrow(), None);
        sessions.end_cluster(cluster);
        assert_eq!(*new.end.borrow(), Some(End::Decided));
    }
}
