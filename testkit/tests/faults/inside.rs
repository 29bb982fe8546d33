//! The daemons as they run, inside the test's process and on a clock of the test.

use provost_agent::config::Config as AgentConfig;
use provost_agent::ports::Ports;
use provost_agent::run::Agent;
use provost_aggregator::config::Config as HubConfig;
use provost_aggregator::run::{self, Running};
use provost_runtime::clock::SharedClock;
use provost_runtime::config::Overrides;
use provost_runtime::process::GRACE;
use provost_runtime::shutdown::Shutdown;
use provost_runtime::tasks::Tasks;
use provost_runtime::tls::install_crypto_provider;
use provost_testkit::processes::{Fleet, Site};
use tokio::runtime::{Builder, Runtime};

/// Ends in order when dropped.
pub struct InsideAgent {
    runtime: Runtime,
    tasks: Tasks,
    _agent: Agent,
}

impl InsideAgent {
    /// The agent of a site whose process does not run.
    pub fn start(site: &Site, clock: SharedClock) -> Self {
        let runtime = runtime();
        let tasks = Tasks::new(Shutdown::new());
        let config = AgentConfig::load(Some(site.agent.config()), &Overrides::default()).unwrap();
        let agent = runtime.block_on(async {
            let ports = Ports::open(&config).await.unwrap();
            Agent::start(config, clock, ports, &tasks).await.unwrap()
        });
        Self { runtime, tasks, _agent: agent }
    }
}

impl Drop for InsideAgent {
    fn drop(&mut self) {
        self.tasks.shutdown().trigger();
        let ended = self.runtime.block_on(self.tasks.join(GRACE));
        assert!(ended.is_ok() || std::thread::panicking(), "{ended:?}");
    }
}

/// Ends in order when dropped.
pub struct InsideHub {
    runtime: Runtime,
    shutdown: Shutdown,
    running: Option<Running>,
}

impl InsideHub {
    /// The hub of a fleet whose process does not run; these sites are led to it.
    pub fn start(fleet: &mut Fleet, clock: SharedClock, sites: &[&Site]) -> Self {
        let (runtime, shutdown) = (runtime(), Shutdown::new());
        let config = HubConfig::load(Some(fleet.hub.config()), &Overrides::default()).unwrap();
        let running = runtime.block_on(run::start(config, clock, shutdown.clone())).unwrap();
        fleet.find_hub(sites);
        Self { runtime, shutdown, running: Some(running) }
    }
}

impl Drop for InsideHub {
    fn drop(&mut self) {
        self.shutdown.trigger();
        let Some(running) = self.running.take() else { return };
        let ended = self.runtime.block_on(running.wait());
        assert!(ended.is_ok() || std::thread::panicking(), "{ended:?}");
    }
}

fn runtime() -> Runtime {
    install_crypto_provider();
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}
