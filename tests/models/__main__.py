"""Make the small speech models: `python -m tests.models COMMAND`, as README.md beside this file says."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from pathlib import Path

from tests.support.spoken_meetings import ALIGNER, SPEECH, WHISPER


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.models", description="Make the speech models of the tests.")
    parser.add_argument("command", choices=sorted(_COMMANDS))
    parser.add_argument(
        "--work", type=Path, default=Path("build/models"), help="folder for corpus and checkpoints, 1.3 GB"
    )
    chosen = parser.parse_args(arguments)
    _COMMANDS[chosen.command](chosen.work)


def _corpus(work: Path) -> None:
    from tests.models.corpus import make_corpus

    print(f"{make_corpus(work / 'corpus'):.1f} hours of speech")


def _whisper(work: Path) -> None:
    from tests.models.whisper_conversion import convert
    from tests.models.whisper_training import PHASES, train

    train(work / "corpus", work / "whisper")
    convert(work / "whisper" / f"{PHASES[-1].name}.pt", WHISPER)


def _aligner(work: Path) -> None:
    from tests.models.aligner_training import save_aligner, train_aligner

    train_aligner(work / "corpus", work / "aligner.pt")
    save_aligner(work / "aligner.pt", ALIGNER)


def _speech(work: Path) -> None:
    from tests.models.held_out_speech import make_held_out_speech

    make_held_out_speech(SPEECH)


def _evaluate(work: Path) -> None:
    from tests.models.evaluation import evaluate

    logging.disable(logging.WARNING)
    for line in evaluate(WHISPER, ALIGNER):
        print(line, flush=True)


_COMMANDS: dict[str, Callable[[Path], None]] = {
    "corpus": _corpus,
    "whisper": _whisper,
    "aligner": _aligner,
    "speech": _speech,
    "evaluate": _evaluate,
}

if __name__ == "__main__":
    main()
