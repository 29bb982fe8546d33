//! Where a chain goes on when a session starts.

use provost_proto::hello::Hello;
use provost_proto::session::Resume;

use crate::store::reports::Position;

/// An agent that holds less than what is acknowledged lost its spool, and one that holds an older epoch was set back:
/// both go on in a new epoch.
#[must_use]
pub fn resume(hello: &Hello, chain: Option<(Position, bool)>) -> Resume {
    let Some((position, closed)) = chain else {
        return if hello.last_seq == 0 { Resume::None } else { Resume::SendFrom(1) };
    };
    if hello.epoch < position.epoch || (hello.epoch == position.epoch && closed) {
        return Resume::NewEpoch;
    }
    if hello.epoch > position.epoch {
        return if hello.last_seq == 0 { Resume::None } else { Resume::SendFrom(1) };
    }
    match hello.last_seq {
        last if last < position.seq => Resume::NewEpoch,
        last if last == position.seq && hello.head == position.head => Resume::None,
        // With another head the next batch tells whether it is a fork.
        _ => Resume::SendFrom(position.seq + 1),
    }
}

#[cfg(test)]
mod tests {
    use provost_model::{Digest, InstanceId};

    use super::super::behind::Behind;
    use super::*;

    fn hello(epoch: u64, last_seq: u64, head: u8) -> Hello {
        Hello {
            protocol_version: 1,
            agent_version: String::new(),
            capabilities: Vec::new(),
            payload_types: Vec::new(),
            instance: InstanceId::from_bytes([1; 16]),
            nonce: [0; 32],
            root_version: 1,
            epoch,
            last_seq,
            head: Digest::from_bytes([head; 32]),
            acked_seq: 0,
            first_held_seq: 0,
            bundle: None,
            config: None,
            wall_ms: 0,
            server_version: String::new(),
            node_versions: Vec::new(),
            blobs_held: Vec::new(),
        }
    }

    #[test]
    fn a_hub_is_behind_when_it_acknowledged_what_it_does_not_hold() {
        let stored = |epoch, seq| Some(Position { epoch, seq, head: Digest::from_bytes([7; 32]) });
        for (stored, is_behind) in [
            (stored(2, 10), false),
            (stored(2, 11), false),
            (stored(2, 9), true),
            (stored(1, 50), true),
            (None, true),
            (stored(3, 0), false),
        ] {
            let said = Hello { acked_seq: 10, ..hello(2, 12, 7) };
            let behind = Behind::of(&said, stored);
            assert_eq!(behind.is_some(), is_behind, "{stored:?}");
            let there = Position { epoch: 2, seq: 10, head: Digest::from_bytes([7; 32]) };
            assert!(behind.is_none_or(|behind| behind.is_over(&there)));
        }
        assert_eq!(Behind::of(&hello(1, 5, 0), None), None, "nothing was acknowledged yet");
    }

    #[test]
    fn the_chain_goes_on_where_it_was_acknowledged() {
        let acked = Position { epoch: 2, seq: 10, head: Digest::from_bytes([7; 32]) };
        for (epoch, last_seq, head, closed, expected) in [
            (2, 10, 7, false, Resume::None),
            (2, 15, 9, false, Resume::SendFrom(11)),
            (2, 10, 8, false, Resume::SendFrom(11)),
            (2, 9, 7, false, Resume::NewEpoch),
            (1, 50, 7, false, Resume::NewEpoch),
            (3, 0, 0, false, Resume::None),
            (3, 4, 0, false, Resume::SendFrom(1)),
            (2, 15, 9, true, Resume::NewEpoch),
        ] {
            let resumed = resume(&hello(epoch, last_seq, head), Some((acked, closed)));
            assert_eq!(resumed, expected, "{epoch} {last_seq} {head} {closed}");
        }
        assert_eq!(resume(&hello(1, 0, 0), None), Resume::None);
        assert_eq!(resume(&hello(1, 5, 0), None), Resume::SendFrom(1));
    }
}
