//! The graph of creations and deletions as an SVG file: operations a second and processor time, from the first key to the last.

use std::fmt::Write as _;

use crate::Slice;

const WIDTH: f64 = 720.0;
const PANEL: f64 = 190.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 40.0;
const GAP: f64 = 60.0;

/// One panel: what it shows, and a slice's figure.
type Panel = (&'static str, fn(&Slice) -> f64);

const PANELS: [Panel; 3] = [
    ("operations a second", |slice| slice.per_second),
    ("server CPU-seconds per 1,000", |slice| slice.cpu_s_per_1000),
    ("server memory, MB resident", |slice| slice.resident_mb),
];

/// The graph of both runs over so many keys.
pub(crate) fn draw(keys: u64, created: &[Slice], deleted: &[Slice]) -> String {
    let height = TOP + PANELS.len() as f64 * (PANEL + GAP);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"18\" font-size=\"14\">{keys} keys in one bucket: <tspan fill=\"#1f5fa8\">created</tspan>, \
         then <tspan fill=\"#b0471e\">deleted</tspan></text>\n"
    );
    for (number, (title, figure)) in PANELS.iter().enumerate() {
        let top = TOP + 16.0 + number as f64 * (PANEL + GAP);
        let most = created.iter().chain(deleted).map(figure).fold(0.0, f64::max) * 1.1;
        let _ = writeln!(out, "<text x=\"{LEFT}\" y=\"{}\">{title}</text>", top - 6.0);
        for step in 0..=4 {
            let y = top + PANEL * (1.0 - f64::from(step) / 4.0);
            let value = most * f64::from(step) / 4.0;
            let digits = if most < 10.0 { 2 } else { 0 };
            let _ = writeln!(
                out,
                "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#ddd\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{value:.digits$}</text>",
                WIDTH - 20.0,
                LEFT - 6.0,
                y + 4.0
            );
        }
        for (slices, colour) in [(created, "#1f5fa8"), (deleted, "#b0471e")] {
            let points: Vec<String> = slices
                .iter()
                .map(|slice| {
                    let x = LEFT + (WIDTH - 20.0 - LEFT) * slice.done as f64 / keys.max(1) as f64;
                    let y = top + PANEL * (1.0 - figure(slice) / most.max(1e-9));
                    format!("{x:.1},{y:.1}")
                })
                .collect();
            let _ = writeln!(
                out,
                "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{}\"/>",
                points.join(" ")
            );
        }
        for (part, anchor) in [(0.0, "start"), (1.0, "end")] {
            let _ = writeln!(
                out,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{:.0} keys</text>",
                LEFT + (WIDTH - 20.0 - LEFT) * part,
                top + PANEL + 16.0,
                keys as f64 * part
            );
        }
    }
    out.push_str("</svg>\n");
    out
}
