//! Email addresses. Pure.

use crate::privacy::is_invisible;

/// The text without email addresses. Looks from each `@` to both sides, so that no text takes long.
pub(super) fn without_addresses(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((at, sign)) = rest.char_indices().find(|(_, c)| matches!(c, '@' | '\u{fe6b}' | '\u{ff20}'))
    {
        let (before, behind) = (&rest[..at], &rest[at + sign.len_utf8()..]);
        let is_apart = before.ends_with(' ') && behind.starts_with(' ');
        let is_beside = |c: char| is_invisible(c) || (is_apart && c == ' ');
        let (name, host) = (before.trim_end_matches(is_beside), behind.trim_start_matches(is_beside));
        match (local(name), domain(host)) {
            (length @ 1.., end @ 1..) => {
                clean.push_str(&name[..name.len() - length]);
                clean.push_str("[email]");
                rest = &host[end..];
            }
            _ => {
                clean.push_str(&rest[..at + sign.len_utf8()]);
                rest = behind;
            }
        }
    }
    clean.push_str(rest);
    clean
}

/// The length of the part before the `@` that `text` ends with, in bytes.
fn local(text: &str) -> usize {
    /// The most that is taken for what stands between two quotes.
    const LONGEST_QUOTED: usize = 64;
    if let Some(quoted) = text.strip_suffix('"')
        && let Some(begin) = quoted.rfind('"')
        && quoted.len() - begin <= LONGEST_QUOTED
    {
        return text.len() - begin;
    }
    let is_part = |c: char| c.is_alphanumeric() || is_invisible(c) || ".!#$%&'’*+/=?^_`{|}~-".contains(c);
    let length: usize = text.chars().rev().take_while(|c| is_part(*c)).map(char::len_utf8).sum();
    let mut local = &text[text.len() - length..];
    // Of an address in a link the rest of the link stays.
    if local.contains("//") || local.contains('?') || (local.contains('=') && local.contains('&')) {
        local = &local[local.rfind(['/', '?', '=', '&']).map_or(0, |at| at + 1)..];
    }
    // Quotes and brackets around the whole are none of its letters.
    local.trim_start_matches(['\'', '’', '`', '*', '{', '|', '.', '/', '=']).len()
}

/// The length of the name of a host that `text` begins with, in bytes; 0 when it does not.
fn domain(text: &str) -> usize {
    let is_part = |c: char| c.is_alphanumeric() || is_invisible(c) || matches!(c, '.' | '-');
    let domain = &text[..text.find(|c| !is_part(c)).unwrap_or(text.len())];
    let domain = domain.trim_end_matches(|c| is_invisible(c) || matches!(c, '.' | '-'));
    let is_top = |top: &str| top.chars().count() >= 2 && top.starts_with(char::is_alphabetic);
    match domain.rsplit_once('.') {
        Some((name, top)) if name.contains(char::is_alphanumeric) && is_top(top) => domain.len(),
        _ => 0,
    }
}
