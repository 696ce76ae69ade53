"""The root of every public error: a fact with numbers, the fixes, and a code for machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    from typing_extensions import override
else:

    def override(method: Any) -> Any:
        """Stand for `typing.override` (3.12); the backport costs 25 ms of every start."""
        return method


Actor = Literal["user", "administrator", "repeat"]
"""Who can do something about it; `repeat`: the same call may succeed later."""
RetryWord = Literal["infra", "timeout", "oom", "exception"]
"""The class of `Retry(on=…)` whose budget another attempt of the task is taken from."""


class GeopodError(Exception):
    """Base of every error that geopod raises on purpose.

    Printed as `GP-E121 <fact>` and, where something can be done, a line `fix: 1) … 2) …`.
    Subclasses build their sentences from typed values in classmethods.
    """

    code: ClassVar[str] = "E000"
    """`E121`; the number is stable across releases."""
    actor: ClassVar[Actor] = "user"
    retry: ClassVar[RetryWord | None] = None
    """Which retry budget pays for another attempt; None: another attempt cannot help."""

    _by_code: ClassVar[dict[str, type[GeopodError]]] = {}

    @override
    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "code" in cls.__dict__:
            GeopodError._by_code[cls.code] = cls

    def __init__(
        self,
        fact: str,
        *,
        fixes: Sequence[str] = (),
        details: Mapping[str, Any] | None = None,
        run: Any = None,
        task: Any = None,
    ) -> None:
        """Keep the fact, the fixes and what belongs to them.

        `details` is JSON-able; `run` and `task` are the run's name (or Run) and the task's index.
        """
        # Not super(): the next class may be a user's, whose __init__ takes other arguments.
        Exception.__init__(self, fact)
        self.describe(fact, fixes=fixes, details=details, run=run, task=task)

    def describe(
        self,
        fact: str,
        *,
        fixes: Sequence[str] = (),
        details: Mapping[str, Any] | None = None,
        run: Any = None,
        task: Any = None,
    ) -> None:
        """Set what the error says; `args` stay as they are."""
        self.fact = fact
        self.fixes = tuple(fixes)
        self.details: dict[str, Any] = dict(details or {})
        self.run = run
        self.task = task

    @property
    def hint(self) -> str:
        """All fixes in one line, `1) … 2) …`; empty when there is nothing to do."""
        return " ".join(f"{number}) {fix}" for number, fix in enumerate(self.fixes, start=1))

    @property
    def section(self) -> str:
        """Where the documentation says more: a page and its section."""
        return f"reference/errors.html#gp-{self.code.lower()}"

    @override
    def __str__(self) -> str:
        headline = f"GP-{self.code} {self.fact}"
        return f"{headline}\nfix: {self.hint}" if self.fixes else headline

    def _repr_html_(self) -> str:
        """Return the error for a notebook that shows it as a value: escaped, without a script."""
        from html import escape  # only in a notebook

        fact = escape(self.fact)
        steps = "".join(f"<li><code>{escape(fix)}</code></li>" for fix in self.fixes)
        fixes = f'fix:<ol style="margin:.1em 0">{steps}</ol>' if steps else ""
        notes = "".join(
            f"<details><summary>{escape(head)}</summary>"
            f'<pre style="white-space:pre-wrap">{escape(rest)}</pre></details>'
            for head, _, rest in (note.partition("\n") for note in getattr(self, "__notes__", ()))
        )
        return (
            f'<div role="group" aria-label="{escape(type(self).__name__)}" style="border:1px solid '
            "rgba(128,128,128,.35);border-left:4px solid #d64545;border-radius:4px;"
            'padding:.5em .8em;margin:.2em 0;max-width:60em">'
            f"<strong>{escape(type(self).__name__)}</strong> GP-{escape(self.code)}"
            f'<div style="white-space:pre-wrap">{fact}</div>{fixes}{notes}</div>'
        )

    def to_wire(self) -> dict[str, Any]:
        """Return the error as JSON-able text, to cross a process boundary."""
        return {
            "code": self.code,
            "fact": self.fact,
            "fixes": list(self.fixes),
            "details": self.details,
        }

    @staticmethod
    def from_wire(
        code: str,
        fact: str,
        fixes: Sequence[str] = (),
        details: Mapping[str, Any] | None = None,
    ) -> GeopodError:
        """Return the error that `to_wire` wrote; a code of a later release keeps its number."""
        found = GeopodError._by_code.get(code)
        if found is not None:
            return found(fact, fixes=fixes, details=details)
        error = GeopodError(fact, fixes=fixes, details=details)
        error.__dict__["code"] = code
        return error


def class_of_code(code: str) -> type[GeopodError]:
    """Return the public class of an error code; GeopodError itself for one not known here."""
    return GeopodError._by_code.get(code, GeopodError)  # noqa: SLF001  # this module's registry
