"""
The plain way to use WhisperX on many files: load once, then load_audio, transcribe and align each.

    python -m tests.benchmarks._plain_whisperx MODEL ALIGNER FILE...

Prints the seconds that the files took, after the first one, as JSON: {"seconds": ...}. Loading is not in it.
"""

from __future__ import annotations

import json
import sys
import time
import warnings

BATCH_SIZE = 4


def main(model: str, aligner: str, first: str, *files: str) -> None:
    warnings.simplefilter("ignore")
    import whisperx

    pipeline = whisperx.load_model(model, "cpu", compute_type="int8", language="en", local_files_only=True, threads=2)
    wav2vec2, metadata = whisperx.load_align_model("en", "cpu", model_name=aligner, model_cache_only=True)

    def work(file: str) -> None:
        samples = whisperx.load_audio(file)
        answer = pipeline.transcribe(samples, batch_size=BATCH_SIZE, language="en")
        whisperx.align(answer["segments"], wav2vec2, metadata, samples, "cpu")

    work(first)
    began = time.perf_counter()
    for file in files:
        work(file)
    sys.stdout.write(json.dumps({"seconds": time.perf_counter() - began}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
