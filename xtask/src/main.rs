//! The repository's own commands, one module each: `cargo xtask COMMAND`.

mod android;
mod arm;
mod bindings;
mod border;
mod cargo;
mod check;
mod demo;
mod elf;
mod ios;
mod kotlin;
mod program;
mod runtime;
#[path = "../../core/pack/src/runtime_library.rs"]
#[allow(dead_code, unreachable_pub)]
mod runtime_library;
mod rust_source;
mod size;
mod swift;
mod test;
mod tidy;
mod webgpu;

use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask COMMAND

  demo [\"PROMPT\"]   place ONNX Runtime, then run the demo pack: target alone against the pair
  test              place ONNX Runtime, then run every test of the workspace
  test --arm        core's tests as ARM code under qemu, with the arm64 ONNX Runtime
  test --webgpu     drafter and target on WebGPU and CPU, on a software Vulkan driver where there is no GPU
  check             all that has to be green before a commit: fmt, clippy, tidy, test, docs
  tidy              the house rules that a compiler does not check
  bindings kotlin|swift [FOLDER] [--mobile]
                    build the library for this machine, or as it ships, and write the sources that call it
  kotlin [GOALS]    build and test the Kotlin library on this machine's JVM; GOALS are Maven's
  swift             build and test the Swift package; makes a Swift toolchain where there is none
  android           the library for Android, by the NDK, where the Gradle project looks
  android --link-check [RUST_PREFIX]
                    without the NDK: builds, links and checks symbols and page alignment; nothing to ship
  ios --onnxruntime XCFRAMEWORK
                    the XCFramework for the Swift package, on a Mac
  ios --check [RUST_PREFIX]
                    without a Mac: the device's static library
  border [kotlin|swift]
                    what a streamed token costs at the border, by each path, in the library as it ships
  size [android|ios [RUST_PREFIX]]
                    the stripped library's size, recorded in docs/sizes.md
  setup             place the pinned ONNX Runtime library for this machine; does nothing if it is there
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments.as_slice() {
        ["setup"] => runtime::place_for_host().map(|path| println!("ONNX Runtime: {}", path.display())),
        ["demo", rest @ ..] => demo::run(rest),
        ["test"] => test::run(),
        ["test", "--arm"] => arm::test(),
        ["test", "--webgpu"] => webgpu::test(),
        ["check"] => check::run(),
        ["tidy"] => tidy::run(),
        ["bindings", rest @ ..] => bindings::run(rest),
        ["kotlin", goals @ ..] => kotlin::test(goals),
        ["android", rest @ ..] => android::run(rest),
        ["ios", rest @ ..] => ios::run(rest),
        ["border", rest @ ..] => border::run(rest),
        ["size", rest @ ..] => size::run(rest),
        ["swift"] => swift::test(),
        [] | ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprint!("unknown command: {}\n\n{USAGE}", arguments.join(" "));
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
