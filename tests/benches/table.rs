//! Figures, their spread, and how they are shown.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value as Json, json};

use crate::plot;

/// One ratio, measured in several rounds.
struct Figure {
    name: String,
    /// What each side is, ours first.
    sides: (String, String),
    rounds: Vec<f64>,
}

/// Something measured that is no ratio.
struct Fact {
    name: String,
    unit: String,
    rounds: Vec<f64>,
}

/// Lines: what each is, and its points from left to right.
pub type Series = Vec<(String, Vec<(f64, f64)>)>;

/// How something grows with something else.
pub struct Curve {
    /// Its title, and the name of its files.
    pub name: String,
    /// What grows, and what is measured, with their units.
    pub x: String,
    pub y: String,
    pub series: Series,
}

#[derive(Default)]
pub struct Table {
    figures: Vec<Figure>,
    facts: Vec<Fact>,
    curves: Vec<Curve>,
}

/// The value below which a share of `values` lies.
pub fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * share).round() as usize]
}

pub fn median(values: &[f64]) -> f64 {
    percentile(&mut values.to_vec(), 0.5)
}

impl Table {
    /// A ratio ours / bare per round, with the median of each side as text.
    pub fn add(&mut self, name: &str, ours: String, bare: String, rounds: Vec<f64>) {
        println!("{name}: {:.3} ({ours} / {bare})", median(&rounds));
        self.figures.push(Figure { name: name.to_string(), sides: (ours, bare), rounds });
    }

    /// Something that is compared with nothing, per round.
    pub fn fact(&mut self, name: &str, unit: &str, rounds: Vec<f64>) {
        println!("{name}: {} {unit}", plot::short(median(&rounds)));
        self.facts.push(Fact { name: name.to_string(), unit: unit.to_string(), rounds });
    }

    /// How something grows; drawn when plots are asked for.
    pub fn curve(&mut self, curve: Curve) {
        println!("{}", curve.text());
        self.curves.push(curve);
    }

    pub fn print(&self) {
        if !self.figures.is_empty() {
            println!(
                "\n| ratio | median | min | max | ours | bare limit |\n| --- | --- | --- | --- | --- | --- |"
            );
        }
        for Figure { name, sides, rounds } in &self.figures {
            let (low, high) = bounds(rounds);
            println!("| {name} | {:.3} | {low:.3} | {high:.3} | {} | {} |", median(rounds), sides.0, sides.1);
        }
        if !self.facts.is_empty() {
            println!("\n| figure | median | min | max | unit |\n| --- | --- | --- | --- | --- |");
        }
        for Fact { name, unit, rounds } in &self.facts {
            let (low, high) = bounds(rounds);
            let [median, low, high] = [median(rounds), low, high].map(plot::short);
            println!("| {name} | {median} | {low} | {high} | {unit} |");
        }
    }

    pub fn json(&self) -> String {
        let figures: Vec<_> = self
            .figures
            .iter()
            .map(|Figure { name, sides, rounds }| {
                json!({ "ratio": name, "median": median(rounds), "rounds": rounds, "ours": sides.0, "bare": sides.1 })
            })
            .collect();
        let facts: Vec<_> = self
            .facts
            .iter()
            .map(|Fact { name, unit, rounds }| {
                json!({ "figure": name, "median": median(rounds), "rounds": rounds, "unit": unit })
            })
            .collect();
        let curves: Vec<_> = self.curves.iter().map(Curve::json).collect();
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        format!("{:#}\n", json!({ "cores": cores, "figures": figures, "facts": facts, "curves": curves }))
    }

    /// Every curve as a picture, its numbers beside it.
    pub fn plot(&self, folder: &Path) {
        std::fs::create_dir_all(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for curve in &self.curves {
            let path = folder.join(curve.file_name());
            plot::curve(&path.with_extension("svg"), &curve.name, &curve.x, &curve.y, &curve.series);
            let numbers = format!("{:#}\n", curve.json());
            std::fs::write(path.with_extension("json"), numbers)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
    }
}

impl Curve {
    /// Its name in small letters, digits and dashes.
    fn file_name(&self) -> String {
        let letters = self.name.to_lowercase();
        let words = letters.split(|letter: char| !letter.is_ascii_alphanumeric());
        words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-")
    }

    fn json(&self) -> Json {
        let series = self.series.iter().map(|(name, points)| json!({ "name": name, "points": points }));
        json!({ "curve": self.name, "x": self.x, "y": self.y, "series": series.collect::<Vec<_>>() })
    }

    /// A table with a row per place on the x axis.
    fn text(&self) -> String {
        let names: String = self.series.iter().map(|(name, _)| format!(" {name} |")).collect();
        let mut text = format!("{}: {}\n| {} |{names}\n| --- |", self.name, self.y, self.x)
            + &" --- |".repeat(self.series.len());
        for x in plot::places(&self.series) {
            let at = |points: &[(f64, f64)]| points.iter().find(|point| point.0 == x).map(|point| point.1);
            let heights = self.series.iter().map(|(_, points)| at(points).map_or(String::new(), plot::short));
            let cells: String = heights.map(|height| format!(" {height} |")).collect();
            write!(text, "\n| {} |{cells}", plot::short(x)).expect("text takes text");
        }
        text
    }
}

fn bounds(values: &[f64]) -> (f64, f64) {
    (values.iter().copied().fold(f64::INFINITY, f64::min), values.iter().copied().fold(0.0, f64::max))
}
