//! Which provider really computes which node: asked of the runtime, because a session's provider list lies.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::{fs, ptr};

use ort::AsPointer;
use ort::session::Session;
use serde::Deserialize;

use super::raw::{check, owned_text, runtime_error};
use crate::{Error, Result};

/// Session entry that makes the runtime keep its assignment.
pub(super) const RECORD_ENTRY: &str = "session.record_ep_graph_assignment_info";

/// Nodes by provider (the runtime's names), after optimisation of the graph.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Placement(BTreeMap<String, usize>);

impl Placement {
    /// Reads the assignment of a session that was built with [`RECORD_ENTRY`].
    ///
    /// It is complete where only the CPU is at work; nodes that a provider takes over while it changes their layout are
    /// missing (seen with WebGPU), so other providers are judged by [`Profile`].
    pub(super) fn assigned(session: &Session) -> Result<Self> {
        let operation = "read the placement of nodes";
        let api = ort::api();
        let (mut subgraphs, mut count) = (ptr::null(), 0);
        // SAFETY: the session is live; the array belongs to it.
        let status = unsafe { (api.Session_GetEpGraphAssignmentInfo)(session.ptr(), &mut subgraphs, &mut count) };
        check(operation, status)?;
        let mut placement = BTreeMap::new();
        // SAFETY: the runtime returned `count` subgraphs, which live as long as the session.
        for &subgraph in unsafe { array(subgraphs, count) } {
            let mut name = ptr::null();
            // SAFETY: a live subgraph and a valid place.
            check(operation, unsafe { (api.EpAssignedSubgraph_GetEpName)(subgraph, &mut name) })?;
            let (mut nodes, mut node_count) = (ptr::null(), 0);
            // SAFETY: as above.
            check(operation, unsafe { (api.EpAssignedSubgraph_GetNodes)(subgraph, &mut nodes, &mut node_count) })?;
            // SAFETY: the name belongs to the session.
            *placement.entry(unsafe { owned_text(name) }).or_default() += node_count;
        }
        Ok(Self(placement))
    }

    /// Nodes that `provider` (the runtime's name) computes.
    pub(super) fn nodes_on(&self, provider: &str) -> usize {
        self.0.get(provider).copied().unwrap_or(0)
    }

    /// Nodes in all.
    pub(super) fn nodes(&self) -> usize {
        self.0.values().sum()
    }

    /// Providers with their nodes, most nodes first.
    pub(super) fn ranked(&self) -> Vec<(String, usize)> {
        let mut ranked: Vec<_> = self.0.iter().map(|(name, nodes)| (name.clone(), *nodes)).collect();
        ranked.sort_by_key(|(_, nodes)| std::cmp::Reverse(*nodes));
        ranked
    }
}

/// The runtime's profile of a session's first pass, in a folder of its own that is removed in the end.
#[derive(Debug)]
pub(super) struct Profile(PathBuf);

impl Profile {
    /// Makes the folder in `scratch`.
    ///
    /// # Errors
    /// The reason, if it cannot be made.
    pub(super) fn begin(scratch: &Path) -> Result<Self, String> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("drafthorse-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = scratch.join(name);
        fs::create_dir(&folder).map_err(|error| {
            format!(
                "where its nodes run cannot be found out: {}: {error}; name another scratch_folder",
                folder.display()
            )
        })?;
        Ok(Self(folder))
    }

    /// Start of the file's name, for the session's options.
    pub(super) fn prefix(&self) -> PathBuf {
        self.0.join("pass")
    }

    /// Ends the profiling of `session` and reads what ran where.
    ///
    /// # Errors
    /// A runtime error if there is no profile that can be read.
    pub(super) fn end(self, session: &mut Session) -> Result<Placement> {
        let operation = "read the profile of a pass";
        let file = session.end_profiling().map_err(|error| runtime_error(operation, &error))?;
        let unreadable = |reason: String| Error::Runtime { operation, message: format!("{file}: {reason}") };
        let text = fs::read_to_string(&file).map_err(|error| unreadable(error.to_string()))?;
        placement_of(&text).map_err(|error| unreadable(error.to_string()))
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        // What is left in a scratch folder harms nobody.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// One entry of a profile, as far as it matters.
#[derive(Deserialize)]
struct Event {
    #[serde(default)]
    name: String,
    #[serde(default)]
    args: Arguments,
}

#[derive(Default, Deserialize)]
struct Arguments {
    provider: Option<String>,
}

/// Every node that ran counts once, whatever a loop made of it.
fn placement_of(profile: &str) -> serde_json::Result<Placement> {
    let events: Vec<Event> = serde_json::from_str(profile)?;
    let kernels: HashMap<_, _> = events
        .into_iter()
        .filter(|event| event.name.ends_with("_kernel_time"))
        .filter_map(|event| Some((event.name, event.args.provider?)))
        .collect();
    let mut placement = BTreeMap::new();
    for provider in kernels.into_values() {
        *placement.entry(provider).or_default() += 1;
    }
    Ok(Placement(placement))
}

/// # Safety
/// `items` is null, or points to `count` live items.
unsafe fn array<'a, T>(items: *const T, count: usize) -> &'a [T] {
    if items.is_null() || count == 0 {
        return &[];
    }
    // SAFETY: this function's contract.
    unsafe { std::slice::from_raw_parts(items, count) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_counts_nodes_by_provider() {
        let profile = r#"[
            {"cat": "Session", "name": "model_run", "args": {}},
            {"cat": "Node", "name": "a_fence_before", "args": {"op_name": "MatMul"}},
            {"cat": "Node", "name": "a_kernel_time", "args": {"provider": "GpuExecutionProvider", "op_name": "MatMul"}},
            {"cat": "Node", "name": "b_kernel_time", "args": {"provider": "GpuExecutionProvider", "op_name": "Add"}},
            {"cat": "Node", "name": "b_kernel_time", "args": {"provider": "GpuExecutionProvider", "op_name": "Add"}},
            {"cat": "Node", "name": "c_kernel_time", "args": {"provider": "CPUExecutionProvider", "op_name": "Cast"}}
        ]"#;
        let placement = placement_of(profile).unwrap();
        assert_eq!(
            placement.ranked(),
            [("GpuExecutionProvider".to_owned(), 2), ("CPUExecutionProvider".to_owned(), 1)]
        );
        assert_eq!((placement.nodes(), placement.nodes_on("CPUExecutionProvider")), (3, 1));
        assert!(placement_of("[{]").is_err());
    }

    #[test]
    fn nothing_is_left_of_a_profile() {
        let scratch = tempfile::tempdir().unwrap();
        let profiles = [Profile::begin(scratch.path()).unwrap(), Profile::begin(scratch.path()).unwrap()];
        fs::write(profiles[0].prefix(), "[]").unwrap();
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 2, "each has a folder of its own");
        drop(profiles);
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
        let reason = Profile::begin(&scratch.path().join("missing")).unwrap_err();
        assert!(reason.contains("scratch_folder"), "{reason}");
    }
}
