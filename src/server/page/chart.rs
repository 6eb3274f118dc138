//! Charts, drawn as SVG, each with a table of its figures behind it. Pure.
//!
//! A chart is a row of bars for stretches of time. Series are told apart by position (up or down) and by filling (solid,
//! outlined, dashed) as well as by colour.

use askama::{Template, filters::HtmlSafe};

use super::words::number;

/// The width of a stretch of time in the drawing, and the height of the whole.
const WIDTH: usize = 10;
const HEIGHT: f64 = 100.0;

/// The least height of a bar that stands for something.
const LEAST: f64 = 2.5;

/// A chart, ready to be shown.
#[derive(Template)]
#[template(path = "chart.html")]
pub(super) struct Chart {
    id: String,
    title: String,
    /// The word for a stretch of time: `hour`.
    unit: &'static str,
    series: Vec<Series>,
    slots: Vec<Slot>,
    /// How far the drawing reaches.
    width: usize,
    /// Where up and down part.
    ground: f64,
    /// The most that stands above one another in one slot.
    most: u64,
    /// Under the drawing, from left to right.
    marks: Vec<String>,
    /// Whether the figures stand behind it. Where there are many charts, each leads to a page with its figures.
    has_figures: bool,
}

/// The values of one kind.
pub(super) struct Series {
    name: &'static str,
    /// The class of its bars in the stylesheet.
    class: &'static str,
    is_up: bool,
    values: Vec<u64>,
    /// Its bars, as the path of an SVG.
    path: String,
}

/// One stretch of time.
struct Slot {
    x: usize,
    label: String,
    /// The figures of it in words; empty when nothing happened.
    words: String,
    /// The figures of each series.
    figures: Vec<u64>,
}

/// Its template escapes what is not its own.
impl HtmlSafe for Chart {}

impl Series {
    /// Bars that grow upwards. Those of the first series stand on the ground, and others on them.
    pub(super) fn up(name: &'static str, class: &'static str, values: Vec<u64>) -> Self {
        Self { name, class, is_up: true, values, path: String::new() }
    }

    /// Bars that grow downwards.
    pub(super) fn down(name: &'static str, class: &'static str, values: Vec<u64>) -> Self {
        Self { name, class, is_up: false, values, path: String::new() }
    }

    /// The sum over all stretches of time.
    pub(super) fn total(&self) -> u64 {
        self.values.iter().sum()
    }

    fn at(&self, slot: usize) -> u64 {
        self.values.get(slot).copied().unwrap_or_default()
    }
}

/// A bar of a series in a slot, from its upper edge.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bar {
    series: usize,
    slot: usize,
    y: f64,
    height: f64,
}

/// The place of the ground line, and all bars. A value above zero is always visible, and no bar leaves the drawing.
fn draw(series: &[Series], slots: usize) -> (f64, Vec<Bar>) {
    let up = most(series, slots, true);
    let down = most(series, slots, false);
    let ground = match (up, down) {
        (_, 0) => HEIGHT,
        (0, _) => 0.0,
        (up, down) => (HEIGHT * up as f64 / (up + down) as f64).clamp(LEAST, HEIGHT - LEAST),
    };
    let mut bars = vec![];
    for slot in 0..slots {
        for (is_up, most, room) in [(true, up, ground), (false, down, HEIGHT - ground)] {
            let there = series.iter().enumerate().filter(|(_, it)| it.is_up == is_up && it.at(slot) > 0);
            let tall = there.map(|(place, it)| (place, (it.at(slot) as f64 / most as f64 * room).max(LEAST)));
            let tall: Vec<_> = tall.collect();
            let all: f64 = tall.iter().map(|(_, height)| height).sum();
            let (fit, mut reach) = (f64::min(1.0, room / all), 0.0);
            for (series, height) in tall {
                let height = height * fit;
                let y = if is_up { ground - reach - height } else { ground + reach };
                reach += height;
                bars.push(Bar { series, slot, y, height });
            }
        }
    }
    (ground, bars)
}

/// The most that grows in one direction in any slot.
fn most(series: &[Series], slots: usize, is_up: bool) -> u64 {
    let meant = || series.iter().filter(|it| it.is_up == is_up);
    (0..slots).map(|slot| meant().map(|it| it.at(slot)).sum()).max().unwrap_or_default()
}

impl Chart {
    /// A chart of these series over stretches of time with these names.
    pub(super) fn new(
        id: impl Into<String>,
        title: impl Into<String>,
        unit: &'static str,
        labels: Vec<String>,
        mut series: Vec<Series>,
    ) -> Self {
        let (ground, bars) = draw(&series, labels.len());
        for Bar { series: place, slot, y, height } in bars {
            let x = slot * WIDTH + 1;
            let across = WIDTH - 2;
            series[place].path += &format!("M{x} {y:.1}h{across}v{height:.1}h-{across}z");
        }
        let marks = [0, labels.len() / 2, labels.len().saturating_sub(1)];
        let marks = marks.into_iter().filter_map(|at| labels.get(at).cloned()).collect();
        let most = [true, false].map(|is_up| most(&series, labels.len(), is_up));
        let slot = |(at, label): (usize, String)| {
            let figures: Vec<_> = series.iter().map(|it| it.at(at)).collect();
            let told = series.iter().zip(&figures).filter(|(_, figure)| **figure > 0);
            let told: Vec<_> = told.map(|(it, figure)| format!("{} {}", number(figure), it.name)).collect();
            Slot { x: at * WIDTH, label, words: told.join(", "), figures }
        };
        let slots: Vec<_> = labels.into_iter().enumerate().map(slot).collect();
        Self {
            id: id.into(),
            title: title.into(),
            unit,
            width: slots.len() * WIDTH,
            most: most[0].max(most[1]),
            slots,
            ground,
            marks,
            series,
            has_figures: true,
        }
    }

    /// The drawing alone, for a list of many.
    pub(super) fn without_figures(self) -> Self {
        Self { has_figures: false, ..self }
    }

    /// Its title.
    #[cfg(test)]
    pub(super) fn title(&self) -> &str {
        &self.title
    }

    /// Whether there is anything to be seen.
    fn is_empty(&self) -> bool {
        self.most == 0
    }

    /// The drawing in words, for those who do not see it.
    fn sentence(&self) -> String {
        let totals: Vec<_> =
            self.series.iter().map(|it| format!("{} {}", number(&it.total()), it.name)).collect();
        let from = self.marks.first().map(String::as_str).unwrap_or_default();
        format!("{} since {from}: {}.", self.title, totals.join(", "))
    }

    /// The stretches of time in which something happened, newest first.
    fn told(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().rev().filter(|slot| !slot.words.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(up: &[&[u64]], down: &[&[u64]]) -> Vec<Series> {
        let up = up.iter().map(|values| Series::up("started", "solid", values.to_vec()));
        up.chain(down.iter().map(|values| Series::down("ended", "outline", values.to_vec()))).collect()
    }

    #[test]
    fn bars_grow_from_the_ground_and_stay_within_the_drawing() {
        let (ground, bars) = draw(&series(&[&[0, 3, 1000, 1]], &[&[0, 1, 0, 500]]), 4);
        assert!((ground - 66.67).abs() < 0.01, "{ground}");
        assert_eq!(bars.iter().map(|bar| bar.slot).collect::<Vec<_>>(), [1, 1, 2, 3, 3]);
        assert_eq!((bars[2].y, bars[2].height), (0.0, ground));
        assert_eq!((bars[4].y, bars[4].y + bars[4].height), (ground, HEIGHT));
        // One among very many is seen, even where there is hardly room.
        let many: &[u64] = &[1_000_000, 1];
        for (up, down) in
            [([many, &[1, 1]], [&[0u64, 1] as &[u64], &[1, 1]]), ([&[0, 0], &[0, 0]], [many, many])]
        {
            let series = series(&up, &down);
            let (_, bars) = draw(&series, 2);
            for Bar { series: place, y, height, .. } in &bars {
                let stacked = series.iter().filter(|it| it.is_up == series[*place].is_up).count();
                assert!(*height >= LEAST / stacked as f64 - 0.01, "{bars:?}");
                assert!(*y >= -0.01 && y + height <= HEIGHT + 0.01, "{bars:?}");
            }
        }
        assert_eq!(draw(&series(&[&[0]], &[&[0]]), 1).1, []);
    }

    #[test]
    fn a_chart_is_told_in_words_as_well() {
        let labels = ["8:00", "9:00", "10:00"].map(str::to_owned).to_vec();
        let chart = Chart::new("calls", "<Calls>", "hour", labels, series(&[&[0, 3, 1000]], &[&[0, 1, 0]]));
        assert_eq!(chart.sentence(), "<Calls> since 8:00: 1,003 started, 1 ended.");
        let told: Vec<_> = chart.told().map(|slot| (&*slot.label, &*slot.words)).collect();
        assert_eq!(told, [("10:00", "1,000 started"), ("9:00", "3 started, 1 ended")]);
        let html = chart.to_string();
        assert!(
            html.contains("<title>9:00: 3 started, 1 ended</title>") && !html.contains("<Calls>"),
            "{html}"
        );
        assert!(html.contains("at most 1,000 an hour"), "{html}");
    }
}
