//! The end of the recorder: whatever is still said, then everything on disk.

use std::time::Duration;

use provost_model::record::ModeEvent;

use super::append::Admitted;
use super::recorder::{Control, Recorder};

/// For those who are still busy after the signal: longer than they take, and shorter than a supervisor's patience.
const DRAIN: Duration = Duration::from_secs(2);

enum Last {
    Control(Control),
    Admission(Box<Admitted>),
}

impl Recorder {
    pub(super) async fn close(&mut self) {
        self.drain().await;
        self.declare_lost();
        self.mode(ModeEvent::Stopped, "agent", "");
        self.seal().await;
        self.write_checkpoint().await;
    }

    /// What is decided and answered while the agent ends is recorded too: until nobody is left who could say anything,
    /// within a bound.
    async fn drain(&mut self) {
        let until = tokio::time::Instant::now() + DRAIN;
        loop {
            let next = async {
                tokio::select! {
                    biased;
                    Some(control) = self.control.recv() => Some(Last::Control(control)),
                    Some(admission) = self.admissions.recv() => Some(Last::Admission(Box::new(admission))),
                    else => None,
                }
            };
            match tokio::time::timeout_at(until, next).await {
                Ok(Some(Last::Control(control))) => self.controlled(control).await,
                Ok(Some(Last::Admission(admission))) => self.admitted(*admission).await,
                Ok(None) | Err(_) => return,
            }
        }
    }
}
