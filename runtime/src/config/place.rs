//! Where in a YAML text the value of a key stands.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

/// Line and column of the value at `keys`; none where there is no such key, or the text is no YAML.
pub fn find(text: &str, keys: &[String]) -> Option<(u64, u64)> {
    let found = serde_saphyr::with_deserializer_from_str(text, |deserializer| {
        Search { keys }.deserialize(deserializer)
    });
    let error: serde_saphyr::Error = found.err()?;
    let is_found = error.without_snippet().to_string().contains(HERE);
    error.location().filter(|_| is_found).map(|at| (at.line(), at.column()))
}

/// What the parser tells the place of is an error, so finding is failing.
const HERE: &str = "the searched key stands here";

/// Walks down to the value.
#[derive(Clone, Copy)]
struct Search<'a> {
    keys: &'a [String],
}

impl<'de> DeserializeSeed<'de> for Search<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Search<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HERE)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((first, rest)) = self.keys.split_first() else {
            return Err(A::Error::custom(HERE));
        };
        while let Some(key) = map.next_key::<String>()? {
            if key == *first {
                map.next_value_seed(Search { keys: rest })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}
