//! The charts: a line for each workload, a dot for each contender at its ratio to the base; left is better.
//!
//! The ground is the reader's, and the ink follows the reader's choice of light or dark.

use svg::Document;
use svg::node::element::{Circle, Line, Style, Text};

use super::record::{Rounds, values};
use crate::contender::{Known, OURS};
use crate::ratio::ratio;
use crate::workload::Workload;

const WIDTH: f64 = 860.0;
/// Left of it stand the workloads.
const LEFT: f64 = 300.0;
const RIGHT: f64 = 30.0;
const HEAD: f64 = 64.0;
const ROW: f64 = 26.0;
const FOOT: f64 = 34.0;

/// The colours of the peers, in the order of the contenders: told apart also by the colour-blind.
const COLOURS: [&str; 10] = [
    "#999999", "#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#0072b2", "#8c6bb1", "#b07d48", "#66a61e",
    "#d55e9f",
];
const OUR_COLOUR: &str = "#e6342b";

/// Ratios that get a line, as far as the chart reaches.
const TICKS: [f64; 11] = [0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0];

const STYLE: &str = "text { font: 13px sans-serif; fill: #24292f; } .minor { fill: #57606a; } \
    line { stroke: #d0d7de; } .base { stroke: #57606a; } \
    @media (prefers-color-scheme: dark) { text { fill: #e6edf3; } .minor { fill: #9198a1; } \
    line { stroke: #3d444d; } .base { stroke: #9198a1; } }";

/// Where a ratio stands: the scale is logarithmic.
struct Scale {
    least: f64,
    most: f64,
}

impl Scale {
    /// A scale on which all of these have a place, and 1 as well.
    fn over(ratios: impl Iterator<Item = f64>) -> Scale {
        let (least, most) =
            ratios.fold((0.8_f64, 2.0_f64), |(least, most), ratio| (least.min(ratio), most.max(ratio)));
        Scale { least: least / 1.1, most: most * 1.1 }
    }

    fn place(&self, ratio: f64) -> f64 {
        let share = (ratio / self.least).ln() / (self.most / self.least).ln();
        LEFT + share * (WIDTH - LEFT - RIGHT)
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        TICKS.into_iter().filter(|tick| (self.least..=self.most).contains(tick))
    }
}

/// The chart of these workloads.
pub fn draw(title: &str, measured: &[(&Workload, &Rounds)], contenders: &[&Known]) -> String {
    let median = |workload: &Workload, rounds: &Rounds, known: &Known| {
        let of = |name| values(rounds, name, workload.key);
        ratio(&of(known.name), &of(workload.base)).map(|ratio| ratio.rounds.median)
    };
    // What has no base has no ratios, and no line.
    let lines: Vec<(String, Vec<Option<f64>>)> = measured
        .iter()
        .map(|(workload, rounds)| {
            let ratios = contenders.iter().map(|known| median(workload, rounds, known)).collect();
            (format!("{} (1 = {})", workload.title, workload.base), ratios)
        })
        .filter(|(_, ratios): &(String, Vec<Option<f64>>)| ratios.iter().any(Option::is_some))
        .collect();
    let scale = Scale::over(lines.iter().flat_map(|(_, ratios)| ratios.iter().flatten().copied()));
    let bottom = HEAD + lines.len() as f64 * ROW;
    let height = bottom + FOOT;
    let mut chart = Document::new()
        .set("viewBox", (0.0, 0.0, WIDTH, height))
        .set("role", "img")
        .set("aria-label", title)
        .add(Style::new(STYLE))
        .add(text(title, 8.0, 20.0, "start").set("font-weight", "bold"));
    for tick in scale.ticks() {
        let x = scale.place(tick);
        let class = if tick == 1.0 { "base" } else { "tick" };
        chart = chart
            .add(Line::new().set("class", class).set("x1", x).set("x2", x).set("y1", HEAD).set("y2", bottom));
        chart = chart.add(text(&format!("{tick}×"), x, bottom + 20.0, "middle").set("class", "minor"));
    }
    let mut x = 8.0;
    for (at, known) in contenders.iter().enumerate() {
        chart = chart.add(dot(known, at, x + 5.0, 40.0)).add(text(known.name, x + 14.0, 44.0, "start"));
        x += 30.0 + 7.0 * known.name.len() as f64;
    }
    for (row, (name, ratios)) in lines.iter().enumerate() {
        let y = HEAD + (row as f64 + 0.5) * ROW;
        chart = chart.add(text(name, LEFT - 12.0, y + 4.0, "end"));
        // ringloop last, on top of the others.
        let mut order: Vec<usize> = (0..contenders.len()).collect();
        order.sort_by_key(|&at| contenders[at].name == OURS);
        for at in order {
            if let Some(ratio) = ratios[at] {
                chart = chart.add(dot(contenders[at], at, scale.place(ratio), y));
            }
        }
    }
    format!("{chart}\n")
}

fn dot(known: &Known, at: usize, x: f64, y: f64) -> Circle {
    let (colour, radius) =
        if known.name == OURS { (OUR_COLOUR, 6.5) } else { (COLOURS[at % COLOURS.len()], 4.5) };
    Circle::new().set("cx", x).set("cy", y).set("r", radius).set("fill", colour)
}

fn text(content: &str, x: f64, y: f64, anchor: &str) -> Text {
    Text::new(content).set("x", x).set("y", y).set("text-anchor", anchor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_holds_all_ratios_and_the_base() {
        let scale = Scale::over([0.04, 90.0].into_iter());
        for ratio in [0.04, 1.0, 90.0] {
            let x = scale.place(ratio);
            assert!((LEFT..=WIDTH - RIGHT).contains(&x), "{ratio} at {x}");
        }
        assert!(scale.place(0.04) < scale.place(1.0) && scale.place(1.0) < scale.place(90.0));
        assert!(scale.ticks().any(|tick| tick == 1.0));
    }

    #[test]
    fn a_workload_without_a_base_has_no_line() {
        let workload = crate::workload::named("yield").expect("it is in the catalogue");
        let contenders: Vec<&Known> = crate::contender::ALL.iter().collect();
        let chart = draw("tasks", &[(workload, &Rounds::new())], &contenders);
        assert!(chart.contains("</svg>") && !chart.contains(workload.title));
    }
}
