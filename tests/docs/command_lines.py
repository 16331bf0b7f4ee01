"""The command lines in README and docs, as a shell reads them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from documents import PAGES, ROOT, Block, blocks, prose

VERBS = (
    "activation|animate|annotate|compare|evaluate|export|fit_colors|prepare|propagate|runs|studio|"
    "train"
)
TESTED_APART = {"extend.md"}
"""Pages whose blocks are one long example, which a test of its own runs."""
_MODULE = re.compile(rf"selfsup_motion\.({VERBS})\b")
# one line of a table or a sentence: `evaluate task=davis2017 data.root=DAVIS checkpoint=<run>`
_INLINE = re.compile(rf"`(?:python -m selfsup_motion\.)?((?:{VERBS}) [^`\n]*=[^`\n]*)`")
# scripts that hand their arguments to train
_WRAPPERS = ("scripts/torchrun_train.sh", "scripts/slurm/train.sh")


@dataclass(frozen=True)
class CommandLine:
    """A command: `verb` of this package with its arguments, or "" and all words of another one."""

    where: str
    verb: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.where} {' '.join((self.verb, *self.words))}".strip()


def in_blocks() -> list[CommandLine]:
    """The commands of all blocks that are run, in their order."""
    found = []
    for page in PAGES:
        for block in blocks(page) if page.name not in TESTED_APART else []:
            if block.language == "sh" and block.reason is None and not is_script(block):
                found += [read(str(block), line) for line in lines(block.code)]
    return found


def in_prose() -> list[CommandLine]:
    """The commands between words that are complete: `…` stands for what is left out."""
    found = []
    for page in PAGES:
        for text in _INLINE.findall(prose(page)):
            complete = text.count("=") > 1 or text.startswith("activation")
            if complete and "…" not in text and "<name>" not in text:
                name = str(page.relative_to(ROOT))
                found.append(read(name, f"python -m selfsup_motion.{text}"))
    return found


def is_script(block: Block) -> bool:
    """Whether a block is more than a list of commands."""
    return block.code.startswith("for ")


def lines(code: str) -> list[str]:
    """The commands of a block; a backslash continues a line."""
    joined = re.sub(r"\\\n\s*", "", code)
    return [line for line in joined.splitlines() if line.strip() and not line.startswith("#")]


def read(where: str, line: str) -> CommandLine:
    """A line as a command."""
    # placeholders would be redirections
    words = shlex.split(re.sub(r"<([^<>]*)>", lambda m: f"'<{m[1]}>'", line), comments=True)
    while words and re.fullmatch(r"[A-Z]+=.*", words[0]):
        del words[0]
    for index, word in enumerate(words):
        if found := _MODULE.fullmatch(word):
            return CommandLine(where, found[1], tuple(words[index + 1 :]))
        if word in _WRAPPERS:
            return CommandLine(where, "train", tuple(words[index + 1 :]))
    return CommandLine(where, "", tuple(words))
