//! OPA, by the program of testkit/oracle. Without it a test says what it leaves out; in CI that
//! is a failure.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

/// What OPA says of one question.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Result(Value),
    Undefined,
    /// It does not compile, or evaluation failed.
    Error(String),
}

/// Modules by path, with the package whose `violation` is asked for.
pub struct Question {
    pub modules: Vec<(String, String)>,
    pub package: String,
    pub input: Value,
    /// Questions of one set have the same modules.
    pub set: String,
}

/// The answers in order; none where there is no oracle.
pub fn ask(questions: &[Question]) -> Option<Vec<Answer>> {
    let program = setting("PROVOST_ORACLE").or_else(|| {
        assert!(setting("CI").as_deref() != Some("true"), "missing in CI: PROVOST_ORACLE");
        // Past the test runner, which swallows what a passing test prints.
        let _ = writeln!(
            std::io::stderr(),
            "left out: comparison with OPA (PROVOST_ORACLE is not set; `make test` sets it)"
        );
        None
    })?;
    let mut child = Command::new(program)
        .arg("eval")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the oracle starts");
    let mut stdin = child.stdin.take().expect("its input");
    let lines: Vec<String> = lines(questions);
    let writer = std::thread::spawn(move || {
        for line in lines {
            // It ends early only where it fails, which its answers show.
            if writeln!(stdin, "{line}").is_err() {
                break;
            }
        }
    });
    let output = BufReader::new(child.stdout.take().expect("its output"));
    let answers: Vec<Answer> = output.lines().map(|line| answer(&line.expect("UTF-8"))).collect();
    writer.join().expect("the questions are written");
    let status = child.wait().expect("the oracle ends");
    assert!(status.success(), "the oracle failed after {} answers", answers.len());
    assert_eq!(answers.len(), questions.len(), "an answer for each question");
    Some(answers)
}

fn lines(questions: &[Question]) -> Vec<String> {
    let mut known: BTreeSet<&str> = BTreeSet::new();
    let mut lines = Vec::with_capacity(questions.len());
    for (id, question) in questions.iter().enumerate() {
        let mut line = json!({"id": id, "set": question.set, "package": question.package,
            "input": question.input});
        if known.insert(&question.set) {
            line["modules"] = question.modules.iter().cloned().collect::<Value>();
        }
        lines.push(line.to_string());
    }
    lines
}

fn answer(line: &str) -> Answer {
    let answer: Value = serde_json::from_str(line).expect("a JSON line");
    if answer["undefined"] == true {
        Answer::Undefined
    } else if let Some(error) = answer["error"].as_str() {
        Answer::Error(error.to_owned())
    } else {
        Answer::Result(answer["result"].clone())
    }
}

#[expect(clippy::disallowed_methods, reason = "the test command sets these, not a configuration")]
pub fn setting(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|value| !value.is_empty())
}
