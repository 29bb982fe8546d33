//! `provost scan` as a program, beside `conftest` and `gator` with four controls that all three have: wall time
//! and the memory of the process at its peak. Each with the whole of its start, as in a commit hook or in CI.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use provost_testkit::available;
use serde_json::Value;

use crate::timing::{median, now};

const ROUNDS: usize = 3;
const CONTROLS: [&str; 4] =
    ["privileged-container", "host-network", "mutable-image-tag", "memory-limit"];

/// A tool with its policies, and how its findings are counted.
struct Tool {
    name: &'static str,
    program: PathBuf,
    before: Vec<String>,
    findings: fn(&str) -> anyhow::Result<usize>,
}

struct Run {
    seconds: f64,
    peak_mib: f64,
    findings: usize,
}

pub fn run() -> anyhow::Result<()> {
    let tools = tools()?;
    let folder = tempfile::tempdir()?;
    for count in [1_000, 10_000] {
        let made = folder.path().join(count.to_string());
        generate(&made, count)?;
        compare(&format!("{count} generated Deployments, one a file"), &tools, &made);
    }
    if let Some(corpus) = available::corpus() {
        compare("the corpus", &tools, &corpus);
    }
    Ok(())
}

/// In turns, so that all see the same machine.
fn compare(what: &str, tools: &[Tool], path: &Path) {
    println!("\nscan of {what}: median of {ROUNDS} runs");
    let mut runs: Vec<Vec<anyhow::Result<Run>>> = tools.iter().map(|_| Vec::new()).collect();
    for _ in 0..ROUNDS {
        for (tool, runs) in tools.iter().zip(&mut runs) {
            runs.push(tool.run(path));
        }
    }
    for (tool, runs) in tools.iter().zip(runs) {
        match runs.into_iter().collect::<anyhow::Result<Vec<Run>>>() {
            Ok(runs) => {
                let each = |value: fn(&Run) -> f64| median(runs.iter().map(value).collect());
                let findings = runs.first().map_or(0, |run| run.findings);
                println!(
                    "  {:28} {:8.2} s {:8.0} MiB {findings:8} findings",
                    tool.name,
                    each(|run| run.seconds),
                    each(|run| run.peak_mib)
                );
            }
            Err(error) => println!("  {:28} {error:#}", tool.name),
        }
    }
}

/// Ours is the release build of this tree, the peers are those of `testkit/peers.sh`.
fn tools() -> anyhow::Result<Vec<Tool>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = |path: PathBuf| path.display().to_string();
    let provost = root.join("target/release/provost");
    ensure!(provost.is_file(), "build it first: cargo build --release --bin provost");
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    let scan = words(&["scan", "-o", "jsonl", "--fail-on", "info"]);
    let narrowed = CONTROLS.iter().flat_map(|id| words(&["--policy-id", id]));
    let lines = |output: &str| Ok(output.lines().count());
    let mut tools = vec![
        Tool {
            name: "provost, four controls",
            program: provost.clone(),
            before: scan.iter().cloned().chain(narrowed).collect(),
            findings: lines,
        },
        Tool { name: "provost, whole library", program: provost, before: scan, findings: lines },
    ];
    let peers = root.join("testkit/peers");
    if let Some(program) = available::from_environment("PROVOST_CONFTEST", "conftest") {
        let policies = text(peers.join("conftest"));
        let before = words(&["test", "--output", "json", "--policy", &policies]);
        tools.push(Tool { name: "conftest, four controls", program, before, findings: failures });
    }
    if let Some(program) = available::from_environment("PROVOST_GATOR", "gator") {
        let policies = text(peers.join("gator"));
        let before = words(&["test", "--output", "json", "-f", &policies, "-f"]);
        tools.push(Tool { name: "gator, four controls", program, before, findings: elements });
    }
    Ok(tools)
}

fn failures(output: &str) -> anyhow::Result<usize> {
    let files: Vec<Value> = serde_json::from_str(output)?;
    Ok(files.iter().filter_map(|file| file["failures"].as_array()).map(Vec::len).sum())
}

fn elements(output: &str) -> anyhow::Result<usize> {
    Ok(serde_json::from_str::<Option<Vec<Value>>>(output)?.unwrap_or_default().len())
}

impl Tool {
    fn run(&self, path: &Path) -> anyhow::Result<Run> {
        let folder = tempfile::tempdir()?;
        let (output, errors) = (folder.path().join("output"), folder.path().join("errors"));
        let mut command = Command::new(&self.program);
        command.args(&self.before).arg(path).current_dir(folder.path()).stdin(Stdio::null());
        command.stdout(File::create(&output)?).stderr(File::create(&errors)?);
        let began = now();
        let mut child = command.spawn()?;
        let mut peak = 0;
        while child.try_wait()?.is_none() {
            peak = peak_kib(child.id()).unwrap_or(peak);
            pause();
        }
        let seconds = began.elapsed().as_secs_f64();
        let output = fs::read_to_string(&output)?;
        let findings = (self.findings)(&output).with_context(|| {
            let said = fs::read_to_string(&errors).unwrap_or_default();
            format!("no result: {}", said.lines().next().unwrap_or("nothing was said"))
        })?;
        Ok(Run { seconds, peak_mib: f64::from(peak) / 1024.0, findings })
    }
}

/// What the last look saw: the peak only grows, until the process has ended.
fn peak_kib(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[expect(clippy::disallowed_methods, reason = "between two looks at a process")]
fn pause() {
    std::thread::sleep(Duration::from_millis(2));
}

/// One in four has something wrong with it, each in another way.
fn generate(folder: &Path, count: usize) -> anyhow::Result<()> {
    fs::create_dir(folder)?;
    for number in 0..count {
        let wrong = |way: usize| number % 16 == way * 4;
        let host_network = if wrong(0) { "true" } else { "false" };
        let privileged = if wrong(1) { "true" } else { "false" };
        let tag = if wrong(2) { "latest" } else { "1.4.2" };
        let limits = if wrong(3) { "{cpu: 200m}" } else { "{cpu: 200m, memory: 128Mi}" };
        let name = format!("service-{number}");
        let text = format!(
            "apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
  namespace: team-{team}
  labels:
    app.kubernetes.io/name: {name}
    app.kubernetes.io/part-of: shop
spec:
  replicas: 2
  selector:
    matchLabels: {{app: {name}}}
  template:
    metadata:
      labels: {{app: {name}}}
    spec:
      hostNetwork: {host_network}
      containers:
        - name: main
          image: registry.example.com/{name}:{tag}
          ports: [{{containerPort: 8080}}]
          env:
            - {{name: LOG_LEVEL, value: info}}
            - {{name: ZONE, value: eu-1}}
          resources:
            requests: {{cpu: 100m, memory: 64Mi}}
            limits: {limits}
          securityContext:
            privileged: {privileged}
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            runAsNonRoot: true
            capabilities: {{drop: [ALL]}}
",
            team = number % 20,
        );
        fs::write(folder.join(format!("{name}.yaml")), text)?;
    }
    Ok(())
}
