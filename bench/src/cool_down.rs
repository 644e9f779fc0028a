//! Lets a hot device cool before the next prompt.

use std::time::{Duration, Instant};

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

/// Waits as long as the rule says; `None` if there was nothing to wait for.
pub(crate) fn wait(probe: &mut Probe<'_>, start_c: Option<f64>, rule: CoolDown, since: Instant) -> Option<Pause> {
    let begin = Instant::now();
    let at_s = (begin - since).as_secs_f64();
    let hot = heat(&probe.sample(at_s), start_c, rule);
    if hot.is_none() && rule.pause_s == 0.0 {
        return None;
    }
    let (least, most) = (Duration::from_secs_f64(rule.pause_s), Duration::from_secs_f64(rule.pause_s_max));
    let mut still = hot.is_some();
    loop {
        let left = if still { least.max(most) } else { least }.saturating_sub(begin.elapsed());
        if left.is_zero() {
            break;
        }
        std::thread::sleep(LOOK.min(left));
        still = still && heat(&probe.sample((since.elapsed()).as_secs_f64()), start_c, rule).is_some();
    }
    let reason = match (hot, still) {
        (None, _) => "asked for between prompts".to_owned(),
        (Some(reason), false) => format!("{reason}; cooled down"),
        (Some(reason), true) => format!("{reason}; still hot when the longest pause was over"),
    };
    Some(Pause { at_s, s: begin.elapsed().as_secs_f64(), reason })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::probe::HostProbe;

    /// Always hot; counts how often it is asked.
    struct Stove(AtomicUsize);

    impl HostProbe for Stove {
        fn sample_json(&self) -> String {
            self.0.fetch_add(1, Ordering::Relaxed);
            r#"{"thermal_state": "serious"}"#.to_owned()
        }
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
        let pause = wait(&mut probe, Some(40.0), rule, Instant::now()).unwrap();
        assert!(pause.reason.ends_with("still hot when the longest pause was over"), "{}", pause.reason);
        std::fs::write(zone.join("temp"), "45000").unwrap();
        assert_eq!(wait(&mut probe, Some(40.0), rule, Instant::now()), None);
    }

    #[test]
    fn waiting_is_sleeping_and_not_looking() {
        let root = tempfile::tempdir().unwrap();
        let stove = Stove(AtomicUsize::new(0));
        let rule = CoolDown { pause_s_max: 0.2, ..CoolDown::default() };
        let pause = wait(&mut Probe::new(root.path(), Some(&stove)), None, rule, Instant::now()).unwrap();
        assert!(pause.s >= 0.2);
        assert_eq!(stove.0.into_inner(), 2, "one look before the pause, and one after");
    }
}
