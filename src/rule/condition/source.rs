//! The text of a condition: which of it is quoted, which brackets match, and where in it each expression stands.
//!
//! CEL's parser records only one token for an expression, such as the `>` of `call.duration > 60`. Messages show the
//! whole expression.

use std::ops::Range;

use cel::{
    IdedExpr,
    common::ast::{CallExpr, Expr, LiteralValue, SourceInfo, operators},
};

/// The text of a condition, and the tokens that the parser recorded.
pub(super) struct Source<'a> {
    pub text: &'a str,
    info: &'a SourceInfo,
    /// Matching brackets, by their positions.
    pairs: Vec<(usize, usize)>,
}

impl<'a> Source<'a> {
    pub fn new(text: &'a str, info: &'a SourceInfo) -> Self {
        let mut open = Vec::new();
        let mut pairs = Vec::new();
        for (at, byte) in code(text) {
            match byte {
                b'(' | b'[' | b'{' => open.push(at),
                b')' | b']' | b'}' => pairs.extend(open.pop().map(|from| (from, at))),
                _ => {}
            }
        }
        Self { text, info, pairs }
    }

    /// The part of the text that is `node`, without brackets around it.
    pub fn span(&self, node: &IdedExpr) -> Range<usize> {
        let token = self.token(node).unwrap_or(0..self.text.len());
        let mut span = token.clone();
        let mut cover = |part: Range<usize>| span = span.start.min(part.start)..span.end.max(part.end);
        match &node.expr {
            Expr::Call(call) => {
                call.target.as_deref().into_iter().chain(&call.args).for_each(|part| cover(self.span(part)));
                if call.func_name == operators::OPT_SELECT {
                    cover(self.word_after(token.end));
                }
            }
            Expr::Select(select) => {
                cover(self.span(&select.operand));
                if !select.test {
                    cover(self.word_after(token.end));
                }
            }
            Expr::Comprehension(inner) => cover(self.span(&inner.iter_range)),
            Expr::Literal(LiteralValue::Int(number)) if *number.inner() < 0 => {
                span = self.back_over(span, '-')
            }
            Expr::Literal(LiteralValue::Double(number)) if number.inner().is_sign_negative() => {
                span = self.back_over(span, '-');
            }
            // A list or an object reaches from its opening bracket to its closing one.
            _ => {}
        }
        self.balanced(self.with_name(node, span))
    }

    /// The text of `node`.
    pub fn of(&self, node: &IdedExpr) -> &'a str {
        self.text.get(self.span(node)).unwrap_or(self.text)
    }

    fn token(&self, node: &IdedExpr) -> Option<Range<usize>> {
        let (first, last) = self.info.offset_for(node.id)?;
        let span = first as usize..(last as usize).saturating_add(1).min(self.text.len());
        self.text.get(span.clone()).map(|_| span)
    }

    /// `span` and the name before its first bracket: the bracket is the token of `f(x)`, `x.f()`, `has(x.f)`.
    fn with_name(&self, node: &IdedExpr, span: Range<usize>) -> Range<usize> {
        let is_called = match &node.expr {
            Expr::Call(CallExpr { func_name, target: None, .. }) => {
                func_name.starts_with(|c: char| c.is_ascii_alphabetic())
            }
            Expr::Select(select) => select.test,
            _ => false,
        };
        match self.token(node) {
            Some(token) if is_called => {
                let before = self.text[..token.start].trim_end();
                let name = before.trim_end_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
                span.start.min(name.len())..span.end
            }
            _ => span,
        }
    }

    /// `span` and every bracket whose other half is in it.
    fn balanced(&self, mut span: Range<usize>) -> Range<usize> {
        loop {
            let halved = |&&(open, close): &&(usize, usize)| span.contains(&open) != span.contains(&close);
            let Some(&(open, close)) = self.pairs.iter().find(halved) else { return span };
            span = span.start.min(open)..span.end.max(close + 1);
        }
    }

    fn word_after(&self, at: usize) -> Range<usize> {
        let rest = self.text.get(at..).unwrap_or_default();
        let start = at + rest.find(|c: char| c.is_ascii_alphanumeric() || c == '_').unwrap_or(0);
        let word = self.text.get(start..).unwrap_or_default();
        let length = word.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(word.len());
        start..start + length
    }

    fn back_over(&self, span: Range<usize>, sign: char) -> Range<usize> {
        let before = self.text[..span.start].trim_end();
        span.start.min(before.strip_suffix(sign).map_or(span.start, str::len))..span.end
    }
}

/// The bytes of a condition that are neither quoted nor commented out, with their places.
pub(super) fn code(text: &str) -> impl Iterator<Item = (usize, u8)> {
    let bytes = text.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let byte = *bytes.get(at)?;
            if bytes[at..].starts_with(b"//") {
                at += bytes[at..].iter().position(|b| *b == b'\n').unwrap_or(bytes.len());
            } else if matches!(byte, b'"' | b'\'') {
                let is_raw = at > 0 && matches!(bytes[at - 1], b'r' | b'R');
                at = after_quoted(bytes, at, is_raw);
            } else {
                at += 1;
                return Some((at - 1, byte));
            }
        }
    })
}

/// The quote that begins a text without an end, and where it stands.
pub(super) fn unclosed_quote(text: &str) -> Option<(usize, char)> {
    let bytes = text.as_bytes();
    // What follows the last byte of code is blank, a comment, or quoted to the end.
    let after = code(text).last().map_or(0, |(at, _)| at + 1);
    let at = (after..bytes.len()).find(|at| matches!(bytes[*at], b'"' | b'\''))?;
    let is_raw = at > 0 && matches!(bytes[at - 1], b'r' | b'R');
    let is_comment = text[after..at].contains("//");
    let is_closed = after_quoted(bytes, at, is_raw) < bytes.len() || text[at + 1..].ends_with(&text[at..=at]);
    (!is_comment && !is_closed).then(|| (at, char::from(bytes[at])))
}

/// The place after the quoted text that begins at `at`.
fn after_quoted(bytes: &[u8], at: usize, is_raw: bool) -> usize {
    let triple = [bytes[at]; 3];
    let quote = if bytes[at..].starts_with(&triple) { &triple[..] } else { &triple[..1] };
    let mut end = at + quote.len();
    while end < bytes.len() && !bytes[end..].starts_with(quote) {
        end += if bytes[end] == b'\\' && !is_raw { 2 } else { 1 };
    }
    (end + quote.len()).min(bytes.len())
}

/// The byte at a line and column (both from 1; a column counts characters) of CEL's parser.
pub(super) fn byte_offset(source: &str, (line, column): (isize, isize)) -> usize {
    let line = usize::try_from(line).unwrap_or(1).max(1) - 1;
    let column = usize::try_from(column).unwrap_or(1).max(1) - 1;
    let start: usize = source.split_inclusive('\n').take(line).map(str::len).sum();
    let text = source.get(start..).unwrap_or_default();
    start + text.char_indices().nth(column).map_or(text.len(), |(at, _)| at)
}

/// A text that is written out.
pub(super) fn text(node: &IdedExpr) -> Option<&str> {
    match &node.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner()),
        _ => None,
    }
}
