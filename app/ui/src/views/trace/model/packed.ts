// Columns of numbers as the API packs them (docs/api.md, application/vnd.stretto.columns): typed arrays, not copied.

export type Column = Float64Array | Int32Array | Uint32Array | Uint8Array;

const KINDS = { float64: Float64Array, int32: Int32Array, uint32: Uint32Array, uint8: Uint8Array } as const;

export interface Packed {
  header: Record<string, unknown>;
  columns: ReadonlyMap<string, Column>;
}

interface Described {
  name: string;
  type: keyof typeof KINDS;
  offset: number;
  length: number;
}

const HEAD_BYTES = 8;

/** Throws an Error for bytes that are something else. */
export function unpack(bytes: ArrayBuffer): Packed {
  const head = new DataView(bytes);
  if (bytes.byteLength < HEAD_BYTES || new TextDecoder().decode(new Uint8Array(bytes, 0, 4)) !== "STC1") {
    throw new Error("The server's answer is in a form that this page does not know. Reload the page.");
  }
  const begin = HEAD_BYTES + head.getUint32(4, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, HEAD_BYTES, begin - HEAD_BYTES))) as Record<string, unknown>;
  const columns = new Map<string, Column>();
  for (const one of header["columns"] as Described[]) {
    columns.set(one.name, new KINDS[one.type](bytes, begin + one.offset, one.length));
  }
  return { header, columns };
}

/** A column, or an empty one where the answer has none. Throws where it has another type. */
export function column<T extends Column>(packed: Packed, name: string, kind: new (length: number) => T): T {
  const found = packed.columns.get(name) ?? new kind(0);
  if (!(found instanceof kind)) throw new Error(`The column ${name} of the server's answer has another type.`);
  return found;
}
