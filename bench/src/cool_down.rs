//! Lets a hot device cool before the next prompt.

use std::time::{Duration, Instant};

use crate::Result;
use crate::plan::CoolDown;
use crate::probe::{Probe, Sample};
use crate::report::Pause;

/// States in which Android and iOS slow the processor down.
const HOT_STATES: [&str; 5] = ["serious", "critical", "severe", "emergency", "shutdown"];

/// Thermal headroom from which severe throttling is near (Android's documentation: 1 is where it begins).
const HEADROOM_MAX: f64 = 0.95;

/// Between two looks while waiting.
const LOOK: Duration = Duration::from_millis(500);

/// Why the device counts as hot, if it does; `start_c` is the temperature at the begin of the run.
fn heat(sample: &Sample, start_c: Option<f64>, rule: CoolDown) -> Option<String> {
    if let Some(state) = sample.thermal_state.as_deref().filter(|state| HOT_STATES.contains(state)) {
        return Some(format!("thermal state {state}"));
    }
    if let Some(headroom) = sample.thermal_headroom.filter(|headroom| *headroom >= HEADROOM_MAX) {
        return Some(format!("thermal headroom {headroom:.2}"));
    }
    let (now, start) = (sample.temperature_c?, start_c?);
    (now > start + rule.rise_c_max).then(|| format!("{now:.1} °C, {:.1} at the start", start))
}

/// Waits as long as the rule says, and tells `keep_going` before every [`LOOK`] why; `None` if there was nothing to wait
/// for.
///
/// # Errors
/// Those of `keep_going`, which end the wait.
pub(crate) fn wait(
    probe: &mut Probe<'_>,
    start_c: Option<f64>,
    rule: CoolDown,
    since: Instant,
    keep_going: &mut dyn FnMut(&str) -> Result<()>,
) -> Result<Option<Pause>> {
    let begin = Instant::now();
    let at_s = (begin - since).as_secs_f64();
    let hot = heat(&probe.sample(at_s), start_c, rule);
    if hot.is_none() && rule.pause_s == 0.0 {
        return Ok(None);
    }
    let (least, most) = (Duration::from_secs_f64(rule.pause_s), Duration::from_secs_f64(rule.pause_s_max));
    let reason = hot.as_deref().unwrap_or("asked for between prompts");
    let mut still = hot.is_some();
    loop {
        let left = if still { least.max(most) } else { least }.saturating_sub(begin.elapsed());
        if left.is_zero() {
            break;
        }
        keep_going(reason)?;
        std::thread::sleep(LOOK.min(left));
        still = still && heat(&probe.sample((since.elapsed()).as_secs_f64()), start_c, rule).is_some();
    }
    let outcome = match (&hot, still) {
        (None, _) => "",
        (Some(_), false) => "; cooled down",
        (Some(_), true) => "; still hot when the longest pause was over",
    };
    Ok(Some(Pause { at_s, s: begin.elapsed().as_secs_f64(), reason: format!("{reason}{outcome}"), hot: hot.is_some() }))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::Error;
    use crate::probe::HostProbe;

    /// Always hot; counts how often it is asked.
    struct Stove(AtomicUsize);

    impl HostProbe for Stove {
        fn sample_json(&self) -> String {
            self.0.fetch_add(1, Ordering::Relaxed);
            r#"{"thermal_state": "serious"}"#.to_owned()
        }
    }

    /// Nobody ends the wait.
    fn go_on(_: &str) -> Result<()> {
        Ok(())
    }

    #[test]
    fn heat_has_a_reason() {
        let rule = CoolDown::default();
        let sample = |temperature_c| Sample { temperature_c: Some(temperature_c), ..Sample::default() };
        assert_eq!(heat(&sample(41.0), Some(30.0), rule), None);
        assert_eq!(heat(&sample(43.0), Some(30.0), rule).unwrap(), "43.0 °C, 30.0 at the start");
        assert_eq!(heat(&sample(90.0), None, rule), None, "without a start nothing is known");
        let state = |state: &str| Sample { thermal_state: Some(state.into()), ..Sample::default() };
        assert!(heat(&state("serious"), None, rule).is_some() && heat(&state("fair"), None, rule).is_none());
        let headroom = Sample { thermal_headroom: Some(0.97), ..Sample::default() };
        assert!(heat(&headroom, None, rule).is_some());
    }

    #[test]
    fn a_device_that_stays_hot_does_not_stop_the_run() {
        let root = tempfile::tempdir().unwrap();
        let zone = root.path().join("sys/class/thermal/thermal_zone0");
        std::fs::create_dir_all(&zone).unwrap();
        std::fs::write(zone.join("type"), "cpu").unwrap();
        std::fs::write(zone.join("temp"), "80000").unwrap();
        let rule = CoolDown { pause_s_max: 0.02, ..CoolDown::default() };
        let mut probe = Probe::new(root.path(), None);
        let pause = wait(&mut probe, Some(40.0), rule, Instant::now(), &mut go_on).unwrap().unwrap();
        assert!(pause.hot && pause.reason.ends_with("still hot when the longest pause was over"), "{}", pause.reason);
        std::fs::write(zone.join("temp"), "45000").unwrap();
        assert_eq!(wait(&mut probe, Some(40.0), rule, Instant::now(), &mut go_on).unwrap(), None);
    }

    #[test]
    fn waiting_is_sleeping_and_not_looking() {
        let root = tempfile::tempdir().unwrap();
        let stove = Stove(AtomicUsize::new(0));
        let rule = CoolDown { pause_s_max: 0.2, ..CoolDown::default() };
        let mut probe = Probe::new(root.path(), Some(&stove));
        let pause = wait(&mut probe, None, rule, Instant::now(), &mut go_on).unwrap().unwrap();
        assert!(pause.s >= 0.2);
        assert_eq!(stove.0.into_inner(), 2, "one look before the pause, and one after");
    }

    #[test]
    fn a_pause_that_was_asked_for_is_not_heat() {
        let root = tempfile::tempdir().unwrap();
        let rule = CoolDown { pause_s: 0.01, ..CoolDown::default() };
        let pause = wait(&mut Probe::new(root.path(), None), None, rule, Instant::now(), &mut go_on).unwrap().unwrap();
        assert!(!pause.hot && pause.s >= 0.01 && pause.reason == "asked for between prompts");
    }

    #[test]
    fn a_wait_can_be_ended() {
        let root = tempfile::tempdir().unwrap();
        let stove = Stove(AtomicUsize::new(0));
        let mut probe = Probe::new(root.path(), Some(&stove));
        let mut told = Vec::new();
        let ended = wait(&mut probe, None, CoolDown::default(), Instant::now(), &mut |reason| {
            told.push(reason.to_owned());
            Err(Error::Cancelled)
        });
        assert!(matches!(ended, Err(Error::Cancelled)));
        assert_eq!(told, ["thermal state serious"], "asked before the first of the pause's seconds");
    }
}
