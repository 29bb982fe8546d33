//! More than the spool may hold: declared, said in health, healed by a snapshot.

use super::*;

/// The link is down for longer than the spool can bear: P0 records stay, the rest is declared,
/// and a snapshot makes the hub exact again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_overflow_is_declared_and_healed_by_a_snapshot() {
    const KIB: u64 = 1024;
    let folder = tempfile::tempdir().unwrap();
    let spool = Limits {
        budget_bytes: 8 * 1024 * KIB,
        generation_bytes: 512 * KIB,
        tail_bytes: 1024 * KIB,
        tail_ms: 1000,
    };
    let settings = Settings { data_dir: folder.path().to_owned(), spool };
    let clock: SharedClock = Manual::at(1_000_000);
    let health = Health::new();
    let (recorder, ends) = Recorder::open(&settings, clock, health.clone()).await.unwrap();
    let tasks = Tasks::new(Shutdown::new());
    let shutdown = tasks.shutdown().clone();
    tasks.spawn_infallible("recorder", OnEnd::ShutDown, recorder.run(shutdown));
    let set = set(&["team"]);
    let mut rounds = 0;
    let mut overflowed = false;
    while !overflowed {
        rounds += 1;
        assert!(rounds < 200, "the budget was never reached");
        for subject in 0..30 {
            let seen = Seen::Evaluated(Box::new(noisy(&set, subject, rounds)));
            ends.seen.send(seen).await.ok().unwrap();
        }
        let (answer, answered) = tokio::sync::oneshot::channel();
        let last = noisy(&set, 0, rounds);
        let check = Seen::Check(last.subject, last.stamp, answer);
        ends.seen.send(check).await.ok().unwrap();
        assert!(answered.await.unwrap(), "the round is taken");
        // A P0 event seals what is pending.
        let mode = ModeRecord {
            event: ModeEvent::Degraded,
            capability: format!("round-{rounds}"),
            detail: String::new(),
        };
        ends.reporter.mode(mode).await;
        let position = ends.outbox.position().borrow().clone();
        assert!(position.bytes <= settings.spool.budget_bytes);
        overflowed = position.last_seq > position.records + 100;
    }
    ends.seen.send(Seen::Complete(Arc::clone(&set), Vec::new())).await.ok().unwrap();
    snapshot_waits(&health).await;
    let mut hub = Hub::default();
    let drain = async {
        let mut wake = ends.outbox.wake();
        while hub.snapshots_ended() == 0 {
            while hub.take_batch(&ends.outbox).await {}
            let _ = tokio::time::timeout(Duration::from_millis(200), wake.changed()).await;
        }
    };
    tokio::time::timeout(BOUND, drain).await.unwrap();
    until(|| health.parts()["snapshot"].healthy).await;
    assert!(hub.elisions > 0);
    let modes: Vec<_> = hub.modes.iter().filter(|(_, c)| c.starts_with("round-")).collect();
    assert_eq!(modes.len(), rounds as usize, "no P0 record was lost");
    assert_eq!(hub.state.len(), 30);
    assert!(hub.state.values().all(|state| state["label-team"] == Outcome::Fail));

    // A hub restored from a backup older than the tail: declared from the start, and the chain fits.
    let first_held = ends.outbox.position().borrow().first_held_seq;
    assert!(first_held > 5, "the acknowledged tail was cut");
    let batch = ends.outbox.batch_from(5).await.unwrap();
    assert_eq!((batch.first_seq, batch.last_seq), (1, first_held - 1));
    assert_eq!(batch.prev_head, chain::GENESIS);
    let next = ends.outbox.batch_from(first_held).await.unwrap();
    assert_eq!(next.prev_head, batch.head);
    tasks.shutdown().trigger();
    tasks.join(BOUND).await.unwrap();
}

/// Nothing was acknowledged: the snapshot that follows the loss waits, says so, and is no reason not to
/// be ready.
async fn snapshot_waits(health: &Health) {
    until(|| health.parts().get("snapshot").is_some_and(|part| !part.healthy)).await;
    assert!(health.parts()["spool"].healthy, "what was found gets out: no blindness of the hub");
    let part = health.parts()["snapshot"].clone();
    let is_said = part.detail.starts_with("snapshot waits: needs ");
    assert!(is_said && part.detail.contains(" bytes, 0 free"), "{part:?}");
    assert!(!part.required, "{part:?}");
}

/// With a bound.
async fn until(holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(BOUND, waiting).await.unwrap();
}

/// A failing verdict whose messages do not compress.
fn noisy(set: &Arc<CompiledSet>, subject: u32, round: u32) -> Evaluated {
    let entry = &set.policy_set().entries[0];
    let findings = (0..20_u8).map(|number| {
        let noise = |part: u32| Digest::of(format!("{subject} {round} {number} {part}").as_bytes());
        Finding {
            fingerprint: Fingerprint::from_bytes([number; 16]),
            path: provost_model::Path::default(),
            message: (0..15).map(|part| noise(part).to_string()).collect(),
            patch: None,
            line: None,
        }
    });
    let verdict = Verdict {
        policy: entry.policy.clone(),
        binding: entry.binding.clone(),
        outcome: Outcome::Fail,
        action: entry.action,
        severity: entry.severity,
        findings: findings.collect(),
        problem: None,
        exemption: None,
    };
    let subject = ResourceRef {
        group: String::new(),
        kind: "ConfigMap".to_owned(),
        namespace: "x".to_owned(),
        name: format!("m{subject}"),
    };
    let mut stamp = [7; 16];
    stamp[..4].copy_from_slice(&round.to_be_bytes());
    Evaluated {
        set: Arc::clone(set),
        subject,
        attributes: Attributes::at(Checkpoint::Run),
        stamp,
        verdicts: vec![verdict],
        change: provost_runtime::telemetry::trace::Span::none(),
    }
}
