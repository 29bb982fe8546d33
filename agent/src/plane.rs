//! The data plane, put together: recorder, evaluation and source.

use std::sync::Arc;

use anyhow::Context as _;
use provost_engine::{CompiledSet, Evaluator, Limits as EvaluatorLimits};
use provost_runtime::admin::Health;
use provost_runtime::clock::SharedClock;
use provost_runtime::metrics::Registry;
use provost_runtime::shutdown::Shutdown;
use provost_runtime::tasks::{OnEnd, Tasks};
use tokio::sync::{mpsc, watch};

use crate::cluster::{self, ClusterSource};
use crate::config::{self, Config};
use crate::evaluate::Pipeline;
use crate::metrics::{Evaluations, watch_queue};
use crate::report::seen::Seen;
use crate::report::{Ends, Outbox, Recorder, Reporter, Settings};
use crate::source::manifests::{ManifestsSource, Settings as DirectorySettings};
use crate::source::{CHANGES_IN_FLIGHT, Change, Source as _};
use crate::spool::Limits;

/// The recorder runs; nothing is evaluated yet.
pub struct Recording {
    pub outbox: Outbox,
    pub reporter: Reporter,
    seen: mpsc::Sender<Seen>,
}

/// Opens spool and verdict table, and starts the recorder.
pub async fn record(
    config: &Config,
    clock: SharedClock,
    health: Health,
    registry: &Registry,
    tasks: &Tasks,
) -> anyhow::Result<Recording> {
    let settings = Settings {
        data_dir: config.data_dir.clone(),
        spool: Limits::for_budget(config.spool_max_bytes),
    };
    let opened = Recorder::open(&settings, clock, health).await;
    let (recorder, Ends { outbox, reporter, seen }) = opened
        .with_context(|| format!("cannot open the spool in {}", config.data_dir.display()))?;
    let shutdown = tasks.shutdown().clone();
    let recorder = recorder.counted(registry);
    tasks.spawn_infallible("recorder", OnEnd::ShutDown, recorder.run(shutdown));
    reporter.watch_queues(registry);
    watch_queue(registry, "seen", &seen);
    Ok(Recording { outbox, reporter, seen })
}

impl Recording {
    /// Starts evaluation and source over the sets that come into force.
    pub fn evaluate(
        self,
        source: &config::Source,
        sets: &watch::Receiver<Arc<CompiledSet>>,
        clock: SharedClock,
        registry: &Registry,
        tasks: &Tasks,
    ) -> anyhow::Result<Evaluator> {
        let evaluator = Evaluator::start(sets, EvaluatorLimits::default())
            .context("cannot start the threads of the evaluator")?;
        let (sender, changes) = mpsc::channel(CHANGES_IN_FLIGHT);
        watch_queue(registry, "changes", &sender);
        let (evaluator_of_pipeline, sets_of_pipeline) = (evaluator.clone(), sets.clone());
        let pipeline = Pipeline {
            changes,
            sets: sets_of_pipeline,
            evaluator: evaluator_of_pipeline,
            seen: self.seen,
            clock,
            metrics: Evaluations::new(registry, "audit"),
        };
        let shutdown = tasks.shutdown().clone();
        tasks.spawn_infallible("pipeline", OnEnd::ShutDown, pipeline.run(shutdown));
        watch_source(source, sets, &sender, tasks);
        Ok(evaluator)
    }
}

fn watch_source(
    source: &config::Source,
    sets: &watch::Receiver<Arc<CompiledSet>>,
    changes: &mpsc::Sender<Change>,
    tasks: &Tasks,
) {
    let (sets, changes, shutdown) = (sets.clone(), changes.clone(), tasks.shutdown().clone());
    match source {
        config::Source::Manifests(settings) => {
            let config::Manifests { dir, namespace, rescan_ms } = settings.clone();
            let settings = DirectorySettings {
                dir,
                namespace: (!namespace.is_empty()).then_some(namespace),
                rescan: std::time::Duration::from_millis(rescan_ms),
            };
            let source = Box::new(ManifestsSource::new(settings));
            // A directory that is not there is the operator's to mend: it ends the agent.
            tasks.spawn("source", OnEnd::ShutDown, async move {
                source.run(sets, changes, shutdown).await.map_err(anyhow::Error::from)
            });
        }
        config::Source::Cluster(settings) => {
            let kubeconfig = settings.kubeconfig.clone();
            let settings = cluster::Settings { kubeconfig, context: None };
            tasks.spawn_restarting("source", move || {
                run_cluster(settings.clone(), sets.clone(), changes.clone(), shutdown.clone())
            });
        }
    }
}

async fn run_cluster(
    settings: cluster::Settings,
    sets: watch::Receiver<Arc<CompiledSet>>,
    changes: mpsc::Sender<Change>,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let source = match ClusterSource::connect(&settings).await {
        Ok(source) => source,
        Err(error) => {
            let error = anyhow::Error::from(error);
            let detail = format!("{error:#}");
            // Nobody who takes it: the agent is going down.
            let _ = changes.send(Change::Health { healthy: false, detail }).await;
            return Err(error);
        }
    };
    Ok(Box::new(source).run(sets, changes, shutdown).await?)
}
