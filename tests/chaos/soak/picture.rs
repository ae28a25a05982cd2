//! The samples as a picture: three panels over the same time, and where each phase begins.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;
use strait_tests::chaos::vitals::Sample;

const SIZE: (u32, u32) = (960, 720);

/// From then on.
pub struct Phase {
    pub from: f64,
    pub name: &'static str,
}

/// What it shows, in which colour.
type Panel = (&'static str, RGBColor, fn(&Sample) -> f64);

/// Draws them into a file.
#[allow(clippy::cast_precision_loss, reason = "as exact as pixels are")]
pub fn draw(path: &Path, samples: &[Sample], phases: &[Phase]) -> Result<()> {
    let panels: [Panel; 3] = [
        ("memory without pages of files, MiB", BLUE, |sample| {
            sample.vitals.anonymous_kib as f64 / 1024.0
        }),
        ("open files", RED, |sample| sample.vitals.files as f64),
        ("threads", BLACK, |sample| sample.vitals.threads as f64),
    ];
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE).map_err(failed)?;
    for ((name, colour, value), area) in panels.into_iter().zip(root.split_evenly((panels.len(), 1))) {
        let points: Vec<(f64, f64)> = samples
            .iter()
            .map(|sample| (sample.seconds, value(sample)))
            .collect();
        panel(&area, name, colour, &points, phases).map_err(failed)?;
    }
    root.present().map_err(failed)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Failed<'a> = DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>;

fn failed(error: impl std::error::Error) -> anyhow::Error {
    anyhow!("draw the samples: {error}")
}

fn panel<'a>(
    area: &Area<'a>,
    name: &str,
    colour: RGBColor,
    points: &[(f64, f64)],
    phases: &[Phase],
) -> Result<(), Failed<'a>> {
    let end = points.last().map_or(1.0, |(seconds, _)| *seconds);
    let top = points.iter().map(|(_, value)| *value).fold(1.0, f64::max) * 1.2;
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .caption(name, ("sans-serif", 15))
        .x_label_area_size(30)
        .y_label_area_size(50)
        .build_cartesian_2d(0.0..end, 0.0..top)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc("seconds")
        .y_labels(5)
        .y_label_formatter(&|value| format!("{value:.0}"))
        .x_label_formatter(&|seconds| format!("{seconds:.0}"))
        .draw()?;
    for Phase { from, name } in phases {
        let line = [(*from, 0.0), (*from, top)];
        chart.draw_series(LineSeries::new(line, BLACK.mix(0.4)))?;
        // At the right end there is room on the other side only.
        let beside = if *from > 0.9 * end {
            -end / 20.0
        } else {
            end / 200.0
        };
        let place = (*from + beside, top * 0.98);
        let text = Text::new(*name, place, ("sans-serif", 12).into_font());
        chart.plotting_area().draw(&text)?;
    }
    chart.draw_series(LineSeries::new(points.iter().copied(), colour))?;
    Ok(())
}
