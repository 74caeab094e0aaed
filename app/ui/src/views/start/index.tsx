// The first visit: how to send the first trace, or see those of a demo.
import { useEffect, useRef, useState } from "preact/hooks";
import { getJson } from "../../api/client.ts";
import type { PageConfig } from "../../api/page_config.ts";
import type { TagNames } from "../../api/types.ts";
import { useQuery } from "../../api/use_query.ts";
import { CopyButton, Problem, Progress } from "../../components/basics.tsx";
import { Icon } from "../../components/icon.tsx";
import { navigate, param, setQuery } from "../../router.ts";
import { tenant } from "../../state/session.ts";
import { SNIPPETS, addresses } from "./snippets.ts";

const POLL_MS = 2000;

export default function Start() {
  const asked = useQuery("config", (signal) => getJson<PageConfig>("/api/page/config", { signal }));
  const [follow, setFollow] = useState(false);
  if (asked.error) return <Problem error={asked.error} retry={asked.reload} />;
  if (!asked.data) return <Progress on />;
  return (
    <div class="start">
      <div class="start-head">
        <h1>Send the first trace</h1>
        <p class="muted">Stretto takes traces as they are: no agent of its own, no schema. Choose what you have, and the trace can be found here within a second.</p>
      </div>
      <Arrival follow={follow} />
      <Snippets config={asked.data} />
      <Demo config={asked.data} reload={asked.reload} onSet={setFollow} />
      <Receivers config={asked.data} />
    </div>
  );
}

// Only what has just come is of interest then.
const NEWEST = "/search?from=now-5m&live=1";

/** Whether spans are here: looks again and again until they are. follow: goes to them then. */
function Arrival({ follow }: { follow: boolean }) {
  const [turn, setTurn] = useState(0);
  const asked = useQuery(`arrived ${turn}`, (signal) => getJson<TagNames>("/api/v2/search/tags", { params: { scope: "resource", limit: 1 }, signal }));
  const arrived = (asked.data?.scopes?.length ?? 0) > 0;
  useEffect(() => {
    if (arrived) return;
    const timer = setInterval(() => setTurn((before) => before + 1), POLL_MS);
    return () => clearInterval(timer);
  }, [arrived]);
  const seen = useRef(follow);
  seen.current = follow;
  useEffect(() => {
    if (arrived && seen.current) navigate(NEWEST);
  }, [arrived]);
  if (asked.error) return <Problem error={asked.error} retry={asked.reload} />;
  return (
    <div class={arrived ? "arrival here" : "arrival"} role="status">
      {arrived ? <Icon name="check" /> : <span class="pulse" aria-hidden="true" />}
      <strong>{arrived ? "Spans are here." : "Waiting for the first span …"}</strong>
      <span class="spacer" />
      {arrived && (
        <a class="button primary" href="/search">
          <Icon name="search" />
          Look at them
        </a>
      )}
    </div>
  );
}

function Snippets({ config }: { config: PageConfig }) {
  const shown = SNIPPETS.find((one) => one.name === param("sdk")) ?? SNIPPETS[0]!;
  const code = shown.code(addresses(config, location.hostname, tenant.value));
  return (
    <section class="card snippets" aria-label="How to send">
      <div class="snippet-names" role="group" aria-label="Languages">
        {SNIPPETS.map((one) => (
          <button key={one.name} type="button" class="button plain" aria-pressed={one === shown} onClick={() => setQuery({ sdk: one.name }, { replace: true })}>
            {one.name}
          </button>
        ))}
      </div>
      <div class="snippet">
        <div class="row">
          <h2>{shown.name}</h2>
          <span class="muted">{shown.what}</span>
          <span class="spacer" />
          <CopyButton text={code} label="Copy the commands" />
        </div>
        <pre class="code" tabIndex={0} aria-label={`Commands for ${shown.name}`}>
          {code}
        </pre>
      </div>
    </section>
  );
}

/** onSet: told whether it was started. */
function Demo({ config, reload, onSet }: { config: PageConfig; reload: () => void; onSet: (running: boolean) => void }) {
  const [error, setError] = useState<Error>();
  const { allowed, running } = config.demo;
  if (!allowed) return null;
  const set = async (next: boolean) => {
    try {
      await getJson("/api/page/demo", { method: "POST", params: { running: next } });
      setError(undefined);
      onSet(next);
      reload();
    } catch (caught) {
      setError(caught as Error);
    }
  };
  return (
    <section class="card demo" aria-label="Demo">
      <Icon name="spark" />
      <div>
        <h2>Nothing to send yet?</h2>
        <p class="muted">A small bookshop of fourteen services can send five traces a second: some are slow, some fail. The first of them are shown as soon as they are here.</p>
        {error && <Problem error={error} />}
      </div>
      <span class="spacer" />
      <button type="button" class={running ? "button" : "button primary"} onClick={() => set(!running)}>
        <Icon name={running ? "stop" : "start"} />
        {running ? "Stop the demo" : "Start the demo"}
      </button>
    </section>
  );
}

function Receivers({ config }: { config: PageConfig }) {
  return (
    <section class="card" aria-label="Receivers">
      <div class="card-head">
        <h2>Where spans are taken</h2>
        {!config.receivesHere && <span class="muted small">by the processes with TARGET=distributor, as this one's settings say</span>}
      </div>
      <div class="table-frame">
        <table class="table">
          <thead>
            <tr>
              <th>Protocol</th>
              <th>Address</th>
              <th>Setting</th>
            </tr>
          </thead>
          <tbody>
            {config.receivers.map((one) => (
              <tr key={one.name}>
                <td>{one.label}</td>
                <td class="mono">
                  {one.scheme || (one.tls ? "https://" : "")}
                  {one.host || location.hostname}:{one.port}
                  {!one.host && <span class="faint"> (all addresses)</span>}
                </td>
                <td class="mono small muted">{one.setting}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}
