//! Training as a user sees it: it learns, it resumes exactly, and it stops on a broken loss without harm.

use std::path::Path;

use burn::tensor::Device;
use drafthorse_training::Error;
use drafthorse_training::corpus::CorpusSettings;
use drafthorse_training::import::hugging_face;
use drafthorse_training::model::ModelConfig;
use drafthorse_training::optimizer::AdamWSettings;
use drafthorse_training::pretrain::{PretrainRecipe, TrainSettings, pretrain};
use drafthorse_training::tokenizer;

/// A folder with a text and a tokenizer, and a recipe of a model that fits it.
fn setting() -> (tempfile::TempDir, PretrainRecipe) {
    let root = tempfile::tempdir().unwrap();
    let text = "the cat sat on the mat and the dog sat on the cat<|endoftext|>".repeat(40);
    std::fs::write(root.path().join("a.txt"), text).unwrap();
    let corpus = vec![CorpusSettings::text("a.txt")];
    let tokens = root.path().join("tokenizer.json");
    tokenizer::train(&corpus, root.path(), 280, &tokens).unwrap();
    let model = ModelConfig {
        vocab_len: 0,
        hidden_len: 32,
        layers: 2,
        heads: 2,
        kv_heads: 1,
        head_len: 16,
        ffn_len: 64,
        context_len: 32,
        eos_tokens: vec![],
        ..ModelConfig::tiny()
    };
    let train = TrainSettings {
        steps: 6,
        batch: 4,
        threads: 2,
        accumulation: 2,
        sequence_len: 16,
        learning_rate: 1e-2,
        // A constant rate: the schedule of a run that was stopped early is then that of the whole.
        learning_rate_floor: 1.0,
        warmup_steps: 2,
        hold_out: 0.1,
        validate_rows: 4,
        checkpoint_every: 3,
        ..TrainSettings::default()
    };
    let optimizer = AdamWSettings::default();
    (root, PretrainRecipe { tokenizer: tokens, model: Some(model), init_from: None, train, optimizer, corpus })
}

fn train(recipe: &PretrainRecipe, root: &Path, run: &str) -> Result<Vec<(String, f32)>, Error> {
    pretrain(recipe, root, &root.join(run), &Device::flex()).map(|outcome| outcome.validation)
}

#[test]
fn a_tiny_text_is_learned_by_heart() {
    let (root, mut recipe) = setting();
    recipe.train.steps = 120;
    let losses = train(&recipe, root.path(), "run").unwrap();
    assert!(losses[0].1 < 0.25, "{losses:?}");
    let lines = std::fs::read_to_string(root.path().join("run/metrics.jsonl")).unwrap();
    assert_eq!(lines.lines().count(), 120);
    let plot = std::fs::read_to_string(root.path().join("run/metrics.svg")).unwrap();
    assert!(plot.contains(">loss<") && plot.contains(">learning rate<") && !plot.contains(">acceptance<"), "{plot}");
}

#[test]
fn a_run_killed_before_its_first_checkpoint_begins_its_metrics_anew() {
    let (root, recipe) = setting();
    std::fs::create_dir(root.path().join("run")).unwrap();
    let metrics = root.path().join("run/metrics.jsonl");
    std::fs::write(&metrics, "{\"step\": 1}\n{\"step\": 2}\n{\"st").unwrap();
    train(&recipe, root.path(), "run").unwrap();
    assert_eq!(std::fs::read_to_string(&metrics).unwrap().lines().count(), recipe.train.steps);
}

#[test]
fn a_resumed_run_has_the_weights_of_an_unbroken_one() {
    let (root, recipe) = setting();
    train(&recipe, root.path(), "whole").unwrap();
    let mut first = recipe.clone();
    first.train.steps = 3;
    train(&first, root.path(), "broken").unwrap();
    // A line of a step that the checkpoint does not have, as a kill leaves it.
    let metrics = root.path().join("broken/metrics.jsonl");
    let lines = std::fs::read_to_string(&metrics).unwrap();
    std::fs::write(&metrics, lines + "{\"step\": 4}\n{\"st").unwrap();
    train(&recipe, root.path(), "broken").unwrap();
    let weights =
        |run: &str| hugging_face::load(&root.path().join(run).join("checkpoint"), &Device::flex()).unwrap().values();
    assert_eq!(weights("broken"), weights("whole"));
    let steps = |run: &str| {
        let text = std::fs::read_to_string(root.path().join(run).join("metrics.jsonl")).unwrap();
        let step = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["step"].as_u64();
        text.lines().map(step).collect::<Vec<_>>()
    };
    assert_eq!(steps("broken"), steps("whole"));
}

/// A process that may write files of 64 KiB at most stands for a full disk: the weights are cut off in the middle.
#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_loses_nothing() {
    use std::process::{Command, Output};
    let (root, recipe) = setting();
    train(&recipe, root.path(), "whole").unwrap();
    let mut first = recipe.clone();
    first.train.steps = 3;
    train(&first, root.path(), "run").unwrap();
    let checkpoint = root.path().join("run/checkpoint");
    let load = |path: &Path| hugging_face::load(path, &Device::flex()).unwrap().values();
    let good = load(&checkpoint);
    std::fs::write(root.path().join("recipe.toml"), toml::to_string(&recipe).unwrap()).unwrap();
    let command = |script: &str| -> Output {
        let mut shell = Command::new("sh");
        shell.args(["-c", script, env!("CARGO_BIN_EXE_drafthorse-train"), "pretrain", "--recipe", "recipe.toml"]);
        shell.args(["--data", ".", "--out", "run"]).current_dir(root.path()).output().unwrap()
    };
    // Blocks are of 512 bytes; without the trap the system would kill the process instead of failing the write.
    let full = command("ulimit -f 128; trap '' XFSZ; exec \"$0\" \"$@\"");
    let said = String::from_utf8_lossy(&full.stderr);
    assert!(!full.status.success() && said.contains("model.safetensors") && said.contains("too large"), "{said}");
    assert_eq!(load(&checkpoint), good);
    let names = std::fs::read_dir(root.path().join("run")).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(!names.into_iter().any(|name| name.to_string_lossy().contains("partial")), "nothing half-written stays");
    let again = command("exec \"$0\" \"$@\"");
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    assert_eq!(load(&checkpoint), load(&root.path().join("whole/checkpoint")));
}

#[test]
fn a_broken_loss_stops_and_the_last_good_checkpoint_stays() {
    let (root, recipe) = setting();
    train(&recipe, root.path(), "run").unwrap();
    let checkpoint = root.path().join("run/checkpoint");
    let good = hugging_face::load(&checkpoint, &Device::flex()).unwrap().values();
    let mut broken = recipe.clone();
    broken.train.steps = 40;
    broken.train.learning_rate = 1e36;
    let error = train(&broken, root.path(), "run").unwrap_err();
    assert!(matches!(error, Error::NotFinite { checkpoint_step: 6, .. }), "{error}");
    assert!(error.to_string().contains("resume"), "{error}");
    assert_eq!(hugging_face::load(&checkpoint, &Device::flex()).unwrap().values(), good);
    // With a sane rate the run goes on from there.
    let mut sane = recipe;
    sane.train.steps = 8;
    train(&sane, root.path(), "run").unwrap();
}

#[test]
fn a_run_of_another_shape_is_not_gone_on_with() {
    let (root, mut recipe) = setting();
    train(&recipe, root.path(), "run").unwrap();
    let record = || std::fs::read_to_string(root.path().join("run/run.toml")).unwrap();
    let before = record();
    recipe.model.as_mut().unwrap().layers = 1;
    let error = train(&recipe, root.path(), "run").unwrap_err();
    assert!(matches!(error, Error::Setting { .. }) && error.to_string().contains("run holds a run"), "{error}");
    assert_eq!(record(), before);
    // Two heads of 16 are no four of 8, though the weights are as long.
    let model = recipe.model.as_mut().unwrap();
    (model.layers, model.heads, model.kv_heads, model.head_len) = (2, 4, 2, 8);
    assert!(matches!(train(&recipe, root.path(), "run"), Err(Error::Setting { .. })));
    let from = PretrainRecipe { init_from: Some(root.path().join("run/checkpoint")), model: None, ..recipe.clone() };
    train(&from, root.path(), "run").unwrap();
    train(&recipe, root.path(), "other").unwrap();
    assert!(train(&from, root.path(), "other").unwrap_err().to_string().contains("other holds a run"));
}

#[test]
fn a_recipe_that_cannot_work_is_refused_by_name() {
    let (root, recipe) = setting();
    type Change = fn(&mut PretrainRecipe);
    let cases: [(Change, &str); 14] = [
        (|recipe| recipe.train.batch = 1 << 40, "train.batch"),
        (|recipe| recipe.train.learning_rate_floor = 1.5, "learning_rate_floor"),
        (|recipe| recipe.optimizer.clip_norm = 0.0, "clip_norm"),
        (|recipe| recipe.optimizer.clip_norm = f32::NAN, "clip_norm"),
        (|recipe| recipe.optimizer.beta_1 = 1.0, "beta_1"),
        (|recipe| recipe.optimizer.beta_2 = -0.1, "beta_2"),
        (|recipe| recipe.optimizer.epsilon = 0.0, "epsilon"),
        (|recipe| recipe.optimizer.weight_decay = f32::INFINITY, "weight_decay"),
        (|recipe| recipe.model.as_mut().unwrap().vocab_len = 260, "260 rows"),
        (|recipe| recipe.train.batch = 0, "train.batch"),
        (|recipe| recipe.train.sequence_len = 64, "sequence_len"),
        (|recipe| recipe.corpus.clear(), "corpus"),
        (|recipe| recipe.init_from = Some("elsewhere".into()), "init_from"),
        (|recipe| recipe.corpus[0].path = "missing.txt".into(), "missing.txt"),
    ];
    for (index, (change, name)) in cases.into_iter().enumerate() {
        let mut wrong = recipe.clone();
        change(&mut wrong);
        let error = train(&wrong, root.path(), &format!("run{index}")).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
}
