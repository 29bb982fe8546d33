//! A line on the terminal while a scan runs; nothing where stderr is none, or is to get no escape codes.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output;

pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    pub fn new() -> Self {
        let target = match output::errors_are_painted() {
            true => ProgressDrawTarget::stderr_with_hz(10),
            false => ProgressDrawTarget::hidden(),
        };
        Self { bar: ProgressBar::with_draw_target(None, target) }
    }

    pub fn reading(&self) {
        self.style("{spinner} reading manifests");
        self.bar.enable_steady_tick(Duration::from_millis(100));
    }

    pub fn evaluating(&self, documents: usize) {
        self.style("{spinner} evaluating {bar:30} {pos}/{len}");
        self.bar.set_length(documents as u64);
    }

    pub fn step(&self) {
        self.bar.inc(1);
    }

    pub fn done(&self) {
        self.bar.finish_and_clear();
    }

    fn style(&self, template: &str) {
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
    }
}
