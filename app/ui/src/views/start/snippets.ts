// How to send the first trace, for each SDK, with this server's own addresses.
import type { PageConfig, Receiver } from "../../api/page_config.ts";

export interface Addresses {
  /** host:port */
  grpc: string;
  http: string;
  grpcTls: boolean;
  httpTls: boolean;
  /** Name and value of each header that the server wants. */
  headers: readonly (readonly [string, string])[];
}

export interface Snippet {
  name: string;
  what: string;
  code: (at: Addresses) => string;
}

const hostOf = (receiver: Receiver | undefined, pageHost: string, port: number): string => {
  const host = receiver?.host || pageHost;
  return `${host.includes(":") && !host.startsWith("[") ? `[${host}]` : host}:${receiver?.port ?? port}`;
};

export function addresses(config: PageConfig, pageHost: string, tenant: string): Addresses {
  const find = (name: string) => config.receivers.find((one) => one.name === name);
  const headers: [string, string][] = [];
  if (config.tokens) headers.push(["Authorization", "Bearer YOUR_TOKEN"]);
  if (config.multitenancy) headers.push(["X-Scope-OrgID", tenant || "YOUR_TENANT"]);
  return {
    grpc: hostOf(find("otlp_grpc"), pageHost, 4317),
    http: hostOf(find("otlp_http"), pageHost, 4318),
    grpcTls: find("otlp_grpc")?.tls ?? false,
    httpTls: find("otlp_http")?.tls ?? false,
    headers,
  };
}

const grpcUrl = (at: Addresses): string => `${at.grpcTls ? "https" : "http"}://${at.grpc}`;
const httpUrl = (at: Addresses): string => `${at.httpTls ? "https" : "http"}://${at.http}`;
/** As the SDKs' environment variable wants them. */
const headersVariable = (at: Addresses, prefix = "export "): string =>
  at.headers.length ? `${prefix}OTEL_EXPORTER_OTLP_HEADERS='${at.headers.map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join(",")}'\n` : "";

const variables = (at: Addresses): string =>
  `export OTEL_SERVICE_NAME=hello
export OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf
export OTEL_EXPORTER_OTLP_ENDPOINT=${httpUrl(at)}
${headersVariable(at)}`;

export const SNIPPETS: readonly Snippet[] = [
  {
    name: "curl",
    what: "A trace of one span, from the shell",
    code: (at) => `NOW=$(date +%s)
curl -sS ${httpUrl(at)}/v1/traces -H 'Content-Type: application/json' ${at.headers.map(([name, value]) => `-H '${name}: ${value}' `).join("")}-d '
  {"resourceSpans": [{
    "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "hello"}}]},
    "scopeSpans": [{"spans": [{
      "traceId": "5b8efff798038103d269b6'$NOW'", "spanId": "eee19b'$NOW'", "name": "GET /", "kind": 2,
      "startTimeUnixNano": "'$NOW'000000000", "endTimeUnixNano": "'$NOW'250000000"}]}]}]}'`,
  },
  {
    name: "Python",
    what: "Any program, without a change to it",
    code: (at) => `pip install opentelemetry-distro opentelemetry-exporter-otlp
opentelemetry-bootstrap -a install
${variables(at)}opentelemetry-instrument python app.py`,
  },
  {
    name: "Node.js",
    what: "Any program, without a change to it",
    code: (at) => `npm install @opentelemetry/api @opentelemetry/auto-instrumentations-node
${variables(at)}node --require @opentelemetry/auto-instrumentations-node/register app.js`,
  },
  {
    name: "Java",
    what: "With OpenTelemetry's agent beside the program",
    code: (at) => `# opentelemetry-javaagent.jar: from the releases of opentelemetry-java-instrumentation
${variables(at)}java -javaagent:opentelemetry-javaagent.jar -jar app.jar`,
  },
  {
    name: "Go",
    what: "In main(), before the first request",
    code: (at) => `// go get go.opentelemetry.io/otel go.opentelemetry.io/otel/sdk \\
//   go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp
// OTEL_SERVICE_NAME=hello OTEL_EXPORTER_OTLP_ENDPOINT=${httpUrl(at)} go run .
${headersVariable(at, "// ")}exporter, err := otlptracehttp.New(ctx)
if err != nil {
	log.Fatal(err)
}
provider := trace.NewTracerProvider(trace.WithBatcher(exporter))
defer provider.Shutdown(ctx)
otel.SetTracerProvider(provider)`,
  },
  {
    name: ".NET",
    what: "In Program.cs",
    code: (at) => `// dotnet add package OpenTelemetry.Extensions.Hosting
// dotnet add package OpenTelemetry.Instrumentation.AspNetCore
// dotnet add package OpenTelemetry.Exporter.OpenTelemetryProtocol
// OTEL_EXPORTER_OTLP_ENDPOINT=${grpcUrl(at)}
${headersVariable(at, "// ")}builder.Services.AddOpenTelemetry()
    .ConfigureResource(resource => resource.AddService("hello"))
    .WithTracing(tracing => tracing
        .AddAspNetCoreInstrumentation()
        .AddOtlpExporter());`,
  },
  {
    name: "Ruby",
    what: "At the start of the program",
    code: (at) => `# gem install opentelemetry-sdk opentelemetry-exporter-otlp opentelemetry-instrumentation-all
# OTEL_EXPORTER_OTLP_ENDPOINT=${httpUrl(at)}
${headersVariable(at, "# ")}require "opentelemetry/sdk"
require "opentelemetry/exporter/otlp"
require "opentelemetry/instrumentation/all"

OpenTelemetry::SDK.configure do |c|
  c.service_name = "hello"
  c.use_all
end`,
  },
  {
    name: "PHP",
    what: "With the extension opentelemetry",
    code: (at) => `pecl install opentelemetry
composer require open-telemetry/sdk open-telemetry/exporter-otlp
export OTEL_PHP_AUTOLOAD_ENABLED=true OTEL_TRACES_EXPORTER=otlp
${variables(at)}php app.php`,
  },
  {
    name: "Rust",
    what: "In main()",
    code: (at) => `// cargo add opentelemetry opentelemetry_sdk
// cargo add opentelemetry-otlp --features http-proto,reqwest-blocking-client
// OTEL_SERVICE_NAME=hello OTEL_EXPORTER_OTLP_ENDPOINT=${httpUrl(at)} cargo run
${headersVariable(at, "// ")}let exporter = opentelemetry_otlp::SpanExporter::builder().with_http().build()?;
let provider = opentelemetry_sdk::trace::SdkTracerProvider::builder()
    .with_batch_exporter(exporter)
    .build();
opentelemetry::global::set_tracer_provider(provider.clone());`,
  },
  {
    name: "Collector",
    what: "An OpenTelemetry Collector that sends its traces here, too",
    code: (at) => `exporters:
  otlp/stretto:
    endpoint: ${at.grpc}
    tls:
      insecure: ${!at.grpcTls}
${at.headers.length ? `    headers:\n${at.headers.map(([name, value]) => `      ${name}: "${value}"`).join("\n")}\n` : ""}service:
  pipelines:
    traces:
      receivers: [otlp]
      exporters: [otlp/stretto]`,
  },
];
