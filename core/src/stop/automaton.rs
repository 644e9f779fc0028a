//! The Aho–Corasick automaton of the stop texts (Aho and Corasick, CACM 18(6), 1975), over bytes.

/// The state before any text.
pub(super) const START: u32 = 0;

#[derive(Debug)]
pub(super) struct Automaton {
    nodes: Vec<Node>,
    stops: Vec<String>,
}

/// One beginning of a stop text.
#[derive(Debug)]
struct Node {
    /// Next bytes, sorted.
    children: Vec<(u8, u32)>,
    /// The longest proper end of this beginning that begins a stop text too.
    fallback: u32,
    /// Bytes of this beginning.
    len: u32,
    /// A stop text that begins so.
    stop: u32,
    /// The longest stop text that ends here.
    hit: Option<u32>,
}

impl Automaton {
    /// Builds the automaton. No text may be empty.
    pub(super) fn new(stops: &[String]) -> Self {
        let mut automaton = Self { nodes: vec![Node::new(0, 0)], stops: stops.to_vec() };
        for (index, stop) in stops.iter().enumerate() {
            let end = stop.bytes().fold(START, |node, byte| automaton.grow(node, byte, index as u32));
            // The first of two equal texts counts.
            automaton.nodes[end as usize].hit.get_or_insert(index as u32);
        }
        automaton.link();
        automaton
    }

    fn grow(&mut self, node: u32, byte: u8, stop: u32) -> u32 {
        let new = self.nodes.len() as u32;
        let node = &mut self.nodes[node as usize];
        match node.children.binary_search_by_key(&byte, |child| child.0) {
            Ok(place) => node.children[place].1,
            Err(place) => {
                node.children.insert(place, (byte, new));
                let len = node.len + 1;
                self.nodes.push(Node::new(len, stop));
                new
            }
        }
    }

    /// Sets fallbacks and inherited hits, shorter beginnings first.
    fn link(&mut self) {
        let mut queue = std::collections::VecDeque::from([START]);
        while let Some(parent) = queue.pop_front() {
            for (byte, child) in self.nodes[parent as usize].children.clone() {
                if parent != START {
                    let fallback = self.next(self.nodes[parent as usize].fallback, byte);
                    let inherited = self.nodes[fallback as usize].hit;
                    let node = &mut self.nodes[child as usize];
                    node.fallback = fallback;
                    node.hit = node.hit.or(inherited);
                }
                queue.push_back(child);
            }
        }
    }

    /// The state after one more byte; constant time on average.
    pub(super) fn next(&self, mut node: u32, byte: u8) -> u32 {
        loop {
            let current = &self.nodes[node as usize];
            match current.children.binary_search_by_key(&byte, |child| child.0) {
                Ok(place) => return current.children[place].1,
                Err(_) if node == START => return START,
                Err(_) => node = current.fallback,
            }
        }
    }

    /// The longest stop text that ends here: its index and its length in bytes.
    pub(super) fn hit(&self, node: u32) -> Option<(usize, usize)> {
        let stop = self.nodes[node as usize].hit? as usize;
        Some((stop, self.stops[stop].len()))
    }

    /// The longest end of the text so far that begins a stop text.
    ///
    /// It begins where that stop text begins and ends where a push ended, so it is whole characters between pushes.
    pub(super) fn held(&self, node: u32) -> &str {
        let node = &self.nodes[node as usize];
        self.stops.get(node.stop as usize).map_or("", |stop| &stop[..node.len as usize])
    }
}

impl Node {
    fn new(len: u32, stop: u32) -> Self {
        Self { children: Vec::new(), fallback: START, len, stop, hit: None }
    }
}
