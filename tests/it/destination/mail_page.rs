//! The HTML of mails in a real browser, where there is one.

use std::fs;

use reqwest::Url;

use super::{
    languages::{both_rules, digest, failing, mail},
    *,
};
use crate::server::pages::chromium::Browser;

/// The texts that are hard to read, each with its contrast: less than 4.5 to 1 (WCAG 2.2, 1.4.3).
const HARD_TO_READ: &str = r#"(() => {
    const channel = c => (c /= 255) <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4;
    const light = ([r, g, b]) => .2126 * channel(r) + .7152 * channel(g) + .0722 * channel(b);
    const numbers = colour => colour.match(/[\d.]+/g).map(Number);
    const behind = it => {
        for (; it; it = it.parentElement) {
            const colour = numbers(getComputedStyle(it).backgroundColor);
            if (colour[3] !== 0) return colour;
        }
        return [255, 255, 255];
    };
    const found = [];
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
        const text = texts.currentNode.data.trim(), it = texts.currentNode.parentElement;
        if (!text || !it.offsetParent) continue;
        const sides = [light(numbers(getComputedStyle(it).color)), light(behind(it))].sort((a, b) => b - a);
        const contrast = (sides[0] + .05) / (sides[1] + .05);
        if (contrast < 4.5) found.push(text + ': ' + contrast.toFixed(2));
    }
    return found;
})()"#;

#[tokio::test(flavor = "multi_thread")]
async fn mails_fit_a_phone_can_be_read_by_night_and_load_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut browser) = Browser::start(&folder.path().join("browser")).await else { return };
    let long = RECORD
        .replace("\"hot\"", "\"https://crm.example.com/a/very/long/address/without/any/blank/in/it/at/all\"");
    for (name, event, rules) in [
        ("call", event_of(Kind::Ended, &long), Rules::default()),
        ("digest", digest(), both_rules()),
        ("health", failing(), Rules::default()),
    ] {
        for language in [Language::French, Language::German] {
            let [.., html] = mail(language, &event, &rules).await;
            let file = folder.path().join(format!("{name}-{language}.html"));
            fs::write(&file, html).unwrap();
            browser.open(Url::from_file_path(&file).unwrap().as_str()).await;
            assert_eq!(browser.value("document.documentElement.lang").await, language.tag());
            for scheme in ["light", "dark"] {
                browser.colours(scheme).await;
                for width in [375, 800] {
                    browser.resize(width).await;
                    let fits = "document.documentElement.scrollWidth <= window.innerWidth";
                    assert_eq!(browser.value(fits).await, true, "{name} in {language} at {width}");
                    assert_eq!(
                        browser.value(HARD_TO_READ).await,
                        json!([]),
                        "{name} in {language}, {scheme}"
                    );
                }
            }
        }
    }
    browser.has_no_complaint("file://");
}
