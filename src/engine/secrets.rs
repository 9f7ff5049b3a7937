//! Values that are read from Secrets right before a call needs them. They are shown nowhere: not by `Debug`, and not in
//! a text of the engine that went through [`Secrets::hide`].

use std::collections::BTreeMap;
use std::fmt;

/// Values by the name that the engine knows them by.
#[derive(Default, Clone, PartialEq, Eq)]
pub struct Secrets(BTreeMap<String, String>);

impl Secrets {
    /// With these values.
    #[must_use]
    pub const fn new(values: BTreeMap<String, String>) -> Self {
        Self(values)
    }

    /// The values by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The text with every value replaced. Longer values first: one may be a part of another.
    #[must_use]
    pub fn hide(&self, text: &str) -> String {
        let mut values: Vec<&str> = self.0.values().map(String::as_str).filter(|v| !v.is_empty()).collect();
        values.sort_by_key(|v| std::cmp::Reverse(v.len()));
        values.into_iter().fold(text.to_owned(), |text, value| {
            // As it is, and as protobuf's text format and JSON write it.
            let escaped = value.escape_default().to_string();
            text.replace(value, "***").replace(&escaped, "***")
        })
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_neither_printed_nor_left_in_a_text() {
        let values = [("plain", "SESAME"), ("longer", "SESAME-2"), ("quoted", "a\"b"), ("empty", "")];
        let values = values.map(|(n, v)| (n.to_owned(), v.to_owned()));
        let secrets = Secrets::new(values.into_iter().collect());
        assert_eq!(format!("{secrets:?}"), r#"{"empty", "longer", "plain", "quoted"}"#);
        let text = secrets.hide(r#"no x=SESAME-2 y: "SESAME" z: "a\"b""#);
        assert_eq!(text, r#"no x=*** y: "***" z: "***""#);
    }
}
