import { useState } from "preact/hooks";
import type { PageConfig } from "../../api/page_config.ts";
import { useQuery } from "../../api/use_query.ts";
import { CopyButton, Problem, Segments } from "../../components/basics.tsx";
import { askText } from "./data.ts";

type Which = "diff" | "all" | "tenants";

const PATHS: Record<Which, readonly [string, Record<string, string>]> = {
  diff: ["/status/config", { mode: "diff" }],
  all: ["/status/config", {}],
  tenants: ["/status/runtime_config", {}],
};

/** Versions, and the settings in force, secrets masked by the server. */
export function SettingsInForce({ config }: { config: PageConfig | undefined }) {
  const [which, setWhich] = useState<Which>("diff");
  const asked = useQuery(`settings ${which}`, (signal) => askText(...PATHS[which], signal));
  const text = asked.data?.trim() ?? "";
  return (
    <section class="card" aria-label="Settings">
      <div class="card-head">
        <h2>Settings in force</h2>
        <span class="spacer" />
        <Segments<Which>
          label="Which settings"
          value={which}
          choices={[
            { value: "diff", label: "Changed" },
            { value: "all", label: "All" },
            { value: "tenants", label: "Of tenants" },
          ]}
          onChange={setWhich}
        />
        <CopyButton text={text} label="Copy the settings" />
      </div>
      <div class="card-body stack">
        {asked.error && <Problem error={asked.error} retry={asked.reload} />}
        <pre class="code settings" tabIndex={0} aria-label="Settings as YAML">
          {text && text !== "{}" ? text : "# Nothing is set: all is as by default."}
        </pre>
        {config && (
          <p class="muted small">
            Stretto {config.version}, target {config.target}, API of Tempo {config.apiVersion}, Python {config.pythonVersion}
          </p>
        )}
      </div>
    </section>
  );
}
