//! The agent's control plane against a small hub: everything between them is real.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod bundles;
mod command;
mod damage;
mod enrolment;
mod hub;
mod recorder;
mod session;
mod signing;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use provost_agent::config::{Config, Manifests, Settings, Source};
use provost_agent::run::Agent;
use provost_agent::status::{Link, Status};
use provost_proto::token::Token;
use provost_runtime::admin;
use provost_runtime::clock::SharedClock;
use provost_runtime::shutdown::Shutdown;
use provost_runtime::tasks::Tasks;

use hub::{BOUND, Hub};
use recorder::Recorder;

/// A running agent over a memory recorder; it stops when told, and its folder stays for the next.
struct Running {
    agent: Agent,
    recorder: Arc<Recorder>,
    tasks: Tasks,
}

fn config(folder: &Path, token: Option<&Token>) -> Config {
    let mut settings = Settings {
        data_dir: folder.join("data"),
        name: "test".to_owned(),
        source: Some(Source::Manifests(Manifests {
            dir: folder.to_owned(),
            namespace: String::new(),
            rescan_ms: 1_000,
        })),
        token: token.map(|token| token.to_text().to_string()).unwrap_or_default(),
        ..Settings::default()
    };
    settings.reconnect.first_ms = 1;
    settings.reconnect.cap_ms = 20;
    Config::check(settings).unwrap()
}

impl Running {
    async fn start(folder: &Path, token: Option<&Token>, clock: SharedClock) -> Self {
        Self::start_on(Recorder::new(), folder, token, clock).await
    }

    async fn start_on(
        recorder: Arc<Recorder>,
        folder: &Path,
        token: Option<&Token>,
        clock: SharedClock,
    ) -> Self {
        Self::start_by(config(folder, token), recorder, clock).await
    }

    async fn start_by(config: Config, recorder: Arc<Recorder>, clock: SharedClock) -> Self {
        provost_runtime::tls::install_crypto_provider();
        let tasks = Tasks::new(Shutdown::new());
        let listener = admin::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let agent = Agent::start_on(recorder.plane(), None, config, clock, listener, &tasks).await;
        Self { agent: agent.unwrap(), recorder, tasks }
    }

    async fn stop(self) -> Arc<Recorder> {
        self.tasks.shutdown().trigger();
        self.tasks.join(Duration::from_secs(10)).await.unwrap();
        self.recorder
    }

    fn status(&self) -> Status {
        self.agent.board.status()
    }

    async fn link(&self, what: &str, holds: impl FnMut(&Link) -> bool) -> Link {
        let mut link = self.agent.board.link.clone();
        let waited = tokio::time::timeout(BOUND, link.wait_for(holds)).await;
        match waited {
            Ok(link) => link.unwrap().clone(),
            Err(_) => {
                panic!("the link never was: {what}; it is {:?}", *self.agent.board.link.borrow())
            }
        }
    }

    /// The bundle in force is this version.
    async fn active(&self, version: u64) {
        let mut view = self.agent.board.bundles.clone();
        let is = |view: &provost_agent::bundles::View| {
            view.active.as_ref().is_some_and(|active| active.version == version)
        };
        // The borrow must end at once: it holds up whoever wants to change the view.
        let waited = tokio::time::timeout(BOUND, view.wait_for(is)).await.map(drop);
        assert!(waited.is_ok(), "version {version} is not active: {:?}", self.status());
    }
}

/// A hub, and an agent that enrolled with it and has a session.
async fn enrolled(folder: &Path) -> (Hub, Running) {
    let hub = Hub::start().await;
    let agent = Running::start(folder, Some(&hub.token()), hub.clock.clone()).await;
    agent.link("connected", |link| link.connected).await;
    (hub, agent)
}
