//! Words that somebody says, found in a conversation however they are written. Pure.

use std::{borrow::Cow, cell::OnceCell};

use caseless::Caseless;
use unicode_normalization::UnicodeNormalization;
use unicode_segmentation::UnicodeSegmentation;

/// Words to look for: whole ones, in any case, composed of characters in any way, with any white space between them.
///
/// Both sides are compared by compatibility caseless matching (Unicode 16, section 3.13, D146, without its removal of
/// default ignorables): `café` is found written with a combining accent, `STRASSE` as `Straße`, full-width letters as
/// usual ones. Words end where Unicode says so (UAX #29), and at full stops and colons, since transcripts often lack the
/// space after them, and behind what French and Italian elide in front of a word. Scripts that are written without spaces
/// match within a text.
#[derive(Debug)]
pub(super) struct Phrase {
    folded: String,
}

impl Phrase {
    /// `None` when there is nothing to look for.
    pub fn new(text: &str) -> Option<Self> {
        let folded = fold(text).trim().to_owned();
        (!folded.is_empty()).then_some(Self { folded })
    }

    /// Whether somebody says it in `text`. Takes time in proportion to the text.
    pub fn is_in(&self, text: &str) -> bool {
        let text = fold(text);
        let borders = Borders { text: &text, words: OnceCell::new() };
        let mut from = 0;
        // Places may overlap: `a a` is in `ba a a` twice, and only the second time as words.
        while let Some(found) = text[from..].find(&self.folded) {
            let (start, end) = (from + found, from + found + self.folded.len());
            if borders.is_border(start) && borders.is_border(end) {
                return true;
            }
            from = start + text[start..].chars().next().map_or(1, char::len_utf8);
        }
        false
    }
}

/// Short words that lose their last letter in front of a vowel, in French, Italian and Catalan: `l'avocat`, `d'urgence`.
const ELIDED: [&str; 30] = [
    "c", "d", "j", "l", "m", "n", "qu", "s", "t", "jusqu", "lorsqu", "puisqu", "quoiqu", "quelqu", "presqu",
    "un", "all", "dall", "dell", "nell", "sull", "coll", "quell", "quest", "bell", "sant", "nessun", "com",
    "dov", "v",
];

/// The text as it is compared; runs of white space are one space, apostrophes are straight, and hyphens are the usual one.
fn fold(text: &str) -> Cow<'_, str> {
    let is_folded = |c: char| (c.is_ascii_graphic() && !c.is_ascii_uppercase()) || c == ' ';
    if text.chars().all(is_folded) && !text.contains("  ") {
        return Cow::Borrowed(text);
    }
    let mut folded = String::with_capacity(text.len());
    for c in text.nfd().default_case_fold().nfkd().default_case_fold().nfkc() {
        match c {
            '’' | 'ʼ' | '＇' => folded.push('\''),
            // Marks that show nothing are put between words by some transcribers.
            '\u{ad}' | '\u{200b}' | '\u{2060}' | '\u{feff}' => {}
            '\u{2010}'..='\u{2013}' | '\u{2212}' => folded.push('-'),
            // The vowels of Arabic and Hebrew are seldom written, and a stroke only makes an Arabic word longer.
            '\u{591}'..='\u{5bd}' | '\u{5bf}' | '\u{5c1}' | '\u{5c2}' | '\u{5c4}' | '\u{5c5}' | '\u{5c7}' => {
            }
            '\u{640}' | '\u{64b}'..='\u{65f}' | '\u{670}' => {}
            // Turkish has an i with a dot and one without, each in both cases: `İPTAL` is `iptal`, `IŞIK` is `ışık`.
            '\u{307}' if folded.ends_with('i') => {}
            'ı' => folded.push('i'),
            c if c.is_whitespace() => {
                if !folded.ends_with(' ') {
                    folded.push(' ');
                }
            }
            c => folded.push(c),
        }
    }
    Cow::Owned(folded)
}

/// The borders of the words of a text.
struct Borders<'a> {
    text: &'a str,
    /// Where words begin, in bytes, in order; found when they are asked for.
    words: OnceCell<Vec<usize>>,
}

impl Borders<'_> {
    /// Whether a word ends or begins at `at`.
    fn is_border(&self, at: usize) -> bool {
        let before = self.text[..at].chars().next_back();
        let after = self.text[at..].chars().next();
        let (Some(before), Some(after)) = (before, after) else { return true };
        if is_stop(before) || is_stop(after) || (is_unspaced(before) && !is_mark(after)) || is_unspaced(after)
        {
            return true;
        }
        if before == '\'' {
            let elided = self.text[..at - 1].rsplit(|c: char| !c.is_alphabetic()).next().unwrap_or_default();
            return ELIDED.contains(&elided);
        }
        let words =
            self.words.get_or_init(|| self.text.split_word_bound_indices().map(|(start, _)| start).collect());
        words.binary_search(&at).is_ok()
    }
}

/// UAX #29 does not end a word at these when letters or digits follow at once.
fn is_stop(c: char) -> bool {
    matches!(c, '.' | ':')
}

/// Whether `c` belongs to what stands before it.
fn is_mark(c: char) -> bool {
    unicode_normalization::char::is_combining_mark(c)
}

/// Whether `c` is of a script that is written without spaces between words: Chinese, Japanese, Thai, Lao, Khmer, Burmese.
/// So is Korean here: it has spaces, but endings and particles stand directly behind a word.
fn is_unspaced(c: char) -> bool {
    matches!(
        c,
        '\u{0e00}'..='\u{0eff}'     // Thai, Lao
            | '\u{1000}'..='\u{109f}' // Burmese
            | '\u{1100}'..='\u{11ff}' // Hangul, in parts
            | '\u{1780}'..='\u{17ff}' // Khmer
            | '\u{2e80}'..='\u{2fdf}' // CJK radicals
            | '\u{3005}'..='\u{3007}'
            | '\u{3040}'..='\u{30ff}' // Hiragana, Katakana
            | '\u{3130}'..='\u{318f}' // Hangul
            | '\u{31f0}'..='\u{31ff}'
            | '\u{3400}'..='\u{4dbf}'
            | '\u{4e00}'..='\u{9fff}' // Han
            | '\u{a9e0}'..='\u{a9ff}' | '\u{aa60}'..='\u{aa7f}' // Burmese
            | '\u{a960}'..='\u{a97f}' | '\u{ac00}'..='\u{d7ff}' // Hangul
            | '\u{f900}'..='\u{faff}'
            | '\u{20000}'..='\u{3ffff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_said(phrase: &str, text: &str, is_in: bool) {
        assert_eq!(Phrase::new(phrase).unwrap().is_in(text), is_in, "{phrase:?} in {text:?}");
    }

    #[test]
    fn words_are_found_however_they_are_written() {
        for (phrase, text) in [
            ("refund", "I want a REFUND."),
            ("refund", "refund"),
            ("call back", "Call\n  back, please"),
            ("don't", "I don’t know"),
            ("café", "au CAFE\u{301} noir"),
            ("cafe\u{301}", "le café"),
            ("strasse", "in der Straße 5"),
            ("ΣΊΣΥΦΟΣ", "ο σίσυφος"),
            ("İstanbul", "i\u{307}stanbul'da i\u{307}stanbul"),
            ("vip", "ＶＩＰ customer"),
            ("tuesday", "On Tuesday.Then"),
            ("half past", "at:half past"),
            ("50%", "50% off"),
            ("退款", "我想要退款谢谢"),
            ("キャンセル", "予約をキャンセルしたい"),
            ("ｷｬﾝｾﾙ", "予約をキャンセルしたい"),
            ("ยกเลิก", "ขอยกเลิกนัดหมายค่ะ"),
            ("ບໍ່", "ຂ້ອຍບໍ່ໄດ້"),
            ("បោះបង់", "ខ្ញុំចង់បោះបង់ការណាត់"),
            ("환불", "환불 해주세요"),
            ("환불", "환불ok"),
            ("예약", "예약하고 싶어요"),
            ("예약", "예약하고 싶어요".nfd().collect::<String>().as_str()),
            ("iptal", "İPTAL edin"),
            ("İptal", "iptal edin"),
            ("ışık", "IŞIK"),
            ("vip", "我是VIP客户"),
            ("a a", "ba a a"),
            ("avocat", "je cherche l’avocat"),
            ("l'avocat", "à l'avocat"),
            ("urgence", "C'est d'urgence !"),
            ("ouvert", "jusqu'à quand c'est ouvert"),
            ("ufficio", "nell'ufficio"),
            ("e-mail", "mon e\u{2011}mail"),
            ("שלום", "שָׁלוֹם לך"),
            ("سعر", "ما هو سِعْر هذا"),
            ("موعد", "أريد مـوعد"),
        ] {
            assert_said(phrase, text, true);
        }
    }

    #[test]
    fn a_part_of_a_word_is_not_what_was_said() {
        for (phrase, text) in [
            ("fund", "refund"),
            ("refund", "refunds"),
            ("don", "I don't"),
            ("t", "I can't"),
            ("can", "I can't"),
            ("brien", "Mr O'Brien"),
            ("re", "they're"),
            ("hui", "aujourd'hui"),
            ("cafe", "café"),
            ("cafe", "cafe\u{301}"),
            ("call back", "callback"),
            ("bar", "foo_bar"),
            ("art", "Straßenkarte"),
        ] {
            assert_said(phrase, text, false);
        }
        assert!(Phrase::new(" \u{200b}\n").is_none());
    }

    #[test]
    fn many_places_where_it_might_be_cost_no_more_than_the_text() {
        let text = "ab".repeat(100_000);
        let begun = std::time::Instant::now();
        assert_said("ab", &text, false);
        assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{:?}", begun.elapsed());
    }
}
