//! The two lanes.

use std::sync::Arc;
use std::time::Duration;

use provost_engine::{Answer, CompiledSet, Evaluator, EvaluatorError, LaneLimits, Limits};
use provost_model::Outcome;
use serde_json::json;
use tokio::sync::watch;

use crate::cases::{compile_text, only, pod};

const SLOW: &str = "violation contains {\"msg\": \"m\", \"path\": []} if {\n\tns := numbers.range(1, 3000)\n\tcount([1 | some a in ns; some b in ns; a == b]) == 1\n}";
const QUICK: &str = "violation contains {\"msg\": \"m\", \"path\": []}";

fn lane(queue: usize, time_limit: Duration) -> LaneLimits {
    LaneLimits { threads: 1, queue, time_limit }
}

fn start(text: &str, limits: Limits) -> (watch::Sender<Arc<CompiledSet>>, Evaluator) {
    let (sender, sets) = watch::channel(Arc::new(compile_text(text)));
    (sender, Evaluator::start(&sets, limits).unwrap())
}

#[expect(clippy::disallowed_methods, reason = "the test joins what it spawns")]
fn audit(evaluator: &Evaluator) -> tokio::task::JoinHandle<Result<Answer, EvaluatorError>> {
    let evaluator = evaluator.clone();
    tokio::spawn(async move { evaluator.audit(pod(&json!({}))).await })
}

#[tokio::test]
async fn both_lanes_answer_with_the_set_of_the_moment() {
    let (sender, evaluator) = start(QUICK, Limits::default());
    let first = evaluator.audit(pod(&json!({}))).await.unwrap();
    assert_eq!(only(first.verdicts).outcome, Outcome::Fail);
    let set = compile_text("violation contains x if { false; x := 1 }");
    let id = set.id();
    sender.send(Arc::new(set)).unwrap();
    let second = evaluator.admission(pod(&json!({})), Duration::from_secs(5)).await.unwrap();
    assert_eq!((second.set, only(second.verdicts).outcome), (id, Outcome::Pass));
}

#[tokio::test]
async fn a_full_audit_neither_waits_nor_holds_up_admission() {
    // The audit below runs into its limit, which leaves this long for what happens meanwhile.
    let slow = Duration::from_secs(10);
    let limits = Limits { admission: lane(1, Duration::from_millis(20)), audit: lane(1, slow) };
    let (_sender, evaluator) = start(SLOW, limits);
    let _running = audit(&evaluator);
    tokio::task::yield_now().await;
    // One runs, one waits, and there is room for no other.
    while evaluator.queued().1 > 0 {
        tokio::task::yield_now().await;
    }
    let waiting = audit(&evaluator);
    while evaluator.queued().1 == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(evaluator.audit(pod(&json!({}))).await, Err(EvaluatorError::Full));
    let answer = evaluator.admission(pod(&json!({})), Duration::from_secs(30)).await.unwrap();
    assert_eq!(only(answer.verdicts).problem.unwrap().code, "EVAL_TIMEOUT");
    evaluator.close();
    assert_eq!(waiting.await.unwrap(), Err(EvaluatorError::Stopped));
}

#[tokio::test]
async fn a_stopped_evaluator_takes_nothing_more() {
    let (_sender, evaluator) = start(QUICK, Limits::default());
    evaluator.audit(pod(&json!({}))).await.unwrap();
    evaluator.stop().await;
    assert_eq!(evaluator.audit(pod(&json!({}))).await, Err(EvaluatorError::Stopped));
}
