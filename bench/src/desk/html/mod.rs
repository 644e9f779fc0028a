//! The report as one page that needs nothing else: no network, no scripts, plots as SVG.

mod plot;
mod plots;

use std::fmt::Write;

use super::compare::in_turns;
use crate::case::Case;
use crate::plan::{Decoding, Mode};
use crate::reading::Reading;
use crate::report::{Report, Subject};
use crate::statistics::{PAIRS_MIN, RESAMPLES};
use crate::table::{self, interval, mib, ms, number, provider, reach, speedup, threads, told};

use plot::{STYLE, escaped};

const PAGE_STYLE: &str = "\
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.55 system-ui,sans-serif}\
main{max-width:1180px;margin:0 auto;padding:2rem 1.25rem 4rem}h1{margin:0;font-size:1.7rem}h2{margin:2.4rem 0 .4rem;font-size:1.2rem}\
h3{margin:1.2rem 0 .3rem;font-size:1rem}p{margin:.3rem 0;max-width:75ch}.soft{color:var(--soft)}\
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(170px,1fr));gap:.8rem;margin:1.2rem 0}\
.card{background:var(--panel);border:1px solid var(--line);border-radius:8px;padding:.7rem .9rem}\
.card b{display:block;font-size:1.55rem;line-height:1.25}.card span{color:var(--soft);font-size:.85rem}\
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,480px),1fr));gap:1rem}\
figure{margin:0;background:var(--panel);border:1px solid var(--line);border-radius:8px;padding:.7rem}\
figure svg{width:100%;height:auto;display:block}figcaption{font-weight:600;margin-bottom:.3rem}\
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.88rem;font-variant-numeric:tabular-nums}\
th,td{padding:.28rem .7rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}\
th:first-child,td:first-child{text-align:left}th{color:var(--soft);font-weight:600}.facts td{text-align:left;white-space:normal}\
.facts td:first-child{color:var(--soft);white-space:nowrap;vertical-align:top}.notes li{margin:.25rem 0;max-width:80ch}\
.yes{color:var(--good);font-weight:600}.no{color:var(--bad);font-weight:600}.swatch{display:inline-block;width:.7em;height:.7em;border-radius:2px;margin-right:.45em}\
code{font:.85em ui-monospace,monospace;word-break:break-all}";

/// The report as a page.
pub fn html(report: &Report) -> String {
    let title = escaped(&format!("{} on {}", report.pack.name, report.machine.name()));
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><link rel=\"icon\" href=\"data:,\">\
         <title>{title}</title><style>{STYLE}{PAGE_STYLE}</style></head><body><main>\n<h1>{title}</h1>"
    );
    let _ = write!(
        page,
        "<p class=\"soft\">{} · {:.0} s · {} · report {}</p>",
        escaped(&report.started_at),
        report.duration_s,
        escaped(&report.program),
        escaped(&report.id)
    );
    for subject in &report.subjects {
        subject_html(&mut page, report, subject);
    }
    notes(&mut page, report);
    facts(&mut page, report);
    page.push_str("</main></body></html>\n");
    page
}

/// The plot of speed by task of the report's first subject, as a file of its own; `None` where nothing was compared.
pub fn speed_plot(report: &Report) -> Option<String> {
    let subject = report.subjects.first()?;
    Decoding::ALL.into_iter().find_map(|decoding| plots::by_task(subject, decoding)).map(|svg| plot::standalone(&svg))
}

fn subject_html(page: &mut String, report: &Report, subject: &Subject) {
    let _ = write!(
        page,
        "<h2>{} on {}, {}</h2>",
        escaped(&subject.engine),
        escaped(&provider(subject)),
        threads(subject.threads)
    );
    cards(page, subject);
    for decoding in Decoding::ALL {
        let all: Vec<&Case> = subject.over_all(decoding).collect();
        if !all.is_empty() {
            modes(page, decoding, &all);
        }
    }
    page.push_str("<h3>Plots</h3><div class=\"plots\">");
    for decoding in Decoding::ALL {
        let named = |what: &str| format!("{what}, {}", decoding.name());
        figure(page, &named("Speed by task, with 95 % intervals"), plots::by_task(subject, decoding));
        figure(page, &named("Time between tokens"), plots::latency(subject, decoding));
        figure(page, &named("Acceptance by draft position"), plots::acceptance(subject, decoding));
    }
    let decoding = Decoding::ALL.into_iter().find(|d| subject.cases.iter().any(|c| c.decoding == *d));
    figure(page, "What a target pass costs, and what adaptive chose", decoding.and_then(|d| plots::costs(subject, d)));
    figure(page, "Speed that these costs promise", plots::prediction(subject));
    figure(page, "Speed over time", plots::over_time(subject));
    page.push_str("</div>");
    resources(page, report, subject);
}

fn figure(page: &mut String, caption: &str, svg: Option<String>) {
    if let Some(svg) = svg {
        let _ = write!(page, "<figure><figcaption>{}</figcaption>{svg}</figure>", escaped(caption));
    }
}

/// The figures that a reader looks for first: of the mode that an app gets, greedy where it was measured.
fn cards(page: &mut String, subject: &Subject) {
    let find = |mode: Mode| {
        Decoding::ALL.into_iter().find_map(|decoding| subject.over_all(decoding).find(|case| case.mode == mode))
    };
    let Some(case) = [Mode::Adaptive, Mode::Drafter, Mode::Both, Mode::Lookup, Mode::Plain].into_iter().find_map(find)
    else {
        return;
    };
    page.push_str("<div class=\"cards\">");
    let mut card = |figure: String, what: &str| {
        let _ = write!(page, "<div class=\"card\"><b>{}</b><span>{}</span></div>", escaped(&figure), escaped(what));
    };
    let of = format!("{}, {}", case.mode.name(), case.decoding.name());
    if let Some(ratio) = &case.speedup {
        card(told(ratio), &format!("speed against plain{}, {of}", reach(ratio)));
    }
    if let Some(speed) = &case.decode_tokens_per_s {
        card(number(speed.value), &format!("tokens/s {}, {of}", interval(speed.low, speed.high, number)));
    }
    card(ms(case.ttft_ms.p50), "to the first token, half of the answers");
    card(ms(case.inter_token_ms.p99), "between tokens, 99 in a hundred");
    if let Some(tokens) = case.tokens_per_target_call {
        card(format!("{tokens:.2}"), &format!("tokens per target call, {of}"));
    }
    if let Some(peak) = subject.memory.as_ref().and_then(|memory| memory.peak_bytes.value()) {
        card(mib(*peak), "most memory resident, with one session");
    }
    page.push_str("</div>");
}

fn modes(page: &mut String, decoding: Decoding, all: &[&Case]) {
    let what = match decoding {
        Decoding::Greedy => "Greedy",
        Decoding::Sampled => "Sampled at temperature 1, lossless",
        Decoding::Lenient => "Lenient at temperature 1: not the target's distribution",
    };
    let _ = write!(
        page,
        "<h3>{what}</h3><div class=\"wide\"><table><tr><th>mode</th><th>tokens/s</th><th>against plain</th>\
         <th>first token p50</th><th>p90</th><th>ms/token p50</th><th>p90</th><th>p99</th><th>max</th>\
         <th>tokens/call</th><th>accepted</th><th>MBSU</th><th>prefill tokens/s</th><th>mJ/token</th><th>same text</th>\
         <th>outliers</th></tr>"
    );
    for case in all {
        let dash = || "–".to_owned();
        let share = |value: Option<f64>| value.map_or_else(dash, |share| format!("{:.0} %", 100.0 * share));
        let cells = [
            case.decode_tokens_per_s.as_ref().map_or_else(dash, table::figure),
            ratio_cell(case),
            ms(case.ttft_ms.p50),
            ms(case.ttft_ms.p90),
            number(case.inter_token_ms.p50),
            number(case.inter_token_ms.p90),
            number(case.inter_token_ms.p99),
            number(case.inter_token_ms.max),
            case.tokens_per_target_call.map_or_else(dash, |tokens| format!("{tokens:.2}")),
            share(case.acceptance_rate),
            case.mbsu.map_or_else(dash, |mbsu| format!("{mbsu:.2}")),
            case.prefill_tokens_per_s.as_ref().map_or_else(dash, |speed| number(speed.value)),
            case.energy_mj_per_token.value().map_or_else(dash, |energy| number(*energy)),
            if decoding == Decoding::Greedy { share(case.identical_share) } else { dash() },
            format!("{} of {}", case.outliers, case.generations),
        ];
        let _ = write!(
            page,
            "<tr><td><span class=\"swatch\" style=\"background:{}\"></span>{}</td>",
            plot::colour(case.mode),
            case.mode.name()
        );
        for cell in cells {
            let _ = write!(page, "<td>{cell}</td>");
        }
        page.push_str("</tr>");
    }
    page.push_str("</table></div>");
}

fn ratio_cell(case: &Case) -> String {
    let class = match &case.speedup {
        Some(ratio) if ratio.value.is_some_and(|value| value > 1.0) => "yes",
        Some(ratio) if ratio.value.is_some() => "no",
        _ => "soft",
    };
    format!("<span class=\"{class}\">{}</span>", escaped(&speedup(case.speedup.as_ref())))
}

fn resources(page: &mut String, report: &Report, subject: &Subject) {
    page.push_str("<h3>Loading, memory, providers</h3><table class=\"facts\">");
    if let Some(load) = &subject.load {
        row(page, "load, cold", &reading(&load.cold_ms, |value| ms(*value)));
        row(page, "read for it", &reading(&load.cold_read_bytes, |bytes| mib(*bytes)));
        row(
            page,
            "load, warm",
            &format!("{} (median of further openings, with digests and compiled graphs known)", ms(load.warm_ms)),
        );
    }
    if let Some(memory) = &subject.memory {
        row(page, "peak memory", &reading(&memory.peak_bytes, |bytes| mib(*bytes)));
        row(page, "before opening", &reading(&memory.before_bytes, |bytes| mib(*bytes)));
        row(page, "KV caches", &format!("{} for {} tokens", mib(memory.cache_bytes), memory.context_len));
    }
    if let Some(costs) = &subject.costs {
        let state = if costs.stable { "settled" } else { "did not settle" };
        row(
            page,
            "warm-up",
            &format!(
                "{} sweeps over the cost curve; {state}, {:.1} % between the last two",
                costs.sweeps,
                100.0 * costs.change
            ),
        );
    }
    for count in &subject.nodes {
        row(page, &format!("{} nodes", count.model), &format!("{} on {}", count.nodes, count.provider));
    }
    for refused in &subject.refused {
        row(page, "refused", refused);
    }
    for pause in &subject.pauses {
        row(page, "pause", &format!("{:.1} s at {:.0} s: {}", pause.s, pause.at_s, pause.reason));
    }
    row(page, "runtime", &subject.runtime);
    if report.plan.keep_rounds {
        row(page, "rounds", "every round's time is in the JSON report");
    }
    page.push_str("</table>");
}

fn row(page: &mut String, name: &str, value: &str) {
    let _ = write!(page, "<tr><td>{}</td><td>{}</td></tr>", escaped(name), escaped(value));
}

fn reading<T>(reading: &Reading<T>, show: impl Fn(&T) -> String) -> String {
    match reading {
        Reading::Present { value, source } => format!("{} ({source})", show(value)),
        Reading::Absent { absent } => format!("not told: {absent}"),
    }
}

fn notes(page: &mut String, report: &Report) {
    page.push_str("<h2>Before you believe it</h2><ul class=\"notes\">");
    for note in &report.notes {
        let _ = write!(page, "<li>{}</li>", escaped(note));
    }
    let apart =
        report.subjects.split_first().is_some_and(|(first, others)| others.iter().any(|other| !in_turns(first, other)));
    let (who, but) = if apart {
        ("The modes of one provider", " Providers ran one after the other: what else changed meanwhile is part of it.")
    } else {
        ("What is compared", "")
    };
    let _ = write!(
        page,
        "<li>{who} ran in turns, prompt by prompt, in an order that was reversed from prompt to prompt and from \
         repetition to repetition, after a warm-up.{but} Speeds are geometric means over prompts of the median over \
         repetitions; intervals hold 95 % of {RESAMPLES} bootstrap resamples of prompts and repetitions. Outliers are marked \
         and count. A speed-up whose interval holds 1, or that rests on fewer than {PAIRS_MIN} pairs, is not told as a number.</li></ul>"
    );
}

fn facts(page: &mut String, report: &Report) {
    let (machine, pack) = (&report.machine, &report.pack);
    let text = |value: &Reading<String>| reading(value, String::clone);
    page.push_str("<h2>Device</h2><table class=\"facts\">");
    row(page, "device", &text(&machine.device));
    row(page, "processor", &text(&machine.soc));
    row(page, "system", &format!("{} {} ({})", machine.os, machine.arch, text(&machine.os_version)));
    row(page, "kernel", &text(&machine.kernel));
    let cores = |kinds: &Vec<crate::machine::CoreKind>| {
        kinds.iter().map(|kind| format!("{} × {} MHz", kind.count, kind.mhz_max)).collect::<Vec<_>>().join(", ")
    };
    row(page, "cores", &format!("{}; {}", machine.cpu_count, reading(&machine.cores, cores)));
    row(page, "governor", &text(&machine.governor));
    row(page, "memory", &reading(&machine.memory_bytes, |bytes| mib(*bytes)));
    for (name, sensor) in &machine.sensors {
        row(page, name, &text(sensor));
    }
    page.push_str("</table><h2>Pack</h2><table class=\"facts\">");
    row(page, "folder", &format!("{}, {}", pack.kind, pack.model_type));
    row(page, "target", &format!("{}; {}", mib(pack.target_bytes), text(&pack.target_digest)));
    let bytes = pack.drafter_bytes.map_or_else(String::new, |bytes| format!("{}; ", mib(bytes)));
    row(page, "drafter", &format!("{bytes}{}", text(&pack.drafter_digest)));
    row(
        page,
        "parameters",
        &reading(&pack.parameter_ratio, |ratio| format!("drafter {:.2} % of the target", 100.0 * ratio)),
    );
    if let Some(lineage) = &pack.lineage {
        row(page, "losses", &lineage["losses"].to_string());
        row(page, "seed, commit", &format!("{}, {}", lineage["seed"], lineage["commit"]));
    }
    page.push_str("</table><h2>Plan</h2><p><code>");
    page.push_str(&escaped(&serde_json::to_string(&report.plan).unwrap_or_default()));
    page.push_str("</code></p>");
}
