"""A small bookshop on the web as a source of traces: its pages, how often visitors request them, what fails.

The demo sends these traces at a trickle, the benchmark in bulk. All randomness comes from the one generator that is
passed in, so that a seed determines every byte.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

from app.cli.demo.services import BROWSERS, COUNTRIES, WORDS, Services, isbn
from app.cli.demo.trace import (
    CLIENT,
    CONSUMER,
    INTERNAL,
    SERVER,
    Attributes,
    Failure,
    Placed,
    Trace,
    annotate,
    http_span,
)

CUSTOMERS: Final = 50_000
SLOW_SHARE: Final = 0.02  # of the traces: one service is slow in them
SLOW_FACTOR: Final = (8.0, 60.0)
SLOW_CANDIDATES: Final = ("search", "reviews", "payments", "stock", "storefront")
INVOICES_PER_RUN: Final = 5


@dataclass(frozen=True, slots=True)
class ShopPage:
    """A page that visitors request. weight: how often"""

    weight: float
    method: str
    route: str
    serve: Callable[[Services, Trace], None]


class Shop:
    """Generates one trace after another."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.services = Services(rng)
        self._weights = [page.weight for page in PAGES]

    def trace(self, start_ns: int) -> list[Placed]:
        """The spans of one visit that begins at `start_ns` (since 1970); parents precede their children."""
        rng = self.rng
        slow = {rng.choice(SLOW_CANDIDATES): rng.uniform(*SLOW_FACTOR)} if rng.random() < SLOW_SHARE else None
        trace = Trace(rng, start_ns, slow)
        try:
            if len(self.services.uninvoiced) >= INVOICES_PER_RUN:
                write_invoices(self.services, trace)
            else:
                visit(self.services, trace, rng.choices(PAGES, self._weights)[0])
        except Failure:
            pass  # the spans tell it; the visitor sees an error page, the next run writes the invoices
        return trace.spans


def visit(shop: Services, trace: Trace, page: ShopPage) -> None:
    """One request on its way through gateway and storefront to the page."""
    rng = shop.rng
    http: Attributes = {"http.request.method": page.method, "http.route": page.route}
    visitor: Attributes = {
        **http,
        "url.path": page.route.replace("{isbn}", isbn(rng)),
        "url.scheme": "https",
        "client.address": f"198.51.100.{rng.randrange(256)}",
        "user_agent.original": f"Mozilla/5.0 {rng.choice(BROWSERS)}",
    }
    name = f"{page.method} {page.route}"
    with http_span(trace, name, SERVER, visitor, shop.pod("gateway")) as outer:
        trace.spend(0.0008)
        if page.route == "/healthz":
            return
        annotate(outer, {"http.response.body.size": int(rng.lognormvariate(9.5, 0.8))})
        pod = shop.pod("storefront")
        peer: Attributes = {**http, "server.address": pod.service, "server.port": pod.port}
        with http_span(trace, page.method, CLIENT, peer):
            trace.spend(0.0004)
            session: Attributes = {
                **http,
                "shop.customer.id": f"customer-{rng.randrange(CUSTOMERS)}",
                "shop.customer.member": rng.random() < 0.3,
                "session.id": rng.randbytes(8).hex(),
            }
            with http_span(trace, name, SERVER, session, pod):
                trace.spend(0.001)
                shop.session(trace)
                page.serve(shop, trace)


def home(shop: Services, trace: Trace) -> None:
    with trace.together() as begin:
        for _ in range(shop.rng.randrange(2, 6)):
            begin()
            shop.book(trace)
        begin()
        shop.stars(trace)
    shop.render(trace, "home")


def one_book(shop: Services, trace: Trace) -> None:
    """A book's page. It still works without ratings, not without the book."""
    if shop.rng.random() < 0.01:
        trace.spend(0.002)
        raise Failure("NotFound", "no such book", http_status=404, grpc_status=5)
    shop.book(trace)
    with trace.together() as begin:
        begin()
        shop.in_stock(trace)
        begin()
        try:
            shop.stars(trace)
        except Failure as failure:
            trace.event("degraded", {"shop.missing": "stars", "shop.reason": failure.message})
        for _ in range(shop.rng.randrange(2, 5)):
            begin()
            shop.book(trace)
    shop.render(trace, "book")


def find(shop: Services, trace: Trace) -> None:
    """The search page: one query of the index, then the books that it found."""
    rng = shop.rng
    found = rng.randrange(0, 9)
    asked: Attributes = {"shop.search.words": rng.sample(WORDS, 2), "shop.search.found": found}
    with trace.call(shop.pod("search"), "bookshop.Search", "Find", asked):
        with trace.span("parse query", INTERNAL, {"shop.search.language": rng.choice(COUNTRIES).lower()}):
            trace.spend(0.0004)
        with trace.span("score", INTERNAL, {"shop.search.shards": 4, "shop.search.cutoff": round(rng.random(), 3)}):
            trace.spend(0.025, 0.8)
            if rng.random() < 0.01:
                trace.spend(2.0, 0.1)
                raise Failure("DeadlineExceeded", "shard 3 did not answer within 2 s", http_status=504, grpc_status=4)
    with trace.together() as begin:
        for _ in range(found):
            begin()
            shop.book(trace)
    shop.render(trace, "results")


def into_basket(shop: Services, trace: Trace) -> None:
    rng = shop.rng
    item: Attributes = {"shop.book.isbn": isbn(rng), "shop.basket.copies": rng.randrange(1, 4)}
    shop.in_stock(trace)
    with trace.call(shop.pod("basket"), "bookshop.Basket", "Add", item):
        key = f"basket:{rng.randrange(CUSTOMERS)}"
        shop.cache(trace, "HSET", key)
        shop.cache(trace, "EXPIRE", key)
    shop.render(trace, "basket")


def checkout(shop: Services, trace: Trace) -> None:
    """An order: prices, reservation, payment, and messages to warehouse and mailer."""
    rng = shop.rng
    items = rng.randrange(1, 6)
    order: Attributes = {"shop.order.id": rng.randbytes(16).hex(), "shop.order.items": items}
    total: Attributes = {
        "shop.order.total": round(rng.lognormvariate(3.5, 0.8), 2),
        "shop.country": rng.choice(COUNTRIES),
    }
    with trace.call(shop.pod("orders"), "bookshop.Orders", "Place", {**order, **total}):
        with trace.call(shop.pod("basket"), "bookshop.Basket", "Get", {"shop.basket.items": items}):
            shop.cache(trace, "HGETALL", f"basket:{rng.randrange(CUSTOMERS)}")
        with trace.span("price items", INTERNAL, {"shop.order.items": items}), trace.together() as begin:
            for _ in range(items):
                begin()
                shop.book(trace)
        shop.reserve(trace, items)
        shop.quote(trace)
        shop.pay(trace)
        shop.query(trace, "INSERT", "orders")
        shop.ordered(trace, order)
    shop.render(trace, "thanks")


def account(shop: Services, trace: Trace) -> None:
    with trace.call(shop.pod("orders"), "bookshop.Orders", "History", {"shop.orders.open": shop.rng.randrange(3)}):
        shop.query(trace, "SELECT", "orders", 0.006)
    shop.render(trace, "account")


def health(shop: Services, trace: Trace) -> None:
    """The gateway itself answers this check."""


def write_invoices(shop: Services, trace: Trace) -> None:
    """A batch job in a trace of its own, linked to the orders for which it writes invoices."""
    orders, shop.uninvoiced = shop.uninvoiced, []
    batch: Attributes = {
        "messaging.system": "kafka",
        "messaging.destination.name": "orders",
        "messaging.operation.type": "process",
        "messaging.consumer.group.name": "invoices",
        "messaging.batch.message_count": len(orders),
    }
    with trace.span("process orders", CONSUMER, batch, shop.pod("invoices"), orders):
        for position in range(len(orders)):
            with trace.span("write invoice", INTERNAL, {"shop.invoice.position": position}):
                trace.spend(0.012)
                shop.query(trace, "INSERT", "invoices")


PAGES: Final = (
    ShopPage(0.16, "GET", "/", home),
    ShopPage(0.34, "GET", "/books/{isbn}", one_book),
    ShopPage(0.20, "GET", "/search", find),
    ShopPage(0.13, "POST", "/basket", into_basket),
    ShopPage(0.09, "POST", "/checkout", checkout),
    ShopPage(0.04, "GET", "/account", account),
    ShopPage(0.04, "GET", "/healthz", health),
)
