//! One shutdown for a whole process: the first SIGTERM or SIGINT asks, the second one exits at once.

use std::io;

use tokio_util::sync::CancellationToken;

/// Told to everything that waits. Cheap to clone; a child stops with its parent, not the reverse.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    token: CancellationToken,
}

impl Shutdown {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn child(&self) -> Self {
        Self { token: self.token.child_token() }
    }

    pub fn trigger(&self) {
        self.token.cancel();
    }

    #[must_use]
    pub fn is_triggered(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Returns when shutdown was asked for.
    pub async fn wait(&self) {
        self.token.cancelled().await;
    }

    /// `future`'s output, or `None` when shutdown comes first.
    pub async fn or<F: Future>(&self, future: F) -> Option<F::Output> {
        tokio::select! {
            biased;
            () = self.wait() => None,
            output = future => Some(output),
        }
    }

    /// Sleeps, or returns `false` early when shutdown comes first.
    pub async fn sleep(&self, duration: std::time::Duration) -> bool {
        self.or(tokio::time::sleep(duration)).await.is_some()
    }

    /// Listens for SIGTERM and SIGINT from now on. For mains only, once per process.
    #[cfg(unix)]
    pub fn on_signals(&self) -> io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let shutdown = self.clone();
        #[expect(clippy::disallowed_methods, reason = "outlives all tasks: it ends the process")]
        tokio::spawn(async move {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            tracing::info!("shutting down; a second signal exits at once");
            shutdown.trigger();
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            exit_now();
        });
        Ok(())
    }
}

#[expect(clippy::disallowed_methods, reason = "the second signal is an order to exit at once")]
fn exit_now() -> ! {
    std::process::exit(130)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn children_stop_with_their_parent_and_alone() {
        let parent = Shutdown::new();
        let (one, two) = (parent.child(), parent.child());
        one.trigger();
        assert!(one.is_triggered() && !parent.is_triggered() && !two.is_triggered());
        parent.trigger();
        two.wait().await;
        assert_eq!(two.or(std::future::pending::<()>()).await, None);
    }
}
