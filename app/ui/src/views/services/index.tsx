// Services: the map of a time range, what each takes and how it fares, and who depends on whom.
import { useMemo } from "preact/hooks";
import { getJson } from "../../api/client.ts";
import type { PageConfig } from "../../api/page_config.ts";
import { useQuery } from "../../api/use_query.ts";
import { Empty, Problem, Progress, Segments } from "../../components/basics.tsx";
import { Icon } from "../../components/icon.tsx";
import { RangePicker } from "../../components/range_picker.tsx";
import { param, setQuery } from "../../router.ts";
import { type Shortcut, useShortcuts } from "../../state/keys.ts";
import { range, refresh } from "../../state/range.ts";
import { type ServiceMap, type Source, askMap } from "./data.ts";
import { Dependencies, ServiceTable } from "./tables.tsx";
import { MapView } from "./map.tsx";
import { OneService } from "./one_service.tsx";
import { partOf } from "./part.ts";

type Tab = "map" | "table" | "dependencies";

export default function Services() {
  const source: Source | null = param("source") === "traces" ? "traces" : null;
  const around = param("around");
  const asked = useQuery(JSON.stringify([range.value, source, around]), (signal) => askMap(range.value, source, around, signal));
  const config = useQuery("config", (signal) => getJson<PageConfig>("/api/page/config", { signal }));
  const tab = (param("tab") || "map") as Tab;
  const service = param("service");
  const shortcuts = useMemo<Shortcut[]>(() => [{ keys: "r", what: "Ask again", run: refresh }], []);
  useShortcuts("Services", shortcuts);
  const select = (name: string) => setQuery({ service: name === service ? null : name });
  const map = asked.data;
  const part = useMemo(() => map && partOf(map, around), [map, around]);
  return (
    <>
      <div class="page-head">
        <h1>Services</h1>
        <Segments<Tab>
          label="How to show them"
          value={tab}
          choices={[
            { value: "map", label: "Map" },
            { value: "table", label: "Table" },
            { value: "dependencies", label: "Dependencies" },
          ]}
          onChange={(value) => setQuery({ tab: value === "map" ? null : value })}
        />
        {config.data?.serviceGraph && (
          <Segments<Source>
            label="What it is made of"
            value={source ?? "prometheus"}
            choices={[
              { value: "prometheus", label: "Prometheus", title: "Metrics of all spans, as the generator counted them" },
              { value: "traces", label: "Traces", title: "Spans that are stored here" },
            ]}
            onChange={(value) => setQuery({ source: value === "traces" ? value : null })}
          />
        )}
        <span class="spacer" />
        {map && tab === "map" && <Around map={map} service={service} around={around} />}
        <RangePicker />
        <button type="button" class="button icon" title="Ask again (r)" aria-label="Ask again" onClick={refresh}>
          <Icon name="reload" />
        </button>
      </div>
      {asked.error && <Problem error={asked.error} retry={asked.reload} />}
      <section class="card" aria-label="Services">
        <Progress on={asked.loading} />
        {map?.message && <p class="note">Not everything could be read: {map.message}</p>}
        {map && map.leftOut > 0 && !around && <p class="note">The calls of the {map.leftOut} least busy services are not shown.</p>}
        {part && part.alone > 0 && tab === "map" && (
          <p class="note">
            {part.alone} services without connections are not drawn: the <a href="/services?tab=table">table</a> has them.
          </p>
        )}
        {!map && !asked.error && <div class="skeleton map-skeleton" />}
        {map && map.services.length === 0 && (
          <Empty icon="map" title={map.source === "prometheus" ? "No service-graph metrics in this time" : "No spans in this time"}>
            {map.source === "prometheus" ? (
              <p>Choose a longer time range, make the map of traces, or let a metrics generator with the processor service-graphs write to this Prometheus.</p>
            ) : (
              <p>
                Choose a longer time range, or <a href="/start">send a first trace</a>.
              </p>
            )}
          </Empty>
        )}
        {part && part.map.services.length > 0 && tab === "map" && <MapView map={part.map} selected={service} onSelect={select} />}
        {map && map.services.length > 0 && tab === "table" && <ServiceTable map={map} selected={service} onSelect={select} />}
        {map && map.services.length > 0 && tab === "dependencies" && <Dependencies map={map} />}
      </section>
      {service ? (
        <OneService service={service} />
      ) : (
        map && map.services.length > 0 && tab !== "dependencies" && <p class="muted hint">Choose a service to see its requests, errors and durations.</p>
      )}
    </>
  );
}

/** Finds a service in a map, and draws it with its callers and callees only. */
function Around({ map, service, around }: { map: ServiceMap; service: string; around: string }) {
  const names = map.services.filter((one) => one.kind === "service").map((one) => one.name);
  const choose = (name: string) => {
    if (name && names.includes(name)) setQuery({ around: name, service: name });
  };
  /** Who types the name of one service may be about to type another's that begins with it. */
  const typed = (name: string) => {
    if (names.filter((one) => one.startsWith(name)).length === 1) choose(name);
  };
  if (around) {
    return (
      <button type="button" class="button" aria-pressed="true" title="Draw all services" onClick={() => setQuery({ around: null })}>
        Around {around}
        <Icon name="close" />
      </button>
    );
  }
  return (
    <>
      {service && names.includes(service) && (
        <button type="button" class="button" title={`Draw ${service} with its callers and callees only`} onClick={() => choose(service)}>
          Around {service}
        </button>
      )}
      {!service && (
        <>
          <input
            type="search"
            class="input find-service"
            list="services-of-map"
            placeholder="Find a service"
            aria-label="Find a service"
            onInput={(event) => typed(event.currentTarget.value)}
            onChange={(event) => choose(event.currentTarget.value)}
          />
          <datalist id="services-of-map">
            {names.map((name) => (
              <option key={name} value={name} />
            ))}
          </datalist>
        </>
      )}
    </>
  );
}
