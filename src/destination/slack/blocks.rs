//! Messages in Block Kit, within Slack's limits: <https://docs.slack.dev/reference/block-kit/blocks>. Pure.
//!
//! Nothing in a call can become a link or a mention: `&`, `<` and `>` are escaped, and every text is `verbatim`, so
//! that Slack looks for neither addresses nor names in it.

use serde_json::{Value, json};

use crate::{
    destination::message::{Fact, Link, Message, in_front, urgency},
    event::Severity,
    language::{Language, capitalized},
    template::slack_escape as escape,
};

const MAX_HEADER: usize = 150;
const MAX_TEXT: usize = 3000;
const MAX_FIELDS: usize = 10;
const MAX_FIELD: usize = 2000;
const MAX_BLOCKS: usize = 50;
const MAX_ELEMENTS: usize = 10;

/// The longest list of blocks, in characters of JSON. Slack documents no limit and answers `msg_blocks_too_long` at about
/// 13,200 characters of text, of which every block uses up some (slackapi/bolt-js issues 2509 and 2867). Names and braces of
/// JSON are more than that.
const MAX_WHOLE: usize = 13_000;

/// A text is not cut to fewer characters than these, but left out.
const WORTH_SHOWING: usize = 200;

/// The longest text for notifications and screen readers, in bytes: an edit refuses one of more than 4,000
/// (<https://docs.slack.dev/reference/methods/chat.update>), and counts bytes of UTF-8.
const MAX_WORDS: usize = 3900;

/// The most events of a batch that are listed; more would bury the channel.
const MAX_ENTRIES: usize = 20;

/// The most blocks of a transcript that are shown; nobody reads more in a channel.
const MAX_TRANSCRIPT_BLOCKS: usize = 10;

/// The parts of a message that Slack asks for.
pub(super) fn render(message: &Message) -> Value {
    let mark = mark(message.severity);
    let title = format!("{mark}{}", message.title);
    let head = json!({
        "type": "header",
        "text": { "type": "plain_text", "text": cut(&title, MAX_HEADER), "emoji": false }
    });
    let foot = foot(message);
    let mut room =
        MAX_WHOLE.saturating_sub(length(&head) + length(&foot) + length(&rest_is_missing(message.language)));
    // Slack shows only the first blocks until the message is unfolded, so headline, summary, advice and facts come first.
    let lead = message.lead.iter().map(|lead| section(&cut(&escape(lead), MAX_TEXT)));
    let text = message.text.iter().map(|text| {
        let text = escape(text);
        section(&cut(&if message.quoted { quoted(&text) } else { text }, MAX_TEXT))
    });
    let advice = message.advice.iter().map(|advice| {
        let label = escape(&message.language.what_to_do());
        section(&cut(&format!("*{label}{}* {}", message.language.colon(), escape(advice)), MAX_TEXT))
    });
    let fields: Vec<_> = message.facts.iter().map(|fact| field(fact, is_recent(message, fact.at))).collect();
    let facts = fields.chunks(MAX_FIELDS).map(|fields| json!({ "type": "section", "fields": fields }));
    let mut blocks = Blocks { all: vec![head], is_cut: false };
    blocks.add(lead.chain(text).chain(advice).chain(facts).collect(), &mut room);
    let listed = entries(message, room);
    blocks.add(listed, &mut room);
    blocks.add(transcript(message), &mut room);
    let Blocks { all: mut blocks, is_cut } = blocks;
    if is_cut {
        blocks.push(rest_is_missing(message.language));
    }
    blocks.push(foot);
    // A screen reader only names the emoji of the mark, so the severity is there in words as well.
    let in_words = format!("{mark}{}{}", in_front(message.severity, message.language), message.title);
    json!({ "text": words(&in_words, message), "blocks": blocks, "unfurl_links": false, "unfurl_media": false })
}

/// The blocks of a message, as many as there is room for.
struct Blocks {
    all: Vec<Value>,
    /// Whether something had no room; nothing is added after it.
    is_cut: bool,
}

impl Blocks {
    fn add(&mut self, blocks: Vec<Value>, room: &mut usize) {
        for block in blocks {
            if self.is_cut {
                return;
            }
            // The note that something is missing and the foot have to have a place.
            let mut is_whole = self.all.len() < MAX_BLOCKS - 2;
            let block = if is_whole { fitted(block, *room, &mut is_whole) } else { None };
            if let Some(block) = block {
                *room = room.saturating_sub(length(&block));
                self.all.push(block);
            }
            self.is_cut = !is_whole;
        }
    }
}

/// A block that takes no more than `room`, if need be with less in it; `None` when there is no room for it. Notes when it is
/// not the whole block.
fn fitted(mut block: Value, room: usize, is_whole: &mut bool) -> Option<Value> {
    let is_too_long = |block: &Value| length(block) > room;
    *is_whole = !is_too_long(&block);
    while is_too_long(&block)
        && let Some(fields) = block.get_mut("fields").and_then(Value::as_array_mut)
    {
        fields.pop();
        if fields.is_empty() {
            return None;
        }
    }
    while is_too_long(&block) {
        let text = block.pointer("/text/text").and_then(Value::as_str)?;
        let characters = text.chars().count();
        // A character can be more than one of JSON.
        let fewer = characters.saturating_sub((length(&block) - room).max(characters / 20));
        if fewer < WORTH_SHOWING {
            return None;
        }
        let shorter = cut(text, fewer);
        block["text"]["text"] = shorter.into();
    }
    Some(block)
}

fn rest_is_missing(language: Language) -> Value {
    let note = format!("_{}_", language.no_room());
    json!({ "type": "context", "elements": [mrkdwn(&note)] })
}

/// The length of a block as JSON, in characters.
fn length(block: &Value) -> usize {
    // A comma stands between two blocks.
    block.to_string().chars().count() + 1
}

/// The last block: where the message comes from, and where there is more.
fn foot(message: &Message) -> Value {
    let language = message.language;
    let severity = urgency(message.severity, language).map(|word| format!("*{word}*"));
    let origin = message.origin(
        escape,
        |name| format!("*{}*", escape(name)),
        |at, when| date(at, when, is_recent(message, Some(at))),
    );
    let call = message.call.as_ref().map(|call| format!("{} {}", language.call_word(), escape(call)));
    let origin = severity.into_iter().chain(origin).chain(call).collect::<Vec<_>>().join(" · ");
    let links: Vec<_> = message.links.iter().map(|Link { label, url }| link(url, label)).collect();
    let mut context = vec![mrkdwn(&cut(&origin, MAX_FIELD))];
    context.extend((!links.is_empty()).then(|| mrkdwn(&links.join(" · "))));
    let notes = message.notes.iter().map(|note| mrkdwn(&cut(&escape(note), MAX_FIELD / 2)));
    context.extend(notes.take(MAX_ELEMENTS - context.len()));
    json!({ "type": "context", "elements": context })
}

/// The whole message in words. Screen readers read nothing else, and notifications show its beginning. What is too long is cut in
/// the middle: where it comes from and where there is more stands at the end.
fn words(title: &str, message: &Message) -> String {
    let origin = message.origin(str::to_owned, str::to_owned, |_, when| when.to_owned());
    let links = message.links.iter().map(|Link { label, url }| message.language.labelled(label, url));
    let joined = |parts: Vec<String>| {
        let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        escape(&parts.join("\n"))
    };
    let end = joined([capitalized(&origin.join(" · "))].into_iter().chain(links).collect());
    let end = if end.len() > MAX_WORDS / 2 { String::new() } else { format!("\n{end}") };
    let text = joined(vec![title.to_owned(), message.plain()]);
    let most = MAX_WORDS - end.len();
    let fits = text.char_indices().take_while(|(at, c)| at + c.len_utf8() <= most).count();
    format!("{}{end}", cut(&text, fits))
}

/// The events of a batch, one in a line, as many as there is room for; the others are counted.
fn entries(message: &Message, room: usize) -> Vec<Value> {
    let lines = message.entries.iter().take(MAX_ENTRIES).map(|entry| {
        let mood = entry.mood.as_ref().map(|mood| format!(" · _{}_", escape(&mood.word))).unwrap_or_default();
        let said = entry.said.as_ref().map(|said| format!(" · {}", escape(said))).unwrap_or_default();
        let link = entry.link.as_ref().map(|Link { label, url }| format!(" · {}", link(url, label)));
        let (mark, title, link) = (mark(entry.severity), escape(&entry.title), link.unwrap_or_default());
        format!("{}  {mark}{title}{mood}{said}{link}\n", date(entry.at, &entry.when, entry.today))
    });
    let mut lines: Vec<_> = lines.collect();
    loop {
        let more = message.more + message.entries.len().saturating_sub(lines.len()) as u64;
        let more = (more > 0).then(|| message.language.and_more(more));
        let blocks: Vec<_> =
            sections(lines.iter().cloned().chain(more)).iter().map(|text| section(text)).collect();
        if blocks.iter().map(length).sum::<usize>() <= room || lines.pop().is_none() {
            return blocks;
        }
    }
}

/// The transcript in as few sections as possible.
fn transcript(message: &Message) -> Vec<Value> {
    let colon = message.language.colon();
    let lines = message
        .transcript
        .iter()
        .map(|turn| format!("*{}{colon}* {}\n", escape(&turn.who), escape(&turn.said)));
    let mut sections = sections(lines);
    if sections.len() > MAX_TRANSCRIPT_BLOCKS {
        sections.truncate(MAX_TRANSCRIPT_BLOCKS);
        sections.push(format!("_{}_", message.language.transcript_goes_on()));
    }
    sections.iter().map(|text| section(text)).collect()
}

/// Joins the lines into as few texts as possible, each of at most [`MAX_TEXT`] characters.
fn sections(lines: impl Iterator<Item = String>) -> Vec<String> {
    let mut sections: Vec<String> = vec![];
    for line in lines {
        let line = cut(&line, MAX_TEXT);
        match sections.last_mut() {
            Some(section) if section.chars().count() + line.chars().count() <= MAX_TEXT => {
                section.push_str(&line)
            }
            _ => sections.push(line),
        }
    }
    sections
}

/// A mark in front of the title that catches the eye.
fn mark(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "",
        Severity::Warning => "⚠️ ",
        Severity::Critical => "🚨 ",
    }
}

/// A time that every reader sees in their own zone, with its weekday unless it is `recent`:
/// <https://docs.slack.dev/messaging/formatting-message-text#date-formatting>.
fn date(at: i64, fallback: &str, recent: bool) -> String {
    let format = if recent { "{date_short_pretty}" } else { "{date_long_pretty}" };
    format!("<!date^{at}^{format}, {{time}}|{}>", escape(fallback))
}

/// Whether a time needs no weekday: what was noticed late may have been on another day.
fn is_recent(message: &Message, at: Option<i64>) -> bool {
    message.noticed.as_ref().is_none_or(|noticed| Some(noticed.at) == at)
}

/// A labelled value; a phone number can be dialled.
fn field(Fact { label, value, dial, at }: &Fact, is_recent: bool) -> Value {
    let value = match (dial, at) {
        (Some(number), _) => link(&format!("tel:{number}"), value),
        (None, Some(at)) => date(*at, value, is_recent),
        (None, None) => escape(value),
    };
    mrkdwn(&cut(&format!("*{}*\n{value}", escape(label)), MAX_FIELD))
}

fn link(url: &str, label: &str) -> String {
    format!("<{}|{}>", escape(url), escape(label))
}

fn section(text: &str) -> Value {
    json!({ "type": "section", "text": mrkdwn(text) })
}

fn mrkdwn(text: &str) -> Value {
    json!({ "type": "mrkdwn", "text": text, "verbatim": true })
}

fn quoted(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(|line| format!("> {line}")).collect();
    lines.join("\n")
}

/// At most `limit` characters, the last of them `…` when something was cut: at a word if one ends near, and never within an
/// escaped character.
fn cut(text: &str, limit: usize) -> String {
    if text.chars().nth(limit).is_none() {
        return text.to_owned();
    }
    let end = text.char_indices().nth(limit.saturating_sub(1)).map_or(0, |(at, _)| at);
    let mut kept = &text[..end];
    if let Some(at) = kept.rfind('&').filter(|at| !kept[*at..].contains(';')) {
        kept = &kept[..at];
    }
    // A text without blanks near its end, such as one long word, is cut anywhere.
    let word = kept.rfind(char::is_whitespace).filter(|at| *at >= kept.len() - kept.len() / 4);
    let is_at_word = text[kept.len()..].starts_with(char::is_whitespace);
    let kept = word.filter(|_| !is_at_word).map_or(kept, |at| &kept[..at]);
    format!("{}…", kept.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_does_not_go_through_an_escaped_character() {
        assert_eq!(cut("ab&lt;cd", 6), "ab…");
        assert_eq!(cut("ab&lt;cd", 7), "ab&lt;…");
        assert_eq!(cut("ab&lt;cd", 8), "ab&lt;cd");
    }

    #[test]
    fn a_cut_is_at_a_word_if_one_ends_near() {
        assert_eq!(cut("one two three four", 16), "one two three…");
        assert_eq!(cut("one two three four", 14), "one two three…");
        assert_eq!(cut("one twothreefourfive", 16), "one twothreefou…");
        assert_eq!(cut(&"x".repeat(20), 10), format!("{}…", "x".repeat(9)));
        assert_eq!(cut("é é é é é", 6), "é é é…");
        assert_eq!(cut("abc", 0), "…");
    }
}
