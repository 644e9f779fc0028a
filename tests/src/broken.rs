//! Packs that fail in one way each, made from the demo pack: the real causes of an app's errors.

use std::fs::{self, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use drafthorse_graph::{GraphOptions, Layout, Precision, fixtures::RandomPair, rewrite};
use serde_json::{Value, json};

use crate::{demo_pack, random_pack};

/// A way to break the demo pack; its name is the error that follows.
struct Breakage {
    name: &'static str,
    damage: fn(&Path) -> io::Result<()>,
}

/// Tokens after which a pack fails that opens well.
const LATE: usize = 200;

const BREAKAGES: [Breakage; 7] = [
    Breakage { name: "PackInvalid", damage: |pack| fs::write(pack.join("genai_config.json"), "{ \"model\": 7 }") },
    Breakage { name: "PackDamaged", damage: flip_a_bit },
    Breakage {
        name: "Unsupported",
        damage: |pack| edit(pack, "genai_config.json", |config| config["model"]["type"] = json!("whisper")),
    },
    Breakage { name: "VocabularyMismatch", damage: narrow_the_drafter },
    Breakage { name: "ChatTemplate", damage: forget_the_template },
    Breakage { name: "InvalidLogits", damage: give_nan_late },
    Breakage { name: "Internal", damage: fail_late },
];

/// Writes every broken pack into `folder`, one folder each, named as the error that opening it (or generating with it)
/// must give. `ChatTemplate` fails with messages, `InvalidLogits` and `Internal` with a prompt of 200 tokens or
/// more, the others when opened.
///
/// # Errors
/// If a file cannot be written.
pub fn write_broken_packs(folder: &Path) -> io::Result<Vec<PathBuf>> {
    BREAKAGES
        .iter()
        .map(|breakage| {
            let pack = folder.join(breakage.name);
            copy(&demo_pack(), &pack)?;
            // Digests would find every change; without them the folder is one of onnxruntime-genai.
            if breakage.name != "PackDamaged" {
                fs::remove_file(pack.join("drafthorse.json"))?;
            }
            (breakage.damage)(&pack)?;
            Ok(pack)
        })
        .collect()
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

/// Changes a JSON file of a pack.
///
/// # Errors
/// If the file cannot be read, is no JSON, or cannot be written.
pub fn edit(pack: &Path, file: &str, change: impl FnOnce(&mut Value)) -> io::Result<()> {
    let path = pack.join(file);
    let mut config: Value = serde_json::from_slice(&fs::read(&path)?)?;
    change(&mut config);
    fs::write(path, serde_json::to_vec_pretty(&config)?)
}

/// One wrong byte among the weights, which only a digest can find.
fn flip_a_bit(pack: &Path) -> io::Result<()> {
    let path = pack.join("model.onnx.data");
    let middle = fs::metadata(&path)?.len() / 2;
    let mut byte = [fs::read(&path)?[middle as usize]];
    byte[0] ^= 1;
    let mut file = OpenOptions::new().write(true).open(path)?;
    file.seek(SeekFrom::Start(middle))?;
    file.write_all(&byte)
}

/// A graph that ONNX Runtime stops running at 200 tokens.
fn fail_late(pack: &Path) -> io::Result<()> {
    rewrite::add_by_len(&pack.join("model.onnx"), &[0.0; LATE]).map_err(io::Error::other)
}

/// A graph whose logits are NaN from 200 tokens on, long after its first passes were looked at.
fn give_nan_late(pack: &Path) -> io::Result<()> {
    let by_len = [[0.0; LATE], [f32::NAN; LATE], [f32::NAN; LATE]].concat();
    rewrite::add_by_len(&pack.join("model.onnx"), &by_len).map_err(io::Error::other)
}

fn forget_the_template(pack: &Path) -> io::Result<()> {
    fs::remove_file(pack.join("chat_template.jinja"))?;
    edit(pack, "tokenizer_config.json", |config| {
        drop(config.as_object_mut().map(|fields| fields.remove("chat_template")))
    })
}

/// A drafter of another vocabulary in place of the pack's own.
fn narrow_the_drafter(pack: &Path) -> io::Result<()> {
    let pair = RandomPair::small().map_err(io::Error::other)?;
    let folder = random_pack(&pair, &GraphOptions::new(Layout::Shared, Precision::FP32));
    let own: Value = serde_json::from_slice(&fs::read(folder.path().join("genai_config.json"))?)?;
    let name = own["model"]["draft"]["filename"].as_str().unwrap_or("drafter.onnx");
    fs::copy(folder.path().join(name), pack.join("drafter.onnx"))?;
    edit(pack, "genai_config.json", |config| config["model"]["draft"] = own["model"]["draft"].clone())?;
    edit(pack, "genai_config.json", |config| config["model"]["draft"]["filename"] = json!("drafter.onnx"))
}
