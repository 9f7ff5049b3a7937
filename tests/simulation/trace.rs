//! The account of a run: a hash over its lines, and their text where somebody wants to read it.

use std::fmt::Write as _;

/// What is written down of a run.
#[derive(Debug, Default)]
pub struct Trace {
    hash: u64,
    text: Option<String>,
    line: String,
    lines: u64,
}

impl Trace {
    /// An empty account, with or without its text.
    pub fn new(text: bool) -> Self {
        Self { text: text.then(String::new), ..Self::default() }
    }

    /// Its hash, its text where it is kept, and how many lines it has.
    pub fn account(&self) -> (u64, String, u64) {
        (self.hash, self.text.clone().unwrap_or_default(), self.lines)
    }

    /// Writes a line.
    pub fn note(&mut self, ms: i64, what: std::fmt::Arguments<'_>) {
        self.line.clear();
        let _ = writeln!(self.line, "{ms:>9} {what}");
        self.lines += 1;
        for b in self.line.bytes() {
            self.hash = (self.hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01B3);
        }
        if let Some(text) = &mut self.text {
            text.push_str(&self.line);
        }
    }
}
