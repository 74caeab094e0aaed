"""One answer in two forms: JSON where the client asks for it, else a small page for people."""

import html
import time
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from aiohttp import web

Row = Mapping[str, Any]


def wants_json(request: web.Request) -> bool:
    """Whether the client asks for JSON."""
    return "application/json" in request.headers.get("Accept", "")


def wants_html(request: web.Request) -> bool:
    """Whether the client is a browser: others ask for anything, or for nothing in particular."""
    return "text/html" in request.headers.get("Accept", "")


def json_or_page(
    request: web.Request, title: str, name: str, rows: Sequence[Row], message: str = "", marked: str = "UNHEALTHY"
) -> web.Response:
    """rows: a table; in JSON under `name`. message: what is missing. marked: rows of that state stand out"""
    now = utc(time.time())
    if wants_json(request):
        body = {name: rows, "now": now} | ({"message": message} if message else {})
        return web.Response(body=orjson.dumps(body), content_type="application/json")
    page = _page(title, rows, message, now, marked)
    # Nothing is loaded and nothing runs, whatever a name says.
    headers = {"Content-Security-Policy": "default-src 'none'", "X-Content-Type-Options": "nosniff"}
    return web.Response(text=page, content_type="text/html", headers=headers)


def utc(unix_s: float) -> str:
    """A time as in RFC 3339, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(unix_s))


def _page(title: str, rows: Sequence[Row], message: str, now: str, marked: str) -> str:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    head = "".join(f"<th>{_text(name)}</th>" for name in columns)
    body = "".join(_row(row, columns, marked) for row in rows)
    table = f'<table border="1">\n<tr>{head}</tr>\n{body}</table>' if rows else "<p>None.</p>"
    note = f"<p>{_text(message)}</p>\n" if message else ""
    title = _text(title)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>\n'
        f"<body><h1>{title}</h1>\n{note}{table}\n<p>{_text(now)}</p></body></html>\n"
    )


def _row(row: Row, columns: Sequence[str], marked: str) -> str:
    cells = (_text(row.get(name, "")) for name in columns)
    tag = "<td><strong>{}</strong></td>" if row.get("state") == marked else "<td>{}</td>"
    return "<tr>" + "".join(tag.format(cell) for cell in cells) + "</tr>\n"


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        value = _pairs(value)
    if isinstance(value, list):
        value = "; ".join(_pairs(one) if isinstance(one, Mapping) else str(one) for one in value)
    return html.escape(str(value))


def _pairs(one: Row) -> str:
    return ", ".join(f"{name} {value}" for name, value in one.items())
