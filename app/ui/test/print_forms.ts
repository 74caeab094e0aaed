// A program: lines of JSON, each a golden query that the form can show, and what the form writes for it.
import { fromTraceql, toTraceql } from "../src/traceql/form.ts";
import { addCondition } from "../src/traceql/edit.ts";
import { goldenQueries } from "./golden.ts";

for (const query of goldenQueries()) {
  const form = fromTraceql(query);
  console.log(JSON.stringify({ query, form: form ? toTraceql(form) : null, added: addCondition(query, "span.added = 1") }));
}
