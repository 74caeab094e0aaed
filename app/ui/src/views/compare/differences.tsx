// What differs, operation by operation: first new errors, then where the time went.
import { Service } from "../../components/basics.tsx";
import { duration, whole } from "../../lib/format.ts";
import type { Aligned, Difference, Node } from "./model/align.ts";
import { signed, WORDS } from "./words.ts";

const SHOWN = 100;

interface Props {
  found: readonly Difference[];
  aligned: Aligned;
  selected: Node | undefined;
  onSelect: (number: number) => void;
}

export function Differences({ found, aligned, selected, onSelect }: Props) {
  const most = Math.max(1, ...found.map((one) => Math.abs(one.self)));
  return (
    <section class="card cmp-list" aria-label="What differs">
      <div class="card-head">
        <h2>What differs</h2>
        <span class="badge">{found.length}</span>
      </div>
      {found.length === 0 && <p class="card-body faint">Nothing but small changes of times.</p>}
      <ol>
        {found.slice(0, SHOWN).map((one) => (
          <li key={`${one.service}\0${one.name}`}>
            <button type="button" aria-pressed={one.node === selected} onClick={() => onSelect(aligned.nodes.indexOf(one.node))}>
              <span class="cmp-row">
                <strong class="ellipsis">{one.name || "no name"}</strong>
                <span class={`badge kind-${one.kind}`}>{WORDS[one.kind]}</span>
              </span>
              <span class="cmp-row">
                <Service name={one.service || "unknown service"} />
                <span class={`number ${one.self > 0 ? "bad" : "good"}`} title={`Self time: ${duration(Math.abs(one.self))} ${one.self > 0 ? "more" : "less"}`}>
                  {signed(one.self)}
                </span>
              </span>
              <span class="cmp-weight">
                <span class={one.self > 0 ? "weight-more" : "weight-less"} style={{ width: `${(Math.abs(one.self) / most) * 100}%` }} />
              </span>
              {(one.countA !== one.countB || one.errorsA !== one.errorsB) && (
                <span class="cmp-row muted small">
                  <span>{one.countA !== one.countB && `${whole(one.countA)} → ${whole(one.countB)} spans`}</span>
                  <span class={one.errorsB > one.errorsA ? "bad" : ""}>
                    {one.errorsA !== one.errorsB && `${whole(one.errorsA)} → ${whole(one.errorsB)} errors`}
                  </span>
                </span>
              )}
            </button>
          </li>
        ))}
      </ol>
      {found.length > SHOWN && <p class="card-body faint">and {whole(found.length - SHOWN)} more</p>}
    </section>
  );
}
