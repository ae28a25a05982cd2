//! Bars, with a line from the least to the greatest.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::Bars;

const WIDTH: i32 = 900;
const ROW: i32 = 34;
const TOP: i32 = 44;
/// Where bars begin; labels stand left of it.
const LEFT: i32 = 270;
const RIGHT: i32 = 120;
const OURS: RGBColor = RGBColor(0x1f, 0x6f, 0xb4);
const OTHERS: RGBColor = RGBColor(0xb0, 0xb6, 0xbe);

/// Draws them into a file.
#[expect(
    clippy::cast_possible_truncation,
    reason = "places on a picture of a thousand pixels"
)]
pub fn bars(path: &Path, bars: &Bars) -> Result<()> {
    let failed = |error| anyhow!("draw {}: {error}", path.display());
    let height = TOP + ROW * i32::try_from(bars.rows.len())? + 12;
    let size = (WIDTH.cast_unsigned(), height.cast_unsigned());
    let area = SVGBackend::new(path, size).into_drawing_area();
    area.fill(&WHITE).map_err(failed)?;
    let title = ("sans-serif", 17).into_font().into_text_style(&area);
    area.draw_text(&bars.title, &title, (14, 14)).map_err(failed)?;
    let most = bars.rows.iter().map(|(_, spread)| spread.greatest);
    let most = most.fold(f64::MIN_POSITIVE, f64::max);
    let x = |value: f64| LEFT + (value / most * f64::from(WIDTH - LEFT - RIGHT)) as i32;
    let plain = ("sans-serif", 14).into_font().into_text_style(&area);
    let before = plain.pos(Pos::new(HPos::Right, VPos::Center));
    let behind = plain.pos(Pos::new(HPos::Left, VPos::Center));
    for ((label, spread), row) in bars.rows.iter().zip(0..) {
        let (top, middle) = (TOP + row * ROW, TOP + row * ROW + ROW / 2 - 4);
        let colour = if label.starts_with("Strait") { OURS } else { OTHERS };
        area.draw_text(label, &before, (LEFT - 10, middle))
            .map_err(failed)?;
        let bar = [(LEFT, top), (x(spread.median), top + ROW - 9)];
        area.draw(&Rectangle::new(bar, colour.filled())).map_err(failed)?;
        let reach = [(x(spread.least), middle), (x(spread.greatest), middle)];
        area.draw(&PathElement::new(reach, BLACK.stroke_width(1)))
            .map_err(failed)?;
        let digits = if spread.median < 100.0 { 2 } else { 0 };
        let value = format!("{:.digits$}", spread.median);
        area.draw_text(&value, &behind, (x(spread.greatest) + 8, middle))
            .map_err(failed)?;
    }
    area.present().map_err(failed)
}
