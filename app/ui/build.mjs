// Builds the page into dist/: names with hashes, precompressed, and the licences of what is in it.
import { build } from "esbuild";
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const here = dirname(fileURLToPath(import.meta.url));
const target = join(here, "dist");
const fresh = join(here, "dist.new");

const result = await build({
  absWorkingDir: here,
  entryPoints: ["src/main.tsx"],
  outdir: "dist",
  bundle: true,
  splitting: true,
  format: "esm",
  target: "es2022",
  jsx: "automatic",
  jsxImportSource: "preact",
  minify: true,
  legalComments: "none", // licenses.txt has them
  entryNames: "assets/[name]-[hash]",
  chunkNames: "assets/[name]-[hash]",
  assetNames: "assets/[name]-[hash]",
  metafile: true,
  write: false,
});

const files = new Map(result.outputFiles.map((file) => [file.path.slice(target.length + 1), Buffer.from(file.contents)]));
const entry = Object.entries(result.metafile.outputs).find(([, output]) => output.entryPoint === "src/main.tsx");
const script = entry[0].slice("dist/".length);
const style = entry[1].cssBundle.slice("dist/".length);
const preload = firstImports(entry[1]);

files.set("index.html", Buffer.from(await index()));
files.set("favicon.svg", await readFile(join(here, "src/favicon.svg")));
files.set("licenses.txt", Buffer.from(await licences()));
await writeAll();
report();

/** Chunks that the first script imports itself: the browser need not find them one after the other. */
function firstImports(output) {
  return output.imports.filter((one) => one.kind === "import-statement").map((one) => one.path.slice("dist/".length));
}

async function index() {
  const template = await readFile(join(here, "src/index.html"), "utf8");
  const links = preload.map((path) => `<link rel="modulepreload" href="/${path}" />`).join("\n    ");
  return template.replace("{{script}}", script).replace("{{style}}", style).replace("{{preload}}", links);
}

/** The licence of each package of which something is in the page. */
async function licences() {
  const packages = new Set();
  for (const path of Object.keys(result.metafile.inputs)) {
    const found = /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path);
    if (found) packages.add(found[1]);
  }
  const parts = ["Parts of this page come from these packages.\n"];
  for (const name of [...packages].sort()) {
    const folder = join(here, "node_modules", name);
    const { version, license } = JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
    const text = await firstText(folder, ["LICENSE", "LICENSE.md", "LICENSE.txt", "LICENCE", "license"]);
    parts.push(`${"-".repeat(80)}\n${name} ${version}, ${license}\n\n${text.trim()}\n`);
  }
  return parts.join("\n");
}

async function firstText(folder, names) {
  for (const name of names) {
    try {
      return await readFile(join(folder, name), "utf8");
    } catch {
      // the next name
    }
  }
  return "(The package brings no text of its licence.)";
}

/** All or nothing: a server that runs meanwhile never sees half a page. */
async function writeAll() {
  await rm(fresh, { recursive: true, force: true });
  for (const [name, bytes] of files) {
    const path = join(fresh, name);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, bytes);
    await writeFile(`${path}.gz`, gzipSync(bytes, { level: 9 }));
    await writeFile(`${path}.br`, brotliCompressSync(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } }));
  }
  await rm(target, { recursive: true, force: true });
  await rename(fresh, target);
}

function report() {
  const size = (path) => gzipSync(files.get(path), { level: 9 }).length;
  const first = [script, style, ...preload, "index.html"].reduce((sum, path) => sum + size(path), 0);
  const all = [...files.keys()].reduce((sum, path) => sum + size(path), 0);
  console.log(`The page is in app/ui/dist: ${Math.ceil(first / 1000)} KB at first, ${Math.ceil(all / 1000)} KB in all (gzip)`);
}
