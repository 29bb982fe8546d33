//! The voice of the demo: what happens, when, and by which command.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Value, json};

use crate::output::{Format, Style, paint};

pub struct Narrator {
    started: Instant,
    /// Standard output is for the result where a program asked for one.
    format: Format,
    compared: Compared,
}

/// Which points of the story were compared with the expected numbers, and how each came out.
#[derive(Clone, Default)]
pub struct Compared(Arc<Mutex<Vec<Point>>>);

#[derive(Serialize)]
struct Point {
    point: String,
    /// None: every number was as expected.
    differences: Vec<String>,
}

impl Compared {
    fn push(&self, point: Point) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(point);
    }

    /// The result of the whole story.
    pub fn document(&self, error: Option<&anyhow::Error>) -> Value {
        let points = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        json!({
            "version": 1,
            "asExpected": error.is_none(),
            "compared": *points,
            "error": error.map(|error| format!("{error:#}")),
        })
    }
}

impl Narrator {
    #[expect(clippy::disallowed_methods, reason = "only shown")]
    pub fn start(format: Format, compared: Compared) -> Self {
        Self { started: Instant::now(), format, compared }
    }

    /// The numbers of a point of the story came to rest.
    pub fn compared(&self, point: &str, differences: &[String]) {
        self.compared.push(Point { point: point.to_owned(), differences: differences.to_vec() });
    }

    /// A chapter of the story.
    pub fn chapter(&self, title: &str) {
        self.line("");
        self.line(&format!("{} {}", self.time(), paint(Style::Bold, title)));
    }

    pub fn say(&self, text: &str) {
        self.line(&format!("{} {text}", self.time()));
    }

    pub fn good(&self, text: &str) {
        self.line(&format!("{} {} {text}", self.time(), paint(Style::Green, "✓")));
    }

    pub fn bad(&self, text: &str) {
        self.line(&format!("{} {} {text}", self.time(), paint(Style::Red, "✗")));
    }

    /// A command as a person would type it.
    pub fn command(&self, arguments: &[&str]) {
        let command = paint(Style::Dim, format!("$ provost {}", arguments.join(" ")));
        self.line(&format!("{} {command}", self.time()));
    }

    fn line(&self, text: &str) {
        tell(self.format, text);
    }

    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    fn time(&self) -> String {
        paint(Style::Dim, format!("{:6.1} s", self.elapsed().as_secs_f64()))
    }
}

/// A line of the story.
pub fn tell(format: Format, text: &str) {
    match format {
        Format::Pretty => println!("{text}"),
        Format::Json => eprintln!("{text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_names_what_differs() {
        let compared = Compared::default();
        let say = Narrator::start(Format::Json, compared.clone());
        say.compared("bundle v1 everywhere", &[]);
        assert_eq!(
            compared.document(None),
            json!({"version": 1, "asExpected": true, "error": null,
                "compared": [{"point": "bundle v1 everywhere", "differences": []}]})
        );
        say.compared("a site is dark", &["cloud-eu: expected 28 pass".to_owned()]);
        let document = compared.document(Some(&anyhow::anyhow!("gave up")));
        assert_eq!(document["asExpected"], false);
        assert_eq!(document["error"], "gave up");
        assert_eq!(document["compared"][1]["differences"][0], "cloud-eu: expected 28 pass");
    }
}
