//! Which provider really computes which node: asked of the runtime, because a session's provider list lies.

use std::collections::BTreeMap;
use std::ptr;

use ort::AsPointer;
use ort::session::Session;
use ort::sys;

use super::raw::{check, owned_text};
use crate::Result;

/// Session entry that makes the runtime keep the assignment.
pub(super) const RECORD_ENTRY: &str = "session.record_ep_graph_assignment_info";

/// Nodes by provider, after basic optimisation of the graph.
#[derive(Debug, Default)]
pub(super) struct Placement {
    by_provider: BTreeMap<String, usize>,
    by_operator: BTreeMap<String, usize>,
}

impl Placement {
    /// Reads the assignment of a session that was built with [`RECORD_ENTRY`].
    pub(super) fn read(session: &Session) -> Result<Self> {
        let operation = "read the placement of nodes";
        let api = ort::api();
        let (mut subgraphs, mut count) = (ptr::null(), 0);
        // SAFETY: the session is live; the array belongs to it.
        let status = unsafe { (api.Session_GetEpGraphAssignmentInfo)(session.ptr(), &mut subgraphs, &mut count) };
        check(operation, status)?;
        let mut placement = Self::default();
        // SAFETY: the runtime returned `count` subgraphs, which live as long as the session.
        for &subgraph in unsafe { array(subgraphs, count) } {
            let mut name = ptr::null();
            // SAFETY: a live subgraph and a valid place.
            check(operation, unsafe { (api.EpAssignedSubgraph_GetEpName)(subgraph, &mut name) })?;
            let (mut nodes, mut node_count) = (ptr::null(), 0);
            // SAFETY: as above.
            check(operation, unsafe { (api.EpAssignedSubgraph_GetNodes)(subgraph, &mut nodes, &mut node_count) })?;
            // SAFETY: the name belongs to the session.
            *placement.by_provider.entry(unsafe { owned_text(name) }).or_default() += node_count;
            // SAFETY: the runtime returned `node_count` nodes.
            for &node in unsafe { array(nodes, node_count) } {
                *placement.by_operator.entry(operator(node)?).or_default() += 1;
            }
        }
        Ok(placement)
    }

    /// Nodes that `provider` (the runtime's name) computes.
    pub(super) fn nodes_on(&self, provider: &str) -> usize {
        self.by_provider.get(provider).copied().unwrap_or(0)
    }

    /// Nodes in all.
    pub(super) fn nodes(&self) -> usize {
        self.by_provider.values().sum()
    }

    /// Nodes of one operator.
    pub(super) fn operators(&self, name: &str) -> usize {
        self.by_operator.get(name).copied().unwrap_or(0)
    }

    /// Providers with their nodes, most nodes first.
    pub(super) fn ranked(&self) -> Vec<(String, usize)> {
        let mut ranked: Vec<_> = self.by_provider.iter().map(|(name, nodes)| (name.clone(), *nodes)).collect();
        ranked.sort_by_key(|(_, nodes)| std::cmp::Reverse(*nodes));
        ranked
    }
}

fn operator(node: *const sys::OrtEpAssignedNode) -> Result<String> {
    let mut name = ptr::null();
    // SAFETY: a live node and a valid place.
    let status = unsafe { (ort::api().EpAssignedNode_GetOperatorType)(node, &mut name) };
    check("read the placement of nodes", status)?;
    // SAFETY: the name belongs to the session.
    Ok(unsafe { owned_text(name) })
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
