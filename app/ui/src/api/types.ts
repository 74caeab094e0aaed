// The API's answers, as far as the page reads them. 64-bit numbers are text, zeros are left out (docs/api.md).

export interface AnyValue {
  stringValue?: string;
  intValue?: string;
  doubleValue?: number | string;
  boolValue?: boolean;
  arrayValue?: { values?: AnyValue[] };
  kvlistValue?: { values?: KeyValue[] };
  bytesValue?: string;
}

export interface KeyValue {
  key: string;
  value?: AnyValue;
}

export interface FoundSpan {
  spanID: string;
  name?: string;
  startTimeUnixNano?: string;
  durationNanos?: string;
  attributes?: KeyValue[];
}

export interface SpanSet {
  spans?: FoundSpan[];
  matched?: number;
  attributes?: KeyValue[];
}

export interface ServiceStats {
  spanCount?: number;
  errorCount?: number;
}

export interface FoundTrace {
  traceID: string;
  rootServiceName?: string;
  rootTraceName?: string;
  startTimeUnixNano?: string;
  durationMs?: number;
  spanSets?: SpanSet[];
  serviceStats?: Record<string, ServiceStats>;
}

export interface SearchMetrics {
  inspectedTraces?: number;
  inspectedSpans?: string;
  inspectedBytes?: string;
  completedJobs?: number;
  totalJobs?: number;
}

export interface SearchAnswer {
  traces?: FoundTrace[];
  metrics?: SearchMetrics;
  totalTraces?: number;
  nextCursor?: string;
  status?: string;
  message?: string;
}

export interface Sample {
  timestampMs?: string;
  value?: number | string;
}

export interface Exemplar extends Sample {
  labels?: KeyValue[];
}

export interface Series {
  labels?: KeyValue[];
  samples?: Sample[];
  exemplars?: Exemplar[];
  /** Of an instant query. */
  value?: number | string;
}

export interface MetricsAnswer {
  series?: Series[];
  metrics?: SearchMetrics;
  status?: string;
  message?: string;
}

export interface TagNames {
  scopes?: { name: string; tags?: string[] }[];
}

export interface TagValues {
  tagValues?: { type: string; value: string }[];
}
