//! Megabytes over hours, as SVG: what the index takes, and what is resident.

use std::fmt::Write as _;

const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 180.0;
const FOOT: f64 = 60.0;

/// Hours, and megabytes.
#[derive(Debug, Default)]
pub(super) struct Curve {
    pub(super) index: Vec<(f64, f64)>,
    pub(super) resident: Vec<(f64, f64)>,
}

pub(super) struct Panel {
    pub(super) name: String,
    pub(super) curve: Curve,
}

/// All panels beside each other, of one height.
pub(super) fn draw(panels: &[Panel]) -> String {
    let width = WIDTH * panels.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"40\" y=\"{}\" fill=\"#06c\">index, MB</text>\n\
         <text x=\"120\" y=\"{}\" fill=\"#b80\">resident, MB (with what the allocator holds of the run before)</text>\n",
        HEIGHT + FOOT,
        HEIGHT + 46.0,
        HEIGHT + 46.0
    );
    let most = panels.iter().flat_map(|panel| &panel.curve.resident).map(|&(_, y)| y).fold(1.0, f64::max);
    for (at, panel) in (0..).zip(panels) {
        draw_panel(&mut svg, WIDTH * f64::from(at), panel, most);
    }
    svg + "</svg>\n"
}

fn draw_panel(svg: &mut String, left: f64, panel: &Panel, most: f64) {
    let Panel { name, curve } = panel;
    let last = curve.index.last().map_or(1.0, |&(hour, _)| hour.max(1.0));
    let x = |hour: f64| left + 40.0 + (WIDTH - 60.0) * hour / last;
    let y = |megabytes: f64| HEIGHT - (HEIGHT - 40.0) * megabytes / most;
    let mut line = |text: String| writeln!(svg, "{text}").expect("to a String");
    line(format!("<text x=\"{}\" y=\"20\">{name}</text>", left + 40.0));
    line(format!("<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{most:.0}</text>", left + 36.0, y(most) + 4.0));
    line(format!("<text x=\"{}\" y=\"{HEIGHT}\" text-anchor=\"end\">0</text>", left + 36.0));
    line(format!("<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{last:.0} h</text>", x(last), HEIGHT + 18.0));
    line(format!("<path d=\"M{0} {1}V{HEIGHT}H{2}\" fill=\"none\" stroke=\"#888\"/>", x(0.0), y(most), x(last)));
    for (points, colour) in [(&curve.index, "#06c"), (&curve.resident, "#b80")] {
        let points: Vec<_> = points.iter().map(|&(hour, value)| format!("{:.1},{:.1}", x(hour), y(value))).collect();
        line(format!(
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{}\"/>",
            points.join(" ")
        ));
    }
}
