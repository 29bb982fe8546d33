//! The result of a scan: findings with their places, problems, what was not evaluated, counts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use provost_manifests::{Class, Document, Loaded, Node, Position};
use provost_model::{
    Checkpoint, Fingerprint, NotEvaluated, Outcome, Path, PolicyMeta, Severity, Subject, Verdict,
};

use super::evaluate::Evaluated;
use super::policies::Set;
use super::settings::Settings;
use crate::exit::Exit;

pub struct Report {
    /// In the order of files and documents, then by place, policy and binding.
    pub findings: Vec<Row>,
    pub verdicts: Vec<Judged>,
    pub problems: Vec<Trouble>,
    pub warnings: Vec<String>,
    pub left: Vec<Left>,
    /// Bindings that gave no verdict anywhere, and why.
    pub inactive: Vec<NotEvaluated>,
    pub counts: Counts,
    pub fail_on: Severity,
    pub settings_file: Option<PathBuf>,
    /// By file, for excerpts.
    pub texts: BTreeMap<Arc<str>, String>,
}

/// One finding.
pub struct Row {
    pub file: Arc<str>,
    pub at: Position,
    pub policy: PolicyMeta,
    pub binding: String,
    pub severity: Severity,
    pub outcome: Outcome,
    pub path: Path,
    /// Whether what `path` names is not there, so that `at` is its nearest ancestor's.
    pub is_missing: bool,
    /// Whether at `at` stands one value that is neither mapping nor list.
    pub is_whole: bool,
    pub message: String,
    pub patch: Option<serde_json::Value>,
    pub fingerprint: Fingerprint,
    pub subject: Subject,
    /// The kustomization that lists the file.
    pub unrendered: Option<Arc<str>>,
}

/// One verdict on one subject.
pub struct Judged {
    pub subject: Subject,
    pub verdict: Verdict,
}

/// Something that should have been read or evaluated and was not.
pub struct Trouble {
    pub file: Arc<str>,
    pub at: Option<Position>,
    pub code: String,
    pub message: String,
    pub hint: String,
}

/// A document that is no object to evaluate.
pub struct Left {
    pub file: Arc<str>,
    pub at: Position,
    pub why: provost_manifests::Why,
}

#[derive(Default)]
pub struct Counts {
    pub files: usize,
    pub documents: usize,
    pub evaluated: usize,
    /// Resources of kinds that no policy matches, by kind.
    pub unmatched: BTreeMap<String, usize>,
    /// Documents of files that a kustomization lists.
    pub unrendered: usize,
    pub severities: BTreeMap<Severity, usize>,
    pub policies: usize,
}

impl Trouble {
    pub fn text(&self) -> String {
        match self.at {
            Some(at) => format!("{}:{at}: {}", self.file, self.message),
            None => format!("{}: {}", self.file, self.message),
        }
    }
}

impl Report {
    pub fn new(
        settings: &Settings,
        sets: &[Set],
        loaded: Loaded,
        evaluated: Vec<Evaluated>,
    ) -> Self {
        let Loaded { documents, problems, files, texts } = loaded;
        let mut report = Self {
            findings: Vec::new(),
            verdicts: Vec::new(),
            problems: broken(sets),
            warnings: Vec::new(),
            left: Vec::new(),
            inactive: sets
                .iter()
                .flat_map(|set| set.compiled.not_evaluated(Checkpoint::Commit))
                .collect(),
            counts: Counts { files, documents: documents.len(), ..Counts::default() },
            fail_on: settings.fail_on,
            settings_file: settings.file.clone(),
            texts,
        };
        report.counts.policies =
            sets.iter().map(|set| set.compiled.policy_set().entries.len()).sum();
        report.problems.extend(problems.into_iter().map(|problem| Trouble {
            hint: problem.hint().to_owned(),
            code: problem.kind.code().to_owned(),
            file: problem.file,
            at: problem.at,
            message: problem.message,
        }));
        if documents.is_empty() && report.problems.is_empty() {
            report
                .warnings
                .push("there is no manifest in what was given: nothing was checked".to_owned());
        }
        for (document, evaluated) in documents.iter().zip(evaluated) {
            report.take(sets, document, evaluated);
        }
        report
    }

    pub fn exit(&self) -> Exit {
        if !self.problems.is_empty() {
            Exit::Incomplete
        } else if self
            .findings
            .iter()
            .any(|row| row.outcome == Outcome::Fail && row.severity >= self.fail_on)
        {
            Exit::Violations
        } else {
            Exit::Clean
        }
    }

    fn take(&mut self, sets: &[Set], document: &Document, evaluated: Evaluated) {
        self.counts.unrendered += usize::from(document.unrendered.is_some());
        match (evaluated, &document.class) {
            (Evaluated::Verdicts(verdicts), Class::Resource(resource)) => {
                if verdicts.is_empty() {
                    let kind = match resource.gvk.group.as_str() {
                        "" => resource.gvk.kind.clone(),
                        group => format!("{}.{group}", resource.gvk.kind),
                    };
                    *self.counts.unmatched.entry(kind).or_default() += 1;
                    return;
                }
                self.counts.evaluated += 1;
                let subject = resource.subject();
                let first = self.findings.len();
                for (place, verdict) in verdicts {
                    self.judge(&sets[place], document, &subject, verdict);
                }
                self.findings[first..]
                    .sort_by(|a, b| (a.at, &a.policy.id).cmp(&(b.at, &b.policy.id)));
            }
            (Evaluated::Refused(message), _) => self.problems.push(Trouble {
                file: Arc::clone(&document.file),
                at: Some(document.at),
                code: "limit".to_owned(),
                message: format!("the object cannot be evaluated: {message}"),
                hint: "mend the object, or leave it out with --exclude".to_owned(),
            }),
            (_, Class::NotEvaluated { why }) => {
                self.left.push(Left {
                    file: Arc::clone(&document.file),
                    at: document.at,
                    why: *why,
                });
            }
            (Evaluated::Left, Class::Resource(_)) => {}
        }
    }

    fn judge(&mut self, set: &Set, document: &Document, subject: &Subject, verdict: Verdict) {
        let Some(meta) = set.meta(&verdict.policy) else { return };
        if verdict.outcome == Outcome::Error {
            let (code, message) = verdict.problem.as_ref().map_or_else(
                || ("EVAL_FAILED".to_owned(), "it gave no verdict".to_owned()),
                |problem| (problem.code.clone(), problem.message.clone()),
            );
            self.problems.push(Trouble {
                file: Arc::clone(&document.file),
                at: Some(document.at),
                code,
                message: format!(
                    "policy {} could not be evaluated on {subject}: {message}",
                    verdict.policy
                ),
                hint: format!("mend the policy in {}", set.name),
            });
        }
        if matches!(verdict.outcome, Outcome::Fail | Outcome::Warn) {
            for finding in &verdict.findings {
                *self.counts.severities.entry(verdict.severity).or_default() += 1;
                let found = document.node.at_path(&finding.path);
                self.findings.push(Row {
                    file: Arc::clone(&document.file),
                    at: document.node.locate(&finding.path),
                    policy: meta.clone(),
                    binding: verdict.binding.to_string(),
                    severity: verdict.severity,
                    outcome: verdict.outcome,
                    is_whole: found.is_some_and(Node::is_scalar),
                    is_missing: found.is_none(),
                    path: finding.path.clone(),
                    message: finding.message.clone(),
                    patch: finding.patch.clone(),
                    fingerprint: finding.fingerprint,
                    subject: subject.clone(),
                    unrendered: document.unrendered.clone(),
                });
            }
        }
        self.verdicts.push(Judged { subject: subject.clone(), verdict });
    }
}

/// Policies that cannot be read or do not compile.
fn broken(sets: &[Set]) -> Vec<Trouble> {
    let of_set = |set: &Set| {
        let below_root = |file: &str| format!("{}/{file}", set.root);
        let read = set.left_out.iter().map(|problem| (problem.file.clone(), problem));
        let compiled = set.compiled.diagnostics().iter();
        let compiled = compiled.map(|problem| (below_root(&problem.file), problem));
        let troubles = read.chain(compiled).map(|(file, diagnostic)| Trouble {
            file: Arc::from(file),
            at: (diagnostic.line > 0)
                .then(|| Position { line: diagnostic.line, column: diagnostic.column.max(1) }),
            code: diagnostic.code.to_string(),
            message: diagnostic.message.clone(),
            hint: if diagnostic.hint.is_empty() {
                format!("mend the policy in {}", set.name)
            } else {
                diagnostic.hint.clone()
            },
        });
        troubles.collect::<Vec<_>>()
    };
    sets.iter().flat_map(of_set).collect()
}
