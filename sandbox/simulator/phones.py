"""``GET /_sim/phones``: the phones with the texts they got and sent, as a page that renews itself."""

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from typing import Final

_MOST_PHONES: Final = 24
_MOST_TEXTS: Final = 6

_STYLE: Final = """
:root{color-scheme:light dark;--page:#f6f8fa;--phone:#fff;--edge:#d1d9e0;--text:#1f2328;--dim:#59636e;--got:#e9edf1;
--sent:#0969da;--bad:#b42318}
@media(prefers-color-scheme:dark){:root{--page:#0d1117;--phone:#151b23;--edge:#3d444d;--text:#e6edf3;--dim:#9198a1;
--got:#2a313c;--sent:#1158c7;--bad:#ff8f86}}
*{box-sizing:border-box}body{margin:0;padding:16px;background:var(--page);color:var(--text);font:15px/1.4 system-ui,sans-serif}
h1{font-size:20px;margin:0}header p{margin:4px 0 16px;color:var(--dim)}
main{display:grid;gap:16px;grid-template-columns:repeat(auto-fill,minmax(min(100%,260px),1fr))}
section{background:var(--phone);border:1px solid var(--edge);border-radius:24px;padding:14px;min-width:0}
h2{font-size:14px;margin:0 0 10px;text-align:center}
ol{list-style:none;margin:0;padding:0;display:flex;flex-direction:column;gap:8px}
li{max-width:88%}li p{margin:0;padding:8px 12px;border-radius:16px;background:var(--got);overflow-wrap:anywhere;
white-space:pre-wrap}
li.sent{align-self:flex-end}li.sent p{background:var(--sent);color:#fff}
small{color:var(--dim);padding:0 12px}.bad small{color:var(--bad)}
"""
_SCRIPT: Final = """
setInterval(async()=>{
  try{
    const page=new DOMParser().parseFromString(await(await fetch(location.href)).text(),"text/html");
    for(const name of["main","header p"]){
      const now=document.querySelector(name),next=page.querySelector(name);
      if(now.innerHTML!==next.innerHTML)now.replaceWith(document.importNode(next,true));
    }
  }catch{document.querySelector("header p").textContent="The simulator does not answer.";}
},1000);
"""


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


HEADERS: Final = {
    "content-security-policy": f"default-src 'none'; style-src {_hash(_STYLE)}; script-src {_hash(_SCRIPT)}; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
"""The page runs its own script and style alone."""


@dataclass(frozen=True, slots=True)
class PhoneText:
    """A text on a phone. ``status`` is the provider's, or "sent" for a text that the phone sent. ``at`` is an ISO time."""

    number: str
    body: str
    at: str
    status: str
    outgoing: bool = False


def phones_page(texts: Iterable[PhoneText], total: int) -> str:
    """The page, newest first: phones by their newest text, and in each phone its texts."""
    phones: dict[str, list[PhoneText]] = {}
    for text in sorted(texts, key=lambda text: text.at, reverse=True):
        phones.setdefault(f"+{text.number.removeprefix('+')}", []).append(text)
    shown = list(phones.items())[:_MOST_PHONES]
    note = f"{total} texts accepted. The newest {len(shown)} phones, newest first." if shown else "No phone has a text yet."
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Phones</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="data:,">'
        f"<style>{_STYLE}</style></head><body><header><h1>Phones</h1><p>{note}</p></header>"
        f"<main>{''.join(_phone(number, ones[:_MOST_TEXTS]) for number, ones in shown)}</main>"
        f"<script>{_SCRIPT}</script></body></html>"
    )


def _phone(number: str, texts: Iterable[PhoneText]) -> str:
    return f"<section><h2>{escape(number)}</h2><ol>{''.join(map(_bubble, texts))}</ol></section>"


def _bubble(text: PhoneText) -> str:
    good = text.status.lower() in {"sent", "delivered", "dispatched", "queued", "submitted"}
    kind = "sent" if text.outgoing else "got" if good else "got bad"
    return f'<li class="{kind}"><p>{escape(text.body)}</p><small>{escape(text.at[11:19])} {escape(text.status)}</small></li>'
