//! What computes each model here: found by opening the pack, shown by `inspect`.

use std::io::Write;

use drafthorse::{CacheLayout, Engine, PlacementReport};
use serde::Serialize;

use crate::failure::Result;
use crate::format::{bytes, count};
use crate::inspect::line;
use crate::style::STRONG;

/// The engine's report, as shown.
#[derive(Debug, Serialize)]
pub(crate) struct Assignment {
    target: Placement,
    drafter: Option<Placement>,
    #[serde(skip_serializing_if = "Option::is_none")]
    drafter_missing: Option<String>,
    context_len: usize,
    cache_bytes: u64,
    /// Milliseconds of a pass, by rows for the target.
    costs: serde_json::Value,
}

/// Where one model's nodes run.
#[derive(Debug, Serialize)]
struct Placement {
    provider: &'static str,
    /// By provider as the runtime assigned them, most nodes first.
    nodes: Vec<(String, usize)>,
    cache_layout: &'static str,
    refused: Vec<(String, String)>,
}

impl From<&PlacementReport> for Placement {
    fn from(report: &PlacementReport) -> Self {
        Self {
            provider: report.provider.name(),
            nodes: report.nodes.clone(),
            cache_layout: match report.layout {
                CacheLayout::Shared => "shared buffer",
                CacheLayout::Growing => "growing",
            },
            refused: report.refused.iter().map(|(provider, reason)| (provider.to_string(), reason.clone())).collect(),
        }
    }
}

impl From<&Engine> for Assignment {
    fn from(engine: &Engine) -> Self {
        let report = engine.report();
        Self {
            target: (&report.target).into(),
            drafter: report.drafter.as_ref().map(Placement::from),
            drafter_missing: report.drafter_missing.clone(),
            context_len: report.context_len,
            cache_bytes: report.cache_bytes,
            costs: serde_json::to_value(&report.costs).expect("numbers serialise"),
        }
    }
}

impl Assignment {
    pub(crate) fn write(&self, out: &mut impl Write) -> Result<()> {
        writeln!(out, "\n{STRONG}on this machine{STRONG:#}")?;
        write_placement(out, "target", &self.target)?;
        if let Some(drafter) = &self.drafter {
            write_placement(out, "drafter", drafter)?;
        }
        if let Some(reason) = &self.drafter_missing {
            line(out, "drafter", &format!("not opened: {reason}"))?;
        }
        line(out, "session", &format!("{} tokens, {} of KV cache", count(self.context_len), bytes(self.cache_bytes)))?;
        let rows = self.costs["target_ms"].as_array().into_iter().flatten();
        let target: Vec<String> =
            rows.filter_map(|row| Some(format!("{} rows {:.2} ms", row[0], row[1].as_f64()?))).collect();
        line(out, "target's pass", &target.join(", "))?;
        if let Some(cost) = self.costs["drafter_ms"].as_f64() {
            line(out, "drafter's pass", &format!("1 row {cost:.2} ms"))?;
        }
        Ok(())
    }
}

fn write_placement(out: &mut impl Write, name: &str, placement: &Placement) -> Result<()> {
    let nodes: Vec<String> =
        placement.nodes.iter().map(|(provider, number)| format!("{number} on {provider}")).collect();
    line(out, name, &format!("{}; nodes: {}; {}", placement.provider, nodes.join(", "), placement.cache_layout))?;
    for (provider, reason) in &placement.refused {
        line(out, "", &format!("{provider} refused: {reason}"))?;
    }
    Ok(())
}
