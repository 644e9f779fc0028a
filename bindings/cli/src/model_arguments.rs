//! Flags that say which models to open, and on what.

use clap::{Args, ValueEnum};
use drafthorse::{
    ContextPolicy, DrafterMisfit, Drafting, Engine, EngineOptions, Provider, ProviderChoice, SessionOptions,
};
use drafthorse_pack::runtime_library;
use indicatif::{ProgressBar, ProgressStyle};

use crate::failure::Result;
use crate::folder_arguments::FolderArguments;

/// Which models to open, and on what.
#[derive(Args, Debug)]
pub(crate) struct ModelArguments {
    #[command(flatten)]
    pub(crate) folder: FolderArguments,

    /// Where drafts come from.
    #[arg(long, value_name = "SOURCE", value_enum, default_value_t = Source::Auto, help_heading = "Models")]
    drafting: Source,

    /// Execution providers for both models, best first, as in webgpu,cpu [default: the pack's, then cpu].
    #[arg(long, value_name = "NAMES", value_delimiter = ',', help_heading = "Models")]
    providers: Vec<Provider>,

    /// Execution providers for the drafter, where they differ.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', help_heading = "Models")]
    drafter_providers: Vec<Provider>,

    /// Refuse a provider that leaves nodes to the CPU.
    #[arg(long, help_heading = "Models")]
    strict_providers: bool,

    /// Threads within an operator [default: the pack's, then the runtime's].
    #[arg(long, value_name = "N", help_heading = "Models")]
    threads: Option<usize>,

    /// Tokens that the context must hold [default: what models and budget allow].
    #[arg(long, value_name = "N", help_heading = "Models")]
    context: Option<usize>,

    /// Most MiB for the KV caches.
    #[arg(long, value_name = "MIB", default_value_t = 1024, help_heading = "Models")]
    cache_budget: u64,

    /// Fail, rather than run without it, if the drafter does not fit the budget.
    #[arg(long, help_heading = "Models")]
    require_drafter: bool,

    /// Drop the oldest turns of a conversation that outgrows the context, rather than fail.
    #[arg(long, help_heading = "Models")]
    drop_oldest_turns: bool,

    /// Do not compare the files with the pack's digests.
    #[arg(long, help_heading = "Models")]
    skip_digests: bool,

    /// Measure the models' costs again, rather than take those kept from an earlier start.
    #[arg(long, help_heading = "Models")]
    measure: bool,
}

/// Where drafts come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Source {
    /// The drafter model if there is one, prompt lookup otherwise.
    Auto,
    /// Nowhere: the target alone.
    None,
    /// The drafter model.
    Model,
    /// What followed the last tokens when they occurred before.
    Lookup,
    /// Prompt lookup where its match is long, the drafter model elsewhere.
    Both,
}

impl ModelArguments {
    /// Opens the engine, with a sign of life for people.
    ///
    /// # Errors
    /// Those of the engine.
    pub(crate) fn open(&self, silent: bool) -> Result<Engine> {
        let spinner = if silent { ProgressBar::hidden() } else { spinner("opening the pack") };
        let engine = Engine::open(&self.folder.pack, &self.engine_options());
        spinner.finish_and_clear();
        Ok(engine?)
    }

    fn engine_options(&self) -> EngineOptions {
        let choices = |providers: &[Provider]| -> Vec<ProviderChoice> {
            providers.iter().map(|&provider| self.choice(provider)).collect()
        };
        let drafter = if self.drafter_providers.is_empty() { &self.providers } else { &self.drafter_providers };
        EngineOptions {
            folder: self.folder.options(),
            without_drafter: matches!(self.drafting, Source::None | Source::Lookup),
            target_providers: choices(&self.providers),
            drafter_providers: choices(drafter),
            target_threads: self.threads,
            drafter_threads: self.threads,
            context_len: self.context,
            cache_bytes_max: self.cache_budget.saturating_mul(1 << 20),
            drafter_misfit: if self.require_drafter { DrafterMisfit::Fail } else { DrafterMisfit::RunWithout },
            check_digests: !self.skip_digests,
            cache_folder: runtime_library::cache_folder().filter(|_| !self.measure),
            ..EngineOptions::default()
        }
    }

    fn choice(&self, provider: Provider) -> ProviderChoice {
        ProviderChoice { strict: self.strict_providers, ..provider.into() }
    }

    /// How to start a session.
    pub(crate) fn session_options(&self) -> SessionOptions {
        SessionOptions {
            drafting: match self.drafting {
                Source::Auto => Drafting::Auto,
                Source::None => Drafting::None,
                Source::Model => Drafting::Model,
                Source::Lookup => Drafting::Lookup,
                Source::Both => Drafting::Both,
            },
            context_policy: if self.drop_oldest_turns { ContextPolicy::DropOldestTurns } else { ContextPolicy::Fail },
        }
    }
}

/// A sign of life on standard error, if somebody watches.
fn spinner(message: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}").expect("the template is fixed");
    let spinner = ProgressBar::new_spinner().with_style(style).with_message(message);
    spinner.enable_steady_tick(std::time::Duration::from_millis(100));
    spinner
}
