import { ago } from "../lib/format.ts";
import { type Visit, visits } from "../state/visits.ts";
import { Popover } from "./basics.tsx";
import { Icon } from "./icon.tsx";

/** What was looked at before, of some kinds. */
export function VisitsMenu({ kinds }: { kinds: readonly Visit["kind"][] }) {
  const shown = visits.value.filter((one) => kinds.includes(one.kind));
  return (
    <Popover label="What you looked at before" class="icon" button={<Icon name="history" />}>
      {(close) => (
        <div class="visits">
          {shown.length === 0 && <p class="muted">Nothing yet.</p>}
          <ul class="menu">
            {shown.map((one) => (
              <li key={one.kind + one.text}>
                <a href={one.url} onClick={close}>
                  <span class="badge">{one.kind}</span>
                  <span class="ellipsis mono">{one.text}</span>
                  <span class="faint small number">{ago(one.atMs)}</span>
                </a>
              </li>
            ))}
          </ul>
          {shown.length > 0 && (
            <button type="button" class="button plain small" onClick={() => (visits.value = [])}>
              Forget all
            </button>
          )}
        </div>
      )}
    </Popover>
  );
}
