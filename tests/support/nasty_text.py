"""What people, programs and attackers write where a title or a name is asked for."""

from __future__ import annotations

from hypothesis import strategies as st

NASTY = (
    "a\x00b",
    "half \ud83d pair",
    "two\nlines",
    "carriage\rreturn\r\nand more",
    "tab\tand\vvertical\fform",
    "\x1b[2J\x1b[H\x1b[31mcleared",
    "\x1b]0;window title\x07",
    "\x1b]52;c;cm0gLXJmIC8=\x07",
    "\x9b2Jeight bits",
    "\u202egnp.exe",
    "\u2066isolated\u2069",
    "line\u2028separator\u2029",
    "\U0001f469\u200d\U0001f52c emoji \U0001f3f3\ufe0f\u200d\U0001f308",
    "Zalgo\u0301\u0302\u0303\u0304\u0305\u0306" * 5,
    "\u05e9\u05dc\u05d5\u05dd \u200f\u0645\u0631\u062d\u0628\u0627",
    "'; drop table public.meetings; --",
    '"quoted" \\back\\slash\\',
    "{{7*7}} ${7*7} {title} {0}",
    "%s %d %n %(title)s %%",
    "../../../../etc/passwd",
    "/etc/shadow",
    "-rf",
    "--title=x",
    "=cmd|' /C calc'!A0",
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "<script>alert(1)</script>",
    "<!channel> <@U123> <https://evil.example|click>",
    "[red]markup[/red] [/] :smile:",
    "[link=https://evil.example]click[/link]",
    "null",
    "NaN",
    "",
    " ",
    "\u00a0\u3000",
    "a" * 10_000,
    "\ufeffbyte order mark",
    "\ufffe\uffff",
    'x-pc_worker_info{worker_id="fake"} 1\n',
    "name=value | level=ERROR | forged=1",
    '{"status": "completed"}',
)

ACTING = "[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
"""A regular expression of what must never reach a terminal; a line end may."""


def nasty() -> st.SearchStrategy[str]:
    """One of these, or any string at all, halves of surrogate pairs included."""
    return st.sampled_from(NASTY) | st.text(st.characters(exclude_categories=()), max_size=40)
