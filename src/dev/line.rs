//! One line of the log or of a snapshot: `checksum SPACE json NEWLINE`. The checksum is the CRC-32 of the JSON text,
//! in eight hexadecimal digits, so that a line which a crash tore is told from one that was written whole.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::borrow::Cow;

/// What a line says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Line<'a> {
    /// The first line of a file: what it is.
    Head {
        /// Version of the format.
        format: u32,
        /// The newest revision when it was begun.
        revision: u64,
    },
    /// An object as it is from this revision on.
    Put {
        /// The revision.
        revision: u64,
        /// `plural.group`.
        kind: Cow<'a, str>,
        /// The object.
        object: Cow<'a, Value>,
    },
    /// An object that is gone from this revision on.
    Gone {
        /// The revision.
        revision: u64,
        /// `plural.group`.
        kind: Cow<'a, str>,
        /// Namespace; empty for a cluster-wide kind.
        namespace: Cow<'a, str>,
        /// Name.
        name: Cow<'a, str>,
    },
    /// The last line of a snapshot.
    End {
        /// Lines between the first one and this.
        lines: usize,
    },
}

impl Line<'_> {
    /// As it is written, with its newline.
    ///
    /// # Errors
    /// When the object does not serialise.
    pub fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        let json = serde_json::to_vec(self)?;
        let mut out = format!("{:08x} ", crc32(&json)).into_bytes();
        out.extend(json);
        out.push(b'\n');
        Ok(out)
    }

    /// Reads a line, without its newline.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(text: &[u8]) -> Result<Line<'static>, String> {
        let (sum, json) = text.split_at_checked(9).ok_or("it is too short")?;
        let sum = std::str::from_utf8(sum).map_err(|_| "it has no checksum")?;
        let sum = u32::from_str_radix(sum.trim_end(), 16).map_err(|_| "it has no checksum")?;
        if sum != crc32(json) {
            return Err("its checksum does not fit".into());
        }
        serde_json::from_slice(json).map_err(|e| format!("it cannot be read: {e}"))
    }
}

/// CRC-32 as zip and Ethernet have it (reflected, polynomial 0x04C11DB7).
fn crc32(bytes: &[u8]) -> u32 {
    static TABLE: [u32; 256] = table();
    let step = |crc: u32, byte: &u8| {
        let at = usize::from(crc.to_le_bytes()[0] ^ byte);
        TABLE.get(at).copied().unwrap_or_default() ^ (crc >> 8)
    };
    !bytes.iter().fold(u32::MAX, step)
}

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut n = 0;
    while n < 256 {
        let (mut value, mut bit) = (n as u32, 0);
        while bit < 8 {
            value = if value & 1 == 1 { 0xEDB8_8320 ^ (value >> 1) } else { value >> 1 };
            bit += 1;
        }
        table[n] = value;
        n += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_checksum_is_the_common_one() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn a_line_that_lost_any_byte_is_noticed() {
        let object = json!({"kind": "ConfigMap", "data": {"a": "b\nc"}});
        let line = Line::Put { revision: 7, kind: "configmaps".into(), object: Cow::Owned(object) };
        let whole = line.encode().unwrap();
        let whole = whole.strip_suffix(b"\n").unwrap();
        assert_eq!(Line::decode(whole).unwrap(), line);
        for end in 0..whole.len() {
            assert!(Line::decode(&whole[..end]).is_err(), "torn after {end} bytes");
        }
        for at in 9..whole.len() {
            let mut other = whole.to_vec();
            other[at] ^= 1;
            assert!(Line::decode(&other).is_err(), "byte {at} flipped");
        }
    }
}
