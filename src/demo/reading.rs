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
                texts.extend(message["text"].as_str().map(as_shown));
            }
            texts.join("\n")
        }
        Message::Mail(mail) => format!("{}\n{}", mail.subject()?, plain_part(mail)?),
    })
}

/// Every text in the blocks of a Slack message, in their order, as Slack shows it.
fn texts_of(part: &Value, texts: &mut Vec<String>) {
    match part {
        Value::Array(parts) => parts.iter().for_each(|part| texts_of(part, texts)),
        Value::Object(fields) => {
            let text = fields.get("text").and_then(Value::as_str);
            // Nothing in a plain text is markup.
            let is_plain = fields.get("type").is_some_and(|of| of == "plain_text");
            texts.extend(text.map(|text| if is_plain { unescaped(text) } else { as_shown(text) }));
            for (name, field) in fields.iter().filter(|(_, field)| !field.is_string()) {
                let begin = texts.len();
                texts_of(field, texts);
                if name == "fields" {
                    texts[begin..].iter_mut().for_each(|text| *text = on_one_line(text));
                }
            }
        }
        _ => {}
    }
}

/// A labelled value, which Slack shows below its label, on one line: `Caller: +33612345678`.
fn on_one_line(field: &str) -> String {
    match field.split_once('\n') {
        Some((label, value)) => format!("{label}: {}", value.replace('\n', ", ")),
        None => field.to_owned(),
    }
}

/// A text in Slack's markup as its reader sees it: a date in words, a link by its text, bold and italic words without
/// their signs, a quotation behind a bar (<https://docs.slack.dev/messaging/formatting-message-text>).
fn as_shown(markup: &str) -> String {
    let mut shown = String::new();
    let mut rest = markup;
    while let Some((before, after)) = rest.split_once('<') {
        shown.push_str(before);
        let Some((inside, behind)) = after.split_once('>') else {
            shown.push('<');
            rest = after;
            continue;
        };
        let (target, label) = inside.split_once('|').unwrap_or((inside, ""));
        shown.push_str(if label.is_empty() { target.trim_start_matches('!') } else { label });
        rest = behind;
    }
    shown.push_str(rest);
    let lines: Vec<_> = shown.split('\n').map(without_signs).collect();
    unescaped(&lines.join("\n"))
}

/// A line without the signs around bold (`*`), italic (`_`) and struck (`~`) words, and with a bar for a quotation.
fn without_signs(line: &str) -> String {
    let (bar, line) = match line.strip_prefix("> ") {
        Some(quoted) => ("▎ ", quoted),
        None => ("", line),
    };
    let mut shown: Vec<char> = vec![];
    let letters: Vec<char> = line.chars().collect();
    let is_edge = |at: Option<&char>| at.is_none_or(|c| !c.is_alphanumeric());
    // For each sign, the place in `shown` where it was opened.
    let mut open: Vec<(char, usize)> = vec![];
    for (at, c) in letters.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|before| letters.get(before));
        let after = letters.get(at + 1);
        if matches!(c, '*' | '_' | '~') {
            let closes = before.is_some_and(|c| !c.is_whitespace()) && is_edge(after);
            let opened = open.iter().rposition(|(sign, _)| sign == c).filter(|_| closes);
            if let Some((_, place)) = opened.map(|opened| open.drain(opened..).next().unwrap_or((*c, 0))) {
                shown.remove(place);
                continue;
            }
            if is_edge(before) && after.is_some_and(|c| !c.is_whitespace()) {
                open.push((*c, shown.len()));
            }
        }
        shown.push(*c);
    }
    format!("{bar}{}", shown.into_iter().collect::<String>())
}

fn unescaped(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
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
            ["Unhappy caller +3361•••5678", "Topic: a <b>"]
        );
    }

    #[test]
    fn markup_of_slack_is_shown_as_its_reader_sees_it() {
        for (markup, shown) in [
            (
                "*When*\n<!date^1765800000^{date_short} at {time}, {time}|15 Dec, 13:00>",
                "When\n15 Dec, 13:00",
            ),
            ("see <https://acme.example/a_b_c|the call> now", "see the call now"),
            ("<https://acme.example/>", "https://acme.example/"),
            ("<!here> _soon_, ~never~, *_both_*", "here soon, never, both"),
            ("> he said *no*\n> twice", "▎ he said no\n▎ twice"),
            ("2 * 3 * 4, snake_case_name, *open", "2 * 3 * 4, snake_case_name, *open"),
            ("a &lt;b&gt; &amp;lt;", "a <b> &lt;"),
            ("1 < 2", "1 < 2"),
        ] {
            assert_eq!(as_shown(markup), shown, "{markup}");
        }
        let plain = json!({ "blocks": [{ "text": { "type": "plain_text", "text": "*as* it &lt;is&gt;" } }] });
        assert_eq!(lines_of(&Message::Slack(plain)).unwrap(), ["*as* it <is>"]);
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
