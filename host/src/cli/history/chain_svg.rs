//! Chains as an SVG document for a report: time from left to right, levels from top to bottom, an arrow from each dump to
//! its base. It stands alone, and takes light or dark colors as its reader has them.

use crate::cli::history::chain::{Below, Forest, Node};
use crate::cli::history::recorded::Recordings;
use crate::cli::list::utc;
use crate::state::StateDir;
use std::fmt::Write as _;
use tapedump_core::chain::Outcome;

/// Between two dumps at least, however close their dates are.
const STEP_MIN: f64 = 34.0;
/// What the time from the first dump to the last is wide, as far as there is room for the steps.
const SPAN: f64 = 760.0;
const LEFT: f64 = 96.0;
const RIGHT: f64 = 72.0;
const HEAD: f64 = 64.0;
const ROW: f64 = 56.0;
/// For the dates below the rows.
const FOOT: f64 = 64.0;
const LEGEND: f64 = 48.0;
const WIDTH_MIN: f64 = 640.0;
/// Between two dates that are written out.
const DATE_STEP: f64 = 84.0;
const RADIUS: f64 = 7.0;

const STYLE: &str = "
svg { --ground: #ffffff; --ink: #1f2430; --faint: #6b7280; --line: #d9dde4; --other: #8b93a3; --needed: #1d6fd1;
  --flaw: #b45309; --gone: #c02626; background: var(--ground); font-family: system-ui, 'Segoe UI', 'Noto Sans', sans-serif; }
@media (prefers-color-scheme: dark) { svg { --ground: #14171d; --ink: #e6e9ef; --faint: #98a1b0; --line: #2c323d;
  --other: #7c8698; --needed: #6cb0ff; --flaw: #f0a63c; --gone: #ff7b72; } }
.ground { fill: var(--ground); } text { fill: var(--ink); font-size: 12px; }
.title { font-size: 16px; font-weight: 600; } .note, .date { fill: var(--faint); font-size: 11px; } .date { text-anchor: middle; }
.level { text-anchor: end; } .id { font-family: ui-monospace, 'DejaVu Sans Mono', monospace; font-size: 10px; fill: var(--faint);
  text-anchor: middle; }
.row { stroke: var(--line); } .tick { stroke: var(--line); stroke-dasharray: 2 4; }
.edge { fill: none; stroke: var(--other); stroke-width: 1.5; } .edge.needed { stroke: var(--needed); stroke-width: 3; }
.edge.gone { stroke: var(--gone); stroke-dasharray: 4 3; } .head { fill: var(--other); } .head.needed { fill: var(--needed); }
.dump { fill: var(--ground); stroke: var(--other); stroke-width: 2; } .dump.needed { fill: var(--needed); stroke: var(--needed); }
.dump.flaw { stroke: var(--flaw); } .dump.failed, .base { stroke: var(--gone); } .base { fill: none; stroke-width: 2;
  stroke-dasharray: 3 2; } .cross { stroke: var(--gone); stroke-width: 2; }
";

/// The dumps of these trees, one drawing below the other.
pub fn document(recordings: &Recordings, forests: &[Forest<'_>], state: &StateDir) -> String {
    let panels: Vec<Panel<'_, '_>> = forests.iter().map(Panel::of).collect();
    let width = panels.iter().map(|panel| panel.width).fold(WIDTH_MIN, f64::max);
    let height = panels.iter().map(Panel::height).sum::<f64>() + LEGEND;
    let mut svg = String::new();
    _ = write!(
        svg,
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" \
         height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\">\n<title>Increment chains</title>\n\
         <style>{STYLE}</style>\n<defs>{}{}</defs>\n<rect class=\"ground\" width=\"100%\" height=\"100%\"/>\n",
        arrow_head("arrow", "head"),
        arrow_head("arrow-needed", "head needed"),
    );
    let mut top = 0.0;
    for panel in &panels {
        panel.draw(recordings, state, top, width, &mut svg);
        top += panel.height();
    }
    legend(top, &mut svg);
    svg.push_str("</svg>\n");
    svg
}

fn arrow_head(id: &str, class: &str) -> String {
    format!(
        "<marker id=\"{id}\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" \
         markerUnits=\"userSpaceOnUse\" orient=\"auto\"><path class=\"{class}\" d=\"M0 0L8 4L0 8z\"/></marker>"
    )
}

/// One tree.
struct Panel<'f, 'r> {
    forest: &'f Forest<'r>,
    /// Where each dump stands.
    xs: Vec<f64>,
    /// The levels that there are, the lowest first: one row each.
    levels: Vec<u32>,
    width: f64,
}

impl<'f, 'r> Panel<'f, 'r> {
    fn of(forest: &'f Forest<'r>) -> Self {
        let times: Vec<f64> = forest.nodes.iter().map(|node| node.recorded.dump.date.secs as f64).collect();
        let xs = places(&times);
        let mut levels: Vec<u32> =
            forest.nodes.iter().map(|node| node.recorded.dump.level.number()).collect();
        levels.sort_unstable();
        levels.dedup();
        let width = xs.last().copied().unwrap_or(LEFT) + RIGHT;
        Self { forest, xs, levels, width }
    }

    fn height(&self) -> f64 {
        HEAD + ROW * self.levels.len() as f64 + FOOT
    }

    fn y(&self, node: &Node<'_>) -> f64 {
        let level = node.recorded.dump.level.number();
        let row = self.levels.iter().position(|known| *known == level).unwrap_or(0);
        HEAD + ROW * (row as f64 + 0.5)
    }

    fn draw(&self, recordings: &Recordings, state: &StateDir, top: f64, width: f64, svg: &mut String) {
        _ = writeln!(svg, "<g transform=\"translate(0 {top:.0})\">");
        _ = writeln!(
            svg,
            "<text class=\"title\" x=\"24\" y=\"32\">{}</text>",
            escaped(&self.forest.tree.label)
        );
        let note = match &self.forest.broken {
            Some(why) => format!("the newest dump cannot be restored: {why}"),
            None => {
                let needed = self.forest.nodes.iter().filter(|node| node.needed).count();
                format!("{} dumps; a restore of the newest reads {needed}", self.forest.nodes.len())
            }
        };
        _ = writeln!(svg, "<text class=\"note\" x=\"24\" y=\"50\">{}</text>", escaped(&note));
        for (row, level) in self.levels.iter().enumerate() {
            let y = HEAD + ROW * (row as f64 + 0.5);
            _ = writeln!(
                svg,
                "<path class=\"row\" d=\"M{:.0} {y:.1}H{:.0}\"/><text class=\"level\" x=\"{:.0}\" y=\"{:.1}\">level \
                 {level}</text>",
                LEFT - 16.0,
                width - 24.0,
                LEFT - 24.0,
                y + 4.0
            );
        }
        self.dates(svg);
        // Those of the newest chain last, so that they are on top.
        for needed in [false, true] {
            for (index, node) in self.forest.nodes.iter().enumerate() {
                self.edge(index, node, needed, svg);
            }
        }
        for (x, node) in self.xs.iter().zip(&self.forest.nodes) {
            self.dump(recordings, state, *x, node, svg);
        }
        svg.push_str("</g>\n");
    }

    /// Dates below the dumps, as many as there is room for; the last one always.
    fn dates(&self, svg: &mut String) {
        let bottom = HEAD + ROW * self.levels.len() as f64;
        let last = self.xs.last().copied().unwrap_or(LEFT);
        let mut free = f64::MIN;
        for (x, node) in self.xs.iter().zip(&self.forest.nodes) {
            if *x < free || (*x < last && last - *x < DATE_STEP) {
                continue;
            }
            free = *x + DATE_STEP;
            let text = utc(node.recorded.dump.date.secs);
            let (day, time) = text.split_once(' ').unwrap_or((&text, ""));
            _ = writeln!(
                svg,
                "<path class=\"tick\" d=\"M{x:.1} {HEAD:.0}V{:.1}\"/><text class=\"date\" x=\"{x:.1}\" \
                 y=\"{:.1}\">{day}</text><text class=\"date\" x=\"{x:.1}\" y=\"{:.1}\">{time}</text>",
                bottom + 6.0,
                bottom + 20.0,
                bottom + 34.0
            );
        }
    }

    fn edge(&self, index: usize, node: &Node<'_>, needed: bool, svg: &mut String) {
        let (x, y) = (self.xs[index], self.y(node));
        match node.below {
            Below::Ground => {}
            Below::Dump(base) => {
                let below = &self.forest.nodes[base];
                if (node.needed && below.needed) != needed {
                    return;
                }
                let (class, head) = if needed { ("edge needed", "arrow-needed") } else { ("edge", "arrow") };
                let (to_x, to_y) = (self.xs[base] + RADIUS + 3.0, self.y(below));
                let bend = (x - to_x) / 2.0;
                _ = writeln!(
                    svg,
                    "<path class=\"{class}\" marker-end=\"url(#{head})\" d=\"M{x:.1} {y:.1}C{:.1} {y:.1} {:.1} \
                     {to_y:.1} {to_x:.1} {to_y:.1}\"/>",
                    x - bend,
                    to_x + bend
                );
            }
            Below::Missing(_) if !needed => {
                let (to_x, to_y) = (x - STEP_MIN / 2.0, y - ROW / 2.0);
                _ = writeln!(
                    svg,
                    "<path class=\"edge gone\" d=\"M{x:.1} {y:.1}L{to_x:.1} {to_y:.1}\"/><circle class=\"base\" \
                     cx=\"{to_x:.1}\" cy=\"{to_y:.1}\" r=\"5\"/>"
                );
            }
            Below::Missing(_) => {}
        }
    }

    fn dump(&self, recordings: &Recordings, state: &StateDir, x: f64, node: &Node<'_>, svg: &mut String) {
        let recorded = node.recorded;
        let y = self.y(node);
        let mut class = String::from("dump");
        if node.needed {
            class.push_str(" needed");
        }
        match recorded.dump.outcome {
            Outcome::Good => {}
            Outcome::Incomplete { .. } => class.push_str(" flaw"),
            Outcome::Failed => class.push_str(" failed"),
        }
        let short = recordings.short(recorded.dump.id);
        let missing = if matches!(node.below, Below::Missing(_)) { ", its base is missing" } else { "" };
        let file = recorded.file().map_or_else(String::new, |file| format!(", tape file {file}"));
        let told = format!(
            "{short}: level {} of {}, on {}{file}: {}{missing}",
            recorded.dump.level,
            utc(recorded.dump.date.secs),
            recorded.tape(state),
            recorded.outcome()
        );
        _ = write!(
            svg,
            "<g><title>{}</title><circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{RADIUS}\"/>",
            escaped(&told)
        );
        if recorded.dump.outcome == Outcome::Failed {
            _ = write!(svg, "{}", cross(x, y));
        }
        // The dumps of a row are not closer than the steps, and four digits fit between these.
        let digits: String = short.chars().take(4).collect();
        _ = writeln!(svg, "<text class=\"id\" x=\"{x:.1}\" y=\"{:.1}\">{digits}</text></g>", y + 21.0);
    }
}

fn cross(x: f64, y: f64) -> String {
    let (left, right, top, bottom) = (x - 3.0, x + 3.0, y - 3.0, y + 3.0);
    format!(
        "<path class=\"cross\" d=\"M{left:.1} {top:.1}L{right:.1} {bottom:.1}M{left:.1} {bottom:.1}L{right:.1} {top:.1}\"/>"
    )
}

/// Where the dumps of these times stand: in proportion to the time between them, beyond a least step each.
fn places(times: &[f64]) -> Vec<f64> {
    let total = times.last().zip(times.first()).map_or(0.0, |(last, first)| last - first).max(1.0);
    let steps = times.len().saturating_sub(1) as f64 * STEP_MIN;
    let room = (SPAN - steps).max(0.0);
    let mut x = LEFT + 12.0;
    let mut places = Vec::with_capacity(times.len());
    for (index, time) in times.iter().enumerate() {
        if let Some(before) = index.checked_sub(1).and_then(|before| times.get(before)) {
            x += STEP_MIN + (time - before) / total * room;
        }
        places.push(x);
    }
    places
}

fn legend(top: f64, svg: &mut String) {
    let y = top + 20.0;
    let entries = [
        ("dump needed", "read by a restore of the newest dump"),
        ("dump", "other dump"),
        ("dump flaw", "incomplete"),
        ("dump failed", "failed"),
        ("base", "base missing"),
    ];
    let mut x = 32.0;
    for (class, text) in entries {
        _ = write!(svg, "<circle class=\"{class}\" cx=\"{x:.0}\" cy=\"{y:.0}\" r=\"6\"/>");
        if class.ends_with("failed") {
            svg.push_str(&cross(x, y));
        }
        _ = writeln!(svg, "<text class=\"note\" x=\"{:.0}\" y=\"{:.0}\">{text}</text>", x + 12.0, y + 4.0);
        x += 44.0 + 6.2 * text.len() as f64;
    }
}

/// Text as XML has it. Labels were made printable before, so that there are no control characters.
fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut escaped, c| {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // Which XML does not have at all.
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::history::chain::tests::documented;
    use crate::cli::history::recorded::tests::recorded;

    fn drawn(recordings: &Recordings) -> String {
        let forests: Vec<Forest<'_>> =
            recordings.trees.iter().map(|tree| Forest::of(recordings, tree)).collect();
        document(recordings, &forests, &StateDir::at("/state".into()))
    }

    #[test]
    fn each_dump_has_its_place_and_each_base_its_arrow() {
        let mut recordings = documented();
        recordings.dumps.retain(|recorded| recorded.dump.id.0[0] < 6);
        let svg = drawn(&recordings);
        assert_eq!(svg.matches("class=\"dump needed\" cx").count(), 3 + 1, "three, and one of the legend");
        assert_eq!(svg.matches("class=\"edge needed\"").count(), 2);
        assert_eq!(svg.matches("class=\"edge\"").count(), 2);
        assert_eq!(svg.matches("class=\"edge gone\"").count(), 0);
        for level in 0..5 {
            assert!(svg.contains(&format!(">level {level}</text>")), "{svg}");
        }
        assert!(drawn(&documented()).contains("class=\"edge gone\""));
        assert!(drawn(&Recordings::default()).ends_with("</svg>\n"));
    }

    #[test]
    fn time_goes_on_to_the_right_by_a_step_at_least() {
        let xs = places(&[0.0, 1.0, 2.0, 1000.0]);
        assert!(xs.windows(2).all(|pair| pair[1] - pair[0] >= STEP_MIN), "{xs:?}");
        assert!(xs[3] - xs[2] > 10.0 * (xs[1] - xs[0]), "{xs:?}");
        assert!((xs[3] - xs[0] - SPAN).abs() < 1e-6, "{xs:?}");
        let crowd: Vec<f64> = (0..1000).map(f64::from).collect();
        assert!(places(&crowd).windows(2).all(|pair| pair[1] - pair[0] >= STEP_MIN - 1e-6));
        assert_eq!(places(&[5.0]).len(), 1);
        assert_eq!(places(&[5.0, 5.0])[1] - places(&[5.0, 5.0])[0], STEP_MIN);
    }

    #[test]
    fn text_is_escaped() {
        let mut dump = recorded("<script>&\"'", 1, 0, None);
        dump.places = vec!["/tapes/<b>".into()];
        let svg = drawn(&Recordings::of(vec![dump], Vec::new()));
        assert!(svg.contains("/&lt;script&gt;&amp;&quot;&#39;") && svg.contains("/tapes/&lt;b&gt;"), "{svg}");
        assert!(!svg.contains("<script>") && !svg.contains("<b>"));
    }
}
