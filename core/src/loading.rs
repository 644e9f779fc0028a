//! Loads what a folder describes: both graphs and the tokenizer, side by side.

use std::{panic::resume_unwind, path::Path, thread};

use drafthorse_pack::Folder;

use crate::{
    EngineOptions, ModelOptions, OnnxGraph, PlacementReport, Provider, Result, Tokenizer,
    opening::{Room, model_options},
};

/// Graphs and tokenizer of a folder.
pub(crate) struct Loaded {
    pub(crate) target: Opened,
    pub(crate) drafter: Option<Opened>,
    /// Why there is no drafter, where the folder has one.
    pub(crate) drafter_missing: Option<String>,
    pub(crate) tokenizer: Tokenizer,
}

/// A graph, and what came of opening it.
pub(crate) type Opened = (OnnxGraph, PlacementReport);

/// Opens the models and the tokenizer of `folder`, each on a thread of its own where all of them run on the CPU:
/// making a session keeps one core busy. Other providers' drivers see one session after the other.
///
/// # Errors
/// The target's error before the drafter's before the tokenizer's.
pub(crate) fn load(folder: &Folder, room: &Room, options: &EngineOptions) -> Result<Loaded> {
    let mut drafter_missing = room.drafter_missing.clone();
    let wanted = folder.drafter.as_ref().filter(|_| drafter_missing.is_none() && !folder.target.last_row_only());
    let target = (folder.target.path.as_path(), model_options("target", folder, &folder.target, room, options)?);
    let drafter = match wanted {
        Some(files) => Some((files.path.as_path(), model_options("drafter", folder, files, room, options)?)),
        None => None,
    };
    let together = on_cpu(&target.1) && drafter.as_ref().is_none_or(|(_, options)| on_cpu(options));
    let open = |(path, options): &(&Path, ModelOptions)| OnnxGraph::open(path, options);
    let (target, drafter, tokenizer) = thread::scope(|scope| {
        let tokenizer = scope.spawn(|| Tokenizer::open(&folder.tokenizer));
        let beside = drafter.as_ref().filter(|_| together).map(|drafter| scope.spawn(|| open(drafter)));
        let target = open(&target);
        let drafter = match beside {
            Some(beside) => Some(joined(beside)),
            // Not worth its time where the target has failed.
            None if target.is_err() => None,
            None => drafter.as_ref().map(open),
        };
        (target, drafter, joined(tokenizer))
    });
    let (target, mut drafter) = (target?, drafter.transpose()?);
    if folder.drafter.is_some() && drafter_missing.is_none() && !target.0.scores_every_row() {
        drafter = None;
        drafter_missing = Some("the target returns the logits of the last token only, so it cannot verify".into());
    }
    Ok(Loaded { target, drafter, drafter_missing, tokenizer: tokenizer? })
}

fn on_cpu(options: &ModelOptions) -> bool {
    options.providers.iter().all(|choice| choice.provider == Provider::Cpu)
}

fn joined<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}
