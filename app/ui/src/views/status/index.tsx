// Status: what is unhealthy and what to do, then members, partitions, blocks, limits, settings.
import { useEffect, useMemo } from "preact/hooks";
import { useQuery } from "../../api/use_query.ts";
import { Problem, Progress } from "../../components/basics.tsx";
import { Icon } from "../../components/icon.tsx";
import { type Shortcut, useShortcuts } from "../../state/keys.ts";
import { now, refresh } from "../../state/range.ts";
import { type Finding, findings } from "./checks.ts";
import { askOverview } from "./data.ts";
import { Figures } from "./figures.tsx";
import { Members, Partitions } from "./members.tsx";
import { SettingsInForce } from "./settings.tsx";
import { Tenants } from "./tenants.tsx";

const EVERY_MS = 10_000;

export default function Status() {
  const asked = useQuery(String(now.value), askOverview);
  const shortcuts = useMemo<Shortcut[]>(() => [{ keys: "r", what: "Ask again", run: refresh }], []);
  useShortcuts("Status", shortcuts);
  useEffect(() => {
    const timer = setInterval(() => document.visibilityState === "visible" && refresh(), EVERY_MS);
    return () => clearInterval(timer);
  }, []);
  const overview = asked.data;
  return (
    <>
      <div class="page-head">
        <h1>Status</h1>
        <span class="muted small">of the process that serves this page, and of all members; every 10 s</span>
        <span class="spacer" />
        <button type="button" class="button icon" title="Ask again (r)" aria-label="Ask again" onClick={refresh}>
          <Icon name="reload" />
        </button>
      </div>
      <Progress on={asked.loading && !overview} />
      {asked.error && <Problem error={asked.error} retry={asked.reload} />}
      {overview && (
        <>
          <Health findings={findings(overview)} problems={overview.problems} />
          <div class="status-grid">
            <Members members={overview.members} />
            <Partitions partitions={overview.partitions} />
          </div>
          {overview.metrics && <Figures metrics={overview.metrics} />}
          <div class="status-grid">
            <Tenants metrics={overview.metrics} />
            <SettingsInForce config={overview.config} />
          </div>
        </>
      )}
    </>
  );
}

function Health({ findings: found, problems }: { findings: readonly Finding[]; problems: readonly string[] }) {
  const bad = found.filter((one) => one.severity === "bad").length;
  const title = found.length === 0 ? "All is well" : bad ? bad === 1 ? "One finding needs action" : `${bad} findings need action` : found.length === 1 ? "One thing to know" : `${found.length} things to know`;
  return (
    <section class={`card health health-${found.length === 0 ? "ok" : bad ? "bad" : "warn"}`} aria-label="Health">
      <div class="card-head">
        <span class="health-mark">
          <Icon name={found.length === 0 ? "check" : "warn"} />
        </span>
        <h2>{title}</h2>
      </div>
      {found.length > 0 && (
        <ul class="findings">
          {found.map((one) => (
            <li key={one.title}>
              <span class={`badge ${one.severity}`}>{one.severity === "bad" ? "Act" : "Note"}</span>
              <div>
                <h3>{one.title}</h3>
                <p class="muted">{one.detail}</p>
                <p>
                  <strong>What to do:</strong> {one.todo}
                </p>
              </div>
            </li>
          ))}
        </ul>
      )}
      {problems.map((text) => (
        <p key={text} class="note">
          Could not be asked: {text}
        </p>
      ))}
    </section>
  );
}
