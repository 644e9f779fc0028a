//! Writes the Kotlin or Swift sources of a built library: `drafthorse-bindgen kotlin|swift LIBRARY FOLDER`.
//!
//! LIBRARY is the static library: stripping a shared one removes what the sources are made from.

use anyhow::{Result, bail};
use camino::{Utf8Path, Utf8PathBuf};
use uniffi_bindgen::bindings::{GenerateOptions, TargetLanguage, generate_with_bindgen_paths};
use uniffi_bindgen::{BindgenPaths, BindgenPathsLayer};

/// The crate whose interface is written.
const CRATE: &str = "drafthorse_bindings";

/// Finds that crate's `uniffi.toml`, so that cargo need not be asked.
struct Bindings;

impl BindgenPathsLayer for Bindings {
    fn get_crate_root(&self, crate_name: &str) -> Option<Utf8PathBuf> {
        // Cargo's word of today: a target folder kept from a clone elsewhere may hold a program built there.
        let here = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned());
        let bindings = Utf8Path::new(&here).parent().expect("this crate lies in the bindings' folder");
        (crate_name == CRATE).then(|| bindings.to_owned())
    }
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [language, library, folder] = arguments.as_slice() else {
        bail!("drafthorse-bindgen kotlin|swift LIBRARY FOLDER")
    };
    let language = match language.as_str() {
        "kotlin" => TargetLanguage::Kotlin,
        "swift" => TargetLanguage::Swift,
        other => bail!("{other}: kotlin or swift"),
    };
    let mut paths = BindgenPaths::default();
    paths.add_layer(Bindings);
    let options = GenerateOptions {
        languages: vec![language],
        source: library.into(),
        out_dir: folder.into(),
        crate_filter: Some(CRATE.to_owned()),
        ..GenerateOptions::default()
    };
    generate_with_bindgen_paths(options, paths)
}
