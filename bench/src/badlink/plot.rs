//! Goodput and time to PERSISTED over loss, as SVG.

use std::fmt::Write as _;

const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 220.0;
const COLOURS: [&str; 4] = ["#06c", "#0a5", "#c33", "#b80"];

/// One way of uploading: what was measured at each per cent of loss.
pub(super) struct Curve {
    pub(super) name: &'static str,
    pub(super) goodput: Vec<(u32, f64)>,
    pub(super) p50: Vec<(u32, f64)>,
}

pub(super) fn draw(curves: &[Curve]) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
        2.0 * WIDTH,
        HEIGHT + 60.0
    );
    panel(&mut svg, 0.0, "goodput, Mbit/s", curves, |curve| &curve.goodput);
    panel(&mut svg, WIDTH, "live: seconds until PERSISTED, p50", curves, |curve| &curve.p50);
    for (at, (curve, colour)) in curves.iter().zip(COLOURS).enumerate() {
        let x = 40.0 + 140.0 * at as f64;
        writeln!(svg, "<text x=\"{x}\" y=\"{}\" fill=\"{colour}\">{}</text>", HEIGHT + 50.0, curve.name)
            .expect("to a String");
    }
    svg + "</svg>\n"
}

fn panel(svg: &mut String, left: f64, title: &str, curves: &[Curve], of: impl Fn(&Curve) -> &Vec<(u32, f64)>) {
    let points = || curves.iter().flat_map(|curve| of(curve).iter().copied());
    let most = points().map(|(_, y)| y).fold(0.001, f64::max);
    let widest = f64::from(points().map(|(x, _)| x).max().unwrap_or(1).max(1));
    let x = |loss: u32| left + 40.0 + (WIDTH - 60.0) * f64::from(loss) / widest;
    let y = |value: f64| HEIGHT - (HEIGHT - 40.0) * value / most;
    let mut line = |text: String| writeln!(svg, "{text}").expect("to a String");
    line(format!("<text x=\"{}\" y=\"20\">{title}</text>", left + 40.0));
    line(format!("<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{most:.1}</text>", left + 36.0, y(most) + 4.0));
    line(format!("<text x=\"{}\" y=\"{HEIGHT}\" text-anchor=\"end\">0</text>", left + 36.0));
    line(format!(
        "<path d=\"M{0} {1}V{HEIGHT}H{2}\" fill=\"none\" stroke=\"#888\"/>",
        x(0),
        y(most),
        left + WIDTH - 20.0
    ));
    for (loss, _) in curves.first().map(&of).into_iter().flatten() {
        line(format!("<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{loss} %</text>", x(*loss), HEIGHT + 18.0));
    }
    for (curve, colour) in curves.iter().zip(COLOURS) {
        let points: Vec<_> = of(curve).iter().map(|&(loss, value)| format!("{:.1},{:.1}", x(loss), y(value))).collect();
        line(format!(
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{}\"/>",
            points.join(" ")
        ));
    }
}
