#!/usr/bin/env python3
"""Drafthorse against onnxruntime-genai on one pack folder, interleaved in one run.

    python3 tests/peers/genai.py PACK [--prompt TEXT]... [--runs 5] [--max-tokens 128] [--draft-tokens 4]

Installs onnxruntime-genai and the pinned onnxruntime into a throw-away environment in the cache folder (pip needs its
index once). Every measured run is a process of its own that generates once unmeasured and then five times measured,
greedily; its fastest counts, for a disturbance can only slow it. The two sides take turns, so that a busy machine slows
both. What is compared is decode speed: the tokens after the first
round, divided by the time after it (without speculation a round is one token). Both sides use the ONNX Runtime version
printed, the same model files, and the same number of threads.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

GENAI = "0.18.0"
ONNXRUNTIME = "1.31.1"
GENERATIONS = 6
REPOSITORY = Path(__file__).resolve().parents[2]
PROMPTS = ["Once upon a time", "One day, a little girl named Lily found a needle in her room.", "The big dog"]


def cache_folder():
    """This project's cache, as core/pack/src/runtime_library.rs has it."""
    own = os.environ.get("DRAFTHORSE_CACHE")
    if own:
        return Path(own)
    if sys.platform == "win32":
        return Path(os.environ["LOCALAPPDATA"]) / "drafthorse"
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches/drafthorse"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "drafthorse"


def environment(install=True):
    """Python of an environment that holds both packages, made if it is missing; None if it may not be made."""
    folder = cache_folder() / f"peers/genai-{GENAI}-ort-{ONNXRUNTIME}"
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not (folder / "complete").exists():
        if not install:
            return None
        shutil.rmtree(folder, ignore_errors=True)
        print(f"Installing onnxruntime-genai {GENAI} into the cache ...", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        packages = [f"onnxruntime-genai=={GENAI}", f"onnxruntime=={ONNXRUNTIME}"]
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages], check=True)
        (folder / "complete").touch()
    return python


def peer_folder(pack, mode, threads, parent):
    """The pack with a configuration of one mode: links to its files, and a genai_config.json without what must not run."""
    folder = Path(parent) / mode
    folder.mkdir()
    for entry in pack.iterdir():
        if entry.name != "genai_config.json":
            (folder / entry.name).symlink_to(entry.resolve())
    config = json.loads((pack / "genai_config.json").read_text())
    config.pop("speculative", None)
    if mode != "draft":
        config["model"].pop("draft", None)
    elif "draft" not in config["model"]:
        return None
    for part in ("decoder", "draft"):
        if part in config["model"]:
            config["model"][part].setdefault("session_options", {})["intra_op_num_threads"] = threads
    (folder / "genai_config.json").write_text(json.dumps(config))
    return folder


def peer_generators(job, count):
    """In a child process: `count` fresh generators of onnxruntime-genai for the job, each with the prompt's token ids."""
    import onnxruntime_genai as og

    if hasattr(og, "disable_telemetry_events"):
        og.disable_telemetry_events()
    model = og.Model(job["folder"])
    ids = og.Tokenizer(model).encode(job["prompt"])
    for _ in range(count):
        params = og.GeneratorParams(model)
        params.set_search_options(do_sample=False, max_length=len(ids) + job["max_tokens"])
        if job["speculative"]:
            params.set_speculative_options(**job["speculative"])
        yield og.Generator(model, params), ids


def run_peer(job):
    """Child process: one unmeasured generation and then measured ones by onnxruntime-genai."""
    result = {"rate": 0}
    for number, (generator, ids) in enumerate(peer_generators(job, GENERATIONS)):
        generator.append_tokens(ids)
        generator.generate_next_token()
        start = time.perf_counter()
        first_round = generator.get_speculative_stats()["tokens_queued"] if job["speculative"] else 1
        while not generator.is_done():
            generator.generate_next_token()
        seconds = time.perf_counter() - start
        tokens = [int(token) for token in generator.get_sequence(0)[len(ids):]]
        rate = (len(tokens) - max(1, first_round)) / seconds
        if number > 0:
            result = {"tokens": tokens, "rate": max(rate, result["rate"])}
    print(json.dumps(result))


def call_peer(python, folder, mode, arguments, prompt):
    """One measured run of onnxruntime-genai."""
    speculative = {
        "plain": {},
        "draft": {"max_draft_tokens": arguments.draft_tokens},
        "lookup": {"ngram_size": 3, "max_draft_tokens": arguments.draft_tokens},
    }[mode]
    job = {"folder": str(folder), "prompt": prompt, "max_tokens": arguments.max_tokens, "speculative": speculative}
    done = subprocess.run(
        [str(python), __file__, "--child", json.dumps(job)], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def call_ours(binary, pack, mode, arguments, prompt):
    """One measured run of ours."""
    flags = {
        "plain": ["--drafting", "none"],
        "draft": ["--draft-tokens", str(arguments.draft_tokens)],
        "lookup": ["--draft-tokens", str(arguments.draft_tokens), "--drafting", "lookup"],
        "adaptive draft": ["--drafting", "model"],
        "adaptive": ["--drafting", "both"],
    }[mode]
    done = subprocess.run(
        [str(binary), "--json", "generate", str(pack), prompt, "--temperature", "0", "--max-tokens",
         str(arguments.max_tokens), "--threads", str(arguments.threads), "--repeat", str(GENERATIONS), *flags],
        check=True, capture_output=True, text=True)
    tokens, results = [], []
    for line in done.stdout.splitlines():
        event = json.loads(line)
        if event["event"] == "tokens":
            tokens += [token["id"] for token in event["tokens"]]
        elif event["event"] == "finished":
            results.append({"tokens": tokens, "rate": event["account"]["decode_tokens_per_s"]})
            tokens = []
    return max(results[1:], key=lambda result: result["rate"])


def first_difference(left, right):
    """Index of the first token that differs; an end token that only one side reports is no difference."""
    shared = min(len(left), len(right))
    for index in range(shared):
        if left[index] != right[index]:
            return index
    return None if abs(len(left) - len(right)) <= 1 else shared


def measure(arguments, python, binary, scratch):
    """Rates per mode and side, in the order measured, and the differences between the two texts."""
    pack = Path(arguments.pack).resolve()
    folders = {mode: peer_folder(pack, mode, arguments.threads, scratch) for mode in ("plain", "draft", "lookup")}
    rates, differences = {}, {}
    for prompt in arguments.prompt or PROMPTS:
        for run in range(arguments.runs):
            for mode, folder in folders.items():
                if folder is None:
                    continue
                calls = [("ours", lambda: call_ours(binary, pack, mode, arguments, prompt)),
                         ("genai", lambda: call_peer(python, folder, mode, arguments, prompt))]
                results = {side: call() for side, call in (calls if run % 2 == 0 else reversed(calls))}
                for side, result in results.items():
                    rates.setdefault((mode, side), []).append(result["rate"])
                if run == 0:
                    at = first_difference(results["ours"]["tokens"], results["genai"]["tokens"])
                    differences.setdefault(mode, []).append(at)
            for mode in ("adaptive draft", "adaptive"):
                result = call_ours(binary, pack, mode, arguments, prompt)
                rates.setdefault((mode, "ours"), []).append(result["rate"])
    return rates, differences


def ratios(rates, mode):
    """Ours over theirs, pair by pair as they were interleaved."""
    return [ours / theirs for ours, theirs in zip(rates[mode, "ours"], rates[mode, "genai"])]


def report(arguments, rates, differences):
    """Prints the table."""
    count = len(rates["plain", "ours"])
    print(f"\n{Path(arguments.pack).name}: onnxruntime-genai {GENAI} and Drafthorse on ONNX Runtime {ONNXRUNTIME}, "
          f"{arguments.threads} threads, {platform.machine()}")
    print(f"Decode tokens/s, median of {count} interleaved runs, the fastest of {GENERATIONS - 1} in each; greedy, at most {arguments.max_tokens} tokens, "
          f"{arguments.draft_tokens} drafted per round.\n")
    print("| mode | Drafthorse | genai | ratio (median of pairs, min to max) | same tokens |")
    print("|---|---|---|---|---|")
    for mode in ("plain", "draft", "lookup"):
        if (mode, "genai") not in rates:
            print(f"| {mode} | the pack has no model.draft | | | |")
            continue
        pairs = ratios(rates, mode)
        same = "yes" if all(at is None for at in differences[mode]) else f"first difference at {differences[mode]}"
        print(f"| {mode} | {statistics.median(rates[mode, 'ours']):.1f} | {statistics.median(rates[mode, 'genai']):.1f} "
              f"| {statistics.median(pairs):.2f} ({min(pairs):.2f} to {max(pairs):.2f}) | {same} |")
    if ("draft", "genai") in rates:
        adaptive = rates["adaptive draft", "ours"]
        pairs = [ours / theirs for ours, theirs in zip(adaptive, rates["draft", "genai"])]
        print(f"| draft, ours of adaptive length | {statistics.median(adaptive):.1f} "
              f"| {statistics.median(rates['draft', 'genai']):.1f} "
              f"| {statistics.median(pairs):.2f} ({min(pairs):.2f} to {max(pairs):.2f}) | |")
    adaptive = rates["adaptive", "ours"]
    best = max(statistics.median(rates[key]) for key in rates if key[1] == "genai")
    print(f"| adaptive, both drafters | {statistics.median(adaptive):.1f} | no such mode; its best above {best:.1f} "
          f"| {statistics.median(adaptive) / best:.2f} | |")


def command(named):
    """The `drafthorse` command: the one named, else built from this repository."""
    if named:
        return Path(named)
    subprocess.run(["cargo", "build", "--release", "-p", "drafthorse-cli"], cwd=REPOSITORY, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR") or REPOSITORY / "target")
    return target / "release" / ("drafthorse.exe" if sys.platform == "win32" else "drafthorse")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", nargs="?", default=str(REPOSITORY / "tests/packs/demo"))
    parser.add_argument("--prompt", action="append", help="may be repeated")
    parser.add_argument("--runs", type=int, default=5, help="measured runs per prompt and mode")
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--draft-tokens", type=int, default=4)
    parser.add_argument("--threads", type=int, default=max(1, (os.cpu_count() or 2) // 2))
    parser.add_argument("--drafthorse", help="the command; built from this repository if absent")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        run_peer(json.loads(arguments.child))
        return
    binary = command(arguments.drafthorse)
    python = environment()
    with tempfile.TemporaryDirectory() as scratch:
        rates, differences = measure(arguments, python, binary, scratch)
    report(arguments, rates, differences)


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        print(f"{error}\n{error.stderr or ''}", file=sys.stderr)
        sys.exit(1)
