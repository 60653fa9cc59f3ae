//! A small chart writer: panels with axes, lines and markers, as one SVG that follows the reader's light or dark theme.
//!
//! A plotting crate draws with fixed colors; a README is read on both backgrounds. What we need of one is lines,
//! two kinds of axes and a legend.

use std::fmt::Write as _;

const PANEL_WIDTH: f64 = 430.0;
const PANEL_HEIGHT: f64 = 250.0;
/// Room in a panel around its plot: left for labels, right, top for the title, bottom for labels.
const LEFT: f64 = 66.0;
const RIGHT: f64 = 22.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 46.0;
/// Height of one line of the legend, and of the space below the last.
const LEGEND_LINE: f64 = 22.0;
const LEGEND_SPACE: f64 = 12.0;

const STYLE: &str = "\
text{font:12px system-ui,sans-serif;fill:#24292f}.small{font-size:11px;fill:#57606a}.title{font-weight:600}\
.back{fill:#fff}.grid{stroke:#d8dee4;stroke-width:1}.axis{stroke:#57606a;stroke-width:1}\
.line{fill:none;stroke-width:2;stroke-linejoin:round}.thin{stroke-width:1.3}.dashed{stroke-dasharray:6 4}\
.c0{color:#0b62c4}.c1{color:#c2410c}.c2{color:#15803d}.c3{color:#6e7781}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.small{fill:#9da7b1}.back{fill:#0d1117}.grid{stroke:#2b323b}\
.axis{stroke:#9da7b1}.c0{color:#6cb6ff}.c1{color:#ff9e64}.c2{color:#6bd08a}.c3{color:#9da7b1}}";

/// How numbers lie along an axis.
#[derive(Clone, Debug)]
pub(crate) enum Scale {
    /// From zero.
    Linear,
    /// Powers of ten.
    Log,
    /// Position 0, 1, 2 and so on, each with a name.
    Named(Vec<String>),
}

/// One axis: its scale, and its name with the unit.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    pub(crate) scale: Scale,
    pub(crate) label: &'static str,
}

/// One line.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    /// Which color and marker: 0 to 3.
    pub(crate) color: usize,
    pub(crate) dashed: bool,
    /// Whether each point has a marker.
    pub(crate) marked: bool,
    pub(crate) points: Vec<(f64, f64)>,
}

/// One plot of a chart.
#[derive(Clone, Debug)]
pub(crate) struct Panel {
    pub(crate) title: String,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) series: Vec<Series>,
}

/// Panels side by side below one legend.
#[derive(Clone, Debug)]
pub(crate) struct Chart {
    pub(crate) title: &'static str,
    /// Name, color, dashed.
    pub(crate) legend: Vec<(String, usize, bool)>,
    pub(crate) columns: usize,
    /// A panel's width in shares of the usual one.
    pub(crate) wide: f64,
    pub(crate) panels: Vec<Panel>,
}

/// Where the numbers of an axis are drawn.
struct Mapped {
    low: f64,
    high: f64,
    log: bool,
    from: f64,
    to: f64,
    /// Value and text of each mark.
    ticks: Vec<(f64, String)>,
}

impl Chart {
    /// The file.
    pub(crate) fn to_svg(&self) -> String {
        let panel_width = PANEL_WIDTH * self.wide;
        let columns = self.columns.clamp(1, self.panels.len().max(1));
        let rows = self.panels.len().div_ceil(columns);
        let width = panel_width * count(columns);
        let mut legend = String::new();
        let panels_top = self.legend(&mut legend, width);
        let height = panels_top + PANEL_HEIGHT * count(rows) + 4.0;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
             height=\"{height:.0}\" role=\"img\" aria-label=\"{0}\">\n<title>{0}</title>\n<style>{STYLE}</style>\n\
             <rect class=\"back\" width=\"100%\" height=\"100%\"/>\n",
            escaped(self.title)
        );
        svg.push_str(&legend);
        for (at, panel) in self.panels.iter().enumerate() {
            let left = panel_width * count(at % columns);
            let top = panels_top + PANEL_HEIGHT * count(at / columns);
            panel.draw(&mut svg, (left, top, panel_width));
        }
        svg.push_str("</svg>\n");
        svg
    }

    /// Draws the legend, in as many lines as it takes; returns where it ends.
    fn legend(&self, svg: &mut String, width: f64) -> f64 {
        let (mut x, mut y) = (18.0, 18.0);
        for (name, color, dashed) in &self.legend {
            let room = 48.0 + 6.8 * count(name.chars().count());
            if x + room > width {
                (x, y) = (18.0, y + LEGEND_LINE);
            }
            let dash = if *dashed { " dashed" } else { "" };
            put(
                svg,
                format_args!(
                    "<g class=\"c{color}\"><path class=\"line{dash}\" stroke=\"currentColor\" d=\"M{x:.0} {y:.0}h26\"/>"
                ),
            );
            marker(svg, *color, x + 13.0, y);
            put(
                svg,
                format_args!(
                    "</g><text x=\"{:.0}\" y=\"{:.0}\">{}</text>\n",
                    x + 33.0,
                    y + 4.0,
                    escaped(name)
                ),
            );
            x += room;
        }
        y + LEGEND_SPACE
    }
}

impl Panel {
    fn draw(&self, svg: &mut String, (left, top, width): (f64, f64, f64)) {
        let (x0, x1) = (left + LEFT, left + width - RIGHT);
        let (y0, y1) = (top + PANEL_HEIGHT - BOTTOM, top + TOP);
        let points = || self.series.iter().flat_map(|series| &series.points);
        let x = Mapped::new(&self.x.scale, points().map(|point| point.0), (x0, x1));
        let y = Mapped::new(&self.y.scale, points().map(|point| point.1), (y0, y1));
        put(
            svg,
            format_args!(
                "<text class=\"title\" x=\"{x0:.0}\" y=\"{:.0}\">{}</text>\n",
                top + 16.0,
                escaped(&self.title)
            ),
        );
        for (value, text) in &y.ticks {
            let at = y.place(*value);
            put(
                svg,
                format_args!(
                    "<path class=\"grid\" d=\"M{x0:.1} {at:.1}H{x1:.1}\"/><text class=\"small\" text-anchor=\"end\" \
                     x=\"{:.1}\" y=\"{:.1}\">{text}</text>\n",
                    x0 - 6.0,
                    at + 4.0
                ),
            );
        }
        for (value, text) in &x.ticks {
            let at = x.place(*value);
            put(
                svg,
                format_args!(
                    "<path class=\"axis\" d=\"M{at:.1} {y0:.1}v4\"/><text class=\"small\" text-anchor=\"middle\" \
                     x=\"{at:.1}\" y=\"{:.1}\">{text}</text>\n",
                    y0 + 17.0
                ),
            );
        }
        put(
            svg,
            format_args!(
                "<path class=\"axis\" fill=\"none\" d=\"M{x0:.1} {y1:.1}V{y0:.1}H{x1:.1}\"/>\
                 <text class=\"small\" text-anchor=\"middle\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\
                 <text class=\"small\" text-anchor=\"end\" x=\"{x1:.1}\" y=\"{:.1}\">{}</text>\n",
                f64::midpoint(x0, x1),
                y0 + 34.0,
                escaped(self.x.label),
                top + 16.0,
                escaped(self.y.label)
            ),
        );
        for series in &self.series {
            series.draw(svg, &x, &y);
        }
    }
}

impl Series {
    fn draw(&self, svg: &mut String, x: &Mapped, y: &Mapped) {
        let places: Vec<(f64, f64)> = self
            .points
            .iter()
            .map(|(a, b)| (x.place(*a), y.place(*b)))
            .collect();
        let path: Vec<String> = places
            .iter()
            .map(|(a, b)| format!("{a:.1} {b:.1}"))
            .collect();
        let dash = if self.dashed { " dashed" } else { "" };
        let thin = if self.marked { "" } else { " thin" };
        put(
            svg,
            format_args!(
                "<g class=\"c{}\"><path class=\"line{dash}{thin}\" stroke=\"currentColor\" d=\"M{}\"/>",
                self.color,
                path.join("L")
            ),
        );
        if self.marked {
            for (a, b) in places {
                marker(svg, self.color, a, b);
            }
        }
        svg.push_str("</g>\n");
    }
}

/// A mark whose shape says the same as its color.
fn marker(svg: &mut String, shape: usize, x: f64, y: f64) {
    let drawn = match shape {
        0 => format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.4\" fill=\"currentColor\"/>"),
        1 => format!(
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"6.4\" height=\"6.4\" fill=\"currentColor\"/>",
            x - 3.2,
            y - 3.2
        ),
        2 => format!(
            "<path d=\"M{x:.1} {:.1}l4 7h-8z\" fill=\"currentColor\"/>",
            y - 4.2
        ),
        _ => format!(
            "<path d=\"M{x:.1} {:.1}l4 4l-4 4l-4 -4z\" fill=\"currentColor\"/>",
            y - 4.0
        ),
    };
    svg.push_str(&drawn);
}

impl Mapped {
    fn new(scale: &Scale, values: impl Iterator<Item = f64>, (from, to): (f64, f64)) -> Self {
        let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values {
            least = least.min(value);
            most = most.max(value);
        }
        if least > most {
            (least, most) = (1.0, 10.0);
        }
        match scale {
            Scale::Linear => {
                let step = nice_step(most / 5.0);
                let steps = (most / step).ceil().max(1.0);
                let ticks = ticks_to(steps).map(|at| (at * step, number(at * step)));
                let ticks = ticks.collect();
                let high = steps * step;
                Self {
                    low: 0.0,
                    high,
                    log: false,
                    from,
                    to,
                    ticks,
                }
            }
            Scale::Log => {
                let low = least.max(1e-9).log10().floor();
                let high = most.max(1e-9).log10().ceil().max(low + 1.0);
                let ticks = ticks_to(high - low).map(|at| {
                    let value = 10_f64.powf(low + at);
                    (value, number(value))
                });
                let ticks = ticks.collect();
                Self {
                    low,
                    high,
                    log: true,
                    from,
                    to,
                    ticks,
                }
            }
            Scale::Named(names) => {
                let ticks = names.iter().enumerate();
                let ticks = ticks.map(|(at, name)| (count(at), escaped(name))).collect();
                let high = count(names.len()) - 0.6;
                Self {
                    low: -0.4,
                    high,
                    log: false,
                    from,
                    to,
                    ticks,
                }
            }
        }
    }

    fn place(&self, value: f64) -> f64 {
        let value = if self.log {
            value.max(1e-9).log10()
        } else {
            value
        };
        let share = (value - self.low) / (self.high - self.low);
        self.from + (self.to - self.from) * share
    }
}

/// 0, 1, 2 and so on up to `last`.
fn ticks_to(last: f64) -> impl Iterator<Item = f64> {
    std::iter::successors(Some(0.0), |at| Some(at + 1.0)).take_while(move |at| *at <= last + 0.01)
}

/// 1, 2 or 5 times a power of ten, at least `step`.
fn nice_step(step: f64) -> f64 {
    let power = 10_f64.powf(step.max(1e-9).log10().floor());
    let times = [1.0, 2.0, 5.0, 10.0];
    times
        .into_iter()
        .map(|times| times * power)
        .find(|nice| *nice >= step * 0.999)
        .unwrap_or(step)
}

/// A number short enough for an axis.
fn number(value: f64) -> String {
    let trimmed = |value: f64, unit: &str| {
        let text = format!("{value:.2}");
        let text = text.trim_end_matches('0').trim_end_matches('.');
        format!("{text}{unit}")
    };
    match value {
        v if v >= 1e9 => trimmed(v / 1e9, " G"),
        v if v >= 1e6 => trimmed(v / 1e6, " M"),
        v if v >= 1e3 => trimmed(v / 1e3, " k"),
        v => trimmed(v, ""),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a chart has few panels and marks"
)]
fn count(items: usize) -> f64 {
    items as f64
}

fn put(svg: &mut String, text: std::fmt::Arguments<'_>) {
    let written = svg.write_fmt(text);
    debug_assert!(written.is_ok(), "writing to a String cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_lies_inside_its_panel() {
        for scale in [Scale::Linear, Scale::Log] {
            let values = [0.004, 17.0, 812.0, 99_000.0];
            let axis = Mapped::new(&scale, values.into_iter(), (100.0, 20.0));
            for value in values {
                assert!((20.0..=100.0).contains(&axis.place(value)), "{scale:?}");
            }
            assert!(axis.ticks.len() >= 3, "{scale:?}");
        }
    }

    #[test]
    fn names_are_escaped() {
        assert_eq!(escaped("a<b & \"c\""), "a&lt;b &amp; &quot;c&quot;");
    }
}
