//! Simulated generations: what the controller gains, and what it costs where nothing can be gained.

use super::*;
use crate::cost::speedup;
use crate::{Purpose, Random};

/// A profile with `c` per drafted token and `d` per verified row beyond the first.
fn profile(c: f64, d: f64) -> CostProfile {
    CostProfile::new(vec![(1, 1.0), (17, 1.0 + 16.0 * d)], Some(c))
}

struct Run {
    cost: f64,
    tokens: f64,
    lens: Vec<usize>,
}

impl Run {
    fn speed(&self) -> f64 {
        self.tokens / self.cost
    }
}

/// Generates `tokens` tokens; `token` makes a drafted one's confidence and chance from a uniform number.
fn run(
    controller: &mut DraftLengthController,
    profile: &CostProfile,
    tokens: usize,
    seed: u64,
    token: impl Fn(f64) -> (f64, f64),
) -> Run {
    let random = Random::new(seed);
    let mut run = Run { cost: 0.0, tokens: 0.0, lens: Vec::new() };
    let mut emitted = 0;
    while emitted < tokens {
        let choice = controller.choose(DraftSource::Model, tokens - emitted - 1);
        assert_eq!(choice.len == 0, choice.passthrough.is_some());
        let round = run.lens.len();
        let (mut confidences, mut kept, mut reach) = (Vec::new(), Vec::new(), 1.0);
        while confidences.len() < choice.len && choice.stop.goes_on(confidences.len(), reach) {
            let i = confidences.len();
            let (confidence, chance) = token(random.uniform(round, Purpose::Draft, i));
            // Greedily nobody looks where the stop does not want to know.
            confidences.push(if choice.stop.is_active() { confidence as f32 } else { 1.0 });
            kept.push(random.uniform(round, Purpose::Accept, i) < chance);
            reach *= choice.stop.acceptance(confidence);
        }
        let drafted = confidences.len();
        let checked = if controller.allows_pruning { choice.stop.worth(0, &confidences) } else { drafted };
        let accepted = kept.iter().take(checked).take_while(|kept| **kept).count();
        controller.observe(&DraftedRound {
            checked,
            confidences_known: choice.stop.is_active(),
            foreseen: accepted == checked && kept.get(checked) == Some(&true),
            ..DraftedRound::all_checked(DraftSource::Model, &confidences, accepted, RoundTime::default())
        });
        run.cost += profile.draft_cost() * drafted as f64 + profile.verify_cost(checked + 1);
        run.lens.push(drafted);
        emitted += accepted + 1;
    }
    run.tokens = emitted as f64;
    run
}

fn adaptive(profile: &CostProfile) -> DraftLengthController {
    DraftLengthController::new(DraftLength::Adaptive(DRAFT_LEN_MAX), profile, None)
}

#[test]
fn the_table_of_best_lengths() {
    // Best draft length at (c, α) and its speed-up with free verification, from the specification.
    let table = [
        (0.02, [(4, 1.79), (6, 2.17), (8, 2.76), (11, 3.82)]),
        (0.05, [(3, 1.63), (4, 1.92), (6, 2.35), (8, 3.09)]),
        (0.10, [(2, 1.46), (3, 1.67), (4, 1.98), (6, 2.47)]),
        (0.20, [(1, 1.25), (2, 1.40), (3, 1.58), (4, 1.87)]),
        (0.30, [(1, 1.15), (1, 1.23), (2, 1.37), (3, 1.55)]),
    ];
    for (c, row) in table {
        for ((len, speed), acceptance) in row.into_iter().zip([0.5, 0.6, 0.7, 0.8]) {
            let controller = DraftLengthController::new(DraftLength::Adaptive(16), &profile(c, 0.0), Some(acceptance));
            let speeds = controller.speeds(Which::Model);
            assert_eq!(fastest(&speeds), len, "c {c}, α {acceptance}");
            assert_eq!(marginal(&speeds, acceptance, c, 0.0), len, "c {c}, α {acceptance}");
            assert!((speeds[len] - speed).abs() < 0.0051, "c {c}, α {acceptance}: {}", speeds[len]);
            // A verified row that costs d moves the table to c + d.
            let rows =
                DraftLengthController::new(DraftLength::Adaptive(16), &profile(0.01, c - 0.01), Some(acceptance));
            assert_eq!(fastest(&rows.speeds(Which::Model)), len);
        }
    }
}

/// The marginal rule, word for word.
fn marginal(speeds: &[f64], acceptance: f64, c: f64, d: f64) -> usize {
    let mut len = 0;
    while len + 1 < speeds.len() && acceptance.powi(len as i32 + 1) / (c + d) > speeds[len] {
        len += 1;
    }
    len
}

#[test]
fn a_cost_in_steps_is_looked_past() {
    // The second row costs much, the next six nothing: one drafted token loses, seven win.
    let profile = CostProfile::new(vec![(1, 1.0), (2, 1.9), (8, 1.9), (9, 4.0)], Some(0.02));
    let controller = DraftLengthController::new(DraftLength::Adaptive(16), &profile, Some(0.8));
    let speeds = controller.speeds(Which::Model);
    assert!(speeds[1] < 1.0 && speeds[7] > 1.5, "{speeds:?}");
    assert_eq!(fastest(&speeds), 7);
}

#[test]
fn hopeless_speculation_costs_at_most_three_per_cent() {
    for (c, d) in [(0.05, 0.02), (0.1, 0.1), (0.3, 0.2), (0.9, 0.5), (0.02, 0.0)] {
        for tokens in [96, 256, 2000] {
            for allows_pruning in [false, true] {
                for known in [None, Some(0.8)] {
                    let profile = profile(c, d);
                    let mode = DraftLength::Adaptive(DRAFT_LEN_MAX);
                    let mut controller = DraftLengthController::new(mode, &profile, known);
                    controller.set_mode(mode, allows_pruning);
                    let run = run(&mut controller, &profile, tokens, 3, |_| (0.5, 0.0));
                    let loss = run.cost / run.tokens - 1.0;
                    let case = format!("c {c}, d {d}, {tokens} tokens, {allows_pruning}, {known:?}");
                    assert!(loss <= 0.03, "{case}: {:.1} % lost", loss * 100.0);
                }
            }
        }
    }
}

#[test]
fn steady_acceptance_reaches_nine_tenths_of_the_best_speed() {
    for (c, d) in [(0.02, 0.01), (0.05, 0.05), (0.1, 0.02), (0.2, 0.1)] {
        for acceptance in [0.1, 0.3, 0.5, 0.7, 0.8, 0.9] {
            let profile = profile(c, d);
            let run = run(&mut adaptive(&profile), &profile, 3000, 17, |_| (0.5, acceptance));
            let best = (0..=DRAFT_LEN_MAX)
                .map(|len| speedup(acceptance, len, c, profile.verify_cost(len + 1), 0.0))
                .fold(0.0, f64::max);
            assert!(run.speed() > 0.9 * best, "c {c}, d {d}, α {acceptance}: {} of {best}", run.speed());
        }
    }
}

#[test]
fn the_choice_settles_and_comes_back_when_the_text_changes() {
    let profile = profile(0.1, 0.05);
    let mut controller = adaptive(&profile);
    let steady = run(&mut controller, &profile, 2000, 5, |_| (0.5, 0.7));
    let changes = steady.lens.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!(changes < steady.lens.len() / 5, "{changes} changes in {} rounds", steady.lens.len());

    let hopeless = run(&mut controller, &profile, 600, 6, |_| (0.5, 0.0));
    assert!(hopeless.cost / hopeless.tokens < 1.03, "{}", hopeless.cost / hopeless.tokens);
    assert!(hopeless.lens.iter().rev().take(200).filter(|&&len| len == 0).count() > 170);
    let again = run(&mut controller, &profile, 1500, 7, |_| (0.5, 0.8));
    assert!(again.lens.iter().rev().skip(2).take(50).all(|&len| len >= 2), "{:?}", again.lens);
}

#[test]
fn a_drafter_that_knows_when_it_is_right_is_faster_than_any_fixed_length() {
    // Half of the tokens are easy, and the drafter is sure of those.
    let token = |u: f64| if u < 0.5 { (0.99, 0.97) } else { (0.3, 0.35) };
    for (c, d) in [(0.05, 0.03), (0.1, 0.05), (0.2, 0.05)] {
        let profile = profile(c, d);
        let fixed = |len: usize| {
            let mut controller = DraftLengthController::new(DraftLength::Fixed(len), &profile, None);
            run(&mut controller, &profile, 8000, 11, token).speed()
        };
        let best = (1..=8).map(fixed).fold(1.0, f64::max);
        let adaptive = run(&mut adaptive(&profile), &profile, 8000, 11, token).speed();
        assert!(adaptive > 1.03 * best, "c {c}, d {d}: {adaptive} against {best} fixed");
    }
}

#[test]
fn dropping_what_turned_out_unlikely_gains_where_rows_are_dear() {
    let token = |u: f64| if u < 0.5 { (0.99, 0.97) } else { (0.3, 0.2) };
    // As int4 kernels on a processor: drafting is cheap, every row takes nearly half a step.
    for (c, d, gain) in [(0.05, 0.45, 1.1), (0.05, 0.2, 1.03), (0.05, 0.05, 1.0)] {
        let profile = profile(c, d);
        let whole = run(&mut adaptive(&profile), &profile, 8000, 11, token).speed();
        let mut pruning = adaptive(&profile);
        pruning.set_mode(DraftLength::Adaptive(DRAFT_LEN_MAX), true);
        let pruned = run(&mut pruning, &profile, 8000, 11, token).speed();
        assert!(pruned > gain * whole, "c {c}, d {d}: {pruned} against {whole}");
    }
}

#[test]
fn a_slower_device_and_a_held_up_round_do_not_silence_a_good_drafter() {
    let profile = profile(0.1, 0.05);
    let mut controller = adaptive(&profile);
    let mut plain = 0;
    for round in 0..400 {
        let choice = controller.choose(DraftSource::Model, 999);
        plain += usize::from(choice.len == 0);
        let confidences = vec![0.9; choice.len.min(4)];
        // Everything takes twice as long after a while, and now and then the machine does something else.
        let pace = if round > 100 { 2.0 } else { 1.0 };
        let held_up = if round % 97 == 50 { 40.0 } else { 1.0 };
        let ms = |cost: f64| Duration::from_secs_f64(cost * pace * held_up * 1e-3);
        let time = RoundTime {
            draft: ms(0.1 * confidences.len() as f64),
            score: ms(profile.verify_cost(confidences.len() + 1)),
        };
        controller.observe(&DraftedRound::all_checked(
            DraftSource::Model,
            &confidences,
            confidences.len() * 3 / 4,
            time,
        ));
    }
    assert!(plain < 60, "{plain} of 400 rounds were plain");
}

#[test]
fn a_drafter_that_has_to_catch_up_is_charged_for_it() {
    // The profile says that drafting is nearly free; every trial takes two plain steps all the same.
    let profile = profile(0.01, 0.01);
    let mut controller = adaptive(&profile);
    let (mut spent, rounds) = (0.0, 2000);
    for _ in 0..rounds {
        let choice = controller.choose(DraftSource::Model, 999);
        let confidences = vec![0.5; choice.len];
        let draft = if choice.len > 0 { 2.0 } else { 0.0 };
        spent += draft + profile.verify_cost(choice.len + 1);
        let score = Duration::from_secs_f64(profile.verify_cost(choice.len + 1) * 1e-3);
        let time = RoundTime { draft: Duration::from_secs_f64(draft * 1e-3), score };
        controller.observe(&DraftedRound::all_checked(DraftSource::Model, &confidences, 0, time));
    }
    assert!(spent / f64::from(rounds) < 1.03, "{spent} plain steps for {rounds} tokens");
}

#[test]
fn limits_and_reasons() {
    let profile = profile(0.1, 0.0);
    let mut controller = DraftLengthController::new(DraftLength::Fixed(5), &profile, None);
    assert_eq!(controller.choose(DraftSource::Model, 9), DraftChoice::fixed(5));
    assert_eq!(controller.choose(DraftSource::Model, 3).len, 3);
    assert_eq!(controller.choose(DraftSource::Model, 0).passthrough, Some(Passthrough::OneTokenLeft));
    assert_eq!(controller.choose(DraftSource::Nothing, 9).passthrough, Some(Passthrough::NothingToPropose));
    controller.set_mode(DraftLength::Fixed(0), false);
    assert_eq!(controller.choose(DraftSource::Model, 9).passthrough, Some(Passthrough::Off));

    let mut costly = DraftLengthController::new(DraftLength::Adaptive(8), &self::profile(0.9, 0.3), Some(0.5));
    let reason = costly.choose(DraftSource::Model, 9).passthrough;
    let Some(Passthrough::DoesNotPay { acceptance, cost }) = reason else { panic!("{reason:?}") };
    assert!((acceptance - 0.5).abs() < 1e-12 && (cost - 1.2).abs() < 1e-9);
}

#[test]
fn a_copy_is_judged_by_its_own_record_and_cost() {
    let profile = profile(0.5, 0.02);
    let mut controller = adaptive(&profile);
    for _ in 0..60 {
        controller.observe(&DraftedRound::all_checked(DraftSource::Model, &[0.5; 2], 0, RoundTime::default()));
        controller.observe(&DraftedRound::all_checked(DraftSource::Lookup, &[1.0; 8], 8, RoundTime::default()));
    }
    assert_eq!(controller.choose(DraftSource::Model, 99).len, 0);
    assert!(controller.choose(DraftSource::Lookup, 99).len >= 8);
    assert!(controller.acceptance(DraftSource::Lookup, 0) > 0.9);
    assert_eq!(controller.acceptance(DraftSource::Nothing, 0), 0.0);
}
