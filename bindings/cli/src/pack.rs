//! `drafthorse pack`: a pack from a target and a drafter.

use std::io::Write;
use std::process::ExitCode;

use drafthorse_pack::{AssembleOptions, Progress};

use crate::arguments::Pack;
use crate::failure::Result;
use crate::format::bytes;
use crate::{interrupt, verify};

pub(crate) fn run(arguments: &Pack, json: bool) -> Result<ExitCode> {
    interrupt::install()?;
    let options = AssembleOptions {
        target_variant: arguments.target_variant.clone(),
        drafter_variant: arguments.drafter_variant.clone(),
        allowed_roots: arguments.allow_root.clone(),
        overwrite: arguments.overwrite,
        written_by: concat!("drafthorse ", env!("CARGO_PKG_VERSION")).to_owned(),
        ..AssembleOptions::default()
    };
    let bar = verify::bar(json);
    let manifest = {
        let _watch = interrupt::watch_steps();
        let mut progress = |progress: Progress<'_>| {
            verify::advance(&bar, progress);
            interrupt::flow()
        };
        drafthorse_pack::assemble(&arguments.target, &arguments.drafter, &arguments.output, &options, &mut progress)
    };
    bar.finish_and_clear();
    let manifest = manifest?;
    let size: u64 = manifest.files.values().map(|file| file.bytes).sum();
    if json {
        let text = serde_json::to_string_pretty(&manifest).expect("a manifest serialises");
        writeln!(std::io::stdout().lock(), "{text}")?;
    } else {
        let (place, files) = (arguments.output.display(), manifest.files.len());
        writeln!(std::io::stdout().lock(), "{place}: {files} files, {}", bytes(size))?;
    }
    Ok(ExitCode::SUCCESS)
}
