"""Services, metrics and status: by what a person sees and does."""

import re
from urllib.parse import quote

from playwright.sync_api import expect


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
