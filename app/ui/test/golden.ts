// The queries of the parser's golden files.
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

const FOLDER = join(__ROOT__, "tests/query/testdata");

export function goldenQueries(): string[] {
  return readdirSync(FOLDER)
    .filter((name) => name.endsWith(".test"))
    .flatMap((name) => readFileSync(join(FOLDER, name), "utf8").split("\n"))
    .map((line) => /^(?:query|range|instant) (.*)$/.exec(line)?.[1])
    .filter((query): query is string => query !== undefined)
    .map((query) => query.replaceAll("\\n", "\n"));
}
