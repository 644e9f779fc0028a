//! Metrics as a TensorBoard event file: every number of a metrics line becomes a scalar.
//!
//! An event file is a sequence of TFRecords (length, masked CRC-32C of the length, bytes, masked CRC-32C of the
//! bytes), each an `Event` message. Fields and numbers follow TensorBoard's public `event.proto` and `summary.proto`;
//! only those of scalars are here.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use prost::{Message, Oneof};
use serde_json::Value;

use super::scalars::scalars;
use crate::Result;
use crate::error::IoContext;

#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(oneof = "What", tags = "3, 5, 7")]
    what: Option<What>,
}

#[derive(Clone, PartialEq, Oneof)]
enum What {
    #[prost(string, tag = "3")]
    FileVersion(String),
    #[prost(message, tag = "5")]
    Summary(Summary),
    #[prost(message, tag = "7")]
    SessionLog(SessionLog),
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Scalar>,
}

#[derive(Clone, PartialEq, Message)]
struct Scalar {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    /// 1 is a start: TensorBoard then forgets what earlier files say of this step and later ones.
    #[prost(int32, tag = "1")]
    status: i32,
}

/// An open event file.
pub(super) struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// Begins a file in `folder`; what earlier files of the folder say of `step` and after it counts no more.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn create(folder: &Path, step: usize) -> Result<Self> {
        std::fs::create_dir_all(folder).at(folder)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        // TensorBoard reads the files of a folder in the order of their names.
        let path = folder.join(format!("events.out.tfevents.{now:020}.drafthorse"));
        let file = OpenOptions::new().create_new(true).append(true).open(&path).at(&path)?;
        let mut events = Self { path, file };
        events.write(0, What::FileVersion("brain.Event:2".into()))?;
        events.write(step, What::SessionLog(SessionLog { status: 1 }))?;
        Ok(events)
    }

    /// Adds a line of metrics under its `step`.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn log(&mut self, metrics: &Value) -> Result<()> {
        let scalar = |(tag, value): (String, f64)| Scalar { tag, simple_value: Some(value as f32) };
        let value = scalars(metrics).into_iter().map(scalar).collect();
        let step = metrics["step"].as_u64().unwrap_or(0);
        self.write(usize::try_from(step).unwrap_or(0), What::Summary(Summary { value }))
    }

    fn write(&mut self, step: usize, what: What) -> Result<()> {
        let wall_time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let event = Event { wall_time, step: step as i64, what: Some(what) };
        self.file.write_all(&record(&event.encode_to_vec())).at(&self.path)
    }
}

fn record(bytes: &[u8]) -> Vec<u8> {
    let length = (bytes.len() as u64).to_le_bytes();
    [&length[..], &masked(&length), bytes, &masked(bytes)].concat()
}

/// TFRecord's mask of a CRC-32C.
fn masked(bytes: &[u8]) -> [u8; 4] {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn records_are_framed_as_tensorboard_reads_them() {
        // CRC-32C of "123456789" is 0xe3069283 (RFC 3720, appendix B.4 gives the same polynomial's other vectors).
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
        let framed = record(b"123456789");
        assert_eq!(framed.len(), 8 + 4 + 9 + 4);
        assert_eq!(framed[..8], 9u64.to_le_bytes());
        assert_eq!(framed[21..], 0xe306_9283_u32.rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes());
    }

    #[test]
    fn lines_become_scalars_named_by_task_and_mode() {
        let root = tempfile::tempdir().unwrap();
        let figure = json!({ "low": 0.1, "value": 0.25, "high": 0.4 });
        let line = json!({ "step": 7, "loss": 0.5, "note": "text", "held_out": [
            { "task": "stories", "mode": { "sampled": 1.0 }, "acceptance": figure,
              "block": [{ "draft_len": 3, "tokens_per_call": figure }] }
        ] });
        let mut events = EventFile::create(root.path(), 7).unwrap();
        events.log(&line).unwrap();
        let mut bytes = &std::fs::read(&events.path).unwrap()[..];
        let mut read = Vec::new();
        while !bytes.is_empty() {
            let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            assert_eq!(record(&bytes[12..12 + length]), bytes[..16 + length]);
            read.push(Event::decode(&bytes[12..12 + length]).unwrap());
            bytes = &bytes[16 + length..];
        }
        assert_eq!(read[1].step, 7, "earlier files count up to here");
        let Some(What::Summary(summary)) = &read[2].what else { panic!("{:?}", read[2]) };
        let found: Vec<(&str, f32)> =
            summary.value.iter().map(|scalar| (&scalar.tag[..], scalar.simple_value.unwrap())).collect();
        let expected = [
            ("loss", 0.5),
            ("held_out/stories, T = 1/acceptance", 0.25),
            ("held_out/stories, T = 1/block/draft length 3/tokens_per_call", 0.25),
        ];
        assert_eq!(found, expected);
    }
}
