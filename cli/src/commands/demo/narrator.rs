//! The voice of the demo: what happens, when, and by which command.

use std::time::{Duration, Instant};

use crate::output::{Style, paint};

pub struct Narrator {
    started: Instant,
}

impl Narrator {
    #[expect(clippy::disallowed_methods, reason = "only shown")]
    pub fn start() -> Self {
        Self { started: Instant::now() }
    }

    /// A chapter of the story.
    pub fn chapter(&self, title: &str) {
        println!("\n{} {}", self.time(), paint(Style::Bold, title));
    }

    pub fn say(&self, text: &str) {
        println!("{} {text}", self.time());
    }

    pub fn good(&self, text: &str) {
        println!("{} {} {text}", self.time(), paint(Style::Green, "✓"));
    }

    pub fn bad(&self, text: &str) {
        println!("{} {} {text}", self.time(), paint(Style::Red, "✗"));
    }

    /// A command as a person would type it.
    pub fn command(&self, arguments: &[&str]) {
        println!(
            "{} {}",
            self.time(),
            paint(Style::Dim, format!("$ provost {}", arguments.join(" ")))
        );
    }

    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    fn time(&self) -> String {
        paint(Style::Dim, format!("{:6.1} s", self.elapsed().as_secs_f64()))
    }
}
