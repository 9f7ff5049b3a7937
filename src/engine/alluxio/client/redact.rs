//! ```text
//! "failed: {a.secretKey=abc, b=x}" --redact--> "failed: {a.secretKey=***, b=x}" --shorten--> 300 chars
//! ```
//! Alluxio's errors repeat the properties of a mount in clear text, so no text of the engine
//! leaves this client before it went through [`redact`]. The rule hides too much rather than
//! too little: a bare value of a sensitive key ends only where the next `, key=` begins or at the
//! last closing brace. This module never logs.

use ratchet_state_machine::spec::names_credential;

/// The longest text that leaves this client, in characters.
pub const MAX_TEXT: usize = 300;

/// How much of a reply is looked at, in bytes. What lies behind is dropped.
const MAX_INPUT: usize = 64 * 1024;

const MASK: &str = "***";

/// Hides the values of sensitive keys and the user part of addresses, joins the lines and
/// cuts the result to [`MAX_TEXT`] characters.
pub fn redact(text: &str) -> String {
    let text = &text[..text.floor_char_boundary(MAX_INPUT)];
    let mut out = String::with_capacity(text.len().min(2 * MAX_TEXT));
    let mut rest = text;
    while let Some(key) = next_key(rest) {
        let (before, after) = rest.split_at(key.end);
        out.push_str(before);
        match value_of(after) {
            Some(value) if names_credential(&rest[key]) => {
                out.push_str(&after[..value.start]);
                out.push_str(MASK);
                rest = &after[value.end..];
            }
            _ => rest = after,
        }
    }
    out.push_str(rest);
    shorten(&without_user_part(&out))
}

fn is_key_char(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '.' | '_' | '-')
}

/// The next run of characters that may be a key.
fn next_key(text: &str) -> Option<std::ops::Range<usize>> {
    let start = text.find(is_key_char)?;
    let length = text[start..].find(|c| !is_key_char(c)).unwrap_or(text.len() - start);
    Some(start..start + length)
}

/// Where the value lies in the text behind a key, if the key has one: `=v`, `: v`, `": "v"`
/// and protobuf's `" value: "v"`.
fn value_of(after_key: &str) -> Option<std::ops::Range<usize>> {
    let text = after_key.trim_start_matches(['"', '\'', '\\', ' ', '\n', '\t']);
    let text = text.strip_prefix("value").map_or(text, str::trim_start);
    let text = text.strip_prefix(['=', ':'])?.trim_start();
    let start = after_key.len() - text.len();
    let open = text.trim_start_matches('\\');
    if let Some(quote @ ('"' | '\'')) = open.chars().next() {
        let skipped = text.len() - open.len() + 1;
        let end = quoted_end(&text[skipped..], quote, skipped == 1);
        return Some(start + skipped..start + skipped + end);
    }
    Some(start..start + bare_end(text))
}

/// The first quote that ends the value: one that is followed by a separator or by the end and,
/// if the first quote was `plain`, has no backslash before it.
fn quoted_end(text: &str, quote: char, plain: bool) -> usize {
    let ends = |(at, _): &(usize, &str)| {
        if plain && text[..*at].ends_with('\\') {
            return false;
        }
        let behind = text[at + 1..].trim_start();
        behind.is_empty() || behind.starts_with([',', '}', ']', ')', ';'])
    };
    text.match_indices(quote).find(ends).map_or(text.len(), |(at, _)| at)
}

/// The next `, key=`; failing that, the last closing brace; failing that, the end.
fn bare_end(text: &str) -> usize {
    let next_pair = text.match_indices([',', ';', '&', '\n']).find(|(at, _)| {
        let behind = text[at + 1..].trim_start();
        next_key(behind)
            .is_some_and(|key| key.start == 0 && behind[key.end..].trim_start().starts_with(['=', ':']))
    });
    match next_pair {
        Some((at, _)) => at,
        None => text.rfind(['}', ']']).unwrap_or(text.len()),
    }
}

/// `s3://user:password@bucket` becomes `s3://***@bucket`.
fn without_user_part(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let authority = after
            .find(|c: char| c.is_whitespace() || matches!(c, ',' | '"' | '}' | ']'))
            .unwrap_or(after.len());
        rest = match after[..authority].rfind('@') {
            Some(user) => {
                out.push_str(MASK);
                &after[user..]
            }
            None => after,
        };
    }
    out.push_str(rest);
    out
}

/// One line of at most [`MAX_TEXT`] characters: the beginning and the end, because the engine
/// puts the cause of a failed mount behind all its options.
pub fn shorten(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let length = line.chars().count();
    if length <= MAX_TEXT {
        return line;
    }
    let head = line.chars().take(MAX_TEXT / 2);
    let tail = line.chars().skip(length - (MAX_TEXT - MAX_TEXT / 2 - 1));
    head.chain(['…']).chain(tail).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_sensitive_keys_are_hidden_and_others_stay() {
        let cases = [
            ("a: {aws.secretKey=abc, region=x}", "a: {aws.secretKey=***, region=x}"),
            ("{s3a.accessKeyId=AK, s3a.secretKey=a, b}c}", "{s3a.accessKeyId=***, s3a.secretKey=***}"),
            (r#"{"fs.azure.account.key.x":"v,=","n":1}"#, r#"{"fs.azure.account.key.x":"***","n":1}"#),
            (r#"key: "db.PASSWORD" value: "p w" }"#, r#"key: "db.PASSWORD" value: "***" }"#),
            ("session_token = t1; user=u", "session_token = ***; user=u"),
            ("Credential: Bearer a.b.c", "Credential: ***"),
            ("s3://ak:sk@bucket/x missing", "s3://***@bucket/x missing"),
            (r#"{\"secret\":\"v\",\"b\":1}"#, r#"{\"secret\":\"***",\"b\":1}"#),
            ("Path /a does not exist", "Path /a does not exist"),
            ("mount of /secret/x is read-only", "mount of /secret/x is read-only"),
        ];
        for (text, wanted) in cases {
            assert_eq!(redact(text), wanted, "{text}");
        }
    }

    #[test]
    fn no_part_of_a_secret_survives_in_any_of_the_usual_shapes() {
        let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY==";
        for key in ["aws.secretKey", "alluxio.fuse.auth.TOKEN", "my-credentials", "access_key", "passwd"] {
            for text in [
                format!("{{{key}={secret}}}"),
                format!("{{{key}={secret}, a=b}}"),
                format!("{key}: {secret}"),
                format!("{{\"{key}\": \"{secret}\"}}"),
                format!("key: \"{key}\"\n value: \"{secret}\"\n"),
                format!("{key}={secret}\nat alluxio.Foo"),
            ] {
                let out = redact(&text);
                assert!(!out.contains("K7MDENG") && out.contains(key), "{text} -> {out}");
            }
        }
    }

    #[test]
    fn the_answer_of_a_real_master_to_a_mount_loses_its_secrets_and_keeps_its_cause() {
        // UNKNOWN, from 2.9.6.
        let text = "mount command: alluxio fs mount /y /data/nosuch option MountContext{ProtoOptions=readOnly: false\n\
            properties {\n  key: \"aws.accessKeyId\"\n  value: \"AKIA1\"\n}\n\
            properties {\n  key: \"aws.secretKey\"\n  value: \"SES\\\",AME\"\n}\nshared: false\n\
            commonOptions {\n  ttl: -1\n  ttlAction: FREE\n}\n}\n\
            Acquired mount ID for the new mount point: 8935463947529661823\n\
            Ufs path /data/nosuch does not exist";
        let out = redact(text);
        for secret in ["AKIA1", "SES", "AME"] {
            assert!(!out.contains(secret), "{out}");
        }
        assert!(out.contains("mount /y ") && out.ends_with("Ufs path /data/nosuch does not exist"), "{out}");
    }

    #[test]
    fn a_text_is_one_line_of_at_most_300_characters() {
        let long = redact(&"ä\n".repeat(100_000));
        assert_eq!(long.chars().count(), MAX_TEXT);
        assert!(!long.contains('\n') && long.contains('…'));
    }
}
