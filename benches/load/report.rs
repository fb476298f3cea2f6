//! The report of figures and goals: a table for people, JSON for programs.

use serde_json::{Value, json};

use crate::measure::median;

/// One row of the table.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    title: String,
    unit: Unit,
    /// The values to compare with the goal, round by round: ratios, or figures of ours.
    rounds: Vec<f64>,
    /// Our figure and the baseline's, medians, with their unit.
    figures: Option<Figures>,
    goal: Option<Goal>,
    note: Option<String>,
}

#[derive(Debug, Clone)]
struct Figures {
    ours: f64,
    base: Option<f64>,
    base_name: String,
    unit: &'static str,
}

/// The limits that a value must not exceed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Goal {
    pub(crate) must: f64,
    pub(crate) stretch: f64,
}

/// The format of a figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Unit {
    Ratio,
    Percent,
    KiB,
    MiB,
    Count,
}

impl Row {
    /// A ratio of ours to a baseline's, taken within each round.
    pub(crate) fn ratio(
        title: &str,
        unit: &'static str,
        base_name: &str,
        rounds: &[(f64, f64)],
    ) -> Self {
        let (ours, base): (Vec<f64>, Vec<f64>) = rounds.iter().copied().unzip();
        Self {
            title: title.to_owned(),
            unit: Unit::Ratio,
            rounds: rounds.iter().map(|(ours, base)| ours / base).collect(),
            figures: Some(Figures {
                ours: median(&ours),
                base: Some(median(&base)),
                base_name: base_name.to_owned(),
                unit,
            }),
            goal: None,
            note: None,
        }
    }

    /// A figure of ours alone.
    pub(crate) fn figure(title: &str, unit: Unit, rounds: Vec<f64>) -> Self {
        Self { title: title.to_owned(), unit, rounds, figures: None, goal: None, note: None }
    }

    /// A row without a figure.
    pub(crate) fn absent(title: &str, why: &str) -> Self {
        let note = Some(why.to_owned());
        Self { note, ..Self::figure(title, Unit::Ratio, Vec::new()) }
    }

    pub(crate) fn failed(mode: &str, why: &str) -> Self {
        Self::absent(mode, &format!("failed: {why}"))
    }

    pub(crate) fn goal(mut self, must: f64, stretch: f64) -> Self {
        self.goal = Some(Goal { must, stretch });
        self
    }

    /// Removes the goal: the figures of a smoke run mean nothing.
    pub(crate) fn without_goal(self) -> Self {
        Self { goal: None, ..self }
    }

    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    fn measured(&self) -> Option<f64> {
        (!self.rounds.is_empty()).then(|| median(&self.rounds))
    }

    fn verdict(&self) -> &'static str {
        match (self.measured(), self.goal) {
            (Some(measured), Some(goal)) if measured <= goal.stretch => "stretch met",
            (Some(measured), Some(goal)) if measured <= goal.must => "met",
            (Some(_), Some(_)) => "NOT MET",
            (Some(_), None) => "",
            (None, _) => "not measured",
        }
    }

    fn details(&self) -> String {
        let figures = self.figures.as_ref().map(|figures| match figures.base {
            Some(base) => format!(
                "{} to {} {}, {}",
                short(figures.ours),
                short(base),
                figures.unit,
                figures.base_name
            ),
            None => format!("{} {}", short(figures.ours), figures.unit),
        });
        [figures, self.note.clone()].into_iter().flatten().collect::<Vec<_>>().join("; ")
    }
}

impl Unit {
    fn write(self, value: f64) -> String {
        match self {
            Self::Ratio => format!("{value:.2}"),
            Self::Percent => format!("{:.1} %", value * 100.0),
            Self::KiB => format!("{value:.1} KiB"),
            Self::MiB => format!("{value:.1} MiB"),
            Self::Count => format!("{value:.0}"),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Ratio => "ratio",
            Self::Percent => "share",
            Self::KiB => "KiB",
            Self::MiB => "MiB",
            Self::Count => "count",
        }
    }
}

/// Writes a table in Markdown.
pub(crate) fn table(rows: &[Row]) -> String {
    let head = ["", "measured", "must", "stretch", "", "figures"].map(str::to_owned);
    let mut lines = vec![head];
    for row in rows {
        let at_most = |bound: Option<f64>| {
            bound.map_or_else(String::new, |b| format!("≤ {}", row.unit.write(b)))
        };
        lines.push([
            row.title.clone(),
            row.measured().map_or_else(|| "–".to_owned(), |value| row.unit.write(value)),
            at_most(row.goal.map(|goal| goal.must)),
            at_most(row.goal.map(|goal| goal.stretch)),
            row.verdict().to_owned(),
            row.details(),
        ]);
    }
    let widths: Vec<usize> = (0..lines[0].len())
        .map(|at| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0).max(3))
        .collect();
    let write = |cells: &[String]| {
        let cells: Vec<String> =
            cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    let mut table = write(&lines[0]);
    table += &write(&rule);
    lines[1..].iter().for_each(|line| table += &write(line));
    table
}

/// Writes the same as JSON.
pub(crate) fn json(rows: &[Row]) -> String {
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| {
            json!({
                "title": row.title,
                "unit": row.unit.name(),
                "measured": row.measured(),
                "rounds": row.rounds,
                "must": row.goal.map(|goal| goal.must),
                "stretch": row.goal.map(|goal| goal.stretch),
                "verdict": row.verdict(),
                "ours": row.figures.as_ref().map(|figures| figures.ours),
                "base": row.figures.as_ref().and_then(|figures| figures.base),
                "base_name": row.figures.as_ref().map(|figures| &figures.base_name),
                "figures_unit": row.figures.as_ref().map(|figures| figures.unit),
                "note": row.note,
            })
        })
        .collect();
    format!("{:#}\n", json!({"version": env!("CARGO_PKG_VERSION"), "rows": rows}))
}

/// Writes three significant digits.
fn short(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
