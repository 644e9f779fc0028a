#!/usr/bin/env python3
"""Greedy tokens of onnxruntime-genai for a folder, for tests to compare with ours.

    echo '[[1, 2, 3]]' | python3 tests/peers/greedy.py FOLDER TOKENS [--install]

Prompts are lists of token ids, a JSON list on standard input; the answer is a JSON list of the tokens after each prompt,
from the folder as it stands, its drafter included. Runs in the environment that `genai.py` makes; without it the exit
code is 77 and standard error says what is missing, unless `--install` allows pip to fetch it.
"""

import json
import subprocess
import sys

import genai

ABSENT = 77


def greedy(folder, prompts, tokens):
    """The tokens after each prompt, at most `tokens` of them."""
    import onnxruntime_genai as og

    if hasattr(og, "disable_telemetry_events"):
        og.disable_telemetry_events()
    model = og.Model(folder)
    answers = []
    for prompt in prompts:
        params = og.GeneratorParams(model)
        params.set_search_options(do_sample=False, max_length=len(prompt) + tokens)
        generator = og.Generator(model, params)
        generator.append_tokens(prompt)
        while not generator.is_done():
            generator.generate_next_token()
        answers.append([int(token) for token in generator.get_sequence(0)][len(prompt):])
    return answers


def main():
    arguments = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
    folder, tokens = arguments[0], int(arguments[1])
    if "--child" in sys.argv:
        print(json.dumps(greedy(folder, json.load(sys.stdin), tokens)))
        return 0
    python = genai.environment(install="--install" in sys.argv)
    if python is None:
        print(f"onnxruntime-genai {genai.GENAI} is not in the cache; `python3 {__file__} FOLDER TOKENS --install` fetches "
              "it", file=sys.stderr)
        return ABSENT
    return subprocess.run([str(python), __file__, folder, str(tokens), "--child"]).returncode


if __name__ == "__main__":
    sys.exit(main())
