// The query as a form. It writes TraceQL, which stands below it; what it cannot say it leaves alone.
import { useEffect, useState } from "preact/hooks";
import { Empty } from "../../components/basics.tsx";
import { Icon } from "../../components/icon.tsx";
import { setQuery } from "../../router.ts";
import { useDraft } from "../../state/draft.ts";
import { fieldValues, type KnownValue, tagFields } from "../../traceql/complete.ts";
import { EMPTY_FORM, type Form, OPERATORS, type SpanScope, type Tag, fromTraceql, toTraceql, unquoted } from "../../traceql/form.ts";
import { quoted } from "../../lib/traceql_text.ts";

const SPANS: readonly (readonly [SpanScope, string])[] = [
  ["roots", "Root spans: whole traces"],
  ["all", "All spans"],
  ["server", "Server spans: requests"],
  ["client", "Client spans: calls"],
  ["consumer", "Consumer spans"],
  ["producer", "Producer spans"],
  ["internal", "Internal spans"],
];

export function FormEditor(props: { draft: string; onDraft: (text: string) => void; onRun: (text?: string) => void }) {
  const form = fromTraceql(props.draft);
  if (!form) {
    return (
      <Empty icon="filter" title="This query is more than the form can show">
        <p class="mono">{props.draft}</p>
        <div class="row">
          <button type="button" class="button" onClick={() => setQuery({ view: null }, { replace: true })}>
            Edit it as TraceQL
          </button>
          <button type="button" class="button" onClick={() => props.onDraft(toTraceql({ ...EMPTY_FORM, spans: "roots" }))}>
            Begin anew
          </button>
        </div>
      </Empty>
    );
  }
  const change = (patch: Partial<Form>) => props.onDraft(toTraceql({ ...form, ...patch }));
  const submit = (event: Event) => {
    event.preventDefault();
    props.onRun(toTraceql(form));
  };
  return (
    <form class="query-form" onSubmit={submit}>
      <div class="query-fields">
        <label class="field">
          <span>Which spans</span>
          <select class="select" value={form.spans} onChange={(event) => change({ spans: event.currentTarget.value as SpanScope })}>
            {SPANS.map(([value, text]) => (
              <option key={value} value={value}>
                {text}
              </option>
            ))}
          </select>
        </label>
        <ValueField label="Service" field="resource.service.name" value={form.service} onChange={(service) => change({ service })} />
        <ValueField
          label="Operation"
          field="name"
          context={form.service ? `{ resource.service.name = ${quoted(form.service)} }` : "{ }"}
          value={form.operation}
          onChange={(operation) => change({ operation })}
        />
        <DurationField label="At least" value={form.min} onChange={(min) => change({ min })} />
        <DurationField label="At most" value={form.max} onChange={(max) => change({ max })} />
        <label class="field">
          <span>Status</span>
          <select class="select" value={form.status} onChange={(event) => change({ status: event.currentTarget.value as Form["status"] })}>
            <option value="">Any</option>
            <option value="error">Error</option>
            <option value="ok">OK</option>
            <option value="unset">Unset</option>
          </select>
        </label>
      </div>
      <Tags tags={form.tags} onChange={(tags) => change({ tags })} />
      <div class="row">
        <code class="written" title="The query that this form writes">
          {toTraceql(form)}
        </code>
        <span class="spacer" />
        <button type="submit" class="button primary">
          <Icon name="search" />
          Search
        </button>
      </div>
    </form>
  );
}

let listCount = 0;

/** A text with the values that the server knows. */
function ValueField(props: { label: string; field: string; context?: string; value: string; onChange: (text: string) => void }) {
  const values = useValues(props.field, props.context);
  const [id] = useState(() => `values-${(listCount += 1)}`);
  return (
    <label class="field">
      <span>{props.label}</span>
      <input
        class="input"
        list={id}
        value={props.value}
        placeholder="Any"
        spellcheck={false}
        onInput={(event) => props.onChange(event.currentTarget.value)}
      />
      <datalist id={id}>
        {values.map((one) => (
          <option key={one.type + one.value} value={one.value} />
        ))}
      </datalist>
    </label>
  );
}

function useValues(field: string, context = "{ }"): readonly KnownValue[] {
  const [values, setValues] = useState<readonly KnownValue[]>([]);
  useEffect(() => {
    let current = true;
    if (field) fieldValues(field, context).then((found) => current && setValues(found), () => current && setValues([]));
    return () => {
      current = false;
    };
  }, [field, context]);
  return values;
}

const DURATION = /^\d+(\.\d+)?(ns|us|µs|ms|s|m|h)$/;

function DurationField(props: { label: string; value: string; onChange: (text: string) => void }) {
  const [text, setText] = useDraft(props.value);
  const wrong = text !== "" && !DURATION.test(text);
  return (
    <label class="field">
      <span>{props.label}</span>
      <input
        class="input short"
        value={text}
        placeholder="100ms, 1.5s"
        aria-invalid={wrong}
        onInput={(event) => {
          const next = event.currentTarget.value.replace(/\s/g, "");
          setText(next);
          if (next === "" || DURATION.test(next)) props.onChange(next);
        }}
      />
    </label>
  );
}

function Tags({ tags, onChange }: { tags: readonly Tag[]; onChange: (tags: Tag[]) => void }) {
  const [fields, setFields] = useState<readonly string[]>([]);
  useEffect(() => {
    tagFields().then((found) => setFields(found.map((one) => one.field)), () => undefined);
  }, []);
  const [fresh, setFresh] = useState("");
  const patch = (at: number, tag: Tag) => onChange(tags.map((one, number) => (number === at ? tag : one)));
  return (
    <fieldset class="query-tags">
      <legend class="visually-hidden">Tags</legend>
      <datalist id="tag-fields">
        {fields.map((field) => (
          <option key={field} value={field} />
        ))}
      </datalist>
      {tags.map((tag, at) => (
        <TagRow key={at} tag={tag} onChange={(next) => patch(at, next)} onRemove={() => onChange(tags.filter((_, number) => number !== at))} />
      ))}
      <input
        class="input"
        list="tag-fields"
        aria-label="New tag"
        placeholder="Add a tag: span.http.route"
        value={fresh}
        onInput={(event) => setFresh(event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key === "Enter") event.preventDefault(); // adds the tag, does not search
          if (event.key === "Enter") event.currentTarget.blur();
        }}
        onChange={(event) => {
          const field = event.currentTarget.value.trim();
          if (field) onChange([...tags, { field, op: "=", value: '""' }]);
          setFresh("");
        }}
      />
    </fieldset>
  );
}

function TagRow({ tag, onChange, onRemove }: { tag: Tag; onChange: (tag: Tag) => void; onRemove: () => void }) {
  const values = useValues(tag.field);
  const [id] = useState(() => `values-${(listCount += 1)}`);
  const literalOf = (text: string): string => values.find((one) => one.value === text)?.literal ?? guess(text);
  return (
    <div class="row tag-row">
      <span class="mono tag-name">{tag.field}</span>
      <select class="select" aria-label={`Comparison of ${tag.field}`} value={tag.op} onChange={(event) => onChange({ ...tag, op: event.currentTarget.value })}>
        {OPERATORS.map((op) => (
          <option key={op}>{op}</option>
        ))}
      </select>
      <input
        class="input"
        list={id}
        aria-label={`Value of ${tag.field}`}
        value={unquoted(tag.value) ?? tag.value}
        onInput={(event) => onChange({ ...tag, value: literalOf(event.currentTarget.value) })}
      />
      <datalist id={id}>
        {values.map((one) => (
          <option key={one.type + one.value} value={one.value} />
        ))}
      </datalist>
      <button type="button" class="button plain icon small" aria-label={`Remove ${tag.field}`} onClick={onRemove}>
        <Icon name="close" />
      </button>
    </div>
  );
}

/** A value that the server does not know: numbers and truths as such, all else as text. */
function guess(text: string): string {
  return /^-?\d+(\.\d+)?$/.test(text) || text === "true" || text === "false" || text === "nil" ? text : quoted(text);
}
