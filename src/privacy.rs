//! Keeping phone numbers out of what people read over each other's shoulder.

/// A phone number with its middle hidden: `+33612345678` becomes `+3361•••5678`.
///
/// Keeps the first five and the last four characters of a longer text; a shorter one is hidden whole.
pub fn mask_phone(number: &str) -> String {
    let chars: Vec<char> = number.chars().collect();
    if chars.len() < 11 {
        return "•••".to_owned();
    }
    let head: String = chars[..5].iter().collect();
    let tail: String = chars[chars.len() - 4..].iter().collect();
    format!("{head}•••{tail}")
}

#[cfg(test)]
mod tests {
    use super::mask_phone;

    #[test]
    fn the_middle_of_a_number_is_hidden() {
        assert_eq!(mask_phone("+33612345678"), "+3361•••5678");
        assert_eq!(mask_phone("112"), "•••");
        assert_eq!(mask_phone(""), "•••");
    }
}
