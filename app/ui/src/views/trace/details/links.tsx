// Links of a span, both ways: where it leads to, and what leads to it.
import { Icon } from "../../../components/icon.tsx";
import { quoted } from "../../../lib/traceql_text.ts";
import { url } from "../../../router.ts";
import { idHex, type SpanLink } from "../model/span.ts";
import { nameOf, rowOfId, serviceOf, spanIdOf } from "../model/trace.ts";
import type { TraceState } from "../state.ts";
import { Attributes } from "./attributes.tsx";
import { Section } from "./details.tsx";

export function Links({ state, row, links }: { state: TraceState; row: number; links: readonly SpanLink[] }) {
  const { trace } = state;
  const incoming: number[] = [];
  trace.linkTo.forEach((to, n) => {
    if (to === row) incoming.push(trace.linkSpan[n]!);
  });
  const id = spanIdOf(trace, row);
  return (
    <Section title="Links" count={links.length + incoming.length} open={links.length + incoming.length > 0}>
      {links.map((one, n) => (
        <LinkItem key={n} state={state} link={one} />
      ))}
      {incoming.map((from) => (
        <div class="sd-link" key={from}>
          <span class="badge">from</span>
          <button type="button" class="link-button ellipsis" onClick={() => state.select(from)}>
            {serviceOf(trace, from)} · {nameOf(trace, from)}
          </button>
        </div>
      ))}
      <p>
        <a href={url("/search", { q: `{ link:traceID = ${quoted(trace.id)} && link:spanID = ${quoted(id)} }` })}>Find spans elsewhere that link here</a>
      </p>
    </Section>
  );
}

function LinkItem({ state, link }: { state: TraceState; link: SpanLink }) {
  const { trace } = state;
  const [traceId, spanId] = [idHex(link.traceId), idHex(link.spanId)];
  const inside = traceId === trace.id ? rowOfId(trace, spanId) : -1;
  return (
    <div class="sd-link-item">
      <div class="sd-link">
        <span class="badge">to</span>
        {inside >= 0 ? (
          <button type="button" class="link-button ellipsis" onClick={() => state.select(inside)}>
            {serviceOf(trace, inside)} · {nameOf(trace, inside)}
          </button>
        ) : (
          <a class="ellipsis" href={url(`/trace/${traceId}`, { span: spanId })}>
            <Icon name="link" /> trace <code>{traceId}</code>
          </a>
        )}
      </div>
      {link.traceState && (
        <p class="faint">
          <code>{link.traceState}</code>
        </p>
      )}
      <Attributes scope="link" attributes={link.attributes ?? []} />
    </div>
  );
}
