"""Refusals with the provider's bodies: ``{"code": …, "text": …}``, or nothing where it documents none."""

from sandbox.simulator.http import Answer, json_answer


class Refuse(Exception):
    """Ends a request with an HTTP status and, where ``code`` is given, a body."""

    def __init__(self, status: int, code: str | None = None, text: str = "") -> None:
        super().__init__(f"{status} {code or ''} {text}".strip())
        self.status = status
        self.code = code
        self.text = text


def bad_json(text: str) -> Refuse:
    return Refuse(400, "syntax_invalid_json", text)


def bad_format(field: str, expectation: str) -> Refuse:
    return Refuse(400, "syntax_invalid_parameter_format", f"The value of {field} {expectation}")


def violation(text: str) -> Refuse:
    return Refuse(400, "syntax_constraint_violation", text)


def forbidden(code: str, text: str) -> Refuse:
    return Refuse(403, code, text)


def unknown() -> Refuse:
    return Refuse(404)


def refusal(refuse: Refuse) -> Answer:
    """The answer for a refusal."""
    if refuse.code is None:
        return Answer(refuse.status)
    return json_answer(refuse.status, {"code": refuse.code, "text": refuse.text})
