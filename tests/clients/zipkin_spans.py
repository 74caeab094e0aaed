"""Two spans of py-zipkin. Usage: zipkin_spans.py ENCODING HOST:PORT SERVICE. Prints the trace id."""

import sys

from py_zipkin import Encoding
from py_zipkin.transport import SimpleHTTPTransport
from py_zipkin.util import create_attrs_for_span
from py_zipkin.zipkin import zipkin_client_span, zipkin_server_span


def main(encoding: str, address: str, service: str) -> None:
    host, _, port = address.rpartition(":")
    attributes = create_attrs_for_span(use_128bit_trace_id=True)
    root = zipkin_server_span(
        service,
        "get /",
        transport_handler=SimpleHTTPTransport(host, int(port)),
        zipkin_attrs=attributes,
        encoding=getattr(Encoding, encoding),
        host="10.0.0.1",
        port=8080,
    )
    with root:
        root.update_binary_annotations({"s": "Straße", "error": "broken"})
        root.add_annotation("happened")
        with zipkin_client_span(service, "child") as child:
            child.add_sa_binary_annotation(9000, "stock", "10.0.0.2")
    print(attributes.trace_id)


main(*sys.argv[1:])
