"""Tells a Django project's URLconf as JSON: run in a process of its own with the project's own Django, not as a part of this program.

    python -c "$(cat urlconf.py)" shop.urls 3

The first argument is the URLconf (default: ROOT_URLCONF), the second the file descriptor that is written to. It imports nothing of ours and
needs Django 3.2 or later: the project may have another Python than Banyan. What cannot be told of a pattern is left open, and what cannot
be told at all is named.
"""

from __future__ import annotations

import json
import os
import re
import sys
from typing import Any

LOGIN = "user_passes_test.<locals>.decorator"
METHODS = "require_http_methods.<locals>.decorator"
DRF_LOGIN = {"IsAuthenticated", "IsAdminUser", "DjangoModelPermissions", "DjangoObjectPermissions"}
PARAMETER = re.compile(r"<(?:(?P<converter>[^>:]+):)?(?P<name>[^>]+)>")
DEEP = 30


def main() -> None:
    import django
    from django.conf import settings
    from django.urls import get_resolver

    django.setup()
    found: list[dict[str, Any]] = []
    refused: list[str] = []
    optional = any("LoginRequiredMiddleware" in each for each in settings.MIDDLEWARE)
    walk(get_resolver(sys.argv[1] or None), "/", "/", found, refused, optional, 0)
    with os.fdopen(int(sys.argv[2]), "w") as out:
        json.dump({"endpoints": found, "refused": refused}, out)


def walk(resolver: Any, template: str, pattern: str, found: list[Any], refused: list[str], optional: bool, depth: int) -> None:
    """Adds what is below `resolver`, which is at `template`."""
    for entry in resolver.url_patterns:
        try:
            here, expression = described(entry.pattern)
            if hasattr(entry, "url_patterns"):
                if depth < DEEP:
                    walk(entry, template + here, pattern + expression, found, refused, optional, depth + 1)
            else:
                login, why = needs_login(entry.callback, optional)
                methods = methods_of(entry.callback)
                found.append({"template": template + here, "pattern": pattern + expression, "methods": methods, "login": login, "why": why})
        except Exception as error:  # a pattern of somebody's own class; the others are told
            refused.append(f"{template}{entry.pattern}: {type(error).__name__}: {error}"[:300])


def described(pattern: Any) -> tuple[str, str]:
    """One pattern as a template, and as a regular expression that catches nothing."""
    kind = type(pattern).__name__
    if kind == "LocalePrefixPattern":
        from django.conf import settings

        codes = "|".join(sorted((re.escape(code) for code, _ in settings.LANGUAGES), key=len, reverse=True))
        return "{lang}/", f"(?:(?:{codes})/)" + ("" if pattern.prefix_default_language else "?")
    route = getattr(pattern, "_route", None)
    if route is not None:
        return of_route(str(route)), uncaught(pattern.regex.pattern)
    return of_expression(str(pattern)), uncaught(pattern.regex.pattern)


def of_route(route: str) -> str:
    """path("items/<int:pk>/") is items/{pk}/."""

    def one(match: re.Match[str]) -> str:
        if match["converter"] == "path" and match.end() == len(route) and route[: match.start()].endswith("/"):
            return "*"
        return "{" + match["name"] + "}"

    return PARAMETER.sub(one, route)


def of_expression(expression: str) -> str:
    r"""re_path(r"^items/(?P<pk>\d+)/$") is items/{pk}/."""
    text = re.sub(r"^\^|(?<!\\)\$$|\\[AZz]", "", expression)
    out, index = "", 0
    while index < len(text):
        if text[index] == "(":
            end = closing(text, index)
            group = text[index : end + 1]
            name = re.match(r"\(\?P<(\w+)>", group)
            deep = "." in re.sub(r"\\.|\[[^\]]*\]", "", group) or "/" in group
            last = end + 1 >= len(text)
            if not group.startswith(("(?:", "(?=", "(?!", "(?<")):
                out += "*" if deep and last and (not out or out.endswith("/")) else "{" + (name[1] if name else "value") + "}"
            elif not group.startswith(("(?=", "(?!", "(?<")):
                out += "{value}"
            index = end + 1
        elif text[index] == "\\" and index + 1 < len(text):
            out += text[index + 1] if not text[index + 1].isalnum() else "{value}"
            index += 2
        elif text[index] == "[":
            index = text.find("]", index + 2) + 1 or len(text)
            out += "{value}"
        elif text[index] in "?*+":
            index += 1
        elif text[index] == "{":
            index = text.find("}", index) + 1 or len(text)
        else:
            out += text[index]
            index += 1
    return out.replace("}{value}", "}")


def closing(text: str, index: int) -> int:
    """Where the group that begins at `index` ends."""
    depth, bracket = 0, False
    while index < len(text):
        character = text[index]
        if character == "\\":
            index += 1
        elif bracket:
            bracket = character != "]"
        elif character == "[":
            bracket = True
            if text[index + 1 : index + 2] in ("]", "^"):
                index += 1
        elif character == "(":
            depth += 1
        elif character == ")":
            depth -= 1
            if not depth:
                return index
        index += 1
    return len(text) - 1


def uncaught(expression: str) -> str:
    """The same without groups that catch, and without anchors at its ends, so that it can stand within another."""
    if re.search(r"\(\?P=|\\[1-9]|\(\?[aiLmsux-]+\)", expression):
        raise ValueError("it refers back, or has flags of its own")
    text = re.sub(r"^(?:\^|\\A)", "", expression)
    text = re.sub(r"(?:(?<!\\)\$|\\[Zz])$", "", text)
    out, index, bracket = "", 0, False
    while index < len(text):
        character = text[index]
        if character == "\\":
            out += text[index : index + 2]
            index += 2
            continue
        if bracket:
            bracket = character != "]"
        elif character == "[":
            bracket = True
            extra = re.match(r"\[\^?\]?", text[index:])
            out += extra[0] if extra else "["
            index += len(extra[0]) if extra else 1
            continue
        elif character == "(":
            named = re.match(r"\(\?P<\w+>", text[index:])
            if named:
                out += "(?:"
                index += named.end()
                continue
            if text[index + 1 : index + 2] != "?":
                out += "(?:"
                index += 1
                continue
        out += character
        index += 1
    return out


def chain(view: Any) -> list[Any]:
    """The view, and what its decorators wrap."""
    found = [view]
    while len(found) < DEEP and hasattr(found[-1], "__wrapped__"):
        found.append(found[-1].__wrapped__)
    return found


def made_by(function: Any) -> str:
    code = getattr(function, "__code__", None)
    # A wrapper has the name of what it wraps; the code keeps its own (co_qualname: since Python 3.11).
    return getattr(code, "co_qualname", "") if code else ""


def needs_login(view: Any, optional: bool) -> tuple[bool | None, str]:
    """Whether, and by what that is known."""
    views = chain(view)
    if any(made_by(each).startswith(LOGIN) for each in views):
        return True, "its view is decorated with login_required, permission_required or user_passes_test"
    cls = next((getattr(each, name) for each in views for name in ("view_class", "cls") if hasattr(each, name)), None)
    if cls is not None:
        if any(base.__name__ in ("AccessMixin", "LoginRequiredMixin") for base in cls.__mro__):
            return True, "its view has LoginRequiredMixin or one like it"
        wanted = {getattr(each, "__name__", "") for each in getattr(cls, "permission_classes", ())}
        if wanted & DRF_LOGIN:
            return True, f"its view's permission_classes: {', '.join(sorted(wanted))}"
        if wanted == {"AllowAny"}:
            return False, "its view's permission_classes: AllowAny"
        if any(made_by(each).startswith(LOGIN) or named_login(each) for each in chain(getattr(cls, "dispatch", None))):
            return True, "its view's dispatch is decorated with login_required or one like it"
    if optional:
        if getattr(view, "login_required", True):
            return True, "LoginRequiredMiddleware is on, and its view is not exempt"
        return False, "its view is exempt from LoginRequiredMiddleware"
    return None, ""


def named_login(function: Any) -> bool:
    """Whether it is what method_decorator makes of login_required and its like."""
    given = cells(function).get("decorators")
    decorators = given if isinstance(given, (list, tuple)) else [given]
    return any(
        getattr(each, "__name__", "") == "login_required" or made_by(each).startswith(("permission_required", "user_passes_test"))
        for each in decorators
    )


def cells(function: Any) -> dict[str, Any]:
    """What a function has of those around it."""
    code = getattr(function, "__code__", None)
    if code is None:
        return {}
    pairs = zip(code.co_freevars, function.__closure__ or ())  # noqa: B905 - a project's Python may be 3.8, which has no strict
    return {name: cell.cell_contents for name, cell in pairs}


def methods_of(view: Any) -> list[str] | None:
    """Those that it takes; None: it does not say."""
    for each in chain(view):
        if made_by(each).startswith(METHODS) and "request_method_list" in (found := cells(each)):
            return sorted(found["request_method_list"])
        actions = getattr(each, "actions", None)  # of a viewset
        if isinstance(actions, dict):
            return sorted(method.upper() for method in actions)
        cls = getattr(each, "view_class", None) or getattr(each, "cls", None)
        if cls is not None:
            names = getattr(cls, "http_method_names", ())
            return sorted(name.upper() for name in names if name != "options" and hasattr(cls, name)) or None
    return None


if __name__ == "__main__":
    main()
