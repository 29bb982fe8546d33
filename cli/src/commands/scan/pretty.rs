//! A scan for people: by file and policy, each finding with the line it is about, then a summary.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::{self, Write};

use provost_model::Severity;

use super::report::{Report, Row};
use crate::output::{Style, paint, printable};

/// Longest piece of a line that is shown.
const MAX_EXCERPT_CHARS: usize = 100;
/// Where remediations wrap.
const TEXT_WIDTH: usize = 96;

pub fn write(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    let mut rest = report.findings.as_slice();
    while let Some(first) = rest.first() {
        let end = rest.iter().position(|row| row.file != first.file).unwrap_or(rest.len());
        let (rows, others) = rest.split_at(end);
        write_file(out, report, rows)?;
        rest = others;
    }
    write_left(out, report)?;
    write_summary(out, report)
}

fn write_file(out: &mut dyn Write, report: &Report, rows: &[Row]) -> io::Result<()> {
    let Some(first) = rows.first() else { return Ok(()) };
    writeln!(out, "{}", paint(Style::Bold, printable(&first.file)))?;
    if let Some(by) = &first.unrendered {
        let note =
            format!("unrendered: {} lists this file, what it renders may differ", printable(by));
        writeln!(out, "{}", paint(Style::Dim, note))?;
    }
    let lines: Vec<&str> =
        report.texts.get(&first.file).map(|text| text.lines().collect()).unwrap_or_default();
    let mut by_policy: BTreeMap<_, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        by_policy.entry((std::cmp::Reverse(row.severity), &row.policy.id)).or_default().push(row);
    }
    for rows in by_policy.values() {
        write_policy(out, rows, &lines)?;
    }
    writeln!(out)
}

fn write_policy(out: &mut dyn Write, rows: &[&Row], lines: &[&str]) -> io::Result<()> {
    let Some(first) = rows.first() else { return Ok(()) };
    let policy = &first.policy;
    let name = if policy.code.is_empty() {
        policy.id.to_string()
    } else {
        format!("{} \u{b7} {}", policy.id, policy.code)
    };
    writeln!(
        out,
        "\n  {} {} {}",
        severity(first.severity, first.severity),
        paint(Style::Bold, &policy.title),
        paint(Style::Dim, name)
    )?;
    for row in rows {
        write_row(out, row, lines)?;
    }
    if !policy.remediation.is_empty() {
        let fix = wrap(&policy.remediation, TEXT_WIDTH).join("\n           ");
        writeln!(out, "      {} {fix}", paint(Style::Green, "fix:"))?;
    }
    Ok(())
}

fn write_row(out: &mut dyn Write, row: &Row, lines: &[&str]) -> io::Result<()> {
    let place = format!("{}:{}", printable(&row.file), row.at);
    let subject = row.subject.to_string();
    let message = printable(&row.message);
    writeln!(out, "    {} {}", paint(Style::Cyan, place), paint(Style::Dim, printable(&subject)))?;
    let number = row.at.line.to_string();
    let margin = " ".repeat(number.len());
    let index = usize::try_from(row.at.line).unwrap_or(usize::MAX).saturating_sub(1);
    let Some((excerpt, before)) = lines.get(index).map(|line| excerpt(line, row.at.column)) else {
        return writeln!(out, "      {message}");
    };
    let bar = paint(Style::Blue, "\u{2502}");
    writeln!(out, "      {} {bar} {excerpt}", paint(Style::Blue, &number))?;
    let marks = match (row.is_missing, row.is_whole) {
        (true, _) => 1,
        (false, true) => marked(&excerpt, before),
        (false, false) => key_length(&excerpt, before),
    };
    let mark = paint(color(row.severity), "^".repeat(marks));
    writeln!(out, "      {margin} {bar} {}{mark} {message}", " ".repeat(before))?;
    let missing = if row.is_missing { " is missing" } else { "" };
    if row.path.0.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "      {margin} {bar} {}",
        paint(Style::Dim, printable(&format!("{}{missing}", row.path)))
    )
}

/// How long the value is that stands at a column: to the end of its line, without a comment and
/// what closes a flow list or mapping.
fn marked(excerpt: &str, before: usize) -> usize {
    let rest: String = excerpt.chars().skip(before).collect();
    let quoted = |quote: char| rest[1..].find(quote).map(|end| end + 2);
    let length = match rest.chars().next() {
        Some(quote @ ('"' | '\'')) => quoted(quote),
        _ => None,
    };
    let bare = rest.split(" #").next().unwrap_or_default();
    let bare = bare.find([',', ']', '}']).map_or(bare, |end| &bare[..end]);
    length.map_or_else(|| bare.trim_end().chars().count(), |end| rest[..end].chars().count()).max(1)
}

/// How long the key is that stands at a column.
fn key_length(excerpt: &str, before: usize) -> usize {
    excerpt.chars().skip(before).take_while(|c| !matches!(c, ':' | ' ')).count().max(1)
}

/// The part of a line around a column, and how many characters stand before that column in it.
/// Tabs and control characters are shown as spaces, so that columns stay true.
fn excerpt(line: &str, column: u32) -> (String, usize) {
    let column = usize::try_from(column).unwrap_or(1).saturating_sub(1);
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    let length = line.chars().count();
    let start =
        if length <= MAX_EXCERPT_CHARS { 0 } else { column.saturating_sub(MAX_EXCERPT_CHARS / 2) };
    let mut text: String = line.chars().skip(start).take(MAX_EXCERPT_CHARS).map(shown).collect();
    let cut = if start > 0 { "\u{2026}" } else { "" };
    if start + MAX_EXCERPT_CHARS < length {
        text.push('\u{2026}');
    }
    (format!("{cut}{}", text.trim_end()), column.saturating_sub(start) + cut.chars().count())
}

fn write_left(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    if report.left.is_empty() {
        return Ok(());
    }
    writeln!(out, "{}", paint(Style::Bold, "not evaluated"))?;
    for left in &report.left {
        writeln!(
            out,
            "  {}:{} {}",
            printable(&left.file),
            left.at.line,
            paint(Style::Dim, left.why)
        )?;
    }
    writeln!(out)
}

fn write_summary(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    let counts = &report.counts;
    let unmatched: usize = counts.unmatched.values().sum();
    writeln!(
        out,
        "{} in {}: {} evaluated with {}, {} of kinds that no policy matches, {} not evaluated",
        many(counts.documents, "document"),
        many(counts.files, "file"),
        counts.evaluated,
        many(counts.policies, "policy"),
        unmatched,
        report.left.len(),
    )?;
    if counts.unrendered > 0 {
        let note = format!(
            "{} unrendered: render with kustomize and scan the result to be sure",
            many(counts.unrendered, "document")
        );
        writeln!(out, "{}", paint(Style::Dim, note))?;
    }
    for entry in &report.inactive {
        let detail =
            if entry.detail.is_empty() { String::new() } else { format!(": {}", entry.detail) };
        let note = format!("policy {} was not evaluated, {}{detail}", entry.policy, entry.reason);
        writeln!(out, "{}", paint(Style::Dim, note))?;
    }
    if let Some(file) = &report.settings_file {
        writeln!(out, "{}", paint(Style::Dim, format!("settings from {}", file.display())))?;
    }
    write_verdict(out, report)
}

fn write_verdict(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    let mut parts: Vec<String> = Vec::new();
    for (level, count) in report.counts.severities.iter().rev() {
        parts.push(severity(*level, format!("{count} {level}")));
    }
    let found = if report.findings.is_empty() {
        paint(Style::Green, "no findings")
    } else {
        format!(
            "{}: {}",
            paint(Style::Bold, many(report.findings.len(), "finding")),
            parts.join(", ")
        )
    };
    if report.problems.is_empty() {
        return writeln!(out, "{found}");
    }
    let unread = format!("{} could not be read or evaluated", many(report.problems.len(), "thing"));
    writeln!(out, "{found}; {}", paint(Style::Red, unread))
}

fn many(count: usize, noun: &str) -> String {
    match (count, noun.strip_suffix('y')) {
        (1, _) => format!("1 {noun}"),
        (_, Some(stem)) => format!("{count} {stem}ies"),
        _ => format!("{count} {noun}s"),
    }
}

fn severity(severity: Severity, text: impl Display) -> String {
    let text = paint(color(severity), text);
    if severity >= Severity::High { paint(Style::Bold, text) } else { text }
}

const fn color(severity: Severity) -> Style {
    match severity {
        Severity::Critical | Severity::High => Style::Red,
        Severity::Medium => Style::Yellow,
        Severity::Low => Style::Blue,
        Severity::Info => Style::Cyan,
    }
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excerpts_keep_the_column() {
        assert_eq!(excerpt("  image: x", 10), ("  image: x".to_owned(), 9));
        assert_eq!(excerpt("\ta", 2), (" a".to_owned(), 1));
        let long = format!("{}X{}", "a".repeat(400), "b".repeat(400));
        let (text, before) = excerpt(&long, 401);
        assert_eq!(text.chars().nth(before), Some('X'));
        assert!(text.chars().count() <= MAX_EXCERPT_CHARS + 2);
    }

    #[test]
    fn a_value_is_marked_to_its_end() {
        for (line, before, expected) in [
            ("image: web:latest # old", 7, 10),
            ("verbs: ['*', get]", 8, 3),
            ("verbs: [get, list]", 8, 3),
            ("name: \"a # b\" # c", 6, 7),
            ("name: \u{e9}t\u{e9}", 6, 3),
            ("name: \"cut", 6, 4),
            ("a:", 2, 1),
        ] {
            assert_eq!(marked(line, before), expected, "{line}");
        }
    }

    #[test]
    fn texts_wrap_at_words() {
        assert_eq!(wrap("one two three", 8), ["one two", "three"]);
        assert_eq!(many(2, "policy"), "2 policies");
        assert_eq!(many(1, "file"), "1 file");
    }
}
