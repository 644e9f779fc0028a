//! The card that a person reads: README.md of a pack.

use std::fmt::Write;

use drafthorse_pack::Manifest;

use super::{ExportRecipe, Parity};

/// The card as Markdown.
pub(super) fn markdown(recipe: &ExportRecipe, manifest: &Manifest, parity: &[Parity]) -> String {
    let card = &recipe.card;
    let mut text = format!("# {}\n\n{}\n\nLicence: {}\n", card.name, card.summary, card.licence);
    let lineage = manifest.drafter.as_ref().and_then(|drafter| drafter.lineage.as_ref());
    // Writing to a String cannot fail.
    if let Some(lineage) = lineage {
        let (drafter, target) = (lineage.parameters.unwrap_or(0), lineage.target_parameters.unwrap_or(1));
        let share = 100.0 * drafter as f64 / target as f64;
        let _ = write!(text, "\nTarget: {target} parameters. Drafter: {drafter}, {share:.1} % of it.\n");
        if !lineage.losses.is_empty() {
            let _ = writeln!(text, "The drafter was trained with: {}.", lineage.losses.join(", then "));
        }
    }
    if !recipe.data.is_empty() {
        text.push_str("\n## Data\n\n| data | licence | source |\n|---|---|---|\n");
        for data in &recipe.data {
            let source = data.source.as_deref().unwrap_or("");
            let _ = writeln!(text, "| {} | {} | {source} |", data.name, data.licence);
        }
    }
    if !manifest.acceptance.is_empty() {
        text.push_str("\n## Acceptance on held-out prompts\n\n");
        text.push_str("| task | temperature | drafted | α | tokens per target call |\n|---|---|---|---|---|\n");
        for row in &manifest.acceptance {
            let efficiency = row.block_efficiency.map_or_else(String::new, |value| format!("{value:.2}"));
            let (task, heat, len, rate) = (&row.task, row.temperature, row.draft_len, row.acceptance);
            let _ = writeln!(text, "| {task} | {heat} | {len} | {rate:.3} | {efficiency} |");
        }
    }
    text.push_str("\n## Exported against trained logits\n\n");
    text.push_str("| model | weights | rows | rms difference | same likeliest token |\n|---|---|---|---|---|\n");
    for row in parity {
        let (name, rows, rms, same) = (&row.model, row.rows, row.rms, 100.0 * row.argmax_agreement);
        let _ = writeln!(text, "| {name} | {:?} | {rows} | {rms:.5} | {same:.1} % |", row.precision);
    }
    if !card.limits.is_empty() {
        text.push_str("\n## What it cannot do\n\n");
        for limit in &card.limits {
            let _ = writeln!(text, "- {limit}");
        }
    }
    text
}
