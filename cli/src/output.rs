//! What commands share when they print: colours that switch off, and the output formats.

use std::borrow::Cow;
use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::ValueEnum;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    Auto,
    Always,
    Never,
}

/// Output of commands that print one document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Pretty,
    Json,
}

/// `-o`, for commands that print one document.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Output {
    /// How to print the result.
    #[arg(short = 'o', long = "output", value_enum, default_value_t = Format::Pretty, value_name = "FORMAT")]
    pub format: Format,
}

/// Prints `value` as indented JSON.
pub fn json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

/// Of standard output and standard error: one may be a file while the other is a terminal.
static COLOR: AtomicBool = AtomicBool::new(false);
static ERROR_COLOR: AtomicBool = AtomicBool::new(false);

/// Decides once, at start. `auto` means a terminal that has not asked for no colour.
pub fn set_color(color: Color) {
    #[expect(
        clippy::disallowed_methods,
        reason = "NO_COLOR and TERM are the terminal's, not settings"
    )]
    let wanted = || {
        std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
            && std::env::var_os("TERM").is_none_or(|t| t != "dumb")
    };
    let on = |is_terminal: bool| match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => is_terminal && wanted(),
    };
    COLOR.store(on(std::io::stdout().is_terminal()), Ordering::Relaxed);
    ERROR_COLOR.store(on(std::io::stderr().is_terminal()), Ordering::Relaxed);
}

#[derive(Clone, Copy, Debug)]
pub enum Style {
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
    Blue,
    Cyan,
}

/// `text` in `style` for standard output, or as it is where colours are off.
pub fn paint(style: Style, text: impl std::fmt::Display) -> String {
    painted(&COLOR, style, text)
}

/// As [`paint`], for standard error.
pub fn paint_error(style: Style, text: impl std::fmt::Display) -> String {
    painted(&ERROR_COLOR, style, text)
}

/// Whether standard error gets escape codes.
pub fn errors_are_painted() -> bool {
    ERROR_COLOR.load(Ordering::Relaxed)
}

fn painted(on: &AtomicBool, style: Style, text: impl std::fmt::Display) -> String {
    if !on.load(Ordering::Relaxed) {
        return text.to_string();
    }
    let code = match style {
        Style::Bold => 1,
        Style::Dim => 2,
        Style::Red => 31,
        Style::Green => 32,
        Style::Yellow => 33,
        Style::Blue => 34,
        Style::Cyan => 36,
    };
    format!("\u{1b}[{code}m{text}\u{1b}[0m")
}

/// Text from elsewhere, such as a name in a manifest, that cannot steer a terminal.
pub fn printable(text: &str) -> Cow<'_, str> {
    let steers =
        |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let shown = |c: char| if steers(c) { c.escape_default().to_string() } else { c.to_string() };
    Cow::Owned(text.chars().map(shown).collect())
}

/// `1 policy`, `18 policies`.
pub fn counted(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// For standard error.
pub fn error_label() -> String {
    paint_error(Style::Red, "error:")
}
