//! Newtypes for everything that is counted or compared. A bare `i64` never crosses a module boundary, so a
//! sequence number cannot be mistaken for a fence. All counters are `i64`, because the Kubernetes API stores
//! integers as `int64` and warns about unsigned formats.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt;

/// Number of journal entries applied; the compare-and-swap token of an operation. Starts at 1 with the first
/// entry. Never Kubernetes' `generation`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Seq(pub i64);

impl Seq {
    /// The sequence number of the next entry.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Orders attempts at effects on one engine. `epoch` is the id of the lock hold under which the attempt is made
/// (it grows with every grant), `attempt` grows with every intent of the operation. Only ever grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Fence {
    /// Id of the lock hold; 0 before the first grant.
    pub epoch: i64,
    /// Number of intents recorded by this operation.
    pub attempt: i64,
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.attempt)
    }
}

/// Declares a string newtype whose content is opaque to the state machine.
macro_rules! opaque {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        pub struct $name(pub String);
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

opaque!(
    /// Names one effect for probing: 43 characters of base64url. Constant over takeovers of the same intent.
    Token
);
opaque!(
    /// One process of one replica. A restarted process is a new writer.
    WriterId
);
opaque!(
    /// Distinguishes two writes of one writer, so that an ambiguous reply can be settled by a read.
    Nonce
);
opaque!(
    /// SHA-256 in base64url, 43 characters: the head of a hash chain.
    Digest
);
opaque!(
    /// Digest of the plan that an approval is bound to.
    PlanHash
);

/// SHA-256 of the parts, each preceded by its length, in base64url without padding (43 characters).
#[must_use]
pub fn hash(parts: &[&[u8]]) -> String {
    use base64::Engine as _;
    let mut sha = Sha256::new();
    for part in parts {
        sha.update((part.len() as u64).to_be_bytes());
        sha.update(part);
    }
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(sha.finalize())
}

impl Token {
    /// The token of the effect whose first intent is entry `seq` of operation `uid` in retry round `round`.
    /// A takeover copies the token instead of deriving a new one.
    #[must_use]
    pub fn derive(uid: &str, seq: Seq, round: i64) -> Self {
        Self(hash(&[b"token", uid.as_bytes(), &seq.0.to_be_bytes(), &round.to_be_bytes()]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fences_order_by_epoch_first() {
        assert!(Fence { epoch: 2, attempt: 0 } > Fence { epoch: 1, attempt: 9 });
        assert!(Fence { epoch: 2, attempt: 3 } > Fence { epoch: 2, attempt: 2 });
    }

    #[test]
    fn tokens_differ_by_uid_seq_and_round_and_are_43_characters() {
        let t = Token::derive("u", Seq(4), 0);
        assert_eq!(t.0.len(), 43);
        assert_ne!(t, Token::derive("v", Seq(4), 0));
        assert_ne!(t, Token::derive("u", Seq(5), 0));
        assert_ne!(t, Token::derive("u", Seq(4), 1));
    }

    #[test]
    fn parts_are_delimited() {
        assert_ne!(hash(&[b"ab", b"c"]), hash(&[b"a", b"bc"]));
    }
}
