"""The newcomer's page explains its words."""

import re

from documented import ROOT


def test_words_in_italics_are_in_the_glossary():
    page = (ROOT / "docs" / "first-classifier.md").read_text()
    words = {word.casefold() for word in re.findall(r"(?<!\*)\*([\w ]+)\*(?!\*)", page)} - {"italics"}
    entries = re.findall(r"^\| ([^|]+?) \|", (ROOT / "docs" / "glossary.md").read_text(), re.MULTILINE)
    known = {name.strip() for entry in entries for name in re.split(r"[,(]", entry.replace(")", ""))}
    assert words
    assert words <= {name.casefold() for name in known}
    assert entries[2:] == sorted(entries[2:], key=str.casefold)
