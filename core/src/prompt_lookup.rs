//! A drafter without a model: what followed the last few tokens when they occurred before.

use crate::{DraftSink, DraftSource, Drafter, Result, TokenId};

/// Proposes the continuation of the longest earlier occurrence of the context's last tokens, the latest among
/// equally long ones.
///
/// The index grows with the context and shrinks with it; a proposal costs a bounded number of comparisons and
/// allocates nothing within the capacity reserved.
#[derive(Clone, Debug)]
pub struct PromptLookup {
    ngram_min: usize,
    ngram_max: usize,
    /// Per bucket: 1 + the last position whose n-gram fell into it, 0 for none.
    heads: Vec<u32>,
    /// Per position of the context: its n-gram's bucket, and what the bucket's head was before.
    links: Vec<Link>,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    bucket: u32,
    before: u32,
}

/// An earlier occurrence of the context's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match {
    /// Tokens that agree, at most the longest n-gram.
    pub len: usize,
    /// Position of the token that followed.
    pub next: usize,
}

/// Shortest and longest n-gram that can be asked for, in tokens.
pub const NGRAM_RANGE: std::ops::RangeInclusive<usize> = 2..=16;

/// Earlier occurrences that are looked at for one proposal.
const CANDIDATES_MAX: usize = 64;

impl PromptLookup {
    /// Looks for n-grams of `ngram_min..=ngram_max` tokens (brought into [`NGRAM_RANGE`]), with room for contexts of
    /// `capacity` tokens.
    pub fn new(ngram_min: usize, ngram_max: usize, capacity: usize) -> Self {
        let ngram_min = ngram_min.clamp(*NGRAM_RANGE.start(), *NGRAM_RANGE.end());
        Self {
            ngram_min,
            ngram_max: ngram_max.clamp(ngram_min, *NGRAM_RANGE.end()),
            heads: vec![0; capacity.clamp(1 << 8, 1 << 16).next_power_of_two()],
            links: Vec::with_capacity(capacity),
        }
    }

    /// The longest earlier occurrence of the end of `context`; `None` if it is shorter than the shortest n-gram.
    pub fn find(&mut self, context: &[TokenId]) -> Option<Match> {
        self.index(context);
        let end = context.len().checked_sub(1)?;
        let mut best: Option<Match> = None;
        let mut before = self.links[end].before;
        for _ in 0..CANDIDATES_MAX {
            let Some(position) = before.checked_sub(1) else { break };
            let position = position as usize;
            let len = self.agreement(context, position, end);
            // Buckets may be shared, so the tokens decide.
            if len >= self.ngram_min && best.is_none_or(|best| len > best.len) {
                best = Some(Match { len, next: position + 1 });
                if len == self.ngram_max {
                    break;
                }
            }
            before = self.links[position].before;
        }
        best
    }

    /// Offers up to `len_max` tokens from where `found` points to. A copy that reaches the context's end goes on with
    /// its own beginning, as a repeating text does. Returns how many the sink took.
    ///
    /// # Errors
    /// Errors of the sink.
    pub(crate) fn copy(context: &[TokenId], found: Match, len_max: usize, sink: &mut dyn DraftSink) -> Result<usize> {
        for (taken, &token) in context[found.next..].iter().cycle().take(len_max).enumerate() {
            if !sink.offer_token(token)? {
                return Ok(taken);
            }
        }
        Ok(len_max)
    }

    /// Brings the index up to `context`, of which the part known before is presumed unchanged.
    fn index(&mut self, context: &[TokenId]) {
        self.shorten(context.len());
        for position in self.links.len()..context.len() {
            let link = match (position + 1).checked_sub(self.ngram_min) {
                Some(start) => {
                    let bucket = self.bucket(&context[start..=position]);
                    let head = &mut self.heads[bucket as usize];
                    Link { bucket, before: std::mem::replace(head, position as u32 + 1) }
                }
                None => Link { bucket: u32::MAX, before: 0 },
            };
            self.links.push(link);
        }
    }

    fn shorten(&mut self, len: usize) {
        while self.links.len() > len {
            let Some(link) = self.links.pop() else { return };
            if let Some(head) = self.heads.get_mut(link.bucket as usize) {
                *head = link.before;
            }
        }
    }

    /// Fowler–Noll–Vo, folded to the table's size.
    fn bucket(&self, ngram: &[TokenId]) -> u32 {
        let hash = ngram.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &token| {
            (hash ^ u64::from(token)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        ((hash ^ (hash >> 32)) as usize & (self.heads.len() - 1)) as u32
    }

    /// Tokens that agree backwards from two positions.
    fn agreement(&self, context: &[TokenId], earlier: usize, end: usize) -> usize {
        let (a, b) = (context[..=earlier].iter().rev(), context[..=end].iter().rev());
        a.zip(b).take(self.ngram_max).take_while(|(a, b)| a == b).count()
    }
}

impl Drafter for PromptLookup {
    fn propose(&mut self, context: &[TokenId], len_max: usize, sink: &mut dyn DraftSink) -> Result<()> {
        match self.find(context) {
            Some(found) => Self::copy(context, found, len_max, sink).map(drop),
            None => Ok(()),
        }
    }

    fn truncate(&mut self, len: usize) -> Result<()> {
        self.shorten(len);
        Ok(())
    }

    fn source(&mut self, context: &[TokenId]) -> DraftSource {
        if self.find(context).is_some() { DraftSource::Lookup } else { DraftSource::Nothing }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::scripted::RecordingSink;

    fn propose(lookup: &mut PromptLookup, context: &[TokenId], len_max: usize) -> Vec<TokenId> {
        let mut sink = RecordingSink::default();
        lookup.propose(context, len_max, &mut sink).unwrap();
        sink.tokens
    }

    /// The definition: the longest agreement, the latest among equals.
    fn reference(context: &[TokenId], ngram_min: usize, ngram_max: usize) -> Option<Match> {
        let end = context.len();
        (1..end)
            .filter_map(|next| {
                let len =
                    (0..next.min(ngram_max)).take_while(|&i| context[next - 1 - i] == context[end - 1 - i]).count();
                (len >= ngram_min).then_some(Match { len, next })
            })
            .max_by_key(|found| (found.len, found.next))
    }

    #[test]
    fn the_longest_match_wins_and_then_the_latest() {
        let mut lookup = PromptLookup::new(2, 8, 64);
        //             0  1  2  3  4  5  6  7  8  9 10 11 12
        let context = [1, 2, 3, 7, 2, 3, 8, 2, 3, 9, 1, 2, 3];
        assert_eq!(lookup.find(&context), Some(Match { len: 3, next: 3 }));
        assert_eq!(propose(&mut lookup, &context, 4), [7, 2, 3, 8]);
        assert_eq!(lookup.find(&context[..9]), Some(Match { len: 2, next: 6 }));
        assert_eq!(lookup.find(&context[..3]), None);
        assert_eq!(lookup.find(&[]), None);
    }

    #[test]
    fn a_copy_past_the_end_goes_on_repeating() {
        let mut lookup = PromptLookup::new(2, 8, 64);
        assert_eq!(propose(&mut lookup, &[5, 1, 2, 3, 1, 2, 3, 1, 2], 7), [3, 1, 2, 3, 1, 2, 3]);
        assert_eq!(propose(&mut PromptLookup::new(2, 4, 8), &[4, 4, 4], 3), [4, 4, 4]);
    }

    #[test]
    fn a_sink_that_has_enough_ends_the_copy() {
        let mut sink = RecordingSink { wanted: 2, ..RecordingSink::default() };
        PromptLookup::new(2, 4, 8).propose(&[1, 2, 3, 4, 1, 2], 9, &mut sink).unwrap();
        assert_eq!(sink.tokens, [3, 4]);
    }

    proptest! {
        #[test]
        fn finds_what_the_definition_finds_after_any_growth_and_truncation(
            steps in prop::collection::vec((prop::collection::vec(0_u32..4, 0..12), 0_usize..20), 1..8),
            ngram_min in 2_usize..4,
            ngram_more in 0_usize..4,
        ) {
            let ngram_max = ngram_min + ngram_more;
            let mut lookup = PromptLookup::new(ngram_min, ngram_max, 16);
            let mut context = Vec::new();
            for (tokens, keep) in steps {
                context.extend(tokens);
                prop_assert_eq!(lookup.find(&context), reference(&context, ngram_min, ngram_max));
                context.truncate(keep);
                lookup.truncate(keep).unwrap();
            }
            // Truncated to nothing, the index is that of a new lookup.
            lookup.truncate(0).unwrap();
            prop_assert!(lookup.heads.iter().all(|&head| head == 0) && lookup.links.is_empty());
        }
    }
}
