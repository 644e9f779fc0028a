//! What happens around every generation: a look at the sensors before it, its rounds' times, its energy.

use std::path::Path;
use std::time::Instant;

use drafthorse::{GenerationOptions, Prompt, Session};

use crate::Result;
use crate::generation::{self, Generation, Place};
use crate::plan::{Decoding, Mode};
use crate::probe::{HostProbe, Probe, Sample};

/// Takes generations of one run.
pub struct Recorder<'a> {
    pub(crate) probe: Probe<'a>,
    since: Instant,
}

/// A generation, its text, and the sensors before it.
pub(crate) struct Taken {
    pub generation: Generation,
    pub text: String,
    pub before: Sample,
}

impl<'a> Recorder<'a> {
    /// A recorder of this machine, whose clock starts now.
    pub fn new(host: Option<&'a dyn HostProbe>) -> Self {
        Self { probe: Probe::new(Path::new("/"), host), since: Instant::now() }
    }

    /// Begin of the run.
    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    /// Seconds since the run began.
    pub(crate) fn at_s(&self) -> f64 {
        self.since.elapsed().as_secs_f64()
    }

    /// A look at the sensors now.
    pub(crate) fn look(&mut self) -> Sample {
        let at_s = self.at_s();
        self.probe.sample(at_s)
    }

    /// Generates as the harness does. For measuring what that costs.
    ///
    /// # Errors
    /// Those of the generation.
    pub fn record(&mut self, session: &Session, prompt: Prompt<'_>, options: &GenerationOptions) -> Result<Generation> {
        let (decoding, mode) = (Decoding::Greedy, Mode::Adaptive);
        let place = Place { prompt: 0, turn: 0, task: "", repetition: 0, decoding, mode };
        Ok(self.take(session, prompt, options, &place)?.generation)
    }

    pub(crate) fn take(
        &mut self,
        session: &Session,
        prompt: Prompt<'_>,
        options: &GenerationOptions,
        place: &Place<'_>,
    ) -> Result<Taken> {
        let before = self.look();
        let at_s = before.at_s;
        let (mut generation, text) = generation::measure(session, prompt, options, at_s, place)?;
        // An app's sensors are asked for once more only where there is energy to tell.
        let used = before.energy_j.and_then(|before| Some(self.probe.energy_now_j()? - before));
        // A counter that wrapped meanwhile tells nothing.
        generation.energy_j = used.filter(|joules| *joules >= 0.0);
        Ok(Taken { generation, text, before })
    }
}
