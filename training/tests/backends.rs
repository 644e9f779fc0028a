//! Every backend of this build against the CPU's: the same logits, losses, gradients and steps of pretraining and of
//! distillation, and bf16 where the device computes in it.
//!
//! With `--features wgpu` any Vulkan driver does, a software one too; `tch` takes libtorch's CPU; `cuda` needs the GPU.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{DType, Device};
use drafthorse_training::backend;
use drafthorse_training::backward::{Held, backward, cross_entropy, inputs_and_next};
use drafthorse_training::distill::batch::{Batch, Example};
use drafthorse_training::distill::step::{self, Objective};
use drafthorse_training::loss::Loss;
use drafthorse_training::model::{Llama, ModelConfig, Precision, token_tensor};
use drafthorse_training::optimizer::{AdamWSettings, Gradients, Optimizer};
use drafthorse_training::schedule::Schedule;
use drafthorse_training::{distill, pretrain, recipe};

const DEVICES: &[&str] = &[
    "flex",
    #[cfg(feature = "cuda")]
    "cuda",
    #[cfg(feature = "tch")]
    "tch",
    #[cfg(feature = "wgpu")]
    "wgpu",
];

/// How far values may be from the CPU's, as a share of the largest of their tensor.
const TOLERANCE: f64 = 1e-4;

const HELD: Held = Held { chunk_rows: 7, recompute_layers: false };

type Named = BTreeMap<String, Vec<f32>>;

/// A target with pronounced opinions and a drafter: the same numbers on every device.
struct Pair {
    target: Llama,
    drafter: Llama,
}

impl Pair {
    fn on(device: &Device) -> Self {
        let shape = ModelConfig { layers: 2, heads: 2, kv_heads: 1, qk_norm: true, ..ModelConfig::tiny() };
        let target = Llama::random(shape.clone(), 1, device).unwrap().map(|_, tensor| tensor.mul_scalar(4.0));
        let drafter = Llama::random(ModelConfig { layers: 1, ..shape }, 2, device).unwrap().trainable();
        Self { target, drafter }
    }
}

/// Gradients and loss of the drafter at one step.
type Step = Box<dyn Fn(&Llama) -> (Gradients, f64)>;

fn pretraining(pair: &Pair, precision: Precision) -> Step {
    let device = pair.target.device();
    let rows: Vec<Vec<u32>> = [1, 5, 9].map(|row| (0..11).map(|t| (row * 7 + t * t) % 32).collect()).into();
    Box::new(move |drafter| {
        let (inputs, next) = inputs_and_next(&rows);
        let drafter = drafter.clone().with_precision(precision);
        let (loss, gradients) = backward(&drafter, token_tensor(&inputs, &device), HELD, |logits, range| {
            cross_entropy(logits, &next[range], 1.0 / 30.0)
        });
        (gradients, f64::from(loss))
    })
}

fn distillation(pair: &Pair, loss: Loss, precision: Precision) -> Step {
    let target = pair.target.clone();
    let text = |row: u32| Example::new(vec![row, row + 1], (0..10).map(|t| (row * 7 + t * t) % 32).collect());
    let batch = Batch::new(&[&text(1), &text(5), &text(9)], 32, &target.device()).unwrap();
    Box::new(move |drafter| {
        let objective = Objective { loss, temperature: 1.0, held: HELD, precision };
        let (gradients, measured) = step::gradients(&target, drafter, &batch, objective);
        (gradients, measured.loss)
    })
}

/// Losses of `steps` steps of AdamW.
fn train(mut drafter: Llama, step: &Step, steps: usize) -> Vec<f64> {
    let schedule = Schedule { peak: 1e-2, floor: 1.0, warmup_steps: 0, steps };
    let mut optimizer = Optimizer::new(&AdamWSettings::default());
    let mut losses = Vec::with_capacity(steps);
    for at in 0..steps {
        let (found, loss) = step(&drafter);
        (drafter, _) = schedule.apply(&mut optimizer, drafter, found, loss as f32, [at, 0]).unwrap();
        losses.push(loss);
    }
    losses
}

fn values(gradients: Gradients) -> Named {
    let named = gradients.into_iter().map(|(name, tensor)| {
        assert_eq!(tensor.dtype(), DType::F32, "{name}: master weights and their gradients are f32");
        (name, tensor.into_data().try_to_vec::<f32>().expect("f32"))
    });
    named.collect()
}

/// The largest difference as a share of the largest value.
fn distance(wanted: &[f32], found: &[f32]) -> f64 {
    assert_eq!(wanted.len(), found.len());
    let worst = wanted.iter().zip(found).map(|(x, y)| f64::from((x - y).abs())).fold(0.0, f64::max);
    worst / wanted.iter().map(|x| f64::from(x.abs())).fold(f64::MIN_POSITIVE, f64::max)
}

fn assert_same_gradients(what: &str, wanted: &Named, found: &Named, tolerance: f64) {
    assert!(wanted.keys().eq(found.keys()), "{what}");
    for (name, wanted) in wanted {
        let distance = distance(wanted, &found[name]);
        assert!(distance < tolerance, "{what} {name}: {distance:.1e}");
    }
}

fn each_device(check: impl Fn(&str, &Device, &Pair)) {
    for name in DEVICES {
        let device = backend::device(name).unwrap();
        check(name, &device, &Pair::on(&device));
    }
}

#[test]
fn logits_losses_and_gradients_are_those_of_the_cpu() {
    let cpu = Pair::on(&Device::flex());
    let tokens = [[1u32, 9, 3, 30, 5, 6], [8, 7, 6, 5, 4, 3]];
    let logits =
        |model: &Llama| model.forward(token_tensor(&tokens, &model.device())).into_data().try_to_vec().unwrap();
    each_device(|name, _, pair| {
        let far = distance(&logits(&cpu.target), &logits(&pair.target));
        assert!(far < TOLERANCE, "{name}: logits {far:.1e}");
        let steps = |pair: &Pair| {
            let mut steps = vec![("cross-entropy".to_owned(), pretraining(pair, Precision::F32))];
            steps.extend(Loss::ALL.map(|loss| (loss.to_string(), distillation(pair, loss, Precision::F32))));
            steps
        };
        for ((loss, wanted), (_, found)) in steps(&cpu).into_iter().zip(steps(pair)) {
            let ((wanted, x), (found, y)) = (wanted(&cpu.drafter), found(&pair.drafter));
            assert!((x - y).abs() < TOLERANCE * x.abs().max(1.0), "{name} {loss}: {x} {y}");
            assert_same_gradients(&format!("{name} {loss}"), &values(wanted), &values(found), TOLERANCE);
        }
    });
}

#[test]
fn twenty_steps_go_the_way_that_they_go_on_the_cpu() {
    let both = |pair: &Pair| {
        [pretraining(pair, Precision::F32), distillation(pair, Loss::ForwardKl, Precision::F32)]
            .map(|step| train(pair.drafter.clone(), &step, 20))
    };
    let wanted = both(&Pair::on(&Device::flex()));
    each_device(|name, _, pair| {
        for (wanted, found) in wanted.iter().zip(both(pair)) {
            assert!(wanted[19] < 0.7 * wanted[0], "nothing was learned: {wanted:?}");
            let close = |(x, y): (&f64, &f64)| (x - y).abs() < 2e-3 * (1.0 + x);
            assert!(wanted.iter().zip(&found).all(close), "{name}: {found:?} {wanted:?}");
        }
    });
}

/// `flex` rounds to bf16 and computes in f32, so it shows here what the rounding does; recipes refuse it.
#[test]
fn bf16_gives_nearly_the_gradients_of_f32_and_learns_as_much() {
    each_device(|name, device, pair| {
        if !device.supports_dtype(DType::BF16) {
            let refused = Precision::Bf16.check(device).unwrap_err();
            return eprintln!("SKIPPED bf16 on {name}: {refused}");
        }
        let steps = |precision| [pretraining(pair, precision), distillation(pair, Loss::ForwardKl, precision)];
        for (exact, rounded) in steps(Precision::F32).into_iter().zip(steps(Precision::Bf16)) {
            let (wanted, found) = (values(exact(&pair.drafter).0), values(rounded(&pair.drafter).0));
            assert_ne!(wanted, found, "{name}: products were not rounded");
            assert_same_gradients(name, &wanted, &found, 0.05);
            let (wanted, found) = (train(pair.drafter.clone(), &exact, 60), train(pair.drafter.clone(), &rounded, 60));
            let learned = |losses: &[f64]| losses[0] - losses[59];
            assert!(learned(&found) > 0.9 * learned(&wanted), "{name}: {found:?} {wanted:?}");
        }
    });
}

#[test]
fn recipes_with_bf16_are_refused_on_the_cpu_before_anything_is_read() {
    let recipes = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/tiny");
    let (bf16, nowhere, device) = (["train.precision=bf16".to_owned()], Path::new("nowhere"), Device::flex());
    let pretraining = recipe::load(&recipes.join("target.toml"), &bf16).unwrap();
    let distillation = recipe::load(&recipes.join("distill.toml"), &bf16).unwrap();
    let refused = [
        pretrain::pretrain(&pretraining, nowhere, nowhere, &device).unwrap_err(),
        distill::distill(&distillation, nowhere, nowhere, &device).unwrap_err(),
    ];
    for error in refused.map(|error| error.to_string()) {
        assert!(error.contains("train.precision") && error.contains("--device"), "{error}");
    }
}
