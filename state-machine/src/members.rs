//! The workers of a cache whose pods Ratchet runs: their numbers, and what is seen of each.
//!
//! A worker is known by its number, which is part of its name and of its storage. What a decision looks at puts together
//! what operations have made true (the revision), what Kubernetes says of the pod, and what the engine says of the worker.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::collections::BTreeSet;
use std::fmt;

/// Most workers of a cache; the lowest free number is taken, so that numbers stay below it too.
pub const MAX_WORKERS: i32 = 256;

/// Longest text of ranges; more are stored as one bit each, so that an entry of a journal can hold any of them twice.
const MAX_RANGES: usize = 64;

/// Numbers of workers, ascending. Stored as text: `0-3,7`; where that would be long as `x` and 64 hexadecimal digits, the
/// lowest number first.
#[derive(Debug, Clone, PartialEq, Eq, Default, PartialOrd, Ord, Hash)]
pub struct Numbers(BTreeSet<i32>);

impl Numbers {
    /// Whether a number is among them.
    #[must_use]
    pub fn contains(&self, number: i32) -> bool {
        self.0.contains(&number)
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each, ascending.
    pub fn iter(&self) -> impl Iterator<Item = i32> + '_ {
        self.0.iter().copied()
    }

    /// The lowest `count` numbers that are not among `taken`.
    #[must_use]
    pub fn free(taken: &Self, count: usize) -> Self {
        (0..MAX_WORKERS).filter(|n| !taken.contains(*n)).take(count).collect()
    }

    /// These and those.
    #[must_use]
    pub fn with(&self, more: &Self) -> Self {
        self.iter().chain(more.iter()).collect()
    }

    /// These but not those.
    #[must_use]
    pub fn without(&self, less: &Self) -> Self {
        self.iter().filter(|n| !less.contains(*n)).collect()
    }

    /// Those of them that are among others too.
    #[must_use]
    pub fn among(&self, others: &Self) -> Self {
        self.iter().filter(|n| others.contains(*n)).collect()
    }
}

impl FromIterator<i32> for Numbers {
    fn from_iter<I: IntoIterator<Item = i32>>(numbers: I) -> Self {
        Self(numbers.into_iter().collect())
    }
}

impl fmt::Display for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut numbers, mut between) = (self.iter().peekable(), "");
        while let Some(first) = numbers.next() {
            let mut last = first;
            while let Some(next) = numbers.next_if(|n| *n == last + 1) {
                last = next;
            }
            match last {
                _ if last == first => write!(f, "{between}{first}")?,
                _ => write!(f, "{between}{first}-{last}")?,
            }
            between = ",";
        }
        Ok(())
    }
}

impl Serialize for Numbers {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let ranges = self.to_string();
        if ranges.len() <= MAX_RANGES {
            return to.serialize_str(&ranges);
        }
        let digit = |i: i32| (0..4).filter(|b| self.contains(i * 4 + b)).map(|b| 1 << b).sum::<u32>();
        let digits = (0..MAX_WORKERS / 4).filter_map(|i| char::from_digit(digit(i), 16));
        to.serialize_str(&std::iter::once('x').chain(digits).collect::<String>())
    }
}

impl<'de> Deserialize<'de> for Numbers {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let number = |text: &str| match text.parse::<i32>() {
            Ok(n) if (0..MAX_WORKERS).contains(&n) => Ok(n),
            Ok(_) | Err(_) => Err(D::Error::custom(format!("{text:?} is no number of a worker"))),
        };
        if let Some(digits) = text.strip_prefix('x') {
            let wrong = || D::Error::custom(format!("{text:?} are no numbers of workers"));
            let values: Option<Vec<u32>> = digits.chars().map(|c| c.to_digit(16)).collect();
            let values = values.filter(|v| v.len() == 64).ok_or_else(wrong)?;
            let set = |n: &i32| {
                values.get(usize::try_from(n / 4).unwrap_or(64)).is_some_and(|v| v >> (n % 4) & 1 == 1)
            };
            return Ok((0..MAX_WORKERS).filter(set).collect());
        }
        let mut all = BTreeSet::new();
        for part in text.split(',').filter(|p| !p.is_empty()) {
            match part.split_once('-') {
                Some((first, last)) => all.extend(number(first)?..=number(last)?),
                None => drop(all.insert(number(part)?)),
            }
        }
        Ok(Self(all))
    }
}

/// What the engine says of a worker.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Known {
    /// Nothing: it has never heard of it, or has forgotten it.
    #[default]
    No,
    /// It serves.
    Serves,
    /// It is known and does not serve; in the engine's word.
    As(String),
}

/// One worker.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WorkerView {
    /// Its number.
    pub number: i32,
    /// Its pod is ready, on the template of its set, and not on its way out.
    pub ready: bool,
    /// What the engine says of it.
    pub known: Known,
    /// Bytes that it can hold, as the engine has it.
    pub capacity_bytes: i64,
    /// Bytes that it holds, as the engine has it.
    pub used_bytes: i64,
    /// Its pod is there, whatever its state.
    pub pod: bool,
    /// Uid of that pod.
    pub uid: Option<String>,
    /// Its pod has been ready for so long that its process would have registered by now.
    pub settled: bool,
    /// The node that its pod runs on.
    pub node: Option<String>,
    /// What is wrong with its pod.
    pub trouble: Option<String>,
}

impl WorkerView {
    /// It serves, and nothing suggests that it soon will not.
    #[must_use]
    pub fn serves(&self) -> bool {
        self.ready && self.known == Known::Serves && self.capacity_bytes > 0
    }
}

/// What an operation has last written of the members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Written {
    /// Nothing.
    #[default]
    Nothing,
    /// Workers were added, taken out or marked.
    Changed,
    /// The fence was raised: nothing that was sent before can land any more.
    Fenced,
}

/// The members of a cache.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MembersView {
    /// Why nobody may change them; `None` where Ratchet runs the pods.
    pub foreign: Option<String>,
    /// Who makes the pods, where Ratchet does not and may say how many there are: then only the last ones come and go.
    pub owned_by: Option<String>,
    /// The stage of the set-up, while the cache was never ready.
    pub set_up: Option<String>,
    /// Number of the revision.
    pub revision: i64,
    /// What this operation has written last.
    pub written: Written,
    /// Those of the revision that are to be out of use.
    pub out: Numbers,
    /// Those of the revision.
    pub workers: Vec<WorkerView>,
}

impl MembersView {
    /// How many of them serve, and the bytes that these can hold.
    #[must_use]
    pub fn serving(&self) -> (i64, i64) {
        let serving = self.workers.iter().filter(|w| w.serves());
        let count = i64::try_from(serving.clone().count()).unwrap_or(i64::MAX);
        (count, serving.map(|w| w.capacity_bytes).fold(0, i64::saturating_add))
    }

    /// Their numbers.
    #[must_use]
    pub fn numbers(&self) -> Numbers {
        self.workers.iter().map(|w| w.number).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_stored_as_ranges_and_read_back() {
        for (numbers, text) in
            [(vec![], ""), (vec![4], "4"), (vec![0, 1, 2, 7], "0-2,7"), (vec![3, 1, 0, 9, 8], "0-1,3,8-9")]
        {
            let numbers: Numbers = numbers.into_iter().collect();
            assert_eq!(numbers.to_string(), text);
            let back: Numbers = serde_json::from_value(serde_json::to_value(&numbers).unwrap()).unwrap();
            assert_eq!(back, numbers);
        }
        let many: Numbers = (0..MAX_WORKERS).step_by(2).collect();
        let stored = serde_json::to_value(&many).unwrap();
        assert_eq!(stored.as_str().map(str::len), Some(65));
        assert_eq!(serde_json::from_value::<Numbers>(stored).unwrap(), many);
        for wrong in ["x5", "a", "-1", "0-999", "1-", "256"] {
            assert!(serde_json::from_value::<Numbers>(wrong.into()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_lowest_free_numbers_are_taken() {
        let taken: Numbers = [0, 1, 3].into_iter().collect();
        assert_eq!(Numbers::free(&taken, 2).to_string(), "2,4");
        assert_eq!(Numbers::free(&(0..MAX_WORKERS).collect(), 1).len(), 0);
    }
}
