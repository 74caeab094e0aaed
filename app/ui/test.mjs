// Runs test/**/*.test.ts with Node's own test runner: esbuild turns them into JavaScript first. With a file's name it runs
// that one alone, as a program.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const program = process.argv[2];
const names = program
  ? [program]
  : readdirSync(join(here, "test"), { recursive: true }).filter((name) => name.endsWith(".test.ts"));
// Here, so that what stays outside of the bundle is found in node_modules.
const folder = mkdtempSync(join(here, "test-run-"));
try {
  await build({
    absWorkingDir: here,
    entryPoints: names.map((name) => join("test", name)),
    outdir: folder,
    outExtension: { ".js": ".mjs" },
    bundle: true,
    splitting: true,
    format: "esm",
    platform: "node",
    target: "node20",
    jsx: "automatic",
    jsxImportSource: "preact",
    sourcemap: "inline",
    define: { __ROOT__: JSON.stringify(join(here, "../..")) },
    logLevel: "warning",
  });
  const files = names.map((name) => join(folder, name.replace(/\.ts$/, ".mjs")));
  const run = spawnSync(process.execPath, ["--enable-source-maps", ...(program ? [] : ["--test"]), ...files], {
    stdio: "inherit",
  });
  process.exitCode = run.status ?? 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
