//! A radix tree over byte strings: finds, in one walk down a text, every stored string that the text begins with.
//!
//! What a walk costs depends on the text and on the stored strings that it shares bytes with, not on how many strings
//! there are. It neither allocates nor copies the text.

use std::collections::VecDeque;
use std::ops::Range;

/// A text to walk down, byte by byte.
pub(super) trait Text {
    /// How many bytes it has.
    fn len(&self) -> usize;
    /// The byte at `at`, which is below the length.
    fn byte(&self, at: usize) -> u8;
    /// Whether `label` is what comes at `at`.
    fn has(&self, label: &[u8], at: usize) -> bool;
}

impl Text for &[u8] {
    fn len(&self) -> usize {
        <[u8]>::len(self)
    }

    fn byte(&self, at: usize) -> u8 {
        self[at]
    }

    fn has(&self, label: &[u8], at: usize) -> bool {
        self[at..].starts_with(label)
    }
}

/// A string to be stored.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    /// The string.
    pub(super) text: Vec<u8>,
    /// What it stands for.
    pub(super) value: u32,
    /// Whether it is meant for texts that are this string, or for those that begin with it.
    pub(super) exact: bool,
}

/// The tree. Nodes are stored breadth first, so the children of one are neighbours. What a node has is in three places,
/// because where many strings part a walk needs little of each.
#[derive(Debug, Default)]
pub(super) struct Trie {
    /// How it goes on from each node. A walk waits for one after the other: they are as small as an index can scale.
    steps: Vec<Step>,
    /// The byte that leads to each node: a search among siblings touches few lines of cache. The root's is unused.
    firsts: Vec<u8>,
    nodes: Vec<Node>,
    labels: Vec<u8>,
}

/// How a walk goes on from a node.
#[derive(Debug)]
struct Step {
    /// The first of its children.
    children: u32,
    /// How many there are: one for every byte at most.
    count: u16,
    /// Whether there is anything to see in the node itself: a label, or a value.
    stops: bool,
}

/// A place in the tree: a string that is stored, or at which stored strings part.
#[derive(Debug)]
pub(super) struct Node {
    /// What follows the byte that leads here.
    label: Range<u32>,
    exact: u32,
    prefix: u32,
}

/// In a node: no value.
const NONE: u32 = u32::MAX;

impl Node {
    /// What this string stands for as a whole text.
    pub(super) fn exact(&self) -> Option<u32> {
        (self.exact != NONE).then_some(self.exact)
    }

    /// What this string stands for as the beginning of a text.
    pub(super) fn prefix(&self) -> Option<u32> {
        (self.prefix != NONE).then_some(self.prefix)
    }

    fn has_value(&self) -> bool {
        self.exact & self.prefix != NONE // both are none only if all bits are set
    }
}

impl Trie {
    /// A tree of `entries`. Of several that are alike but for their value, the last one stays.
    pub(super) fn new(mut entries: Vec<Entry>) -> Trie {
        entries.sort();
        let mut trie = Trie::default();
        if entries.is_empty() {
            return trie;
        }
        // What is below each node that has no children yet, and where its own string ends.
        let mut open = VecDeque::from([(&entries[..], 0)]);
        trie.add_node(&entries, 0, 0, 0);
        for parent in 0.. {
            let Some((below, depth)) = open.pop_front() else { break };
            let begin = trie.nodes.len();
            let deeper = trie.set_values(parent, below, depth);
            for siblings in deeper.chunk_by(|a, b| a.text[depth] == b.text[depth]) {
                let end = common_prefix(siblings);
                trie.add_node(siblings, siblings[0].text[depth], depth + 1, end);
                open.push_back((siblings, end));
            }
            trie.steps[parent].children = index(begin);
            trie.steps[parent].count = u16::try_from(trie.nodes.len() - begin).unwrap_or(u16::MAX);
        }
        trie
    }

    /// Adds a node for `entries`, which begin with `first` before `begin` and are alike up to `end`.
    fn add_node(&mut self, entries: &[Entry], first: u8, begin: usize, end: usize) {
        let label = &entries[0].text[begin..end];
        self.firsts.push(first);
        let at = index(self.labels.len());
        self.labels.extend_from_slice(label);
        self.nodes.push(Node { label: at..index(self.labels.len()), exact: NONE, prefix: NONE });
        self.steps.push(Step { children: 0, count: 0, stops: !label.is_empty() });
    }

    /// Sets the values of the node at `depth` from the entries that end there, and returns the others.
    fn set_values<'a>(&mut self, node: usize, entries: &'a [Entry], depth: usize) -> &'a [Entry] {
        let ending = entries.partition_point(|entry| entry.text.len() == depth);
        self.steps[node].stops |= ending > 0;
        let node = &mut self.nodes[node];
        for entry in &entries[..ending] {
            *(if entry.exact { &mut node.exact } else { &mut node.prefix }) = entry.value;
        }
        &entries[ending..]
    }

    /// Visits every node with a value whose string `text` begins with, the shortest first, together with how much of the
    /// text is left there.
    #[inline]
    pub(super) fn walk(&self, text: impl Text, mut visit: impl FnMut(&Node, usize)) {
        let (mut at, mut depth) = (0, 0);
        while let Some(step) = self.steps.get(at) {
            if step.stops {
                let node = &self.nodes[at];
                let label = &self.labels[range(&node.label)];
                // An empty label is not compared: `memcmp` loads even nothing, and where all labels are empty their address
                // is none, from which that takes longer than the rest of the walk.
                if !label.is_empty() && !text.has(label, depth) {
                    return;
                }
                depth += label.len();
                if node.has_value() {
                    visit(node, text.len() - depth);
                }
            }
            if depth == text.len() {
                return;
            }
            let children = step.children as usize;
            let siblings = &self.firsts[children..children + usize::from(step.count)];
            let Some(child) = find_byte(siblings, text.byte(depth)) else { return };
            at = children + child;
            depth += 1;
        }
    }
}

fn range(range: &Range<u32>) -> Range<usize> {
    range.start as usize..range.end as usize
}

/// Where `byte` is among `sorted`.
#[inline]
fn find_byte(sorted: &[u8], byte: u8) -> Option<usize> {
    if sorted.len() <= 16 {
        sorted.iter().position(|&other| other == byte)
    } else {
        sorted.binary_search(&byte).ok()
    }
}

/// How many bytes the sorted texts of `entries` have in common.
fn common_prefix(entries: &[Entry]) -> usize {
    let (first, last) = (&entries[0].text, &entries[entries.len() - 1].text);
    first.iter().zip(last).take_while(|(a, b)| a == b).count()
}

/// Sizes here are bounded by the size of a configuration.
fn index(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(text: &str, value: u32, exact: bool) -> Entry {
        Entry { text: text.into(), value, exact }
    }

    /// The values that a walk finds: those of prefixes, and those of the text itself.
    fn found(trie: &Trie, text: &str) -> (Vec<u32>, Option<u32>) {
        let (mut prefixes, mut exact) = (Vec::new(), None);
        trie.walk(text.as_bytes(), |node, left| {
            prefixes.extend(node.prefix());
            exact = exact.or(node.exact().filter(|_| left == 0));
        });
        (prefixes, exact)
    }

    #[test]
    fn a_walk_finds_every_prefix_and_the_text_itself() {
        let trie = Trie::new(vec![
            entry("", 0, false),
            entry("/api", 1, false),
            entry("/api", 2, true),
            entry("/api/v1", 3, false),
            entry("/apple", 4, true),
            entry("/b", 5, false),
        ]);
        assert_eq!(found(&trie, ""), (vec![0], None));
        assert_eq!(found(&trie, "/"), (vec![0], None));
        assert_eq!(found(&trie, "/ap"), (vec![0], None));
        assert_eq!(found(&trie, "/api"), (vec![0, 1], Some(2)));
        assert_eq!(found(&trie, "/api/v"), (vec![0, 1], None));
        assert_eq!(found(&trie, "/api/v1/users"), (vec![0, 1, 3], None));
        assert_eq!(found(&trie, "/apple"), (vec![0], Some(4)));
        assert_eq!(found(&trie, "/apples"), (vec![0], None));
        assert_eq!(found(&trie, "/b"), (vec![0, 5], None));
        assert_eq!(found(&trie, "c"), (vec![0], None));
    }

    #[test]
    fn an_empty_tree_finds_nothing() {
        assert_eq!(found(&Trie::new(Vec::new()), "/"), (vec![], None));
    }

    #[test]
    fn a_node_may_have_a_child_for_every_byte() {
        let entries =
            (0..=255).map(|byte| Entry { text: vec![byte], value: byte.into(), exact: true }).collect();
        let trie = Trie::new(entries);
        for byte in 0..=255_u8 {
            let mut exact = None;
            trie.walk(&[byte][..], |node, _| exact = exact.or(node.exact()));
            assert_eq!(exact, Some(byte.into()));
        }
    }
}
