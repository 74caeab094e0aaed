// The colours of the canvas: those of the page's style, asked for once for each theme.
import { colourOf } from "../../../lib/colours.ts";
import { cssColour } from "../../../state/theme.ts";
import type { Trace } from "../model/trace.ts";

export interface Palette {
  /** By number of the service. */
  services: readonly string[];
  text: string;
  textSoft: string;
  surface: string;
  grid: string;
  hover: string;
  selected: string;
  danger: string;
  warn: string;
  path: string;
  accent: string;
}

export function paletteOf(trace: Trace, dark: boolean): Palette {
  return {
    services: trace.services.map((name) => colourOf(name, dark)),
    text: cssColour("--text"),
    textSoft: cssColour("--text-2"),
    surface: cssColour("--surface"),
    grid: cssColour("--border"),
    hover: cssColour("--surface-2"),
    selected: cssColour("--accent-soft"),
    danger: cssColour("--danger-fill"),
    warn: cssColour("--warn"),
    path: cssColour("--text"),
    accent: cssColour("--accent"),
  };
}
