"""What people write about atoms: a JSON file in the output, by autoencoder and atom."""

import json
import threading
import time
from pathlib import Path
from typing import Any

from fsspec.implementations.local import LocalFileSystem

from isoenergy.errors import InputError
from isoenergy.storage.files import write_atomically

LONGEST_NOTE = 4_000
MOST_NOTES = 100_000
FILE = "notes.json"


class NoteChanged(InputError):
    """Somebody else has written the note since it was read: it is not overwritten."""

    def __init__(self, name: str, atom: int, there: str) -> None:
        super().__init__(f"the note on atom {atom} of {name} has been changed since you read it; yours is not kept")
        self.there = there


class Notes:
    """The notes of one output; what another process has written to the file since is read before it is written."""

    def __init__(self, folder: Path) -> None:
        """Read what is there; raises InputError for a file that is not of notes."""
        self._file, self._lock = folder / FILE, threading.Lock()
        self._notes: dict[str, dict[str, Any]] = {}
        self._written = 0
        self._read()

    def _read(self) -> None:
        """Read the file if it is not as it was when it was last looked at."""
        if not self._file.exists() or (written := self._file.stat().st_mtime_ns) == self._written:
            return
        try:
            notes = json.loads(self._file.read_text())["notes"]
            assert all(isinstance(note["text"], str) for of_sae in notes.values() for note in of_sae.values())
        except (OSError, ValueError, KeyError, TypeError, AttributeError, AssertionError) as error:
            raise InputError(f"{self._file} is not a file of notes ({error}); move it away") from error
        self._notes, self._written = notes, written

    def of(self, digest: str) -> dict[int, str]:
        """Return the notes on the atoms of an autoencoder, by its digest."""
        with self._lock:
            return {int(atom): note["text"] for atom, note in self._notes.get(digest, {}).items()}

    def write(self, digest: str, name: str, atom: int, text: str, read: str) -> None:
        """Keep a note on an atom, in place of the one that was `read`; an empty one takes it away.

        Raises NoteChanged if there is another by now, InputError for one that is too long or no Unicode, or if there
        are too many or the file cannot be written.
        """
        text = text.strip()
        require_unicode(text, "a note")
        if len(text) > LONGEST_NOTE:
            raise InputError(f"a note has at most {LONGEST_NOTE:,} letters, this one {len(text):,}")
        with self._lock:
            self._read()
            before = self._notes.get(digest, {})
            there = before.get(str(atom), {"text": ""})["text"]
            if there not in (read, text):
                raise NoteChanged(name, atom, there)
            others = {key: note for key, note in before.items() if key != str(atom)}
            if text and sum(map(len, self._notes.values())) >= MOST_NOTES:
                raise InputError(f"there are {MOST_NOTES:,} notes already; take some away")
            note = {"text": text, "sae": name, "written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
            after = self._notes | {digest: others | ({str(atom): note} if text else {})}
            try:
                write_atomically(LocalFileSystem(), str(self._file), self._told(after).encode())
            except OSError as error:
                raise InputError(f"the note cannot be kept: {self._file} cannot be written ({error})") from error
            self._notes = after

    def export(self) -> str:
        """Return the file's text."""
        with self._lock:
            return self._told(self._notes)

    @staticmethod
    def _told(notes: dict[str, dict[str, Any]]) -> str:
        return json.dumps({"notes": notes}, indent=2, ensure_ascii=False) + "\n"


def require_unicode(text: str, name: str) -> None:
    """Raise InputError for a text with half of a surrogate pair, which JSON can hold and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = text[error.start]
        raise InputError(f"{name} must be Unicode, got half of a surrogate pair ({half!r}) in it") from error
