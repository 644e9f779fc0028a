//! Generated answers on disk: Parquet files of token ids with the provenance of every row.

use std::fs::File;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::column::reader::ColumnReader;
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::error::IoContext;
use crate::import::hugging_face::shards;
use crate::{Error, Result, folder};

const SCHEMA: &str = "message answers {
    required int64 key;
    required binary task (UTF8);
    required float temperature;
    required float top_p;
    required group prompt (LIST) { repeated group list { required int32 element; } }
    required group completion (LIST) { repeated group list { required int32 element; } }
    required group top_tokens (LIST) { repeated group list { required int32 element; } }
    required group top_log_probabilities (LIST) { repeated group list { required float element; } }
}";

/// Where provenance lies in the file's metadata.
const PROVENANCE: &str = "drafthorse.provenance";

/// Most values of one column of a row group that are read: larger counts are taken for damage.
pub(crate) const VALUES_MAX: usize = 1 << 30;

/// Values of an answer's lists after which a row group ends.
const GROUP_VALUES: usize = 1 << 26;

/// One answer of a model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Number within the whole data set, over all shards.
    pub key: u64,
    /// The task of its prompt.
    pub task: String,
    /// 0 is greedy.
    pub temperature: f32,
    /// Nucleus of the draw.
    pub top_p: f32,
    /// Token ids.
    pub prompt: Vec<u32>,
    /// Token ids, with the end token if the answer came to one.
    pub completion: Vec<u32>,
    /// The model's `k` likeliest tokens at each completion position, `[completion, k]`, or empty.
    pub top_tokens: Vec<u32>,
    /// Their log-probabilities at temperature 1.
    pub top_log_probabilities: Vec<f32>,
}

/// Writes answers to `path`, whole or not at all. The same answers give the same bytes.
///
/// # Errors
/// `Io` or `Format`.
pub fn write(path: &Path, answers: &[Answer], provenance: &Value) -> Result<()> {
    let bytes = encode(answers, provenance, GROUP_VALUES).map_err(|error| Error::format(path, error.to_string()))?;
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).at(parent)?;
    }
    folder::write_file(path, &bytes)
}

fn encode(answers: &[Answer], provenance: &Value, group_values: usize) -> Result<Vec<u8>, ParquetError> {
    let schema = Arc::new(parse_message_type(SCHEMA)?);
    let note = KeyValue { key: PROVENANCE.into(), value: Some(provenance.to_string()) };
    let properties = WriterProperties::builder()
        .set_compression(Compression::UNCOMPRESSED)
        .set_created_by("drafthorse-train".into())
        .set_key_value_metadata(Some(vec![note]))
        .build();
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, Arc::new(properties))?;
    for answers in groups(answers, group_values) {
        let mut group = writer.next_row_group()?;
        let mut index = 0;
        while let Some(mut column) = group.next_column()? {
            write_column(column.untyped(), index, answers)?;
            column.close()?;
            index += 1;
        }
        group.close()?;
    }
    writer.close()?;
    Ok(bytes)
}

/// Answers in order, as few groups as have fewer than `values` list values each before their last answer.
fn groups(answers: &[Answer], values: usize) -> impl Iterator<Item = &[Answer]> {
    let len = |answer: &Answer| answer.prompt.len() + answer.completion.len() + answer.top_tokens.len();
    let mut filled = 0;
    answers.chunk_by(move |answer, _| {
        filled += len(answer);
        let goes_on = filled < values;
        filled *= usize::from(goes_on);
        goes_on
    })
}

fn write_column(writer: &mut ColumnWriter<'_>, index: usize, answers: &[Answer]) -> Result<(), ParquetError> {
    match (index, writer) {
        (0, ColumnWriter::Int64ColumnWriter(writer)) => {
            let keys: Vec<i64> = answers.iter().map(|answer| answer.key as i64).collect();
            writer.write_batch(&keys, None, None)?;
        }
        (1, ColumnWriter::ByteArrayColumnWriter(writer)) => {
            let tasks: Vec<ByteArray> = answers.iter().map(|answer| answer.task.as_str().into()).collect();
            writer.write_batch(&tasks, None, None)?;
        }
        (2 | 3, ColumnWriter::FloatColumnWriter(writer)) => {
            let pick = |answer: &Answer| if index == 2 { answer.temperature } else { answer.top_p };
            writer.write_batch(&answers.iter().map(pick).collect::<Vec<_>>(), None, None)?;
        }
        (4..=6, ColumnWriter::Int32ColumnWriter(writer)) => {
            let lists = answers.iter().map(|answer| match index {
                4 => &answer.prompt,
                5 => &answer.completion,
                _ => &answer.top_tokens,
            });
            let (values, definitions, repetitions) = flatten(lists.map(Vec::as_slice));
            let values: Vec<i32> = values.into_iter().map(|token| token as i32).collect();
            writer.write_batch(&values, Some(&definitions), Some(&repetitions))?;
        }
        (7, ColumnWriter::FloatColumnWriter(writer)) => {
            let (values, definitions, repetitions) =
                flatten(answers.iter().map(|answer| answer.top_log_probabilities.as_slice()));
            writer.write_batch(&values, Some(&definitions), Some(&repetitions))?;
        }
        _ => return Err(ParquetError::General(format!("column {index} has another type"))),
    }
    Ok(())
}

/// Values with definition levels (0 for an empty list) and repetition levels (0 where a list begins).
fn flatten<'a, T: Copy + 'a>(lists: impl Iterator<Item = &'a [T]>) -> (Vec<T>, Vec<i16>, Vec<i16>) {
    let (mut values, mut definitions, mut repetitions) = (Vec::new(), Vec::new(), Vec::new());
    for list in lists {
        if list.is_empty() {
            definitions.push(0);
            repetitions.push(0);
        }
        for (index, value) in list.iter().enumerate() {
            values.push(*value);
            definitions.push(1);
            repetitions.push(i16::from(index > 0));
        }
    }
    (values, definitions, repetitions)
}

/// SHA-256 of the weights in a model's folder, for provenance: the file's, or of the digests of all files of the index,
/// in the order of their names.
///
/// # Errors
/// `Io` or `Format` if a file cannot be read.
pub fn model_digest(folder: &Path) -> Result<String> {
    let files = shards(folder)?;
    let digests = files.iter().map(|file| file_digest(file)).collect::<Result<Vec<_>>>()?;
    match &digests[..] {
        [single] => Ok(single.clone()),
        several => Ok(drafthorse_pack::hexadecimal(&Sha256::digest(several.join("\n")))),
    }
}

/// SHA-256 of a model's `tokenizer.json`: what its token ids mean.
///
/// # Errors
/// `Format` if the file cannot be read.
pub fn tokenizer_digest(folder: &Path) -> Result<String> {
    file_digest(&folder.join("tokenizer.json"))
}

/// Checks that the answers at `path` were written by the weights in `folder`.
///
/// # Errors
/// `Format` if their provenance names others; of [`model_digest`].
pub fn check_weights(path: &Path, provenance: &Value, folder: &Path) -> Result<()> {
    check_origin(path, &provenance["model_sha256"], model_digest, folder, "weights", "")
}

/// Checks that the answers at `path` are in the tokens of the model in `folder`.
///
/// # Errors
/// `Format` if their provenance names others; of [`tokenizer_digest`].
pub fn check_tokens(path: &Path, provenance: &Value, folder: &Path) -> Result<()> {
    let advice = ", or lay their tokenizer.json there";
    check_origin(path, &provenance["tokenizer_sha256"], tokenizer_digest, folder, "tokens", advice)
}

fn check_origin(
    path: &Path,
    written_by: &Value,
    digest: fn(&Path) -> Result<String>,
    folder: &Path,
    what: &str,
    advice: &str,
) -> Result<()> {
    match written_by.as_str() {
        Some(written_by) if digest(folder)? != written_by => {
            let reason = format!("written by other {what} than those in {}; generate anew{advice}", folder.display());
            Err(Error::format(path, reason))
        }
        _ => Ok(()),
    }
}

/// SHA-256 of a file.
///
/// # Errors
/// `Format` if it cannot be read.
pub(crate) fn file_digest(file: &Path) -> Result<String> {
    let digest = drafthorse_pack::digest_file(file, &mut |_| ControlFlow::Continue(()));
    Ok(digest.map_err(|error| Error::format(file, error.to_string()))?.sha256)
}

/// Reads what [`write()`] wrote.
///
/// # Errors
/// `Io`, or `Format` if the file is damaged or of another kind.
pub fn read(path: &Path) -> Result<(Vec<Answer>, Value)> {
    let file = File::open(path).at(path)?;
    let format = |error: ParquetError| Error::format(path, error.to_string());
    let reader = SerializedFileReader::new(file).map_err(format)?;
    let metadata = reader.metadata().file_metadata();
    let note = metadata.key_value_metadata().into_iter().flatten().find(|note| note.key == PROVENANCE);
    let note = note.and_then(|note| note.value.as_deref()).ok_or_else(|| Error::format(path, "no provenance"))?;
    let provenance = serde_json::from_str(note).map_err(|error| Error::format(path, error.to_string()))?;
    let expected = parse_message_type(SCHEMA).map_err(format)?;
    if metadata.schema() != &expected {
        return Err(Error::format(path, "the columns are not those of generated answers"));
    }
    let mut answers = Vec::new();
    for index in 0..reader.num_row_groups() {
        let group = reader.get_row_group(index).map_err(format)?;
        let rows = usize::try_from(group.metadata().num_rows()).unwrap_or(0);
        let start = answers.len();
        answers.resize(start + rows, Answer::default());
        for column in 0..group.num_columns() {
            let values = usize::try_from(group.metadata().column(column).num_values()).unwrap_or(usize::MAX);
            if values > VALUES_MAX {
                return Err(Error::format(path, format!("column {column} claims {values} values")));
            }
            let reader = group.get_column_reader(column).map_err(format)?;
            read_column(reader, column, &mut answers[start..]).map_err(format)?;
        }
    }
    Ok((answers, provenance))
}

fn read_column(reader: ColumnReader, index: usize, answers: &mut [Answer]) -> Result<(), ParquetError> {
    let rows = answers.len();
    match (index, reader) {
        (0, ColumnReader::Int64ColumnReader(mut reader)) => {
            let mut values = Vec::new();
            reader.read_records(rows, None, None, &mut values)?;
            answers.iter_mut().zip(values).for_each(|(answer, value)| answer.key = value as u64);
        }
        (1, ColumnReader::ByteArrayColumnReader(mut reader)) => {
            let mut values = Vec::new();
            reader.read_records(rows, None, None, &mut values)?;
            for (answer, value) in answers.iter_mut().zip(values) {
                answer.task = value.as_utf8()?.to_owned();
            }
        }
        (2 | 3, ColumnReader::FloatColumnReader(mut reader)) => {
            let mut values = Vec::new();
            reader.read_records(rows, None, None, &mut values)?;
            for (answer, value) in answers.iter_mut().zip(values) {
                *(if index == 2 { &mut answer.temperature } else { &mut answer.top_p }) = value;
            }
        }
        (4..=6, ColumnReader::Int32ColumnReader(mut reader)) => {
            let (mut values, mut definitions, mut repetitions) = (Vec::new(), Vec::new(), Vec::new());
            reader.read_records(rows, Some(&mut definitions), Some(&mut repetitions), &mut values)?;
            for (answer, list) in answers.iter_mut().zip(lists(&values, &definitions, &repetitions)) {
                let list = list.into_iter().map(|token| token as u32).collect();
                match index {
                    4 => answer.prompt = list,
                    5 => answer.completion = list,
                    _ => answer.top_tokens = list,
                }
            }
        }
        (7, ColumnReader::FloatColumnReader(mut reader)) => {
            let (mut values, mut definitions, mut repetitions) = (Vec::new(), Vec::new(), Vec::new());
            reader.read_records(rows, Some(&mut definitions), Some(&mut repetitions), &mut values)?;
            for (answer, list) in answers.iter_mut().zip(lists(&values, &definitions, &repetitions)) {
                answer.top_log_probabilities = list;
            }
        }
        _ => return Err(ParquetError::General(format!("column {index} has another type"))),
    }
    Ok(())
}

/// The inverse of [`flatten`].
fn lists<T: Copy>(values: &[T], definitions: &[i16], repetitions: &[i16]) -> Vec<Vec<T>> {
    let mut lists: Vec<Vec<T>> = Vec::new();
    let mut values = values.iter();
    for (definition, repetition) in definitions.iter().zip(repetitions) {
        if *repetition == 0 {
            lists.push(Vec::new());
        }
        if let (1, Some(list)) = (*definition, lists.last_mut()) {
            list.extend(values.next());
        }
    }
    lists
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn answers_come_back_and_damage_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.parquet");
        let answers: Vec<Answer> = (0..5u32)
            .map(|key| Answer {
                key: u64::from(key),
                task: format!("task {key}"),
                temperature: 0.5,
                top_p: 0.9,
                prompt: (0..key).collect(),
                completion: vec![key, 7, 9],
                top_tokens: vec![1; 2 * key as usize],
                top_log_probabilities: vec![-0.5; 2 * key as usize],
            })
            .collect();
        write(&path, &answers, &json!({ "seed": 3 })).unwrap();
        assert_eq!(read(&path).unwrap(), (answers.clone(), json!({ "seed": 3 })));
        let bytes = std::fs::read(&path).unwrap();
        write(&path, &answers, &json!({ "seed": 3 })).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "the same bytes again");
        let small = encode(&answers, &json!({ "seed": 3 }), 8).unwrap();
        std::fs::write(&path, &small).unwrap();
        assert_eq!(SerializedFileReader::new(File::open(&path).unwrap()).unwrap().num_row_groups(), 4);
        assert_eq!(read(&path).unwrap(), (answers, json!({ "seed": 3 })), "several row groups");
        write(&path, &[], &json!({})).unwrap();
        assert_eq!(read(&path).unwrap(), (vec![], json!({})), "no answers");
        for damaged in [&bytes[..bytes.len() / 2], b"PAR1", b""] {
            std::fs::write(&path, damaged).unwrap();
            assert!(matches!(read(&path), Err(Error::Format { .. })));
        }
    }
}
