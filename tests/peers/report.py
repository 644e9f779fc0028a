#!/usr/bin/env python3
"""Drafthorse and its peers in one report, in turns: the same schema, figures and page as `drafthorse bench`.

    python3 tests/peers/report.py [PACK] [-o peers.json] [--html peers.html] [--runs 3]
        [--llama BINARY --llama-target T.gguf --llama-drafter D.gguf]

Peers are onnxruntime-genai on the same folder (plain, its draft-model and its n-gram speculation) and, where a binary is
named, llama.cpp's llama-speculative-simple on models of its own. For every prompt each engine runs in a process of its own,
which warms up and then generates several times; the engines take turns and the order is reversed each time. What was timed
goes to `drafthorse bench assemble`, so that every engine's figures are made by the same code.
`drafthorse bench compare REPORT` then tells the engines apart, in pairs.
"""

import argparse
import datetime
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import genai

MODES = {"plain": "plain", "draft": "drafter", "lookup": "lookup"}
PROMPTS = [
    {"task": "story", "text": "Once upon a time"},
    {"task": "story", "text": "One day, a little girl named Lily found a needle in her room."},
    {"task": "dialogue", "text": "User: I lost my keys this morning and had to walk home.\nBot:"},
    {"task": "rewriting", "text": "List of names: Anna, Ben, Clara, Daniel, Emma. The same list once more: Anna, Ben,"},
]


def record(place, mode, start, **figures):
    """A generation as `bench assemble` takes it; what an engine does not tell is 0."""
    base = {"turn": 0, "decoding": "greedy", "mode": mode, "prompt_tokens": 0, "tokens": 0, "ttft_ms": 0.0,
            "prefill_tokens_per_s": 0.0, "decode_tokens_per_s": 0.0, "rounds": 0, "drafted": 0, "proposed": 0,
            "accepted": 0, "stop_reason": "UNKNOWN", "lossless": True, "text_digest": "unknown", "at_s": start}
    return {**base, **place, **figures}


# --- ours ---------------------------------------------------------------------------------------------------------

def ours(arguments, prompt):
    """Generations of one process of ours, every mode in turns, and what it runs on."""
    plan = {"pack": str(arguments.pack), "threads": arguments.threads, "prompts": [prompt], "decodings": ["greedy"],
            "modes": ["plain", "drafter", "lookup", "adaptive"], "max_tokens": arguments.max_tokens,
            "draft_len": arguments.draft_tokens, "repetitions": arguments.repetitions, "keep_rounds": True}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(plan, file)
        file.flush()
        done = subprocess.run([str(arguments.binary), "--json", "bench", "--plan", file.name],
                              check=True, capture_output=True, text=True)
    return json.loads(done.stdout)["subjects"][0]


# --- onnxruntime-genai --------------------------------------------------------------------------------------------

def genai_child(job):
    """Child process: one unmeasured generation and then measured ones, each call's time noted."""
    results = []
    for number, (generator, ids) in enumerate(genai.peer_generators(job, job["repetitions"] + 1)):
        start = time.perf_counter()
        generator.append_tokens(ids)
        times = [start]
        while not generator.is_done():
            generator.generate_next_token()
            times.append(time.perf_counter())
        stats = generator.get_speculative_stats() if job["speculative"] else {}
        tokens = [int(token) for token in generator.get_sequence(0)[len(ids):]]
        if number > 0:
            calls = [1e3 * (after - before) for before, after in zip(times, times[1:])]
            results.append({"calls_ms": calls, "tokens": tokens, "prompt_tokens": len(ids), "stats": stats})
    print(json.dumps(results))


def rounds_of(calls_ms, stats):
    """Rounds as [ms, tokens]: a call that only hands out a token made before belongs to the round before it."""
    if not stats:
        return [[ms, 1] for ms in calls_ms]
    least = 0.25 * stats["total_target_ms"] / max(1, stats["rounds"])
    rounds = []
    for ms in calls_ms:
        if ms >= least or not rounds:
            rounds.append([ms, 1])
        else:
            rounds[-1][0] += ms
            rounds[-1][1] += 1
    return rounds


def genai_generations(arguments, folder, mode, prompt, place, start):
    """Measured generations of onnxruntime-genai in one mode."""
    speculative = {"plain": {}, "draft": {"max_draft_tokens": arguments.draft_tokens},
                   "lookup": {"ngram_size": 3, "max_draft_tokens": arguments.draft_tokens}}[mode]
    job = {"folder": str(folder), "prompt": prompt["text"], "max_tokens": arguments.max_tokens,
           "repetitions": arguments.repetitions, "speculative": speculative}
    done = subprocess.run([str(arguments.python), __file__, "--child", json.dumps(job)],
                          check=True, capture_output=True, text=True)
    made = []
    for number, result in enumerate(json.loads(done.stdout.strip().splitlines()[-1])):
        stats = result["stats"]
        rounds = rounds_of(result["calls_ms"], stats)
        after_first = sum(ms for ms, _ in rounds[1:])
        tokens_after = sum(tokens for _, tokens in rounds[1:])
        made.append(record(
            {**place, "repetition": place["repetition"] + number}, MODES[mode], start,
            prompt_tokens=result["prompt_tokens"], tokens=len(result["tokens"]), ttft_ms=rounds[0][0] if rounds else 0.0,
            decode_tokens_per_s=1e3 * tokens_after / after_first if after_first > 0 else 0.0,
            # Every pass of the target emits one token of its own; passes without a draft are not among its rounds.
            rounds=len(result["tokens"]) - stats.get("draft_tokens_accepted", 0), proposed=stats.get("draft_tokens_proposed", 0),
            accepted=stats.get("draft_tokens_accepted", 0), text_digest=digest(result["tokens"]),
            detail={"rounds": rounds[1:]}))
    return made


def digest(tokens):
    """FNV-1a over the ids, as the harness digests its own texts."""
    value = 0xCBF29CE484222325
    for token in tokens:
        for byte in token.to_bytes(4, "little"):
            value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


# --- llama.cpp ----------------------------------------------------------------------------------------------------

def llama_generations(arguments, prompt, place, start):
    """Measured generations of llama-speculative-simple, a process each; it tells totals only."""
    made = []
    for number in range(arguments.repetitions):
        command = [arguments.llama, "-m", arguments.llama_target, "-md", arguments.llama_drafter, "-p", prompt["text"],
                   "-n", str(arguments.max_tokens), "-t", str(arguments.threads), "--temp", "0", "--top-k", "1",
                   *(arguments.llama_flags or f"--draft-max {arguments.draft_tokens}").split()]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        figures = parse_llama(done.stdout + done.stderr)
        made.append(record({**place, "repetition": place["repetition"] + number}, "drafter", start,
                           stop_reason="UNKNOWN", **figures))
    return made


def parse_llama(text):
    """What llama-speculative-simple prints at its end. Every round emits what it accepts and one token more."""
    number = r"\s*([0-9.]+)"
    encoded = re.search(rf"encoded{number} tokens in{number} seconds", text)
    decoded = re.search(rf"decoded{number} tokens in{number} seconds", text)
    drafted, accepted = (re.search(rf"{name}\s*={number}", text) for name in ("n_drafted", "n_accept"))
    if not (encoded and decoded and drafted and accepted):
        raise ValueError("llama-speculative-simple did not print its figures; its flags may have changed")
    tokens, seconds, kept = int(decoded[1]), float(decoded[2]), int(accepted[1])
    prefill_s = float(encoded[2])
    return {"prompt_tokens": int(encoded[1]), "tokens": tokens, "rounds": tokens - kept, "proposed": int(drafted[1]),
            "accepted": kept, "ttft_ms": 1e3 * (prefill_s + seconds / max(1, tokens - kept)),
            "prefill_tokens_per_s": int(encoded[1]) / prefill_s if prefill_s > 0 else 0.0,
            "decode_tokens_per_s": tokens / seconds if seconds > 0 else 0.0}


# --- together -----------------------------------------------------------------------------------------------------

def measure(arguments, scratch):
    """All engines on all prompts, in turns."""
    subjects = {}
    begin = time.time()
    folders = {mode: genai.peer_folder(arguments.pack, mode, arguments.threads, scratch) for mode in MODES}

    def add(engine, runtime, generations):
        subject = subjects.setdefault(engine, {"engine": engine, "runtime": runtime, "provider": "cpu",
                                               "threads": arguments.threads, "generations": []})
        subject["generations"] += generations

    def run_ours(prompt, place):
        start = time.time() - begin
        subject = ours(arguments, prompt)
        for generation in subject["generations"]:
            generation.update(place, repetition=place["repetition"] + generation["repetition"], at_s=start + generation["at_s"])
        add(subject["engine"], subject["runtime"], subject["generations"])

    def run_genai(prompt, place):
        for mode, folder in folders.items():
            if folder is not None:
                made = genai_generations(arguments, folder, mode, prompt, place, time.time() - begin)
                add(f"onnxruntime-genai {genai.GENAI}", f"ONNX Runtime {genai.ONNXRUNTIME}", made)

    def run_llama(prompt, place):
        made = llama_generations(arguments, prompt, place, time.time() - begin)
        add("llama.cpp", f"{Path(arguments.llama).name}, models of its own", made)

    engines = [run_ours, run_genai] + ([run_llama] if arguments.llama else [])
    for run in range(arguments.runs):
        for number, prompt in enumerate(PROMPTS):
            place = {"prompt": number, "task": prompt["task"], "repetition": run * arguments.repetitions}
            for engine in engines if (run + number) % 2 == 0 else reversed(engines):
                engine(prompt, place)
            print(f"run {run + 1} of {arguments.runs}, prompt {number + 1} of {len(PROMPTS)}", file=sys.stderr)
    return list(subjects.values()), time.time() - begin


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", nargs="?", default=str(genai.REPOSITORY / "tests/packs/demo"))
    parser.add_argument("--output", "-o", default="peers.json")
    parser.add_argument("--html")
    parser.add_argument("--runs", type=int, default=3, help="times that every engine gets a turn on every prompt")
    parser.add_argument("--repetitions", type=int, default=5, help="measured generations per turn and mode")
    parser.add_argument("--max-tokens", type=int, default=96)
    parser.add_argument("--draft-tokens", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--drafthorse", help="the command; built from this repository if absent")
    parser.add_argument("--inflated", help="how the pack's target was inflated, if it was")
    parser.add_argument("--llama", help="llama.cpp's llama-speculative-simple")
    parser.add_argument("--llama-target", help="GGUF file")
    parser.add_argument("--llama-drafter", help="GGUF file")
    parser.add_argument("--llama-flags", help="further flags, in place of --draft-max N")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        genai_child(json.loads(arguments.child))
        return
    if arguments.llama and not (arguments.llama_target and arguments.llama_drafter):
        parser.error("--llama needs --llama-target and --llama-drafter")
    arguments.pack = Path(arguments.pack).resolve()
    arguments.binary = genai.command(arguments.drafthorse)
    arguments.python = genai.environment()
    started = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    with tempfile.TemporaryDirectory() as scratch:
        subjects, seconds = measure(arguments, scratch)
        records = {
            "plan": {"pack": str(arguments.pack), "threads": arguments.threads, "prompts": PROMPTS, "decodings": ["greedy"],
                     "max_tokens": arguments.max_tokens, "draft_len": arguments.draft_tokens,
                     "repetitions": arguments.runs * arguments.repetitions, "inflated": arguments.inflated},
            "started_at": started, "duration_s": seconds, "subjects": subjects,
            "notes": ["engines ran in processes of their own, in turns; peers tell no memory, load time or cost curve here",
                      "a peer's rounds are told from the times of its calls"],
        }
        path = Path(scratch) / "records.json"
        path.write_text(json.dumps(records))
        page = ["--html", arguments.html] if arguments.html else []
        subprocess.run([str(arguments.binary), "bench", "assemble", str(path), "-o", arguments.output, *page], check=True)
    subprocess.run([str(arguments.binary), "bench", "compare", arguments.output], check=True)


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        print(f"{error}\n{error.stderr or ''}", file=sys.stderr)
        sys.exit(1)
