//! Curves as SVG, dark on white, so that they read alike on light and dark pages.

use std::path::Path;

use plotters::coord::Shift;
use plotters::coord::ranged1d::{KeyPointHint, KeyPointWeight, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::prelude::*;

const SIZE: (u32, u32) = (760, 420);
/// Room for the names of lines, behind their last points.
const NAMES: u32 = 150;
const LINE_HEIGHT: i32 = 17;
/// Told apart also by those who do not see all colours: Okabe and Ito's.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 135, 95),
    RGBColor(160, 70, 140),
    RGBColor(90, 90, 90),
    RGBColor(150, 110, 0),
];
const GRID: RGBColor = RGBColor(225, 225, 225);
const TEXT: RGBColor = RGBColor(40, 40, 40);
/// An axis on which the greatest value is so many times the least has decades.
const DECADES: f64 = 12.0;

/// Draws lines through points; axes that span more than a decade are logarithmic.
pub fn curve(path: &Path, title: &str, x_label: &str, y_label: &str, series: &[(String, Vec<(f64, f64)>)]) {
    draw(path, title, (x_label, y_label), series)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

fn draw(
    path: &Path,
    title: &str,
    labels: (&str, &str),
    series: &[(String, Vec<(f64, f64)>)],
) -> Result<(), Box<dyn std::error::Error>> {
    let (x, y) = (Scale::across(places(series)), Scale::upwards(series));
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let text = |size| ("sans-serif", size).into_font().color(&TEXT);
    let mut chart = ChartBuilder::on(&area)
        .caption(title, text(17))
        .margin(14)
        .margin_right(if series.len() > 1 { NAMES } else { 34 })
        .x_label_area_size(48)
        .y_label_area_size(70)
        .build_cartesian_2d(x, y)?;
    chart
        .configure_mesh()
        .bold_line_style(GRID)
        .axis_style(TEXT)
        .x_desc(labels.0)
        .y_desc(labels.1)
        .label_style(text(13))
        .axis_desc_style(text(14))
        .draw()?;
    let mut ends = Vec::new();
    for ((name, points), colour) in series.iter().zip(COLOURS.iter().cycle()) {
        chart.draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))?;
        chart.draw_series(points.iter().map(|point| Circle::new(*point, 4, colour.filled())))?;
        ends.extend(points.last().map(|last| (chart.backend_coord(last), name, *colour)));
    }
    if series.len() > 1 {
        name_lines(&area, ends)?;
    }
    area.present()?;
    Ok(())
}

/// Writes each line's name behind its last point, pushed down where another's stands there.
fn name_lines(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    mut ends: Vec<((i32, i32), &String, RGBColor)>,
) -> Result<(), Box<dyn std::error::Error>> {
    ends.sort_by_key(|(end, ..)| end.1);
    let mut free = 0;
    for ((x, y), name, colour) in ends {
        let top = (y - LINE_HEIGHT / 2).max(free);
        area.draw(&Text::new(name.clone(), (x + 10, top), ("sans-serif", 14).into_font().color(&colour)))?;
        free = top + LINE_HEIGHT;
    }
    Ok(())
}

/// Where lines have points, from left to right.
pub fn places(series: &[(String, Vec<(f64, f64)>)]) -> Vec<f64> {
    let mut places: Vec<f64> =
        series.iter().flat_map(|(_, points)| points.iter().map(|point| point.0)).collect();
    places.sort_by(f64::total_cmp);
    places.dedup();
    places
}

/// A number as axes and tables show it: three digits that count, in thousands, millions or billions.
pub fn short(value: f64) -> String {
    let (scaled, unit) = match value.abs() {
        size if size >= 1e9 => (value / 1e9, "G"),
        size if size >= 1e6 => (value / 1e6, "M"),
        size if size >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let whole_digits = scaled.abs().max(1.0).log10().floor() as usize + 1;
    let digits = match scaled.abs() {
        0.0 => 0,
        small if small < 1.0 => (2.0 - small.log10().floor()) as usize,
        _ => 3_usize.saturating_sub(whole_digits),
    };
    let text = format!("{scaled:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{unit}")
}

/// An axis: which values lie where, and which are written beside it.
struct Scale {
    logarithmic: bool,
    low: f64,
    high: f64,
    marked: Vec<f64>,
}

impl Scale {
    /// Marked where there are points.
    fn across(places: Vec<f64>) -> Scale {
        let (low, high) = (places.first().copied().unwrap_or(0.0), places.last().copied().unwrap_or(1.0));
        Scale { logarithmic: low > 0.0 && high / low > DECADES, low, high, marked: places }
    }

    /// From nothing, or of decades.
    fn upwards(series: &[(String, Vec<(f64, f64)>)]) -> Scale {
        let heights = || series.iter().flat_map(|(_, points)| points.iter().map(|point| point.1));
        let (low, high) = (heights().fold(f64::INFINITY, f64::min), heights().fold(0.0, f64::max));
        match low > 0.0 && low.is_finite() && high / low > DECADES {
            true => Scale::of_decades(low, high),
            false => Scale::from_zero(if high > 0.0 { high } else { 1.0 }),
        }
    }

    fn of_decades(low: f64, high: f64) -> Scale {
        let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
        // Few decades are marked at 2 and 5 as well.
        let steps: &[f64] = if last - first <= 3 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let decade = |decade: i32| steps.iter().map(move |step| step * 10_f64.powi(decade));
        let marks: Vec<f64> = (first..=last).flat_map(decade).collect();
        let below = marks.iter().copied().filter(|mark| *mark <= low).fold(marks[0], f64::max);
        let above = marks.iter().copied().find(|mark| *mark >= high).unwrap_or(high);
        let marked = marks.into_iter().filter(|mark| (below..=above).contains(mark)).collect();
        Scale { logarithmic: true, low: below, high: above, marked }
    }

    fn from_zero(high: f64) -> Scale {
        let rough = high / 5.0;
        let decade = 10_f64.powf(rough.log10().floor());
        let step =
            [1.0, 2.0, 2.5, 5.0, 10.0].map(|step| step * decade).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        let steps = (high * 1.02 / step).ceil();
        let marked = (0..=steps as i32).map(|nth| f64::from(nth) * step).collect();
        Scale { logarithmic: false, low: 0.0, high: steps * step, marked }
    }

    fn place(&self, value: f64) -> f64 {
        if self.logarithmic { value.log10() } else { value }
    }
}

impl Ranged for Scale {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (first, last): (i32, i32)) -> i32 {
        let (low, high) = (self.place(self.low), self.place(self.high));
        let share = (self.place(*value) - low) / (high - low);
        first + (share * f64::from(last - first)).round() as i32
    }

    /// The marks; between them is nothing.
    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        if matches!(hint.weight(), KeyPointWeight::Bold) { self.marked.clone() } else { Vec::new() }
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.low..self.high
    }
}

impl ValueFormatter<f64> for Scale {
    fn format(value: &f64) -> String {
        short(*value)
    }
}
