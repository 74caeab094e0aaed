import { useRef, useState } from "preact/hooks";
import { isAbort } from "../../api/client.ts";
import { Icon } from "../../components/icon.tsx";
import { percent } from "../../lib/format.ts";
import { otlpFile, saveFile } from "./model/otlp_json.ts";
import type { Trace } from "./model/trace.ts";

const PAGE_SPANS = 5000;

/** The whole trace as a file of OTLP JSON; a second click gives it up. */
export function Download({ trace, plain = false }: { trace: Trace; plain?: boolean }) {
  const [state, setState] = useState("");
  const running = useRef<AbortController | undefined>(undefined);
  const start = async () => {
    if (running.current) return running.current.abort();
    const controller = (running.current = new AbortController());
    const pages = Math.ceil(trace.spans / PAGE_SPANS);
    try {
      setState("Asking…");
      const blob = await otlpFile(trace.id, (page) => pages > 1 && setState(percent(Math.min(1, page / pages))), controller.signal);
      saveFile(blob, `trace-${trace.id}.json`);
      setState("");
    } catch (error) {
      setState(isAbort(error) ? "" : "Failed: try again");
    } finally {
      running.current = undefined;
    }
  };
  return (
    <button type="button" class={plain ? "button plain icon" : "button small"} onClick={start} title="Download as OTLP JSON" aria-label={`Download as OTLP JSON ${state}`}>
      <Icon name="download" />
      {plain ? state : state || "Download"}
    </button>
  );
}
