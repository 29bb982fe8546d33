//! A statement in the making: text and arguments grow together, so that no value ever stands in
//! the text. `$1`, `$2` are understood by every store.

/// A value to bind.
#[derive(Clone, Debug, PartialEq)]
pub enum Arg {
    Text(String),
    Int(i64),
}

/// Text with numbered placeholders and the arguments for them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sql {
    pub text: String,
    pub args: Vec<Arg>,
}

impl Sql {
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self { text: text.to_owned(), args: Vec::new() }
    }

    /// `text` is a constant of this program, never anything that came in.
    pub fn push(&mut self, text: &'static str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    pub fn bind(&mut self, arg: Arg) -> &mut Self {
        self.args.push(arg);
        self.text.push('$');
        self.text.push_str(&self.args.len().to_string());
        self
    }

    pub fn text_arg(&mut self, value: &str) -> &mut Self {
        self.bind(Arg::Text(value.to_owned()))
    }

    pub fn int_arg(&mut self, value: i64) -> &mut Self {
        self.bind(Arg::Int(value))
    }

    /// ` AND column = $n`, where there is a value.
    pub fn and_equals(&mut self, column: &'static str, value: Option<&str>) -> &mut Self {
        if let Some(value) = value {
            self.push(" AND ").push(column).push(" = ").text_arg(value);
        }
        self
    }

    /// ` AND column IN ($n, ...)`; an empty list matches nothing.
    pub fn and_in<T: AsRef<str>>(&mut self, column: &'static str, values: &[T]) -> &mut Self {
        self.push(" AND ").is_in(column, values)
    }

    /// `column IN ($n, ...)`; an empty list matches nothing.
    pub fn is_in<T: AsRef<str>>(&mut self, column: &'static str, values: &[T]) -> &mut Self {
        if values.is_empty() {
            return self.push("1 = 0");
        }
        self.push(column).push(" IN (");
        for (position, value) in values.iter().enumerate() {
            if position > 0 {
                self.push(", ");
            }
            self.text_arg(value.as_ref());
        }
        self.push(")")
    }
}

/// A pattern for `LIKE ... ESCAPE '\'` that finds `text` literally anywhere.
#[must_use]
pub fn contains_pattern(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    format!("%{escaped}%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_never_stand_in_the_text() {
        let mut sql = Sql::new("SELECT 1 WHERE 1 = 1");
        sql.and_equals("a", Some("x' OR 1=1 --")).and_equals("b", None).and_in("c", &["p", "q"]);
        assert_eq!(sql.text, "SELECT 1 WHERE 1 = 1 AND a = $1 AND c IN ($2, $3)");
        assert_eq!(sql.args.len(), 3);
        let mut none = Sql::default();
        none.is_in::<&str>("c", &[]);
        assert_eq!(none.text, "1 = 0");
    }

    #[test]
    fn wildcards_are_literal() {
        assert_eq!(contains_pattern("50%_a\\"), "%50\\%\\_a\\\\%");
    }
}
