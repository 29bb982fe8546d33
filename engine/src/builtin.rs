//! Built-in functions of our own, in place of those of the engine that answer differently from
//! OPA's, panic or have no bound.
//!
//! What OPA calls a built-in error makes the expression undefined, here as there. An answer that
//! would be too large is an error of the whole evaluation: never a quiet undefined.

#[expect(clippy::unnecessary_wraps, reason = "the functions of the table have one type")]
mod arithmetic;
mod patterns;
mod subset;
#[expect(clippy::unnecessary_wraps, reason = "the functions of the table have one type")]
mod text;
mod units;

use regorus::{Engine, Value};

/// The names that infix operators are rewritten to.
pub(crate) const PLUS: &str = "__provost_plus";
pub(crate) const MINUS: &str = "__provost_minus";
pub(crate) const TIMES: &str = "__provost_times";
pub(crate) const DIVIDE: &str = "__provost_divide";
pub(crate) const REMAINDER: &str = "__provost_remainder";
pub(crate) const OR: &str = "__provost_or";
pub(crate) const AND: &str = "__provost_and";

/// The function would go beyond its bound.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Refused(pub(crate) &'static str);

type Function = fn(&[Value]) -> Result<Value, Refused>;

const FUNCTIONS: &[(&str, u8, Function)] = &[
    (PLUS, 2, arithmetic::plus),
    (MINUS, 2, arithmetic::minus),
    (TIMES, 2, arithmetic::times),
    (DIVIDE, 2, arithmetic::divide),
    (REMAINDER, 2, arithmetic::remainder),
    (OR, 2, arithmetic::or),
    (AND, 2, arithmetic::and),
    ("ceil", 1, arithmetic::ceil),
    ("floor", 1, arithmetic::floor),
    ("object.subset", 2, subset::subset),
    ("numbers.range", 2, arithmetic::range),
    ("to_number", 1, arithmetic::to_number),
    ("indexof", 2, text::index_of),
    ("lower", 1, text::lower),
    ("upper", 1, text::upper),
    ("strings.count", 2, text::count),
    ("regex.find_n", 3, patterns::find_n),
    ("regex.is_valid", 1, patterns::is_valid),
    ("regex.match", 2, patterns::is_match),
    ("regex.replace", 3, patterns::replace),
    ("regex.split", 2, patterns::split),
    ("units.parse", 1, units::parse),
    ("units.parse_bytes", 1, units::parse_bytes),
];

/// Number of arguments of a function of ours.
pub(crate) fn arity(name: &str) -> Option<usize> {
    let found = FUNCTIONS.iter().find(|(known, ..)| *known == name);
    found.map(|(_, arity, _)| usize::from(*arity))
}

/// Puts the functions in place of the engine's own.
pub(crate) fn install(engine: &mut Engine) {
    for (name, arity, function) in FUNCTIONS {
        let call = move |arguments: Vec<Value>| Ok(function(&arguments)?);
        // Fails only where a name is taken twice.
        let _ = engine.add_extension((*name).to_owned(), *arity, Box::new(call));
    }
}
