"""What must not be read in a log: secrets, signed URLs, and control characters that forge lines or drive a terminal."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

MASK = "***"
_SHORT = 6  # a shorter secret is masked only where it stands alone: "abc" would otherwise riddle every line

_NAMES = r"[a-z0-9_.-]{0,40}(?:token|api[_-]?key|password|passwd|secret|signature|credential|authorization|cookie)"
_SECRET_NAME = re.compile(rf"(?i)^{_NAMES}$")
# repetitions that could run on to the end of a hostile text are bounded, or the time would grow with its square
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        # password='two words' in a conninfo; ?token=..., &X-Amz-Signature=... in a URL
        (rf"(?i)\b({_NAMES}|sig)=(?:'[^']*'|\"[^\"]*\"|[^\s&\"'<>|]+)", rf"\1={MASK}"),
        # "apikey": "..." in JSON, 'Authorization': '...' in a dict of headers; quotes escaped or not
        (rf"(?i)((?:\\?[\"']){_NAMES}(?:\\?[\"'])\s*:\s*b?(?:\\?[\"']))[^\"'\\]+", rf"\1{MASK}"),
        (r"(?i)\b(authorization|apikey|cookie):\s*[^\"'\r\n]+", rf"\1: {MASK}"),
        (r"(?i)\b(bearer)\s+[a-z0-9._~+/=-]{8,}", rf"\1 {MASK}"),
        (r"\beyJ[\w-]{5,2000}(?:\.[\w-]*){1,4}", MASK),  # a JWT: base64url of '{"'
        (r"\b(?:sb_secret|hf|sk)[-_][\w-]{16,}", MASK),  # keys of Supabase, Hugging Face, OpenAI
        # user:password@; the password may itself hold @ : /, and a port (digits, then a slash) is none
        (r"(?i)\b([a-z][a-z0-9+.-]{0,20}://[^\s/:@\"']*):(?!\d+/)[^\s\"']{0,500}@", rf"\1:{MASK}@"),
    )
)

# C0, DEL, C1, line and paragraph separators, and the marks that reverse the direction of text on a terminal
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


class Redactor:
    """Replaces the secrets it is told, in every spelling they take on, and whatever looks like one."""

    def __init__(self, secrets: Iterable[str]) -> None:
        spellings = {spelling for secret in secrets if secret.strip() for spelling in _spellings(secret)}
        longest_first = sorted(spellings, key=len, reverse=True)
        self._known = re.compile("|".join(map(_literal, longest_first))) if longest_first else None

    def __call__(self, text: str) -> str:
        if self._known is not None:
            text = self._known.sub(MASK, text)
        for pattern, replacement in _PATTERNS:
            text = pattern.sub(replacement, text)
        return text


def names_a_secret(name: str) -> bool:
    """Whether a field of this name is masked whatever it holds (numbers apart: a fencing token is no secret)."""
    return _SECRET_NAME.match(name) is not None


def one_line(text: str) -> str:
    """The text with every character escaped that could end the line or act on a terminal."""
    return _CONTROL.sub(lambda found: _escape(found[0]), text)


def _escape(character: str) -> str:
    code = ord(character)
    return _NAMED.get(character) or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")


def _literal(spelling: str) -> str:
    literal = re.escape(spelling)
    return rf"(?<!\w){literal}(?!\w)" if len(spelling) < _SHORT else literal


def _spellings(secret: str) -> Iterator[str]:
    """As it is, percent-encoded in a URL, and escaped in JSON or a repr. A multi-line secret also line by line."""
    for text in {secret, secret.strip(), *(line for line in secret.split("\n") if len(line) >= _SHORT)}:
        yield from (text, quote(text), quote(text, safe=""), quote_plus(text))
        yield from (json.dumps(text)[1:-1], repr(text)[1:-1])
