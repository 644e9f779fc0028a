//! Writes packs that fail in one way each: `broken-packs FOLDER`. Kotlin's and Swift's tests open them.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [folder] = arguments.as_slice() else {
        eprintln!("broken-packs FOLDER");
        return ExitCode::from(2);
    };
    match drafthorse_tests::write_broken_packs(Path::new(folder)) {
        Ok(packs) => {
            packs.iter().for_each(|pack| println!("{}", pack.display()));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
