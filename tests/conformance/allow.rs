//! Where only the wording of a message may differ, and why it does not matter. Everything else of such an answer
//! (code, reason, details, causes) still has to be equal.

use crate::side::Answer;
use serde_json::Value;

/// A message that the simulator words in its own way.
pub struct Allowed {
    /// How the real server's message begins or what it contains.
    pub real: &'static str,
    /// Why the difference does not matter.
    pub because: &'static str,
}

const NO_PATCH: &str = "a body that is no patch, sent with fieldValidation=Ignore, is refused by another parser, in other \
                        words; nobody reads them, and the controller sends patches";

/// All of them.
pub const ALLOWED: &[Allowed] = &[
    Allowed { real: "Invalid JSON Patch", because: NO_PATCH },
    Allowed { real: "unexpected end of JSON input", because: NO_PATCH },
    Allowed { real: "into Go value of type jsonpatch.", because: NO_PATCH },
];

/// Why a difference between two answers is allowed; `None` when it is not, or when there is none.
pub fn reason(real: &Answer, simulator: &Answer) -> Option<&'static str> {
    let message = |a: &Answer| a.body["message"].as_str().map(str::to_owned);
    let (said, other) = (message(real)?, message(simulator)?);
    let silent = |a: &Answer| {
        let mut body = a.body.clone();
        body["message"] = Value::Null;
        (a.code, body, a.warnings.clone())
    };
    if said == other || silent(real) != silent(simulator) {
        return None;
    }
    ALLOWED.iter().find(|a| said.contains(a.real)).map(|a| a.because)
}
