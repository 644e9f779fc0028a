//! What one task at one temperature gave, kept on the way so that a killed evaluation goes on.

use std::ops::ControlFlow;
use std::path::Path;

use drafthorse_pack::{OpenOptions, hexadecimal, model_digest};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{ClockRow, EvaluateRecipe, Row, ScoreRow};
use crate::distill::batch::Example;
use crate::distill::pair::{Pair, digest};
use crate::{Error, Result, run};

/// Rows of one kind: those of a text's passes, or those of the clock.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Piece {
    pub(super) rows: Vec<Row>,
    pub(super) scores: Vec<ScoreRow>,
    pub(super) clock: Vec<ClockRow>,
}

impl Piece {
    /// Adds what comes after.
    pub(super) fn extend(&mut self, next: Self) {
        self.rows.extend(next.rows);
        self.scores.extend(next.scores);
        self.clock.extend(next.clock);
    }
}

/// SHA-256 of the weights of a recipe's models.
pub(super) struct Digests {
    pub(super) target: String,
    pub(super) drafters: Vec<String>,
}

impl Digests {
    /// Of `pairs`, which share a target.
    pub(super) fn new(pairs: &[Pair]) -> Self {
        let target = pairs.first().map_or_else(String::new, |pair| digest(&pair.target));
        Self { target, drafters: pairs.iter().map(|pair| digest(&pair.drafter)).collect() }
    }
}

/// Everything that decides what the pieces hold, on one line: the recipe, the weights behind its paths, and the prompts
/// that its corpora give.
///
/// # Errors
/// `Runtime` if a pack does not open.
pub(super) fn header(recipe: &EvaluateRecipe, digests: &Digests, prompts: &[Vec<Example>]) -> Result<String> {
    let packs = recipe.drafter.iter().filter_map(|drafter| drafter.pack.as_deref());
    let prompts = serde_json::to_vec(prompts).expect("token ids are plain numbers");
    let header = json!({
        "program": env!("CARGO_PKG_VERSION"),
        "commit": run::commit(),
        "recipe": recipe,
        "target": digests.target,
        "drafters": digests.drafters,
        "packs": packs.map(pack_digests).collect::<Result<Vec<_>>>()?,
        "prompts": hexadecimal(&Sha256::digest(prompts)),
    });
    Ok(header.to_string())
}

/// Digests of a pack's target and drafter.
fn pack_digests(pack: &Path) -> Result<Vec<String>> {
    let failed = |error: drafthorse_pack::Error| Error::Runtime { pack: pack.to_owned(), reason: error.to_string() };
    let folder = drafthorse_pack::open(pack, &OpenOptions::default()).map_err(failed)?;
    let models = [Some(&folder.target), folder.drafter.as_ref()].into_iter().flatten();
    models.map(|model| model_digest(model, &mut |_| ControlFlow::Continue(())).map_err(failed)).collect()
}
