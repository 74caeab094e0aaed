"""Services, metrics and status: by what a person sees and does."""

import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, quote

from playwright.sync_api import expect

from app.settings.sections.ui import ServiceGraph
from tests.harness.page_server import PageServer


def test_the_map_and_one_service(tab):
    page = tab.open("/services")
    payments = page.get_by_role("button", name=re.compile("^payments "))
    expect(payments).to_be_visible()
    expect(payments.locator("desc")).to_have_text(re.compile(r"/s, .*% errors, p50 .*, p95 .*, p99 "))
    expect(page.get_by_role("img", name=re.compile("^postgresql:"))).to_be_visible()
    assert page.locator(".edge").count() >= 15
    payments.hover()
    expect(page.locator(".edge-label").first).to_be_visible()
    payments.click()
    expect(page).to_have_url(re.compile("service=payments"))
    for title in ("Requests", "Errors", "Durations: p50, p95, p99"):
        expect(page.get_by_role("region", name=title).locator("canvas")).to_be_visible()
    operations = page.get_by_role("region", name="Operations")
    operation = operations.locator("tbody button").first
    name = operation.inner_text()
    operation.click()
    expect(page).to_have_url(re.compile("operation="))
    expect(page.locator(".one-service .badge").first).to_contain_text(name)
    page.get_by_role("link", name="Failed traces").click()
    expect(page).to_have_url(re.compile("/search.*status"))


def test_a_service_has_one_colour_in_every_view(tab):
    """Whichever view shows it first, also after the page is loaded again."""
    page = tab.open("/search")
    expect(page.locator(".service-count").first).to_be_visible()
    found = page.locator(".service-count").evaluate_all(
        "all => all.map(it => [it.title.split(':')[0], getComputedStyle(it.firstElementChild).backgroundColor])"
    )
    colours = dict(found)
    assert len(colours) >= 5
    page = tab.open("/services")
    for name, colour in colours.items():
        node = page.get_by_role("button", name=re.compile(f"^{name} "))
        expect(node.locator("rect").nth(1)).to_have_css("fill", colour)


def test_the_map_around_one_service(tab):
    """Found by its name: its callers and callees only, by link, too; then all again."""
    page = tab.open("/services")
    nodes = page.locator(".node")
    expect(nodes.first).to_be_visible()
    all_of_them = nodes.count()
    page.get_by_label("Find a service").fill("payments")
    expect(page).to_have_url(re.compile("around=payments"))
    expect(page.get_by_role("button", name=re.compile("^payments "))).to_be_visible()
    expect(page.get_by_role("button", name=re.compile("^reviews "))).to_have_count(0)
    assert 2 < nodes.count() < all_of_them
    page.reload()
    around = page.get_by_role("button", name="Around payments")
    expect(around).to_have_attribute("aria-pressed", "true")
    around.click()
    expect(nodes).to_have_count(all_of_them)
    expect(page).not_to_have_url(re.compile("around="))


class StandIn(BaseHTTPRequestHandler):
    """Answers as a Prometheus that knows one connection: 0.5 calls a second, a fifth of them fail, 150 ms."""

    def do_POST(self) -> None:
        query = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())["query"][0]
        value = 0.15 if "histogram_quantile" in query else 360 if "failed" in query else 1800
        labels = {"client": "shop", "server": "till"}
        result = [{"metric": labels, "value": [0, str(value)]}]
        body = json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_the_map_of_a_prometheus(new_tab, shop):
    """It draws its connections with rates, errors and p99; or those of traces, by choice, and where it is away."""
    stand_in = ThreadingHTTPServer(("127.0.0.1", 0), StandIn)
    Thread(target=stand_in.serve_forever, daemon=True).start()
    graph = ServiceGraph(prometheus_url=f"http://127.0.0.1:{stand_in.server_port}")
    with PageServer(shop, service_graph=graph) as server:
        page = new_tab(server.url).open("/services")
        till = page.get_by_role("button", name=re.compile("^till "))
        expect(till.locator("desc")).to_have_text("till: 0.5/s, 20% errors, p50 150 ms, p95 150 ms, p99 150 ms")
        edge = page.locator(".edge")
        expect(edge).to_have_count(1)
        expect(edge.locator("title")).to_have_text("shop → till: 0.5/s, 20% errors, p50 150 ms, p95 150 ms, p99 150 ms")
        page.get_by_role("button", name="Dependencies").click()
        expect(page.get_by_role("row", name=re.compile("shop till .*20%"))).to_be_visible()
        page.get_by_role("button", name="Traces", exact=True).click()
        expect(page).to_have_url(re.compile("source=traces"))
        expect(page.get_by_role("row", name=re.compile("orders payments"))).to_be_visible()
        page.go_back()
        expect(page.get_by_role("row", name=re.compile("shop till"))).to_be_visible()
        stand_in.shutdown()
        stand_in.server_close()
        page.get_by_role("button", name="Ask again").click()
        expect(page.get_by_role("alert")).to_contain_text("(ui.service_graph.prometheus_url) does not answer")
        page.get_by_role("button", name="Traces", exact=True).click()
        expect(page.get_by_role("row", name=re.compile("orders payments"))).to_be_visible()
        expect(page.get_by_role("alert")).to_have_count(0)


def test_without_a_prometheus_there_is_no_choice(tab):
    page = tab.open("/services")
    expect(page.locator(".edge").first).to_be_attached()
    expect(page.get_by_role("group", name="What it is made of")).to_have_count(0)


def test_an_exemplar_opens_its_trace(tab):
    page = tab.open("/services?service=payments")
    chart = page.get_by_role("region", name="Durations: p50, p95, p99")
    exemplar = chart.locator(".exemplars a").first
    expect(exemplar).to_have_text(re.compile(r"m?s$"))
    exemplar.click()
    expect(page).to_have_url(re.compile(r"/trace/[0-9a-f]+\?at="))


def test_the_tables(tab):
    page = tab.open("/services?tab=table")
    page.get_by_role("button", name="p95").click()
    expect(page.locator("th[aria-sort]")).to_have_text("p95")
    page.get_by_role("button", name="Dependencies").click()
    row = page.get_by_role("row", name=re.compile("orders payments"))
    row.get_by_role("link", name="Traces").click()
    expect(page).to_have_url(re.compile("/search"))
    expect(page.locator(".results tbody tr").first).to_be_visible()
    page.go_back()
    expect(row).to_be_visible()


def test_metrics_as_lines_bars_heatmap_and_table(tab):
    page = tab.open("/charts")
    page.get_by_role("link", name=re.compile("Requests a second")).click()
    expect(page.get_by_role("region", name="Chart").locator("canvas")).to_be_visible()
    series = page.get_by_role("region", name="Series")
    expect(series).to_contain_text("gateway")
    page.get_by_role("button", name="Bars").click()
    expect(page).to_have_url(re.compile("show=bars"))
    page.get_by_role("button", name="Table").click()
    expect(page.get_by_role("region", name="Chart")).to_have_count(0)
    series.get_by_role("row", name=re.compile("gateway")).get_by_role("link").click()
    expect(page).to_have_url(re.compile("gateway"))
    expect(page.locator(".results tbody tr").first).to_contain_text("gateway")
    page.goto(f"{tab.base}/charts?q={quote('{ nestedSetParent < 0 } | histogram_over_time(duration)')}")
    expect(page.locator(".heatmap canvas")).to_be_visible()


def test_a_time_is_marked_in_a_chart(tab):
    page = tab.open(f"/charts?q={quote('{ } | rate()')}")
    over = page.locator(".u-over")
    expect(over).to_be_visible()
    box = over.bounding_box()
    assert box
    page.mouse.move(box["x"] + 200, box["y"] + 50)
    expect(page.locator(".chart-tip")).to_be_visible()
    page.mouse.down()
    page.mouse.move(box["x"] + 500, box["y"] + 80, steps=4)
    page.mouse.up()
    expect(page).to_have_url(re.compile(r"from=\d{13}&to=\d{13}"))


def test_a_wrong_metrics_query(tab):
    page = tab.open(f"/charts?q={quote('{ } | rte()')}")
    expect(page.get_by_role("alert").first).to_contain_text("1:7")
    expect(page.locator(".cm-lintRange-error")).to_be_visible()


def test_status_says_first_what_is_wrong_and_what_to_do(tab):
    page = tab.open("/status")
    health = page.get_by_role("region", name="Health")
    expect(health.get_by_role("heading").first).to_have_text("One finding needs action")
    expect(health).to_contain_text("Partition 1 is 52,000 records behind")
    expect(health).to_contain_text("What to do:")
    expect(page.get_by_role("region", name="Members")).to_contain_text("live-store")
    partitions = page.get_by_role("region", name="Partitions").locator("tbody tr")
    expect(partitions.first).to_contain_text("52,000")
    settings = page.get_by_role("region", name="Settings")
    settings.get_by_role("button", name="All").click()
    expect(settings.locator("pre")).to_contain_text("http_listen_port: 3200")
    expect(settings).to_contain_text("API of Tempo")
