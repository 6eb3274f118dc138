//! A message as the people who receive it read it. Pure.

use serde_json::Value;

use super::{
    receivers::{Mail, Message},
    sighting::mask_numbers,
};

/// The lines of a message for people, the title first, with phone numbers masked; `None` for one that is for programs.
pub fn lines_of(message: &Message) -> Option<Vec<String>> {
    let text = text_of(message)?;
    let lines = text.lines().map(str::trim_end).filter(|line| !line.is_empty());
    Some(lines.map(mask_numbers).collect())
}

/// The whole text of a message for people, the title first; `None` for one that is for programs.
pub(super) fn text_of(message: &Message) -> Option<String> {
    Some(match message {
        Message::Webhook { .. } => return None,
        Message::Slack(message) => {
            let mut texts = vec![];
            texts_of(&message["blocks"], &mut texts);
            if texts.is_empty() {
                texts.extend(message["text"].as_str());
            }
            // As Slack shows it.
            texts.join("\n").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
        }
        Message::Mail(mail) => format!("{}\n{}", mail.subject()?, plain_part(mail)?),
    })
}

/// Every text in the blocks of a Slack message, in their order.
fn texts_of<'m>(part: &'m Value, texts: &mut Vec<&'m str>) {
    match part {
        Value::Array(parts) => parts.iter().for_each(|part| texts_of(part, texts)),
        Value::Object(fields) => {
            texts.extend(fields.get("text").and_then(Value::as_str));
            fields.values().filter(|field| !field.is_string()).for_each(|field| texts_of(field, texts));
        }
        _ => {}
    }
}

/// The plain text of a mail, decoded from quoted-printable (RFC 2045, section 6.7).
fn plain_part(mail: &Mail) -> Option<String> {
    let data = String::from_utf8_lossy(&mail.data);
    let (_, rest) = data.split_once("Content-Type: text/plain")?;
    let (headers, body) = rest.split_once("\r\n\r\n")?;
    let body = body.split("\r\n--").next()?;
    if !headers.contains("quoted-printable") {
        return Some(body.to_owned());
    }
    let joined = body.replace("=\r\n", "");
    let mut bytes = vec![];
    let mut rest = joined.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).filter(|_| *first == b'=').and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_slack_message_is_read_block_by_block() {
        let message = json!({ "text": "short", "blocks": [
            { "type": "header", "text": { "type": "plain_text", "text": "Unhappy caller +33612345678" } },
            { "type": "section", "fields": [{ "type": "mrkdwn", "text": "*Topic*\na &lt;b&gt;" }] },
        ] });
        assert_eq!(
            lines_of(&Message::Slack(message)).unwrap(),
            ["Unhappy caller +3361•••5678", "*Topic*", "a <b>"]
        );
    }

    #[test]
    fn a_mail_is_read_with_its_subject() {
        let data = "Subject: Booked\r\nContent-Type: multipart/alternative; boundary=\"x\"\r\n\r\n--x\r\n\
                    Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
                    caf=C3=A9 and =\r\nmore\r\n--x\r\nContent-Type: text/html\r\n\r\n<p>\r\n--x--\r\n";
        let mail = Mail { data: data.into(), ..Mail::default() };
        assert_eq!(lines_of(&Message::Mail(mail)).unwrap(), ["Booked", "café and more"]);
    }
}
