//! The tokens of tokenizer.json by id, compared by content; and the map from a trimmed drafter's ids to the target's.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, SeqAccess, Visitor},
};

use crate::{
    Error, Result,
    json::{self, CONFIG_BYTES_MAX, TOKENIZER_BYTES_MAX},
};

/// The tokens of a tokenizer by id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vocabulary {
    tokens: BTreeMap<u32, String>,
}

impl Vocabulary {
    /// Reads tokenizer.json: the model's vocabulary and the added tokens.
    ///
    /// # Errors
    /// `Io`, `TooLarge`, or `Malformed` with the place.
    pub fn read(path: &Path) -> Result<Self> {
        Self::parse(path, &json::read_bounded(path, TOKENIZER_BYTES_MAX)?)
    }

    pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct File {
            model: Model,
            #[serde(default)]
            added_tokens: Vec<Added>,
        }
        #[derive(Deserialize)]
        struct Model {
            vocab: ById,
        }
        #[derive(Deserialize)]
        struct Added {
            id: u32,
            content: String,
        }
        let file: File = json::parse(path, bytes)?;
        let mut tokens = file.model.vocab.0;
        tokens.extend(file.added_tokens.into_iter().map(|token| (token.id, token.content)));
        Ok(Self { tokens })
    }

    /// One more than the highest id.
    pub fn len(&self) -> usize {
        self.tokens.last_key_value().map_or(0, |(&id, _)| id as usize + 1)
    }

    /// True if there are no tokens.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Text of a token as the tokenizer stores it (byte-level or with `▁` for spaces).
    pub fn token(&self, id: u32) -> Option<&str> {
        self.tokens.get(&id).map(String::as_str)
    }

    /// The lowest id at which the two differ, in words; `None` if they are the same.
    pub fn first_difference(&self, drafter: &Self) -> Option<String> {
        let differs = |id: &&u32| self.tokens.get(id) != drafter.tokens.get(id);
        // Both are sorted, so the lowest of the first differences of either side is the first of both.
        let ours = self.tokens.keys().find(differs);
        let theirs = drafter.tokens.keys().find(differs);
        let id = ours.into_iter().chain(theirs).min()?;
        let show = |token: Option<&str>| token.map_or("nothing".to_owned(), |text| format!("{text:?}"));
        Some(format!(
            "token {id} is {} in the target and {} in the drafter ({} and {} tokens)",
            show(self.token(*id)),
            show(drafter.token(*id)),
            self.tokens.len(),
            drafter.tokens.len()
        ))
    }
}

/// `model.vocab`: an object from text to id (BPE, WordPiece, WordLevel), or a list of text and score (Unigram).
struct ById(BTreeMap<u32, String>);

impl<'de> Deserialize<'de> for ById {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Tokens;
        impl<'de> Visitor<'de> for Tokens {
            type Value = ById;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object of ids, or a list of tokens with scores")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<ById, A::Error> {
                let mut tokens = BTreeMap::new();
                while let Some((text, id)) = map.next_entry::<String, u32>()? {
                    tokens.insert(id, text);
                }
                Ok(ById(tokens))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> std::result::Result<ById, A::Error> {
                let mut tokens = BTreeMap::new();
                let mut id = 0;
                while let Some((text, _score)) = list.next_element::<(String, f64)>()? {
                    tokens.insert(id, text);
                    id += 1;
                }
                Ok(ById(tokens))
            }
        }
        deserializer.deserialize_any(Tokens)
    }
}

/// Format of the id map that this library writes.
const ID_MAP_VERSION: u64 = 1;
/// Most columns of a drafter's logits.
const IDS_MAX: usize = 1 << 20;

/// Target ids of a drafter's logit columns, where the drafter's head was trimmed (VocabTrim, arXiv 2506.22694).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdMap {
    target_ids: Vec<u32>,
}

#[derive(Serialize, Deserialize)]
struct IdMapFile {
    format_version: u64,
    target_ids: Vec<u32>,
}

impl IdMap {
    /// Name of the file beside a drafter.
    pub const FILE: &str = "drafter_ids.json";

    /// Checks `target_ids`: entry `i` is the target's id of the drafter's column `i`.
    ///
    /// # Errors
    /// Which entry occurs twice, or that there are none or too many.
    pub fn new(target_ids: Vec<u32>) -> Result<Self, String> {
        if target_ids.is_empty() || target_ids.len() > IDS_MAX {
            return Err(format!("{} ids, must be from 1 to {IDS_MAX}", target_ids.len()));
        }
        let mut sorted = target_ids.clone();
        sorted.sort_unstable();
        if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("target id {} occurs twice", pair[0]));
        }
        Ok(Self { target_ids })
    }

    /// Reads the map at `path`.
    ///
    /// # Errors
    /// `Io`, `TooLarge`, `Version`, or `Malformed` with the place.
    pub fn read(path: &Path) -> Result<Self> {
        Self::parse(path, &json::read_bounded(path, CONFIG_BYTES_MAX)?)
    }

    pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        let file: IdMapFile = json::parse(path, bytes)?;
        if file.format_version > ID_MAP_VERSION {
            let version = file.format_version;
            return Err(Error::Version { path: path.to_owned(), version, version_max: ID_MAP_VERSION });
        }
        Self::new(file.target_ids).map_err(|reason| Error::Malformed {
            path: path.to_owned(),
            field: "target_ids".into(),
            reason,
        })
    }

    /// The contents of a file that `read` takes.
    pub fn to_json(&self) -> String {
        let ids = self.target_ids.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        format!("{{\"format_version\":{ID_MAP_VERSION},\"target_ids\":[{ids}]}}\n")
    }

    /// Entry `i` is the target's id of the drafter's column `i`.
    pub fn target_ids(&self) -> &[u32] {
        &self.target_ids
    }

    /// Columns of the drafter's logits.
    pub fn len(&self) -> usize {
        self.target_ids.len()
    }

    /// Never true.
    pub fn is_empty(&self) -> bool {
        self.target_ids.is_empty()
    }
}

/// Compares two tokenizer.json files by content.
///
/// # Errors
/// `VocabularyMismatch` with the first difference; an error of reading either.
pub fn compare_vocabularies(target: &Path, drafter: &Path) -> Result<()> {
    let ours = json::read_bounded(target, TOKENIZER_BYTES_MAX)?;
    let theirs = json::read_bounded(drafter, TOKENIZER_BYTES_MAX)?;
    if ours == theirs {
        return Ok(());
    }
    match Vocabulary::parse(target, &ours)?.first_difference(&Vocabulary::parse(drafter, &theirs)?) {
        None => Ok(()),
        Some(reason) => Err(mismatch(target, drafter, reason)),
    }
}

pub(crate) fn mismatch(target: &Path, drafter: &Path, reason: String) -> Error {
    Error::VocabularyMismatch { target: PathBuf::from(target), drafter: PathBuf::from(drafter), reason }
}
