//! Figures, their spread, and how they are shown.

use serde_json::json;

/// One ratio, measured in several rounds.
struct Figure {
    name: String,
    /// What each side is, ours first.
    sides: (String, String),
    rounds: Vec<f64>,
}

/// One side of what is measured against something that grows.
struct Series {
    name: String,
    /// What grows.
    against: String,
    side: String,
    points: Vec<(f64, f64)>,
}

#[derive(Default)]
pub struct Table {
    figures: Vec<Figure>,
    series: Vec<Series>,
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

    /// Seconds against something that grows: not a ratio, but a curve.
    pub fn add_points(&mut self, name: &str, against: &str, side: &str, points: Vec<(f64, f64)>) {
        let shown: Vec<String> = points.iter().map(|(x, seconds)| format!("{x} {seconds:.3} s")).collect();
        println!("{name}: {side}: {}", shown.join(", "));
        let (name, against, side) = (name.to_string(), against.to_string(), side.to_string());
        self.series.push(Series { name, against, side, points });
    }

    pub fn print(&self) {
        println!(
            "\n| ratio | median | min | max | ours | bare limit |\n| --- | --- | --- | --- | --- | --- |"
        );
        for Figure { name, sides, rounds } in &self.figures {
            let (low, high) = bounds(rounds);
            println!("| {name} | {:.3} | {low:.3} | {high:.3} | {} | {} |", median(rounds), sides.0, sides.1);
        }
        for Series { name, against, side, points } in &self.series {
            println!("\n{name}: {side}\n\n| {against} | seconds |\n| --- | --- |");
            points.iter().for_each(|(x, seconds)| println!("| {x} | {seconds:.3} |"));
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
        let series: Vec<_> = (self.series.iter())
            .map(|Series { name, against, side, points }| {
                json!({ "name": name, "against": against, "side": side, "points": points })
            })
            .collect();
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        format!("{:#}\n", json!({ "cores": cores, "figures": figures, "series": series }))
    }
}

fn bounds(values: &[f64]) -> (f64, f64) {
    (values.iter().copied().fold(f64::INFINITY, f64::min), values.iter().copied().fold(0.0, f64::max))
}
