//! The borders of a page's records where the page is not JSON as a whole.
//!
//! A record may hold a raw line break, `NaN`, a quote too many, or may be cut short, and the others are healthy. So brackets
//! and quotes are counted leniently to find where each record ends, and then each is read strictly. After one that is bad
//! the next record is taken to begin where something begins like it, reads strictly, and has an id and a status.

use std::ops::Range;

use serde_json::value::RawValue;

use super::{
    FetchError,
    page::{Bounds, Flaw, Shape, element, not_json, total_of},
};
use crate::json;

/// How often each byte of a page may be looked at before the rest of it is given up.
const PATIENCE: usize = 16;

/// Reads a page whose records may be malformed.
///
/// # Errors
/// If it breaks off, or is no page at all.
pub(super) fn read(text: &str, bounds: Bounds) -> Result<Shape, FetchError> {
    let mut scan = Scan { text, bounds, left: text.len().saturating_mul(PATIENCE) };
    let mut shape = Shape::default();
    let Some(data) = scan.find_data() else { return Err(not_json(text)) };
    if scan.elements(data, &mut shape.elements).is_none() {
        return Err(not_json(text));
    }
    // The last `pagination` is the page's own: it stands behind the records, or in front of them.
    let pagination = text.rmatch_indices("\"pagination\"").take(4).find_map(|(at, key)| {
        let colon = scan.next(at + key.len())?;
        let start = (text.as_bytes()[colon] == b':').then(|| scan.next(colon + 1)).flatten()?;
        total_of(text.get(start..scan.skip(start)?)?)
    });
    shape.total = pagination;
    Ok(shape)
}

struct Scan<'a> {
    text: &'a str,
    bounds: Bounds,
    /// How many more bytes may be looked at.
    left: usize,
}

impl<'a> Scan<'a> {
    /// The place after the bracket that opens `data`.
    fn find_data(&mut self) -> Option<usize> {
        let bytes = self.text.as_bytes();
        let mut at = self.next(0).filter(|at| bytes[*at] == b'{')? + 1;
        loop {
            at = self.next(at)?;
            if bytes[at] == b',' {
                at += 1;
                continue;
            }
            let end = if bytes[at] == b'"' { self.string(at)? } else { return None };
            let colon = self.next(end).filter(|at| bytes[*at] == b':')?;
            let value = self.next(colon + 1)?;
            if &bytes[at..end] == b"\"data\"" {
                return (bytes[value] == b'[').then_some(value + 1);
            }
            at = self.skip(value)?;
        }
    }

    /// Finds the elements of the list that is open at `at`. `None` if it breaks off.
    fn elements(&mut self, mut at: usize, elements: &mut Vec<Result<Range<usize>, Flaw>>) -> Option<()> {
        let bytes = self.text.as_bytes();
        at = self.next(at)?;
        if bytes[at] == b']' {
            return Some(());
        }
        while elements.len() < self.bounds.records {
            at = self.next(at)?;
            // Where an element should be there may be nothing.
            let end = if matches!(bytes[at], b',' | b']') { Some(at) } else { self.skip(at) };
            let closed = end
                .and_then(|end| Some((end, self.next(end)?)))
                .filter(|(_, next)| matches!(bytes[*next], b',' | b']'));
            let found = match closed {
                Some((end, _)) => self.strict(at..end),
                None => Err(Flaw::NotJson("it does not end".to_owned())),
            };
            let is_bad = matches!(found, Err(Flaw::NotJson(_)));
            elements.push(found);
            let resumed = if is_bad { self.resume(at) } else { None };
            match (resumed, closed) {
                (Some(start), _) => at = start,
                (None, Some((_, next))) if bytes[next] == b']' => return Some(()),
                (None, Some((_, next))) => at = next + 1,
                // The record swallowed the rest. The page itself is whole if its list ends somewhere.
                (None, None) => {
                    let end = self.text.get(at..)?.rfind(']')? + at;
                    let is_whole = self.next(end + 1).is_some_and(|next| matches!(bytes[next], b'}' | b','));
                    return is_whole.then_some(());
                }
            }
        }
        Some(())
    }

    /// The element, strictly read.
    fn strict(&self, range: Range<usize>) -> Result<Range<usize>, Flaw> {
        let text = self.text.get(range.clone()).unwrap_or_default();
        match serde_json::from_str::<&RawValue>(text) {
            Ok(_) => element(self.text, range, self.bounds),
            // The library's words say what it met and where, and quote nothing.
            Err(error) => Err(Flaw::NotJson(error.to_string())),
        }
    }

    /// Where the next record begins after the bad one at `bad`.
    fn resume(&mut self, bad: usize) -> Option<usize> {
        let bytes = self.text.as_bytes();
        let first_key = |at: usize| {
            let key = self.text.get(at + 1..)?.trim_start().strip_prefix('"')?;
            key.split_once('"').map(|(key, _)| key)
        };
        let like = (bytes[bad] == b'{').then(|| first_key(bad)).flatten();
        let mut at = bad;
        while self.left > 0 {
            let from = at + 1;
            let step = bytes.get(from..)?.iter().position(|byte| *byte == b'{')?;
            self.left = self.left.saturating_sub(step + 64);
            at = from + step;
            let before = bytes[..at].iter().rev().find(|byte| !byte.is_ascii_whitespace());
            if before != Some(&b',')
                || first_key(at).is_none()
                || like.is_some_and(|like| first_key(at) != Some(like))
            {
                continue;
            }
            let is_record = self.skip(at).is_some_and(|end| {
                let text = self.text.get(at..end).unwrap_or_default();
                let follows = self.next(end).is_some_and(|next| matches!(bytes[next], b',' | b']'));
                follows && matches!(json::pick(text, ["id", "status"]), Some([Some(_), Some(_)]))
            });
            if is_record {
                return Some(at);
            }
        }
        None
    }

    /// The place of the next byte that is not white space.
    fn next(&self, at: usize) -> Option<usize> {
        let rest = self.text.as_bytes().get(at..)?;
        Some(at + rest.iter().position(|byte| !byte.is_ascii_whitespace())?)
    }

    /// The place after the value that begins at `at`, by its brackets and quotes. `None` if it does not end, or if too much
    /// has been looked at.
    fn skip(&mut self, at: usize) -> Option<usize> {
        let bytes = self.text.as_bytes();
        let mut depth = 0usize;
        let mut here = at;
        loop {
            match *bytes.get(here)? {
                b'"' => {
                    here = self.string(here)?;
                    if depth == 0 {
                        return Some(here);
                    }
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' if depth <= 1 => return Some(if depth == 0 { here } else { here + 1 }),
                b'}' | b']' => depth -= 1,
                b',' if depth == 0 => return Some(here),
                _ => {}
            }
            here += 1;
            self.left = self.left.checked_sub(1)?;
        }
    }

    /// The place after the text that begins with the quote at `at`.
    fn string(&mut self, at: usize) -> Option<usize> {
        let bytes = self.text.as_bytes();
        let mut here = at + 1;
        while let Some(byte) = bytes.get(here)
            && *byte != b'"'
        {
            here += if *byte == b'\\' { 2 } else { 1 };
        }
        // One that does not end has been looked through as well.
        self.left = self.left.checked_sub(here - at)?;
        (here < bytes.len()).then_some(here + 1)
    }
}
