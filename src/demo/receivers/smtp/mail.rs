//! A mail as it arrived, and the few headers that are of interest.

use base64::{Engine, engine::general_purpose::STANDARD};

/// A mail as it arrived.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Mail {
    /// The envelope's sender.
    pub from: String,
    /// The envelope's recipients.
    pub to: Vec<String>,
    /// Headers and body, with CRLF line ends.
    pub data: Vec<u8>,
}

impl Mail {
    /// The first header of this name, unfolded but not decoded.
    pub fn header(&self, name: &str) -> Option<String> {
        let text = String::from_utf8_lossy(&self.data);
        let mut lines = text.lines().take_while(|line| !line.is_empty());
        let is_named = |line: &&str| {
            line.split_once(':').is_some_and(|(found, _)| found.trim_end().eq_ignore_ascii_case(name))
        };
        let (_, first) = lines.by_ref().find(is_named)?.split_once(':')?;
        let mut value = first.trim().to_owned();
        for line in lines.take_while(|line| line.starts_with([' ', '\t'])) {
            value.push(' ');
            value.push_str(line.trim());
        }
        Some(value)
    }

    /// The `Message-ID`, without its brackets.
    pub fn message_id(&self) -> Option<String> {
        let header = self.header("message-id")?;
        Some(header.trim_start_matches('<').trim_end_matches('>').to_owned())
    }

    /// The mail without the date and the boundary between its parts, which differ from one attempt to the next.
    pub fn lasting(&self) -> String {
        let content_type = self.header("content-type").unwrap_or_default();
        let boundary = content_type.split('"').nth(1).unwrap_or_default();
        let text = String::from_utf8_lossy(&self.data).replace(boundary, "");
        text.lines().filter(|line| !line.starts_with("Date:")).collect()
    }

    /// The subject, decoded.
    pub fn subject(&self) -> Option<String> {
        self.header("subject").map(|subject| decode_words(&subject))
    }
}

/// Shows only the size: mails hold conversations and phone numbers.
impl std::fmt::Debug for Mail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mail").field("size", &self.data.len()).finish_non_exhaustive()
    }
}

/// Decodes the encoded words (RFC 2047) of a header that are in UTF-8. Other words stay as they are.
fn decode_words(header: &str) -> String {
    let mut text = String::new();
    // An encoded word may end in the middle of a character, so bytes are collected over adjacent words.
    let mut pending = Vec::new();
    for (i, word) in header.split(' ').enumerate() {
        match decode_word(word) {
            Some(bytes) => {
                // A space between two encoded words is no part of the text (RFC 2047, 6.2).
                if pending.is_empty() && i > 0 {
                    text.push(' ');
                }
                pending.extend(bytes);
            }
            None => {
                text.push_str(&String::from_utf8_lossy(&std::mem::take(&mut pending)));
                if i > 0 {
                    text.push(' ');
                }
                text.push_str(word);
            }
        }
    }
    text + &String::from_utf8_lossy(&pending)
}

/// The bytes that `=?utf-8?b?…?=` or `=?utf-8?q?…?=` stands for.
fn decode_word(word: &str) -> Option<Vec<u8>> {
    let mut parts = word.strip_prefix("=?")?.strip_suffix("?=")?.splitn(3, '?');
    let (charset, encoding, text) = (parts.next()?, parts.next()?, parts.next()?);
    if !charset.eq_ignore_ascii_case("utf-8") {
        return None;
    }
    match encoding {
        "b" | "B" => STANDARD.decode(text).ok(),
        "q" | "Q" => {
            let mut bytes = Vec::new();
            let mut rest = text.bytes();
            while let Some(byte) = rest.next() {
                bytes.push(match byte {
                    b'_' => b' ',
                    b'=' => {
                        let digits = [rest.next()?, rest.next()?];
                        u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
                    }
                    byte => byte,
                });
            }
            Some(bytes)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(data: &str) -> Mail {
        Mail { data: data.replace('\n', "\r\n").into(), ..Mail::default() }
    }

    #[test]
    fn headers_are_found_unfolded_and_only_above_the_body() {
        let mail = mail("Subject: one\n two\nMESSAGE-ID: <evt_1@x>\n\nTo: nobody\n");
        assert_eq!(mail.header("subject").as_deref(), Some("one two"));
        assert_eq!(mail.message_id().as_deref(), Some("evt_1@x"));
        assert_eq!(mail.header("to"), None);
    }

    #[test]
    fn encoded_subjects_are_decoded() {
        for (header, text) in [
            ("plain words", "plain words"),
            ("=?utf-8?b?Q2Fs?= =?utf-8?b?bCDCtyBlbmRlZA==?=", "Call · ended"),
            // A character cut in two.
            ("=?UTF-8?Q?one_=C2?= =?UTF-8?Q?=B7_two?=", "one · two"),
            ("Re: =?utf-8?q?caf=C3=A9?= tomorrow", "Re: café tomorrow"),
            (
                "=?koi8-r?b?Q2Fs?= =?utf-8?x?a?= =?utf-8?q?=C?=",
                "=?koi8-r?b?Q2Fs?= =?utf-8?x?a?= =?utf-8?q?=C?=",
            ),
        ] {
            assert_eq!(decode_words(header), text);
        }
    }
}
