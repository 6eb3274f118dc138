//! Finds lists and objects that would hold what the template itself has made. Pure.
//!
//! `{% set x = [x, x] %}`, forty times over, takes forty small lists, and its text has terabytes. Nothing that writes or
//! compares such a value counts steps on the way. So what a template writes out as a list or an object holds values of
//! the event, and no variable that the template has set, unless a filter makes one text or number of it.

use std::{collections::BTreeSet, ops::Range};

use minijinja::{
    machinery::{Token, tokenize},
    syntax::SyntaxConfig,
};

use super::check::{WORD_OPERATORS, is_one_thing_behind};

/// Functions and filters whose arguments become parts of what they return.
const HOLDERS: [&str; 5] = ["batch", "dict", "namespace", "slice", "zip"];

/// The place of the first key of an object, written out in the template, that is no literal. To find a key that is a list or an
/// object itself, it is compared to its depth, which counts no steps.
pub(super) fn made_key(source: &str) -> Option<Range<usize>> {
    let (mut open, mut may_be_key) = (vec![], false);
    for (token, span) in tokenize(source, false, SyntaxConfig::default()).map_while(Result::ok) {
        let is_literal = matches!(
            token,
            Token::Str(_) | Token::String(_) | Token::Int(_) | Token::Float(_) | Token::BraceClose
        );
        if may_be_key && !is_literal {
            return Some(span.start_offset as usize..span.end_offset as usize);
        }
        match token {
            Token::VariableStart | Token::BlockStart => open.clear(),
            Token::BraceOpen => open.push(true),
            Token::BracketOpen | Token::ParenOpen => open.push(false),
            Token::BraceClose | Token::BracketClose | Token::ParenClose => drop(open.pop()),
            _ => {}
        }
        may_be_key = matches!(token, Token::BraceOpen | Token::Comma) && open.last() == Some(&true);
    }
    None
}

/// The first variable that the template sets and puts into a list or an object: its name and its place.
pub(super) fn shared(source: &str) -> Option<(String, Range<usize>)> {
    let tokens: Vec<_> = tokenize(source, false, SyntaxConfig::default()).map_while(Result::ok).collect();
    let is =
        |at: usize, word: &str| matches!(tokens.get(at), Some((Token::Ident(found), _)) if *found == word);
    let name = |at: usize| match tokens.get(at) {
        // Behind a dot stands a field; in front of `=`, in a call, a parameter's name.
        Some((Token::Ident(name), _)) if at == 0 || !matches!(tokens[at - 1].0, Token::Dot) => Some(*name),
        _ => None,
    };
    let end_of = |at: usize| {
        (at..tokens.len()).find(|at| matches!(tokens[*at].0, Token::BlockEnd)).unwrap_or(tokens.len())
    };
    let blocks: Vec<usize> =
        (0..tokens.len()).filter(|at| matches!(tokens[*at].0, Token::BlockStart)).map(|at| at + 1).collect();
    let mut made: BTreeSet<&str> = BTreeSet::new();
    for block in &blocks {
        let end = end_of(*block);
        if is(*block, "set") {
            let target =
                (*block + 1..end).take_while(|at| !matches!(tokens[*at].0, Token::Assign | Token::Pipe));
            made.extend(target.filter_map(name));
        } else if is(*block, "with") || is(*block, "macro") || is(*block, "call") {
            made.extend((*block + 1..end).filter_map(name));
        }
    }
    // An entry of a list that the template has made is made by it, too.
    loop {
        let before = made.len();
        for block in blocks.iter().filter(|block| is(**block, "for")) {
            let end = end_of(*block);
            let split = (*block..end).find(|at| is(*at, "in")).unwrap_or(end);
            let is_made = (split..end).any(|at| match &tokens[at].0 {
                Token::BracketOpen | Token::BraceOpen | Token::ParenOpen | Token::Comma => true,
                _ => name(at).is_some_and(|name| made.contains(name)),
            });
            if is_made {
                made.extend((*block + 1..split).filter_map(name));
            }
        }
        if made.len() == before {
            break;
        }
    }
    // For each bracket that is open: whether what stands in it becomes a part of something.
    let mut open: Vec<bool> = vec![];
    let mut in_list = false;
    for at in 0..tokens.len() {
        let after_value = at > 0
            && match tokens[at - 1].0 {
                Token::Ident(word) => !WORD_OPERATORS.contains(&word),
                Token::Str(_) | Token::String(_) | Token::BracketClose | Token::ParenClose => true,
                _ => false,
            };
        match &tokens[at].0 {
            Token::BlockStart | Token::VariableStart => {
                open.clear();
                // Without brackets, commas make a list of what is set, walked over or shown.
                let end = (at..tokens.len())
                    .find(|at| matches!(tokens[*at].0, Token::BlockEnd | Token::VariableEnd))
                    .unwrap_or(tokens.len());
                let begin = (at..end).find(|at| matches!(tokens[*at].0, Token::Assign) || is(*at, "in"));
                let is_with = is(at + 1, "with") || is(at + 1, "macro") || is(at + 1, "call");
                let mut depth = 0;
                in_list = !is_with
                    && (begin.unwrap_or(at)..end).any(|at| {
                        match tokens[at].0 {
                            Token::BracketOpen | Token::BraceOpen | Token::ParenOpen => depth += 1,
                            Token::BracketClose | Token::BraceClose | Token::ParenClose => depth -= 1,
                            _ => {}
                        }
                        depth == 0 && matches!(tokens[at].0, Token::Comma)
                    });
            }
            Token::BracketOpen => open.push(!after_value),
            Token::BraceOpen => open.push(true),
            Token::ParenOpen if after_value => {
                open.push(matches!(tokens[at - 1].0, Token::Ident(name) if HOLDERS.contains(&name)));
            }
            Token::ParenOpen => {
                let mut depth = 0;
                let inside = tokens[at..].iter().map_while(|(token, _)| {
                    match token {
                        Token::ParenOpen | Token::BracketOpen | Token::BraceOpen => depth += 1,
                        Token::ParenClose | Token::BracketClose | Token::BraceClose => depth -= 1,
                        _ => {}
                    }
                    (depth > 0).then_some((depth, token))
                });
                let is_tuple =
                    inside.into_iter().any(|(depth, token)| depth == 1 && matches!(token, Token::Comma));
                open.push(is_tuple);
            }
            Token::BracketClose | Token::BraceClose | Token::ParenClose => drop(open.pop()),
            Token::Ident(word) if (in_list || open.contains(&true)) && made.contains(word) => {
                let is_parameter = matches!(tokens.get(at + 1), Some((Token::Assign, _)));
                // Its fields are parts of it.
                let mut next = at + 1;
                while matches!(tokens.get(next), Some((Token::Dot, _))) {
                    next += 2;
                }
                let is_one = matches!(
                    (tokens.get(next), tokens.get(next + 1)),
                    (Some((Token::Pipe, _)), Some((Token::Ident(filter), _))) if is_one_thing_behind(filter)
                );
                if name(at).is_some() && !is_parameter && !is_one {
                    let span = &tokens[at].1;
                    return Some(((*word).to_owned(), span.start_offset as usize..span.end_offset as usize));
                }
            }
            _ => {}
        }
    }
    None
}
