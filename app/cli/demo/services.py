"""The fourteen services of a small bookshop on the web: where they run, and what their calls look like."""

from random import Random
from typing import Final

from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from app.cli.demo.trace import (
    CLIENT,
    CONSUMER,
    INTERNAL,
    PRODUCER,
    Attributes,
    Failure,
    Link,
    Pod,
    Trace,
    http_span,
    key_values,
)

PODS_PER_SERVICE: Final = 3
NODES: Final = 6
FIRST_PORT: Final = 7000

# Service → the language that it is written in.
SERVICES: Final = {
    "gateway": "go",
    "storefront": "nodejs",
    "accounts": "ruby",
    "catalog": "java",
    "search": "rust",
    "reviews": "python",
    "stock": "go",
    "basket": "dotnet",
    "orders": "java",
    "payments": "go",
    "delivery": "python",
    "warehouse": "java",
    "invoices": "php",
    "mailer": "ruby",
}

TAGS: Final = ("crime", "poetry", "travel", "history", "physics", "cooking", "comics", "children", "essays")
COUNTRIES: Final = ("AT", "BE", "CH", "DE", "FR", "IT", "NL", "PT")
WORDS: Final = ("winter", "garden", "north", "letters", "island", "bread", "night train", "atlas", "silence")
CARDS: Final = ("visa", "mastercard", "girocard")
BROWSERS: Final = ("Firefox/140.0", "Chrome/139.0", "Safari/18.4", "Edge/139.0")

STATEMENTS: Final = {
    "SELECT": "SELECT id, changed_at, body FROM {table} WHERE id = $1 ORDER BY changed_at DESC LIMIT 60",
    "INSERT": "INSERT INTO {table} (id, made_at, body) VALUES ($1, $2, $3)",
    "UPDATE": "UPDATE {table} SET count = count - $2, changed_at = now() WHERE id = $1 AND count >= $2",
}


class Services:
    """The behaviour of each service. Each method adds spans to the innermost open span of a trace."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.pods = {
            service: [make_pod(rng, service, number) for number in range(PODS_PER_SERVICE)] for service in SERVICES
        }
        self.uninvoiced: list[Link] = []  # orders sent since the last run of invoices

    def pod(self, service: str) -> Pod:
        return self.pods[service][int(self.rng.random() * PODS_PER_SERVICE)]

    def query(self, trace: Trace, operation: str, table: str, median_s: float = 0.002) -> None:
        """A PostgreSQL statement of the service in which the innermost span runs."""
        rng = self.rng
        statement = STATEMENTS[operation].format(table=table)
        attributes: Attributes = {
            "db.system.name": "postgresql",
            "db.namespace": "bookshop",
            "db.operation.name": operation,
            "db.collection.name": table,
            "db.query.text": statement,
            "server.address": f"postgres-{rng.randrange(2)}.bookshop.internal",
            "server.port": 5432,
            "network.peer.address": f"10.4.80.{rng.randrange(2)}",
            "db.response.returned_rows": rng.randrange(1, 60) if operation == "SELECT" else 0,
        }
        with trace.span(f"{operation} {table}", CLIENT, attributes):
            trace.spend(median_s, 0.7)
            if rng.random() < 0.0008:
                trace.spend(1.0)
                raise Failure("ConnectionTimeout", f"no connection to {table} within 1 s", grpc_status=14)

    def cache(self, trace: Trace, operation: str, key: str) -> bool:
        """A Redis command; returns whether it found something."""
        hit = self.rng.random() < 0.8
        attributes: Attributes = {
            "db.system.name": "redis",
            "db.operation.name": operation,
            "db.query.text": f"{operation} {key}",
            "server.address": "redis.bookshop.internal",
            "server.port": 6379,
            "network.peer.address": "10.4.90.2",
            "shop.cache.hit": hit,
        }
        with trace.span(operation, CLIENT, attributes):
            trace.spend(0.0003)
        return hit

    def session(self, trace: Trace) -> None:
        """Looks up the visitor's session, at the start of every page."""
        with trace.call(self.pod("accounts"), "bookshop.Accounts", "Session", {"shop.session.renewed": False}):
            if not self.cache(trace, "GET", f"session:{self.rng.randrange(100_000)}"):
                self.query(trace, "SELECT", "sessions")

    def book(self, trace: Trace) -> None:
        rng = self.rng
        number = isbn(rng)
        about: Attributes = {
            "shop.book.isbn": number,
            "shop.book.tags": rng.sample(TAGS, 2),
            "shop.book.price": round(rng.lognormvariate(2.8, 0.5), 2),
        }
        with trace.call(self.pod("catalog"), "bookshop.Catalog", "GetBook", about):
            if not self.cache(trace, "GET", f"book:{number}"):
                self.query(trace, "SELECT", "books")

    def in_stock(self, trace: Trace) -> None:
        wanted: Attributes = {"shop.book.isbn": isbn(self.rng), "shop.stock.copies": self.rng.randrange(40)}
        with trace.call(self.pod("stock"), "bookshop.Stock", "Count", wanted):
            self.query(trace, "SELECT", "copies", 0.001)

    def stars(self, trace: Trace) -> None:
        rng = self.rng
        rating: Attributes = {
            "shop.reviews.count": rng.randrange(300),
            "shop.reviews.mean": round(rng.uniform(2, 5), 1),
        }
        with trace.call(self.pod("reviews"), "bookshop.Reviews", "Summary", rating):
            self.query(trace, "SELECT", "reviews", 0.004)
            if rng.random() < 0.01:
                trace.spend(0.5)
                raise Failure("ReviewsUnavailable", "summary is being rebuilt", grpc_status=14)

    def reserve(self, trace: Trace, items: int) -> None:
        with trace.call(self.pod("stock"), "bookshop.Stock", "Reserve", {"shop.order.items": items}):
            self.query(trace, "UPDATE", "copies")
            if self.rng.random() < 0.02:
                raise Failure("SoldOut", "the last copy is gone", http_status=409, grpc_status=9)
            self.query(trace, "INSERT", "reservations")

    def quote(self, trace: Trace) -> None:
        parcel: Attributes = {
            "shop.country": self.rng.choice(COUNTRIES),
            "shop.parcel.weight": self.rng.uniform(0.2, 4),
        }
        with trace.call(self.pod("delivery"), "bookshop.Delivery", "Quote", parcel):
            self.abroad(trace, "rates.parcels.example", 0.04)

    def pay(self, trace: Trace) -> None:
        """Payment: a refusal is the visitor's problem (402), a timeout is ours."""
        rng = self.rng
        payment: Attributes = {"shop.payment.card": rng.choice(CARDS), "shop.payment.attempt": 1}
        with trace.call(self.pod("payments"), "bookshop.Payments", "Charge", payment):
            with trace.span("assess risk", INTERNAL, {"shop.payment.risk": round(rng.betavariate(2, 12), 3)}):
                trace.spend(0.006)
            self.abroad(trace, "acquirer.bank.example", 0.12, failing=0.02)
            if rng.random() < 0.03:
                raise Failure("CardRefused", "the bank refused the card", http_status=402, grpc_status=9)
            self.query(trace, "INSERT", "payments")

    def abroad(self, trace: Trace, host: str, median_s: float, failing: float = 0.0) -> None:
        """An HTTP call to an external host that sends no spans."""
        request: Attributes = {"http.request.method": "POST", "server.address": host, "server.port": 443}
        with http_span(trace, "POST", CLIENT, request):
            trace.spend(median_s, 0.6)
            if self.rng.random() < failing:
                trace.spend(3.0, 0.1)
                raise Failure("TimeoutError", f"{host} did not answer within 3 s", http_status=504, grpc_status=14)

    def render(self, trace: Trace, template: str) -> None:
        with trace.span(
            f"render {template}", INTERNAL, {"shop.template": template, "thread.id": self.rng.randrange(16)}
        ):
            trace.spend(0.003)
            trace.event("template.compiled", {"shop.template": template, "shop.cache.hit": True})

    def ordered(self, trace: Trace, order: Attributes) -> None:
        """Messages to warehouse and mailer; nobody waits for them."""
        topic: Attributes = {"messaging.system": "kafka", "messaging.destination.name": "orders"}
        sent: Attributes = {
            "messaging.operation.type": "send",
            "messaging.kafka.offset": self.rng.randrange(1_000_000),
        }
        with trace.span("send orders", PRODUCER, {**topic, **sent}) as producer:
            trace.spend(0.002)
            link = Link(trace.trace_id, producer.span_id)
            for service, work in (("warehouse", self._pick), ("mailer", self._mail)):
                received: Attributes = {
                    "messaging.operation.type": "process",
                    "messaging.consumer.group.name": service,
                    "messaging.destination.partition.id": str(self.rng.randrange(4)),
                }
                with trace.aside(0.02):
                    try:
                        with trace.span(
                            "process orders",
                            CONSUMER,
                            {**topic, **received, **order},
                            self.pod(service),
                            [link],
                        ):
                            work(trace)
                    except Failure:
                        continue  # the consumer tries again some other day
        self.uninvoiced.append(link)

    def _pick(self, trace: Trace) -> None:
        trace.spend(0.004)
        self.query(trace, "UPDATE", "copies")
        self.in_stock(trace)
        self.query(trace, "INSERT", "parcels")

    def _mail(self, trace: Trace) -> None:
        host: Attributes = {
            "server.address": "smtp.bookshop.internal",
            "server.port": 587,
            "network.transport": "tcp",
        }
        with trace.span("SMTP send", CLIENT, host):
            trace.spend(0.05)
            if self.rng.random() < 0.03:
                raise Failure("SmtpRefused", "451 mailbox is busy, try again later")


def isbn(rng: Random) -> str:
    """A random ISBN, one of 20,000 books."""
    return f"978300{rng.randrange(20_000):05d}00"


def make_pod(rng: Random, service: str, number: int) -> Pod:
    """An instance with the resource attributes that a Kubernetes cluster gives it."""
    order = list(SERVICES).index(service)
    name = f"{service}-{rng.randbytes(4).hex()}-{number}"
    address = f"10.4.{order}.{10 + number}"
    node = f"node-{(order + number) % NODES}"
    attributes: Attributes = {
        "service.name": service,
        "service.namespace": "bookshop",
        "service.version": f"1.{order}.{number % 2}",
        "service.instance.id": rng.randbytes(16).hex(),
        "deployment.environment.name": "production" if number else "canary",
        "k8s.cluster.name": "shelf-1",
        "k8s.namespace.name": "bookshop",
        "k8s.pod.name": name,
        "k8s.node.name": node,
        "host.name": node,
        "cloud.region": "eu-central-1",
        "process.pid": 10 + rng.randrange(400),
        "telemetry.sdk.name": "opentelemetry",
        "telemetry.sdk.language": SERVICES[service],
        "telemetry.sdk.version": "1.30.1",
    }
    scope = InstrumentationScope(name=f"bookshop.{service}.tracing", version="0.9.2")
    return Pod(service, FIRST_PORT + order, address, Resource(attributes=key_values(attributes)), scope)
