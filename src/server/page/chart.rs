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
    /// What a stretch of time is called: `hour`.
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
}

/// The values of one kind.
pub(super) struct Series {
    name: &'static str,
    /// The class of its bars in the stylesheet.
    class: &'static str,
    is_up: bool,
    values: Vec<u64>,
}

/// One stretch of time.
struct Slot {
    x: usize,
    label: String,
    /// What happened in it, in words; empty when nothing did.
    words: String,
    bars: Vec<Bar>,
    /// The figures of each series.
    figures: Vec<u64>,
}

struct Bar {
    class: &'static str,
    y: f64,
    height: f64,
}

/// Its template escapes what is not its own.
impl HtmlSafe for Chart {}

impl Series {
    /// Bars that grow upwards. Those of the first series stand on the ground, and others on them.
    pub(super) fn up(name: &'static str, class: &'static str, values: Vec<u64>) -> Self {
        Self { name, class, is_up: true, values }
    }

    /// Bars that grow downwards.
    pub(super) fn down(name: &'static str, class: &'static str, values: Vec<u64>) -> Self {
        Self { name, class, is_up: false, values }
    }

    /// The sum over all stretches of time.
    pub(super) fn total(&self) -> u64 {
        self.values.iter().sum()
    }
}

impl Chart {
    /// A chart of these series over stretches of time with these names.
    pub(super) fn new(
        id: impl Into<String>,
        title: impl Into<String>,
        unit: &'static str,
        labels: Vec<String>,
        series: Vec<Series>,
    ) -> Self {
        let most = |is_up: bool| {
            let height = |at: usize| {
                let meant = series.iter().filter(|series| series.is_up == is_up);
                meant.filter_map(|series| series.values.get(at)).sum::<u64>()
            };
            (0..labels.len()).map(height).max().unwrap_or_default()
        };
        let (up, down) = (most(true), most(false));
        let per_one = HEIGHT / (up + down).max(1) as f64;
        // Whatever is there at all is seen.
        let room = if down > 0 { LEAST.max(down as f64 * per_one) } else { 0.0 };
        let ground = (HEIGHT - room).max(if up > 0 { LEAST } else { 0.0 });
        let scale = |value: u64, is_up: bool| {
            let (room, most) = if is_up { (ground, up) } else { (HEIGHT - ground, down) };
            (value as f64 / most.max(1) as f64 * room).max(LEAST)
        };
        let slot = |(at, label): (usize, &String)| {
            let (mut above, mut below) = (ground, ground);
            let mut bars = vec![];
            for series in &series {
                let value = series.values.get(at).copied().unwrap_or_default();
                if value == 0 {
                    continue;
                }
                let height = scale(value, series.is_up);
                if series.is_up {
                    above = (above - height).max(0.0);
                }
                bars.push(Bar { class: series.class, y: if series.is_up { above } else { below }, height });
                if !series.is_up {
                    below += height;
                }
            }
            let figures: Vec<_> =
                series.iter().map(|series| series.values.get(at).copied().unwrap_or_default()).collect();
            let told = series.iter().zip(&figures).filter(|(_, figure)| **figure > 0);
            let told: Vec<_> = told.map(|(it, figure)| format!("{} {}", number(figure), it.name)).collect();
            Slot { x: at * WIDTH, label: label.clone(), words: told.join(", "), bars, figures }
        };
        let marks = [0, labels.len() / 2, labels.len().saturating_sub(1)];
        let marks = marks.into_iter().filter_map(|at| labels.get(at).cloned()).collect();
        let slots: Vec<_> = labels.iter().enumerate().map(slot).collect();
        Self {
            id: id.into(),
            title: title.into(),
            unit,
            width: slots.len() * WIDTH,
            slots,
            ground,
            most: up.max(down),
            marks,
            series,
        }
    }

    /// Whether there is anything to be seen.
    fn is_empty(&self) -> bool {
        self.most == 0
    }

    /// What the drawing shows, for those who do not see it.
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

    fn chart(up: &[u64], down: &[u64]) -> Chart {
        let labels = (0..up.len()).map(|at| format!("{at}:00")).collect();
        let series = vec![
            Series::up("started", "solid", up.to_vec()),
            Series::down("ended", "outline", down.to_vec()),
        ];
        Chart::new("calls", "Calls", "hour", labels, series)
    }

    #[test]
    fn bars_grow_from_the_ground_and_stay_within_the_drawing() {
        let chart = chart(&[0, 3, 1000, 1], &[0, 1, 0, 500]);
        assert!((chart.ground - 66.67).abs() < 0.01, "{}", chart.ground);
        assert!(chart.slots[0].bars.is_empty() && chart.slots[0].words.is_empty());
        assert_eq!(chart.slots[1].words, "3 started, 1 ended");
        for bar in chart.slots.iter().flat_map(|slot| &slot.bars) {
            assert!(bar.y >= 0.0 && bar.height >= LEAST && bar.y + bar.height <= HEIGHT + 0.01);
        }
        let up = &chart.slots[2].bars[0];
        assert_eq!((up.y, up.height), (0.0, chart.ground));
        let down = &chart.slots[3].bars[1];
        assert_eq!((down.y, down.y + down.height), (chart.ground, HEIGHT));
        assert_eq!(chart.told().map(|slot| &*slot.label).collect::<Vec<_>>(), ["3:00", "2:00", "1:00"]);
        assert_eq!(chart.sentence(), "Calls since 0:00: 1,004 started, 501 ended.");
    }

    #[test]
    fn one_among_very_many_is_seen() {
        let chart = chart(&[1_000_000, 0], &[0, 1]);
        let one = &chart.slots[1].bars[0];
        assert!(one.y + one.height <= HEIGHT && one.height >= LEAST, "{} {}", one.y, one.height);
        assert!(super::tests::chart(&[0], &[0]).is_empty());
    }
}
